"""From a request to what a run starts with: everything that can be wrong is found here, before any work."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_type_hints

import msgspec
import torch

from bench import data
from bench.config import Config, Inputs, Precision, RequestError
from bench.data.cache import cache_dir_of
from bench.data.image_set import ImageSet
from bench.device import accelerator, environment, execution
from bench.device.peaks import vendor_named
from bench.metrics import PROBES
from bench.models import ModelSpec
from bench.quantity import first_line
from bench.records.run_folder import Run, RunError, require_writable, run_names
from bench.runner.request import Request, networks, resolve
from bench.training import recipes
from bench.training.experiments import Experiment
from bench.training.schedule import require_tensorboard
from bench.training.weights import initial_weights

ON_CPU = "MEASURING ON THE CPU: "
_SAME = ("torch", "python")  # on every node, or one run would mix numbers of two kinds

# The flags that a resumed run does not take from its first command: they find it, or are meant for this time only.
_NOT_REMEMBERED = (
    *("run", "results_dir", "retry_failed", "force", "engine", "ray_address"),
    *("dry_run", "time_limit", "on", "json"),
)


@dataclass(frozen=True)
class Prepared:
    """A request that has been found good: nothing is left to decide, nothing has been measured."""

    request: Request
    config: Config
    inputs: Inputs
    specs: tuple[ModelSpec, ...]
    devices: tuple[str, ...]
    nodes: Mapping[str, Node] = field(default_factory=dict)  # of a cluster, by address


def prepare(
    request: Request, probes: tuple[str, ...], say: Callable[[str], None], given: Sequence[ModelSpec] = ()
) -> Prepared:
    """Check a request and decode its images; what a resumed run was asked before fills in what is not said now.

    The networks are those that the request names, or the `given` ones.

    Raises:
        RequestError, RunError: the request is wrong; one line says what to do.
    """
    before = Run.open(request.results_dir, request.run) if request.run in run_names(request.results_dir) else None
    if before is not None:
        request = _continued(request, before)
    named = vendor_named(request.on) if request.on else None
    devices = join_cluster(request) if request.engine == "ray" else devices_for("cpu" if named else request.device, say)
    nodes = described_nodes(devices) if request.engine == "ray" else {}
    can = arithmetics_of(nodes) if nodes else execution.arithmetics(devices)
    has = named.tflops.keys() if named else set.intersection(*map(set, can.values()))
    config, patterns = resolve(request, probes, "cuda" if named else devices[0].partition(":")[0], "bf16" in has)
    if not named:
        execution.check(config.execution, can)
    if request.threads is not None:
        torch.set_num_threads(request.threads)  # as in the workers, so that the run says what it was measured with
    for line in environment.busy_gpus(devices if not nodes else ()):
        say(line)
    experiment = request.experiment
    if given:
        specs, config = tuple(given), replace(config, counted=())
    elif experiment:
        specs = (experiment.spec(),)
    else:
        specs = networks(patterns, request.input_size, request.num_classes)
    trainable = data.tracks_of(config.dataset)
    if not request.dry_run:
        require_writable("--results-dir", request.results_dir)
    if request.tensorboard:
        require_tensorboard()
    inputs = Inputs(recipes=recipes.read_recipes(request.recipes) if request.recipes else {})
    if experiment:
        inputs = _documented(config, request, experiment, specs[0], say)
    _check_recipes(None if before else request.recipes, inputs, specs)
    tracks = {spec.track for spec in specs} & set(trainable)
    if any(PROBES[probe].trains for probe in config.probes):
        data_dir, cache_dir = data_dir_of(request.data_dir), cache_dir_of(request.cache_dir)
        image_sets: dict[str, ImageSet] = {
            track: data.prepare(config.dataset, track, data_dir, cache_dir, say) for track in sorted(tracks)
        }
        inputs = replace(inputs, image_sets=image_sets)
        _check_test_images(config, image_sets.values())
    sets: Mapping[str, Mapping[str, Any]] = before.header.image_sets if before else {}
    sets = {**sets, **{track: vars(images) for track, images in inputs.image_sets.items()}}
    classes = {
        track: len(images["classes"])
        for track, images in sets.items()
        if isinstance(images.get("classes"), list | tuple)
    }
    specs = tuple(_with_classes_of_images(spec, classes.get(spec.track), request) for spec in specs)
    return Prepared(request, config, inputs, specs, devices, nodes)


def _continued(request: Request, run: Run) -> Request:
    """The request with every flag that was not given taken from the run that it resumes."""
    before, untouched, hints = run.header.request, Request(), get_type_hints(Request)
    kept: dict[str, Any] = {}
    for name in (each.name for each in fields(Request)):
        if before.get(name) is None or name in _NOT_REMEMBERED:
            continue
        try:
            value = msgspec.convert(before[name], hints[name], dec_hook=lambda kind, word: kind(word))
        except (msgspec.ValidationError, TypeError):
            raise RunError(f"run.json of run {run.name!r} is damaged (request: {name}): choose another --run") from None
        if getattr(request, name) == getattr(untouched, name):
            kept[name] = value
    return replace(request, **kept)


def devices_for(word: str, say: Callable[[str], None]) -> tuple[str, ...]:
    """The devices that "auto", a kind ("cuda": all of them) or one of a kind ("cuda:1") means here; says which ones are
    left out, and why.

    Raises:
        RequestError: it is none of these words, or there is no such device.
    """
    kind, _, index = (accelerator.preferred_kind() if word == "auto" else word).partition(":")
    known = accelerator.kind_named(kind)
    if known is None or (":" in word and (known.is_host or not index.isdecimal())):
        raise RequestError(f"device {word!r}: write auto, {', '.join(accelerator.words())}")
    if known.is_host:
        return (word,)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's own, of which the lines below say more
            count = known.count()
            unusable = {f"{kind}:{n}": accelerator.named(f"{kind}:{n}").unusable() for n in range(count)}
    except Exception as error:  # as of a GPU that does not answer
        reason = f"{kind.upper()} does not start here ({first_line(error)})"
        raise RequestError(f"--device {word}: {reason}; --device cpu does without it") from error
    if not count:
        reason = known.why_none()
        if word != "auto":
            raise RequestError(f"--device {word}: {reason or f'PyTorch sees no {kind.upper()} device here'}")
        if reason and "hides" not in reason:
            say(f"{ON_CPU}{reason}")
        for other in accelerator.present():
            say(f"{ON_CPU}--device {other.kind} takes the {other.name}")
        return ("cpu",)
    if index:
        if int(index) >= count:
            only = f"{kind}:0 is the only {kind.upper()} device"
            several = f"there are {count} {kind.upper()} devices, {kind}:0 to {kind}:{count - 1}"
            raise RequestError(f"--device {word}: {only if count == 1 else several}")
        if reason := unusable[f"{kind}:{int(index)}"]:
            raise RequestError(f"--device {word}: {reason}")
        return (f"{kind}:{int(index)}",)
    usable = tuple(device for device, reason in unusable.items() if not reason)
    reasons = [f"{device} is left out: {reason}" for device, reason in unusable.items() if reason]
    if not usable and word != "auto":
        raise RequestError(f"--device {word}: {'; '.join(reasons)}")
    for line in reasons:
        say(line if usable else f"{ON_CPU}{line}")
    return usable or ("cpu",)


def data_dir_of(request_value: Path | None) -> Path:
    return request_value or Path(os.environ.get("BENCH_DATA_DIR") or "data")


def _documented(
    config: Config, request: Request, experiment: Experiment, spec: ModelSpec, say: Callable[[str], None]
) -> Inputs:
    """The recipe of an experiment, and the file of weights that it starts from."""
    if spec.track not in data.tracks_of(config.dataset):
        raise RequestError(
            f"--recipe {request.recipe} needs {experiment.dataset}: leave out --dataset {config.dataset}"
        )
    recipe, weights = experiment.recipe, None
    if experiment.weights is not None and "accuracy" in config.probes:
        weights = initial_weights(request.weights, experiment.weights, spec, data_dir_of(request.data_dir), say)
        recipe = replace(recipe, name=f"{recipe.name} from {weights.name if weights else 'random weights'}")
    return Inputs(recipes={spec.family: recipe}, initial_weights=weights)


def _check_test_images(config: Config, image_sets: Iterable[ImageSet]) -> None:
    """Check that every class has a test image."""
    for images in image_sets:
        if config.test_images is not None and config.test_images < (count := len(images.classes)):
            raise RequestError(
                f"--test-images {config.test_images}: {images.name} has {count} classes: at least as many"
            )


def _check_recipes(file: Path | None, inputs: Inputs, specs: Sequence[ModelSpec]) -> None:
    """Check that a file that was named now has a recipe for one of the networks, and as many channels as they."""
    families = dict.fromkeys(spec.family for spec in specs)
    if file and not families.keys() & inputs.recipes.keys():
        known = ", ".join(inputs.recipes) or "none"
        raise RequestError(f"--recipes {file}: has no recipe for {', '.join(families)}; it has {known}")
    for spec in specs:
        recipe = inputs.recipes.get(spec.family)
        channels = spec.input_size[0]
        if recipe and recipe.mean and len(recipe.mean) != channels:
            raise RequestError(
                f"the recipe of {spec.family} has {len(recipe.mean)} means for the {channels} channels of {spec.name}"
            )


def _with_classes_of_images(spec: ModelSpec, classes: int | None, request: Request) -> ModelSpec:
    """A network as every probe of the run builds it: with as many classes as the images of its track."""
    if classes is None:
        return spec
    if classes == spec.num_classes:
        return replace(spec, guessed_classes=False)
    if request.num_classes and ":" in spec.name:
        raise RequestError(
            f"--num-classes {request.num_classes}: {spec.name} is trained on images of {classes} classes; leave it out"
        )
    unpublished = replace(spec, params=None, params_source="", published_top1=None, published_source="")
    return replace(unpublished, num_classes=classes, guessed_classes=False)


@dataclass(frozen=True)
class Node:
    """What a node says of itself."""

    facts: accelerator.Facts
    has: frozenset[Precision]  # in what its devices compute


def join_cluster(request: Request) -> tuple[str, ...]:
    """Join the cluster; returns the kind of its devices: "cuda:0", as every task sees its own GPU, or "cpu".

    Raises:
        RequestError: a flag is of this machine alone, Ray is missing, or there is no such cluster or device.
    """
    if request.threads is not None:
        raise RequestError(f"--threads {request.threads}: only goes with --engine local")
    try:
        from bench.engines import ray
    except ImportError as error:
        if error.name != "ray":
            raise
        raise RequestError("--engine ray needs Ray, which is not installed: pip install 'ray>=2.40,<3'") from None
    try:
        ray.connect(request.ray_address)
    except ray.NoCluster as reason:
        asked = "--engine ray" if request.ray_address == "auto" else f"--ray-address {request.ray_address}"
        said = "" if request.ray_address == "auto" else f" ({reason})"  # Ray's own words name flags of its own
        raise RequestError(f"{asked}: there is no cluster{said}; `ray start --head` starts one") from None
    found = ray.kind_of_cluster()
    wanted = found if request.device == "auto" else request.device
    if wanted not in ("cpu", "cuda"):
        raise RequestError(f"--device {request.device}: a cluster gives all it has; write auto, cpu or cuda")
    if wanted == "cuda" and found == "cpu":
        raise RequestError("--device cuda: no node of the Ray cluster has a GPU")
    return ("cuda:0",) if wanted == "cuda" else ("cpu",)


def described_nodes(devices: tuple[str, ...]) -> Mapping[str, Node]:
    """What each node that has such devices says of itself, by the node's address.

    Raises:
        RequestError: the nodes differ in their versions.
    """
    from bench.engines import ray

    nodes: dict[str, Node] = ray.ask_every_node(_node, kind_of(devices))
    for key in _SAME:
        versions = {address: node.facts.get(key) for address, node in nodes.items()}
        if len(set(versions.values())) > 1:
            told = ", ".join(f"{version} on {address}" for address, version in versions.items())
            raise RequestError(f"the nodes of the Ray cluster have different versions of {key}: {told}")
    return nodes


def _node(device: str) -> Node:
    (has,) = execution.arithmetics([device]).values()
    return Node(environment.describe(device), has)


def arithmetics_of(nodes: Mapping[str, Node]) -> execution.Arithmetics:
    """In what the device of each node computes."""
    return {f"{address} ({node.facts['device']})": node.has for address, node in nodes.items()}


def facts_of(nodes: Mapping[str, Node]) -> accelerator.Facts:
    """The facts of a node; `device` names the hardware of all."""
    about = next(iter(nodes.values())).facts
    return {**about, "device": " and ".join(sorted({str(node.facts["device"]) for node in nodes.values()}))}


def kind_of(devices: tuple[str, ...]) -> Literal["cpu", "cuda"]:
    return "cpu" if devices == ("cpu",) else "cuda"
