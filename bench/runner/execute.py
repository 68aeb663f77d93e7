"""The work of a run: its tasks in worker processes, and every outcome written down.

`work` decides what is done when, `run_tasks` hands tasks to an engine, and `execute` is what a worker does with one. It
holds the only broad `except` of a run: a network that fails in any way becomes a row with the reason.
"""

from __future__ import annotations

import contextlib
import gc
import io
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from bench import models
from bench.config import Config, Execution, Task
from bench.data.cache import preview_sheet
from bench.data.image_set import ImageSet
from bench.device import accelerator, environment
from bench.device.execution import CaptureFailed, failed_capture, is_out_of_memory, release_memory, settings_kept
from bench.device.peaks import measure_limits, vendor_named
from bench.engines import Crash, EngineLost, Executor, Interrupts, Stop
from bench.engines.local import LocalMachine
from bench.metrics import METRICS, PROBES, Flag, metrics_of
from bench.models import ModelSpec
from bench.probes import MEASURE, refusal
from bench.probes.counting.networks import with_own_classes
from bench.probes.reading import Answer, Measurement, TableRows, Unsupported
from bench.quantity import first_line, joined
from bench.records.record import Record, Status
from bench.records.run_folder import Run, RunError, run_names, write_atomically
from bench.runner.header import open_run
from bench.runner.kept import keep_descriptions, keep_faster_limits, keep_limits, session_kept
from bench.runner.plan import (
    LIMITS_S,
    Estimate,
    ImageCounts,
    LeftOut,
    Pace,
    counted_kernels,
    estimate,
    plan,
    remaining,
    speed_of,
)
from bench.runner.prepare import Prepared, kind_of
from bench.runner.progress import Display
from bench.training.recipes import recipe_for
from bench.training.schedule import write_events
from bench.training.weights import checkpoint_path

# What every worker needs. The first elementwise operation on the meta device imports PyTorch's shape functions, 800
# modules with sympy among them, by way of this one; that takes longer than most networks take to be counted.
PRELOAD = ("torch._dynamo.utils", "scipy.stats", __name__)


def preload_for(specs: Sequence[ModelSpec]) -> tuple[str, ...]:
    """The modules that workers start with: what all need, and the libraries that networks come from.

    timm takes seconds to import, ten times as long as a network takes to be counted.
    """
    return (*PRELOAD, *sorted({spec.family for spec in specs if ":" in spec.name} & {"timm", "torchvision"}))


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
                keep_limits(run, _executor(prepared, run), prepared.devices, precision, interrupts)
            pace = _pace(prepared, run, todo, interrupts)
            return estimate(todo, pace, prepared.config, before={"limits": LIMITS_S} if limits else {})


def work(prepared: Prepared, run: Run) -> int:
    """Measure what the run lacks; returns how many of its rows are failed, out of memory or timed out.

    First come the counts and what the device can do; on a shared CPU the first round of timings too. With them the run
    says what it will do and how long that takes, and leaves out what takes too long. Under a time limit it reckons
    again as it goes on.
    """
    start = time.monotonic()
    todo, refused = _todo(prepared, run)
    with run.writer() as writer:
        writer.append(refused)
    executor = _executor(prepared, run)
    idle = any("energy" in task.probes for task in todo)
    measured = [task for task in todo if not PROBES[task.probes[0]].trains]
    # On a shared CPU nobody knows before the first round of timings which trainings there is time for.
    undecided = "trainings" if measured and measured != todo and not prepared.config.dedicated else ""
    here = prepared.request.engine == "local"  # the state of this machine says nothing about a cluster's
    with (
        Interrupts() as interrupts,
        Display(measured if undecided else todo, Pace(prepared.config), more_to_come=undecided) as display,
        session_kept(run, prepared.devices, idle)
        if todo and here
        else nullcontext(dict[str, Mapping[str, float]]()) as said,
    ):
        for why in dict.fromkeys(row.note for row in refused) if not todo else ():  # nothing else will say so
            display.say(f"skipped: {why}")
        try:
            _Work(prepared, run, executor, display, interrupts, start).do(todo, undecided, said)
        except EngineLost as reason:
            raise RunError(f"{reason}; what was measured is kept, and --run {run.name} goes on") from reason
    return sum(record.failed for record in run.records())


@dataclass(frozen=True)
class _Work:
    """One start of a run at work."""

    prepared: Prepared
    run: Run
    executor: Executor
    display: Display
    interrupts: Interrupts
    start: float  # by `time.monotonic`

    def do(self, todo: Sequence[Task], undecided: str, said: dict[str, Mapping[str, float]]) -> None:
        """All phases in their order.

        `undecided` is what the first round of timings decides on. `said` gets the seconds by phase, "predicted" and, as
        it goes on, "taken".
        """
        prepared, run, config = self.prepared, self.run, self.prepared.config
        self.measure([task for task in todo if PROBES[task.probes[0]].when in ("static", "forecast")])
        _keep_sheets(run, prepared.inputs.image_sets)
        suite = [spec for spec in prepared.specs if spec.name in models.REGISTRY]
        keep_descriptions(run, self.executor, suite, self.interrupts)
        if any("throughput" in task.probes for task in todo):  # what is compared with the limits
            keep_limits(run, self.executor, prepared.devices, config.execution.precision, self.interrupts)
        pace = _pace(prepared, run, todo, self.interrupts)
        if not config.dedicated:  # what trainings are held against is timed, not guessed in a busy moment
            todo, _ = _todo(prepared, run, pace)
            first = [task for task in todo if PROBES[task.probes[0]].when == "rounds" and not task.round]
            known = {task.label for task in first}
            later = [task for task in todo if task.label not in known and not PROBES[task.probes[0]].trains]
            self.measure_what_fits(first, pace, later, undecided)
            pace = _pace(prepared, run, todo, self.interrupts)
        todo, _ = _todo(prepared, run, pace)
        if todo:
            reckoned = estimate(todo, pace, config, time.monotonic() - self.start)
            self.display.say(str(reckoned))
            said |= {"predicted": reckoned.phases, "taken": pace.taken}
        self.measure_what_fits(todo, pace)
        # Of a user's own networks those of which something could be measured: no other is worth the wait.
        able = {record.model for record in run.records() if record.status == "ok"}
        own = [spec for spec in prepared.specs if spec.name not in models.REGISTRY and spec.name in able]
        keep_descriptions(run, self.executor, own, self.interrupts)

    def measure(self, tasks: Sequence[Task]) -> None:
        timeout_s, display = self.prepared.config.task_timeout_s, self.display
        run_tasks(self.run, tasks, self.executor, timeout_s, display.started, display.ended, self.interrupts)

    def measure_what_fits(self, tasks: Sequence[Task], pace: Pace, later: Sequence[Task] = (), then: str = "") -> None:
        """Measure what there is time for, reckoned again after each task that is over.

        What has taken longer than was reckoned leaves less of --time-limit to the rest; what has taken less lets
        something in that had been left out.
        """
        config, rest, known = self.prepared.config, list(tasks), set[int]()
        while True:
            reckoned = estimate(rest, pace, config, time.monotonic() - self.start)
            self.display.expect([*reckoned.tasks, *later], pace, then)
            if new := tuple(each for each in reckoned.left_out if id(each.task) not in known):
                _keep_left_out(self.run, new)
                if len(rest) < len(tasks):  # what is left out from the beginning is said with the whole estimate
                    self.display.say(replace(reckoned, left_out=new).omissions)
                known |= {id(each.task) for each in new}
            if not reckoned.tasks:
                break
            most = tasks_until_next_estimate(reckoned.tasks, config, len(self.prepared.devices))
            self.measure(reckoned.tasks[:most])
            done = set(map(id, reckoned.tasks[:most]))
            rest = [task for task in rest if id(task) not in done]


def _todo(prepared: Prepared, run: Run, pace: Pace | None = None) -> tuple[list[Task], list[Record]]:
    """The tasks that a run lacks, and the rows of those that say without a device why they do not apply."""
    inputs = replace(prepared.inputs, checkpoints=run.folder.absolute() / "checkpoints")
    tasks = plan(prepared.specs, prepared.config, inputs, pace)
    left = remaining(tasks, run.records(), prepared.request.retry_failed)
    reasons = [refusal(replace(task, device=prepared.devices[0])) for task in left]
    rows = [row for task, why in zip(left, reasons, strict=True) if why for row in without_value(task, why)]
    return [task for task, why in zip(left, reasons, strict=True) if not why], rows


def _pace(prepared: Prepared, run: Run, todo: Sequence[Task], interrupts: Interrupts) -> Pace:
    """What is known by now of how long things take here, or on the device that --on names."""
    config, request = prepared.config, prepared.request
    sets = prepared.inputs.image_sets.items()
    images = {track: ImageCounts(each.train_count, each.test_count) for track, each in sets}
    speed = speed_of(config, run.header.limits.values(), vendor_named(request.on) if request.on else None)
    kernels = {}
    if request.dry_run or config.dedicated:  # elsewhere, what was timed in the first round says more
        specs = list({task.spec.name: task.spec for task in todo if not task.static}.values())
        executor = _executor(prepared, run)
        kernels = counted_kernels(executor, specs, config, prepared.inputs, interrupts) if speed else {}
    return Pace(config, images, run.records(), kernels, speed, len(prepared.devices))


def tasks_until_next_estimate(tasks: Sequence[Task], config: Config, devices: int) -> int:
    """All without a time limit; else one, or a few for each of several devices, which do not wait for each other after
    every task. What is measured of a network in one process is not torn apart; trainings are, as they take long."""
    if config.time_limit_s is None:
        return len(tasks)
    most = min(1 if devices == 1 else 4 * devices, len(tasks))
    trained = PROBES[tasks[most - 1].probes[0]].when == "seeds"
    while most < len(tasks) and tasks[most].group == tasks[most - 1].group and not trained:
        most += 1
    return most


def _keep_left_out(run: Run, tasks: Iterable[LeftOut]) -> None:
    known = {(record.key, record.note) for record in run.records()}
    rows = [row for each in tasks for row in without_value(each.task, each.reason, flags=("left_out",))]
    with run.writer() as writer:
        writer.append([row for row in rows if (row.key, row.note) not in known])


def _keep_sheets(run: Run, image_sets: Mapping[str, ImageSet]) -> None:
    for track, image_set in image_sets.items():
        path = run.sheet_path(track, image_set.name)
        if path.exists():
            continue
        # They only illustrate: whether the images are sound, a training finds out.
        with contextlib.suppress(OSError, ValueError):
            write_atomically(path, preview_sheet(image_set))


def _executor(prepared: Prepared, run: Run) -> Executor:
    gib, request = prepared.request.task_memory_gib, prepared.request
    memory_limit = None if gib is None else int(gib * 2**30)
    if request.engine == "ray":
        from bench.engines import ray  # here alone, and only when a run asks for it

        images = {image_set.sha256: image_set for image_set in prepared.inputs.image_sets.values()}
        kind = kind_of(prepared.devices)
        return ray.RayCluster(kind, tuple(images.values()), relocated, PRELOAD, memory_limit, request.cache_dir)
    preload = preload_for(prepared.specs)
    return LocalMachine(prepared.devices, run.folder / "workers.log", preload, memory_limit, request.threads)


@dataclass(frozen=True)
class Outcome:
    """What a task brought back: its rows, and the tables that its probes made beside them."""

    records: tuple[Record, ...]
    tables: Mapping[str, TableRows] = field(default_factory=dict)  # as in `Measurement`
    limits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by device: what it can do, if measured
    again: Task | None = None  # what is left to be done in a fresh process, as this one cannot go on

    @property
    def failed(self) -> bool:
        return self.again is not None or any(record.failed for record in self.records)


@contextmanager
def only_new_garbage() -> Iterator[None]:
    """Let the collector look at what is made from here on: a look through PyTorch takes longer than a count."""
    mine = gc.get_freeze_count() == 0  # else the caller of `bench.measure` has frozen what there was before
    if mine:
        gc.freeze()
    try:
        yield
    finally:
        if mine:
            gc.unfreeze()


@only_new_garbage()
def execute(task: Task, device: str) -> Outcome:
    """Run one task here and now. Never raises: whatever goes wrong is in the rows."""
    records: list[Record] = []
    tables: dict[str, TableRows] = {}
    with settings_kept():
        task = replace(task, device=device, spec=with_own_classes(task.spec))
    for number, probe in enumerate(task.probes):
        start, hardware = time.perf_counter(), ""
        try:
            accelerator.choose(device)
            hardware = "" if task.static else environment.hardware(device)  # while it answers
            with settings_kept():
                measurement = MEASURE[probe](task)
        except CaptureFailed:
            measurement = Measurement({})
        except Exception as error:
            measurement = Measurement(dict.fromkeys(task.metrics(probe), error))
        except SystemExit as stop:
            ended = RuntimeError(f"the network ends the program that runs it: exit({stop})")
            measurement = Measurement(dict.fromkeys(task.metrics(probe), ended))
        if reason := failed_capture():
            graphless = task.with_execution(replace(task.config.execution, cuda_graphs=False))
            again = replace(graphless, probes=task.probes[number:], without_graphs=reason)
            return Outcome(tuple(records), tables, again=again)
        seconds = time.perf_counter() - start
        records += [
            replace(_record(task, probe, metric, measurement.readings[metric], seconds), hardware=hardware)
            for metric in sorted(measurement.readings, key=metrics_of(probe).index)
        ]
        release_memory()  # the next probe may follow in this process
        tables |= measurement.tables
        if measurement.left:
            left = replace(task, probes=task.probes[number:], only=measurement.left)
            return Outcome(tuple(records), tables, again=left)
    return Outcome(tuple(records), tables, _limits(task) if task.with_peak else {})


def _limits(task: Task) -> Mapping[str, Mapping[str, Any]]:
    """What the task's device can do by now; nothing if that cannot be measured, as an earlier measurement stands."""
    with contextlib.suppress(Exception):
        return {task.device: measure_limits(task.config.execution.precision, task.device)}
    return {}


def run_tasks(
    run: Run,
    tasks: Sequence[Task],
    executor: Executor,
    timeout_s: float | None,
    on_start: Callable[[Task, str], object],
    on_end: Callable[[Task, Outcome], object],
    stop: Stop | None = None,
) -> None:
    """Execute the tasks and append their rows to the run, each as soon as it is there.

    Static tasks go first and use every processor; then each device works on one task at a time, and nothing else runs.

    Raises:
        KeyboardInterrupt: `stop` was requested; everything that had ended by then is written.
    """
    whole: dict[str, Task] = {}  # by the label of what is left of it

    def begun(task: Task, device: str) -> None:
        on_start(whole.get(task.label, task), device)

    with run.writer() as writer:
        for part in ([task for task in tasks if task.static], [task for task in tasks if not task.static]):
            while part:
                again: list[Task] = []  # what is left of some, for processes that are new
                here = executor.run(execute, part, timeout_s, begun, stop, needs_device=not part[0].static)
                with closing(here) as ended:
                    for task, outcome in ended:
                        if isinstance(outcome, Crash):
                            outcome = crashed(task, outcome)
                        _keep_tables(run, task, outcome.tables)
                        keep_faster_limits(run, outcome.limits)
                        writer.append(outcome.records)
                        if outcome.again is not None:
                            again.append(outcome.again)
                            whole[outcome.again.label] = whole.get(task.label, task)
                            continue
                        _drop_checkpoint(task, outcome)
                        on_end(whole.get(task.label, task), outcome)
                part = again
            if stop is not None and stop.requested:
                raise KeyboardInterrupt


def _drop_checkpoint(task: Task, outcome: Outcome) -> None:
    """Remove the checkpoint of a training whose rows are written, unless it failed and may be tried again."""
    folder = task.inputs.checkpoints
    if folder is None or PROBES[task.probes[0]].when != "seeds" or any(record.failed for record in outcome.records):
        return
    checkpoint_path(folder, task.spec.name, task.seed, str(task.budget)).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # others are in it
        folder.rmdir()


def _keep_tables(run: Run, task: Task, tables: Mapping[str, TableRows]) -> None:
    """Write each atomically, before the records that belong to it."""
    for folder, rows in tables.items():
        if not rows:
            continue
        path = run.table_path(folder, task.spec.name, "" if folder == "layers" else task.curve_kind)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        pd.DataFrame(rows).to_parquet(content)
        write_atomically(path, content.getvalue())
        if folder == "curves" and task.config.tensorboard and PROBES[task.probes[0]].when == "seeds":
            write_events(rows, run.events_path(task.spec.name, task.curve_kind))


def relocated(task: Any, image_sets: Mapping[str, ImageSet]) -> Any:
    """A task as it is on another machine, whose image sets are given by SHA-256; a task of another kind stays as it is.

    Checkpoints are only kept where the machine sees the run's folder.
    """
    if not isinstance(task, Task):
        return task
    inputs = task.inputs
    here = {track: image_sets.get(image_set.sha256, image_set) for track, image_set in inputs.image_sets.items()}
    shared = inputs.checkpoints is not None and inputs.checkpoints.parent.exists()
    return replace(task, inputs=replace(inputs, image_sets=here, checkpoints=inputs.checkpoints if shared else None))


def without_value(
    task: Task, reason: str, status: Status = "skipped", seconds: float = 0.0, flags: tuple[Flag, ...] = ()
) -> tuple[Record, ...]:
    """The rows of a task that does not apply, is left out or has crashed: one per metric, with the reason why."""
    blanks = [_blank(task, probe, metric, seconds) for probe in task.probes for metric in task.metrics(probe)]
    return tuple(replace(blank, status=status, note=reason, flags=flags) for blank in blanks)


def crashed(task: Task, crash: Crash) -> Outcome:
    """What a task brought back that crashed its process or took too long."""
    return Outcome(without_value(task, crash.reason, crash.kind, crash.seconds))


# Errors of tensors of two types, in PyTorch's words, and what to do about them.
_OF_TWO_TYPES = ("have the same dtype", "expected scalar type", "Input type (")
_CAST = "; weights are of the type that --precision says: let forward cast to theirs, as x.to(weight.dtype) does"


def _record(task: Task, probe: str, metric: str, reading: Answer, seconds: float) -> Record:
    """The row of one metric, as the probe read it."""
    blank = _blank(task, probe, metric, seconds)
    if isinstance(reading, Unsupported):
        return replace(blank, status="skipped", note=str(reading))
    if isinstance(reading, Exception):
        status: Status = "oom" if is_out_of_memory(reading) else "failed"
        note = f"{type(reading).__name__}: {first_line(reading)}"
        return replace(blank, status=status, note=note + _CAST * any(words in note for words in _OF_TWO_TYPES))
    row = replace(blank, **vars(reading), status="ok")
    row = row if reading.memory_format else replace(row, memory_format=blank.memory_format)
    if not all(map(math.isfinite, (reading.value, *reading.samples))):
        return replace(row, value=None, status="failed", note=f"the value is {reading.value}", samples=(), flags=())
    tried = f"no CUDA graph: its capture failed ({task.without_graphs}), so this is a fresh process"
    return replace(row, note=joined(reading.note, tried)) if task.without_graphs else row


def _blank(task: Task, probe: str, metric: str, seconds: float) -> Record:
    """What is known of a row before its value; an accuracy row carries its images and budget even if it failed."""
    kind = PROBES[probe]
    image_set = task.inputs.image_sets.get(task.spec.track) if kind.trains else None
    execution = Execution() if kind.precision == "fp32" else task.config.execution
    return Record(
        model=task.spec.name,
        probe=probe,
        metric=metric,
        value=None,
        unit=METRICS[metric].unit,
        status="failed",
        seconds=round(seconds, 3),
        seed=task.seed,
        round=task.round,
        precision=execution.precision,
        memory_format=execution.memory_format,
        compile=execution.compile,
        compile_mode=execution.compile_mode,
        dataset=image_set.name if image_set else None,
        budget=str(task.budget) if kind.trains else None,
        recipe=str(recipe_for(task.spec.family, task.inputs.recipes)) if kind.when == "seeds" and image_set else None,
    )
