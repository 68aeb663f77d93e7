"""How long a report of a full GPU run takes to rebuild, in processor time; run with `python -m pytest -m perf -s`."""

import math
import random
import time
from pathlib import Path

import pytest

from bench.render.report import write_report
from tests.render import conftest
from tests.render.conftest import FIXTURE_CIFAR, FIXTURE_IMAGENET, gpu_run

pytestmark = pytest.mark.perf

LIMIT_S = 15


def test_eighty_three_networks_in_three_rounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    monkeypatch.setattr(conftest, "FIXTURE_CIFAR", tuple(cifar))
    monkeypatch.setattr(conftest, "FIXTURE_IMAGENET", tuple(imagenet))
    run = gpu_run(tmp_path / "results")
    assert len({record.model for record in run.records()}) == 83
    start = time.process_time()
    folder = write_report(run, tmp_path / "reports")
    seconds = time.process_time() - start
    print(f"\n{len(run.records())} rows, {len(list((folder / 'figures').glob('*.svg')))} figures: {seconds:.1f} s")
    assert seconds < LIMIT_S
