"""Augmented training batches on the device, without a network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from bench.data.batches import Preparation, Split, TrainingBatches
from bench.data.image_set import ImageSet
from bench.device import accelerator
from tests.perf.baselines import DEVICE

pytestmark = pytest.mark.perf

IMAGES = 10_000
BATCHES_PER_ROUND = 64  # batches are made several at a time: a round spans many such times


@pytest.mark.parametrize("batch_size", [32, 128])
def test_training_batches(benchmark: BenchmarkFixture, batch_size: int) -> None:
    device = torch.device(DEVICE)
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, 3, 32, 32), dtype=np.uint8)
    labels = torch.arange(IMAGES, device=device) % 10
    split = Split(torch.from_numpy(pixels).to(device), labels)
    image_set = ImageSet(
        name="random pixels",
        folder="",
        source="",
        classes=tuple("0123456789"),
        shape=(3, 32, 32),
        train_count=IMAGES,
        test_count=0,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        sha256="",
        mirror_ok=True,
    )
    generator = torch.Generator(device).manual_seed(0)
    prepare = Preparation(image_set, (3, 32, 32), split.images.device)
    batches = TrainingBatches(split, prepare, batch_size, generator, accelerator.of(device).sizes.prepared_bytes)
    benchmark.group = "input pipeline"
    benchmark.extra_info.update(batch_size=batch_size)

    def many() -> None:
        for _ in range(BATCHES_PER_ROUND):
            next(batches)
        accelerator.of(device).synchronise()

    benchmark.pedantic(many, rounds=10, warmup_rounds=2)
