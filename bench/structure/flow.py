"""Which operation read what which other one wrote: the data flow of one inference, followed from tensor to tensor.

Every torch function that the network calls passes through a `TorchFunctionMode`, which sees the very objects that the
network holds: `out + shortcut(x)` reads the results of whichever calls made `out` and `shortcut(x)`, whoever wrote
the network and whatever its modules are called. Hooks tell which module a call belongs to. The second half says what
a call is called in a picture: its kind, and a phrase such as "conv 3×3, 64, /2".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bench.probes.counting.imitation import open_attention
from bench.probes.counting.layers import ProductCounter
from bench.probes.counting.networks import hooked
from bench.probes.counting.operators import tensors_in
from bench.probes.reading import Unsupported
from bench.structure import Kind


@dataclass(frozen=True)
class Phrase:
    """What an operation is called; `signature` is the text without widths, equal in blocks that look the same."""

    kind: Kind
    text: str
    signature: str


@dataclass(eq=False)
class Scope:
    """One call of one module."""

    path: str  # "stages.0.1"; "" is the network itself
    title: str  # the module's class
    parent: Scope | None
    occurrence: int  # which call of this module, from 0
    entered: tuple[int, ...] = ()  # operations whose results are its arguments

    @property
    def ancestors(self) -> Iterator[Scope]:
        """Itself, its parent, ..., the network."""
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.parent


@dataclass
class Counted:
    """What the dispatcher counts for one call."""

    macs: int = 0
    activations: int = 0


@dataclass(eq=False)
class Operation:
    """One call of a torch function that reads the image or something made from it."""

    index: int  # in `Flow.operations`; 0 is the image itself
    phrase: Phrase
    scope: Scope
    sources: tuple[int, ...]  # operations whose results it reads, each once, in the order of its arguments
    output_shape: tuple[int, ...]  # of its first result, without the batch
    params: int = 0  # of weights that no earlier operation used
    macs: int = 0
    shared: bool = False  # it has weights, and all of them were used before

    @property
    def exact_signature(self) -> Hashable:
        """Equal for operations that agree in every width and count too."""
        return self.phrase.signature, self.output_shape, self.params, self.macs, self.shared


@dataclass(frozen=True)
class Flow:
    """All operations of one inference, in order."""

    operations: tuple[Operation, ...]
    outputs: frozenset[int]  # operations whose results the network returns
    unused: tuple[tuple[str, int], ...]  # (module at the top, params) that no operation used


@dataclass
class _Provenance:
    """Where each tensor's values come from. Tensors stay alive, so that no address is given to another."""

    alive: list[Tensor] = field(default_factory=list)
    made: dict[int, int] = field(default_factory=dict)  # tensor -> operation
    written: dict[int, int] = field(default_factory=dict)  # storage -> the latest operation that wrote in place
    constants: dict[int, tuple[str, ...]] = field(default_factory=dict)  # tensor without image -> weights it is made of

    def source(self, tensor: Tensor) -> int | None:
        """The operation that last wrote what this tensor shows; None for a constant."""
        made = self.made.get(id(tensor))
        written = self.written.get(_storage(tensor)) if self.written else None
        return max((index for index in (made, written) if index is not None), default=None)

    def make(self, tensor: Tensor, operation: int, in_place: bool) -> None:
        self.alive.append(tensor)
        self.made[id(tensor)] = operation
        if in_place:
            self.written[_storage(tensor)] = operation

    def keep_constant(self, tensor: Tensor, weights: tuple[str, ...]) -> None:
        self.alive.append(tensor)
        self.constants[id(tensor)] = weights


class _Tracer(TorchFunctionMode):
    """Notes every call of a torch function with the module that made it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self.current = Counted()  # of the call that runs now, or of calls that no operation stands for yet
        self._paths = {module: path for path, module in network.named_modules()}
        self._weights = dict(network.named_parameters())
        self._used: set[str] = set()
        self._scopes: list[Scope] = []
        self._occurrences: Counter[str] = Counter()
        self._provenance = _Provenance()
        for name, tensor in (*network.named_buffers(), *self._weights.items()):
            self._provenance.keep_constant(tensor, (name,))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = tensors_in((args, kwargs))
        versions = [tensor._version for tensor in tensors]
        result = func(*args, **kwargs)
        name = function_name(func)
        results = [args[0]] if name == "setitem" else tensors_in(result)
        if not results or not self._scopes:
            return result
        returned = {id(tensor) for tensor in results}
        written = any(t._version != v for t, v in zip(tensors, versions, strict=True) if id(t) in returned)
        if isinstance(result, Tensor) and not written and any(tensor is result for tensor in tensors):
            if name in _PLUMBING or drops_nothing(name, args, kwargs):
                return result
            # Evaluation mode hands dropout's argument back: a new object tells before from after.
            result = result.view_as(result)
            results = [result]
        if name in SHAPE_ONLY:
            tensors = []
        self._note(name, args, kwargs, tensors, results, written)
        return result

    def _note(
        self, name: str, args: Any, kwargs: Any, reads: list[Tensor], results: list[Tensor], written: bool
    ) -> None:
        sources = self._sources(reads)
        weights = tuple(
            weight
            for tensor in reads
            if self._provenance.source(tensor) is None
            for weight in self._provenance.constants.get(id(tensor), ())
        )
        if len(sources) == 1 and changes_nothing(name, args):
            self._provenance.make(results[0], sources[0], in_place=False)
            return
        if not sources:
            for tensor in results:
                self._provenance.keep_constant(tensor, weights)
            return
        operands = list(dict.fromkeys(weight.rpartition(".")[2] for weight in weights))
        phrase = describe(name, args, kwargs, results[0], operands, joins=len(sources) > 1)
        self._add(phrase, sources, weights, results, written)

    def _add(
        self, phrase: Phrase, sources: tuple[int, ...], weights: tuple[str, ...], results: list[Tensor], written: bool
    ) -> None:
        trained = [weight for weight in weights if weight in self._weights and self._weights[weight].requires_grad]
        new = [weight for weight in dict.fromkeys(trained) if weight not in self._used]
        self._used.update(new)
        operation = Operation(
            index=len(self.operations),
            phrase=phrase,
            scope=self._scopes[-1],
            sources=sources,
            output_shape=tuple(results[0].shape[1:]),
            params=sum(self._weights[weight].numel() for weight in new),
            macs=self.current.macs,
            shared=bool(trained) and not new,
        )
        self.current = Counted()
        self.operations.append(operation)
        for tensor in results:
            self._provenance.make(tensor, operation.index, written)

    def _sources(self, tensors: list[Tensor]) -> tuple[int, ...]:
        found = (self._provenance.source(tensor) for tensor in tensors)
        return tuple(dict.fromkeys(source for source in found if source is not None))

    def enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        path = self._paths[module]
        parent = self._scopes[-1] if self._scopes else None
        scope = Scope(path, type(module).__name__, parent, self._occurrences[path])
        self._occurrences[path] += 1
        self._scopes.append(scope)
        tensors = tensors_in((args, kwargs))
        if parent is None:
            for tensor in tensors:
                self._add(Phrase("input", "input", "input"), (), (), [tensor], written=False)
        scope.entered = self._sources(tensors)

    def leave(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        """Where a module made its result out of sight, such as a compiled one, it is one operation."""
        scope = self._scopes[-1]
        hidden = [tensor for tensor in tensors_in(output) if self._provenance.source(tensor) is None]
        hidden = [tensor for tensor in hidden if id(tensor) not in self._provenance.constants]
        if hidden and scope.entered:
            weights = tuple(f"{scope.path}.{name}".lstrip(".") for name, _ in module.named_parameters())
            self._add(Phrase("other", scope.title, scope.title), scope.entered, weights, hidden, written=False)
        self._scopes.pop()

    def flow(self, output: Any) -> Flow:
        unused: Counter[str] = Counter()
        for name, weight in self._weights.items():
            if weight.requires_grad and name not in self._used:
                unused[name.partition(".")[0]] += weight.numel()
        outputs = frozenset(self._sources(tensors_in(output)))
        return Flow(tuple(self.operations), outputs, tuple(unused.items()))


def trace(network: nn.Module, input_size: tuple[int, int, int]) -> Flow:
    """The data flow of one image through a network on the meta device, in evaluation mode.

    Raises:
        Unsupported: the network cannot run without data, or its result does not depend on the image.
    """
    network.eval()
    tracer = _Tracer(network)
    images = torch.empty(1, *input_size, device="meta")
    hooks = hooked(network.modules(), tracer.enter, tracer.leave)
    try:
        with hooks, torch.no_grad(), open_attention(), ProductCounter(tracer), tracer:
            output = network(images)
    except NotImplementedError as error:
        raise Unsupported(f"the network cannot run without data (meta device): {error}") from error
    flow = tracer.flow(output)
    if not flow.outputs:
        raise Unsupported("the network's result does not depend on its image")
    return flow


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


# --- What a call is called ---

_LIGHT = {
    "relu": "ReLU",
    "relu6": "ReLU6",
    "leaky_relu": "leaky ReLU",
    "prelu": "PReLU",
    "elu": "ELU",
    "selu": "SELU",
    "gelu": "GELU",
    "silu": "SiLU",
    "mish": "Mish",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "hardtanh": "hard tanh",
    "hardswish": "hard swish",
    "hardsigmoid": "hard sigmoid",
    "softmax": "softmax",
    "log_softmax": "log softmax",
    "batch_norm": "BN",
    "layer_norm": "LN",
    "group_norm": "GN",
    "instance_norm": "IN",
    "rms_norm": "RMS norm",
    "local_response_norm": "LRN",
}
_SYMBOLS = {"add": "+", "sub": "−", "mul": "×", "div": "÷", "truediv": "÷"}
_JOINS = {f"{manner}{verb}": symbol for verb, symbol in _SYMBOLS.items() for manner in ("", "r", "i")} | {
    **dict.fromkeys(("cat", "concat", "concatenate", "hstack", "vstack", "dstack"), "concat"),
    "stack": "stack",
}
_PRODUCTS = ("matmul", "rmatmul", "bmm", "baddbmm", "einsum", "tensordot")
_RESHAPES = (
    "flatten", "unflatten", "view", "view_as", "reshape", "reshape_as", "transpose", "permute", "movedim",
    "swapaxes", "t", "T", "mT", "unbind", "chunk", "split", "split_with_sizes", "tensor_split", "getitem", "select",
    "narrow", "roll", "squeeze", "unsqueeze", "expand", "expand_as", "pixel_shuffle", "pixel_unshuffle", "unfold",
    "channel_shuffle",
)  # fmt: skip
# These read a tensor's shape and type, not its values.
SHAPE_ONLY = frozenset(
    f"{verb}_like" for verb in ("zeros", "ones", "empty", "full", "rand", "randn", "randint")
) | frozenset(("new_zeros", "new_ones", "new_empty", "new_full", "new_tensor"))
# These change a tensor's place or type, or nothing: not drawn where the result is the argument itself.
_PLUMBING = ("contiguous", "to", "float", "half", "bfloat16", "type", "type_as", "clone", "detach", "alias", "data")


def function_name(function: Any) -> str:
    """A function's name: "conv2d", "add" for `x + y` and `x += y`, "T" for the property."""
    name = getattr(function, "__name__", type(function).__name__)
    if name == "__get__":
        name = getattr(function.__self__, "__name__", name)
    return name.strip("_")


def describe(
    name: str, args: Sequence[Any], kwargs: Mapping[str, Any], result: Tensor, operands: Sequence[str], joins: bool
) -> Phrase:
    """The phrase of one call.

    Args:
        result: its first result.
        operands: names of weights that it reads.
        joins: it reads several results of earlier operations.
    """
    if name.startswith(("conv1d", "conv2d", "conv3d", "conv_transpose")):
        return _convolution(name, args, kwargs, result)
    if name in ("linear", "addmm", "bilinear"):
        return Phrase("linear", f"linear {result.shape[-1]}", "linear")
    if "attention" in name:
        return _attention(name, args, result)
    if "pool" in name:
        return _pool(name, args, kwargs, result)
    if name in ("mean", "amax"):
        overall = {"mean": "global average pool", "amax": "global max-pool"}[name]
        text = overall if _dims(args, kwargs) in ((-2, -1), (2, 3), (-1, -2)) else name
        return Phrase("pooling", text, text)
    if "dropout" in name or name == "drop_path":
        return Phrase("light", f"dropout {_argument(args, kwargs, 1, 'p', 0.5):g}", "dropout")
    if name in _LIGHT:
        return Phrase("light", _LIGHT[name], _LIGHT[name])
    if name in _JOINS:
        return _join(_JOINS[name], args, operands, joins)
    if name in _PRODUCTS:
        return Phrase("join" if joins else "linear", "matmul" if "matmul" in name else name, name)
    if name == "getitem":
        text = _index(args[1])
        return Phrase("reshape", text, _any_number(text))
    if name == "setitem":
        text = f"assign {_index(args[1])}"
        return Phrase("join" if joins else "light", text, _any_number(text))
    if name == "pad":
        text = "pad channels" if _pads_channels(_argument(args, kwargs, 1, "pad", ())) else "pad"
        return Phrase("reshape", text, text)
    words = name.replace("_", " ")
    if name in (*_RESHAPES, *_PLUMBING):
        return Phrase("reshape", words, words)
    return Phrase("join" if joins else "other", words, words)


def changes_nothing(name: str, args: Sequence[Any]) -> bool:
    """Whether an index such as `x[:]` or `x[:, ::1]` gives another tensor with the same values."""
    if name != "getitem":
        return False
    parts = args[1] if isinstance(args[1], tuple) else (args[1],)
    return all(part is Ellipsis or (isinstance(part, slice) and _one_index(part) == ":") for part in parts)


def drops_nothing(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether it is a dropout layer of probability zero."""
    return "dropout" in name and _argument(args, kwargs, 1, "p", 0.5) == 0


def _argument(args: Sequence[Any], kwargs: Mapping[str, Any], position: int, name: str, default: Any) -> Any:
    return kwargs.get(name, args[position] if len(args) > position else default)


def _convolution(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], result: Tensor) -> Phrase:
    weight: Tensor = _argument(args, kwargs, 1, "weight", None)
    transposed = name.startswith("conv_transpose")
    stride = _argument(args, kwargs, 3, "stride", 1)
    groups = _argument(args, kwargs, 6, "groups", 1)
    dilation = _argument(args, kwargs, 7 if transposed else 5, "dilation", 1)
    channels = result.shape[-(weight.dim() - 1)]
    depthwise = groups > 1 and groups == channels
    verb = ("depthwise " if depthwise else "") + ("transposed conv" if transposed else "conv")
    conv = f"{verb} {_window(tuple(weight.shape[2:]))}"
    details = f", dilation {_step(dilation)}" if _step(dilation) != "1" else ""
    if _step(stride) != "1":
        details += f", {'×' if transposed else '/'}{_step(stride)}"
    grouped = f", {groups} groups" if groups > 1 and not depthwise else ""
    return Phrase("convolution", f"{conv}, {channels}{details}{grouped}", conv + details + grouped)


def _attention(name: str, args: Sequence[Any], result: Tensor) -> Phrase:
    text = "attention"
    if name.startswith("multi_head_attention"):
        text = f"multi-head attention, {args[4]} heads"
    elif name == "scaled_dot_product_attention" and result.dim() == 4:
        heads = result.shape[1]
        text = f"attention, {heads} head{'' if heads == 1 else 's'}"
    return Phrase("attention", text, "attention")


def _pool(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], result: Tensor) -> Phrase:
    kind = "max" if "max" in name else "average" if "avg" in name else name.replace("_", " ")
    if name.startswith("adaptive"):
        size = "×".join(str(side) for side in result.shape[2:])
        text = f"global {kind} pool" if set(result.shape[2:]) == {1} else f"{kind} pool to {size}"
        return Phrase("pooling", text, text)
    window = _argument(args, kwargs, 1, "kernel_size", 1)
    stride = _argument(args, kwargs, 2, "stride", None) or window
    text = f"{kind} pool {_window(window)}" + (f", /{_step(stride)}" if _step(stride) != "1" else "")
    return Phrase("pooling", text, text)


def _join(symbol: str, args: Sequence[Any], operands: Sequence[str], joins: bool) -> Phrase:
    if joins:
        return Phrase("join", symbol, symbol)
    if operands:  # a weight of the network, such as a class token
        text = f"{symbol} {', '.join(operands)}"
        return Phrase("other", text, text)
    numbers = [arg for arg in args if isinstance(arg, int | float)] if len(symbol) == 1 else []
    text = f"{symbol} {numbers[0]:.3g}" if numbers else symbol
    return Phrase("light", text, symbol)


def _index(index: Any) -> str:
    """An index as Python writes it, such as "[:, ::2]"."""
    parts = index if isinstance(index, tuple) else (index,)
    return "[" + ", ".join(_one_index(part) for part in parts) + "]"


def _any_number(text: str) -> str:
    return re.sub(r"\d+", "n", text)


def _one_index(part: Any) -> str:
    if isinstance(part, slice):
        ends = ":".join("" if end is None else str(end) for end in (part.start, part.stop))
        return ends if part.step in (None, 1) else f"{ends}:{part.step}"
    if part is Ellipsis:
        return "..."
    return str(part) if isinstance(part, int | None) else "…"


def _pads_channels(pad: Sequence[int]) -> bool:
    """Whether nothing but C of (B, C, H, W) grows; the last dimension comes first."""
    return len(pad) == 6 and not any(pad[:4])


def _dims(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[int, ...]:
    dims = _argument(args, kwargs, 1, "dim", ())
    return tuple(dims) if isinstance(dims, tuple | list) else ()


def _window(size: int | Sequence[int]) -> str:
    """Height and width, "3×3", also of one number that serves both."""
    return f"{size}×{size}" if isinstance(size, int) else "×".join(map(str, size))


def _step(size: int | Sequence[int]) -> str:
    """One number where both sides have the same, "2"; else both."""
    sides = [size] if isinstance(size, int) else list(dict.fromkeys(size))
    return "×".join(map(str, sides if len(sides) == 1 or isinstance(size, int) else size))
