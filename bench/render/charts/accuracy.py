"""Accuracy against a cost and against the year of the paper: of this run, and as published elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from bench.metrics import METRICS, Metric
from bench.quantity import axis_label, in_sentence, listing, quantity, tick
from bench.render.charts.bars import bar_chart, density_chart
from bench.render.charts.frame import INK, MOST_NAMED, MUTED, Chart, FamilyStyle, comparable, slug
from bench.render.charts.points import FRONT_DASHES, Box, Panel, Point, exact, point_chart, set_log_axis, span
from bench.render.findings.efficiency import accuracy_front
from bench.render.results.header import Model, written_name
from bench.render.results.published import TRACK, as_published, short_training, sources
from bench.render.results.table import AccuracyGroup, Results
from bench.render.tables.subtitles import (
    budget_words,
    chart_conditions,
    dataset_words,
    label_of,
    step_conditions,
    track_conditions,
)

PUBLISHED = replace(METRICS["top1"], label="Published top-1 accuracy")
_FEW = 3  # networks, fewer of which are no comparison
_ALL_SHOWN = 5  # networks, up to which a chart shows every one, however far out


@dataclass(frozen=True)
class Accuracy:
    """Whose accuracy a figure shows, in words."""

    metric: Metric  # top1, under the label that is meant
    conditions: str  # under the title
    published: bool = False  # not of this run: then drawn as in the lecture, MACs from zero and no line for guessing
    reference: Collection[str] = ()  # networks whose accuracy was measured elsewhere: drawn hollow


def own_accuracy(results: Results, group: AccuracyGroup) -> Accuracy:
    """The test accuracy that the run itself has measured, which says after how much training."""
    return Accuracy(_after(group), chart_conditions(results, group))


def scatter_chart(
    results: Results,
    group: AccuracyGroup,
    cost: Metric,
    styles: Mapping[str, FamilyStyle],
    stem: str,
    accuracy: Accuracy,
    *,
    headline: str = "",
) -> Chart | None:
    """Accuracy of a group against one metric, with the Pareto front; None with fewer than two networks to compare.

    Against MACs, networks are balls whose area is their parameters. With a `headline` for its title, it is a small
    chart for the first screen.
    """
    models, missing = comparable(results, group.models, cost.name)
    if len(models) < 2:
        return None
    balls = cost.name == "macs"
    label = replace(cost, label=label_of(results, models, cost))
    front = accuracy_front(results, models, cost)
    points = [
        Point(m, span(results.cell(m, cost.name)), span(results.cell(m, "top1")), m.name in accuracy.reference)
        for m in models
    ]

    def prepare(axes: Axes) -> Sequence[Box]:
        x, y = np.array([point.x[1] for point in points]), np.array([point.y[1] for point in points])
        if accuracy.published and balls:
            axes.set_xlim(0, 1.06 * float(x.max()))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value, cost.unit)))
        else:
            set_log_axis(axes, "x", x, cost.unit)
        reserved = _set_accuracy_axis(axes, points, None if accuracy.published else group.chance)
        # A staircase: between two networks of the front, the cheaper one is what can be had.
        steps = "steps-post" if cost.better == "lower" else "steps-pre"
        axes.plot(x[front], y[front], drawstyle=steps, color=MUTED, linewidth=1.2, linestyle=FRONT_DASHES, zorder=1.5)
        return reserved

    best = ", ".join(written_name(models[i]) for i in front)
    return point_chart(
        [
            Panel(
                points, axis_label(label, step_conditions(results, models, cost)), axis_label(accuracy.metric), prepare
            )
        ],
        styles,
        name=f"{stem}-headline" if headline else f"{stem}-top1-vs-{cost.name}",
        kind="headline" if headline else "scatter" if not balls else "textbook" if accuracy.published else "ball",
        track=group.track,
        title=headline or f"{accuracy.metric.label} against {in_sentence(label)}",
        conditions=accuracy.conditions,
        alt=(
            f"{'Bubble' if balls else 'Scatter'} chart of {in_sentence(accuracy.metric)} on {group.dataset} against "
            f"{in_sentence(cost)} for {len(models)} networks. On the Pareto front: {best}."
        ),
        caption=missing,
        front=len(front) > 1,
        small=bool(headline),
        params={model: results.cell(model, "params").value for model in models} if balls else None,
    )


def accuracy_with_references(results: Results, group: AccuracyGroup, elsewhere: Collection[str]) -> Accuracy:
    """The accuracy of a run where it was measured in the same way as the shipped reference, which fills the gaps."""
    trained = len(group.models) - len(elsewhere)
    whose = f"{trained} trained here, {len(elsewhere)} from the shipped reference" if elsewhere else "all trained here"
    words = f"{group.track} track · {dataset_words(group)} · budget {group.budget} · {whose}"
    return Accuracy(_after(group), words, reference=elsewhere)


def _after(group: AccuracyGroup) -> Metric:
    """Test accuracy, with how much training it is after."""
    return replace(METRICS["top1"], label=f"{METRICS['top1'].label} after {budget_words(group.budget)}")


def headline_charts(results: Results, styles: Mapping[str, FamilyStyle]) -> list[Chart | None]:
    """The two charts of the first screen: after full training, as published; and after this run's budget.

    Where a short training is not what the run has, or most networks are no better than chance after it, the second is
    left out.
    """
    charts: list[Chart | None] = []
    published, group = as_published(results)
    if group is not None and len(group.models) >= _FEW:
        near, beyond = _within_an_axis(published, group)
        words = f"{group.dataset} · {sources(group.models)} · MACs counted here"
        chart = scatter_chart(
            published, near, METRICS["macs"], styles, f"{TRACK}-published", Accuracy(PUBLISHED, words, published=True),
            headline="After full training (published)",
        )  # fmt: skip
        charts.append(chart and replace(chart, caption=f"{chart.caption} {beyond}".strip()))
    view = short_training(results)
    if view is not None:
        trained, group, elsewhere = view
        charts.append(
            scatter_chart(
                trained, group, METRICS["macs"], styles, f"{slug(group.track)}-trained",
                accuracy_with_references(trained, group, elsewhere), headline=f"After {budget_words(group.budget)}",
            )
        )  # fmt: skip
    return charts


def _set_accuracy_axis(axes: Axes, points: Sequence[Point], chance: float | None) -> list[Box]:
    """Limits of the accuracy axis and the line of `chance`; returns the box of its text as fractions of the axes.

    That line is on the axis unless that would squeeze the networks into less than a quarter of it: then a
    sentence says where it lies.
    """
    low, high = min(point.y[0] for point in points), max(point.y[2] for point in points)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value, "fraction")))
    shown = chance is not None and (high - low) >= (high - chance) / 4
    if shown and chance is not None:
        low, high = min(low, chance), max(high, chance)
    margin = 0.08 * (high - low) or 0.05
    axes.set_ylim(low - margin, high + margin)
    if chance is None:
        return []
    words = f"chance {tick(chance, 'fraction')}"
    if not shown:
        axes.text(0.995, 0.012, f"{words} is below this axis", transform=axes.transAxes, ha="right", color=MUTED)
        return [(0.66, 0.0, 1.0, 0.05)]
    axes.axhline(chance, color=INK, linewidth=1, linestyle="--", zorder=1.2)
    place = (chance - low + margin) / (high - low + 2 * margin)
    axes.text(0.995, place - 0.012, words, transform=axes.transAxes, ha="right", va="top", color=MUTED)
    return [(0.84, place - 0.05, 1.0, place + 0.004)]


def year_chart(
    results: Results, group: AccuracyGroup, styles: Mapping[str, FamilyStyle], stem: str, accuracy: Accuracy
) -> Chart | None:
    """A point per network and the line of the best so far; None where all papers are of one year."""
    shown = [model for model in group.models if model.year is not None]
    years = sorted({model.year for model in shown if model.year is not None})
    if len(years) < 2:
        return None
    places = _places(shown, years)
    points = [Point(m, exact(places[m]), span(results.cell(m, "top1")), m.name in accuracy.reference) for m in shown]
    best = _best_so_far(results, shown)

    def prepare(axes: Axes) -> Sequence[Box]:
        _set_accuracy_axis(axes, points, None)
        axes.set_xlim(-0.5, len(years) - 0.5)
        axes.set_xticks(range(len(years)), [str(year) for year in years])
        axes.grid(visible=False, axis="x")
        x = [*(years.index(year) - 0.5 for year, _ in best), len(years) - 0.5]
        y = [*(top for _, top in best), best[-1][1]]
        axes.plot(x, y, drawstyle="steps-post", color=MUTED, linewidth=1.1, linestyle="--", zorder=1.4)
        return []

    first, last = best[0], best[-1]
    said = f"The best of the {first[0]} networks has {quantity(first[1], 'fraction')}; "
    said += (
        f"the best of all, of {last[0]}, {quantity(last[1], 'fraction')}."
        if last != first
        else "no later one has more."
    )
    return point_chart(
        [Panel(points, "Year of the paper, a column each", axis_label(accuracy.metric), prepare)],
        styles,
        name=f"{stem}-years",
        kind="years",
        track=group.track,
        title=f"{accuracy.metric.label} by year of the paper",
        conditions=accuracy.conditions,
        alt=f"Scatter chart of {in_sentence(accuracy.metric)} by year for {len(shown)} networks. {said}",
        caption=f"{said} Dashed: the best so far.",
    )


def _places(models: Sequence[Model], years: Sequence[int]) -> dict[Model, float]:
    """Where each network is drawn: within the column of its year, those of a year side by side."""
    places: dict[Model, float] = {}
    for column, year in enumerate(years):
        same = [model for model in models if model.year == year]
        places |= {model: column + (number + 0.5) / len(same) * 0.7 - 0.35 for number, model in enumerate(same)}
    return places


def _best_so_far(results: Results, models: Sequence[Model]) -> list[tuple[int, float]]:
    """Year and accuracy wherever a year has raised the best."""
    best: list[tuple[int, float]] = []
    for year in sorted({model.year for model in models if model.year is not None}):
        top = max(results.cell(model, "top1").value for model in models if model.year == year)
        if not best or top > best[-1][1]:
            best.append((year, top))
    return best


def textbook_charts(results: Results, styles: Mapping[str, FamilyStyle]) -> list[Chart | None]:
    """The figures of Canziani et al. 2016 for networks that nobody trains here, with published accuracies.

    The ball chart, accuracy by network, by parameter and by year. Nothing where the run has fewer than three networks
    with a published accuracy, or accuracies of its own.
    """
    published, group = as_published(results)
    if group is None or len(group.models) < _FEW:
        return []
    conditions = f"{track_conditions(group.models)} · accuracies: {sources(group.models)} · all else counted here"
    accuracy = Accuracy(PUBLISHED, conditions, published=True)
    stem = f"{TRACK}-published"
    unknown = [written_name(model) for model in results.tracks()[TRACK] if model not in group.models]
    caption = f"No published accuracy of the same source for {listing(unknown, MOST_NAMED)}." if unknown else ""
    near, beyond = _within_an_axis(published, group)
    balls = scatter_chart(published, near, METRICS["macs"], styles, stem, accuracy)
    charts = (
        balls and replace(balls, caption=f"{balls.caption} {beyond}".strip()),
        bar_chart(published, group.models, PUBLISHED, styles, stem, conditions=conditions),
        density_chart(published, group, styles, stem, PUBLISHED, conditions),
        year_chart(published, group, styles, stem, accuracy),
    )
    return [chart and replace(chart, caption=f"{chart.caption} {caption}".strip()) for chart in charts]


def _within_an_axis(results: Results, group: AccuracyGroup) -> tuple[AccuracyGroup, str]:
    """Without a network of more than twice the MACs of any other, which would push all into a corner; and its name.

    Of a few networks none is left out.
    """
    if len(group.models) <= _ALL_SHOWN:
        return group, ""
    ordered = sorted(group.models, key=lambda model: results.cell(model, "macs").value)
    first, last = (results.cell(model, "macs").value for model in ordered[-2:])
    if not last > 2 * first:
        return group, ""
    top1 = quantity(results.cell(ordered[-1], "top1").value, "fraction")
    near = tuple(model for model in group.models if model != ordered[-1])
    said = f"Beyond the right edge: {written_name(ordered[-1])} with {quantity(last, 'count')} MACs and {top1}."
    return replace(group, models=near), said
