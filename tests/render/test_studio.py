"""Figures that several processes draw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from bench.engines.engine import Crash
from bench.render.charts import Material, draw_charts, studio
from bench.render.table import read_results
from tests.render.conftest import RunBuilder, counts, listed, speeds, training


@pytest.fixture
def material(build: RunBuilder) -> Material:
    names = ["a_cifar", "b_cifar", "c_cifar"]
    rows = [
        row
        for i, name in enumerate(names)
        for row in [*counts(name, 5 + i, 7 + i, 9 + i), *training(name, 0.5 + i / 10), *speeds(name, 1e6 + i)]
    ]
    return Material(read_results(build([listed(name, name, 2015, "cifar") for name in names], rows)))


def test_two_processes_draw_what_one_draws(material: Material) -> None:
    alone = draw_charts(material, processes=1)
    assert len(alone) > 5
    assert draw_charts(material, processes=2) == alone


class LosesEverySecond:
    """An engine whose workers are killed again and again, until no process can be started any more."""

    def __init__(self, devices: Sequence[str], execute: Any, *_: object) -> None:
        self.execute = execute

    def run(self, tasks: Sequence[Any], *_: object) -> Iterator[tuple[Any, Any]]:
        for task in tasks[:4]:
            yield task, Crash("failed", "killed", 0.1) if task.number % 2 else self.execute(task, "cpu")
        raise OSError("no process can be started")


def test_what_no_worker_has_drawn_is_drawn_all_the_same(material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = draw_charts(material, processes=1)
    monkeypatch.setattr(studio, "LocalEngine", LosesEverySecond)
    assert draw_charts(material, processes=2) == alone
