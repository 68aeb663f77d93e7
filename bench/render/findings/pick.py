"""Which networks meet limits, the most accurate first: what a reader who chooses a backbone asks."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.config import RequestError
from bench.metrics import METRICS, PROBES, Metric, probe_named
from bench.quantity import in_sentence, listing, parse_quantity, quantity, with_unit
from bench.render.results import Cell, Results
from bench.render.results.networks import IMAGENET, Model, name_and_identifier

# Kinds of accuracy, never mixed in one ranking, and what they are; the most telling first.
ACCURACIES = {
    "published_top1": "accuracy after full training, from the literature and not of this run",
    "top1": "test accuracy of this run",
    "reference_top1": "this suite's own reference, shipped with it and not of this run",
}
_LIMIT = re.compile(r"([A-Za-z0-9_]+)\s*=\s*(.+)")


@dataclass(frozen=True)
class Limit:
    """What a network may cost at most, or must reach at least, in the unit in which the metric is stored."""

    metric: Metric
    bound: float
    kind: Literal["max", "min"]

    def __str__(self) -> str:
        sign = "≤" if self.kind == "max" else "≥"
        return f"{in_sentence(self.metric)} {sign} {with_unit(self.bound, self.metric.unit)}"

    def met_by(self, value: float) -> bool:
        return value <= self.bound if self.kind == "max" else value >= self.bound

    def certain_for(self, cell: Cell) -> bool:
        """Whether the value and the whole 95 % interval keep it; what has no interval is taken as exact."""
        return all(map(self.met_by, cell.span))


@dataclass(frozen=True)
class Choice:
    """A network that meets every limit; `uncertain` are the limits that its interval reaches beyond."""

    model: Model
    accuracy: Cell
    uncertain: tuple[Limit, ...]


@dataclass(frozen=True)
class Selection:
    """Who meets the limits, the most accurate first, and who could not be judged."""

    track: str
    accuracy: str  # a name of ACCURACIES
    limits: tuple[Limit, ...]
    choices: tuple[Choice, ...]
    considered: int  # networks of the track with this accuracy and all limited metrics
    unmeasured: tuple[Model, ...]  # with this accuracy, but without a reliable value of one of the limited metrics
    nearest: str = ""  # a sentence on each limit that no network meets: the best value that there is

    @property
    def basis(self) -> str:
        """Which accuracy it is, and after how much training where that was short."""
        budgets = sorted({row.budget for choice in self.choices for row in choice.accuracy.records if row.budget})
        return f"By {self.accuracy}: {ACCURACIES[self.accuracy]}{''.join(f', after {each}' for each in budgets)}."

    @property
    def sentence(self) -> str:
        """The answer in one line."""
        within = f"with {' and '.join(map(str, self.limits))}" if self.limits else "without any limit"
        label = in_sentence(METRICS[self.accuracy])
        only = f"The only {self.track} network that could be judged"
        if not self.choices and self.considered == 1:
            return f"{only} does not qualify {within}."
        if not self.choices:
            return f"None of the {self.considered} {self.track} networks qualifies {within}."
        best = self.choices[0]
        tied = [choice.model for choice in self.choices if choice.accuracy.value == best.accuracy.value]
        unsure = f", whose interval reaches beyond {' and '.join(map(str, best.uncertain))}" if best.uncertain else ""
        first = f"Most accurate of {len(self.choices)} {self.track} networks {within}"
        if len(self.choices) == 1:
            one = f"The only one of {self.considered} {self.track} networks {within}"
            first = one if self.considered > 1 else f"{only} qualifies {within}"
        names = listing([name_and_identifier(model) for model in tied]) if len(tied) > 1 and not unsure else ""
        names = names or name_and_identifier(best.model)
        return f"{first}: {names}{unsure}, {label} {quantity(best.accuracy.value, 'fraction')}."


def parse_limits(words: Sequence[str], kind: Literal["max", "min"]) -> tuple[Limit, ...]:
    """Limits from words such as "latency_ms=5", "params=20e6" or "params=20M".

    Raises:
        RequestError: a word is none, names no metric, or its number is none of that metric.
    """
    limits = []
    for word in words:
        match = _LIMIT.fullmatch(word)
        if match is None:
            raise RequestError(f"--{kind} {word}: write METRIC=NUMBER, such as latency_ms=5 or params=20e6")
        name, number = match.groups()
        if name not in METRICS:
            near = difflib.get_close_matches(name, METRICS, n=3, cutoff=0.4) or list(METRICS)[:3]
            raise RequestError(f"--{kind} {word}: no metric is named {name!r}; nearest: {', '.join(near)}")
        metric = METRICS[name]
        try:
            bound = parse_quantity(number, metric.unit)
        except ValueError as error:
            raise RequestError(f"--{kind} {word}: {error}") from None
        if metric.unit == "fraction" and bound > 1:
            raise RequestError(f"--{kind} {word}: above 100 %; write {name}={number}% or a number up to 1")
        limits.append(Limit(metric, bound, kind))
    return tuple(limits)


def select(results: Results, limits: Sequence[Limit], track: str | None = None, by: str | None = None) -> Selection:
    """The networks of one track that meet every limit, the most accurate first.

    `track` and `by` (a name of ACCURACIES) default to those with which most networks can be judged.

    Raises:
        RequestError: no network has both an accuracy and the limited metrics; the message says what to measure.
    """
    candidates = [
        (which, kind, _judged(results, models, kind, limits))
        for which, models in results.tracks().items()
        if track in (None, which)
        for kind in ACCURACIES
        if by in (None, kind)
    ]
    if not candidates:
        raise RequestError(f"the run has no networks of the {track} track; it has {', '.join(results.tracks())}")
    chosen, kind, judged = max(candidates, key=lambda candidate: len(candidate[2]))
    if not judged:
        raise RequestError(_what_is_missing(results, limits, track, by))
    met = [
        model for model in judged if all(limit.met_by(results.cell(model, limit.metric.name).value) for limit in limits)
    ]
    choices = [
        Choice(
            model,
            results.cell(model, kind),
            tuple(limit for limit in limits if not limit.certain_for(results.cell(model, limit.metric.name))),
        )
        for model in met
    ]
    choices.sort(key=lambda choice: (-choice.accuracy.value, len(choice.uncertain)))
    unmeasured = tuple(
        model
        for model in _judged(results, results.tracks()[chosen], kind, ())
        if not all(results.cell(model, limit.metric.name).reliable for limit in limits)
    )
    nearest = _nearest(results, judged, limits)
    return Selection(chosen, kind, tuple(limits), tuple(choices), len(judged), unmeasured, nearest)


def not_timed(results: Results) -> str:
    """What times the networks at 224x224, where a run has some and timed smaller ones only."""
    timed = {model.track for model in results.models if results.cell(model, "latency_ms").measured}
    if IMAGENET in timed or not timed or IMAGENET not in results.tracks():
        return ""
    return "No network was timed at 224×224 in this run: `python -m bench all --preset backbones` does that."


def _nearest(results: Results, models: Sequence[Model], limits: Sequence[Limit]) -> str:
    said = []
    for limit in limits:
        values = {model: results.cell(model, limit.metric.name).value for model in models}
        if not any(map(limit.met_by, values.values())):
            extreme, choose = ("Lowest", min) if limit.kind == "max" else ("Highest", max)
            best = choose(values, key=values.__getitem__)
            amount = with_unit(values[best], limit.metric.unit)
            said.append(f"{extreme} {in_sentence(limit.metric)} here: {amount}, {name_and_identifier(best)}.")
    return " ".join(said)


def _judged(results: Results, models: Sequence[Model], kind: str, limits: Sequence[Limit]) -> list[Model]:
    """The networks with this kind of accuracy, better than chance, and with every limited metric."""
    needed = (kind, *(limit.metric.name for limit in limits))
    return [
        model
        for model in models
        if all(results.cell(model, name).reliable for name in needed)
        and not (kind == "top1" and results.at_chance(model))
    ]


def _what_is_missing(results: Results, limits: Sequence[Limit], track: str | None, by: str | None) -> str:
    """Why nobody can be judged, and the command that measures what is missing, where one does.

    Nothing is trained at 224x224: there, accuracies are published ones.
    """
    models = results.tracks()[track] if track else results.models
    asked = [*([METRICS[by]] if by else []), *(limit.metric for limit in limits)]
    unseen = [metric for metric in asked if not any(results.cell(model, metric.name).measured for model in models)]
    names = ", ".join(metric.name for metric in unseen)
    where = f"the {track} track of this run" if track else "this run"
    if not unseen:
        limited = " with all of the limited metrics" if limits else ""
        return f"no network of {where} has {by or 'an accuracy'}{limited}"
    if {model.track for model in models} == {IMAGENET} and any(probe_named(metric.probe).trains for metric in unseen):
        return f"{where} has no {names}: nothing is trained on ImageNet here; its networks have published_top1"
    probes = " ".join(dict.fromkeys(metric.probe for metric in unseen if metric.probe in PROBES))
    command = f"run --run {results.header.name} --probes {probes}"
    if track == IMAGENET and results.header.settings().get("preset") == "quick":  # which only counts there
        command = "all --preset backbones"
    return f"{where} has no {names}" + (f": `python -m bench {command}` measures it" if probes else "")
