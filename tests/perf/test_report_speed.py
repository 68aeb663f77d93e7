"""How long the report of a full GPU run takes to rebuild; run with `python -m pytest -m perf -s`."""

import math
import random
import time
from pathlib import Path

import pytest

from bench.render.report import write_report
from tests.render.conftest import FIXTURE_CIFAR, FIXTURE_IMAGENET, gpu_run

pytestmark = pytest.mark.perf

LIMIT_S = 15
LARGEST_PAGE = 8e6


def test_eighty_three_networks_and_ten_thousand_rows(tmp_path: Path) -> None:
    draw = random.Random(1)

    def scaled(size: float) -> float:
        return float(round(size * math.exp(draw.gauss(0, 0.5))))

    cifar, imagenet = list(FIXTURE_CIFAR), list(FIXTURE_IMAGENET)
    for i in range(22):
        name, family, year, params, macs, saved, top1 = FIXTURE_CIFAR[i % 20]
        twin = name.replace("_cifar", f"_v{i}_cifar")
        cifar.append((twin, family, year, scaled(params), scaled(macs), scaled(saved), top1 + draw.gauss(0, 0.05)))
    for i in range(36):
        name, family, year, params, macs, saved = FIXTURE_IMAGENET[i % 5]
        imagenet.append((f"{name}_v{i}", family, year, scaled(params), scaled(macs), scaled(saved)))
    run = gpu_run(tmp_path / "results", cifar=cifar, imagenet=imagenet, seeds=32)
    rows = run.records()
    assert len({row.model for row in rows}) == 83
    assert len(rows) > 10_000
    start, processor = time.perf_counter(), time.process_time()
    folder = write_report(run, tmp_path / "reports")
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    figures = len(list((folder / "figures").glob("*.svg")))
    print(f"\n{len(rows)} rows, {figures} figures: {seconds:.1f} s, {processor:.1f} s of them in this process")
    assert (folder / "index.html").stat().st_size < LARGEST_PAGE
    assert seconds < LIMIT_S
