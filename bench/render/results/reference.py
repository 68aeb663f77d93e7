"""Accuracies that this suite measured elsewhere, shipped with the package: a short training need not be repeated.

`reference_top1.csv` has one row per network and seed: of one run, on all training images, at the end of the budget, on
all test images. `export_reference` makes it from a stored run.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bench.config import PRESETS, RequestError
from bench.metrics import DERIVED
from bench.records.record import Record
from bench.records.run_folder import Run
from bench.render.results.header import Model
from bench.stats.intervals import wilson_interval

FILE = Path(__file__).parent / "reference_top1.csv"
METRIC = "reference_top1"
_CHANCE = 0.1  # of ten classes
_TESTED = 10_000  # test images of CIFAR-10
_COLUMNS = (
    "model",
    "dataset",
    "budget",
    "seed",
    "top1",
    "tested",
    "batch_size",
    "precision",
    "recipe",
    "hardware",
    "torch",
    "torchvision",
    "commit",
    "run",
)


def reference_records(models: Iterable[Model], budget: str) -> list[Record]:
    """A row of `reference_top1` for each of the networks that the table has, and each of its seeds.

    Of the table's budgets the run's own counts, else the first. Nothing where no table is shipped.
    """
    table = list(csv.DictReader(FILE.read_text(encoding="utf-8").splitlines())) if FILE.exists() else []
    budgets = dict.fromkeys(row["budget"] for row in table)
    chosen = budget if budget in budgets else next(iter(budgets), None)
    known = {model.name for model in models if not model.own}
    return [_record(row) for row in table if row["budget"] == chosen and row["model"] in known]


def _record(row: Mapping[str, str]) -> Record:
    return Record(
        row["model"],
        DERIVED,
        METRIC,
        float(row["top1"]),
        "fraction",
        "ok",
        note=f"measured on {row['hardware']} with PyTorch {row['torch']}, commit {row['commit']}",
        trials=int(row["tested"]),
        seed=int(row["seed"]),
        batch_size=int(row["batch_size"]),
        precision=row["precision"],
        hardware=row["hardware"],
        dataset=row["dataset"],
        budget=row["budget"],
        recipe=row["recipe"],
    )


def reference_table(run: Run, budget: str | None = None) -> str:
    """The table of a run as CSV, the networks in the order of their accuracy.

    Raises:
        RequestError: the run cannot be a reference; the message says what it lacks.
    """
    rows = [row for row in run.records() if row.metric == "top1" and row.value is not None and _is_of_track(row.model)]
    budgets = list(dict.fromkeys(str(row.budget) for row in rows))
    if budget is None and len(budgets) > 1:
        raise RequestError(f"run {run.name} has several budgets: choose one with --budget ({', '.join(budgets)})")
    if budget is not None and budget not in budgets:
        raise RequestError(
            f"run {run.name} has no trainings under {budget}; it has {', '.join(budgets) or 'none at all'}"
        )
    rows = [row for row in rows if budget in (None, row.budget)]
    _check(run, rows)
    mean = {name: sum(row.value or 0.0 for row in rows if row.model == name) for name in {row.model for row in rows}}
    facts = run.header.environment
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in sorted(rows, key=lambda row: (-mean[row.model], row.model, row.seed)):
        writer.writerow(
            {
                "model": row.model,
                "dataset": row.dataset,
                "budget": row.budget,
                "seed": row.seed,
                "top1": row.value,
                "tested": row.trials,
                "batch_size": row.batch_size,
                "precision": row.precision,
                "recipe": row.recipe,
                "hardware": row.hardware,
                "torch": facts.get("torch", ""),
                "torchvision": facts.get("torchvision", ""),
                "commit": facts.get("commit", ""),
                "run": run.name,
            }
        )
    return text.getvalue()


def _check(run: Run, rows: Sequence[Record]) -> None:
    """Check that every network of `quick` is there, above chance, trained and tested on whole data sets of one kind.

    Raises:
        RequestError: it is not so.
    """
    due = [name for name in PRESETS["quick"].models if _is_of_track(name)]
    missing = [name for name in due if name not in {row.model for row in rows}]
    if missing:
        raise RequestError(f"run {run.name} lacks {', '.join(missing)}: a reference has every network of quick")
    seeds = {name: {row.seed for row in rows if row.model == name} for name in due}
    if len(set(map(frozenset, seeds.values()))) > 1:
        raise RequestError(f"run {run.name} has more seeds of some networks than of others")
    for what, values in (
        ("data set", {row.dataset for row in rows}),
        ("budget", {row.budget for row in rows}),
        ("number of test images", {row.trials for row in rows}),
    ):
        if len(values) > 1:
            raise RequestError(f"run {run.name} has more than one {what}: {', '.join(map(str, values))}")
    if str(rows[0].dataset).partition("-")[0] != "cifar10":
        raise RequestError(f"run {run.name} was trained on {rows[0].dataset}: a reference is trained on CIFAR-10")
    if rows[0].trials != _TESTED:
        raise RequestError(
            f"run {run.name} was tested on {rows[0].trials} images: a reference is tested on all {_TESTED}"
        )
    guessing = [row.model for row in rows if row.trials and wilson_interval(row.value or 0.0, row.trials)[0] <= _CHANCE]
    if guessing:
        raise RequestError(f"{', '.join(guessing)} did not start: a defect of the recipe, not a reference")


def _is_of_track(model: str) -> bool:
    """Whether it is a network of the registry's cifar track, whose names end in it."""
    return model.endswith("_cifar") and ":" not in model
