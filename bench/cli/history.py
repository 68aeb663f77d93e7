"""`history`: every metric over the stored runs of one device, and where it changed."""

from __future__ import annotations

import difflib
import json
import math
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli import OK, PROG, in_a_folder, say, with_suffix, write
from bench.config import RequestError
from bench.regression import MARGIN, parse_share, percent
from bench.runner.flags import File, Names, Word

if TYPE_CHECKING:
    from bench.records.run_folder import Run
    from bench.regression.history import Series


@dataclass(frozen=True)
class History:
    """Show each metric over the stored runs of one device, with the places where it changed."""

    device: Word = None
    """Name of the device, or a part of it. Default: that of the newest run."""
    metric: Names = ()
    """Names of metrics. Default: speeds, latency, accuracy, memory, parameters and MACs."""
    models: Names = ()
    """Names or globs of networks. Default: all that the runs have."""
    margin: str = f"{MARGIN:.0%}"
    """Smaller changes of level are not marked, except those of counts."""
    svg: File = None
    """Draw the first of the metrics over the runs into this file, NAME.svg."""
    json: bool = False
    """Print JSON with every point."""
    results_dir: Path = Path("results")
    """Where runs are."""


def run(request: History) -> int:
    from bench.metrics import METRICS
    from bench.regression.history import DEFAULT_METRICS, history, runs_in

    margin = parse_share("--margin", request.margin)
    for name in request.metric:
        if name not in METRICS:
            near = difflib.get_close_matches(name, METRICS, 3, cutoff=0.5) or list(METRICS)
            raise RequestError(f"--metric {name}: there is no such metric; nearest: {', '.join(near)}")
    svg = request.svg and in_a_folder("--svg", with_suffix("--svg", request.svg, ".svg"))
    metrics = request.metric or DEFAULT_METRICS
    runs, unreadable = runs_in(request.results_dir, metrics)
    for name in unreadable:
        say(f"run {name} cannot be read and is left out")
    device = _device(request, [run for run, _ in runs])
    runs = [one for one in runs if one[0].header.device == device]
    found = history(runs, metrics, margin)
    found = [s for s in found if not request.models or any(fnmatchcase(s.model, p) for p in request.models)]
    if not found:
        raise RequestError(f"no two runs on {device} have such a metric of such a network under the same conditions")
    if svg is not None:
        _draw(svg, found, device)
    if request.json:
        print(json.dumps({"device": device, "series": [_as_json(series) for series in found]}, indent=2))
    else:
        print(_table(found, device, len(runs), margin))
    return OK


def _device(request: History, runs: list[Run]) -> str:
    known = list(dict.fromkeys(one.header.device for one in reversed(runs)))
    if not known:
        raise RequestError(f"there is no run in {request.results_dir}; `{PROG} all` makes one")
    if request.device is None:
        return known[0]
    matching = [name for name in known if request.device.casefold() in name.casefold()]
    exact = [name for name in matching if name.casefold() == request.device.casefold()]
    if len(exact or matching) != 1:
        raise RequestError(f"--device {request.device!r} matches {len(matching)} of the devices: {'; '.join(known)}")
    return (exact or matching)[0]


def _draw(path: Path, found: list[Series], device: str) -> None:
    from bench.render.charts.lines import history_chart

    chart = history_chart([series for series in found if series.metric == found[0].metric], device)
    write("--svg", path, chart.svg)
    say(f"{chart.title}: {path}")


def _table(found: list[Series], device: str, runs: int, margin: float) -> str:
    from bench.quantity import listing, quantity
    from bench.render.tables import aligned

    shared: dict[str, tuple[str, ...]] = {}  # by metric: the conditions of all its series, which one line says
    for one in found:
        so_far = shared.get(one.metric, one.conditions)
        shared[one.metric] = tuple(word for word in so_far if word in one.conditions)
    alike: dict[str, list[str]] = {}
    for metric, words in shared.items():
        alike.setdefault(", ".join(words), []).append(metric)
    rows = []
    for series in sorted(found, key=lambda one: not one.changes):
        first, last = series.points[0], series.points[-1]
        rows.append(
            {
                "network": series.model,
                "metric": series.metric,
                "conditions": ", ".join(word for word in series.conditions if word not in shared[series.metric]),
                "runs": str(len(series.points)),
                "first": quantity(first.value, series.unit),
                "last": quantity(last.value, series.unit),
                "since first": percent(math.log(last.value / first.value)),
                "changed": "; ".join(_change_words(series)),
            }
        )
    if not any(row["conditions"] for row in rows):
        rows = [{name: text for name, text in row.items() if name != "conditions"} for row in rows]
    conditions = [
        f"{'All' if len(alike) == 1 else listing(names)}: {words}." for words, names in alike.items() if words
    ]
    legend = (
        f"{runs} runs on {device}. Changed: a new level from that run on, by more than {100 * margin:g} %; at most 5 % "
        "of these marks are expected to be false. Fewer than eight runs can hardly show a change."
    )
    return "\n".join((aligned(rows), *conditions, legend))


def _change_words(series: Series) -> list[str]:
    """Such as "−7.1 % at 20260131-120000-cpu-quick (0123456)"."""
    words = []
    for change in series.changes:
        point = series.points[change.index]
        commit = f" ({point.commit})" if point.commit else ""
        words.append(f"{percent(math.log(change.ratio))} at {point.run}{commit}")
    return words


def _as_json(series: Series) -> dict[str, Any]:
    return {
        "model": series.model,
        "metric": series.metric,
        "unit": series.unit,
        "conditions": ", ".join(series.conditions),
        "points": [
            {"run": point.run, "created": point.created, "commit": point.commit, "value": point.value}
            for point in series.points
        ],
        "changes": [
            {"run": series.points[change.index].run, "ratio": change.ratio, "p_value": change.p_value}
            for change in series.changes
        ],
    }
