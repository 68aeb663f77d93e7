"""The interactive chart: every metric of a run against every other, as data for explorer.js, and Plotly to draw it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import urlencode

import numpy as np
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from bench.metrics import METRICS, Metric
from bench.quantity import has_si_prefix, in_sentence, joined, scale_of, typed_units, unit_beside
from bench.render.charts.frame import MARKERS, Chart, Marker, chart_name, outline, styles_of
from bench.render.findings.pick import ACCURACIES
from bench.render.results import Results
from bench.render.results.networks import IMAGENET, Model
from bench.render.tables import ACCURACY_COLUMNS, MARKS, OVERVIEW, by_topic, label_of, restates_a_peak, text_cell

NOT_TRAINED = "not trained"
_YEAR = Metric("year", "", "year", "Year", None, "")
_FIRST_Y = ("inference_images_per_s", "activations", "params")
_FIRST_X = ("macs", "params", "activations")
_COSTS = (
    *("macs", "latency_ms", "inference_images_per_s", "peak_training_bytes", "peak_inference_bytes", "params"),
    "energy_joules_per_image",
)
_FIRST_LIMITS = ("latency_ms", "params")
_DIGITS = 10  # of a number in the page's data: a limit is kept here where `bench pick` finds it kept


@dataclass(frozen=True)
class Axis:
    """A metric as an axis: what its values are divided by, and how Plotly (d3-format) writes its ticks."""

    name: str
    title: str  # with the unit
    divisor: float
    ticks: str
    log: bool
    better: str | None
    typed: Mapping[str, float]  # what may stand behind a limit that is typed, and what it multiplies


@dataclass(frozen=True)
class Explorer:
    """What explorer.html.j2 and pick.html.j2 show."""

    content: Mapping[str, Any]  # what the scripts read: axes, networks, ...
    topics: tuple[tuple[str, tuple[Axis, ...]], ...]
    families: tuple[tuple[str, str, str], ...]  # name, colour, outline: an SVG path within -1..1
    start: Mapping[str, str]  # x, y, size, track
    limits: tuple[str, ...]  # the metrics that are limited first
    library: Plotly

    @property
    def data(self) -> Markup:
        return inert_json(self.content)


@dataclass(frozen=True)
class Plotly:
    """plotly.min.js, packed, so that a page stays small and is read without it; `digest` lets it run."""

    packed: Markup  # gzip in base64
    digest: str


def explorer(results: Results) -> Explorer | None:
    """The explorer of a run; None where no two networks share two metrics."""
    metrics = [
        replace(metric, label=label_of(results, results.models, metric))
        for metric in results.metrics()
        if any(results.cell(model, metric.name).measured for model in results.models)
        and not restates_a_peak(results, results.models, metric)
    ]
    names = [metric.name for metric in metrics]
    starts = {track: start for track in results.tracks() if (start := _start(results, names, track)) is not None}
    if not starts:
        return None
    if any(model.year is not None for model in results.models):
        metrics.append(_YEAR)
    axes = {metric.name: _axis(results, metric) for metric in metrics}
    styles = styles_of(results)
    content = {
        "axes": {name: asdict(axis) for name, axis in axes.items()},
        "key": [name for name in OVERVIEW if name in axes],
        "run": results.header.name,
        "starts": starts,
        "tracks": list(results.tracks()),
        "accuracies": {name: meaning for name, meaning in ACCURACIES.items() if name in axes},
        "marks": {mark.symbol: mark.meaning for mark in MARKS},
        "styles": {
            family: {"colour": style.colour, **dict(zip(("symbol", "angle"), MARKERS[style.marker], strict=True))}
            for family, style in styles.items()
        },
        "networks": [_network(results, model, metrics) for model in results.models],
    }
    return Explorer(
        content=content,
        topics=tuple((title, tuple(axes[name] for name in names)) for title, names in _grouped(metrics)),
        families=tuple((name, style.colour, _outline(style.marker)) for name, style in styles.items()),
        start=next(iter(starts.values())),
        limits=tuple(name for name in _FIRST_LIMITS if name in axes),
        library=plotly(),
    )


def other_costs(results: Results, chart: Chart) -> list[tuple[str, str]]:
    """What else the networks of a chart cost, in words, with the address at which the explorer shows it."""
    models = results.tracks()[chart.track]
    names = ("published_top1",) if chart.track == IMAGENET else ("top1", "reference_top1")
    having = {name: [model for model in models if results.cell(model, name).measured] for name in names}
    y = max(names, key=lambda name: len(having[name]))
    return [
        (in_sentence(METRICS[x]), f"#explorer?{urlencode({'track': chart.track, 'x': x, 'y': y})}")
        for x in _COSTS
        if sum(results.cell(model, x).measured for model in having[y]) > 1
    ]


def plotly() -> Plotly:
    """The library as the installed package has it."""
    code = get_plotlyjs()
    packed = base64.b64encode(gzip.compress(code.encode(), mtime=0)).decode()
    return Plotly(Markup(packed), script_digest(code))


def script_digest(script: str) -> str:
    """SHA-256 in base64, as a content security policy names a script."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def inert_json(data: object) -> Markup:
    """JSON that no text in it can end or leave, whatever it contains: for a script element."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Markup(re.sub(r"[<>&]", lambda found: f"\\u{ord(found[0]):04x}", text))


def _start(results: Results, names: Sequence[str], track: str) -> dict[str, str] | None:
    """What is drawn first of a track: the accuracy that most of its networks have, against MACs; or what there is."""
    models = results.tracks()[track]
    having = {name: {model.name for model in models if results.cell(model, name).measured} for name in names}
    accuracies = sorted(ACCURACY_COLUMNS, key=lambda name: -len(having.get(name, ())))
    for y in (*accuracies, *_FIRST_Y, *names):
        for x in (*_FIRST_X, *names):
            if x != y and len(having.get(x, set()) & having.get(y, set())) > 1:
                return {"x": x, "y": y, "size": "params" if having.get("params") else "", "track": track}
    return None


def _grouped(metrics: Sequence[Metric]) -> list[tuple[str, list[str]]]:
    topics = [(title, [metric.name for metric in members]) for title, members in by_topic(metrics)]
    shown = {name for _, names in topics for name in names}
    left = [metric.name for metric in metrics if metric.name not in shown]
    return [*topics, ("Everything else", left)] if left else topics


def _axis(results: Results, metric: Metric) -> Axis:
    values = [results.cell(model, metric.name).value for model in results.models]
    positive = [value for value in values if value > 0]
    middle = statistics.median(positive) if positive else 1.0
    divisor, unit, ticks = _scale(metric.unit, middle)
    return Axis(
        name=metric.name,
        title=f"{metric.label} ({unit})" if unit else metric.label,
        divisor=divisor,
        ticks=ticks,
        log=metric is not _YEAR and metric.unit != "fraction",
        better=metric.better,
        typed={} if metric is _YEAR else typed_units(metric.unit),
    )


def _scale(unit: str, middle: float) -> tuple[float, str, str]:
    """(divisor, the unit that is left, d3-format of ticks) for values about as large as `middle`."""
    if unit == "year":
        return 1.0, "", "d"
    if has_si_prefix(unit):  # which Plotly writes: "10M"
        return 1.0, "", "~s"
    divisor, suffix = scale_of(middle, unit)
    return divisor, f"{suffix} {unit_beside(unit)}".strip(), "~r" if unit == "fraction" else ",~r"


def _network(results: Results, model: Model, metrics: Sequence[Metric]) -> dict[str, Any]:
    accuracy = results.cell(model, "top1")
    return {
        "name": model.name,
        "label": chart_name(model),
        "family": model.family,
        "track": model.track,
        "year": model.year,
        "dataset": (accuracy.records[-1].dataset or "unnamed data") if accuracy.measured else NOT_TRAINED,
        "own": model.own,
        "atChance": results.at_chance(model),
        "unreliable": [m.name for m in metrics if (c := results.cell(model, m.name)).measured and not c.reliable],
        "unranked": [m.name for m in metrics if (c := results.cell(model, m.name)).measured and not c.competes],
        "cells": {metric.name: cell for metric in metrics if (cell := _cell(results, model, metric)) is not None},
    }


def _cell(results: Results, model: Model, metric: Metric) -> list[float | str] | None:
    """[value, as text], then the ends of its interval if it has one."""
    if metric is _YEAR:
        return None if model.year is None else [model.year, str(model.year)]
    cell = text_cell(results, model, metric)
    if cell.order is None or math.isinf(cell.order):
        return None
    words = joined(cell.text, unit_beside(metric.unit), cell.symbols, between=" ")
    ends = cell.interval if cell.interval and all(map(math.isfinite, cell.interval)) else ()
    return [_rounded(cell.order), words, *map(_rounded, ends)]


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _outline(marker: Marker) -> str:
    """The marker as an SVG path, y downwards, as large as fits into -1..1."""
    polygon = outline(marker)
    points = (polygon / np.abs(polygon).max() * (1, -1)).round(2) + 0.0  # + 0.0: no "-0.0"
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points) + "Z"
