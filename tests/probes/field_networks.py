"""Networks as people bring them, each with a kind of trouble, and what they compute worked out by hand."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torchvision.ops import DeformConv2d

from tests.probes.random_networks import applied, weights

SIZE = (3, 32, 32)
CONV = 1024 * 8 * 27  # MACs of a 3x3 convolution to 8 channels that keeps 32x32
HEAD = 8 * 10


@dataclass(frozen=True)
class Field:
    """A network and its right counts."""

    build: Callable[..., nn.Module]
    params: int
    macs: int
    needs_data: bool = False  # cannot run on the meta device


class Viewed(nn.Module):
    """Flattens by `view` what is not contiguous in channels_last."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv, self.pool, self.fc = nn.Conv2d(3, 8, 3), nn.MaxPool2d(5), nn.Linear(8 * 36, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.conv(x).relu())
        return self.fc(x.view(x.size(0), -1))


class Volume(nn.Module):
    """A 3-D convolution takes channels for depth: its weights have no channels_last."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem, self.mix = nn.Conv2d(3, 8, 3, padding=1, stride=2), nn.Conv3d(1, 4, 3, padding=1)
        self.fc = nn.Linear(4, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.mix(self.stem(x).relu().unsqueeze(1)).relu().mean((2, 3, 4)))


class Tapped(nn.Module):
    """A hook writes into a dictionary of this very object, which a copy would not have."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.early, self.late = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.fc = nn.Linear(16, num_classes)
        taps: dict[str, Tensor] = {}
        self.taps = taps
        self.early.register_forward_hook(lambda module, args, out: taps.__setitem__("early", out))

    def forward(self, x: Tensor) -> Tensor:
        late = self.late(self.early(x).relu())
        return self.fc(torch.cat((self.taps.pop("early"), late), 1).mean((2, 3)))


def lazy(num_classes: int) -> nn.Module:
    return nn.Sequential(
        nn.LazyConv2d(8, 3, padding=1),
        nn.LazyBatchNorm2d(),
        nn.ReLU(),
        nn.MaxPool2d(4),
        nn.Flatten(),
        nn.LazyLinear(num_classes),
    )


class LazySpare(nn.Module):
    """A lazy head that only training uses: no pass in eval mode finds out its size."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, num_classes)
        self.spare = nn.LazyLinear(num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).relu().mean((2, 3))
        return self.fc(x) + self.spare(x) if self.training else self.fc(x)


class LazyNever(LazySpare):
    """A lazy head that nothing uses."""

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x).relu().mean((2, 3)))


class MadeAtFirstCall(nn.Module):
    """Its head is made when the first image shows how wide it has to be."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv, self.num_classes = nn.Conv2d(3, 8, 3, padding=1), num_classes
        self.fc: nn.Linear | None = None

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).relu().mean((2, 3))
        if self.fc is None:
            self.fc = nn.Linear(x.shape[1], self.num_classes, device=x.device)
        return self.fc(x)


class Rows(nn.Module):
    """An LSTM over the rows, whose first state is made in forward, on the CPU."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.rnn, self.fc = nn.LSTM(96, 20, batch_first=True), nn.Linear(20, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        state = torch.zeros(1, len(x), 20), torch.zeros(1, len(x), 20)
        return self.fc(self.rnn(x.permute(0, 2, 3, 1).flatten(2), state)[0][:, -1])


class LongRows(Rows):
    """The same without a state of its own: on the CPU one kernel, which keeps three times as much as its formulas."""

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.rnn(x.permute(0, 2, 3, 1).flatten(2))[0][:, -1])


class BothWays(nn.Module):
    """A GRU over the rows in both directions."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.rnn = nn.GRU(96, 20, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(40, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.rnn(x.permute(0, 2, 3, 1).flatten(2))[0].mean(1))


class Pooled(nn.Module):
    """64 tokens of 64 features, pooled with one learned query: a matrix times a vector."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.patch, self.fc = nn.Conv2d(3, 64, 4, stride=4), nn.Linear(64, num_classes)
        self.query = nn.Parameter(torch.zeros(64))

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        share = torch.matmul(tokens, self.query).softmax(1)
        return self.fc(torch.einsum("bn,bnc->bc", share, tokens))


class Joined(nn.Module):
    """Two branches of 20 and 30 features in a bilinear form."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.a, self.b, self.join = nn.Conv2d(3, 20, 3), nn.Conv2d(3, 30, 3), nn.Bilinear(20, 30, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.join(self.a(x).mean((2, 3)), self.b(x).mean((2, 3)))


class Deformable(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.offset = nn.Conv2d(3, 18, 3, padding=1)
        self.deform = DeformConv2d(3, 8, 3, padding=1, bias=False)
        self.fc = nn.Linear(8, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.deform(x, self.offset(x)).relu().mean((2, 3)))


def plain(num_classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes)
    )


def wrapped(wrap: Callable[[nn.Module], nn.Module], num_classes: int) -> nn.Module:
    """With weights that a norm makes anew in every pass."""
    network = plain(num_classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the old ones are deprecated, and in use
        network[0], network[4] = wrap(network[0]), wrap(network[4])
    return network


def typed(dtype: torch.dtype, num_classes: int, make: Callable[[int], nn.Module] = plain) -> nn.Module:
    return make(num_classes).to(dtype)


class Frequencies(nn.Module):
    """A filter whose weights are complex, and which looks whether they still are."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.patch, self.fc = nn.Conv2d(3, 32, 4, stride=4), nn.Linear(32, num_classes)
        self.weight = nn.Parameter(torch.randn(32, 8, 5, dtype=torch.cfloat) * 0.02)

    def forward(self, x: Tensor) -> Tensor:
        assert self.weight.is_complex(), "the filter has lost its imaginary part"
        x = torch.fft.irfft2(torch.fft.rfft2(self.patch(x).float()) * self.weight, s=(8, 8))
        return self.fc(x.mean((2, 3)))


class Masked(nn.Module):
    """Boolean indexing: how much is left depends on the numbers."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).relu()
        return self.fc(x.mean((2, 3)) - x[x > 0].mean())


class Numpy(nn.Module):
    """Its constructor goes through numpy."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, num_classes)
        self.rate = float(np.asarray(torch.linspace(0, 0.1, 3))[1])

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.dropout(self.conv(x).relu(), self.rate, self.training).mean((2, 3)))


class NumpyTied(Numpy):
    """And two of its layers have one weight."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.one, self.two = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)
        self.two.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.two(self.one(self.conv(x).mean((2, 3)))))


class Constant(nn.Module):
    """Keeps a plain tensor that nothing moves, beside a constructor that needs numbers."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.rate = torch.linspace(0, 0.1, 3)[1].item()
        self.mean = torch.tensor([0.5, 0.5, 0.5]).view(1, 3, 1, 1)
        self.conv, self.fc = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x - self.mean.to(x.dtype)).relu().mean((2, 3)))


def quantised(num_classes: int) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(plain(num_classes), {nn.Linear}, dtype=torch.qint8)


def scripted(num_classes: int) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(plain(num_classes))


def between(make: Callable[[], nn.Module], num_classes: int) -> nn.Module:
    """The plain network with a part for (B, 8) between its pooling and its last layer."""
    *before, last = plain(num_classes)
    return nn.Sequential(*before, make(), last)


def written_to(self: Any, x: Tensor) -> Tensor:
    """Products that go to a tensor that is there: an operator in place, and an argument `out`."""
    x = torch.zeros_like(x).addmm_(x, self.weight)
    return x if torch.is_grad_enabled() else torch.mm(x, self.weight, out=torch.empty_like(x))


def shared_heads(self: Any, x: Tensor) -> Tensor:
    """Eight tokens of one number; four heads of queries share two of keys and values."""
    q = x.view(-1, 1, 8, 1).expand(-1, 4, -1, -1) * self.weight
    k = x.view(-1, 1, 8, 1).expand(-1, 2, -1, -1) * self.weight
    return F.scaled_dot_product_attention(q, k, k, enable_gqa=True).mean((1, 3))


def features_apart(self: Any, x: Tensor) -> Tensor:
    """Two tokens of four numbers that do not lie side by side: no fused kernel takes them."""
    tokens = (x.view(-1, 1, 4, 2) * self.weight).transpose(2, 3)
    return F.scaled_dot_product_attention(tokens, tokens, tokens).flatten(1)


@lru_cache
def table(width: int) -> Tensor:
    """Made once for the whole process, wherever it is asked for first."""
    return torch.arange(width).float()


class Cached(nn.Module):
    """Takes a table that its module keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", table(8), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.get_buffer("table")


class FirstBatch(nn.Module):
    """Makes a mask for the first batch that it sees, and another in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.mask: Tensor | None = None
        self.masks: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        if self.mask is None:
            self.mask = torch.ones_like(x)
        self.masks.append(x.detach())
        return x * self.mask + sum(self.masks)


def cast_by_itself(self: Any, x: Tensor) -> Tensor:
    """Its own autocast, which casts nothing that has no data."""
    with torch.autocast("cpu", torch.bfloat16):
        return self.fc(x).float()


def in_groups(self: Any, x: Tensor) -> Tensor:
    """Two groups of rows, each times a matrix of its own."""
    ends = torch.tensor([len(x), 2 * len(x)], dtype=torch.int32, device=x.device)
    out = F.grouped_mm(torch.cat((x, x), 0).bfloat16(), self.weight.bfloat16(), offs=ends)
    return out[: len(x)].to(x.dtype)


def in_a_bag(self: Any, x: Tensor) -> Tensor:
    """The mean of eight rows of a table, which are no products."""
    return x + self.bag(torch.arange(8, device=x.device).expand(len(x), 8))


class Patches(nn.Module):
    """Patches apart from each other: they are fewer numbers than the image, in whose memory they are left."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.weight, self.fc = nn.Parameter(torch.randn(64, 27, 2) * 0.1), nn.Linear(128, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        taken = F.unfold(x, 3, stride=4, padding=1)
        return self.fc(torch.einsum("bkp,pko->bpo", taken, self.weight).flatten(1))


class Spare(nn.Module):
    """Has a head that only training uses."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.body, self.spare = plain(num_classes), plain(num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.spare(x) if self.training else self.body(x)


FIELD = {
    "viewed": Field(Viewed, 3_114, 194_400 + 2_880),
    "volume": Field(Volume, 386, 55_296 + 221_184 + 40),
    "tapped": Field(Tapped, 224 + 584 + 170, CONV + 1024 * 8 * 72 + 160),
    "lazy": Field(lazy, 224 + 16 + 5_130, CONV + 5_120),
    "lazy and spare": Field(LazySpare, 224 + 180, CONV + HEAD),
    "made at the first call": Field(MadeAtFirstCall, 314, CONV + HEAD),
    "rows": Field(Rows, 9_650, 32 * (7_680 + 1_600) + 200, needs_data=True),
    "long rows": Field(LongRows, 9_650, 32 * (7_680 + 1_600) + 200, needs_data=True),
    "both ways": Field(BothWays, 14_570, 2 * 32 * (5_760 + 1_200) + 400, needs_data=True),
    "pooled": Field(Pooled, 3_850, 196_608 + 4_096 + 4_096 + 640),
    "joined": Field(Joined, 7_410, 900 * 50 * 27 + 10 * 20 * 30 + 10 * 30),
    "deformable": Field(Deformable, 504 + 216 + 90, 1024 * 18 * 27 + CONV + HEAD),
    "weight norm by hooks": Field(partial(wrapped, nn.utils.weight_norm), 332, CONV + HEAD),
    "weight norm": Field(partial(wrapped, parametrizations.weight_norm), 332, CONV + HEAD),
    "spectral norm by hooks": Field(partial(wrapped, nn.utils.spectral_norm), 314, CONV + HEAD),
    "spectral norm": Field(partial(wrapped, parametrizations.spectral_norm), 314, CONV + HEAD),
    "half": Field(partial(typed, torch.float16), 314, CONV + HEAD),
    "frequencies": Field(Frequencies, 1_568 + 1_280 + 330, 98_304 + 320),
    "masked": Field(Masked, 314, CONV + HEAD, needs_data=True),
    "numpy": Field(Numpy, 314, CONV + HEAD),
    "numpy and tied": Field(NumpyTied, 314 + 64, CONV + 64 + 64 + HEAD),
    "constant": Field(Constant, 314, CONV + HEAD, needs_data=True),
    "quantised": Field(quantised, 224, CONV + HEAD, needs_data=True),
    "scripted": Field(scripted, 314, CONV + HEAD),
    "written to": Field(partial(between, applied(written_to, weight=weights(8, 8))), 314 + 64, CONV + 2 * 64 + HEAD),
    "shared heads": Field(
        partial(between, applied(shared_heads, weight=weights(4))), 318, CONV + 2 * 4 * 64 * 4 + HEAD
    ),
    "features apart": Field(partial(between, applied(features_apart, weight=weights(1))), 315, CONV + 32 + HEAD),
    "a cached table": Field(partial(between, Cached), 314, CONV + HEAD, needs_data=True),
    "sparse": Field(
        partial(between, applied(lambda self, x: (self.w @ x.t()).t(), w=lambda: nn.Buffer(torch.eye(8).to_sparse()))),
        314,
        CONV + 8 + HEAD,
        needs_data=True,
    ),
    "first batch": Field(partial(between, FirstBatch), 314, CONV + HEAD),
    "cast by itself": Field(
        partial(between, applied(cast_by_itself, fc=partial(nn.Linear, 8, 8))), 386, CONV + 64 + HEAD
    ),
    "in groups": Field(partial(between, applied(in_groups, weight=weights(2, 8, 8))), 442, CONV + 128 + HEAD),
    "in a bag": Field(
        partial(between, applied(in_a_bag, bag=partial(nn.EmbeddingBag, 8, 8))), 378, CONV + HEAD, needs_data=True
    ),
    "patches": Field(Patches, 64 * 54 + 1290, 64 * 54 + 1280),
    "spare": Field(Spare, 628, CONV + HEAD),
}
