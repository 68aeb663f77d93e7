"""Layer by layer: what one call of each module computes and keeps.

`ProductCounter` counts the multiply-accumulates and output elements of products at the dispatcher, below every module
and functional interface, so nothing that a network does can hide. `saved_tensors` weighs what autograd keeps for the
backward pass. Both work on the meta device and on real tensors.
"""

from __future__ import annotations

import re
import statistics
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction, Function
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode
from torch.utils import checkpoint

from bench.metrics import Flag
from bench.models import ModelSpec
from bench.probes.counting.imitation import Shortcuts, imitated, open_attention
from bench.probes.counting.networks import counted, hooked, images_for, outermost_scripts, seeded, tensors_of
from bench.probes.counting.operators import (
    Formula,
    Mode,
    decomposed,
    formula_of,
    is_composite,
    is_of_vectors,
    may_compute_products,
    operator_name,
    parts_of,
    tensors_in,
    work_of,
)
from bench.quantity import joined
from bench.training.step import training_loss

CallKey = tuple[str, int]  # path of a module, and which call of it, from 0
BytesByCall = dict[CallKey, float]


@dataclass
class Call:
    """One call of one module that has no submodules, or the operations between such calls."""

    path: str  # "stages.0.1.conv1"; "" is the network itself
    operation: str  # "Conv2d", or the container's class for operations in its own forward
    occurrence: int = 0  # which call of this module, from 0
    output_shape: tuple[int, ...] = ()
    params: int = 0  # trainable, counted at the first call that uses them
    macs: int = 0
    activations: int = 0  # output elements of products
    saved: int = 0  # bytes, for the whole batch

    @property
    def key(self) -> CallKey:
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
    fused: bool = False  # whether its attention was taken to be the fused kernel of a CPU


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
            for parameter in nn.Module.parameters(module, recurse=False):
                if parameter.requires_grad and parameter not in self._counted:
                    self._counted.add(parameter)
                    call.params += parameter.numel()
        self.calls.append(call)
        return call

    def _enter(self, module: nn.Module, *_: object) -> None:
        self._stack.append(module)
        self._open = None if any(True for _ in module.children()) else self._new_call(module)

    def _leave(self, module: nn.Module, *passed: object) -> None:
        output = passed[-1]
        if self._open is not None and isinstance(output, Tensor):
            self._open.output_shape = tuple(output.shape)
        self._stack.pop()
        self._open = None

    def run(self, network: nn.Module, images: Tensor) -> Any:
        """The network's output; operations belong to its call, and to those of its modules that take hooks."""
        modules = [m for m in self._paths if m is not network and not isinstance(m, torch.jit.ScriptModule)]
        with hooked(modules, self._enter, self._leave):
            self._enter(network, images)
            output = network(images)
            self._leave(network, images, output)
        return output

    def add_leftover_params(self) -> None:
        """Weights that their module did not have while it was called, or that a parent passes on without a call."""
        first = {call.path: call for call in reversed(self.calls)}
        for module, path in self._paths.items():
            unused = [
                p for p in nn.Module.parameters(module, recurse=False) if p.requires_grad and p not in self._counted
            ]
            if unused:
                self._counted.update(unused)
                if path not in first:
                    self.calls.append(first.setdefault(path, Call(path, type(module).__name__)))
                first[path].params += sum(p.numel() for p in unused)


class Tally(Protocol):
    """What products are added to."""

    macs: int
    activations: int


class Recorder(Protocol):
    """Says to what an operation that happens now belongs."""

    @property
    def current(self) -> Tally: ...


class ProductCounter(Mode):
    """Adds every product to the recorder's current tally.

    `counted` are calls of operators that were counted; `unknown` those of operators that compute, or may do so, and
    for which nobody has said how much; `seen` all tensors that an operator has read, by identity, so that what lives as
    long as a parameter is known by it; `strangers` the parameters among them that `network` does not know. Products of
    vectors that are made of the weights of `network` alone, as spectral norm takes them, are none of an image and do
    not count.
    """

    def __init__(self, recorder: Recorder, network: nn.Module | None = None) -> None:
        super().__init__()
        self.counted = 0
        self.unknown: Counter[str] = Counter()
        self.seen: set[int] = set()
        self.strangers: dict[int, nn.Parameter] = {}
        self._recorder = recorder
        self._kinds: dict[Any, Formula | _Kind] = {}
        self._weights: dict[int, Tensor] = {}  # and what is made of weights alone
        tensors = tensors_of(network) if network is not None else []
        self._known = set(map(id, tensors))
        for tensor in tensors:
            self._hold(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        of_weights = self._read((*args, *kwargs.values()))
        kind = self._kinds.get(func)
        if kind is None:
            kind = self._kinds[func] = _kind_of(func)
        if any(isinstance(arg, Tensor) and arg.is_nested for arg in args):  # of several sizes, and never taken apart
            kind = "unknown" if may_compute_products(func) else "free"
        if kind == "composite":
            with self:
                return decomposed(func, *args, **kwargs)
        out = func(*args, **kwargs)
        if of_weights and isinstance(out, Tensor):
            self._hold(out)
        if kind == "unknown":
            self.unknown[operator_name(func)] += 1
        elif callable(kind) and not (of_weights and is_of_vectors(func)):
            work = work_of(kind, out, args, kwargs)
            tally = self._recorder.current
            tally.macs += work.macs
            tally.activations += work.activations
            self.counted += 1
        return out

    def _hold(self, tensor: Tensor) -> None:
        self._weights |= {_storage_id(part): part for part in parts_of(tensor)}

    def _read(self, args: Any) -> bool:
        """Note the tensors that an operator reads; whether it reads weights and nothing else."""
        only_weights = None
        for arg in args:
            for tensor in arg if isinstance(arg, list | tuple) else (arg,):
                if isinstance(tensor, Tensor):
                    self.seen.add(id(tensor))
                if isinstance(tensor, nn.Parameter):
                    only_weights = only_weights is not False
                    if id(tensor) not in self._known:
                        self.strangers[id(tensor)] = tensor
                elif isinstance(tensor, Tensor):
                    held = all(_storage_id(part) in self._weights for part in parts_of(tensor))
                    only_weights = only_weights is not False and held
        return bool(only_weights)


class ByNumPy(TorchFunctionMode):
    """Notes what leaves for NumPy or lists and what comes from there: products in between are seen by no counter."""

    def __init__(self) -> None:
        super().__init__()
        self.left = self.came = 0

    def __enter__(self) -> ByNumPy:
        self._unseen: Any = torch.from_numpy, torch.from_dlpack  # by modes
        torch.from_numpy, torch.from_dlpack = (partial(self._noted, function) for function in self._unseen)
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        torch.from_numpy, torch.from_dlpack = self._unseen

    def _noted(self, function: Callable[..., Any], values: Any, **kwargs: Any) -> Any:
        self.came += 1
        return function(values, **kwargs)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.left += func in (Tensor.numpy, Tensor.__array__, Tensor.__dlpack__, Tensor.tolist)
        out = func(*args, **(kwargs or {}))
        if func in (torch.tensor, torch.as_tensor, torch.asarray) and out.is_floating_point():
            self.came += any(isinstance(arg, np.ndarray | list) for arg in args)
        return out


_Kind = Literal["composite", "unknown", "free"]


def _kind_of(func: Any) -> Formula | _Kind:
    formula = formula_of(func)
    if formula is not None:
        return formula
    if is_composite(func):
        return "composite"
    return "unknown" if may_compute_products(func) else "free"


@dataclass(frozen=True)
class Products:
    """One forward pass of one image: its calls, and what a reader of their sums must know."""

    calls: tuple[Call, ...]
    counted: int = 0  # calls of operators that compute products and have a formula
    unknown: Mapping[str, int] = field(default_factory=dict)  # operators without one, with their calls
    unused: Mapping[str, int] = field(default_factory=dict)  # parts that did not run, with their parameters
    strangers: int = 0  # numbers in parameters that the network does not know, and yet reads
    on_cpu: str = ""  # why not on the meta device

    @property
    def params(self) -> int:
        return sum(call.params for call in self.calls)

    @property
    def macs(self) -> int:
        return sum(call.macs for call in self.calls)

    @property
    def activations(self) -> int:
        return sum(call.activations for call in self.calls)

    @property
    def flags(self) -> tuple[Flag, ...]:
        return ("lower_bound",) if self.unknown else ()

    @property
    def unknown_share(self) -> float:
        """Of all calls of operators that compute products, as far as is known."""
        missing = sum(self.unknown.values())
        return missing / (missing + self.counted) if missing else 0.0

    @property
    def params_note(self) -> str:
        notes, parts = [], list(self.unused)
        if parts:
            named = ", ".join(parts[:4]) + (f" and {len(parts) - 4} more" if len(parts) > 4 else "")
            notes.append(f"{sum(self.unused.values()):,} of the parameters never run in a pass in eval mode: {named}")
        if self.strangers:
            notes.append(
                f"{self.strangers:,} weights are of layers that the network does not know, as in a plain list or made "
                "in forward: they are neither counted nor trained"
            )
        return "; ".join(notes)

    @property
    def note(self) -> str:
        names = ", ".join(f"{name} ({calls} call{'s' * (calls > 1)})" for name, calls in self.unknown.items())
        bound = f"lower bound: no formula for {names}" if names else ""
        return joined(bound, self.on_cpu, self.params_note)


@lru_cache(maxsize=1)
def layer_products(spec: ModelSpec) -> Products:
    """`products` of a network of the registry or of your own; the last answer is kept, as many probes need it.

    Raises:
        Exception: whatever the network raises, where it runs neither without data nor on the CPU.
    """
    found, on_cpu = counted(spec, lambda network: products(network, spec.input_size))
    return replace(found, on_cpu=on_cpu)


def products(network: nn.Module, input_size: tuple[int, int, int]) -> Products:
    """Every call in eval mode with its MACs, activations and parameters, for one image, wherever the network is."""
    network.eval()
    recorder = _Recorder(network)
    counter, elsewhere = ProductCounter(recorder, network), ByNumPy()
    with seeded(0), torch.no_grad(), open_attention(), elsewhere, Shortcuts(), counter:
        recorder.run(network, images_for(network, 1, input_size))
    if elsewhere.left and elsewhere.came:  # what is only looked at there, such as for a decision, computes nothing
        counter.unknown["numpy"] += elsewhere.came
    for script in outermost_scripts(network):  # once it is optimised, it has kernels that no mode sees
        counter.unknown.update(re.findall(r"prim::mkldnn_\w+|mkldnn_prepacked::\w+", str(script.inlined_graph)))
    recorder.add_leftover_params()
    return Products(
        calls=tuple(recorder.calls),
        counted=counter.counted,
        unknown=dict(counter.unknown),
        unused=_unused(network, counter.seen),
        strangers=sum(parameter.numel() for parameter in counter.strangers.values()),
    )


def _unused(network: nn.Module, used: set[int]) -> dict[str, int]:
    """Parts of the network no parameter of which was read, the largest of a kind: "aux1" for all that is in it."""
    trainable = {name: p for name, p in network.named_parameters() if p.requires_grad}
    parts: Counter[str] = Counter()
    running = [name for name, p in trainable.items() if id(p) in used]
    for name, parameter in trainable.items():
        if id(parameter) in used:
            continue
        words = name.split(".")
        part = name
        for length in range(1, len(words)):
            prefix = ".".join(words[:length])
            if not any(other.startswith(f"{prefix}.") for other in running):
                part = prefix
                break
        parts[part] += parameter.numel()
    return dict(parts)


def saved_tensors(
    network: nn.Module, input_size: tuple[int, int, int], num_classes: int, batch_size: int, seed: int
) -> SavedPass:
    """Every call with the bytes that autograd keeps of it, for a training step up to the loss.

    A storage counts once, at the call that first saves it; parameters and buffers do not count. The last row is the
    loss: its labels and probabilities. `seed` fixes which blocks a network that drops blocks at random keeps. Attention
    is the fused kernel of a CPU, which keeps one number for each row of scores.
    """
    network.train()
    recorder = _Recorder(network)
    held = {_storage_id(part) for tensor in tensors_of(network) for part in parts_of(tensor)}
    alive: list[Tensor] = []  # a freed storage's address could be given to another

    def pack(tensor: Tensor) -> Tensor:
        for part in parts_of(tensor):
            identity = _storage_id(part)
            if identity not in held:
                held.add(identity)
                alive.append(part)
                recorder.current.saved += part.untyped_storage().nbytes()
        return tensor

    images = images_for(network, batch_size, input_size)
    labels = torch.zeros(batch_size, dtype=torch.int64, device=images.device)
    hooks, others = saved_tensors_hooks(pack, lambda tensor: tensor), _seen_by_no_hook(pack)
    with seeded(seed) as drew, hooks, others, ExitStack() as without_data:
        if images.is_meta:
            fused = without_data.enter_context(imitated("cpu"))
            without_data.enter_context(Shortcuts())
        training_loss(recorder.run(network, images), labels, num_classes)
        return SavedPass(recorder.calls, drew(), images.is_meta and fused())


@contextmanager
def _seen_by_no_hook(keep: Callable[[Tensor], object]) -> Iterator[None]:
    """Tell `keep` of what autograd keeps unseen: in attributes of a function's context, and by the network's own hooks.

    Hooks of the network's own take the place of all others; what they pack is kept for what they are given. Selective
    checkpoints keep what they choose apart.
    """
    apply, enter = vars(Function)["apply"], saved_tensors_hooks.__enter__
    chosen: Any = checkpoint._VersionWrapper
    choose = chosen.__init__

    def kept(values: Any) -> Any:
        for tensor in tensors_in(values):
            keep(tensor)
        return values

    def applied(function: type[Function], *args: Any, **kwargs: Any) -> Any:
        out = apply.__get__(None, function)(*args, **kwargs)
        contexts = {tensor.grad_fn for tensor in tensors_in(out)}
        kept([vars(context) for context in contexts if isinstance(context, BackwardCFunction)])
        return out

    def chose(wrapper: Any, value: Any, *rest: Any, **more: Any) -> None:
        choose(wrapper, kept(value), *rest, **more)

    def entered(hooks: Any) -> None:
        pack = hooks.pack_hook
        if type(hooks).__module__ != "torch.utils.checkpoint":  # whose hooks keep nothing, and are known by themselves
            hooks.pack_hook = lambda tensor: kept(pack(tensor))
        enter(hooks)

    Function.apply, saved_tensors_hooks.__enter__ = classmethod(applied), entered  # type: ignore[method-assign]
    chosen.__init__ = chose
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "A saved_tensors_hooks context .* is active", FutureWarning)  # by us
            yield
    finally:
        chosen.__init__ = choose
        Function.apply, saved_tensors_hooks.__enter__ = apply, enter  # type: ignore[method-assign]


def _storage_id(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def layer_table(
    calls: Sequence[Call], draws: Sequence[BytesByCall] | None, time_ms: Mapping[CallKey, float] | None = None
) -> list[dict[str, Any]]:
    """A row for every call, in order: its output for one image, parameters, MACs, activations and saved bytes.

    `calls` are those of inference; `draws` hold the bytes that one or several training steps save for each, or are None
    where no such step runs. With the milliseconds of calls, these are a column, and the last row has those of no call
    in the table.
    """
    saved, made = _mean(draws or []), dict.fromkeys(call.key for call in calls)
    training_only = [key for key, amount in saved.items() if key not in made and amount]
    rows = {
        call.key: {
            "layer": call.path,
            "operation": call.operation,
            "output_shape": list(call.output_shape[1:]),
            "params": call.params,
            "macs": call.macs,
            "activations": call.activations,
            "saved_activation_bytes": None if draws is None else saved.get(call.key, 0),
        }
        for call in (*calls, *(Call(path, "in training", occurrence) for path, occurrence in training_only))
    }
    order = _in_order(list(made), list(saved), training_only)
    table = [rows[key] for key in order]
    if time_ms is not None:
        between = sum(spent for key, spent in time_ms.items() if key not in rows)
        table.append({**dict.fromkeys(table[0], 0), "layer": "(between layers)", "operation": "", "output_shape": []})
        for row, spent in zip(table, (*(time_ms.get(key, 0.0) for key in order), between), strict=True):
            row["time_ms"] = spent
    return table


def _mean(draws: Sequence[BytesByCall]) -> BytesByCall:
    """Per call over all draws; a call that a draw left out kept nothing in it."""
    keys = dict.fromkeys(key for draw in draws for key in draw)
    return {key: statistics.fmean(draw.get(key, 0.0) for draw in draws) for key in keys}


def _in_order(inference: list[CallKey], training: list[CallKey], training_only: list[CallKey]) -> list[CallKey]:
    """The calls of both passes as one list: those that only training makes come after their predecessor there."""
    order = list(inference)
    for key in training_only:
        before = training[: training.index(key)]
        known = [order.index(earlier) for earlier in before if earlier in order]
        order.insert(max(known, default=-1) + 1, key)
    return order
