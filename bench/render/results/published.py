"""Accuracies that are not of the run itself: published ones, and this suite's own reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bench.config import Budget
from bench.quantity import quantity
from bench.records.record import Record
from bench.records.run_folder import Run
from bench.render.results.derived import PUBLISHED, published_of
from bench.render.results.header import Model
from bench.render.results.table import AccuracyGroup, Cell, Results, read_results

TRACK = "imagenet"
DATASET = "ImageNet"


def as_published(results: Results) -> tuple[Results, AccuracyGroup | None]:
    """The same run with published accuracies in place of those that it lacks on the imagenet track, and who has one.

    None where the run has trained on that track itself, or has no network with a published accuracy.
    """
    models = results.tracks().get(TRACK, ())
    known = tuple(model for model in models if results.cell(model, PUBLISHED).measured)
    if not known or any(results.cell(model, "top1").measured for model in models):
        return results, None
    cells = {(model.name, "top1"): _as_top1(results.cell(model, PUBLISHED)) for model in known}
    return replace(results, cells={**results.cells, **cells}), AccuracyGroup(TRACK, DATASET, "", known)


def with_references(results: Results) -> tuple[Results, AccuracyGroup, frozenset[str]] | None:
    """The networks of the table on one axis: the accuracy that the run measured where it is of the reference's kind,
    else the reference. Also their group, and the names of those that were measured elsewhere.

    None where the run has none of these networks.
    """
    kept: dict[tuple[str, str], Cell] = {}
    elsewhere: set[str] = set()
    of_kind = None
    for model in results.models:
        own, shipped = results.cell(model, "top1"), results.cell(model, "reference_top1")
        if shipped.measured:
            of_kind = of_kind or _kind(shipped)
            same = own.measured and _training(own) == _training(shipped)
            kept[model.name, "top1"] = own if same else shipped
            elsewhere |= set() if same else {model.name}
    if of_kind is None:
        return None
    for model in results.models:  # a network of the user's own, trained and tested alike
        own = results.cell(model, "top1")
        if (model.name, "top1") not in kept and own.measured and _kind(own) == of_kind:
            kept[model.name, "top1"] = own
    models = tuple(model for model in results.models if (model.name, "top1") in kept)
    dataset, budget, _ = of_kind
    return (
        results.replacing_accuracies(kept),
        AccuracyGroup(models[0].track, dataset, budget, models),
        frozenset(elsewhere),
    )


def short_training(results: Results) -> tuple[Results, AccuracyGroup, frozenset[str]] | None:
    """What the first screen compares after a short training: as `with_references`, else what the run itself trained.

    A budget in seconds measures the machine too, so it only stands there where nothing else would. None with fewer than
    three networks, where half of them are no better than chance, or where the run has not trained most of those that it
    was to train: the ones that train fast are not the good ones.
    """
    groups = results.accuracy_groups()
    alike = [group for group in groups if Budget.kind_of(group.budget) != "s" or as_published(results)[1] is None]
    own = next(iter(alike), None)
    found = with_references(results) or (own and (results, own, frozenset[str]()))
    if not found:
        return None
    view, group, _ = found
    guessing = sum(map(view.at_chance, group.models))
    enough = len(group.models) >= max(3, len(to_be_trained(results, group.track)) / 2)
    return found if enough and 2 * guessing < len(group.models) else None


def to_be_trained(results: Results, track: str) -> list[Model]:
    """The networks of a track that the run has trained, failed to train, or left out."""
    return [model for model in results.tracks().get(track, ()) if results.cell(model, "top1").records]


def _kind(cell: Cell) -> tuple[str, str, int | None]:
    """What two accuracies on one axis must have in common."""
    row = cell.records[-1]
    return row.dataset or "", row.budget or "", row.trials


def _training(cell: Cell) -> tuple[object, ...]:
    """What makes two trainings of one network the same, but for the machine."""
    row = cell.records[-1]
    return (*_kind(cell), row.recipe, row.batch_size)


def sources(models: Sequence[Model]) -> str:
    """Such as "torchvision 0.29, weights IMAGENET1K_V1": where the published accuracies of some networks are from."""
    known = filter(None, map(published_of, models))
    return " and ".join(dict.fromkeys(published.source for published in known))


def accuracy_note(results: Results) -> str:
    """Whose accuracies stand for networks that are not trained here; empty where there is none."""
    group = as_published(results)[1]
    if group is None:
        return ""
    return f"Accuracies at 224×224 are published ones ({sources(group.models)}): nothing is trained there."


def _as_top1(cell: Cell) -> Cell:
    (row,) = cell.records
    return replace(cell, records=(replace(row, probe="published", metric="top1", note=f"published: {row.note}"),))


def beside_published(run: Run) -> str:
    """As "<recipe>: test accuracy 0.894 after 5ep of cifar10; published 0.9017 (by whom)"; empty for any other run."""
    experiment = run.header.experiment
    if not experiment:
        return ""
    results = read_results(run)
    cells = [results.cell(model, "top1") for model in results.models]
    return "\n".join(_line(cell.value, cell.records[-1], experiment) for cell in cells if cell.measured)


def _line(top1: float, row: Record, experiment: Mapping[str, Any]) -> str:
    parts = [f"{row.recipe}: test accuracy {quantity(top1, 'fraction')} after {row.budget} of {row.dataset}"]
    if row.budget != experiment["documented_budget"]:
        parts.append(f"documented are {experiment['documented_budget']} of {experiment['documented_dataset']}")
    value = experiment["published_top1"]
    parts.append(f"published {value} ({experiment['published']})" if value else experiment["published"])
    return "; ".join(parts)
