"""Training curves: loss and test accuracy against images, seconds and FLOPs, from results/<run>/curves/."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bench.metrics import METRICS
from bench.quantity import quantity, tick
from bench.render.charts.figure import (
    Chart,
    add_axes,
    chart_name,
    new_figure,
    save_png,
    save_svg,
    write_title,
)
from bench.render.charts.labels import spread
from bench.render.charts.palette import INK, MUTED, FamilyStyle
from bench.render.charts.points import name_points, set_log_axis
from bench.render.results.header import Model
from bench.render.results.table import AccuracyGroup, Results
from bench.render.tables.subtitles import chart_conditions

_WIDTH, _HEIGHT = 720.0, 470.0
_AXES = (58.0, 46.0, 500.0, 366.0)  # leaves room for names at the right
_WIDE_AXES = (58.0, 46.0, 645.0, 366.0)
_MARKED = 40  # curves; the points of more would only fill the page
_POINTS = 80  # a curve is averaged into this many bins: what the eye can tell apart at this width

Column = Literal["train_loss", "test_top1"]
Currency = Literal["images", "seconds", "flops"]

_CURRENCIES: dict[Currency, tuple[str, str]] = {  # label of the axis, unit
    "images": ("Images trained on", "images"),
    "seconds": ("Training time", "s"),
    "flops": ("Training FLOPs", "FLOPs"),
}
_OWN: dict[str, Currency] = {"ep": "images", "kimg": "images", "s": "seconds", "pflop": "flops"}  # by kind of budget


@dataclass(frozen=True)
class Curve:
    model: str
    seed: int
    budget: str  # empty: the run's first
    steps: pd.DataFrame  # images, seconds, flops, train_loss, test_top1


def read_curves(folder: Path) -> tuple[list[Curve], list[str]]:
    """The curves of a run, and the names of the files that cannot be read; both empty without the folder."""
    curves: list[Curve] = []
    unreadable: list[str] = []
    for path in sorted(folder.glob("*.parquet")):
        match = re.fullmatch(r"(.+)-seed(\d+)(?:-([\d.]+[a-z]+))?", path.stem)
        if match is None:
            continue
        try:
            steps = pd.read_parquet(path, columns=["images", "seconds", "flops", "train_loss", "test_top1"])
        except (OSError, ValueError, KeyError):  # pyarrow's errors are kinds of these
            unreadable.append(path.name)
        else:
            curves.append(Curve(unquote(match[1]), int(match[2]), match[3] or "", steps.astype(float)))
    return curves, unreadable


def training_curves(
    results: Results,
    group: AccuracyGroup,
    curves: Sequence[Curve],
    styles: Mapping[str, FamilyStyle],
    stem: str,
    *,
    everything: bool,
) -> list[Chart | None]:
    """Loss and accuracy against what the run's first budget is counted in; with `everything`, accuracy against the
    other currencies too."""
    first = [curve for curve in curves if not curve.budget]
    own = own_currency(group.budget)
    across = [own, *(other for other in _CURRENCIES if other != own and everything)]
    return [
        curve_chart(results, group, first, "train_loss", own, styles, stem),
        *(curve_chart(results, group, first, "test_top1", currency, styles, stem) for currency in across),
    ]


def own_currency(budget: str) -> Currency:
    """What a budget is counted in: against it, all curves end at the same place."""
    return _OWN.get(re.sub(r"[\d.]+", "", budget), "images")


def curve_chart(
    results: Results,
    group: AccuracyGroup,
    curves: Sequence[Curve],
    column: Column,
    across: Currency,
    styles: Mapping[str, FamilyStyle],
    stem: str,
) -> Chart | None:
    """Loss or accuracy of a group's networks over what training spent; None where no curve has two points of it.

    Linear and named at the right against the currency of the budget; logarithmic against the others, in which the
    networks differ by orders of magnitude.
    """
    models = {model.name: model for model in group.models}
    drawn = [
        (curve, points)
        for curve in curves
        if curve.model in models and len(points := _points(curve, across, column)) > 1
    ]
    if not drawn:
        return None
    own = across == own_currency(group.budget)
    figure = new_figure(_WIDTH, _HEIGHT)
    axes = add_axes(figure, *(_AXES if own else _WIDE_AXES))
    what = "Training loss" if column == "train_loss" else "Test accuracy"
    title = f"{what} against {_CURRENCIES[across][0][:1].lower()}{_CURRENCIES[across][0][1:]}"
    write_title(figure, title, chart_conditions(results, group))
    for curve, points in drawn:
        style = styles[models[curve.model].family]
        axes.plot(
            points[across], points[column], color=style.colour, linewidth=1.1, alpha=0.9,
            marker="o" if column == "test_top1" and len(drawn) <= _MARKED else "", markersize=2.5,
        )  # fmt: skip
    _set_value_axis(axes, column, group)
    axes.set_xlabel(_CURRENCIES[across][0], loc="left")
    ends = {curve.model: (models[curve.model], points[[across, column]].iloc[-1]) for curve, points in drawn}
    unnamed: list[str] = []
    if own:
        _set_linear_axis(axes, across)
        name_at_the_right(axes, list(ends.values()), styles)
    else:
        set_log_axis(axes, "x", np.concatenate([points[across] for _, points in drawn]), _CURRENCIES[across][1])
        named = [model for model, _ in ends.values()]
        at = [(float(end.iloc[0]), float(end.iloc[1])) for _, end in ends.values()]
        unnamed = name_points(figure, axes, named, [((x, x, x), (y, y, y)) for x, y in at], [])
    reached = _mark_targets(axes, results, group, across) if column == "test_top1" else []
    best = (min if column == "train_loss" else max)(ends, key=lambda name: float(ends[name][1].iloc[1]))
    unit = METRICS["train_loss" if column == "train_loss" else "top1"].unit
    caption = ["One line per seed, averaged into at most 80 points."] if column == "train_loss" else []
    caption += [*reached, f"No room for the names of {', '.join(unnamed)}." if unnamed else ""]
    return Chart(
        name=f"{stem}-curves-{'loss' if column == 'train_loss' else 'top1'}{'' if own else f'-by-{across}'}",
        kind="curves",
        track=group.track,
        title=title,
        alt=(
            f"{title} on {group.dataset} for {len(ends)} networks, one line per seed; "
            f"{best} ends {'lowest' if column == 'train_loss' else 'highest'} at "
            f"{tick(float(ends[best][1].iloc[1]), unit)}."
        ),
        caption=" ".join(sentence for sentence in caption if sentence),
        svg=save_svg(figure),
        png=save_png(figure),
    )


def _points(curve: Curve, across: Currency, column: Column) -> pd.DataFrame:
    steps = curve.steps.filter([across, column])
    steps = steps[np.isfinite(steps.to_numpy()).all(axis=1)]
    if len(steps) <= _POINTS:
        return steps
    return steps.groupby(np.arange(len(steps)) * _POINTS // len(steps)).mean()


def _set_linear_axis(axes: Axes, across: Currency) -> None:
    axes.margins(x=0)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(7))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value, _CURRENCIES[across][1])))


def _set_value_axis(axes: Axes, column: Column, group: AccuracyGroup) -> None:
    if column == "train_loss":
        axes.set_ylabel("Training loss (nats)", loc="top")
        axes.set_ylim(bottom=0)
        return
    axes.set_ylabel("Test accuracy (%)", loc="top")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value, "fraction")))
    if group.chance is not None:
        axes.axhline(group.chance, color=INK, linewidth=1, linestyle="--")
        axes.annotate(
            f"chance {tick(group.chance, 'fraction')}", (0, group.chance), xycoords=("axes fraction", "data"),
            xytext=(4, -10), textcoords="offset points", color=MUTED,
        )  # fmt: skip


def _mark_targets(axes: Axes, results: Results, group: AccuracyGroup, across: Currency) -> list[str]:
    """A ring where a network reached an accuracy that is timed; a sentence for each such accuracy names the first."""
    sentences = []
    for metric in (metric for metric in METRICS.values() if metric.name.startswith(f"{across}_to_")):
        percent = int(metric.name.removeprefix(f"{across}_to_"))
        cells = {model.name: results.cell(model, metric.name) for model in group.models}
        reached = {name: cell.value for name, cell in cells.items() if cell.measured}
        if not reached:
            continue
        axes.axhline(percent / 100, color=MUTED, linewidth=0.6, linestyle=(0, (1, 2)))
        axes.scatter(
            list(reached.values()), [percent / 100] * len(reached), s=18, facecolors="none", edgecolors=INK,
            linewidths=0.7, zorder=4,
        )  # fmt: skip
        first = min(reached, key=lambda name: reached[name])
        sentences.append(
            f"{percent} % is reached by {len(reached)} of {len(cells)} networks, first by {first} "
            f"({quantity(reached[first], metric.unit)}{' FLOPs' if across == 'flops' else ''}"
            f"{' images' if across == 'images' else ''})."
        )
    return sentences


def name_at_the_right(axes: Axes, ends: Sequence[tuple[Model, pd.Series]], styles: Mapping[str, FamilyStyle]) -> None:
    """Names right of the axes, in the order in which the lines end, joined to them by leader lines."""
    wanted = np.array([axes.transData.transform(tuple(end))[1] for _, end in ends])
    bottom, height = axes.bbox.y0, axes.bbox.height
    heights = spread(wanted, 10.5, bottom, bottom + height)
    edge = axes.get_xlim()[1]
    for (model, end), at in zip(ends, heights, strict=True):
        colour = styles[model.family].colour
        fraction = (at - bottom) / height
        axes.annotate(
            "", (end.iloc[0], end.iloc[1]), xytext=(1.025, fraction), textcoords="axes fraction",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0},
        )  # fmt: skip
        axes.annotate(
            chart_name(model), (edge, 0), xytext=(1.03, fraction), textcoords="axes fraction",
            annotation_clip=False, va="center", size=7.5,
        )  # fmt: skip
