"""records -> one Cell per (model, metric) -> one row per model: the only place where seeds are averaged.

Intervals are 95 %: Student's t over seeds, between the medians of rounds or over the order statistics of the samples
of a single one, or Wilson's for a single fraction. A metric of one sample and one seed has none.

networks  the networks of a run, their names and which are kept apart;  kept  curves, layers and images of a run
views     the run with accuracies of more than itself: published ones, those of the reference
derived   rows that no run measures: shares of a peak, published accuracies, the shipped reference
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from bench.config import Budget, Config
from bench.metrics import METRICS, Metric, probe_named
from bench.quantity import measured
from bench.records.record import Record, at_the_asked_batch
from bench.records.run_folder import Run, RunHeader
from bench.render.results.derived import (
    PUBLISHED,
    REFERENCE,
    derived_records,
    limits_of,
    published_records,
    reference_records,
    reference_source,
    with_lower_bounds,
)
from bench.render.results.networks import Model, kept_apart, unlisted, with_track
from bench.stats import Interval, mean_interval, median_interval, rounds_interval, wilson_interval

NO_INTERVAL: Interval = (math.nan, math.nan)
NOT_RUN = "not run"  # the status of a network that the run names but has not measured yet
_STEADY_ENOUGH = 4  # a median over rounds hardly depends on fewer than one in so many
_WORST_FIRST = ("failed", "timeout", "oom", "ok", "skipped")


@dataclass(frozen=True)
class Cell:
    """One metric of one model over all its seeds and rounds. `value` is nan unless one of them was measured."""

    value: float
    low: float
    high: float
    status: str  # the worst of the rows'
    records: tuple[Record, ...]  # the ok ones that stand behind the value, else all of them
    lost: tuple[Record, ...] = ()  # seeds or rounds that failed, or needed a smaller batch

    @property
    def measured(self) -> bool:
        return not math.isnan(self.value)

    @property
    def has_interval(self) -> bool:
        return not math.isnan(self.low)

    @property
    def span(self) -> tuple[float, float, float]:
        """Lower limit, value and upper limit; the value itself where it has no interval."""
        return (self.low, self.value, self.high) if self.has_interval else (self.value, self.value, self.value)

    @property
    def trials(self) -> int | None:
        """The test images behind an accuracy: several seeds share them."""
        return min((row.trials for row in self.records if row.trials), default=None)

    @property
    def text(self) -> str:
        """The value with its interval, as people read it."""
        return measured(self.value, self.low, self.high, self.records[-1].unit)

    @property
    def predicted(self) -> bool:
        """Whether the value was worked out and not measured."""
        return self.measured and any(row.predicted for row in self.records)

    @property
    def flags(self) -> frozenset[str]:
        """What a reader must be warned of: what any of its seeds or rounds says, `unsteady` only where enough do."""
        said = Counter(flag for row in self.records for flag in row.flags) if self.measured else {}
        enough = len(self.records) / _STEADY_ENOUGH
        return frozenset(flag for flag, times in said.items() if flag != "unsteady" or times >= enough)

    @property
    def reliable(self) -> bool:
        """Whether there is a value, no lower bound, and not more than the device can do."""
        return self.measured and not self.flags & {"lower_bound", "above_peak"}

    @property
    def competes(self) -> bool:
        """Whether the value may be called best, ranked or put on a front with others."""
        return self.reliable and self.asked_batch_size is None

    @property
    def batch_size(self) -> int | None:
        """As used; None where there is none."""
        return self.records[-1].batch_size if self.measured else None

    @property
    def asked_batch_size(self) -> int | None:
        """The batch size that all networks were to use, where this one needed a smaller; else None."""
        asked = self.records[-1].asked_batch_size if self.measured else None
        return asked if asked != self.batch_size else None


@dataclass(frozen=True)
class AccuracyGroup:
    """Networks whose accuracies may share an axis: one track, one data set, one budget."""

    track: str
    dataset: str
    budget: str
    models: tuple[Model, ...]
    elsewhere: frozenset[str] = frozenset()  # those of them whose accuracy is the shipped reference's

    @property
    def chance(self) -> float | None:
        """Accuracy of guessing; None where the networks differ in their number of classes."""
        classes = {model.num_classes for model in self.models}
        only = classes.pop() if len(classes) == 1 else None
        return 1 / only if only else None

    @property
    def synthetic(self) -> bool:
        return self.dataset.startswith("synthetic")


@dataclass(frozen=True)
class Results:
    """A run, read once: what every table, chart and sentence of its report is made from.

    A run may train its networks under several budgets; then `cells` are those of the first one, or of the one that
    `under` names.
    """

    header: RunHeader
    models: tuple[Model, ...]  # of the header, then those that only records name
    records: tuple[Record, ...]  # of all budgets
    cells: Mapping[tuple[str, str], Cell]  # (model, metric)

    def under(self, budget: str) -> Results:
        """The same run as if this had been its only budget."""
        config = replace(self.header.config or Config(), budget=Budget.parse(budget), other_budgets=())
        records = tuple(record for record in self.records if record.budget in (None, budget))
        return replace(self, header=replace(self.header, config=config), records=records, cells=cells_of(records))

    @property
    def device(self) -> str:
        return self.header.device or "unknown device"

    def cell(self, model: Model | str, metric: str) -> Cell:
        """The cell of a model and metric; an unmeasured one where there are no records."""
        name = model if isinstance(model, str) else model.name
        return self.cells.get((name, metric), Cell(math.nan, *NO_INTERVAL, NOT_RUN, ()))

    def metrics(self) -> list[Metric]:
        """The metrics that some record names: the known ones in their order, then any others as stored."""
        seen = {record.metric: record for record in self.records}
        known = [metric for name, metric in METRICS.items() if name in seen]
        others = [
            Metric(name, record.probe, record.unit, name, None, "")
            for name, record in seen.items()
            if name not in METRICS
        ]
        return known + others

    def tracks(self) -> dict[str, tuple[Model, ...]]:
        """Models by track; first those that the first screen compares, by an accuracy of this run or a reference."""
        tracks: dict[str, tuple[Model, ...]] = {}
        for model in self.models:
            tracks[model.track] = (*tracks.get(model.track, ()), model)

        def compared(model: Model) -> bool:
            return self.cell(model, "top1").measured or self.cell(model, "reference_top1").measured

        return dict(sorted(tracks.items(), key=lambda item: -sum(map(compared, item[1]))))

    def accuracy_groups(self) -> list[AccuracyGroup]:
        """Networks with an accuracy, by track, data set and budget; the largest group first."""
        groups: dict[tuple[str, str, str], list[Model]] = {}
        for model in self.models:
            cell = self.cell(model, "top1")
            if cell.measured:
                dataset, budget = cell.records[-1].dataset or "unnamed data", cell.records[-1].budget or ""
                groups.setdefault((model.track, dataset, budget), []).append(model)
        return sorted(
            (AccuracyGroup(*key, tuple(models)) for key, models in groups.items()),
            key=lambda group: -len(group.models),
        )

    def at_chance(self, model: Model) -> bool:
        """Whether the accuracy is no better than chance: Wilson's lower limit is not above 1/num_classes."""
        cell = self.cell(model, "top1")
        if not cell.measured or not model.num_classes:
            return False
        low = wilson_interval(cell.value, cell.trials)[0] if cell.trials else cell.span[0]
        return low <= 1 / model.num_classes


def read_results(run: Run) -> Results:
    """Everything a report needs from a run's folder, except its curves.

    Raises:
        RunError: a line of records.jsonl is damaged.
    """
    return results_of(replace(run.header, name=run.name), run.records())


def results_of(header: RunHeader, measured: list[Record]) -> Results:
    """Records with what is derived from them, published or in the shipped reference."""
    known = {model.name for model in header.models}
    others = dict.fromkeys(record.model for record in measured if record.model not in known)
    models, measured = kept_apart([*map(with_track, header.models), *map(unlisted, others)], measured)
    measured = with_lower_bounds(measured)
    # Nothing is published of a user's own images.
    own = [track for track, entry in header.image_sets.items() if str(entry.get("name")).startswith("folder-")]
    alike = [model for model in models if model.track not in own]
    elsewhere = (*reference_records(alike, header.budget), *published_records(alike))
    records = (*measured, *derived_records(measured, limits_of(header)), *elsewhere)
    return Results(
        header=header,
        models=tuple(models),
        records=records,
        cells=cells_of(_of_first_budget(header, records)),
    )


def _of_first_budget(header: RunHeader, records: Iterable[Record]) -> list[Record]:
    return [record for record in records if record.budget not in header.other_budgets]


def cells_of(records: Iterable[Record]) -> dict[tuple[str, str], Cell]:
    """Average over seeds: (model, metric) -> Cell, in the order in which the pairs first occur."""
    by_pair: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        by_pair.setdefault((record.model, record.metric), []).append(record)
    return {pair: _cell(rows) for pair, rows in by_pair.items()}


def _cell(rows: Sequence[Record]) -> Cell:
    status = worst_status(row.status for row in rows)
    ok = [row for row in rows if row.value is not None]
    if not ok:
        return Cell(math.nan, *NO_INTERVAL, status, tuple(rows))
    whole = at_the_asked_batch(ok)
    whole = [
        row for row in whole if row.conditions == whole[-1].conditions
    ]  # only what the newest can be averaged with
    value, (low, high) = _value_and_interval(whole)
    lost = tuple(row for row in rows if row.failed or (row.halved and not whole[-1].halved))
    return Cell(value, low, high, status, tuple(whole), lost)


def _value_and_interval(rows: Sequence[Record]) -> tuple[float, Interval]:
    values = [row.value for row in rows if row.value is not None]
    samples = [sample for row in rows for sample in row.samples]
    fraction = rows[-1].unit == "fraction"
    if len(values) == 1:
        trials = rows[0].trials
        if fraction and trials:
            return values[0], wilson_interval(values[0], trials)
        return values[0], median_interval(samples) if len(samples) > 1 else NO_INTERVAL
    if len({row.round for row in rows}) > 1:
        # A percentile has no samples of its own: it is a single number of each round.
        rounds = [row.samples or (value,) for row, value in zip(rows, values, strict=True)]
        positive = min(map(min, rounds)) > 0
        return statistics.median(values), rounds_interval(rounds) if positive else NO_INTERVAL
    # A count repeated under several seeds has no spread to speak of.
    if probe_named(rows[-1].probe).when != "seeds" and not rows[-1].trials:
        return statistics.fmean(values), NO_INTERVAL
    low, high = mean_interval(values)
    return statistics.fmean(values), (max(low, 0.0), min(high, 1.0) if fraction else high)


def worst_status(statuses: Iterable[str]) -> str:
    """The status that stands for several: any failure before ok, ok before skipped."""
    found = set(statuses)
    return next((status for status in _WORST_FIRST if status in found), NOT_RUN)


def to_table(results: Results) -> pd.DataFrame:
    """One row per model, as in table.csv: facts, metric columns in the order of METRICS, conditions, status.

    Every metric of METRICS has a column, so that scripts find it even where nothing was measured;
    `<metric>_low` and `<metric>_high` exist where some model has an interval.
    """
    columns: dict[str, list[object]] = {
        "model": [model.name for model in results.models],
        "family": [model.family for model in results.models],
        "year": [model.year for model in results.models],
        "track": [model.track for model in results.models],
    }
    for name in (*METRICS, *(m.name for m in results.metrics() if m.name not in METRICS)):
        cells = [results.cell(model, name) for model in results.models]
        columns[name] = [cell.value for cell in cells]
        if any(cell.has_interval for cell in cells):
            columns[f"{name}_low"] = [cell.low for cell in cells]
            columns[f"{name}_high"] = [cell.high for cell in cells]
        if name == REFERENCE:
            columns["reference_source"] = [
                reference_source(cell.records[-1]) if cell.measured else None for cell in cells
            ]
        if name == PUBLISHED:
            columns["published_source"] = [cell.records[-1].note if cell.measured else None for cell in cells]
    counted = _of_first_budget(results.header, results.records)
    here = [row for row in counted if row.metric not in (REFERENCE, PUBLISHED)]
    rows = {model.name: [row for row in here if row.model == model.name] for model in results.models}
    accuracy = [results.cell(model, "top1").records[-1:] for model in results.models]
    columns["dataset"] = [row[0].dataset if row else None for row in accuracy]
    columns["budget"] = [row[0].budget if row else None for row in accuracy]
    columns["batch_size"] = [_batch_size(rows[model.name]) for model in results.models]
    columns["precision"] = [_precision(rows[model.name]) for model in results.models]
    columns["status"] = [worst_status(r.status for r in rows[model.name]) for model in results.models]
    table = pd.DataFrame(columns)
    # Counts stay counts: 269722, not 269722.0, with an empty cell where there is none.
    return table.astype({name: "Int64" for name in table if _is_whole(table[name])})


def write_csv(table: pd.DataFrame) -> str:
    """The table as CSV; a text cell that a spreadsheet would take for a formula starts with an apostrophe."""
    safe = table.copy()
    for name in safe.columns:
        if not pd.api.types.is_numeric_dtype(safe[name]):
            safe[name] = pd.Series([inert(value) for value in safe[name]], index=safe.index, dtype=object)
    return safe.rename(columns=inert).to_csv(index=False, lineterminator="\n")


def inert(value: object) -> object:
    """A text that a spreadsheet would take for a formula, with an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _batch_size(rows: Iterable[Record]) -> int | str | None:
    """Of the throughput rows; where training needed another than inference, both, "256/64"."""
    sizes = list(dict.fromkeys(r.batch_size for r in rows if r.probe == "throughput" and r.batch_size))
    return sizes[0] if len(sizes) == 1 else "/".join(map(str, sizes)) or None


def _precision(rows: Sequence[Record]) -> str | None:
    """Of the rows that depend on it; counts are taken in fp32 whatever the run's precision."""
    timed = [row for row in rows if probe_named(row.probe).when in ("rounds", "seeds")] or rows
    return "/".join(dict.fromkeys(row.precision for row in timed)) or None


def _is_whole(column: pd.Series) -> bool:
    if not pd.api.types.is_numeric_dtype(column):
        return False
    values = column.dropna()
    return len(values) > 0 and bool((values == values.round()).all()) and bool((values.abs() < 2**53).all())
