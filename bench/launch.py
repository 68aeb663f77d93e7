"""From a request to a run folder: everything that can be wrong with a request is found here, before any work."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

import models
from bench import data, environment, execution, progress, runner
from bench.config import Config, RequestError, Track
from bench.data import ImageSet
from bench.record import Run, RunError, run_names
from bench.request import Request, parse_input_size, resolve
from models.spec import ModelSpec

FORMAT = 1  # of run.json and records.jsonl

# What must be the same in every part of a run, beside its device, its torch and its images.
_SETTINGS = (
    "budget",
    "precision",
    "memory_format",
    "compile",
    "cuda_graphs",
    "batch_size",
    "train_batch_size",
    "test_images",
    "measure_seconds",
)

# The flags that a resumed run does not take from its first command: they find it, or are meant for this time only.
_NOT_REMEMBERED = {"run", "results_dir", "retry_failed"}
_FOLDERS = {"reports_dir", "data_dir", "cache_dir"}


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
    devices = devices_for(request.device)
    config, patterns = resolve(request, probes, devices[0].partition(":")[0])
    execution.check(config.execution, devices)
    specs = tuple(models.select(patterns, parse_input_size(request.input_size), request.num_classes))
    data.check_name(request.dataset)
    _require_writable(request.results_dir)
    tracks = {spec.track for spec in specs} & set(data.tracks_of(request.dataset))
    if "accuracy" in config.probes:
        config = replace(config, image_sets=_image_sets(request, sorted(tracks), say))
    return Prepared(request, config, specs, devices)


def open_run(prepared: Prepared, command: Sequence[str]) -> Run:
    """The run's folder: a new one, or the one that is resumed if it was made in the same way.

    Raises:
        RunError: the folder cannot be used.
        RequestError: the run exists and was made with other settings, images or hardware.
    """
    config, request = prepared.config, prepared.request
    facts = environment.describe(prepared.devices[0])
    now = datetime.now().astimezone()
    name = request.run or f"{now:%Y%m%d-%H%M%S}-{facts['device_kind']}-{config.preset}"
    header: dict[str, Any] = {
        "version": FORMAT,
        "name": name,
        "created": now.isoformat(timespec="seconds"),
        "command": list(command),
        "request": {key: _plain(value) for key, value in asdict(request).items()},
        "preset": config.preset,
        "budget": str(config.budget),
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
        "environment": facts,
        "image_sets": {track: _identity(image_set) for track, image_set in config.image_sets.items()},
        "models": [_described(spec) for spec in prepared.specs],
    }
    if name in run_names(request.results_dir):
        header = _merged(Run.open(request.results_dir, name).header, header)
    return Run.create(request.results_dir, name, header)


def work(prepared: Prepared, run: Run) -> int:
    """Measure what the run lacks; returns how many of its rows are failed, out of memory or timed out."""
    tasks = runner.plan(prepared.specs, prepared.config)
    todo = runner.remaining(tasks, run.records(), prepared.request.retry_failed)
    with _terminable(), progress.Display(todo, prepared.config) as display:
        runner.run_tasks(run, todo, prepared.devices, prepared.config.task_timeout_s, display.started, display.ended)
    return sum(record.failed for record in run.records())


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


def cache_dir_of(request_value: Path | None) -> Path:
    if request_value is not None:
        return request_value
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "classic-bench"


def _continued(request: Request) -> Request:
    """The request with every flag that was not given taken from the run that it names, if that exists."""
    assert request.run is not None
    try:
        before = Run.open(request.results_dir, request.run).header.get("request", {})
    except RunError:
        if request.run in run_names(request.results_dir):
            raise
        return request
    untouched = Request()
    kept: dict[str, Any] = {}
    for field in fields(Request):
        value = before.get(field.name)
        if value is None or field.name in _NOT_REMEMBERED:
            continue
        if getattr(request, field.name) == getattr(untouched, field.name):
            kept[field.name] = (
                Path(value) if field.name in _FOLDERS else tuple(value) if field.name == "models" else value
            )
    return replace(request, **kept)


def _image_sets(request: Request, tracks: Sequence[Track], say: Callable[[str], None]) -> Mapping[str, ImageSet]:
    data_dir, cache_dir = data_dir_of(request.data_dir), cache_dir_of(request.cache_dir)
    return {track: data.prepare(request.dataset, track, data_dir, cache_dir, say) for track in tracks}


def _merged(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """The header of a resumed run: as it was, with the networks and images that are new.

    Raises:
        RequestError: something that a number depends on has changed.
    """
    differences = [f"{key} {before.get(key)} (now {now[key]})" for key in _SETTINGS if before.get(key) != now[key]]
    for key in ("device", "torch"):
        was, is_now = before["environment"].get(key), now["environment"].get(key)
        if was != is_now:
            differences.append(f"{key} {was} (now {is_now})")
    for track, image_set in now["image_sets"].items():
        was = before["image_sets"].get(track)
        if was is not None and was["sha256"] != image_set["sha256"]:
            differences.append(f"{track} images {was['name']} (now {image_set['name']})")
    if differences:
        raise RequestError(f"run {now['name']!r} was made with {'; '.join(differences)}: choose another --run")
    described = {spec["name"]: spec for spec in [*before["models"], *now["models"]]}
    order = {name: place for place, name in enumerate(models.REGISTRY)}
    ordered = sorted(described.values(), key=lambda spec: order.get(spec["name"], len(order)))
    return {
        **before,
        "models": ordered,
        "seeds": max(before["seeds"], now["seeds"]),
        "rounds": max(before["rounds"], now["rounds"]),
        "image_sets": {**before["image_sets"], **now["image_sets"]},
    }


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


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM, which clusters and containers send, end a run as Ctrl-C does."""

    def interrupt(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
