"""Accuracies of more than the run: as published, beside those of the shipped reference, after a short training.

Each is the run with other accuracies in its cells, and the networks that have one; and sentences on whose these are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bench.config import Budget
from bench.quantity import quantity
from bench.records.record import Record
from bench.records.run_folder import Run
from bench.render.results import AccuracyGroup, Cell, Results, read_results
from bench.render.results.derived import PUBLISHED, published_of
from bench.render.results.networks import IMAGENET, Model

View = tuple[Results, AccuracyGroup]  # accuracies of more than the run, and the networks that have one


def as_published(results: Results) -> View | None:
    """The same run with published accuracies in place of those that it lacks on the imagenet track.

    None where the run has trained on that track itself, or has no network with a published accuracy.
    """
    models = results.tracks().get(IMAGENET, ())
    known = tuple(model for model in models if results.cell(model, PUBLISHED).measured)
    if not known or any(results.cell(model, "top1").measured for model in models):
        return None
    cells = {}
    for model in known:
        cell = results.cell(model, PUBLISHED)
        rows = (replace(row, probe="published", metric="top1", note=f"published: {row.note}") for row in cell.records)
        cells[model.name, "top1"] = replace(cell, records=tuple(rows))
    return replace(results, cells={**results.cells, **cells}), AccuracyGroup(IMAGENET, "ImageNet", "", known)


def with_references(results: Results) -> View | None:
    """The networks of the table on one axis: the accuracy that the run measured where it is of the reference's kind,
    else the reference.

    None where the run has none of these networks, or has itself made a comparison of them in another way, such as under
    a larger budget: on real images, and in passes over them, since seconds measure the machine.
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
    taken = {name for name, _ in kept} - elsewhere
    for group in results.accuracy_groups():
        alike = group.track == models[0].track and not group.synthetic and Budget.kind_of(group.budget) != "s"
        mostly_otherwise = 2 * sum(model.name in taken for model in group.models) < len(group.models)
        if alike and mostly_otherwise and _is_a_comparison(results, (results, group)):
            return None
    others = {pair: cell for pair, cell in results.cells.items() if pair[1] != "top1"}
    group = AccuracyGroup(models[0].track, dataset, budget, models, frozenset(elsewhere))
    return replace(results, cells={**others, **kept}), group


def short_training(results: Results) -> View | None:
    """What the first screen compares after a short training: as `with_references`, else what the run itself trained.

    A budget in seconds measures the machine too, so it only stands there where nothing else would. None with fewer than
    three networks, where half of them are no better than chance, or where the run has not trained most of those that it
    was to train: the ones that train fast are not the good ones.
    """
    groups = results.accuracy_groups()
    alike = [group for group in groups if Budget.kind_of(group.budget) != "s" or as_published(results) is None]
    own = next(iter(alike), None)
    found = with_references(results) or (own and (results, own))
    return found if found and _is_a_comparison(results, found) else None


def _is_a_comparison(results: Results, view: View) -> bool:
    seen, group = view
    guessing = sum(map(seen.at_chance, group.models))
    enough = len(group.models) >= max(3, len(to_be_trained(results, group.track)) / 2)
    return enough and 2 * guessing < len(group.models)


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


_TRAINING = ("data set", "budget", "number of test images", "recipe", "batch size")  # what `_training` compares


def trained_otherwise(results: Results, group: AccuracyGroup) -> tuple[list[Model], list[str]]:
    """Networks that the run has trained in another way than those of a group `with_references`, and in what way."""
    alike = {model.name for model in group.models} - group.elsewhere
    own = [model for model in results.tracks()[group.track] if model.name not in alike]
    own = [model for model in own if results.cell(model, "top1").measured]
    shipped = next(c for m in group.models if (c := results.cell(m, "reference_top1")).measured)
    kind = _kind(shipped)
    differing: set[int] = set()
    for model in own:
        trained, shipped = _training(results.cell(model, "top1")), results.cell(model, "reference_top1")
        theirs = _training(shipped) if shipped.measured else (*kind, *trained[len(kind) :])
        differing |= {place for place in range(len(trained)) if trained[place] != theirs[place]}
    return own, [_TRAINING[place] for place in sorted(differing)]


def whose(group: AccuracyGroup, models: Sequence[Model]) -> str:
    """Such as "4 trained here, 14 from the shipped reference": of some networks of a group."""
    taken = sum(model.name in group.elsewhere for model in models)
    if taken == len(models):
        return "all from the shipped reference"
    return f"{len(models) - taken} trained here, {taken} from the shipped reference" if taken else "all trained here"


def sources(models: Sequence[Model]) -> str:
    """Such as "torchvision 0.29, weights IMAGENET1K_V1": where the published accuracies of some networks are from."""
    known = filter(None, map(published_of, models))
    return " and ".join(dict.fromkeys(published.source for published in known))


def accuracy_note(results: Results) -> str:
    """Whose accuracies stand for networks that are not trained here; empty where there is none."""
    said = []
    if published := as_published(results):
        names = sources(published[1].models)
        said.append(f"Accuracies at 224×224 are published ones ({names}): nothing is trained there.")
    if (filled := with_references(results)) and filled[1].elsewhere:
        said.append(f"Accuracies at 32×32: {whose(filled[1], filled[1].models)}.")
    return " ".join(said)


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
