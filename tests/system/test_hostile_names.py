"""Names and notes that try to be something else: a tag, a formula, a path, an order to a terminal."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd
import pytest

from bench.records.record import Record
from bench.records.run_folder import header_of
from bench.render.report import write_report
from tests.configs import new_run

NAMES = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    '=HYPERLINK("http://127.0.0.1","x")',
    "+1+cmd",
    "@SUM(A1)",
    "-2+3",
    "../../../escaped",
    "| cell | [link](http://127.0.0.1) `code`",
    "x" * 400,
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_text_everywhere(tmp_path: Path, name: str) -> None:
    model = {"name": name, "family": name, "track": "cifar", "paper": name, "differences": [name], "num_classes": 10}
    header = {"models": [model], "environment": {"device": name, name: name}, "image_sets": {}, "command": [name]}
    run = new_run(tmp_path / "results", "a", header_of(header))
    with run.writer() as writer:
        writer.append([Record(name, "params", "params", 5.0, "count", "ok", note=name)])
        writer.append([Record(name, "macs", "macs", None, "count", "failed", note=name)])
        writer.append([Record(name, "accuracy", "top1", 0.5, "fraction", "ok", trials=100, dataset=name, budget="1ep")])
    run.curves.mkdir()
    curve = run.table_path("curves", name, "seed0")
    assert curve.parent == run.curves
    assert len(curve.name) < 255
    pd.DataFrame({"images": [1, 2], "train_loss": [2.0, 1.0], "test_top1": [0.1, 0.5]}).to_parquet(curve)
    report = write_report(run, tmp_path / "reports")
    page, words = (report / "index.html").read_text(), (report / "report.md").read_text()
    for text in (page, words):
        assert "<img src=x" not in text
        assert "<script>alert" not in text
    assert "[link](http" not in words
    with (report / "table.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert len(rows) == 2
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@"))]
    assert {path.name for path in tmp_path.iterdir()} == {"results", "reports"}
