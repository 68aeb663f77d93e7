"""What a call of a torch function is called in a picture: its kind, and a phrase such as "conv 3×3, 64, /2"."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bench.structure import Kind


@dataclass(frozen=True)
class Phrase:
    """What an operation is called; `signature` is the text without widths, equal in blocks that look the same."""

    kind: Kind
    text: str
    signature: str


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


def is_plumbing(name: str) -> bool:
    """Whether it changes place or type, or nothing."""
    return name in _PLUMBING


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
    if name in ("mean", "amax") and _dims(args, kwargs) in ((-2, -1), (2, 3), (-1, -2)):
        text = "global average pool" if name == "mean" else "global max-pool"
        return Phrase("pooling", text, text)
    if "dropout" in name or name == "drop_path":
        return Phrase("light", f"dropout {_argument(args, kwargs, 1, 'p', 0.5):g}", "dropout")
    if name in ("mean", "amax"):
        return Phrase("pooling", name, name)
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
    if name in _RESHAPES or is_plumbing(name):
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
