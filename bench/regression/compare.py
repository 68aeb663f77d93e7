"""Two stored runs: what changed beyond doubt, what cannot be compared, and why.

Every row of a run is one unit: a round of a timing, a seed of a training. Samples within a round share the state of
the machine and count as one. Intervals of a metric share what all networks say of its noise, and hold all at once.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal

from scipy import stats

from bench.metrics import METRICS, probe_named
from bench.records.record import Record
from bench.records.run_folder import SETTINGS, Run
from bench.regression.verdict import Verdict, verdict, zone
from bench.stats.intervals import Interval, shared_variances

ERROR = 0.05  # the chance that any interval of a comparison is wrong

# Of `Record.conditions`, what makes measured rows incomparable, and how it is called. Images are asked about apart.
_CONDITIONS = {
    "hardware": "measured on another device",
    "batch_size": "batch size",
    "execution.precision": "precision",
    "execution.memory_format": "memory format",
    "execution.compile": "torch.compile",
    "execution.cuda_graphs": "CUDA graphs",
    "recipe": "recipe",
    "predicted": "predicted",
    "test_images": "test images",
    "budget": "budget",
}

# Facts of an environment that change from minute to minute.
_FLEETING = ("load_average_1min",)

Key = tuple[str, str, str | None]  # model, metric, budget
Side = Literal["base", "new"]


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

    def worse_by_more_than(self, share: float) -> bool | None:
        """Whether it is significantly worse by more than `share` (0.05: 5 % more time, bytes, error); None: unclear."""
        low, high = self.log_ratio if self.better != "higher" else (-self.log_ratio[1], -self.log_ratio[0])
        if self.better is None or high <= math.log1p(share):
            return False
        return True if low > math.log1p(share) else None

    def as_json(self) -> dict[str, Any]:
        low, high = self.log_ratio
        return {
            "model": self.model,
            "metric": self.metric,
            "unit": self.unit,
            "budget": self.budget,
            "base": self.base,
            "new": self.new,
            "ratio": None if math.isnan(self.ratio) else self.ratio,
            "ratio_low": math.exp(low) if math.isfinite(low) else None,
            "ratio_high": math.exp(high) if math.isfinite(high) else None,
            "verdict": self.verdict,
            "units": list(self.units),
            "note": self.note,
        }


@dataclass(frozen=True)
class Incomparable:
    """A metric of a network that both runs should have, and why there is no verdict."""

    model: str
    metric: str
    reason: str
    lost: bool = False  # base has it, and in new it failed


@dataclass(frozen=True)
class Difference:
    """A fact of the two environments or requests."""

    fact: str
    base: str
    new: str


@dataclass(frozen=True)
class Shift:
    """By how much a metric of all networks moved together: the machine more likely than the code."""

    metric: str
    log_ratio: float
    models: int


@dataclass(frozen=True)
class Comparison:
    """Everything that two runs say about each other."""

    base: str
    new: str
    differences: tuple[Difference, ...]
    only_in_base: tuple[str, ...]  # "network resnet20_cifar", "metric latency_ms"
    only_in_new: tuple[str, ...]
    unfinished: tuple[str, ...]
    incomparable: tuple[Incomparable, ...]
    shifts: tuple[Shift, ...]
    changes: tuple[Change, ...]

    def regressions(self, share: float) -> list[Change | Incomparable]:
        """What got worse by more than `share` beyond doubt, and what base could measure and new could not."""
        worse: list[Change | Incomparable] = [c for c in self.changes if c.worse_by_more_than(share)]
        return worse + [row for row in self.incomparable if row.lost]

    def as_json(self) -> dict[str, Any]:
        return {
            "base": self.base,
            "new": self.new,
            "differences": [vars(difference) for difference in self.differences],
            "only_in_base": list(self.only_in_base),
            "only_in_new": list(self.only_in_new),
            "unfinished": list(self.unfinished),
            "incomparable": [vars(row) for row in self.incomparable],
            "shifts": [{"metric": s.metric, "ratio": math.exp(s.log_ratio), "models": s.models} for s in self.shifts],
            "error": ERROR,
            "changes": [change.as_json() for change in self.changes],
        }


@dataclass(frozen=True)
class _Pair:
    """The rows of one metric and network in both runs, found comparable."""

    key: Key
    base: Sequence[Record]
    new: Sequence[Record]
    note: str

    @property
    def exact(self) -> bool:
        return probe_named(self.base[0].probe).exact or all(row.predicted for row in (*self.base, *self.new))

    @property
    def repeatable(self) -> bool:
        return self.exact or probe_named(self.base[0].probe).repeatable

    def values(self) -> tuple[list[float], list[float]]:
        return [r.value for r in self.base if r.value is not None], [r.value for r in self.new if r.value is not None]

    def logs(self) -> tuple[list[float], list[float]]:
        base, new = self.values()
        return [math.log(value) for value in base], [math.log(value) for value in new]


def compare(base: Run, new: Run, margin: float, *, under_any_conditions: bool = False) -> Comparison:
    """Every metric of every network of two runs; changes of timings below `margin` (0.02: 2 %) count as none.

    What was measured on another device, under the other run's first budget or under other conditions cannot be
    compared; or, with `under_any_conditions`, it is, and the note of the change says what differs.

    Raises:
        RunError: the records of a run are damaged.
    """
    rows: dict[Side, dict[Key, list[Record]]] = {
        "base": _by_key(base, under_any_conditions),
        "new": _by_key(new, under_any_conditions),
    }
    pairs: list[_Pair] = []
    incomparable: list[Incomparable] = []
    for key in dict.fromkeys([*rows["base"], *rows["new"]]):
        ours, theirs = rows["base"].get(key, []), rows["new"].get(key, [])
        if not ours or not theirs:
            incomparable += _missing(key, rows)
            continue
        if {row.status for row in (*ours, *theirs)} == {"skipped"}:
            continue
        reason = _obstacle(ours, theirs)
        apart = [] if reason else _conditions_apart(ours, theirs)
        if apart and not under_any_conditions:
            reason = apart[0]
        reason = reason or _other_images(ours, theirs, base, new) or _no_ratio(ours, theirs)
        if reason:
            lost = any(row.status == "ok" for row in ours) and any(row.failed for row in theirs)
            incomparable.append(Incomparable(key[0], key[1], reason, lost and not _measured(theirs)))
        else:
            note = "; ".join(filter(None, (*apart, _lost(ours, theirs))))
            pairs.append(_Pair(key, _measured(ours), _measured(theirs), note))
    changes = _changes(pairs, margin)
    return Comparison(
        base=base.name,
        new=new.name,
        differences=tuple(_differences(base, new)),
        only_in_base=tuple(_only(rows["base"], rows["new"])),
        only_in_new=tuple(_only(rows["new"], rows["base"])),
        unfinished=tuple(_unfinished(base, rows["base"]) + _unfinished(new, rows["new"])),
        incomparable=tuple(incomparable),
        shifts=tuple(_shifts(changes)),
        changes=tuple(changes),
    )


def _by_key(run: Run, under_any_budget: bool) -> dict[Key, list[Record]]:
    """The rows; with `under_any_budget` those of the run's first budget have the same key in every run."""
    first = run.header.get("budget") if under_any_budget else None
    found: dict[Key, list[Record]] = defaultdict(list)
    for record in run.records():
        budget = None if record.budget == first else record.budget
        found[record.model, record.metric, budget].append(record)
    return dict(found)


def _measured(rows: Sequence[Record]) -> list[Record]:
    return [row for row in rows if row.status == "ok"]


def _obstacle(base: Sequence[Record], new: Sequence[Record]) -> str:
    """Which side was not measured, and why; empty if both were."""
    for side, rows in (("base", base), ("new", new)):
        if not _measured(rows):
            worst = next((row for row in rows if row.failed), rows[0])
            return f"{worst.status} in {side}: {worst.note}"
    return ""


def _conditions_apart(base: Sequence[Record], new: Sequence[Record]) -> list[str]:
    """In what measured rows of one metric and network differ that their values may depend on."""
    found = []
    for field, name in _CONDITIONS.items():
        ours, theirs = (
            dict.fromkeys(attrgetter(field)(row.conditions) for row in _measured(rows)) for rows in (base, new)
        )
        anywhere = field == "hardware" and not (all(ours) and all(theirs))
        if set(ours) != set(theirs) and not anywhere:
            found.append(f"{name}: {_words(ours)} in base, {_words(theirs)} in new")
    return found


def _no_ratio(base: Sequence[Record], new: Sequence[Record]) -> str:
    """Why measured values have none; empty if they have."""
    if not _is_exact(_measured(base)[0]) and any(row.value is not None and row.value <= 0 for row in (*base, *new)):
        return "a value of zero has no ratio"
    return ""


def _is_exact(row: Record) -> bool:
    return probe_named(row.probe).exact or row.predicted


def _words(values: Iterable[object]) -> str:
    said = {True: "yes", False: "no", None: "none"}
    return " and ".join(said[v] if isinstance(v, bool) or v is None else str(v) for v in values)


def _other_images(ours: Sequence[Record], theirs: Sequence[Record], base: Run, new: Run) -> str:
    """How the data sets differ; two of one name may hold other images. Empty if they do not."""
    names = [dict.fromkeys(row.dataset for row in _measured(rows)) for rows in (ours, theirs)]
    if set(names[0]) != set(names[1]):
        return f"data set: {_words(names[0])} in base, {_words(names[1])} in new"
    name = ours[0].dataset
    if name is None:
        return ""
    hashes = []
    for run in (base, new):
        sets = run.header.get("image_sets", {}).values()
        hashes.append({entry.get("sha256") for entry in sets if entry.get("name") == name})
    return "" if hashes[0] == hashes[1] else f"{name} holds other images in base than in new"


def _lost(base: Sequence[Record], new: Sequence[Record]) -> str:
    """Rounds or seeds that failed beside others that did not."""
    return "; ".join(
        f"{sum(row.failed for row in rows)} of {len(rows)} failed in {side}"
        for side, rows in (("base", base), ("new", new))
        if any(row.failed for row in rows)
    )


def _missing(key: Key, rows: Mapping[Side, Mapping[Key, list[Record]]]) -> list[Incomparable]:
    """A row for what only one run has of a network and a metric that both have."""
    model, metric, budget = key
    lacking: Side = "new" if key in rows["base"] else "base"
    other = rows[lacking]
    if not any(model == known for known, _, _ in other):
        return []  # said once for the whole network
    if not any(metric == known for _, known, _ in other):
        return []  # said once for the whole metric
    budgets = dict.fromkeys(b for m, name, b in other if (m, name) == (model, metric) and b)
    if budgets:
        return [Incomparable(model, metric, f"budget {budget}: {lacking} was trained under {_words(budgets)}")]
    return [Incomparable(model, metric, f"{lacking} has no such row: it is unfinished, or was asked for less")]


def _only(these: Mapping[Key, object], those: Mapping[Key, object]) -> list[str]:
    """Networks and metrics of one run that the other lacks altogether."""
    found = []
    for place, what in ((0, "network"), (1, "metric")):
        known = {key[place] for key in those}
        found += [f"{what} {name}" for name in dict.fromkeys(str(key[place]) for key in these) if name not in known]
    return found


def _listed(run: Run) -> list[str]:
    return [str(entry.get("name")) for entry in run.header.get("models", []) if isinstance(entry, dict)]


def _unfinished(run: Run, rows: Mapping[Key, Sequence[Record]]) -> list[str]:
    """What a run set out to measure and has not."""
    found = []
    absent = [name for name in _listed(run) if not any(name == model for model, _, _ in rows)]
    if absent:
        found.append(f"{run.name} has nothing of {', '.join(absent)}")
    asked = run.header.get("rounds")
    rounds = {
        key[0]: len({row.round for row in these}) for key, these in rows.items() if these[0].probe == "throughput"
    }
    short = [name for name, count in rounds.items() if isinstance(asked, int) and count < asked]
    if short:
        found.append(f"{run.name} has fewer than its {asked} rounds of {', '.join(short)}")
    return found


def _differences(base: Run, new: Run) -> list[Difference]:
    """Of environments first, then of what was asked."""
    found = []
    ours, theirs = base.header.get("environment", {}), new.header.get("environment", {})
    facts = [(name, ours.get(name), theirs.get(name)) for name in dict.fromkeys([*ours, *theirs])]
    facts += [(name, base.header.get(name), new.header.get(name)) for name in SETTINGS]
    for name, was, now in facts:
        if was != now and name not in _FLEETING:
            found.append(Difference(name, "none" if was is None else str(was), "none" if now is None else str(now)))
    return found


def _changes(pairs: Sequence[_Pair], margin: float) -> list[Change]:
    """Verdicts of all pairs, corrected for their number."""
    noisy = [pair for pair in pairs if not pair.repeatable and pair.values()[0] != pair.values()[1]]
    scatter = _scatter(noisy)
    tests = len(scatter)
    changes = []
    for pair in pairs:
        base, new = pair.values()
        row = pair.base[0]
        known = METRICS.get(row.metric)
        better = known.better if known else None
        note = pair.note
        if pair.exact:
            log_ratio = _point(base[0], new[0])
            said = verdict(zone(log_ratio, 0.0), better, row.unit)
        else:
            log_ratio = _point(base[0], new[0]) if pair.repeatable or base == new else (-math.inf, math.inf)
            if pair.key in scatter:
                log_ratio = _interval(pair, *scatter[pair.key], ERROR / tests)
            elif not math.isfinite(log_ratio[0]):
                note = "; ".join(filter(None, (note, "measured once: how much it scatters is not known")))
            said = verdict(zone(log_ratio, margin), better, row.unit)
        changes.append(
            Change(
                model=row.model,
                metric=row.metric,
                unit=row.unit,
                better=better,
                budget=row.budget,
                base=base[0] if pair.repeatable else statistics.geometric_mean(base),
                new=new[0] if pair.repeatable else statistics.geometric_mean(new),
                log_ratio=log_ratio,
                verdict=said,
                units=(len(base), len(new)),
                exact=pair.exact,
                note=note,
            )
        )
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
        group = [pair for pair in pairs if pair.key[1] == metric and max(map(len, pair.values())) > 1]
        squares = [sum((x - statistics.fmean(side)) ** 2 for side in pair.logs() for x in side) for pair in group]
        degrees = [sum(len(side) - 1 for side in pair.logs()) for pair in group]
        variances = [square / degree for square, degree in zip(squares, degrees, strict=True)]
        found |= {pair.key: known for pair, known in zip(group, shared_variances(variances, degrees), strict=True)}
    return {key: (variance, degree) for key, (variance, degree) in found.items() if variance > 0}


def _interval(pair: _Pair, variance: float, degrees: float, error: float) -> Interval:
    """Student's t interval of the logarithm of the ratio of geometric means."""
    base, new = pair.logs()
    middle = statistics.fmean(new) - statistics.fmean(base)
    quantile = stats.t.ppf(1 - error / 2, degrees) if math.isfinite(degrees) else stats.norm.ppf(1 - error / 2)
    half = float(quantile) * math.sqrt(variance * (1 / len(base) + 1 / len(new)))
    return middle - half, middle + half


def _shifts(changes: Sequence[Change]) -> list[Shift]:
    """Of timings that at least three networks have, where all of them lean the same way."""
    found = []
    for metric in dict.fromkeys(change.metric for change in changes if not change.exact and change.better):
        moves = [math.log(c.ratio) for c in changes if c.metric == metric and c.ratio > 0]
        probe = probe_named(METRICS[metric].probe)
        if probe.portable or probe.repeatable or len(moves) < 3:
            continue
        if all(move > 0 for move in moves) or all(move < 0 for move in moves):
            found.append(Shift(metric, statistics.median(moves), len(moves)))
    return found
