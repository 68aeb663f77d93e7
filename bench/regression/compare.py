"""Two stored runs: what changed significantly, what cannot be compared, and why.

Every row of a run is one unit: a round of a timing, a seed of a training. Samples within a round share the state of
the machine and count as one. Intervals of a metric pool its scatter over all networks, and hold all at once.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from scipy import stats

from bench.metrics import METRICS, Probe, probe_named
from bench.quantity import joined
from bench.records.record import Record, at_the_asked_batch
from bench.records.run_folder import Run
from bench.regression import Verdict, verdict, zone
from bench.stats import Interval, shared_variances

ERROR = 0.05  # the chance that any interval of a comparison is wrong

# Facts of an environment that change from minute to minute.
_FLEETING = ("load_average_1min",)

Key = tuple[str, str, str | None]  # model, metric, budget
Rows = Mapping[Key, Sequence[Record]]
_SIDES = ("base", "new")


@dataclass(frozen=True)
class Change:
    """One metric of one network in both runs. The ratio is new / base, of geometric means over rounds or seeds."""

    model: str
    metric: str
    unit: str
    better: Literal["lower", "higher"] | None
    budget: str | None
    base: float
    new: float
    log_ratio: Interval  # infinite where it is not known how much the metric scatters
    verdict: Verdict
    units: tuple[int, int]  # rounds or seeds in base and new
    exact: bool
    note: str

    @property
    def ratio(self) -> float:
        """nan where base is zero."""
        return self.new / self.base if self.base else math.nan

    @property
    def worsening(self) -> Interval:
        """The logarithm of how many times as bad it is in new."""
        low, high = self.log_ratio
        return (-high, -low) if self.better == "higher" else (low, high)

    @property
    def loss(self) -> float:
        """The middle of that; 0 where there is no ratio."""
        log_ratio = math.log(self.ratio) if self.ratio > 0 else 0.0
        return -log_ratio if self.better == "higher" else log_ratio

    def worse_by_more_than(self, share: float, beyond: float = 0.0) -> bool | None:
        """Whether it is significantly worse by more than `share` (0.05: 5 % more time, bytes, error); None: unclear.

        `beyond` is the log-ratio of a change that does not count.
        """
        low, high = self.worsening
        least = math.log1p(share) + abs(beyond)
        if self.better is None or high <= least:
            return False
        return True if low > least else None

    def as_json(self) -> dict[str, Any]:
        low, high = self.log_ratio
        stated = ("model", "metric", "unit", "budget", "base", "new", "verdict", "units", "note")
        return {
            **{name: getattr(self, name) for name in stated},
            "ratio": None if math.isnan(self.ratio) else self.ratio,
            "ratio_low": math.exp(low) if math.isfinite(low) else None,
            "ratio_high": math.exp(high) if math.isfinite(high) else None,
        }


@dataclass(frozen=True)
class Incomparable:
    """A metric of a network without a verdict, and why."""

    model: str
    metric: str
    reason: str
    lost: bool = False  # measured in base, failed in new


@dataclass(frozen=True)
class ChangedFact:
    """A fact of the two environments or requests."""

    fact: str
    base: str
    new: str


@dataclass(frozen=True)
class Shift:
    """A metric that changed in the same direction for all networks: the machine is a likelier cause than the code."""

    metric: str
    log_ratio: float
    models: int


@dataclass(frozen=True)
class Comparison:
    """Everything that two runs say about each other."""

    base: str
    new: str
    differences: tuple[ChangedFact, ...]
    only_in_base: tuple[str, ...]  # "network resnet20_cifar", "metric latency_ms"
    only_in_new: tuple[str, ...]
    unfinished: tuple[str, ...]
    incomparable: tuple[Incomparable, ...]
    shifts: tuple[Shift, ...]
    changes: tuple[Change, ...]

    def regressions(self, share: float) -> tuple[list[Change | Incomparable], list[Change]]:
        """What was measured in base and failed in new, and what is significantly worse by more than `share`.

        The worst first; apart from these what is no worse than in all other networks, so that the machine is a likelier
        cause.
        """
        shifted = {shift.metric: shift.log_ratio for shift in self.shifts}
        worse = [change for change in self.changes if change.worse_by_more_than(share)]
        worse.sort(key=lambda change: change.worsening[0], reverse=True)
        alone = [c for c in worse if c.metric not in shifted or c.worse_by_more_than(share, shifted[c.metric])]
        lost = [row for row in self.incomparable if row.lost]
        return [*lost, *alone], [change for change in worse if change not in alone]

    def unclear(self, share: float) -> list[Change]:
        """What may be worse by more than `share`, or not; what looks worst first."""
        found = [change for change in self.changes if change.worse_by_more_than(share) is None]
        return sorted(found, key=lambda change: change.loss, reverse=True)

    def as_json(self) -> dict[str, Any]:
        return {
            **vars(self),
            "differences": [vars(difference) for difference in self.differences],
            "incomparable": [vars(row) for row in self.incomparable],
            "shifts": [{"metric": s.metric, "ratio": math.exp(s.log_ratio), "models": s.models} for s in self.shifts],
            "error": ERROR,
            "changes": [change.as_json() for change in self.changes],
        }


@dataclass(frozen=True)
class _Pair:
    """The rows of one metric and network in base and in new."""

    key: Key
    rows: tuple[Sequence[Record], Sequence[Record]]
    note: str = ""

    @cached_property
    def measured(self) -> tuple[list[Record], list[Record]]:
        base, new = (at_the_asked_batch([row for row in rows if row.status == "ok"]) for rows in self.rows)
        return base, new

    @cached_property
    def values(self) -> tuple[list[float], list[float]]:
        base, new = ([row.value for row in rows if row.value is not None] for rows in self.measured)
        return base, new

    @property
    def logs(self) -> list[list[float]]:
        return [[math.log(value) for value in side] for side in self.values]

    @property
    def probe(self) -> Probe:
        return probe_named(self.rows[0][0].probe)

    @property
    def exact(self) -> bool:
        return self.probe.exact or all(row.predicted for rows in self.measured for row in rows)

    @property
    def repeatable(self) -> bool:
        return self.exact or self.probe.repeatable

    @property
    def lost(self) -> bool:
        """Whether base was measured, and new failed altogether."""
        base, new = self.measured
        return bool(base) and not new and any(row.failed for row in self.rows[1])

    def obstacle(self) -> str:
        """Say which side was not measured, and why; empty if both were."""
        for side, rows, measured in zip(_SIDES, self.rows, self.measured, strict=True):
            if not measured:
                worst = next((row for row in rows if row.failed), rows[0])
                return f"{worst.status} in {side}: {worst.note}"
        return ""

    def conditions_apart(self) -> list[str]:
        """Say in what the rows differ that their values may depend on; the images are compared by their content."""
        sides = [[row.conditions.named for row in rows] for rows in self.measured]
        found = []
        for name in sides[0][0]:
            base, new = (dict.fromkeys(named[name] for named in side) for side in sides)
            anywhere = name == "hardware" and not (all(base) and all(new))
            if name != "data set" and set(base) != set(new) and not anywhere:
                words = "measured on another device" if name == "hardware" else name
                found.append(f"{words}: {_words(base)} in base, {_words(new)} in new")
        return found

    def other_images(self, runs: tuple[Run, Run]) -> str:
        """Say how the data sets differ, as two of one name may hold other images; empty if they do not."""
        base, new = (dict.fromkeys(row.dataset for row in rows) for rows in self.measured)
        if set(base) != set(new):
            return f"data set: {_words(base)} in base, {_words(new)} in new"
        hashes = [
            {entry.get("sha256") for entry in run.header.image_sets.values() if entry.get("name") in base}
            for run in runs
        ]
        return "" if hashes[0] == hashes[1] else f"{_words(base)} holds other images in base than in new"

    def no_ratio(self) -> str:
        """Say why measured values have none; empty if they have."""
        zero = not self.exact and min(min(side) for side in self.values) <= 0
        return "a value of zero has no ratio" if zero else ""

    def remarks(self) -> list[str]:
        """What a reader must know of either side: rounds or seeds that failed, operators that were not counted."""
        found = []
        for side, rows in zip(_SIDES, self.rows, strict=True):
            failed = sum(row.failed for row in rows)
            found += [f"{failed} of {len(rows)} failed in {side}"] if failed else []
            found += [f"a lower bound in {side}"] if any("lower_bound" in row.flags for row in rows) else []
        return found


def compare(base: Run, new: Run, margin: float, *, under_any_conditions: bool = False) -> Comparison:
    """Compare every metric of every network of two runs; changes of timings below `margin` (0.02: 2 %) count as none.

    What was measured on another device, under another first budget or under other conditions is not compared; or, with
    `under_any_conditions`, it is, and the note of the change says what differs.

    Raises:
        RunError: the records of a run are damaged.
    """
    rows = _by_key(base, under_any_conditions), _by_key(new, under_any_conditions)
    pairs: list[_Pair] = []
    incomparable: list[Incomparable] = []
    for key in dict.fromkeys([*rows[0], *rows[1]]):
        pair = _Pair(key, (rows[0].get(key, []), rows[1].get(key, [])))
        if not all(pair.rows):
            incomparable += _missing(key, rows)
            continue
        if {row.status for side in pair.rows for row in side} == {"skipped"}:
            continue
        reason = pair.obstacle()
        apart = [] if reason else pair.conditions_apart()
        if apart and not under_any_conditions:
            reason = apart[0]
        reason = reason or pair.other_images((base, new)) or pair.no_ratio()
        if reason:
            incomparable.append(Incomparable(key[0], key[1], reason, pair.lost))
        else:
            pairs.append(replace(pair, note="; ".join((*apart, *pair.remarks()))))
    changes = _changes(pairs, margin)
    return Comparison(
        base=base.name,
        new=new.name,
        differences=tuple(_differences(base, new)),
        only_in_base=tuple(_only(*rows)),
        only_in_new=tuple(_only(*reversed(rows))),
        unfinished=tuple(_unfinished(base, rows[0]) + _unfinished(new, rows[1])),
        incomparable=tuple(incomparable),
        shifts=tuple(_shifts(changes)),
        changes=tuple(changes),
    )


def _by_key(run: Run, under_any_budget: bool) -> Rows:
    """The rows; with `under_any_budget` those of the run's first budget have the same key in every run."""
    first = run.header.settings().get("budget") if under_any_budget else None
    found: dict[Key, list[Record]] = defaultdict(list)
    for record in run.records():
        found[record.model, record.metric, None if record.budget == first else record.budget].append(record)
    return dict(found)


def _words(values: Iterable[object]) -> str:
    words = {True: "yes", False: "no", None: "none"}
    return " and ".join(words[v] if isinstance(v, bool) or v is None else str(v) for v in values)


def _missing(key: Key, rows: tuple[Rows, Rows]) -> list[Incomparable]:
    """A row for what only one run has of a network and a metric that both have."""
    model, metric, budget = key
    lacking, other = ("new", rows[1]) if key in rows[0] else ("base", rows[0])
    if model not in {known for known, _, _ in other} or metric not in {known for _, known, _ in other}:
        return []  # said once for the whole network or metric
    budgets = dict.fromkeys(b for m, name, b in other if (m, name) == (model, metric) and b)
    if budgets:
        return [Incomparable(model, metric, f"budget {budget}: {lacking} was trained under {_words(budgets)}")]
    return [Incomparable(model, metric, f"{lacking} has no such row: it is unfinished, or was asked for less")]


def _only(these: Rows, those: Rows) -> list[str]:
    found = []
    for place, what in ((0, "network"), (1, "metric")):
        known = {key[place] for key in those}
        found += [f"{what} {name}" for name in dict.fromkeys(str(key[place]) for key in these) if name not in known]
    return found


def _unfinished(run: Run, rows: Rows) -> list[str]:
    """What a run set out to measure and has not."""
    found = []
    listed = [model.name for model in run.header.models]
    absent = [name for name in listed if name not in {model for model, _, _ in rows}]
    if absent:
        found.append(f"{run.name} has nothing of {', '.join(absent)}")
    asked = run.header.settings().get("rounds")
    rounds = {
        model: len({row.round for row in these})
        for (model, _, _), these in rows.items()
        if probe_named(these[0].probe).when == "rounds"
    }
    short = [name for name, count in rounds.items() if isinstance(asked, int) and count < asked]
    if short:
        found.append(f"{run.name} has fewer than its {asked} rounds of {', '.join(short)}")
    return found


def _differences(base: Run, new: Run) -> list[ChangedFact]:
    """Differences of environments first, then of what was asked."""
    found = []
    ours, theirs = base.header.environment, new.header.environment
    facts = [(name, ours.get(name), theirs.get(name)) for name in dict.fromkeys([*ours, *theirs])]
    was_asked, is_asked = base.header.settings(), new.header.settings()
    facts += [(name, was_asked.get(name), is_asked.get(name)) for name in dict.fromkeys([*was_asked, *is_asked])]
    for name, was, now in facts:
        if was != now and name not in _FLEETING:
            found.append(ChangedFact(name, _words([was]), _words([now])))
    return found


def _changes(pairs: Sequence[_Pair], margin: float) -> list[Change]:
    """Verdicts of all pairs, corrected for their number."""
    scatter = _scatter([pair for pair in pairs if not pair.repeatable and pair.values[0] != pair.values[1]])
    changes = []
    for pair in pairs:
        base, new = pair.values
        row = pair.measured[0][0]
        known = METRICS.get(row.metric)
        better = known.better if known else None
        note = pair.note
        if pair.key in scatter:
            log_ratio = _interval(pair, *scatter[pair.key], ERROR / len(scatter))
        elif pair.repeatable or base == new:
            log_ratio = _point(base[0], new[0])
        else:
            log_ratio = -math.inf, math.inf
            note = joined(note, "measured only once, so its noise is unknown")
        change = Change(
            model=row.model,
            metric=row.metric,
            unit=row.unit,
            better=better,
            budget=row.budget,
            base=base[0] if pair.repeatable else statistics.geometric_mean(base),
            new=new[0] if pair.repeatable else statistics.geometric_mean(new),
            log_ratio=log_ratio,
            verdict=verdict(zone(log_ratio, 0.0 if pair.exact else margin), better, row.unit),
            units=(len(base), len(new)),
            exact=pair.exact,
            note=note,
        )
        changes.append(change)
    return changes


def _point(base: float, new: float) -> Interval:
    if base == new:
        return 0.0, 0.0
    if base <= 0 or new <= 0:
        return (math.inf, math.inf) if new > base else (-math.inf, -math.inf)
    return (math.log(new / base),) * 2


def _scatter(pairs: Sequence[_Pair]) -> dict[Key, tuple[float, float]]:
    """Variance of the logarithms between units and its degrees of freedom, for every pair where it can be known."""
    found: dict[Key, tuple[float, float]] = {}
    for metric in dict.fromkeys(pair.key[1] for pair in pairs):
        group = [pair for pair in pairs if pair.key[1] == metric and max(map(len, pair.values)) > 1]
        squares = [sum((x - statistics.fmean(side)) ** 2 for side in pair.logs for x in side) for pair in group]
        degrees = [sum(len(side) - 1 for side in pair.logs) for pair in group]
        variances = [square / degree for square, degree in zip(squares, degrees, strict=True)]
        found |= {pair.key: known for pair, known in zip(group, shared_variances(variances, degrees), strict=True)}
    return {key: (variance, degree) for key, (variance, degree) in found.items() if variance > 0}


def _interval(pair: _Pair, variance: float, degrees: float, error: float) -> Interval:
    """Student's t interval of the logarithm of the ratio of geometric means."""
    base, new = pair.logs
    middle = statistics.fmean(new) - statistics.fmean(base)
    quantile = stats.t.ppf(1 - error / 2, degrees) if math.isfinite(degrees) else stats.norm.ppf(1 - error / 2)
    half = float(quantile) * math.sqrt(variance * (1 / len(base) + 1 / len(new)))
    return middle - half, middle + half


def _shifts(changes: Sequence[Change]) -> list[Shift]:
    """Find timings of at least three networks that all changed in the same direction."""
    found = []
    for metric in dict.fromkeys(change.metric for change in changes if not change.exact and change.better):
        moves = [math.log(c.ratio) for c in changes if c.metric == metric and c.ratio > 0]
        probe = probe_named(METRICS[metric].probe)
        if probe.portable or probe.repeatable or len(moves) < 3:
            continue
        if all(move > 0 for move in moves) or all(move < 0 for move in moves):
            found.append(Shift(metric, statistics.median(moves), len(moves)))
    return found
