"""run.json of a run that starts; or whether what is asked now belongs to the run that is there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.config import RequestError
from bench.data import ImageSet
from bench.device import environment, execution
from bench.models import REGISTRY, ModelSpec
from bench.records.run_folder import (
    Forced,
    Model,
    Run,
    RunError,
    RunHeader,
    checked_name,
    next_start,
    run_names,
    unused_name,
)
from bench.runner.prepare import Prepared, facts_of


@contextmanager
def open_run(prepared: Prepared, command: Sequence[str]) -> Iterator[Run]:
    """The run's folder: a new one, or the one that is resumed if it was made in the same way. Nobody else writes to it
    meanwhile.

    Raises:
        RunError: the folder cannot be used, or another process is writing to it.
        RequestError: the run exists and was made with other settings, images or hardware, and --force was not given.
    """
    config, request = prepared.config, prepared.request
    with execution.arithmetic(config.execution.precision):  # PyTorch's switches as they are while it is measured
        facts = facts_of(prepared.nodes) if prepared.nodes else environment.describe(prepared.devices[0])
    now = datetime.now().astimezone()
    wish = f"{now:%Y%m%d-%H%M%S}-{facts['device_kind']}-{config.preset}"
    name = checked_name(request.run) if request.run else unused_name(request.results_dir, wish)
    header = new_header(name, now, command, prepared, facts)
    run = Run(request.results_dir / name, header)
    with run.writer():  # before anything in it is read or changed
        if name in run_names(request.results_dir):
            header = merged(Run.open(request.results_dir, name).header, header, request.force)
        run.rewrite_header(header)
        yield run


def new_header(
    name: str, now: datetime, command: Sequence[str], prepared: Prepared, facts: Mapping[str, Any]
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
    order = {name: place for place, name in enumerate(REGISTRY)}
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
    for name, before_it in was.items():
        groups = isinstance(before_it, dict) and isinstance(asked[name], dict)  # such as a batch size for each track
        pairs = [(f"{name} {key}", old, asked[name].get(key)) for key, old in before_it.items()] if groups else []
        for words, old, new in pairs or [(name, before_it, asked[name])]:
            if old != new:
                yield f"{words} {old} (now {new})"
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
    if file is None:
        return None
    with file.open("rb") as opened:
        return f"{file.name} (SHA-256 {hashlib.file_digest(opened, 'sha256').hexdigest()})"


def _identity(image_set: ImageSet) -> dict[str, Any]:
    """What a run says of its images: all but where this machine caches them."""
    return {key: value for key, value in asdict(image_set).items() if key != "folder"}


def described(spec: ModelSpec) -> Model:
    """A network as run.json and tables know it."""
    known = {each.name: getattr(spec, each.name) for each in fields(Model) if hasattr(spec, each.name)}
    classes = None if spec.guessed_classes else spec.num_classes
    return Model(**known | {"num_classes": classes, "own": spec.name not in REGISTRY})
