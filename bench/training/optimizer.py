"""The optimizer that a recipe names."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from bench.training.recipe import Recipe


def make_optimizer(recipe: Recipe, parameters: Iterable[nn.Parameter], rate: float) -> torch.optim.Optimizer:
    """The recipe's optimizer. AdamW decays only matrices and kernels, as ViT's recipes do; SGD decays everything.

    One kernel updates all weights, on a CPU too, where a step of VGG-11 is a tenth shorter for it. On a GPU the rate
    is a tensor there, so that a recorded CUDA graph sees it change.
    """
    trainable = [p for p in parameters if p.requires_grad]
    fused = all(p.is_floating_point() for p in trainable)  # not complex
    on_gpu = bool(trainable) and all(p.is_cuda for p in trainable)
    lr: float | Tensor = torch.tensor(rate, device=trainable[0].device) if on_gpu else rate
    if recipe.optimizer == "sgd":
        sgd = torch.optim.SGD(
            trainable,
            lr=lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.nesterov,
            fused=fused,
        )
        if recipe.momentum:
            # The kernel takes all momenta or none, and a network that leaves blocks out would have some. From zero,
            # the first step is the same.
            for parameter in trainable:
                sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return sgd
    if recipe.optimizer == "adam":
        return torch.optim.Adam(trainable, lr=lr, weight_decay=recipe.weight_decay, fused=fused, capturable=on_gpu)
    groups = [
        {"params": [p for p in trainable if p.dim() > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trainable if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, fused=fused, capturable=on_gpu)
