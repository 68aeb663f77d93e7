"""Symbols at numbers that must not be read like their neighbours, and what each of them means."""

from __future__ import annotations

from dataclasses import dataclass

from bench.render.results.header import Model
from bench.render.results.table import Cell, Results


@dataclass(frozen=True)
class Mark:
    symbol: str
    meaning: str  # completes "this number ..."


CHANCE = Mark("†", "no better than chance")
UNSTEADY = Mark("‡", "timing had not settled")
SMALLER_BATCH = Mark(
    "§", "measured at a smaller batch because the common one did not fit: not comparable within this column"
)
LAUNCH_BOUND = Mark("¶", "launch-bound: the device waits for the host, so this is the speed of both together")
PREDICTED = Mark("≈", "predicted, not measured")
INCOMPLETE = Mark("!", "a seed or round failed and is missing here")
MARKS = (CHANCE, UNSTEADY, SMALLER_BATCH, LAUNCH_BOUND, PREDICTED, INCOMPLETE)


def marks_of(results: Results, model: Model, metric: str) -> tuple[Mark, ...]:
    """The marks of one number, in the order of MARKS; none where there is no number."""
    cell = results.cell(model, metric)
    if not cell.measured:
        return ()
    found = (
        (CHANCE, metric == "top1" and results.at_chance(model)),
        (UNSTEADY, not_steady(cell)),
        (SMALLER_BATCH, cell.asked_batch_size is not None),
        (LAUNCH_BOUND, launch_bound(results, model, metric)),
        (PREDICTED, cell.predicted),
        (INCOMPLETE, bool(cell.lost)),
    )
    return tuple(mark for mark, holds in found if holds)


def not_steady(cell: Cell) -> bool:
    """Whether a timing says so in its note, in any of its rounds."""
    return cell.measured and any("not steady" in row.note for row in cell.records)


def launch_bound(results: Results, model: Model, metric: str) -> bool:
    """Whether the device's own time of the same step is far below that of the whole step."""
    kind, _, what = metric.partition("_")
    if what not in ("images_per_s", "device_ms"):
        return False
    device_time = results.cell(model, f"{kind}_device_ms")
    return device_time.measured and any(row.note.startswith("launch-bound") for row in device_time.records)
