"""run.json of a run that starts, and whether what is asked now belongs to a run that is there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import msgspec

from bench import models
from bench.config import RequestError
from bench.data import ImageSet
from bench.models import ModelSpec
from bench.records.run_folder import Run, RunError, next_start, run_names
from bench.records.run_json import Forced, Model, RunHeader
from bench.runner.request import Request

if TYPE_CHECKING:
    from bench.runner.prepare import Prepared

# The flags that a resumed run does not take from its first command: they find it, or are meant for this time only.
_NOT_REMEMBERED = {
    "run",
    "results_dir",
    "retry_failed",
    "force",
    "engine",
    "ray_address",
    "dry_run",
    "time_limit",
    "on",
    "json",
}


def continued(request: Request) -> Request:
    """The request with every flag that was not given taken from the run that it names, if that exists.

    Raises:
        RunError: run.json is damaged.
    """
    assert request.run is not None
    try:
        run = Run.open(request.results_dir, request.run)
    except RunError:
        if request.run in run_names(request.results_dir):
            raise
        return request
    before, untouched, hints = run.header.request, Request(), get_type_hints(Request)
    kept: dict[str, Any] = {}
    for field in fields(Request):
        name = field.name
        if before.get(name) is None or name in _NOT_REMEMBERED:
            continue
        try:
            value = msgspec.convert(before[name], hints[name], dec_hook=lambda kind, word: kind(word))
        except (msgspec.ValidationError, TypeError):
            raise RunError(f"run.json of run {run.name!r} is damaged (request: {name}): choose another --run") from None
        if getattr(request, name) == getattr(untouched, name):
            kept[name] = value
    return replace(request, **kept)


def classes(request: Request) -> dict[str, int]:
    """How many classes the images of each track have in the run that the request resumes; empty for a new one."""
    if request.run not in run_names(request.results_dir):
        return {}
    image_sets = Run.open(request.results_dir, request.run).header.image_sets
    return {
        track: len(image_set["classes"])
        for track, image_set in image_sets.items()
        if isinstance(image_set.get("classes"), list)
    }


def new_header(
    name: str,
    now: datetime,
    command: Sequence[str],
    prepared: Prepared,
    facts: Mapping[str, Any],
) -> RunHeader:
    """The header of a run that starts now; `facts` are those of its environment."""
    request, inputs, experiment = prepared.request, prepared.inputs, prepared.request.experiment
    return RunHeader(
        name=name,
        created=now.isoformat(timespec="seconds"),
        start=next_start(request.results_dir),
        command=tuple(command),
        request={key: str(value) if isinstance(value, Path) else value for key, value in asdict(request).items()},
        config=prepared.config,
        weights=_weights_identity(inputs.initial_weights),
        experiment=experiment.described() if experiment else None,
        recipes={family: recipe.to_json() for family, recipe in inputs.recipes.items()},
        environment=facts,
        image_sets={track: _identity(image_set) for track, image_set in inputs.image_sets.items()},
        models=tuple(map(described, prepared.specs)),
    )


def merged(before: RunHeader, now: RunHeader, force: bool) -> RunHeader:
    """The header of a resumed run: as it was, with the networks and images that are new, and what --force let pass.

    Raises:
        RequestError: something that a number depends on has changed.
        RunError: the run does not say how it was made.
    """
    was, asked = before.config, now.config
    if was is None or asked is None:
        raise RunError(f"run.json of run {now.name!r} does not say how it was made: choose another --run")
    if was.budget != asked.budget:  # not to be forced: the run's tables are of its first budget
        raise RequestError(
            f"run {now.name!r} was made with budget {was.budget} (now {asked.budget}): choose another --run, or add to "
            f"it with --budget {was.budget} {asked.budget}"
        )
    differences = list(_differences(before, now))
    if differences and not force:
        raise RequestError(
            f"run {now.name!r} was made with {'; '.join(differences)}: choose another --run, or --force to mix them"
        )
    forced = (Forced(now.created, tuple(differences)),) if differences else ()
    described = {model.name: model for model in (*before.models, *now.models)}
    order = {name: place for place, name in enumerate(models.REGISTRY)}
    return replace(
        before,
        start=now.start,
        config=replace(
            was,
            other_budgets=tuple(dict.fromkeys((*was.other_budgets, *asked.other_budgets))),
            seeds=max(was.seeds, asked.seeds),
            rounds=max(was.rounds, asked.rounds),
        ),
        forced=(*before.forced, *forced),
        models=tuple(sorted(described.values(), key=lambda model: order.get(model.name, len(order)))),
        image_sets={**before.image_sets, **now.image_sets},
    )


def _differences(before: RunHeader, now: RunHeader) -> Iterator[str]:
    """What must not change within a run and has, such as "train_batch_size 20 (now 10)"."""
    assert before.config is not None
    assert now.config is not None
    was = {**before.config.settings(fixed=True), "weights": before.weights}
    asked = {**now.config.settings(fixed=True), "weights": now.weights}
    for name in ("device", "torch"):
        was[name], asked[name] = before.environment.get(name), now.environment.get(name)
    yield from (f"{name} {was[name]} (now {asked[name]})" for name in was if was[name] != asked[name])
    for track, image_set in now.image_sets.items():
        known = before.image_sets.get(track)
        if known is not None and known.get("sha256") != image_set["sha256"]:
            yield f"{track} images {known.get('name')} (now {image_set['name']})"
    classes_before = {model.name: model.num_classes for model in before.models}
    for model in now.models:
        if model.num_classes and classes_before.get(model.name) not in (None, model.num_classes):
            yield f"{classes_before[model.name]} classes of {model.name} (now {model.num_classes})"
    if before.recipes != now.recipes:
        yield "other recipes"


def _weights_identity(file: Path | None) -> str | None:
    """Name and SHA-256 of a file of weights; None for fresh ones."""
    if file is None:
        return None
    with file.open("rb") as opened:
        return f"{file.name} (SHA-256 {hashlib.file_digest(opened, 'sha256').hexdigest()})"


def _identity(image_set: ImageSet) -> dict[str, Any]:
    """What a run says of its images: all but where this machine caches them."""
    return {key: value for key, value in asdict(image_set).items() if key != "folder"}


def described(spec: ModelSpec) -> Model:
    """A network as run.json and tables know it."""
    return Model(
        name=spec.name,
        family=spec.family,
        year=spec.year,
        paper=spec.paper,
        track=spec.track,
        input_size=spec.input_size,
        num_classes=None if spec.guessed_classes else spec.num_classes,
        differences=spec.differences,
        published_top1=spec.published_top1,
        published_source=spec.published_source,
        own=spec.name not in models.REGISTRY,
    )
