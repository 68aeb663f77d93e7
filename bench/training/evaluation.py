"""How good a network is on images that it was not trained on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.config import Execution
from bench.data.batches import Preparation, Split
from bench.data.image_set import ImageSet
from bench.device import accelerator
from bench.device.execution import arithmetic, as_written, autocast, memory_format, with_batch_that_fits
from bench.training.step import logits


@dataclass
class Images:
    """Both splits on the device, and what is needed to make batches of them."""

    image_set: ImageSet
    train: Split
    test: Split
    input_size: tuple[int, int, int]  # of the network: (channels, height, width)
    resize: bool = False  # bring images to that size; otherwise small ones are framed in black
    test_batch: int | None = None  # that fits into memory; None: what suits the device


SETTLING_BATCHES = 8  # of the training batch size


@dataclass(frozen=True)
class Confusion:
    """How many test images of a class were taken for a class, by index."""

    label: int
    predicted: int
    count: int


def evaluate(network: nn.Module, images: Images, execution: Execution = Execution()) -> float:
    """Share of the test images whose largest logit is the right one."""
    labels = images.test.labels
    return (predicted_classes(network, images, execution) == labels).sum().item() / len(labels)


def predicted_classes(network: nn.Module, images: Images, execution: Execution = Execution()) -> Tensor:
    """What the network takes each test image for: the index of its largest logit, int64 (N,), on the device.

    A batch that does not fit into memory is halved, for the tests to come too: a training must not be lost to them.
    """
    largest = images.test_batch or accelerator.of(images.test.labels.device).sizes.evaluation_batch
    found, images.test_batch = with_batch_that_fits(lambda size: _predicted(network, images, execution, size), largest)
    return found


def _predicted(network: nn.Module, images: Images, execution: Execution, batch_size: int) -> Tensor:
    network.eval()
    device = images.test.labels.device
    found: list[Tensor] = []
    with torch.no_grad(), as_written(), arithmetic(execution.precision, autotune=False):
        prepare = Preparation(images.image_set, images.input_size, device, memory_format(execution), images.resize)
        for pixels in images.test.images.split(batch_size):
            x = prepare(pixels)
            with autocast(execution, device):
                output = network(x)
            found.append(logits(output, len(images.image_set.classes)).argmax(1))
    return torch.cat(found)


def confusions(labels: Tensor, predicted: Tensor) -> tuple[Confusion, ...]:
    """How many images of each class were taken for each, right answers included; pairs that never occur are left out.

    Both are int64 (N,); ordered by label, then by what it was taken for.
    """
    pairs, counts = torch.stack((labels, predicted), dim=1).cpu().unique(dim=0, return_counts=True)
    return tuple(
        Confusion(label, other, count) for (label, other), count in zip(pairs.tolist(), counts.tolist(), strict=True)
    )


def settle_batch_norm(
    network: nn.Module, batches: Iterator[tuple[Tensor, Tensor]], execution: Execution = Execution()
) -> None:
    """Replace the running statistics of batch norm by the mean over a few training batches.

    Running averages need some fifty steps to forget their start and lag behind weights that move fast, so after a
    short budget they would test the statistics and not the weights (Wu & Johnson 2021, arXiv:2105.07576, section 3).
    Everything but batch norm runs as it will be tested: without dropout, and with all paths and blocks in place.
    Every network with batch norm gets the same; it is part of testing and outside the budget.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches that follow
    network.eval()
    for norm in norms:
        norm.train()
    with torch.no_grad(), as_written():
        for images, _ in itertools.islice(batches, SETTLING_BATCHES):
            with autocast(execution, images.device):
                network(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
