"""How the meta device answers as a CPU or a GPU would: what operators return there, in which layout, and attention.

Only layouts and what is kept for the backward pass are at stake: a reshape of another layout copies where a kernel's
has a view, and the bytes of a step are others.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_map

from bench.device.accelerator import KernelKind
from bench.probes.counting.operators import Mode

_ATEN = torch.ops.aten


class Shortcuts(Mode):
    """Answers the kinds of operation whose shapes PyTorch works out slowly, in Python, and nobody asks for values.

    Without this, batch norm and random initial weights take nine tenths of the time of a pass on the meta device, the
    first addition imports PyTorch's compiler, and gradients of convolutions lose the memory format that a real kernel
    keeps. Real tensors pass untouched.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        answer = _ANSWERS.get(func)
        if answer is not None and not kwargs and any(getattr(arg, "is_meta", False) for arg in args[:2]):
            known = answer(*args)
            if known is not None:
                return known
        return func(*args, **(kwargs or {}))


# What an operator returns of tensors without data, laid out as a kernel does it; None where that takes more than this.


def _layout(tensor: Tensor) -> torch.memory_format:
    """That of what a kernel makes of a tensor: channels last where its strides are, as PyTorch's C++ looks at them."""
    sizes, strides, least = tensor.shape, tensor.stride(), 0
    if len(sizes) not in (4, 5) or not strides[1]:
        return torch.contiguous_format
    for dim in (1, *range(len(sizes) - 1, 1, -1), 0):
        if not sizes[dim] or strides[dim] < least or (dim == 0 and least == strides[1]):
            return torch.contiguous_format
        least = strides[dim] * sizes[dim]
    return torch.channels_last if len(sizes) == 4 else torch.channels_last_3d


def _as_it_is(images: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(images, memory_format=_layout(images))


def _convolved(images: Tensor, weight: Tensor, *rest: Any) -> Tensor:
    out: Tensor = _ATEN.convolution.default(images, weight, *rest)
    row = images.dim() == 3  # computed as an image of one
    made, *read = (each.unsqueeze(2) if row else each for each in (out, images.contiguous() if row else images, weight))
    last = {*map(_layout, read)} - {torch.contiguous_format}
    if last and images.dtype != torch.float64:
        made = torch.empty_like(made, memory_format=last.pop())
    return made.squeeze(2) if row else made


def _normalised(
    images: Tensor, weight: Tensor | None, _bias: object, _mean: object, _var: object, training: bool, *_: Any
) -> Any:
    # The mean and deviation per channel, which training keeps for the backward pass.
    statistics = (images if weight is None else weight).new_empty(images.shape[1] if training else 0)
    layouts = (torch.contiguous_format, torch.channels_last, torch.channels_last_3d)[: max(1, images.dim() - 2)]
    known = (each for each in layouts if images.is_contiguous(memory_format=each))
    out = torch.empty_like(images, memory_format=next(known, None) or _layout(images))
    return out, statistics, torch.empty_like(statistics)


def _normalised_by_groups(images: Tensor, weight: Tensor | None, _bias: object, *sizes: Any) -> Any:
    statistics = (images if weight is None else weight).new_empty(sizes[0], sizes[3])
    return _as_it_is(images), statistics, torch.empty_like(statistics)


def _normalised_by_rows(images: Tensor, shape: list[int], weight: Tensor | None, *rest: Any) -> Any:
    if images.dtype not in (torch.float16, torch.bfloat16):
        return None
    out, *statistics = _ATEN.native_layer_norm.default(images, shape, weight, *rest)
    return out, *(each.to((images if weight is None else weight).dtype) for each in statistics)


def _gradients(gradient: Tensor, images: Tensor, weight: Tensor, *rest: Any) -> Any:
    of_images, of_weight, of_bias = rest[-1]  # which are wanted
    bias = gradient.new_empty(gradient.shape[1]) if of_bias else None
    return torch.empty_like(images) if of_images else None, torch.empty_like(weight) if of_weight else None, bias


def _of_two_alike(one: Tensor, other: Any) -> Tensor | None:
    layouts = [
        (type(each), each.is_meta, each.dtype, each.shape, each.stride())
        for each in (one, other)
        if isinstance(each, Tensor)
    ]
    alike = len(layouts) == 2 and layouts[0] == layouts[1] and one.is_floating_point() and 0 not in one.stride()
    return torch.empty_like(one) if alike else None


def _mean(values: Tensor, dims: list[int] | None, keepdim: bool = False) -> Tensor | None:
    if not (dims and values.dim() and values.is_contiguous()):
        return None
    averaged = {dim % values.dim() for dim in dims}
    sizes = ((dim, 1 if dim in averaged else size) for dim, size in enumerate(values.shape))
    return values.new_empty([size for dim, size in sizes if keepdim or dim not in averaged])


def _added_product(bias: Tensor, left: Tensor, right: Tensor) -> Tensor | None:
    fits = bias.shape == right.shape[1:] and left.shape[1] == right.shape[0]
    return left.new_empty(left.shape[0], right.shape[1]) if fits else None


def _loss(values: Tensor, labels: Tensor, weight: Tensor | None, reduction: int, ignored: int) -> Any:
    plain = weight is None and reduction == 1 and labels.shape == values.shape[:1]
    return (values.new_empty(()), values.new_empty(())) if plain else None


def _resized(operator: Any, values: Tensor, *rest: Any) -> Tensor:
    """In the memory of a copy of the input, where that is larger."""
    out: Tensor = operator(values, *rest)
    size = out.numel()
    return out if size >= values.numel() else values.new_empty(values.numel())[:size].view(out.shape)


def _scattered(values: Tensor, *_: Any) -> Tensor:
    """A copy of all of the memory in which the values lie."""
    copy = values.new_empty(values.untyped_storage().nbytes() // values.element_size())
    return copy.as_strided(values.shape, values.stride(), values.storage_offset())


def _contiguous(operator: Any, *args: Any) -> Any:
    """Whatever the layout of the input."""
    return tree_map(partial(torch.empty_like, memory_format=torch.contiguous_format), operator(*args))


def _only_contiguous(*args: Any) -> None:
    """What they make of others, a CPU lays out in a way of its own."""
    if any(isinstance(arg, Tensor) and not arg.is_contiguous() for arg in args):
        raise TypeError("how a CPU lays out what an operator makes of a transposed tensor shows on a CPU only")


_ANSWERS: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys((_ATEN.native_batch_norm.default, _ATEN._native_batch_norm_legit.default), _normalised),
    _ATEN.convolution.default: _convolved,
    _ATEN.convolution_backward.default: _gradients,
    _ATEN.add.Tensor: _of_two_alike,
    _ATEN.mul.Tensor: _of_two_alike,
    _ATEN.mean.dim: _mean,
    _ATEN.addmm.default: _added_product,
    _ATEN._log_softmax.default: lambda values, dim, to_float: None if to_float else values.new_empty(values.shape),
    _ATEN.nll_loss_forward.default: _loss,
    _ATEN.pow.Scalar: partial(_contiguous, _ATEN.pow.Scalar),
    **dict.fromkeys((_ATEN.normal_.default, _ATEN.uniform_.default), lambda values, *_: values),
    **{
        operator.default: partial(_resized, operator.default)
        for operator in (
            *(_ATEN.im2col, _ATEN.col2im),
            *(_ATEN.mse_loss, _ATEN.smooth_l1_loss, _ATEN.soft_margin_loss, _ATEN.binary_cross_entropy),
        )
    },
    **{
        operator.default: _scattered for operator in (_ATEN.diagonal_scatter, _ATEN.select_scatter, _ATEN.slice_scatter)
    },
}

_OF_A_CPU: dict[Any, Callable[..., Any]] = {
    _ATEN.native_group_norm.default: _normalised_by_groups,
    _ATEN.native_layer_norm.default: _normalised_by_rows,
    **dict.fromkeys((_ATEN.channel_shuffle.default, _ATEN.native_channel_shuffle.default), _as_it_is),
    _ATEN.roll.default: lambda values, shifts, dims=(): _as_it_is(values) if dims else None,
    _ATEN.log_sigmoid_forward.default: partial(_contiguous, _ATEN.log_sigmoid_forward.default),
    _ATEN.rrelu_with_noise.default: partial(_contiguous, _ATEN.rrelu_with_noise.default),
    **dict.fromkeys((_ATEN.copysign.Tensor, _ATEN.ldexp.Tensor), _only_contiguous),
    **{
        operator.default: _only_contiguous
        for operator in (
            *(_ATEN.angle, _ATEN.logaddexp, _ATEN.max_unpool2d, _ATEN.nll_loss2d_forward),
            *(_ATEN.floor_divide, _ATEN.heaviside, _ATEN.logical_and, _ATEN.logical_or, _ATEN.logical_xor),
        )
    },
}


def _on_a_cpu(answer: Callable[..., Any], values: Tensor, *rest: Any) -> Any:
    return answer(values, *rest) if torch._meta_registrations.device_hint(values) == "cpu" else None


_ANSWERS |= {operator: partial(_on_a_cpu, answer) for operator, answer in _OF_A_CPU.items()}


class OnTheCPUAlone(TorchFunctionMode):
    """Ends a pass without data at what a CPU does in a way of its own."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _NOT_WITHOUT_DATA and any(
            isinstance(arg, Tensor) and arg.is_meta for arg in (*args, *kwargs.values())
        ):
            raise TypeError(f"a CPU computes {func.__name__} with a kernel of its own, which keeps other tensors")
        return func(*args, **kwargs)


_NOT_WITHOUT_DATA = {
    *(torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu),
    *(F.embedding_bag, torch.embedding_bag),
    *(torch.quantile, Tensor.quantile, torch.nanquantile, Tensor.nanquantile),
    getattr(F, "linear_cross_entropy", None),  # of later versions of PyTorch
}


@contextmanager
def open_attention() -> Iterator[None]:
    """Keep attention from where no counter sees it.

    nn.MultiheadAttention has a fused eval path, one opaque operation; flex_attention compiles itself at each call.
    """
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    flex: Any = sys.modules.get("torch.nn.attention.flex_attention")
    if flex is not None:
        flex._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG = True
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
        if flex is not None:
            flex._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG = False


_PLAIN = F.scaled_dot_product_attention


@contextmanager
def imitated(device: KernelKind) -> Iterator[Callable[[], bool]]:
    """While entered, the meta device takes the kernels of `device` for attention, and lays out what it makes as that.

    PyTorch's own Python functions, in which no mode sees a call, find attention under its name; all others meet the
    mode. Yields whether it was fused since.
    """
    taken = False

    def attention(*args: Any, **kwargs: Any) -> Tensor:
        nonlocal taken
        fused = _attention(device, *args, **kwargs)
        taken = taken or fused is not None
        return _PLAIN(*args, **kwargs) if fused is None else fused

    formulas: Any = torch._meta_registrations
    before, hint = F.scaled_dot_product_attention, formulas.device_hint
    if before is _PLAIN:
        F.scaled_dot_product_attention = attention
    formulas.device_hint = lambda tensor: device if tensor.is_meta else hint(tensor)
    try:
        with _Fused(attention):
            yield lambda: taken
    finally:
        F.scaled_dot_product_attention, formulas.device_hint = before, hint


class _Fused(TorchFunctionMode):
    def __init__(self, attention: Any) -> None:
        super().__init__()
        self._attention = attention

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.is_autocast_enabled("cpu") and any(isinstance(arg, Tensor) and arg.is_meta for arg in args):
            raise TypeError("the network's own autocast casts nothing that has no data")
        return (self._attention if func is _PLAIN else func)(*args, **(kwargs or {}))


def _attention(
    device: KernelKind,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor | None:
    """Whatever the device and its kernel: the output and one number for each row of scores are kept.

    None where the device would not take it. A CPU says so itself; a GPU's kernels also drop out and learn masks.
    """
    on_gpu = device == "cuda"
    limits = (None, 0.0) if on_gpu else (attn_mask, dropout_p)
    if not query.is_meta or (on_gpu and enable_gqa):
        return None
    if not _fuses(query, key, value, *limits, is_causal, scale=scale, enable_gqa=enable_gqa):
        return None
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill_(attn_mask.logical_not(), -torch.inf)
    several = [tensor.unsqueeze(0) if query.dim() == 3 else tensor for tensor in (query, key, value)]
    if attn_mask is not None and query.dim() == attn_mask.dim() == 3:
        attn_mask = attn_mask.unsqueeze(0)
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    out: Tensor = kernel(*several, is_causal=is_causal, attn_mask=attn_mask, scale=scale)[0]
    return out.squeeze(0) if query.dim() == 3 else out


def _fuses(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *rest: Any, **more: Any) -> bool:
    """Whether a CPU would take its fused kernel for tensors like these."""

    def like(tensor: Tensor) -> Tensor:
        """On the CPU, of two images at most, and never written to."""
        images = tensor.shape[:1] if tensor.dim() < 4 else (min(tensor.shape[0], 2),)
        shape, dtype = (*images, *tensor.shape[1:]), tensor.dtype
        return torch.empty_strided(
            shape, tensor.stride(), dtype=dtype, device="cpu", requires_grad=tensor.requires_grad
        )

    with _disable_current_modes():  # nobody shall count them
        like_mask = None if mask is None else like(mask)
        choice = torch._fused_sdp_choice(like(query), like(key), like(value), like_mask, *rest, **more)
    return bool(choice == SDPBackend.FLASH_ATTENTION.value)
