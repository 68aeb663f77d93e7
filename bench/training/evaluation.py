"""How good a network is on images that it was not trained on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from bench.config import Execution
from bench.data.batches import evaluation_batches
from bench.execution import autocast, memory_format
from bench.training.images import Images
from bench.training.loss import logits

EVALUATION_BATCH = {"cpu": 50, "cuda": 500}  # fits a cache, fills a GPU
SETTLING_BATCHES = 8  # of the training batch size


def evaluate(network: nn.Module, images: Images, execution: Execution = Execution()) -> tuple[float, int]:
    """Share of the test images whose largest logit is the right one, and how many were tested."""
    network.eval()
    device = images.test.labels.device
    correct = torch.zeros((), dtype=torch.int64, device=device)
    with torch.inference_mode():
        for x, labels in evaluation_batches(
            images.test,
            images.image_set,
            images.input_size,
            EVALUATION_BATCH[device.type],
            images.resize,
            memory_format=memory_format(execution),
        ):
            with autocast(execution, device):
                output = network(x)
            correct += (logits(output).argmax(1) == labels).sum()
    tested = len(images.test.labels)
    return correct.item() / tested, tested


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
    with torch.no_grad():
        for images, _ in itertools.islice(batches, SETTLING_BATCHES):
            with autocast(execution, images.device):
                network(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
