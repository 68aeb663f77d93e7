"""Tables and charts for work in Python: `bench.table` and `bench.chart`."""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.config import RequestError
from bench.metrics import DERIVED, METRICS, Metric
from bench.quantity import axis_label, in_sentence, listing
from bench.records import from_frame
from bench.records.run_folder import Run, RunHeader, find_run
from bench.render.charts.frame import MOST_NAMED, family_styles, save_png, set_log_axis, style, ticks_in, write_heading
from bench.render.charts.points import Box, Panel, Point, Span, exact, point_figure
from bench.render.results import read_results, results_of, to_table
from bench.render.results.networks import Model
from bench.render.tables import budget_words

_SCREEN_DPI = 144  # two pixels per point, as in the PNG files of a report

# What must be the same for all networks of a chart, as columns of the table: by probe, or by metric if it is derived.
_ALIKE = {
    "accuracy": ("dataset", "budget"),
    **dict.fromkeys(("throughput", "memory", "energy"), ("batch_size", "precision")),
    **dict.fromkeys(("latency", "best_batch"), ("precision",)),
    **dict.fromkeys(("reference_top1", "published_top1"), ("track",)),
}

Row = Mapping[Any, Any]  # of the table, by column


def table(run: str | Path | Run | pd.DataFrame, results_dir: str | Path = "results") -> pd.DataFrame:
    """One row per network, as in table.csv: its facts, a column for each metric (95 % intervals as `<metric>_low` and
    `<metric>_high`), and the conditions. Units are those of docs/metrics.md; what was not measured is empty.

    Tables of several runs, or of your own network and a run, go together with `pandas.concat`.

    Args:
        run: name of a run, the path of its folder, a run that is open, or records as `bench.measure` returns them.
        results_dir: where runs are.

    Raises:
        RequestError: the frame holds no records.
        RunError: there is no such run, or it is damaged.
    """
    if isinstance(run, pd.DataFrame):
        rows, networks = from_frame(run)
        return to_table(results_of(RunHeader(name="records", models=tuple(networks)), rows))
    return to_table(read_results(run if isinstance(run, Run) else find_run(str(run), Path(results_dir))))


def chart(table: pd.DataFrame, x: str = "macs", y: str = "top1", size: str | None = "params") -> Figure:
    """One metric against another, a named point for each network that has both, with its 95 % intervals.

    Fractions have a linear axis, all else a logarithmic one. Networks without one of the two are named under the title.

    Args:
        table: as `bench.table` returns it; what is compared must have been measured under the same conditions.
        x, y: metrics, as columns of the table.
        size: the metric to which the area of the balls is in proportion; None: no balls.

    Raises:
        RequestError: there is no such metric, no network has both, or their conditions differ.
    """
    across, up = _metric(table, x), _metric(table, y)
    ball = None if size is None else _metric(table, size)
    known = [row for row in table.to_dict("records") if _positive(row[x], across) and _positive(row[y], up)]
    if not known:
        measured = [name for name in METRICS if name in table and table[name].notna().any()]
        raise RequestError(f"no network has both {x} and {y}; the table has {listing(measured) or 'nothing measured'}")
    conditions = [*dict.fromkeys((*_conditions(known, across), *_conditions(known, up)))]
    models = [_model(row) for row in known]
    if len(set(models)) < len(models):
        twice = next(model.name for model in models if models.count(model) > 1)
        raise RequestError(f"{twice} has several rows with {x} and {y}: choose one of them")
    points = [
        Point(model, _span(row, x), _span(row, y), hollow=False) for model, row in zip(models, known, strict=True)
    ]
    balls = None if ball is None else (ball, dict(zip(models, (_number(row[ball.name]) for row in known), strict=True)))
    absent = [str(name) for name in table["model"] if name not in {model.name for model in models}]
    if absent:
        conditions.append(f"without {x} or {y}: {listing(absent, MOST_NAMED)}")
    label = _with_budget(up, known)

    def prepare(axes: Axes) -> Sequence[Box]:
        _set_axis(axes, "x", [point.x for point in points], across)
        _set_axis(axes, "y", [point.y for point in points], up)
        return []

    with style():
        panel = Panel(points, axis_label(_with_budget(across, known)), axis_label(label), prepare)
        figure, unnamed = point_figure(panel, family_styles(model.family for model in models), balls=balls)
        words = [*conditions, *filter(None, [unnamed])]
        write_heading(figure, f"{label.label} against {in_sentence(across)}", " · ".join(words))
        figure.draw_without_rendering()  # ticks are made when they are first drawn, in the style of that moment
    figure.set_dpi(_SCREEN_DPI)
    _shown_in_notebooks()
    return figure


def _shown_in_notebooks() -> None:
    """Let a notebook show figures as pictures; it learns that by itself only from who uses pyplot."""
    shell: Any = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None:
        pictures = shell.display_formatter.formatters["image/png"]
        if Figure not in pictures.type_printers:
            pictures.for_type(Figure, save_png)


def _metric(table: pd.DataFrame, name: str) -> Metric:
    """Raises RequestError if it is no metric, or the table has no such column."""
    if name in METRICS and name in table:
        return METRICS[name]
    near = difflib.get_close_matches(name, [metric for metric in METRICS if metric in table], n=3)
    hint = f"nearest: {', '.join(near)}" if near else "its metrics are in docs/metrics.md"
    raise RequestError(f"the table has no metric {name!r}; {hint}")


def _number(value: Any) -> float:
    return math.nan if value is None or value is pd.NA else float(value)


def _positive(value: object, metric: Metric) -> bool:
    """Whether a value can be drawn: on a logarithmic axis zero cannot."""
    return _number(value) >= 0 if metric.unit == "fraction" else _number(value) > 0


def _span(row: Row, name: str) -> Span:
    low, value, high = (_number(row.get(column)) for column in (f"{name}_low", name, f"{name}_high"))
    return (low, value, high) if low <= value <= high else exact(value)


def _model(row: Row) -> Model:
    family, track = (str(row.get(column) or "") for column in ("family", "track"))
    return Model(str(row["model"]), family=family or "unlisted", track=track)


def _conditions(rows: Sequence[Row], metric: Metric) -> list[str]:
    """What the metric of all networks was measured under, in words; refused where it is not the same for all."""
    words = []
    for column in _ALIKE.get(metric.name if metric.probe == DERIVED else metric.probe, ()):
        found = list(dict.fromkeys(str(row.get(column)) for row in rows))
        if len(found) > 1:
            raise RequestError(
                f"{metric.name} was measured with {column} {listing(found, 4)}: choose rows of the same {column}"
            )
        if found[0] not in ("None", "nan", "<NA>"):
            words.append(f"{column.replace('_', ' ')} {found[0]}")
    return words


def _with_budget(metric: Metric, rows: Sequence[Row]) -> Metric:
    budget = str(rows[0].get("budget") or "")
    return replace(metric, label=f"{metric.label} after {budget_words(budget)}") if metric.name == "top1" else metric


def _set_axis(axes: Axes, which: str, spans: Sequence[Span], metric: Metric) -> None:
    values = np.array(spans)
    if metric.unit != "fraction":
        set_log_axis(axes, "x" if which == "x" else "y", values[:, 1], metric.unit)
        return
    low, high = float(values.min()), float(values.max())
    margin = 0.08 * (high - low) or 0.05
    (axes.set_xlim if which == "x" else axes.set_ylim)(low - margin, high + margin)
    ticks_in(axes.xaxis if which == "x" else axes.yaxis, "fraction")
