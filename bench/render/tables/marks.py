"""Symbols at numbers that must not be read like their neighbours, and what each of them means."""

from __future__ import annotations

from dataclasses import dataclass

from bench.metrics import METRICS
from bench.render.results.header import Model
from bench.render.results.table import Results


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
LOWER_BOUND = Mark("≥", "a lower bound, or based on one: the network has an operator that cannot be counted")
ABOVE_PEAK = Mark("?", "more than the device can do: not reliable")
MARKS = (CHANCE, UNSTEADY, SMALLER_BATCH, LAUNCH_BOUND, PREDICTED, LOWER_BOUND, ABOVE_PEAK, INCOMPLETE)


def marks_of(results: Results, model: Model, metric: str) -> tuple[Mark, ...]:
    """The marks of one number, in the order of MARKS; none where there is no number."""
    cell = results.cell(model, metric)
    if not cell.measured:
        return ()
    found = (
        (CHANCE, metric == "top1" and results.at_chance(model)),
        (UNSTEADY, "unsteady" in cell.flags),
        (SMALLER_BATCH, cell.asked_batch_size is not None),
        (LAUNCH_BOUND, launch_bound(results, model, metric)),
        (PREDICTED, cell.predicted),
        (LOWER_BOUND, "lower_bound" in cell.flags),
        (ABOVE_PEAK, "above_peak" in cell.flags),
        (INCOMPLETE, bool(cell.lost)),
    )
    return tuple(mark for mark, holds in found if holds)


def launch_bound(results: Results, model: Model, metric: str) -> bool:
    """Whether the device's own time of the same step is far below that of the whole step."""
    known = METRICS.get(metric)
    return known is not None and "launch_bound" in results.cell(model, known.device_time).flags
