"""From a request to a run folder: everything that can be wrong with a request is found here, before any work."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any, get_type_hints

import torch

import models
from bench import architectures, cluster, data, environment, execution, progress, runner, session
from bench.config import Config, RequestError, Track
from bench.data import ImageSet
from bench.data.cache import cache_dir_of
from bench.data.samples import sample_sheet
from bench.engines.dispatch import NoSeats
from bench.engines.engine import Workplace
from bench.engines.local import LocalMachine
from bench.interrupts import Interrupts
from bench.record import Run, RunError, checked_name, fits, next_start, run_names, unused_name
from bench.request import Request, parse_input_size, resolve
from bench.tensorboard import require_tensorboard
from bench.training import pretrained, recipe_file
from bench.training.experiments import Experiment, experiment_named
from models.spec import ModelSpec

FORMAT = 1  # of run.json and records.jsonl

# What must be the same in every part of a run, beside its device, its torch and its images.
_SETTINGS = (
    "precision",
    "memory_format",
    "compile",
    "cuda_graphs",
    "batch_size",
    "train_batch_size",
    "test_images",
    "measure_seconds",
    "tune",
    "weights",
    "fit",
)

# The flags that a resumed run does not take from its first command: they find it, or are meant for this time only.
_NOT_REMEMBERED = {"run", "results_dir", "retry_failed", "force", "engine", "ray_address"}
_FOLDERS = {"reports_dir", "data_dir", "cache_dir", "recipes"}
_SEVERAL = {"models", "budget"}


@dataclass(frozen=True)
class Prepared:
    """A request that has been found good: nothing is left to decide, nothing has been measured."""

    request: Request
    config: Config
    specs: tuple[ModelSpec, ...]
    devices: tuple[str, ...]


def prepare(request: Request, probes: tuple[str, ...], say: Callable[[str], None]) -> Prepared:
    """Check a request and decode its images; what a resumed run was asked before fills in what is not said now.

    Raises:
        RequestError, UnknownModel, RunError: the request is wrong; one line says what to do.
    """
    if request.run is not None:
        request = _continued(request)
    devices = cluster.join(request) if request.engine == "ray" else devices_for(request.device)
    config, patterns = resolve(request, probes, devices[0].partition(":")[0])
    if request.engine == "local":
        execution.check(config.execution, devices)
    experiment = experiment_named(request.recipe) if request.recipe else None
    if experiment:
        specs: tuple[ModelSpec, ...] = (experiment.spec(),)
    else:
        specs = tuple(models.select(patterns, parse_input_size(request.input_size), request.num_classes))
    data.check_name(config.dataset)
    _require_writable(request.results_dir)
    if request.tensorboard:
        require_tensorboard()
    if request.tune and importlib.util.find_spec("optuna") is None:
        raise RequestError("--tune needs Optuna, which is not installed: pip install 'optuna>=4,<5'")
    if experiment:
        config = _as_documented(config, request, experiment, specs[0], say)
    elif request.recipes:
        config = replace(config, recipes=recipe_file.read(request.recipes))
    _check_channels(config, specs)
    tracks = {spec.track for spec in specs} & set(data.tracks_of(config.dataset))
    if {"accuracy", "tuning"} & set(config.probes):
        config = replace(config, image_sets=_image_sets(request, config.dataset, sorted(tracks), say))
    return Prepared(request, config, specs, devices)


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
        here = request.engine == "local"
        facts = environment.describe(prepared.devices[0]) if here else cluster.facts(prepared.devices)
    now = datetime.now().astimezone()
    wish = f"{now:%Y%m%d-%H%M%S}-{facts['device_kind']}-{config.preset}"
    name = checked_name(request.run) if request.run else unused_name(request.results_dir, wish)
    header: dict[str, Any] = {
        "version": FORMAT,
        "name": name,
        "created": now.isoformat(timespec="seconds"),
        "start": next_start(request.results_dir),
        "command": list(command),
        "request": {key: _plain(value) for key, value in asdict(request).items()},
        "preset": config.preset,
        "budget": str(config.budget),
        "other_budgets": [str(budget) for budget in config.other_budgets],
        "seeds": config.seeds,
        "precision": config.execution.precision,
        "memory_format": config.execution.memory_format,
        "compile": config.execution.compile,
        "cuda_graphs": config.execution.cuda_graphs,
        "rounds": config.rounds,
        "batch_size": dict(config.batch_size),
        "train_batch_size": config.train_batch_size,
        "test_images": config.test_images,
        "measure_seconds": config.measure_seconds,
        "tune": config.tuning_trials or None,
        "weights": _weights_identity(config.initial_weights),
        "fit": str(config.fit) if config.fit else None,
        "experiment": experiment_named(request.recipe).described() if request.recipe else None,
        "recipes": {family: recipe.to_json() for family, recipe in config.recipes.items()},
        "environment": facts,
        "image_sets": {track: _identity(image_set) for track, image_set in config.image_sets.items()},
        "models": [_described(spec) for spec in prepared.specs],
    }
    run = Run(request.results_dir / name, header)
    with run.claimed():  # before anything in it is read or changed
        if name in run_names(request.results_dir):
            header = _merged(Run.open(request.results_dir, name).header, header, request.force)
        run.rewrite_header(header)
        yield run


def work(prepared: Prepared, run: Run) -> int:
    """Measure what the run lacks; returns how many of its rows are failed, out of memory or timed out."""
    config = replace(prepared.config, checkpoints=run.folder.absolute() / "checkpoints")
    tasks = runner.without_second_tuning(runner.plan(prepared.specs, config), run)
    todo = runner.remaining(tasks, run.records(), prepared.request.retry_failed)
    place = _place(prepared, run)
    here = prepared.request.engine == "local"  # the state of this machine says nothing about a cluster's
    with (
        Interrupts() as interrupts,
        progress.Display(todo, config) as display,
        session.conditions_kept(run, prepared.devices) if todo and here else nullcontext(),
    ):
        try:
            _keep_samples(run, config.image_sets)
            suite = [spec for spec in prepared.specs if spec.name in models.REGISTRY]
            architectures.keep_descriptions(run, place, suite, interrupts)
            if any("throughput" in task.probes for task in todo):  # what is compared with the limits
                session.keep_limits(run, place, prepared.devices, config.execution.precision, interrupts)
            runner.run_tasks(run, todo, place, config.task_timeout_s, display.started, display.ended, interrupts)
            architectures.keep_descriptions(run, place, _harmless(prepared.specs, run), interrupts)
        except NoSeats as reason:
            raise RunError(f"{reason}; what was measured is kept, and --run {run.name} goes on") from reason
    return sum(record.failed for record in run.records())


def _keep_samples(run: Run, image_sets: Mapping[str, ImageSet]) -> None:
    for track, image_set in image_sets.items():
        path = run.samples_path(track, image_set.name)
        if path.exists():
            continue
        # They only illustrate: whether the images are sound, who trains on them finds out.
        with suppress(OSError, ValueError):
            path.write_bytes(sample_sheet(image_set))


def _harmless(specs: Sequence[ModelSpec], run: Run) -> list[ModelSpec]:
    """A user's own networks of which something could be measured: no other is worth the wait for its description."""
    measured = {record.model for record in run.records() if record.status == "ok"}
    return [spec for spec in specs if spec.name not in models.REGISTRY and spec.name in measured]


def _place(prepared: Prepared, run: Run) -> Workplace[Any, Any]:
    gib, request = prepared.request.task_memory_gib, prepared.request
    memory_limit = None if gib is None else int(gib * 2**30)
    if request.engine == "ray":
        return cluster.place(prepared.devices, prepared.config, memory_limit, request.cache_dir)
    return LocalMachine(prepared.devices, run.folder / "workers.log", runner.PRELOAD, memory_limit)


def devices_for(word: str) -> tuple[str, ...]:
    """The devices that "auto", "cpu", "cuda" or "cuda:N" means here.

    Raises:
        RequestError: it is none of these words, or there is no such device.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if word == "auto":
        word = "cuda" if count else "cpu"
    if word == "cpu":
        return ("cpu",)
    kind, _, index = word.partition(":")
    if kind != "cuda" or not (index.isdecimal() or word == "cuda"):
        raise RequestError(f"device {word!r}: write auto, cpu, cuda or cuda:N")
    if not count:
        raise RequestError(f"--device {word}: PyTorch sees no CUDA device here; `python -m bench doctor` says more")
    if not index:
        return tuple(f"cuda:{n}" for n in range(count))
    if int(index) >= count:
        raise RequestError(f"--device {word}: there are {count} CUDA devices, cuda:0 to cuda:{count - 1}")
    return (f"cuda:{int(index)}",)


def data_dir_of(request_value: Path | None) -> Path:
    return request_value or Path(os.environ.get("BENCH_DATA_DIR") or "data")


def _continued(request: Request) -> Request:
    """The request with every flag that was not given taken from the run that it names, if that exists."""
    assert request.run is not None
    try:
        run = Run.open(request.results_dir, request.run)
    except RunError:
        if request.run in run_names(request.results_dir):
            raise
        return request
    before = run.header.get("request")
    untouched, hints = Request(), get_type_hints(Request)
    kept: dict[str, Any] = {}
    for field in fields(Request):
        value = before.get(field.name) if isinstance(before, dict) else None
        if value is None or field.name in _NOT_REMEMBERED:
            continue
        if field.name in _SEVERAL and isinstance(value, list):
            value = tuple(value)
        if field.name in _FOLDERS and isinstance(value, str):
            value = Path(value)
        if not fits(value, hints[field.name]):
            raise RunError(f"run.json of run {run.name!r} is damaged (request: {field.name}): choose another --run")
        if getattr(request, field.name) == getattr(untouched, field.name):
            kept[field.name] = value
    return replace(request, **kept)


def _as_documented(
    config: Config, request: Request, experiment: Experiment, spec: ModelSpec, say: Callable[[str], None]
) -> Config:
    """The configuration with the recipe of an experiment, and the file of weights that it starts from.

    Raises:
        RequestError: the images are of another kind, or the weights cannot be had or are of another network.
    """
    if spec.track not in data.tracks_of(config.dataset):
        raise RequestError(
            f"--recipe {request.recipe} needs {experiment.dataset}: leave out --dataset {config.dataset}"
        )
    recipe, weights = experiment.recipe, None
    if experiment.weights is not None and "accuracy" in config.probes:
        weights = pretrained.prepare(request.weights, experiment.weights, spec, data_dir_of(request.data_dir), say)
        recipe = replace(recipe, name=f"{recipe.name} from {weights.name if weights else 'random weights'}")
    return replace(config, recipes={spec.family: recipe}, initial_weights=weights)


def _check_channels(config: Config, specs: Sequence[ModelSpec]) -> None:
    """
    Raises:
        RequestError: a recipe normalises another number of channels than a network of its family takes.
    """
    for spec in specs:
        recipe = config.recipes.get(spec.family)
        channels = spec.input_size[0]
        if recipe and recipe.mean and len(recipe.mean) != channels:
            raise RequestError(
                f"the recipe of {spec.family} has {len(recipe.mean)} means for the {channels} channels of {spec.name}"
            )


def _image_sets(
    request: Request, dataset: str, tracks: Sequence[Track], say: Callable[[str], None]
) -> Mapping[str, ImageSet]:
    data_dir, cache_dir = data_dir_of(request.data_dir), cache_dir_of(request.cache_dir)
    return {track: data.prepare(dataset, track, data_dir, cache_dir, say) for track in tracks}


def _merged(before: Mapping[str, Any], now: Mapping[str, Any], force: bool) -> dict[str, Any]:
    """The header of a resumed run: as it was, with the networks and images that are new, and what --force let pass.

    Raises:
        RequestError: something that a number depends on has changed.
        RunError: it is no header.
    """
    try:
        return _continuation(before, now, force)
    except (KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise RunError(f"run.json of run {now['name']!r} is damaged ({reason}): choose another --run") from error


def _continuation(before: Mapping[str, Any], now: Mapping[str, Any], force: bool) -> dict[str, Any]:
    was, is_now = before["budget"], now["budget"]
    if was != is_now:  # not to be forced: the run's tables are of its first budget
        raise RequestError(
            f"run {now['name']!r} was made with budget {was} (now {is_now}): choose another --run, or add to it "
            f"with --budget {was} {is_now}"
        )
    differences = [f"{key} {before.get(key)} (now {now[key]})" for key in _SETTINGS if before.get(key) != now[key]]
    for key in ("device", "torch"):
        was, is_now = before["environment"].get(key), now["environment"].get(key)
        if was != is_now:
            differences.append(f"{key} {was} (now {is_now})")
    for track, image_set in now["image_sets"].items():
        was = before["image_sets"].get(track)
        if was is not None and was["sha256"] != image_set["sha256"]:
            differences.append(f"{track} images {was['name']} (now {image_set['name']})")
    if (before.get("recipes") or {}) != now["recipes"]:
        differences.append("other recipes")
    if differences and not force:
        raise RequestError(
            f"run {now['name']!r} was made with {'; '.join(differences)}: choose another --run, or --force to mix them"
        )
    forced = before.get("forced", []) + ([{"at": now["created"], "differences": differences}] if differences else [])
    described = {spec["name"]: spec for spec in [*before["models"], *now["models"]]}
    order = {name: place for place, name in enumerate(models.REGISTRY)}
    ordered = sorted(described.values(), key=lambda spec: order.get(spec["name"], len(order)))
    return {
        **before,
        "start": now["start"],
        "forced": forced,
        "models": ordered,
        "other_budgets": list(dict.fromkeys([*before.get("other_budgets", []), *now["other_budgets"]])),
        "seeds": max(before["seeds"], now["seeds"]),
        "rounds": max(before["rounds"], now["rounds"]),
        "image_sets": {**before["image_sets"], **now["image_sets"]},
    }


def _weights_identity(file: Path | None) -> str | None:
    """Name and SHA-256 of a file of weights; None for fresh ones."""
    if file is None:
        return None
    with file.open("rb") as opened:
        return f"{file.name} (SHA-256 {hashlib.file_digest(opened, 'sha256').hexdigest()})"


def _identity(image_set: ImageSet) -> dict[str, Any]:
    """What a run tells of its images: all but where this machine caches them, which is nobody else's business."""
    return {key: value for key, value in asdict(image_set).items() if key != "folder"}


def _described(spec: ModelSpec) -> dict[str, Any]:
    """What a report says of a network; it must not need torch or the registry of another day."""
    return {
        "name": spec.name,
        "family": spec.family,
        "year": spec.year,
        "paper": spec.paper,
        "track": spec.track,
        "input_size": list(spec.input_size),
        "num_classes": spec.num_classes,
        "differences": list(spec.differences),
        "own": spec.name not in models.REGISTRY,
    }


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _require_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise RequestError(f"cannot write to {folder}: {error.strerror}; choose another --results-dir") from None
