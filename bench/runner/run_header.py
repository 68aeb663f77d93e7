"""What run.json says of a run: what was asked, where, with which images and of which networks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from bench import models
from bench.config import Config, Inputs
from bench.data import ImageSet
from bench.models import ModelSpec
from bench.records.run_folder import next_start
from bench.runner.request import Request
from bench.training.experiments import experiment_named

FORMAT = 1  # of run.json and records.jsonl


def new_header(
    name: str,
    now: datetime,
    command: Sequence[str],
    request: Request,
    config: Config,
    inputs: Inputs,
    specs: Sequence[ModelSpec],
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """The header of a run that starts now; `facts` are those of its environment."""
    return {
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
        "weights": _weights_identity(inputs.initial_weights),
        "fit": str(config.fit) if config.fit else None,
        "experiment": experiment_named(request.recipe).described() if request.recipe else None,
        "recipes": {family: recipe.to_json() for family, recipe in inputs.recipes.items()},
        "environment": facts,
        "image_sets": {track: _identity(image_set) for track, image_set in inputs.image_sets.items()},
        "models": [_described(spec) for spec in specs],
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
