"""Accuracy by the year of a network's paper, with the best until then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from bench.quantity import axis_label, in_sentence, quantity, tick
from bench.render.charts.comparable import without_room
from bench.render.charts.figure import Chart, add_axes, new_figure, save_png, save_svg, write_title
from bench.render.charts.legends import draw_family_legend
from bench.render.charts.palette import MUTED, FamilyStyle
from bench.render.charts.points import draw_points, name_points, span
from bench.render.charts.scatter import Accuracy
from bench.render.results.header import Model
from bench.render.results.table import AccuracyGroup, Results

_WIDTH, _HEIGHT = 720.0, 470.0
_AXES = (58.0, 46.0, 508.0, 366.0)
_LEGEND_X = 580.0


def year_chart(
    results: Results, group: AccuracyGroup, styles: Mapping[str, FamilyStyle], stem: str, accuracy: Accuracy
) -> Chart | None:
    """A point per network and the line of the best until then; None where all papers are of one year."""
    shown = [model for model in group.models if model.year is not None]
    if len({model.year for model in shown}) < 2:
        return None
    figure = new_figure(_WIDTH, _HEIGHT)
    axes = add_axes(figure, *_AXES)
    title = f"{accuracy.metric.label} by year of the paper"
    write_title(figure, title, accuracy.conditions)
    axes.set_xlabel("Year of the paper, a column each", loc="left")
    axes.set_ylabel(axis_label(accuracy.metric), loc="top")
    years = sorted({model.year for model in shown if model.year is not None})
    places = _places(shown, years)
    spans = [((places[m], places[m], places[m]), span(results.cell(m, "top1"))) for m in shown]
    _set_axes(axes, years, np.array(spans)[:, 1])
    best = _best_so_far(results, shown)
    ends = [(years.index(year) - 0.5, top) for year, top in best] + [(len(years) - 0.5, best[-1][1])]
    axes.plot(*zip(*ends, strict=True), drawstyle="steps-post", color=MUTED, linewidth=1.1, linestyle="--", zorder=1.4)
    draw_points(axes, shown, spans, styles)
    unlabelled = name_points(figure, axes, shown, spans, [])
    draw_family_legend(figure, shown, styles, (_LEGEND_X, _HEIGHT - 58))
    first, last = best[0], best[-1]
    said = f"The best of the {first[0]} networks has {quantity(first[1], 'fraction')}; "
    said += (
        f"the best of all, of {last[0]}, {quantity(last[1], 'fraction')}."
        if last != first
        else "no later one has more."
    )
    return Chart(
        name=f"{stem}-years",
        kind="years",
        track=group.track,
        title=title,
        alt=f"Scatter chart of {in_sentence(accuracy.metric)} by year for {len(shown)} networks. {said}",
        caption=f"{said} Dashed: the best until then. {without_room(unlabelled)}".strip(),
        svg=save_svg(figure),
        png=save_png(figure),
    )


def _places(models: Sequence[Model], years: Sequence[int]) -> dict[Model, float]:
    """Where each network is drawn: within the column of its year, those of a year side by side."""
    places: dict[Model, float] = {}
    for column, year in enumerate(years):
        same = [model for model in models if model.year == year]
        places |= {model: column + (number + 0.5) / len(same) * 0.7 - 0.35 for number, model in enumerate(same)}
    return places


def _set_axes(axes: Axes, years: Sequence[int], values: np.ndarray) -> None:
    """A column for each year that has a network, and room for all accuracies with their intervals."""
    margin = 0.08 * float(values.max() - values.min()) or 0.05
    axes.set_xlim(-0.5, len(years) - 0.5)
    axes.set_ylim(float(values.min()) - margin, float(values.max()) + margin)
    axes.set_xticks(range(len(years)), [str(year) for year in years])
    axes.grid(visible=False, axis="x")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value, "fraction")))


def _best_so_far(results: Results, models: Sequence[Model]) -> list[tuple[int, float]]:
    """Year and accuracy wherever a year has raised the best."""
    best: list[tuple[int, float]] = []
    for year in sorted({model.year for model in models if model.year is not None}):
        top = max(results.cell(model, "top1").value for model in models if model.year == year)
        if not best or top > best[-1][1]:
            best.append((year, top))
    return best
