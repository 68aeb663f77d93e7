"""From a request to a run folder: everything that can be wrong with a request is found here, before any work."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from bench import data, models
from bench.config import Config, Inputs, RequestError, Task, Track
from bench.data import ImageSet
from bench.data.cache import cache_dir_of, preview_sheet
from bench.device import accelerator, environment, execution
from bench.device.peaks import vendor_named
from bench.engines.engine import EngineLost, Executor
from bench.engines.local import LocalMachine
from bench.metrics import PROBES
from bench.models import ModelSpec
from bench.probes import refusal
from bench.records.files import write_atomically
from bench.records.record import Record
from bench.records.run_folder import Run, RunError, checked_name, run_names, unused_name
from bench.runner import beside, cluster, execute, progress, resume
from bench.runner.beside import Said
from bench.runner.estimate import LIMITS_S, Counts, Estimate, Pace, counted_kernels, estimate, speed_of
from bench.runner.interrupts import Interrupts
from bench.runner.plan import plan, remaining
from bench.runner.request import Request, parse_input_size, resolve
from bench.training import recipes
from bench.training.experiments import Experiment
from bench.training.schedule import require_tensorboard
from bench.training.weights import initial_weights

ON_CPU = "MEASURING ON THE CPU: "


@dataclass(frozen=True)
class Prepared:
    """A request that has been found good: nothing is left to decide, nothing has been measured."""

    request: Request
    config: Config
    inputs: Inputs
    specs: tuple[ModelSpec, ...]
    devices: tuple[str, ...]
    nodes: Mapping[str, cluster.Node] = field(default_factory=dict)  # of a cluster, by address


def prepare(
    request: Request, probes: tuple[str, ...], say: Callable[[str], None], given: Sequence[ModelSpec] = ()
) -> Prepared:
    """Check a request and decode its images; what a resumed run was asked before fills in what is not said now.

    The networks are those that the request names, or the `given` ones.

    Raises:
        RequestError, UnknownModel, RunError: the request is wrong; one line says what to do.
    """
    if request.run is not None:
        request = resume.continued(request)
    named = vendor_named(request.on) if request.on else None
    devices = cluster.join(request) if request.engine == "ray" else devices_for("cpu" if named else request.device, say)
    nodes = cluster.described(devices) if request.engine == "ray" else {}
    can = cluster.of_all(nodes) if nodes else execution.arithmetics(devices)
    has = named.tflops.keys() if named else set.intersection(*map(set, can.values()))
    config, patterns = resolve(request, probes, "cuda" if named else devices[0].partition(":")[0], "bf16" in has)
    if not named:
        execution.check(config.execution, can)
    if request.threads is not None:
        torch.set_num_threads(request.threads)  # as in the workers, so that the run says what it was measured with
    for line in environment.company(devices if not nodes else ()):
        say(line)
    experiment = request.experiment
    if given:
        specs, config = tuple(given), replace(config, counted=())
    elif experiment:
        specs = (experiment.spec(),)
    else:
        specs = tuple(models.select(patterns, parse_input_size(request.input_size), request.num_classes))
    data.check_name(config.dataset)
    if not request.dry_run:
        _require_writable(request.results_dir)
    if request.tensorboard:
        require_tensorboard()
    inputs = Inputs(recipes=recipes.read_recipes(request.recipes) if request.recipes else {})
    if experiment:
        inputs = _documented(config, request, experiment, specs[0], say)
    _check_channels(inputs, specs)
    tracks = {spec.track for spec in specs} & set(data.tracks_of(config.dataset))
    if any(PROBES[probe].trains for probe in config.probes):
        inputs = replace(inputs, image_sets=_image_sets(request, config.dataset, sorted(tracks), say))
    classes = resume.classes(request) | {track: len(images.classes) for track, images in inputs.image_sets.items()}
    specs = tuple(_with_classes_of_images(spec, classes.get(spec.track), request) for spec in specs)
    return Prepared(request, config, inputs, specs, devices, nodes)


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
        facts = cluster.facts(prepared.nodes) if prepared.nodes else environment.describe(prepared.devices[0])
    now = datetime.now().astimezone()
    wish = f"{now:%Y%m%d-%H%M%S}-{facts['device_kind']}-{config.preset}"
    name = checked_name(request.run) if request.run else unused_name(request.results_dir, wish)
    header = resume.new_header(name, now, command, prepared, facts)
    run = Run(request.results_dir / name, header)
    with run.claimed():  # before anything in it is read or changed
        if name in run_names(request.results_dir):
            header = resume.merged(Run.open(request.results_dir, name).header, header, request.force)
        run.rewrite_header(header)
        yield run


def preview(prepared: Prepared, command: Sequence[str]) -> Estimate:
    """What a run would do and about how long it takes; nothing is kept, and nothing measured but the device's limits.

    Raises:
        RequestError: nothing is known of the device that --on names.
    """
    request = prepared.request
    with tempfile.TemporaryDirectory() as folder, Interrupts() as interrupts:
        if request.run is not None and request.run in run_names(request.results_dir):
            copy = Path(folder, request.run)
            copy.mkdir()
            for name in ("run.json", "records.jsonl"):
                shutil.copy(request.results_dir / request.run / name, copy)
        elsewhere = replace(prepared, request=replace(request, results_dir=Path(folder)))
        with open_run(elsewhere, command) as run:
            todo, _ = _todo(prepared, run)
            limits = any("throughput" in task.probes for task in todo)
            if not request.on:
                precision = prepared.config.execution.precision
                beside.keep_limits(run, _executor(prepared, run), prepared.devices, precision, interrupts)
            pace = _pace(prepared, run, todo, interrupts)
            return estimate(todo, pace, prepared.config, before={"limits": LIMITS_S} if limits else {})


def work(prepared: Prepared, run: Run) -> int:
    """Measure what the run lacks; returns how many of its rows are failed, out of memory or timed out.

    First come the counts and what the device can do; on a shared CPU the first round of timings too. With them the run
    says what it will do and how long that takes, and leaves out what takes too long. Under a time limit it reckons
    again as it goes on.
    """
    start = time.monotonic()
    config = prepared.config
    todo, refused = _todo(prepared, run)
    with run.writer() as writer:
        writer.append(refused)
    executor = _executor(prepared, run)
    idle = any("energy" in task.probes for task in todo)
    measured = [task for task in todo if not PROBES[task.probes[0]].trains]
    # On a shared CPU nobody knows before the first round of timings which trainings there is time for.
    undecided = "trainings" if measured and measured != todo and not config.dedicated else ""
    here = prepared.request.engine == "local"  # the state of this machine says nothing about a cluster's
    with (
        Interrupts() as interrupts,
        progress.Display(measured if undecided else todo, Pace(config), more_to_come=undecided) as display,
        beside.conditions_kept(run, prepared.devices, idle) if todo and here else nullcontext(Said()) as said,
    ):

        def measure(tasks: Sequence[Task]) -> None:
            execute.run_tasks(run, tasks, executor, config.task_timeout_s, display.started, display.ended, interrupts)

        def measure_what_fits(tasks: Sequence[Task], pace: Pace, later: Sequence[Task] = (), then: str = "") -> None:
            reckoned = estimate(tasks, pace, config, time.monotonic() - start)
            display.expect([*reckoned.tasks, *later], pace, then)
            _keep_left_out(run, reckoned)
            while reckoned.tasks:
                most = tasks_until_the_clock_is_looked_at(reckoned.tasks, config, len(prepared.devices))
                measure(reckoned.tasks[:most])
                # What has taken longer than was reckoned leaves less of --time-limit to the rest.
                reckoned = estimate(reckoned.tasks[most:], pace, config, time.monotonic() - start)
                if reckoned.left_out:
                    _keep_left_out(run, reckoned)
                    display.expect([*reckoned.tasks, *later], pace, then)
                    display.say(reckoned.omissions)

        try:
            measure([task for task in todo if PROBES[task.probes[0]].when in ("static", "forecast")])
            _keep_samples(run, prepared.inputs.image_sets)
            suite = [spec for spec in prepared.specs if spec.name in models.REGISTRY]
            beside.keep_descriptions(run, executor, suite, interrupts)
            if any("throughput" in task.probes for task in todo):  # what is compared with the limits
                beside.keep_limits(run, executor, prepared.devices, config.execution.precision, interrupts)
            pace = _pace(prepared, run, todo, interrupts)
            if not config.dedicated:  # what trainings are held against is timed, not guessed in a busy moment
                todo, _ = _todo(prepared, run, pace)
                first = [task for task in todo if PROBES[task.probes[0]].when == "rounds" and not task.round]
                known = {task.label for task in first}
                later = [task for task in todo if task.label not in known and not PROBES[task.probes[0]].trains]
                measure_what_fits(first, pace, later, undecided)
                pace = _pace(prepared, run, todo, interrupts)
            todo, _ = _todo(prepared, run, pace)
            if todo:
                reckoned = estimate(todo, pace, config, time.monotonic() - start)
                display.say(str(reckoned))
                said.predicted, said.taken = reckoned.phases, pace.taken
            measure_what_fits(todo, pace)
            beside.keep_descriptions(run, executor, _harmless(prepared.specs, run), interrupts)
        except EngineLost as reason:
            raise RunError(f"{reason}; what was measured is kept, and --run {run.name} goes on") from reason
    return sum(record.failed for record in run.records())


def _todo(prepared: Prepared, run: Run, pace: Pace | None = None) -> tuple[list[Task], list[Record]]:
    """The tasks that a run lacks, and the rows of those that say without a device why they do not apply."""
    inputs = replace(prepared.inputs, checkpoints=run.folder.absolute() / "checkpoints")
    tasks = plan(prepared.specs, prepared.config, inputs, pace)
    left = remaining(tasks, run.records(), prepared.request.retry_failed)
    reasons = [refusal(replace(task, device=prepared.devices[0])) for task in left]
    rows = [row for task, why in zip(left, reasons, strict=True) if why for row in execute.skipped(task, why)]
    return [task for task, why in zip(left, reasons, strict=True) if not why], rows


def _pace(prepared: Prepared, run: Run, todo: Sequence[Task], interrupts: Interrupts) -> Pace:
    """What is known by now of how long things take here, or on the device that --on names."""
    config, request = prepared.config, prepared.request
    images = {track: Counts(each.train_count, each.test_count) for track, each in prepared.inputs.image_sets.items()}
    speed = speed_of(config, run.header.limits.values(), vendor_named(request.on) if request.on else None)
    kernels = {}
    if request.dry_run or config.dedicated:  # elsewhere, what was timed in the first round says more
        specs = list({task.spec.name: task.spec for task in todo if not task.static}.values())
        executor = _executor(prepared, run)
        kernels = counted_kernels(executor, specs, config, prepared.inputs, interrupts) if speed else {}
    return Pace(config, images, run.records(), kernels, speed, len(prepared.devices))


def tasks_until_the_clock_is_looked_at(tasks: Sequence[Task], config: Config, devices: int) -> int:
    """All without a time limit; else one, or a few for each of several devices, which do not wait for each other after
    every task. What is measured of a network in one process is not torn apart; trainings are, as they take long."""
    if config.time_limit_s is None:
        return len(tasks)
    most = min(1 if devices == 1 else 4 * devices, len(tasks))
    trained = PROBES[tasks[most - 1].probes[0]].when == "seeds"
    while most < len(tasks) and tasks[most].group == tasks[most - 1].group and not trained:
        most += 1
    return most


def _keep_left_out(run: Run, reckoned: Estimate) -> None:
    """Write the rows of what is not done, unless they are there with the same words."""
    known = {(record.key, record.note) for record in run.records()}
    rows = [row for each in reckoned.left_out for row in execute.left_out(each.task, each.reason)]
    with run.writer() as writer:
        writer.append([row for row in rows if (row.key, row.note) not in known])


def _keep_samples(run: Run, image_sets: Mapping[str, ImageSet]) -> None:
    for track, image_set in image_sets.items():
        path = run.samples_path(track, image_set.name)
        if path.exists():
            continue
        # They only illustrate: whether the images are sound, who trains on them finds out.
        with suppress(OSError, ValueError):
            write_atomically(path, preview_sheet(image_set))


def _harmless(specs: Sequence[ModelSpec], run: Run) -> list[ModelSpec]:
    """A user's own networks of which something could be measured: no other is worth the wait for its description."""
    measured = {record.model for record in run.records() if record.status == "ok"}
    return [spec for spec in specs if spec.name not in models.REGISTRY and spec.name in measured]


def _executor(prepared: Prepared, run: Run) -> Executor[Any, Any]:
    gib, request = prepared.request.task_memory_gib, prepared.request
    memory_limit = None if gib is None else int(gib * 2**30)
    if request.engine == "ray":
        return cluster.executor(prepared.devices, prepared.inputs, memory_limit, request.cache_dir)
    preload = execute.preload_for(prepared.specs)
    return LocalMachine(prepared.devices, run.folder / "workers.log", preload, memory_limit, request.threads)


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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own, of which the lines below say more
        count = known.count()
        unusable = {f"{kind}:{n}": accelerator.named(f"{kind}:{n}").unusable() for n in range(count)}
    if not count:
        reason = known.why_none()
        if word != "auto":
            raise RequestError(f"--device {word}: {reason or f'PyTorch sees no {kind.upper()} device here'}")
        if reason and "hides" not in reason:
            say(f"{ON_CPU}{reason}")
        return ("cpu",)
    if index:
        if int(index) >= count:
            raise RequestError(
                f"--device {word}: there are {count} {kind.upper()} devices, {kind}:0 to {kind}:{count - 1}"
            )
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
    """The recipe of an experiment, and the file of weights that it starts from.

    Raises:
        RequestError: the images are of another kind, or the weights cannot be had or are of another network.
    """
    if spec.track not in data.tracks_of(config.dataset):
        raise RequestError(
            f"--recipe {request.recipe} needs {experiment.dataset}: leave out --dataset {config.dataset}"
        )
    recipe, weights = experiment.recipe, None
    if experiment.weights is not None and "accuracy" in config.probes:
        weights = initial_weights(request.weights, experiment.weights, spec, data_dir_of(request.data_dir), say)
        recipe = replace(recipe, name=f"{recipe.name} from {weights.name if weights else 'random weights'}")
    return Inputs(recipes={spec.family: recipe}, initial_weights=weights)


def _check_channels(inputs: Inputs, specs: Sequence[ModelSpec]) -> None:
    """Check that recipes and networks have as many channels.

    Raises:
        RequestError: a recipe normalises another number of channels than a network of its family takes.
    """
    for spec in specs:
        recipe = inputs.recipes.get(spec.family)
        channels = spec.input_size[0]
        if recipe and recipe.mean and len(recipe.mean) != channels:
            raise RequestError(
                f"the recipe of {spec.family} has {len(recipe.mean)} means for the {channels} channels of {spec.name}"
            )


def _with_classes_of_images(spec: ModelSpec, classes: int | None, request: Request) -> ModelSpec:
    """A network as every probe of the run builds it: with as many classes as the images that its track is trained on.

    Raises:
        RequestError: --num-classes asks for another number.
    """
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


def _image_sets(
    request: Request, dataset: str, tracks: Sequence[Track], say: Callable[[str], None]
) -> Mapping[str, ImageSet]:
    data_dir, cache_dir = data_dir_of(request.data_dir), cache_dir_of(request.cache_dir)
    return {track: data.prepare(dataset, track, data_dir, cache_dir, say) for track in tracks}


def _require_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise RequestError(f"cannot write to {folder}: {error.strerror}; choose another --results-dir") from None
