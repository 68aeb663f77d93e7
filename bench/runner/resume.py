"""Going on with a run: what its first command asked for, and whether what is asked now belongs to the same run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from bench import models
from bench.config import RequestError
from bench.records.run_folder import CONDITIONS, Run, RunError, run_names
from bench.records.strict_json import fits
from bench.runner.request import Request

# The flags that a resumed run does not take from its first command: they find it, or are meant for this time only.
_NOT_REMEMBERED = {"run", "results_dir", "retry_failed", "force", "engine", "ray_address", "dry_run", "time_limit"}
_FOLDERS = {"reports_dir", "data_dir", "cache_dir", "recipes"}
_SEVERAL = {"models", "model_kwargs", "budget"}


def continued(request: Request) -> Request:
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


def classes(request: Request) -> dict[str, int]:
    """How many classes the images of each track have in the run that the request resumes; empty for a new one."""
    if request.run not in run_names(request.results_dir):
        return {}
    image_sets = Run.open(request.results_dir, request.run).header.get("image_sets")
    found = image_sets if isinstance(image_sets, dict) else {}
    return {
        track: len(image_set["classes"])
        for track, image_set in found.items()
        if isinstance(image_set, dict) and isinstance(image_set.get("classes"), list)
    }


def merged(before: Mapping[str, Any], now: Mapping[str, Any], force: bool) -> dict[str, Any]:
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
    differences = [f"{key} {before.get(key)} (now {now[key]})" for key in CONDITIONS if before.get(key) != now[key]]
    for key in ("device", "torch"):
        was, is_now = before["environment"].get(key), now["environment"].get(key)
        if was != is_now:
            differences.append(f"{key} {was} (now {is_now})")
    for track, image_set in now["image_sets"].items():
        was = before["image_sets"].get(track)
        if was is not None and was["sha256"] != image_set["sha256"]:
            differences.append(f"{track} images {was['name']} (now {image_set['name']})")
    classes_before = {spec["name"]: spec.get("num_classes") for spec in before["models"]}
    for spec in now["models"]:
        was, is_now = classes_before.get(spec["name"]), spec["num_classes"]
        if was not in (None, is_now):
            differences.append(f"{was} classes of {spec['name']} (now {is_now})")
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
