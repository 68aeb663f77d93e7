"""A section for each architecture: papers, judgement, numbers with their ranks, training curves, structure, layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from bench.metrics import METRICS
from bench.quantity import in_sentence, listing, ordinal, quantity
from bench.render.charts.frame import chart_name, styles_of
from bench.render.diagram import draw
from bench.render.results import Results
from bench.render.results.kept import COLUMNS, Currency, Curve, Layers, own_currency, spent
from bench.render.results.networks import Model
from bench.render.tables import Table, TrackTables
from bench.structure import Structure

ENOUGH = 4  # networks with a number, below which there is no top quarter
_NAMED = 2  # networks of a family that a judgement names for each metric
_MOST_LAYERS = 600  # rows of a layer table; of more, the first and last halves


ByNetworks = tuple[tuple[str, tuple[str, ...]], ...]  # papers or remarks, each with the networks that it belongs to


@dataclass(frozen=True)
class Description:
    """Structure and layers of one network, as far as the run kept them."""

    model: str
    diagram: Markup
    layers: Sequence[tuple[str, ...]]  # layer, operation, output, parameters, MACs, share of MACs, saved
    left_out: int  # layers between the first and the last ones
    reason: str  # why there is neither; empty where there is


@dataclass(frozen=True)
class Architecture:
    """A family, or a network of a user's own."""

    title: str
    years: str
    models: Sequence[Model]
    papers: ByNetworks
    remarks: ByNetworks  # how they differ from their papers
    standings: Sequence[tuple[str, Table]]  # their rows of each track's overview
    strengths: Sequence[str]
    weaknesses: Sequence[str]
    curves: Sequence[tuple[str, Markup]]  # caption, drawing
    description: Description | None  # None: the run kept none, as runs of older versions


def architectures(
    results: Results,
    tracks: Sequence[TrackTables],
    networks: Mapping[str, Any],
    layers: Mapping[str, Layers],
    curves: Sequence[Curve],
) -> list[Architecture]:
    """The sections of a report, in the order in which the run lists its networks."""
    groups: dict[str, list[Model]] = {}
    for model in results.models:
        if model.listed:
            groups.setdefault(model.family if model.year is not None else model.name, []).append(model)
    styles = styles_of(results)
    found = []
    for number, (title, models) in enumerate(groups.items()):
        years = sorted({model.year for model in models if model.year is not None})
        good, bad = _judgement(models, tracks)
        found.append(
            Architecture(
                title=title,
                years=" to ".join(str(year) for year in dict.fromkeys((years[0], years[-1]))) if years else "",
                models=models,
                papers=_facts(models, lambda model: (model.paper,) if model.paper else ()),
                remarks=_facts(models, lambda model: model.differences),
                standings=[
                    (track.track, own) for track in tracks if (own := track.overview.of(models)).rows and own.columns
                ],
                strengths=good,
                weaknesses=bad,
                curves=_curves(results, models, curves, styles[models[0].family].colour),
                description=_description(models, networks, layers, f"nn{number}-"),
            )
        )
    return found


# --- numbers -------------------------------------------------------------------------------------------------


def _judgement(models: Sequence[Model], tracks: Sequence[TrackTables]) -> tuple[list[str], list[str]]:
    """Strengths and weaknesses, each a sentence for a track: where these networks are in the top and in the bottom
    quarter of all that have the number."""
    good: list[str] = []
    bad: list[str] = []
    for track in tracks:
        ranks = {
            column.name: {row.model: rank for row in track.overview.rows if (rank := row.cells[index].rank)}
            for index, column in enumerate(track.overview.columns)
        }
        for sentences, quarter, from_the_end in ((good, "top", False), (bad, "bottom", True)):
            inside = {metric: _in_quarter(models, ranked, from_the_end) for metric, ranked in ranks.items()}
            parts = [f"{in_sentence(METRICS[metric])} ({_listed(found)})" for metric, found in inside.items() if found]
            if parts:
                sentences.append(f"({quarter} quarter, {track.track} track): {', '.join(parts)}.")
    return good, bad


def _in_quarter(
    models: Sequence[Model], ranks: Mapping[Model, tuple[int, int]], from_the_end: bool
) -> list[tuple[int, Model]]:
    """(rank, network) of those in the first quarter of a column, or in the last, the most extreme first."""
    inside = []
    for model in models:
        rank, count = ranks.get(model, (0, 0))
        # Equal ranks count too: a value that most networks share puts none of them into a quarter.
        beyond = sum(other >= rank if from_the_end else other <= rank for other, _ in ranks.values())
        if count >= ENOUGH and beyond <= count // 4:
            inside.append((rank, model))
    return sorted(inside, key=lambda one: -one[0] if from_the_end else one[0])


def _listed(inside: Sequence[tuple[int, Model]]) -> str:
    return listing([f"{chart_name(model)} {ordinal(rank)}" for rank, model in inside], _NAMED)


def _facts(models: Sequence[Model], of: Callable[[Model], Sequence[str]]) -> ByNetworks:
    found: dict[str, list[str]] = {}
    for model in models:
        for text in of(model):
            found.setdefault(text, []).append(model.name)
    return tuple((text, tuple(names)) for text, names in found.items())


# --- training ------------------------------------------------------------------------------------------------


CurvePoints = Sequence[tuple[float, float]]  # what training had spent, and the test accuracy then


def _curves(
    results: Results, models: Sequence[Model], curves: Sequence[Curve], colour: str
) -> list[tuple[str, Markup]]:
    """One drawing for each data set and budget that the networks were trained with; behind them, the best of all."""
    first = {curve.model: curve for curve in reversed(curves) if not curve.budget}  # of the lowest seed
    found = []
    for group in results.accuracy_groups():
        across = own_currency(group.budget)
        best = max(group.models, key=lambda model: results.cell(model, "top1").value)
        shown = [*([] if best in models else [best]), *(model for model in models if model in group.models)]
        lines = {model.name: line for model in shown if (line := _line(first.get(model.name), across))}
        grey = best.name if best.name in lines and best not in models else ""
        if lines.keys() - {grey}:
            budget = f", budget {group.budget}" if group.budget else ""
            beside = f"; grey: {chart_name(best)}, the most accurate of all" if grey else ""
            caption = f"Test accuracy on {group.dataset} during training{budget}{beside}."
            found.append((caption, sparkline(lines, grey, colour, across, group.dataset)))
    return found


def _line(curve: Curve | None, across: Any) -> CurvePoints:
    if curve is None:
        return []
    steps = curve.steps.filter([across, "test_top1"]).dropna()
    known = len(steps) > 1 and 0 < steps[across].max() < float("inf") and 0 < steps["test_top1"].max() <= 1
    return list(steps.itertuples(index=False, name=None)) if known else []


# --- structure -----------------------------------------------------------------------------------------------


def _description(
    models: Sequence[Model], networks: Mapping[str, Any], layers: Mapping[str, Layers], prefix: str
) -> Description | None:
    """Of the first of the networks that the run has described."""
    model = next((model for model in models if model.file_name in networks), None)
    if model is None:
        return None
    entry, reason = networks[model.file_name], ""
    try:
        reason = str(entry.get("reason", ""))
        diagram = Markup() if reason else Markup(draw(Structure.from_json(entry["structure"]), within=prefix))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, ArithmeticError):
        reason = "its entry in networks.json is damaged"
    if reason:
        return Description(model.file_name, Markup(), (), 0, reason)
    rows = _layer_rows(layers[model.name]) if model.name in layers else []
    half = _MOST_LAYERS // 2
    shown = rows if len(rows) <= _MOST_LAYERS else [*rows[:half], *rows[-half:]]
    return Description(model.file_name, diagram, shown, len(rows) - len(shown), "")


def _layer_rows(layers: Layers) -> list[tuple[str, ...]]:
    total = layers.rows["macs"].sum()
    return [
        (
            str(layer),
            str(operation),
            "×".join(map(str, shape)),
            f"{params:,.0f}" if params else "",
            quantity(macs, "count") if macs else "",
            f"{100 * macs / total:.1f} %" if macs else "",
            quantity(saved, "bytes") if saved else "",
        )
        for layer, operation, shape, params, macs, _, saved in layers.rows[list(COLUMNS)].itertuples(index=False)
    ]


_WIDTH, _HEIGHT = 340.0, 130.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 12.0, 10.0, 22.0


def sparkline(lines: Mapping[str, CurvePoints], grey: str, colour: str, across: Currency, dataset: str) -> Markup:
    """An SVG element, with alt text, of lines by network; the first may be drawn in `grey` behind the others."""
    most_spent = max(x for line in lines.values() for x, _ in line)
    most_top1 = max(y for line in lines.values() for _, y in line)
    ends = {name: line[-1][1] for name, line in lines.items()}
    own = [name for name in lines if name != grey]
    best = max(own, key=lambda name: ends[name])
    alt = (
        f"Test accuracy on {dataset} over training of {listing(own)}; {best} ends at "
        f"{quantity(ends[best], 'fraction')}"
        + (f", {grey}, in grey, at {quantity(ends[grey], 'fraction')}" if grey else "")
    )
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = [
        f'<svg class="sparkline" viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" aria-label="{escape(alt)}.">',
        f'<path class="axis" d="M{_LEFT:g} {_TOP:g}V{bottom:g}H{right:g}"/>',
        f'<text x="{_LEFT - 5:g}" y="{_TOP + 7:g}" text-anchor="end">{quantity(most_top1, "fraction", 2)}</text>',
        f'<text x="{_LEFT - 5:g}" y="{bottom:g}" text-anchor="end">0 %</text>',
        f'<text x="{right:g}" y="{_HEIGHT - 7:g}" text-anchor="end">{spent(most_spent, across)}</text>',
    ]
    for name, line in lines.items():
        points = "L".join(
            f"{_LEFT + x / most_spent * (right - _LEFT):.1f} {bottom - y / most_top1 * (bottom - _TOP):.1f}"
            for x, y in line
        )
        look = 'class="measure"' if name == grey else f'class="own" stroke="{colour}"'
        parts.append(f'<path {look} d="M{points}"/>')
    return Markup("".join([*parts, "</svg>"]))
