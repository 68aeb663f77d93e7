"""Training curves: loss and test accuracy as training went on, from results/<run>/curves/."""

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
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bench.metrics import METRICS
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
from bench.render.conditions import chart_conditions
from bench.render.header import Model
from bench.render.quantity import tick
from bench.render.table import AccuracyGroup, Results

_WIDTH, _HEIGHT = 720.0, 470.0
_AXES = (58.0, 46.0, 500.0, 366.0)
_POINTS = 80  # a curve is averaged into this many bins: what the eye can tell apart at this width

Column = Literal["train_loss", "test_top1"]


@dataclass(frozen=True)
class Curve:
    model: str
    seed: int
    steps: pd.DataFrame  # images, seconds, flops, epoch, train_loss, test_top1


def read_curves(folder: Path) -> tuple[list[Curve], list[str]]:
    """The curves of a run, and the names of the files that cannot be read; both empty without the folder."""
    curves: list[Curve] = []
    unreadable: list[str] = []
    for path in sorted(folder.glob("*.parquet")):
        match = re.fullmatch(r"(.+)-seed(\d+)", path.stem)
        if match is None:
            continue
        try:
            steps = pd.read_parquet(path, columns=["images", "seconds", "train_loss", "test_top1"])
        except (OSError, ValueError, KeyError):  # pyarrow's errors are kinds of these
            unreadable.append(path.name)
        else:
            curves.append(Curve(unquote(match[1]), int(match[2]), steps.astype(float)))
    return curves, unreadable


def curve_chart(
    results: Results,
    group: AccuracyGroup,
    curves: Sequence[Curve],
    column: Column,
    styles: Mapping[str, FamilyStyle],
    stem: str,
) -> Chart | None:
    """Loss or accuracy of a group's networks over training; None where no curve has two points of it."""
    models = {model.name: model for model in group.models}
    # Against the currency of the budget, where all end at the same place.
    across = "seconds" if re.fullmatch(r"[\d.]+s", group.budget) else "images"
    drawn = [
        (curve, points)
        for curve in curves
        if curve.model in models and len(points := _points(curve, across, column)) > 1
    ]
    if not drawn:
        return None
    figure = new_figure(_WIDTH, _HEIGHT)
    axes = add_axes(figure, *_AXES)
    title = "Training loss over training" if column == "train_loss" else "Test accuracy over training"
    write_title(figure, title, chart_conditions(results, group))
    for curve, points in drawn:
        style = styles[models[curve.model].family]
        axes.plot(
            points[across], points[column], color=style.colour, linewidth=1.1, alpha=0.9,
            marker="o" if column == "test_top1" else "", markersize=2.5,
        )  # fmt: skip
    _set_axes(axes, across, column, group)
    _name_ends(figure, axes, [(models[curve.model], points) for curve, points in drawn], across, column, styles)
    ends = {curve.model: float(points[column].iloc[-1]) for curve, points in drawn}
    best = (min if column == "train_loss" else max)(ends, key=lambda name: ends[name])
    unit = METRICS["train_loss" if column == "train_loss" else "top1"].unit
    return Chart(
        name=f"{stem}-curves-{'loss' if column == 'train_loss' else 'top1'}",
        kind="curves",
        track=group.track,
        title=title,
        alt=(
            f"{title} on {group.dataset} for {len(ends)} networks, one line per seed, against {across}; "
            f"{best} ends {'lowest' if column == 'train_loss' else 'highest'} at {tick(ends[best], unit)}."
        ),
        caption="One line per seed, averaged into at most 80 points." if column == "train_loss" else "",
        svg=save_svg(figure),
        png=save_png(figure),
    )


def _points(curve: Curve, across: str, column: Column) -> pd.DataFrame:
    steps = curve.steps.filter([across, column]).replace([np.inf, -np.inf], np.nan).dropna()
    if len(steps) <= _POINTS:
        return steps
    return steps.groupby(np.arange(len(steps)) * _POINTS // len(steps)).mean()


def _set_axes(axes: Axes, across: str, column: Column, group: AccuracyGroup) -> None:
    unit = "s" if across == "seconds" else "images"
    axes.set_xlim(left=0)
    axes.margins(x=0)
    axes.xaxis.set_major_locator(MaxNLocator(7))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value, unit)))
    axes.set_xlabel("Training time" if across == "seconds" else "Images trained on", loc="left")
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


def _name_ends(
    figure: Figure,
    axes: Axes,
    drawn: Sequence[tuple[Model, pd.DataFrame]],
    across: str,
    column: Column,
    styles: Mapping[str, FamilyStyle],
) -> None:
    """Names at the right of the axes, in the order in which the lines end, joined to them by leader lines."""
    ends = {model.name: (model, points[[across, column]].iloc[-1]) for model, points in drawn}
    wanted = np.array([axes.transData.transform(tuple(end))[1] for _, end in ends.values()])
    _, bottom, _, height = _AXES
    heights = spread(wanted, 10.5, bottom, bottom + height)
    edge = axes.get_xlim()[1]
    for (model, end), at in zip(ends.values(), heights, strict=True):
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
