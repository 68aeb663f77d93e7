"""Two runs in one report: what differs, by how much, and what cannot be compared."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.cli.main import main
from bench.records.record import Record
from bench.records.run_folder import Run
from bench.regression import MARGIN
from bench.regression.compare import compare
from bench.render.page.side_by_side import _by_kind, folder_name, rows_of, side_by_side_facts, write_side_by_side
from tests.render.conftest import RunBuilder, bad, counts, listed, ok, training

EVIL = "<img src=x onerror=alert(1)>|"
SETS = {"cifar": {"name": "cifar10", "sha256": "aa"}}


def rates(model: str, level: float, **facts: Any) -> list[Record]:
    """Three rounds that differ by about one per cent."""
    facts = {"batch_size": 64, "device": "cuda:0", **facts}
    return [ok(model, "train_images_per_s", level * (1 + 0.01 * math.sin(5 * n)), round=n, **facts) for n in range(3)]


@pytest.fixture
def two(build: RunBuilder) -> list[Run]:
    """Two GPUs and two budgets: a and b are twice as fast on the second, which also has the better accuracies."""
    runs = []
    for name, factor, budget in (("slow", 1.0, "10s"), ("fast", 2.0, "20s")):
        rows = [*counts("a_cifar", 5, 7, 9), *counts("b_cifar", 50, 70, 90)]
        rows += [*rates("a_cifar", 100 * factor), *rates("b_cifar", 300 * factor)]
        rows += [
            row for seed in range(3) for row in training("a_cifar", 0.3 * factor + seed / 500, seed=seed, budget=budget)
        ]
        if name == "slow":
            rows.append(ok("c_cifar", "params", 5))
        else:
            rows.append(ok("a_cifar", "latency_ms", 5.0))
        environment = {"device": f"{name} GPU", "torch": "2.15.0"}
        runs.append(build(rows, name=name, environment=environment, budget=budget, image_sets=SETS))
    return runs


def test_what_only_one_run_has_is_a_line_for_each_kind() -> None:
    assert _by_kind(["network a", "network b", "metric macs"]) == ["networks a and b", "metric macs"]
    (line,) = _by_kind([f"network n{number}" for number in range(25)])
    assert line.endswith("n7 and 17 more")


def test_the_report_of_two_gpus_and_two_budgets(two: list[Run], tmp_path: Path) -> None:
    folder = write_side_by_side(two, tmp_path / "reports")
    assert folder == tmp_path / "reports" / "slow-vs-fast"
    assert sorted(path.name for path in folder.iterdir()) == ["index.html", "report.md"]
    page, markdown = ((folder / name).read_text() for name in ("index.html", "report.md"))
    for text in (page, markdown):
        assert "measured on another device: slow GPU in base, fast GPU in new" in text
        assert "budget: 10s in base, 20s in new" in text
        assert "Only in slow" in text
        assert "network c_cifar" in text
        assert "metric latency_ms" in text
    summary = re.search(r"<p>([^<]*)</p>\s*<p class=\"aside\">Change is new", page)
    assert summary is not None
    assert "2 faster" in summary[1]
    assert "2 better" in summary[1]  # accuracy and loss
    assert "+100 %" in page
    assert '<th scope="row">≠ device</th><td>slow GPU</td><td>fast GPU</td>' in page
    assert "| ≠ device | slow GPU | fast GPU |" in markdown
    assert "| torch | 2.15.0 | 2.15.0 |" in markdown


def test_the_table_of_changes_has_the_rows_that_compare_prints(two: list[Run], tmp_path: Path) -> None:
    page = (write_side_by_side(two, tmp_path) / "index.html").read_text()
    rows = rows_of(compare(two[0], two[1], MARGIN, under_any_conditions=True), show_same=True)
    columns = ("network", "metric", "verdict", "base", "new", "change", "interval", "n", "note")
    differing, same, _ = (body.split("</tr>")[:-1] for body in re.findall(r"<tbody>(.*?)</tbody>", page, re.DOTALL))
    texts = [[html.unescape(text) for text in re.findall(r">\s*([^<>]*\S)\s*<", row)] for row in differing + same]
    assert texts == [[row[name] for name in columns if row[name]] for row in rows]
    assert [row["verdict"] for row in rows].count("same") == len(same) > 0


def test_the_page_needs_nothing_else(two: list[Run], tmp_path: Path) -> None:
    page = (write_side_by_side(two, tmp_path) / "index.html").read_text()
    assert not re.search(r"\bsrc=|href=\"(?!#)|url\((?!#)|<link", page)
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]*)"', page)) <= set(ids)


def test_writing_again_gives_the_same_bytes(two: list[Run], tmp_path: Path) -> None:
    first, second = (write_side_by_side(two, tmp_path / name) for name in ("one", "two"))
    for path in first.iterdir():
        assert (second / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_third_run_is_held_against_the_first(two: list[Run], build: RunBuilder, tmp_path: Path) -> None:
    third = build([*counts("a_cifar", 5, 7, 9), *rates("a_cifar", 50)], name="third", budget="10s")
    folder = write_side_by_side([*two, third], tmp_path)
    page = (folder / "index.html").read_text()
    assert folder.name == "slow-vs-fast-vs-third"
    assert "slow → fast" in page
    assert "slow → third" in page
    assert re.findall(r'<section id="pair(\d)"', page) == ["1", "2"]


def test_runs_without_anything_in_common(build: RunBuilder, tmp_path: Path) -> None:
    runs = [build([ok(name, "params", 5)], name=f"of-{name}") for name in ("a_cifar", "b_cifar")]
    page = (write_side_by_side(runs, tmp_path) / "index.html").read_text()
    assert page.count("in common") == page.count("These runs have no number in common.") == 1
    assert "Change is new / base." not in page  # there is none


def test_accuracies_on_other_images_are_not_compared(build: RunBuilder, tmp_path: Path) -> None:
    runs = [build(training("a_cifar", 0.5, dataset=name), name=name) for name in ("cifar10", "synthetic")]
    page = (write_side_by_side(runs, tmp_path) / "index.html").read_text()
    assert "data set: cifar10 in base, synthetic in new" in page
    assert "Cannot be compared" in page


def test_facts_and_their_differences(two: list[Run]) -> None:
    grid = side_by_side_facts(two)
    assert grid.headings == ("Fact", "slow", "fast")
    for row in (
        ("≠ device", "slow GPU", "fast GPU"),
        ("torch", "2.15.0", "2.15.0"),
        ("≠ budget", "10s", "20s"),
        ("cifar images", "cifar10 aa", "cifar10 aa"),
    ):
        assert row in grid.rows
    marked = [row[0].startswith("≠") for row in grid.rows]
    assert marked == sorted(marked, reverse=True)  # what differs comes first
    assert "cudnn_benchmark" not in str(grid.rows)


def test_hostile_text_is_only_text(build: RunBuilder, tmp_path: Path) -> None:
    model = listed(EVIL, EVIL, 2015, "cifar")
    runs = [
        build(
            [*rates(EVIL, level), bad(EVIL, "latency_ms", "failed", EVIL)],
            [model],
            f"run{level}",
            environment={"device": EVIL, EVIL: EVIL},
            preset=EVIL,
            command=[EVIL],
        )
        for level in (100, 200)
    ]
    folder = write_side_by_side(runs, tmp_path)
    for name in ("index.html", "report.md"):
        text = (folder / name).read_text()
        assert "<img" not in text
        assert "&lt;img" in text
    for table in re.findall(r"^\|.*(?:\n\|.*)*", (folder / "report.md").read_text(), re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


def test_long_names_stay_file_names() -> None:
    name = folder_name([letter * 100 for letter in "abc"])
    assert len(name) < 150
    assert name != folder_name([letter * 100 for letter in "abd"])


# --- the command ---------------------------------------------------------------------------------------------


def report(two: list[Run], tmp_path: Path, *words: str) -> list[str]:
    return ["report", *words, "--results-dir", str(two[0].folder.parent), "--reports-dir", str(tmp_path / "out")]


def test_the_command_takes_names_and_folders(
    two: list[Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(report(two, tmp_path, "slow", str(two[1].folder))) == 0
    assert capsys.readouterr().out == f"report: {tmp_path / 'out' / 'slow-vs-fast' / 'index.html'}\n"


def test_a_run_is_not_held_against_itself(two: list[Run], tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "name every run once" in refused(*report(two, tmp_path, "slow", "fast", "slow"))
    assert "there is no run 'no-such-run'" in refused(*report(two, tmp_path, "slow", "no-such-run"))
    assert not (tmp_path / "out").exists()
