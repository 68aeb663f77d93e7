"""The published data sets themselves, where the environment variable BENCH_DATA_DIR says that they are."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from bench.config import Track
from bench.data import found, prepare

DATA_DIR = Path(os.environ.get("BENCH_DATA_DIR", ""))

pytestmark = pytest.mark.skipif("BENCH_DATA_DIR" not in os.environ, reason="BENCH_DATA_DIR is not set")


@pytest.mark.parametrize(
    ("track", "name", "counts", "mean"),
    [
        ("cifar", "cifar10", (50_000, 10_000), (0.4914, 0.4822, 0.4465)),  # widely published training means
        ("mnist", "mnist", (60_000, 10_000), (0.1307,)),
    ],
)
def test_the_whole_data_set_is_read(
    track: Track, name: str, counts: tuple[int, int], mean: tuple[float, ...], tmp_path: Path
) -> None:
    if not any(line.startswith(f"{name}:") for line in found(DATA_DIR)):
        pytest.skip(f"BENCH_DATA_DIR has no {name}")
    image_set = prepare(name, track, DATA_DIR, tmp_path, lambda line: None)
    assert image_set.name in (name, f"{name}-jpeg")
    assert (image_set.train_count, image_set.test_count) == counts
    np.testing.assert_allclose(image_set.mean, mean, atol=0.01)
    assert prepare(name, track, DATA_DIR, tmp_path, lambda line: pytest.fail(line)) == image_set
    if name == "cifar10":
        for split, count in zip(("train", "test"), counts, strict=True):
            labels = np.load(tmp_path / image_set.folder / f"{split}_labels.npy")
            assert np.bincount(labels).tolist() == [count // 10] * 10
