"""Layer by layer: what one call of each module computes and keeps, without touching a weight.

The network is built and run on the meta device, where every operation has a shape and no data. `products`
counts the multiply-accumulates and output elements of convolution, linear and attention products at the dispatcher,
below every module and functional interface, so nothing that a network does can hide. `saved_tensors` weighs what
autograd keeps for the backward pass.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from bench.models import ModelSpec
from bench.training.loss import training_loss


@dataclass
class Call:
    """One call of one module that has no submodules, or the operations between such calls."""

    path: str  # "stages.0.1.conv1"; "" is the network itself
    operation: str  # "Conv2d", or the container's class for operations in its own forward
    occurrence: int = 0  # the how-manieth call of this module, from 0
    output_shape: tuple[int, ...] = ()
    params: int = 0  # trainable, counted at the first call that uses them
    macs: int = 0
    activations: int = 0  # output elements of products
    saved: int = 0  # bytes, for the whole batch

    @property
    def key(self) -> tuple[str, int]:
        """What names the same call in another pass of the same network."""
        return self.path, self.occurrence


@dataclass(frozen=True)
class SavedPass:
    """The calls of one training step with the bytes kept of each, and whether the step drew random numbers.

    On the meta device dropout draws none, since there is nothing to drop from: a network that draws decides what to
    compute, such as which blocks to leave out.
    """

    calls: list[Call]
    random: bool  # whether it drew


class _Recorder:
    """Opens a `Call` whenever control enters a leaf module or comes back to a container."""

    def __init__(self, network: nn.Module) -> None:
        self.calls: list[Call] = []
        self._paths = {module: path for path, module in network.named_modules()}
        self._stack: list[nn.Module] = []
        self._open: Call | None = None
        self._counted: set[nn.Parameter] = set()
        self._occurrences: Counter[str] = Counter()

    @property
    def current(self) -> Call:
        """The call to which an operation that happens now belongs."""
        if self._open is None:
            module = self._stack[-1] if self._stack else None
            self._open = self._new_call(module)
        return self._open

    def _new_call(self, module: nn.Module | None) -> Call:
        if module is None:
            call = Call("(loss)", "cross_entropy")
        else:
            path = self._paths[module]
            call = Call(path, type(module).__name__, self._occurrences[path])
            self._occurrences[path] += 1
            for parameter in module.parameters(recurse=False):
                if parameter.requires_grad and parameter not in self._counted:
                    self._counted.add(parameter)
                    call.params += parameter.numel()
        self.calls.append(call)
        return call

    def _enter(self, module: nn.Module, _inputs: object) -> None:
        self._stack.append(module)
        self._open = None if any(True for _ in module.children()) else self._new_call(module)

    def _leave(self, module: nn.Module, _inputs: object, output: object) -> None:
        if self._open is not None and isinstance(output, Tensor):
            self._open.output_shape = tuple(output.shape)
        self._stack.pop()
        self._open = None

    @contextmanager
    def attached(self) -> Iterator[None]:
        handles = [
            handle
            for module in self._paths
            for handle in (
                module.register_forward_pre_hook(self._enter),
                module.register_forward_hook(self._leave),
            )
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def leftover_params(self, network: nn.Module) -> list[Call]:
        """Rows for weights that no module call of their own used, such as those that a parent passes on."""
        rows = []
        for module, path in self._paths.items():
            unused = [p for p in module.parameters(recurse=False) if p.requires_grad and p not in self._counted]
            if unused:
                self._counted.update(unused)
                rows.append(Call(path, type(module).__name__, params=sum(p.numel() for p in unused)))
        return rows


class Tally(Protocol):
    """What products are added to."""

    macs: int
    activations: int


class Recorder(Protocol):
    """Says to what an operation that happens now belongs."""

    @property
    def current(self) -> Tally: ...


class Shortcuts(TorchDispatchMode):
    """Answers the kinds of operation whose shapes PyTorch works out slowly, in Python, and nobody asks for values.

    Without this, batch norm and random initial weights take nine tenths of the time of a pass on the meta device, and
    gradients of convolutions lose the memory format that a real kernel keeps.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.native_batch_norm.default and args[0].is_meta:
            images, weight, training = args[0], args[1], args[5]
            # The mean and deviation per channel, which training keeps for the backward pass.
            like = images if weight is None else weight
            statistics = like.new_empty(images.shape[1] if training else 0)
            return torch.empty_like(images), statistics, torch.empty_like(statistics)
        if func is torch.ops.aten.convolution_backward.default and args[0].is_meta:
            gradient, images, weight = args[:3]
            mask = args[10]  # which of the three gradients are wanted
            bias = gradient.new_empty(gradient.shape[1]) if mask[2] else None
            return torch.empty_like(images) if mask[0] else None, torch.empty_like(weight) if mask[1] else None, bias
        if func in (torch.ops.aten.normal_.default, torch.ops.aten.uniform_.default) and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))


class ProductCounter(TorchDispatchMode):
    """Adds every product to the recorder's current tally. The formulas are those of torch.utils.flop_counter."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func._overloadpacket not in flop_registry and func is not torch.ops.prim.device.default:
            # In inference mode, composite operations arrive whole: take them apart.
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        out = func(*args, **kwargs)
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            call = self._recorder.current
            call.macs += formula(*args, **kwargs, out_val=out) // 2  # the library counts two per MAC
            call.activations += (out[0] if isinstance(out, tuple) else out).numel()
        return out


@lru_cache(maxsize=1)
def build_on_meta(spec: ModelSpec) -> nn.Module:
    """The network with shapes and no data.

    The last one is kept, because the probes that need no device all start with it, one after the other; they change
    nothing in it but training and evaluation mode, which each sets for itself.
    """
    try:
        with torch.device("meta"), Shortcuts():
            return spec.build(num_classes=spec.num_classes)
    except (NotImplementedError, RuntimeError):
        # Somebody's constructor looks at numbers, which do not exist there: build it with data, then drop them.
        return spec.build(num_classes=spec.num_classes).to("meta")


@lru_cache(maxsize=1)
def layer_products(spec: ModelSpec) -> tuple[Call, ...]:
    """`products` of a network of the registry or of your own; the last answer is kept, as three probes need it."""
    return tuple(products(build_on_meta(spec), spec.input_size))


def products(network: nn.Module, input_size: tuple[int, int, int], training: bool = False) -> list[Call]:
    """Every call with its MACs, activations and parameters, for one image on the meta device.

    In eval mode, which is what the metrics mean; or the forward pass of `training`.
    """
    network.train(training)
    recorder = _Recorder(network)
    images = torch.empty(1, *input_size, device="meta")
    with torch.no_grad(), open_attention(), recorder.attached(), ProductCounter(recorder), Shortcuts():
        network(images)
    return recorder.calls + recorder.leftover_params(network)


@contextmanager
def open_attention() -> Iterator[None]:
    """Keep nn.MultiheadAttention from its fused eval path, one opaque operation that no counter knows."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def saved_tensors(network: nn.Module, input_size: tuple[int, int, int], batch_size: int, seed: int) -> SavedPass:
    """Every call with the bytes that autograd keeps of it, for a training step up to the loss, on the meta device.

    A storage counts once, at the call that first saves it; parameters and buffers do not count. The last row is the
    loss: its labels and probabilities. `seed` fixes which blocks a network that drops blocks at random keeps.
    """
    network.train()
    recorder = _Recorder(network)
    held = {_storage_id(t) for t in (*network.parameters(), *network.buffers())}
    alive: list[Tensor] = []  # a freed storage's address could be given to another

    def pack(tensor: Tensor) -> Tensor:
        identity = _storage_id(tensor)
        if identity not in held:
            held.add(identity)
            alive.append(tensor)
            recorder.current.saved += tensor.untyped_storage().nbytes()
        return tensor

    images = torch.empty(batch_size, *input_size, device="meta")
    labels = torch.empty(batch_size, dtype=torch.int64, device="meta")
    with seeded(seed) as drew, recorder.attached(), Shortcuts(), saved_tensors_hooks(pack, _unpack):
        training_loss(network(images), labels)
        decided_at_random = drew()
    return SavedPass(recorder.calls, decided_at_random)


@contextmanager
def seeded(seed: int) -> Iterator[Callable[[], bool]]:
    """Seed torch and Python; yields whether anything was drawn since, and puts both back."""
    python = random.getstate()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            random.seed(seed)
            before = torch.get_rng_state(), random.getstate()
            yield lambda: not torch.equal(torch.get_rng_state(), before[0]) or random.getstate() != before[1]
    finally:
        random.setstate(python)


def _unpack(tensor: Tensor) -> Tensor:
    return tensor


def _storage_id(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
