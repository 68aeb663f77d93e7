"""Figures that several processes draw."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from bench.render.charts import Material, draw_charts
from bench.render.results.table import read_results
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


def test_what_a_process_does_not_bring_is_drawn_all_the_same(
    material: Material, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The second of two is killed as it starts."""
    alone = draw_charts(material, processes=1)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\n[ "$4" = 1 ] && kill -9 $$\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    assert draw_charts(material, processes=2) == alone


def test_a_process_that_cannot_be_started_is_no_loss(material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = draw_charts(material, processes=1)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert draw_charts(material, processes=2) == alone


def test_a_script_without_a_guard_may_ask_for_figures(material: Material, tmp_path: Path) -> None:
    """Other ways to start processes would run it again in each of them."""
    (tmp_path / "material").write_bytes(pickle.dumps(material))
    script = tmp_path / "script.py"
    script.write_text(
        "import pickle; from pathlib import Path; from bench.render.charts import draw_charts\n"
        f"print(len(draw_charts(pickle.loads(Path({str(tmp_path / 'material')!r}).read_bytes()), processes=2)))\n"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, str(script)], env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert (int(done.stdout), done.stderr) == (len(draw_charts(material, processes=1)), "")
