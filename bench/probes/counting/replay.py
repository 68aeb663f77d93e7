"""What a step needs in memory, by replaying it: every storage with its birth and its death.

A tensor on the meta device has a shape, a type and a storage of a size, but no data. Its storage is born and dies
exactly where a real one would, because the same Python, autograd and optimizer code holds it and lets it go. What a
kernel asks for inside of itself, such as the scratch space of a convolution, does not exist there and is not counted.
A network that cannot run there is replayed on real tensors on the CPU, and followed in the same way.

The meta device has no autocast: `Autocast` makes the same casts at the same calls. Which functions run in half
precision and which in fp32 is PyTorch's own choice, listed in its documentation ("Automatic Mixed Precision", op
reference for CUDA and for the CPU). Called from inside of PyTorch's own Python functions they are not seen; the
network's calls are.
"""

from __future__ import annotations

import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from bench.config import Execution
from bench.device.accelerator import KernelKind
from bench.device.execution import HALF, for_inference, for_training, inference_dtype, memory_format
from bench.models import ModelSpec
from bench.probes.counting.imitation import Shortcuts, imitated, open_attention
from bench.probes.counting.networks import CPU, counted, images_for, seeded, tensors_of
from bench.probes.counting.operators import Mode, parts_of, tensors_in
from bench.probes.reading import Unsupported
from bench.training.recipes import Recipe
from bench.training.step import TrainingStep, logits, make_optimizer

Part = Literal["weight", "gradient", "optimizer", "activation", "workspace"]
PARTS: tuple[Part, ...] = get_args(Part)

CUDA_BLOCK = 512  # bytes: what PyTorch's CUDA allocator rounds every request up to
DRAWS = (0.0, 1 - 2**-24)  # the ends of what torch.rand can return


@dataclass(frozen=True)
class Footprint:
    """Bytes held at the moment of a step at which most are held, by what they are for, in the order of `PARTS`.

    `activation` is the batch itself and all that autograd keeps for the backward pass, half-precision copies of weights
    included; `workspace` is the rest: outputs not kept, gradients of activations, temporaries.
    """

    weight: int = 0  # and buffers
    gradient: int = 0  # of weights
    optimizer: int = 0
    activation: int = 0
    workspace: int = 0
    on_cpu: str = field(default="", compare=False)  # why not on the meta device

    @property
    def peak(self) -> int:
        return self.weight + self.gradient + self.optimizer + self.activation + self.workspace


class Ledger(Mode):
    """Books the birth and death of every storage while it is entered.

    Args:
        device: what is imitated. A GPU's allocator deals in blocks, and its dropout masks take a byte an element.
        draw: what the host's random numbers are taken to be.
    """

    def __init__(self, device: KernelKind, draw: float) -> None:
        super().__init__()
        self.drew = False  # whether the network asked the host for random numbers
        self.decides = True  # what they are: not where the images themselves are on the host
        self.in_place = False  # while what is one fused kernel on a real device works, nothing is booked
        self._cuda = device == "cuda"
        self._draw = draw
        self._events: list[tuple[int, int]] = []  # (storage, bytes more or less)
        self._parts: dict[int, Part] = {}  # by storage; the rest is workspace
        self._alive: dict[int, tuple[int, int, weakref.ref[Any]]] = {}  # address: storage, bytes, notice of its death

    def hold(self, tensors: Iterable[Tensor], part: Part) -> None:
        """Say what tensors are for; those that were there before count from now on. What is said first stays."""
        for held in (each for tensor in tensors for each in parts_of(tensor)):
            storage = self._book(held)
            if storage is not None:
                self._parts.setdefault(storage, part)

    def footprint(self) -> Footprint:
        """At the first moment at which most was held."""
        now = most = peak_at = 0
        for at, (_, change) in enumerate(self._events, start=1):
            now += change
            if now > most:
                most, peak_at = now, at
        held: Counter[Part] = Counter()
        for storage, change in self._events[:peak_at]:
            held[self._parts.get(storage, "workspace")] += change
        weight, gradient, optimizer, activation, workspace = (held[part] for part in PARTS)
        return Footprint(weight, gradient, optimizer, activation, workspace)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in _DRAWS and not out.is_meta and self.decides:
            self.drew = True
            out.fill_(self._draw)
        if not self.in_place:
            for tensor in tensors_in(out):
                for part in parts_of(tensor):
                    self._book(part)
        if self._cuda and func is torch.ops.aten.bernoulli_.float:
            self._shrink(out, out.numel())
        return out

    def _book(self, tensor: Tensor) -> int | None:
        """The number of a tensor's storage, new if it was not known; None if it is empty."""
        memory = tensor.untyped_storage()
        address = memory._cdata
        if address in self._alive:
            return self._alive[address][0]
        size = memory.nbytes()
        if size == 0:
            return None
        if self._cuda:
            size = -(-size // CUDA_BLOCK) * CUDA_BLOCK
        storage = len(self._events)
        self._events.append((storage, size))
        self._alive[address] = storage, size, weakref.ref(memory, lambda _: self._reap(address))
        return storage

    def _reap(self, address: int) -> None:
        storage, size, _ = self._alive.pop(address)
        self._events.append((storage, -size))

    def _shrink(self, tensor: Tensor, size: int) -> None:
        address = tensor.untyped_storage()._cdata
        storage, before, notice = self._alive[address]
        size = min(before, -(-size // CUDA_BLOCK) * CUDA_BLOCK)
        self._events.append((storage, size - before))
        self._alive[address] = storage, size, notice


_DRAWS = (torch.ops.aten.rand.default, torch.ops.aten.uniform_.default)


def inference_footprint(spec: ModelSpec, execution: Execution, device: KernelKind, batch_size: int) -> Footprint:
    """Of a forward pass in eval mode, network and images included, without torch.compile."""

    def replay(network: nn.Module) -> Footprint:
        images = images_for(network, batch_size, spec.input_size).to(inference_dtype(execution))
        images = images.to(memory_format=memory_format(execution))
        network = for_inference(network, replace(execution, compile=False), images.device)

        def run(ledger: Ledger) -> None:
            ledger.hold(tensors_of(network), "weight")
            ledger.hold([images], "activation")
            with torch.no_grad(), open_attention(), imitated(device), Shortcuts(), ledger:
                logits(network(images), spec.num_classes)

        return _largest(run, device, images.device)

    footprint, on_cpu = counted(spec, replay)
    return replace(footprint, on_cpu=on_cpu)


def training_footprint(
    spec: ModelSpec, recipe: Recipe, execution: Execution, device: KernelKind, batch_size: int
) -> Footprint:
    """Of a training step that is not the first, network, images and optimizer state included, without torch.compile.

    Raises:
        Unsupported: the network has nothing to train.
    """
    footprint, on_cpu = counted(spec, lambda network: _training(network, spec, recipe, execution, device, batch_size))
    return replace(footprint, on_cpu=on_cpu)


class ReplayedStep(NamedTuple):
    """A training step that is not the first, and all that it works on."""

    take: Callable[[], object]
    network: nn.Module
    trainable: list[nn.Parameter]
    optimizer: torch.optim.Optimizer
    batch: tuple[Tensor, Tensor]


def replayed_step(
    network: nn.Module, spec: ModelSpec, recipe: Recipe, execution: Execution, device: KernelKind, batch_size: int
) -> ReplayedStep:
    """The step of training, wherever the network is, as `device` would take it.

    Raises:
        Unsupported: the network has nothing to train.
    """
    images = images_for(network, batch_size, spec.input_size).to(memory_format=memory_format(execution))
    labels = torch.zeros(batch_size, dtype=torch.int64, device=images.device)
    network = for_training(network, replace(execution, compile=False), images.device)
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if not trainable:
        raise Unsupported("there is nothing to train: the network has no trainable parameters")
    optimizer = make_optimizer(recipe, trainable, rate=recipe.peak_rate)
    _after_first_step(optimizer, trainable)
    # The meta device has no autocast of its own. What scales fp16 gradients is a few numbers, and is left out.
    half = HALF.get(execution.precision)
    if half and any(isinstance(module, torch.jit.ScriptModule) for module in network.modules()):
        raise Unsupported(f"nobody sees which parts of TorchScript compute in {execution.precision}")
    cast = _Casting(network, Autocast(half, device)) if half else network
    amp: Any = torch.amp
    real = amp.autocast

    def passed(part: str) -> None:
        """On the way back, what checkpoints compute again is cast as it was in the forward pass."""
        amp.autocast = (lambda *_, **__: cast.autocast) if half and part == "forward" else real

    def take() -> None:
        try:
            step(images, labels)
        finally:
            passed("all")

    step = TrainingStep(cast, optimizer, recipe, Execution(), spec.num_classes, passed)
    return ReplayedStep(take, network, trainable, optimizer, (images, labels))


def _training(
    network: nn.Module, spec: ModelSpec, recipe: Recipe, execution: Execution, device: KernelKind, batch_size: int
) -> Footprint:
    step = replayed_step(network, spec, recipe, execution, device, batch_size)

    def keep(ledger: Ledger, tensor: Tensor) -> Tensor:
        ledger.hold([tensor], "activation")
        return tensor

    def run(ledger: Ledger) -> None:
        ledger.hold(tensors_of(step.network), "weight")
        ledger.hold(tensors_in(step.optimizer.state_dict()), "optimizer")
        ledger.hold(step.batch, "activation")
        handles = [
            step.optimizer.register_step_pre_hook(lambda *_: setattr(ledger, "in_place", True)),
            step.optimizer.register_step_post_hook(lambda *_: setattr(ledger, "in_place", False)),
        ]
        saved = saved_tensors_hooks(partial(keep, ledger), lambda tensor: tensor)
        with imitated(device), saved, Shortcuts(), ledger:
            step.take()
        ledger.hold((parameter.grad for parameter in step.trainable if parameter.grad is not None), "gradient")
        step.optimizer.zero_grad()
        for handle in handles:
            handle.remove()

    return _largest(run, device, step.batch[0].device)


def _largest(run: Callable[[Ledger], None], device: KernelKind, place: torch.device) -> Footprint:
    """Of a network that draws random numbers on the host, which decide what it computes, the larger of both ends.

    Blocks are dropped where a draw is above or below a rate, so that at one of the ends all of them are kept. Where
    the images are on the host too, one draw as it comes has to do.
    """
    footprints = []
    for draw in DRAWS:
        ledger = Ledger(device, draw)
        ledger.decides = place != CPU
        with seeded(0):  # for what is drawn in other ways, and to leave no trace
            run(ledger)
        footprints.append(ledger.footprint())
        if not ledger.drew:
            break
    return max(footprints, key=lambda footprint: footprint.peak)


def _after_first_step(optimizer: torch.optim.Optimizer, parameters: Iterable[nn.Parameter]) -> None:
    """Let an optimizer make its state.

    The meta device has no fused kernels; the plain ones keep the same state.
    """
    for group in optimizer.param_groups:
        group["fused"] = False
    for parameter in parameters:
        parameter.grad = torch.empty_like(parameter)
    optimizer.step()
    optimizer.zero_grad()


class _Casting(nn.Module):
    """A network whose forward pass runs under autocast, and nothing after it."""

    def __init__(self, network: nn.Module, autocast: Autocast) -> None:
        super().__init__()
        self.network = network
        self.autocast = autocast

    def forward(self, images: Tensor) -> Any:
        with self.autocast:
            return self.network(images)


def largest_batch(peak: Callable[[int], int], limit: int, start: int) -> int:
    """The largest batch size whose peak is within `limit` bytes, 0 if there is none.

    The peak is nearly affine in the batch size: a straight line through two batches leads close to the answer, and
    from there the answer is enclosed until one batch fits and the next does not.
    """
    known: dict[int, int] = {}
    low, high, guess = 0, sys.maxsize, start  # fits; does not
    while high - low > 1:
        known[guess] = peak(guess)
        low, high = (guess, high) if known[guess] <= limit else (low, guess)
        *before, last = sorted(known)
        slope = (known[last] - known[before[-1]]) / (last - before[-1]) if before else 0.0
        if slope > 0:
            guess = last + int((limit - known[last]) // slope)
            guess += guess in known  # exact where the line is right: this one fits and the next does not
        else:
            guess = 2 * last if low == last else last // 2
        guess = min(max(guess, low + 1), high - 1)
    return low


def _of(module: Any, names: str) -> set[Callable[..., Any]]:
    return {getattr(module, name) for name in names.split()}


IN_HALF = frozenset(
    _of(F, "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d linear")
    | _of(F, "multi_head_attention_forward scaled_dot_product_attention")
    | _of(torch, "addmm baddbmm bmm einsum matmul mm")
    | _of(Tensor, "__matmul__ __rmatmul__ bmm matmul mm")
)
IN_FP32_ON_CUDA = frozenset(
    _of(F, "cosine_similarity group_norm layer_norm log_softmax normalize softmax softplus")
    | _of(torch, "cumsum exp log log_softmax norm pow prod softmax sum")
    | _of(Tensor, "__pow__ cumsum exp log log_softmax norm pow prod softmax sum")
)


class Autocast(TorchFunctionMode):
    """Casts what goes into a function, around one forward pass; weights once for all calls that use them."""

    def __init__(self, half: torch.dtype, device: KernelKind) -> None:
        super().__init__()
        self._half = half
        self._in_fp32 = IN_FP32_ON_CUDA if device == "cuda" else frozenset()
        self._weights: dict[nn.Parameter, Tensor] = {}

    def __exit__(self, *error: Any) -> None:
        self._weights.clear()
        super().__exit__(*error)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        dtype = self._half if func in IN_HALF else torch.float32 if func in self._in_fp32 else None
        if dtype is not None:
            args = [self._cast(value, dtype) for value in args]
            kwargs = {name: self._cast(value, dtype) for name, value in kwargs.items()}
        return func(*args, **kwargs)

    def _cast(self, value: Any, dtype: torch.dtype) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.dtype == dtype:
            return value
        if not isinstance(value, nn.Parameter):
            return value.to(dtype)
        if value not in self._weights:
            self._weights[value] = value.to(dtype)
        return self._weights[value]
