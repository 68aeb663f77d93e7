"""Two rows of unlike conditions never share a cell, a point, a series or a verdict, whichever condition it is."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from bench.config import Execution
from bench.records.record import Conditions, Record
from bench.records.run_folder import Run, header_of
from bench.regression.compare import compare
from bench.regression.history import history
from bench.render.charts.frame import chart_name
from bench.render.page.explorer import explorer
from bench.render.results import cells_of, read_results, to_table
from tests.configs import new_run
from tests.rows import ok

SAMPLED = {"samples": (99.0, 100.0, 101.0), "batch_size": 16, "asked_batch_size": 16}
RATE = ok("resnet20_cifar", "train_images_per_s", 100.0, hardware="A", **SAMPLED)
TRAINED = {"trials": 1000, "dataset": "cifar10", "budget": "1ep", "recipe": "default: SGD 0.1", "batch_size": 32}
TOP1 = ok("resnet20_cifar", "top1", 0.5, hardware="A", **TRAINED)
PEAK = ok("resnet20_cifar", "peak_training_bytes", 1e6, batch_size=16, hardware="A")
UNLIKE: dict[str, tuple[Record, dict[str, Any]]] = {
    "hardware": (RATE, {"hardware": "B"}),
    "batch_size": (RATE, {"batch_size": 64, "asked_batch_size": 64}),
    "precision": (RATE, {"precision": "bf16"}),
    "memory_format": (RATE, {"memory_format": "channels_last"}),
    "compile": (RATE, {"compile": True}),
    "compile_mode": (replace(RATE, compile=True), {"compile_mode": "max-autotune"}),
    "cuda_graphs": (RATE, {"cuda_graphs": True}),
    "recipe": (TOP1, {"recipe": "tuned: SGD 0.05"}),
    "predicted": (PEAK, {"predicted": True}),
    "dataset": (TOP1, {"dataset": "synthetic"}),
    "test_images": (TOP1, {"trials": 10_000}),
    "budget": (TOP1, {"budget": "2ep"}),
}
each_condition = pytest.mark.parametrize("condition", UNLIKE)


def unlike(condition: str) -> tuple[Record, Record]:
    """Two rows of one network and metric that differ in one condition and, fourfold, in their value."""
    row, change = UNLIKE[condition]
    samples = tuple(4 * sample for sample in row.samples)
    other = replace(row, value=4 * (row.value or 0) if row.unit != "fraction" else 0.9, samples=samples, **change)
    return row, other


def store(results: Path, name: str, rows: list[Record], day: int = 1) -> Run:
    environment = {"device": "A", "commit": "0123456"}
    models = [{"name": "resnet20_cifar", "track": "cifar", "num_classes": 10}]
    created = f"2026-01-{day:02d}T12:00:00+00:00"
    run = new_run(
        results,
        name,
        header_of({"created": created, "environment": environment, "models": models, "budget": "1ep"}),
    )
    with run.writer() as writer:
        writer.append(rows)
    return run


def test_every_condition_is_tried() -> None:
    names = [*Conditions._fields, *(field.name for field in fields(Execution))]
    assert set(UNLIKE) == set(names) - {"execution"}


@each_condition
def test_no_cell_is_made_of_both(condition: str, tmp_path: Path) -> None:
    first, second = unlike(condition)
    again = [replace(row, round=number, seed=number) for number, row in enumerate((first, second, first, second))]
    results = read_results(store(tmp_path, "a", again))
    cells = [results.cell(model, first.metric) for model in results.models]
    assert all(len({row.conditions for row in cell.records}) == 1 for cell in cells)
    values = sorted(cell.value for cell in cells)
    # Of several budgets the run's table shows the newest; `under` gives the table of each.
    assert values == pytest.approx([second.value] if condition == "budget" else [first.value, second.value])
    assert len({model.name for model in results.models}) == len(cells)
    (only,) = cells_of([first, replace(second, round=1, seed=1)]).values()
    assert only.value == second.value


@each_condition
def test_no_point_of_the_explorer_and_no_row_of_the_csv_is_made_of_both(condition: str, tmp_path: Path) -> None:
    first, second = unlike(condition)
    count = ok("resnet20_cifar", "params", 269_722)
    another = [replace(row, model="lenet5_cifar") for row in (count, first)]
    rows = [count, first, replace(second, round=1, seed=1), *another]
    results = read_results(store(tmp_path, "a", rows))
    csv = to_table(results)
    found = csv[csv["model"].str.startswith("resnet20_cifar")][first.metric]
    assert set(found) <= {first.value, second.value}
    drawn = explorer(results)
    assert drawn is not None
    assert sum(each["name"].startswith("resnet20_cifar") for each in drawn.content["networks"]) == (
        1 if condition == "budget" else 2
    )


@each_condition
def test_runs_are_not_held_against_each_other(condition: str, tmp_path: Path) -> None:
    first, second = unlike(condition)
    found = compare(store(tmp_path, "base", [first]), store(tmp_path, "new", [second]), 0.02)
    assert not found.changes
    assert found.incomparable
    assert compare(store(tmp_path, "one", [first]), store(tmp_path, "two", [first]), 0.02).changes


@each_condition
def test_no_series_holds_both(condition: str, tmp_path: Path) -> None:
    first, second = unlike(condition)
    runs = [store(tmp_path, f"r{day}", [row], day + 1) for day, row in enumerate((first, second, first, second))]
    found = history([(run, run.records()) for run in runs], [first.metric], 0.02)
    assert [len(series.points) for series in found] == [2, 2]
    assert all(len({point.value for point in series.points}) == 1 for series in found)
    assert len({series.conditions for series in found}) == 2


def test_rounds_that_were_forced_into_one_run_have_rows_of_their_own(tmp_path: Path) -> None:
    manners: list[dict[str, Any]] = [{}, {"precision": "bf16"}, {"precision": "bf16", "compile": True}]
    rates = [
        replace(RATE, round=2 * n + again, value=value, **manner)
        for n, (manner, value) in enumerate(zip(manners, (100.0, 400.0, 900.0), strict=True))
        for again in range(2)
    ]
    count = ok("resnet20_cifar", "params", 269_722)
    failed = replace(RATE, metric="latency_ms", probe="latency", value=None, samples=(), status="oom", precision="fp16")
    results = read_results(store(tmp_path, "a", [count, *rates, TOP1, failed]))
    speeds = {model.name: results.cell(model, RATE.metric).value for model in results.models}
    assert speeds.pop("resnet20_cifar (fp16, not compiled)") != 100.0  # of which there is only the failure
    assert speeds == {
        "resnet20_cifar (fp32, not compiled)": 100.0,
        "resnet20_cifar (bf16, not compiled)": 400.0,
        "resnet20_cifar (bf16, compiled)": 900.0,
    }
    assert {results.cell(model, "params").value for model in results.models} == {269_722}
    assert chart_name(results.models[1]) == "ResNet-20 (bf16, not compiled)"
    trained = [model.name for model in results.models if results.cell(model, "top1").measured]
    assert trained == ["resnet20_cifar (fp32, not compiled)"]
    assert results.cell("resnet20_cifar (fp16, not compiled)", "latency_ms").status == "oom"


def test_a_network_may_train_in_another_manner_under_another_budget(tmp_path: Path) -> None:
    longer = replace(TOP1, budget="5ep", cuda_graphs=True, value=0.8)
    results = read_results(store(tmp_path, "a", [TOP1, longer]))
    assert [model.name for model in results.models] == ["resnet20_cifar"]
    assert results.under("1ep").cell("resnet20_cifar", "top1").value == 0.5
    assert results.under("5ep").cell("resnet20_cifar", "top1").value == 0.8


def test_accuracies_do_not_depend_on_the_device_unless_their_budget_does() -> None:
    assert replace(TOP1, hardware="B").conditions == TOP1.conditions
    timed = replace(TOP1, budget="60s")
    assert replace(timed, hardware="B").conditions != timed.conditions
