"""A grammar of small networks: each production makes a part and says by a closed form what it holds and computes.

A part takes (B, *shape) to (B, *new shape). Its MACs are those of one image: every output element of a product times
the length of its sum, padding included; of a transposed convolution, every input element times the weights it meets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

Shape = tuple[int, ...]  # of one image: (C, H, W), (C, D, H, W), (tokens, features) or (features,)
Draw = Any  # of Hypothesis


@dataclass(frozen=True)
class Part:
    """What a production gives; `make` builds it anew each time."""

    make: Callable[[], nn.Module]
    shape: Shape
    params: int = 0
    macs: int = 0
    marks: frozenset[str] = frozenset()


# What a part says of itself beside its counts.
UNCOUNTED = frozenset({"uncounted"})  # computes something for which the suite has no formula
LAZY = frozenset({"lazy"})  # has layers that find out their sizes in a pass
LATE = frozenset({"late"})  # has layers that its first call makes
UNSIZED = frozenset({"unsized"})  # and no pass comes to them


@dataclass(frozen=True)
class Example:
    """A whole network, its right counts, and what it returns."""

    build: Callable[..., nn.Module]
    input_size: tuple[int, int, int]
    params: int
    macs: int
    marks: frozenset[str]
    ambiguous: bool  # two of the things that it returns can be the logits
    words: str  # the productions, in order

    def __repr__(self) -> str:
        return f"{self.input_size}: {self.words} -> {self.params} parameters, {self.macs} MACs"


class Applied(nn.Module):
    """A function of itself and its input, with layers, parameters and plain attributes."""

    def __init__(self, function: Callable[[Any, Tensor], Any], **attributes: Any) -> None:
        super().__init__()
        self.function = function
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def applied(function: Callable[[Any, Tensor], Any], **makers: Callable[[], Any]) -> Callable[[], nn.Module]:
    return lambda: Applied(function, **{name: make() for name, make in makers.items()})


def weights(*shape: int) -> Callable[[], nn.Parameter]:
    return lambda: nn.Parameter(torch.randn(*shape) * 0.1)


def whole(draw: Draw, low: int, high: int) -> int:
    return int(draw(st.integers(low, high)))


def yes(draw: Draw) -> bool:
    return bool(draw(st.booleans()))


def one_of(draw: Draw, *choices: Any) -> Any:
    return draw(st.sampled_from(choices))


def divisor(draw: Draw, *numbers: int) -> int:
    common = math.gcd(*numbers)
    return int(one_of(draw, *(n for n in range(1, common + 1) if common % n == 0)))


# Convolutions, of as many dimensions as the shape has.

CONV: Mapping[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
LAZY_CONV: Mapping[int, Any] = {1: nn.LazyConv1d, 2: nn.LazyConv2d, 3: nn.LazyConv3d}
TRANSPOSED: Mapping[int, Any] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


def convolution(draw: Draw, shape: Shape) -> Part:
    """Grouped, dilated, strided, padded, by each dimension; lazy, or with a norm of its weights, or its bits frozen."""
    channels, *sides = shape
    out = whole(draw, 1, 8)
    groups = divisor(draw, channels, out)
    kernel = [whole(draw, 1, min(3, side)) for side in sides]
    dilation = [whole(draw, 1, 2) if 2 * (k - 1) < side else 1 for k, side in zip(kernel, sides, strict=True)]
    stride, padding = [whole(draw, 1, 2) for _ in sides], [whole(draw, 0, 2) for _ in sides]
    bias = yes(draw)
    after = tuple(
        (side + 2 * p - d * (k - 1) - 1) // s + 1
        for side, p, d, k, s in zip(sides, padding, dilation, kernel, stride, strict=True)
    )
    if padding == [0] * len(sides) and stride == [1] * len(sides) and yes(draw):
        padding, after = "same", tuple(sides)  # type: ignore[assignment]
    arguments: dict[str, Any] = {
        "kernel_size": kernel,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "bias": bias,
    }
    own = out * (channels // groups) * math.prod(kernel)
    params, macs = own + bias * out, math.prod(after) * own
    make: Callable[[], nn.Module] = partial(CONV[len(sides)], channels, out, **arguments)
    manner = one_of(draw, "plain", "plain", "lazy", "weight norm", "spectral norm", "frozen", "circular")
    if manner == "lazy":
        make = partial(LAZY_CONV[len(sides)], out, **arguments)
    elif manner == "weight norm":
        make, params = compose(parametrizations.weight_norm, make), params + out
    elif manner == "spectral norm":
        make = compose(parametrizations.spectral_norm, make)
    elif manner == "frozen":
        make, params = compose(lambda layer: layer.requires_grad_(False), make), 0
    elif manner == "circular" and padding != "same" and all(p <= side for p, side in zip(padding, sides, strict=True)):
        make = partial(CONV[len(sides)], channels, out, **arguments, padding_mode="circular")
    return Part(make, (out, *after), params, macs, LAZY if manner == "lazy" else frozenset())


def compose(after: Callable[[Any], nn.Module], make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: after(make())


def transposed_convolution(draw: Draw, shape: Shape) -> Part:
    channels, *sides = shape
    out = whole(draw, 1, 6)
    groups = divisor(draw, channels, out)
    kernel, stride = [whole(draw, 1, 3) for _ in sides], [whole(draw, 1, 2) for _ in sides]
    padding = [whole(draw, 0, (k - 1) // 2) for k in kernel]
    bias = yes(draw)
    after = tuple((side - 1) * s - 2 * p + k for side, s, p, k in zip(sides, stride, padding, kernel, strict=True))
    own = channels * (out // groups) * math.prod(kernel)
    make = partial(
        TRANSPOSED[len(sides)], channels, out, kernel, stride=stride, padding=padding, groups=groups, bias=bias
    )
    return Part(make, (out, *after), own + bias * out, math.prod(sides) * own)


def convolution_made_of_products(draw: Draw, shape: Shape) -> Part:
    """Patches taken out of the image, times a matrix."""
    channels, height, width = shape
    out, k = whole(draw, 1, 6), whole(draw, 1, min(3, height, width))
    after = (out, height - k + 1, width - k + 1)

    def run(self: Any, x: Tensor) -> Tensor:
        return (self.weight @ F.unfold(x, k)).view(-1, *after)

    params = out * channels * k * k
    return Part(applied(run, weight=weights(out, channels * k * k)), after, params, params * after[1] * after[2])


def convolution_by_the_image(draw: Draw, shape: Shape) -> Part:
    """The image's own means decide its kernels, one for each channel."""
    channels, height, width = shape

    def run(self: Any, x: Tensor) -> Tensor:
        kernels = self.fc(x.mean((2, 3))).view(-1, 1, 3, 3)
        return F.conv2d(x.reshape(1, -1, height, width), kernels, padding=1, groups=len(kernels)).view(x.shape)

    make = applied(run, fc=partial(nn.Linear, channels, 9 * channels))
    return Part(make, shape, 9 * channels * (channels + 1), 9 * channels * channels + 9 * channels * height * width)


def patches(draw: Draw, shape: Shape) -> Part:
    """An image as tokens."""
    channels, height, width = shape
    side, out = whole(draw, 1, min(height, width, 3)), whole(draw, 1, 8)
    tokens = (height // side) * (width // side)

    def run(self: Any, x: Tensor) -> Tensor:
        return self.embed(x).flatten(2).transpose(1, 2)

    own = out * channels * side * side
    make = applied(run, embed=partial(nn.Conv2d, channels, out, side, stride=side))
    return Part(make, (tokens, out), own + out, tokens * own)


def volume(draw: Draw, shape: Shape) -> Part:
    """An image as one channel whose depth is the image's channels."""
    return Part(applied(lambda self, x: x.unsqueeze(1)), (1, *shape))


def squeeze_and_excitation(draw: Draw, shape: Shape) -> Part:
    channels, inner = shape[0], whole(draw, 1, 4)

    def run(self: Any, x: Tensor) -> Tensor:
        return x * self.up(self.down(F.adaptive_avg_pool2d(x, 1)).relu()).sigmoid()

    make = applied(run, down=partial(nn.Conv2d, channels, inner, 1), up=partial(nn.Conv2d, inner, channels, 1))
    return Part(make, shape, 2 * channels * inner + inner + channels, 2 * channels * inner)


# Linear maps of the last dimension.


def linear(draw: Draw, shape: Shape) -> Part:
    """As a layer or a function of a parameter, a buffer or a plain tensor, or in another way of writing a product."""
    *rows, width = shape
    out, bias = whole(draw, 1, 12), yes(draw)
    after, macs = (*rows, out), math.prod(rows) * width * out
    manners = ["layer", "lazy", "matmul", "tensordot", "buffer", "plain tensor", "low rank"]
    manners += ["einsum"] if width > 1 else []  # a sum over one element is none: PyTorch multiplies elementwise
    manner = one_of(draw, *manners)
    if manner in ("layer", "lazy"):
        own: Any = partial(nn.Linear, width, out, bias=bias) if manner == "layer" else partial(nn.LazyLinear, out, bias)
        return Part(own, after, width * out + bias * out, macs, LAZY if manner == "lazy" else frozenset())
    if manner == "matmul":
        return Part(applied(lambda self, x: x @ self.w, w=weights(width, out)), after, width * out, macs)
    if manner == "einsum":
        run = lambda self, x: torch.einsum("...i,oi->...o", x, self.w)  # noqa: E731
        return Part(applied(run, w=weights(out, width)), after, width * out, macs)
    if manner == "tensordot":
        run = lambda self, x: torch.tensordot(x, self.w, dims=1)  # noqa: E731
        return Part(applied(run, w=weights(width, out)), after, width * out, macs)
    if manner == "buffer":
        run = lambda self, x: F.linear(x, self.w)  # noqa: E731
        return Part(applied(run, w=lambda: nn.Buffer(torch.randn(out, width))), after, 0, macs)
    if manner == "plain tensor":
        run = lambda self, x: F.linear(x, self.w.to(x.dtype))  # noqa: E731
        return Part(applied(run, w=lambda: torch.randn(out, width)), after, 0, macs)
    rank = whole(draw, 1, 3)  # its weights are a product of two, made anew in each pass
    run = lambda self, x: F.linear(x, self.a @ self.b)  # noqa: E731
    make = applied(run, a=weights(out, rank), b=weights(rank, width))
    return Part(make, after, rank * (out + width), macs + out * rank * width)


def bilinear(draw: Draw, shape: Shape) -> Part:
    """Two linear maps of the input in a bilinear form: a matrix for each output, first times one, then the other."""
    *rows, width = shape
    a, b, out = (whole(draw, 1, 5) for _ in range(3))

    def run(self: Any, x: Tensor) -> Tensor:
        return self.join(self.left(x), self.right(x))

    make = applied(
        run,
        left=partial(nn.Linear, width, a, bias=False),
        right=partial(nn.Linear, width, b, bias=False),
        join=partial(nn.Bilinear, a, b, out),
    )
    own = a * b * out
    macs = math.prod(rows) * (width * (a + b) + own + b * out)
    return Part(make, (*rows, out), width * (a + b) + own + out, macs)


def experts(draw: Draw, shape: Shape) -> Part:
    """Every vector is sent to the layer by a mask of numbers, which lets all of them pass."""
    *rows, width = shape

    def run(self: Any, x: Tensor) -> Tensor:
        kept = x.sum(-1) > -math.inf
        out = torch.zeros_like(x)
        out[kept] = self.fc(x[kept])
        return out

    make = applied(run, fc=partial(nn.Linear, width, width))
    return Part(make, shape, width * (width + 1), math.prod(rows) * width * width)


# Tokens (T, D).


def attention(draw: Draw, shape: Shape) -> Part:
    """Written out in one of several ways, by the function, or as PyTorch's module."""
    tokens, width = shape
    heads = divisor(draw, width)
    scale = (width // heads) ** -0.5
    manners = ["products", "bmm", "baddbmm", "function", "causal", "masked", "no heads", "module"]
    manners += ["einsum"] if tokens > 1 and width > heads else []
    manner = one_of(draw, *manners)
    macs = 4 * tokens * width * width + 2 * tokens * tokens * width
    if manner == "module":
        weights_too = yes(draw)

        def as_module(self: Any, x: Tensor) -> Tensor:
            out: Tensor = self.attention(x, x, x, need_weights=weights_too)[0]
            return out

        make = applied(as_module, attention=partial(nn.MultiheadAttention, width, heads, batch_first=True))
        return Part(make, shape, 4 * width * (width + 1), macs)
    if manner == "no heads":
        heads, scale = 1, width**-0.5

    def run(self: Any, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).view(len(x), tokens, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        if manner == "products":
            out = (q * scale @ k.transpose(-2, -1)).softmax(-1) @ v
        elif manner in ("bmm", "baddbmm"):
            q, k, v = (t.flatten(0, 1) for t in (q, k, v))
            if manner == "bmm":
                scores = torch.bmm(q, k.transpose(1, 2)) * scale
            else:
                scores = torch.baddbmm(x.new_zeros(()), q, k.transpose(1, 2), beta=0, alpha=scale)
            out = torch.bmm(scores.softmax(-1), v).view(len(x), heads, tokens, -1)
        elif manner == "einsum":
            scores = torch.einsum("bhid,bhjd->bhij", q, k) * scale
            out = torch.einsum("bhij,bhjd->bhid", scores.softmax(-1), v)
        elif manner == "masked":
            mask = torch.ones(tokens, tokens, dtype=torch.bool, device=x.device).tril()
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        elif manner == "no heads":
            out = F.scaled_dot_product_attention(*(t.squeeze(1) for t in (q, k, v))).unsqueeze(1)
        else:
            out = F.scaled_dot_product_attention(q, k, v, is_causal=manner == "causal")
        return self.project(out.transpose(1, 2).reshape(x.shape))

    make = applied(run, qkv=partial(nn.Linear, width, 3 * width), project=partial(nn.Linear, width, width))
    return Part(make, shape, 4 * width * (width + 1), macs)


def few_keys(draw: Draw, shape: Shape) -> Part:
    """Learned keys and values of another number and width: (T, D) x (S, D), then (T, S) x (S, V)."""
    tokens, width = shape
    keys, out = whole(draw, 1, 5), whole(draw, 1, 6)
    groups = yes(draw)

    def run(self: Any, x: Tensor) -> Tensor:
        k, v = (t.expand(len(x), 1, -1, -1) for t in (self.k, self.v))
        q = x.unsqueeze(1)
        if groups:
            q = torch.cat((q, q), 1)  # two heads of queries, one of keys
        return F.scaled_dot_product_attention(q, k, v, enable_gqa=groups)[:, 0]

    params = keys * (width + out)
    make = applied(run, k=weights(keys, width), v=weights(keys, out))
    return Part(make, (tokens, out), params, (1 + groups) * tokens * keys * (width + out))


def transformer_layer(draw: Draw, shape: Shape) -> Part:
    tokens, width = shape
    heads, inner = divisor(draw, width), whole(draw, 1, 8)
    make = partial(nn.TransformerEncoderLayer, width, heads, inner, batch_first=True, norm_first=yes(draw), dropout=0.0)
    params = 4 * width * (width + 1) + 2 * width * inner + inner + width + 4 * width
    return Part(make, shape, params, tokens * (4 * width**2 + 2 * width * inner) + 2 * tokens**2 * width)


RECURRENT: Mapping[str, tuple[Any, int]] = {"RNN": (nn.RNN, 1), "GRU": (nn.GRU, 3), "LSTM": (nn.LSTM, 4)}


def recurrent(draw: Draw, shape: Shape) -> Part:
    """Over the tokens, in layers and directions, from a state of zeros that may be made in forward."""
    tokens, width = shape
    kind, gates = RECURRENT[one_of(draw, *RECURRENT)]
    state, layers, both, bias = whole(draw, 1, 6), whole(draw, 1, 2), yes(draw), yes(draw)
    directions = 1 + both
    batch_first, given = yes(draw), yes(draw)
    projected = whole(draw, 1, state - 1) if gates == 4 and state > 1 and yes(draw) else 0
    shown = projected or state  # how wide what it hands on is
    params = macs = 0
    for layer in range(layers):
        inputs = width if layer == 0 else shown * directions
        products = gates * state * (inputs + shown) + (state * projected)
        params += directions * (products + bias * 2 * gates * state)
        macs += directions * tokens * products
    extra = {"proj_size": projected} if projected else {}
    make = partial(
        kind, width, state, num_layers=layers, bidirectional=both, bias=bias, batch_first=batch_first, **extra
    )

    def run(self: Any, x: Tensor) -> Tensor:
        first = x if batch_first else x.transpose(0, 1)
        if given:
            begin = [torch.zeros(layers * directions, len(x), n) for n in (shown, state)]  # on the CPU
            out = self.rnn(first, tuple(begin) if gates == 4 else begin[0])[0]
        else:
            out = self.rnn(first)[0]
        return out if batch_first else out.transpose(0, 1)

    return Part(applied(run, rnn=make), (tokens, shown * directions), params, macs)


def cell(draw: Draw, shape: Shape) -> Part:
    """One cell, called for every token; the last state remains."""
    tokens, width = shape
    kind, gates = one_of(draw, (nn.RNNCell, 1), (nn.GRUCell, 3), (nn.LSTMCell, 4))
    size = whole(draw, 1, 6)

    def run(self: Any, x: Tensor) -> Tensor:
        state: Any = None
        for token in x.unbind(1):
            state = self.cell(token, state)
        return state[0] if isinstance(state, tuple) else state

    own = gates * size * (width + size)
    return Part(applied(run, cell=partial(kind, width, size)), (size,), own + 2 * gates * size, tokens * own)


def pooled_by_a_query(draw: Draw, shape: Shape) -> Part:
    """Matrix times vector, then vector times matrix."""
    tokens, width = shape

    def run(self: Any, x: Tensor) -> Tensor:
        return (x @ self.query).softmax(1).unsqueeze(1).matmul(x).squeeze(1)

    return Part(applied(run, query=weights(width)), (width,), width, 2 * tokens * width)


def positions(draw: Draw, shape: Shape) -> Part:
    """A class token and learned positions."""
    tokens, width = shape

    def run(self: Any, x: Tensor) -> Tensor:
        return torch.cat((self.token.expand(len(x), 1, width), x), 1) + self.embedding

    make = applied(run, token=weights(1, 1, width), embedding=weights(tokens + 1, width))
    return Part(make, (tokens + 1, width), width + (tokens + 1) * width)


def distances(draw: Draw, shape: Shape) -> Part:
    """How far each token is from learned points; nobody has said how many products that is."""
    tokens, width = shape
    points = whole(draw, 1, 5)

    def run(self: Any, x: Tensor) -> Tensor:
        return torch.cdist(x, self.points.expand(len(x), -1, -1), p=1.0)

    return Part(applied(run, points=weights(points, width)), (tokens, points), points * width, 0, UNCOUNTED)


# What computes no products.


def norm(draw: Draw, shape: Shape) -> Part:
    channels, *sides = shape
    affine = yes(draw)
    dims = len(sides)
    kinds = ["layer", "rms", "numbers"]
    kinds += ["batch", "lazy batch"] if dims else []
    groups = divisor(draw, channels)
    kinds += ["group"] if math.prod(shape) > groups else []  # PyTorch refuses a batch of one without
    kinds += ["instance"] if dims and math.prod(sides) > 1 else []
    kind = one_of(draw, *kinds)
    both = 2 * channels * affine
    if kind == "layer":
        width = shape[-1]
        return Part(partial(nn.LayerNorm, width, elementwise_affine=affine), shape, 2 * width * affine)
    if kind == "rms":
        return Part(partial(nn.RMSNorm, shape[-1], elementwise_affine=affine), shape, shape[-1] * affine)
    if kind == "group":
        return Part(partial(nn.GroupNorm, groups, channels, affine=affine), shape, both)
    if kind == "numbers":  # a plain tensor, which nothing moves
        run = lambda self, x: (x - self.mean.to(x.dtype)) / 2  # noqa: E731
        return Part(applied(run, mean=lambda: torch.full((channels, *[1] * dims), 0.5)), shape)
    if kind == "instance":
        named: Any = {1: nn.InstanceNorm1d, 2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}[dims]
    elif kind == "batch":
        named = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dims]
    else:
        lazy: Any = {1: nn.LazyBatchNorm1d, 2: nn.LazyBatchNorm2d, 3: nn.LazyBatchNorm3d}[dims]
        return Part(partial(lazy, affine=affine), shape, both, marks=LAZY)
    return Part(partial(named, channels, affine=affine), shape, both)


def activation(draw: Draw, shape: Shape) -> Part:
    kinds = (nn.ReLU, nn.GELU, nn.SiLU, nn.Hardswish, nn.PReLU, nn.Dropout, nn.Identity, nn.Softplus, nn.LogSigmoid)
    kind = one_of(draw, *kinds, nn.RReLU, partial(nn.LogSoftmax, 1))
    return Part(kind, shape, 1 if kind is nn.PReLU else 0)


def pool(draw: Draw, shape: Shape) -> Part:
    channels, *sides = shape
    dims, kernel = len(sides), min(whole(draw, 1, 3), *sides)
    after = (channels, *(side // kernel for side in sides))
    kind = one_of(draw, "max", "average", "adaptive", "indices", "power")
    if kind == "adaptive":
        size = [whole(draw, 1, side) for side in sides]
        kinds: Any = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveMaxPool3d}
        return Part(partial(kinds[dims], size[0] if dims == 1 else tuple(size)), (channels, *size))
    if kind == "indices" and dims == 2:

        def run(self: Any, x: Tensor) -> Tensor:
            out, where = F.max_pool2d(x, kernel, return_indices=True)
            return F.max_unpool2d(out, where, [kernel, kernel], output_size=x.shape[2:])

        return Part(applied(run), shape)
    if kind == "power" and dims == 2:
        return Part(partial(nn.LPPool2d, 2, kernel), after)
    if kind == "max":
        kinds = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
    else:
        kinds = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
    return Part(partial(kinds[dims], kernel), after)


def reshaped(draw: Draw, shape: Shape) -> Part:
    """Another view of the same numbers."""
    rest = len(shape) - 1
    kinds = ["roll", "contiguous", "upsampled" if len(shape) == 3 else "roll"]
    kinds += ["tokens", "transposed"] if rest >= 2 else []
    kinds += ["shuffled", "channels last", "channels last"] if rest == 2 else []
    kinds += ["turned", "image"] if rest == 1 else []
    kind = one_of(draw, *kinds)
    channels, *sides = shape
    run: Callable[[Any, Tensor], Tensor]
    after: Shape = shape
    if kind == "roll":
        run = lambda self, x: x.roll(1, -1)  # noqa: E731
    elif kind == "contiguous":
        run = lambda self, x: x.contiguous().view_as(x)  # noqa: E731
    elif kind == "upsampled":
        run, after = lambda self, x: F.interpolate(x, scale_factor=2.0), (channels, *(2 * side for side in sides))
    elif kind == "channels last":
        run = lambda self, x: x.contiguous(memory_format=torch.channels_last)  # noqa: E731
    elif kind == "tokens":
        run, after = lambda self, x: x.flatten(2).transpose(1, 2), (math.prod(sides), channels)
    elif kind == "transposed":
        run, after = lambda self, x: x.transpose(-1, -2), (*shape[:-2], shape[-1], shape[-2])
    elif kind == "shuffled":
        groups = divisor(draw, channels)
        run = lambda self, x: x.view(len(x), groups, -1, *sides).transpose(1, 2).reshape(x.shape)  # noqa: E731
    elif kind == "turned":
        run, after = lambda self, x: x.permute(0, 2, 1), shape[::-1]
    else:
        side = divisor(draw, channels)
        after = (shape[-1], side, channels // side)
        run = lambda self, x: x.transpose(1, 2).reshape(len(x), *after)  # noqa: E731
    return Part(applied(run), after)


# What is made of other parts.


def residual(draw: Draw, shape: Shape, depth: int) -> Part:
    """A part and a skip, by a linear map of the channels where the part changes the shape."""
    inner = part(draw, shape, depth - 1)
    if inner.shape == shape:
        run = lambda self, x: x + self.inner(x)  # noqa: E731
        return Part(applied(run, inner=inner.make), shape, inner.params, inner.macs, inner.marks)
    size, after = math.prod(shape), math.prod(inner.shape)
    if size * after > 4096:
        return inner

    def projected(self: Any, x: Tensor) -> Tensor:
        return self.skip(x.flatten(1)).view(-1, *inner.shape) + self.inner(x)

    make = applied(projected, inner=inner.make, skip=partial(nn.Linear, size, after, bias=False))
    return Part(make, inner.shape, inner.params + size * after, inner.macs + size * after, inner.marks)


def branches(draw: Draw, shape: Shape, depth: int) -> Part:
    """Two parts of the same input, next to each other; the second may be run again by checkpointing."""
    one, two = part(draw, shape, depth - 1), part(draw, shape, depth - 1)
    again = yes(draw)

    def run(self: Any, x: Tensor) -> Tensor:
        a = self.one(x)
        b = checkpoint(self.two, x, use_reentrant=False) if again else self.two(x)
        return torch.cat((a, b), 1) if alike else torch.cat((a.flatten(1), b.flatten(1)), 1)

    alike = one.shape[1:] == two.shape[1:]
    after = (one.shape[0] + two.shape[0], *one.shape[1:]) if alike else (math.prod(one.shape) + math.prod(two.shape),)
    make = applied(run, one=one.make, two=two.make)
    return Part(make, after, one.params + two.params, one.macs + two.macs, one.marks | two.marks)


def shared(draw: Draw, shape: Shape, depth: int) -> Part:
    """The same layer more than once, or two layers of one weight: parameters once, products each time."""
    width, times, tied = shape[-1], whole(draw, 2, 3), yes(draw)

    def make() -> nn.Module:
        layers = [nn.Linear(width, width, bias=False) for _ in range(times)]
        for layer in layers:
            layer.weight = layers[0].weight
        return nn.Sequential(*(layers if tied else layers[:1] * times))

    return Part(make, shape, width * width, times * math.prod(shape) * width)


def hooked(draw: Draw, shape: Shape, depth: int) -> Part:
    """Hooks on a part: one keeps its output for later, changes it, or puts it through another layer."""
    inner = part(draw, shape, depth - 1)
    kind = one_of(draw, "kept", "changed", "another layer", "before", "backward")
    width = inner.shape[-1]

    def make() -> nn.Module:
        module = inner.make()
        kept: dict[str, Tensor] = {}
        side = nn.Linear(width, width, bias=False)

        def run(self: Any, x: Tensor) -> Tensor:
            out: Tensor = self.inner(x)
            return kept.pop("output") + out if kind == "kept" else out

        if kind == "kept":
            module.register_forward_hook(lambda m, args, out: kept.__setitem__("output", out))
        elif kind == "changed":
            module.register_forward_hook(lambda m, args, out: out * 2)
        elif kind == "another layer":
            module.register_forward_hook(lambda m, args, out: side(out))
        elif kind == "before":
            module.register_forward_pre_hook(lambda m, args: (args[0] + 1,))
        else:
            module.register_full_backward_hook(lambda m, into, out: None)
        return Applied(run, inner=module, **({"side": side} if kind == "another layer" else {}))

    more = kind == "another layer"
    params, macs = inner.params + more * width**2, inner.macs + more * math.prod(inner.shape) * width
    return Part(make, inner.shape, params, macs, inner.marks)


def decided(draw: Draw, shape: Shape, depth: int) -> Part:
    """A part that runs, or one that does not, by what the numbers are; both are parameters."""
    inner, other = part(draw, shape, depth - 1), part(draw, shape, depth - 1)
    if "late" in other.marks:  # there are no such parameters
        other = Part(nn.Identity, shape)
    kind = one_of(draw, "if", "item", "loop", "numpy", "list")

    def run(self: Any, x: Tensor) -> Tensor:
        if kind == "if":
            never = bool((x.abs() < 0).any())
        elif kind == "item":
            never = x.abs().sum().item() < 0
        elif kind == "loop":
            never = True
            for _ in range(int((x.abs().sum() >= 0).long())):
                never = False
        elif kind == "numpy":
            never = float(np.abs(x.detach().cpu().numpy()).sum()) < 0
        else:
            never = min(x.detach().abs().flatten().tolist()) < 0
        return self.other(x) if never else self.inner(x)

    make = applied(run, inner=inner.make, other=other.make)
    unsized = UNSIZED if "lazy" in other.marks else frozenset()
    return Part(make, inner.shape, inner.params + other.params, inner.macs, inner.marks | unsized)


def by_numbers(draw: Draw, shape: Shape, depth: int) -> Part:
    """A constructor that looks at numbers: numpy, an item, or a list; the rate of a dropout comes of it."""
    inner = part(draw, shape, depth - 1)
    kind = one_of(draw, "numpy", "item", "list", "comparison")

    def make() -> nn.Module:
        rates = torch.linspace(0, 0.1, 3)
        if kind == "numpy":
            rate = float(np.asarray(rates)[1])
        elif kind == "item":
            rate = rates[1].item()
        elif kind == "list":
            rate = rates.tolist()[1]
        else:
            rate = 0.05 if rates[1] > 0 else 0.0
        return nn.Sequential(inner.make(), nn.Dropout(rate))

    return Part(make, inner.shape, inner.params, inner.macs, inner.marks)


def made_late(draw: Draw, shape: Shape, depth: int) -> Part:
    """A layer that the first call makes."""
    width, out = shape[-1], whole(draw, 1, 6)

    class Late(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc: nn.Linear | None = None

        def forward(self, x: Tensor) -> Tensor:
            if self.fc is None:
                self.fc = nn.Linear(x.shape[-1], out, device=x.device, dtype=x.dtype)
            return self.fc(x)

    return Part(Late, (*shape[:-1], out), (width + 1) * out, math.prod(shape) * out, LATE)


ANY = (linear, bilinear, experts, norm, activation)
OF_IMAGES = (
    *(convolution, patches) * 3,
    volume,
    transposed_convolution,
    convolution_made_of_products,
    convolution_by_the_image,
    squeeze_and_excitation,
    pool,
    reshaped,
    norm,
    activation,
    linear,
)
OF_VOLUMES = (convolution, transposed_convolution, pool, norm, activation, linear)
OF_TOKENS = (
    attention,
    attention,
    few_keys,
    transformer_layer,
    recurrent,
    recurrent,
    cell,
    pooled_by_a_query,
    positions,
    distances,
    convolution,
    transposed_convolution,
    pool,
    reshaped,
    *ANY,
)
NESTED = (residual, branches, shared, hooked, decided, by_numbers, made_late)
LARGEST = 1500  # elements of one image


def part(draw: Draw, shape: Shape, depth: int = 2) -> Part:
    """A part for (B, *shape), with parts inside it to `depth`."""
    if depth and whole(draw, 0, 3) == 0:
        return named(one_of(draw, *NESTED), draw, shape, depth)
    by_rank: Mapping[int, Sequence[Any]] = {1: ANY, 2: OF_TOKENS, 3: OF_IMAGES, 4: OF_VOLUMES}
    found = named(one_of(draw, *by_rank[len(shape)]), draw, shape)
    return found if math.prod(found.shape) <= LARGEST else Part(nn.Identity, shape)


_words: list[str] = []


def named(production: Callable[..., Part], *arguments: Any) -> Part:
    _words.append(production.__name__)
    return production(*arguments)


def end(draw: Draw, shape: Shape, num_classes: int) -> list[Part]:
    """Down to one vector of the image, then to as many numbers as there are classes."""
    size = math.prod(shape)
    ways = ["view", "reshape", "flatten", "mean"] if len(shape) > 1 else ["none"]
    way = one_of(draw, *ways)
    flat = size
    if way == "view":
        make: Callable[[], nn.Module] = applied(lambda self, x: x.contiguous().view(x.size(0), -1))
    elif way == "reshape":
        make = applied(lambda self, x: x.reshape(len(x), -1))
    elif way == "mean":
        make, flat = applied(lambda self, x: x.flatten(2).mean(2)), shape[0]
    else:
        make = nn.Flatten
    head: Any = partial(nn.LazyLinear, num_classes) if yes(draw) else partial(nn.Linear, flat, num_classes)
    return [Part(make, (flat,)), Part(head, (num_classes,), (flat + 1) * num_classes, flat * num_classes)]


class Returns(nn.Module):
    """What a network returns around its logits."""

    def __init__(self, body: nn.Module, kind: str) -> None:
        super().__init__()
        self.body, self.kind = body, kind

    def forward(self, x: Tensor) -> Any:
        out = self.body(x)
        if self.kind == "mapping":
            return {"logits": out, "features": x}
        if self.kind == "object":
            return SimpleNamespace(logits=out, hidden_states=(x,))
        if self.kind == "tuple":
            return out, x.flatten(1)[:, :3]
        if self.kind == "list":
            return [None, out]
        if self.kind == "ambiguous":
            return out, out * 2
        return out


@st.composite
def networks(draw: Draw) -> Example:
    """A network for small images, in one of four dtypes."""
    _words.clear()
    size = (one_of(draw, 1, 3), whole(draw, 4, 9), whole(draw, 4, 9))
    num_classes = 10
    parts: list[Part] = []
    shape: Shape = size
    for _ in range(whole(draw, 1, 5)):
        parts.append(part(draw, shape))
        shape = parts[-1].shape
    parts += end(draw, shape, num_classes)
    returns = one_of(draw, "tensor", "tensor", "tensor", "mapping", "object", "tuple", "list", "ambiguous")
    dtype = one_of(draw, torch.float32, torch.float32, torch.float16, torch.bfloat16, torch.float64)

    def build(num_classes: int) -> nn.Module:
        body = nn.Sequential(*(each.make() for each in parts))
        return Returns(body, returns).to(dtype)

    return Example(
        build,
        size,
        sum(each.params for each in parts),
        sum(each.macs for each in parts),
        frozenset[str]().union(*(each.marks for each in parts)),
        returns == "ambiguous",
        ", ".join((*_words, returns, str(dtype))),
    )
