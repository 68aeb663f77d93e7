"""The walk through the house that `bench/__init__.py` shows is code that runs."""

import importlib.util
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import bench
from bench.records.run_folder import Run, run_names


def shown() -> str:
    """The indented lines of the package's docstring."""
    lines = (bench.__doc__ or "").splitlines()
    return inspect.cleandoc("\n" + "\n".join(line for line in lines if line.startswith("    ") or not line))


def test_the_walk_from_the_flags_to_the_page_is_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(shown(), "bench/__init__.py", "exec"), names)
    (run,) = run_names(tmp_path / "results")
    rows = {record.metric: record.value for record in Run.open(tmp_path / "results", run).records()}
    assert {name: rows[name] for name in ("params", "macs")} == {"params": 62_006, "macs": 651_720}
    assert "62" in (tmp_path / names["page"]).read_text()


def test_the_walk_is_short() -> None:
    code = [line for line in shown().splitlines() if line and "import " not in line]
    assert len(code) <= 10
    passed = re.findall(r"`(bench(?:\.\w+)+)` \(|`(bench\.probes\.\w+)`", bench.__doc__ or "")
    assert len(passed) == 8
    assert all(importlib.util.find_spec(first or last) for first, last in passed)
