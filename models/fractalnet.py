"""FractalNet: very deep without residuals; each block expands one rule, f(C+1) = join(f(C) after f(C), conv).

Larsson, Maire, Shakhnarovich 2016, "FractalNet: Ultra-Deep Neural Networks without Residuals",
arXiv:1605.07648: section 2 and Figure 1 (architecture), section 3 (drop-path), section 4 (settings).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce

import torch
from torch import Tensor, nn

from .layers import GlobalAvgPool, ImageNetStem, conv3x3
from .spec import OSMR, Paper


def join_inputs(columns: int) -> tuple[int, ...]:
    """How many columns meet at each level of a block: (1, 2, 1, 3) for three columns (Figure 1).

    Column j has a convolution that ends at every level divisible by 2^j; where several end, they are joined.
    """
    return tuple(sum(level % 2**column == 0 for column in range(columns)) for level in range(1, 2 ** (columns - 1) + 1))


def draw_join_weights(is_input: Tensor, local_drop_prob: float, global_prob: float) -> Tensor:
    """Weights of the inputs of every join for one batch (section 3): they sum to 1 over the last dimension.

    Local sampling drops each input with `local_drop_prob` but never all of a join; global sampling keeps
    one column throughout the network. One of them is drawn for the whole batch, global with
    `global_prob`. Everything is computed where `is_input` lies, so that nothing waits for the device.

    Args:
        is_input: (blocks, joins, columns), boolean: which columns meet at which join.
    """
    columns = is_input.shape[-1]
    draws = torch.rand(is_input.shape, device=is_input.device).masked_fill(~is_input, -1.0)
    # The input with the largest draw always survives: it matters only where all would be dropped.
    survives_locally = is_input & ((draws >= local_drop_prob) | (draws == draws.amax(dim=-1, keepdim=True)))
    column, coin = torch.rand(2, device=is_input.device).unbind()
    in_column = is_input & (torch.arange(columns, device=is_input.device) == (column * columns).long())
    # A join outside the chosen column feeds only paths of weight zero; any finite value will do there.
    survives_globally = torch.where(in_column.any(dim=-1, keepdim=True), in_column, is_input)
    survives = torch.where(coin < global_prob, survives_globally, survives_locally).float()
    return survives / survives.sum(dim=-1, keepdim=True)


class ConvUnit(nn.Sequential):
    """3x3, dropout, BN, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, dropout: float) -> None:
        super().__init__(
            conv3x3(in_channels, out_channels),
            nn.Dropout(dropout),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class FractalBlock(nn.Module):
    """`columns` chains of 1, 2, 4, ... convolutions side by side, averaged where they meet (Figure 1).

    (B, in_channels, H, W) -> (B, out_channels, H, W). Column 0 is the longest.
    """

    def __init__(self, in_channels: int, out_channels: int, columns: int, dropout: float) -> None:
        super().__init__()
        self.inputs_per_level = join_inputs(columns)
        depth = len(self.inputs_per_level)
        self.columns = nn.ModuleList(
            nn.ModuleList(
                ConvUnit(in_channels if i == 0 else out_channels, out_channels, dropout)
                for i in range(depth // 2**column)
            )
            for column in range(columns)
        )

    def forward(self, x: Tensor, weights: Tensor | None) -> Tensor:
        """`weights`: (joins, columns), of the inputs of each join; None for their plain mean."""
        state = [x] * len(self.columns)  # the latest output of each column
        join = 0
        for level, inputs in enumerate(self.inputs_per_level, start=1):
            ends = [self.columns[c][level // 2**c - 1](state[c]) for c in range(inputs)]  # type: ignore[index]
            if inputs == 1:
                state[0] = ends[0]
                continue
            if weights is None:
                joined = torch.stack(ends).mean(dim=0)
            else:
                joined = reduce(torch.add, [end * weights[join, c] for c, end in enumerate(ends)])
            state[:inputs] = [joined] * inputs
            join += 1
        return state[0]


class FractalNet(nn.Module):
    """`len(channels)` fractal blocks, each followed by 2x2 max-pool, global average pool, linear (section 4).

    (B, 3, H, W) -> (B, num_classes). The depth is `len(channels)` * 2^(columns - 1) convolutions. In training mode half
    of the batches drop paths locally and half keep a single column; in evaluation mode every join is a plain mean.
    Dropped paths are computed and weighted by zero, so that each step costs the same time and memory.

    Differs from the paper: convolutions have no bias, since batch norm follows. Convolutions start with Xavier's
    variance as in section 4, the last layer at normal(0, 0.01): it is shared by columns that differ at first, and large
    first logits make training start slowly.

    Differs from the paper: `fractalnet34` is our reading of the 34-layer ImageNet network, for which no complete layer
    table is known to us: ResNet's stem and last layer, and between them four blocks of four columns (1 + 4 * 8 + 1
    layers) at widths 128 to 1024 with the first four dropout rates.
    """

    is_input: Tensor  # (blocks, joins, columns), boolean: which columns meet at which join

    def __init__(
        self,
        channels: tuple[int, ...],
        columns: int,
        stem: Callable[[int], nn.Module] | None,
        num_classes: int,
        dropout: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4),
        local_drop_prob: float = 0.15,
        global_prob: float = 0.5,
    ) -> None:
        super().__init__()
        self.local_drop_prob = local_drop_prob
        self.global_prob = global_prob
        in_channels = 3 if stem is None else 64
        self.stem = nn.Identity() if stem is None else stem(in_channels)
        self.blocks = nn.ModuleList()
        for out_channels, block_dropout in zip(channels, dropout, strict=False):
            self.blocks.append(FractalBlock(in_channels, out_channels, columns, block_dropout))
            in_channels = out_channels
        joins = torch.tensor([inputs for inputs in join_inputs(columns) if inputs > 1])
        is_input = torch.arange(columns) < joins.unsqueeze(1)
        self.register_buffer("is_input", is_input.expand(len(channels), -1, -1).clone(), persistent=False)
        self.max_pool = nn.MaxPool2d(2)
        self.pool = GlobalAvgPool()
        self.fc = nn.Linear(in_channels, num_classes)
        _init(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        weights: Sequence[Tensor | None] = [None] * len(self.blocks)
        if self.training:
            weights = draw_join_weights(self.is_input, self.local_drop_prob, self.global_prob).unbind()
        for block, block_weights in zip(self.blocks, weights, strict=True):
            x = self.max_pool(block(x, block_weights))
        return self.fc(self.pool(x))


def _init(model: FractalNet) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.xavier_uniform_(module.weight)
    nn.init.normal_(model.fc.weight, std=0.01)
    nn.init.zeros_(model.fc.bias)


PAPER = Paper("FractalNet", 2016, "Larsson et al. 2016, arXiv:1605.07648")

_DEPTH_20 = partial(FractalNet, channels=(64, 128, 256, 512, 512), columns=3, stem=None)
_DEPTH_40 = partial(FractalNet, channels=(16, 32, 64, 128, 128), columns=4, stem=None)
_DEPTH_34 = partial(FractalNet, channels=(128, 256, 512, 1024), columns=4, stem=ImageNetStem)
_TABLE = "section 4: the 40-layer row of the table of ultra-deep networks"
_BY_LAYER_40 = "derived: 4,754,880 (convolutions) + 11,040 (batch norm) + 1,290 (linear); paper: 4.8M"
_BY_LAYER_34 = (
    "derived: 9,536 in the stem, 162,938,880 + 57,600 in the blocks' convolutions and batch norm, "
    "1,025,000 in the linear layer; nobody published a count"
)

SPECS = (
    PAPER.cifar("fractalnet20_cifar", "section 4: five blocks of three columns", _DEPTH_20, 33_724_618, OSMR),
    PAPER.cifar("fractalnet40_cifar", _TABLE, _DEPTH_40, 4_767_210, _BY_LAYER_40),
    PAPER.imagenet("fractalnet34", "section 4: the 34-layer ImageNet network", _DEPTH_34, 164_031_016, _BY_LAYER_34),
)
