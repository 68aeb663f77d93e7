"""Plan a run, leave out what is already measured, execute the rest, and write down every outcome.

`execute` holds the only broad `except` of a run: a network that fails in any way becomes a row with the reason.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from bench import environment
from bench.config import Config, Execution
from bench.data.image_set import ImageSet
from bench.engines.engine import Crash, Stop, Workplace
from bench.execution import choose
from bench.metrics import METRICS, metrics_of
from bench.out_of_memory import is_out_of_memory
from bench.probes import PROBES
from bench.probes.reading import Reading, Unsupported
from bench.record import Record, RecordKey, Status
from bench.run_folder import Run
from bench.tensorboard import write_events
from bench.training.checkpoint import checkpoint_path
from bench.training.recipe_file import recipes_of
from bench.training.recipes import recipe_for
from bench.training.tuning import smallest_of_families
from models import REGISTRY
from models.spec import ModelSpec

# Of the network as its paper has it, however it runs.
COUNTS = ("params", "macs", "macs_fvcore", "activations", "saved_activation_bytes")
IN_FP32 = (*COUNTS, "gradient_flow")  # whatever the precision of the run
STATIC = (*COUNTS, "traffic")  # need no device
ROUNDED = ("throughput", "latency")  # measured in several rounds over all networks
SEEDED = ("accuracy",)  # measured once per seed; every other probe has one answer
TUNING = "tuning"  # before what is seeded, on one network of each family

PRELOAD = ("bench.probes.preload", __name__)  # what every worker needs


@dataclass(frozen=True)
class Task:
    """Probes of one network that are measured in one go: the static ones, those of a round, every other one alone."""

    spec: ModelSpec
    probes: tuple[str, ...]
    seed: int
    config: Config
    round: int = 0

    @property
    def static(self) -> bool:
        return self.probes[0] in STATIC

    @property
    def group(self) -> str:
        """What may share a process: the counts of the suite's own networks. Every other task has a fresh one, so that a
        measurement finds the device as new, and nobody's network meets what another has left behind."""
        own = self.static and self.spec.name in REGISTRY
        return "counts of networks of the suite" if own else f"{self.label}, round {self.round}"

    @property
    def label(self) -> str:
        what = "counts" if self.static and len(self.probes) > 1 else " and ".join(self.probes)
        seed = f" (seed {self.seed})" if self.seed else ""
        budget = f" under {self.config.budget}" if self._is_under_another_budget else ""
        return f"{self.spec.name} {what}{seed}{budget}" + (f", round {self.round + 1}" if self.round else "")

    @property
    def curve_kind(self) -> str:
        """Ending of the file of its curve: "seed0", under another budget than the first "seed0-60s", or the probe."""
        if self.probes[0] not in SEEDED:
            return self.probes[0]
        return f"seed{self.seed}-{self.config.budget}" if self._is_under_another_budget else f"seed{self.seed}"

    @property
    def _is_under_another_budget(self) -> bool:
        return self.config.budget in self.config.other_budgets


@dataclass(frozen=True)
class Outcome:
    """What a task brought back: its rows, the training curve if it trained, and the recipe if it tuned one."""

    records: tuple[Record, ...]
    curve: tuple[Mapping[str, Any], ...] = ()
    tuned: Mapping[str, Any] | None = None
    confusions: tuple[Mapping[str, Any], ...] = ()  # of the final test: label, predicted, count
    layers: tuple[Mapping[str, Any], ...] = ()  # a row for each call of a module


def plan(specs: Sequence[ModelSpec], config: Config) -> list[Task]:
    """Every task of a run, in its order.

    First the static probes of all networks. Then rounds over all networks, each in another order, so that a machine
    that grows hot or busy is unfair to none. Then what is measured once, and training last, one seed of all networks
    after the other, under one budget after the other: an interrupted run has something of everything.
    """
    static = tuple(probe for probe in config.probes if probe in STATIC)
    rounded = tuple(probe for probe in config.probes if probe in ROUNDED)
    once = [probe for probe in config.probes if probe not in (*STATIC, *ROUNDED, *SEEDED, TUNING)]
    seeded = [probe for probe in config.probes if probe in SEEDED]
    tasks = [Task(spec, static, 0, config) for spec in specs if static]
    specs = [spec for spec in specs if spec.name not in config.counted]
    for number in range(config.rounds if rounded else 0):
        shuffled = random.Random(number).sample(specs, len(specs))
        tasks += [Task(spec, rounded, 0, config, number) for spec in shuffled]
    tasks += [Task(spec, (probe,), 0, config) for spec in specs for probe in once]
    if TUNING in config.probes:
        trained = [spec for spec in specs if spec.track in config.image_sets]
        tasks += [Task(spec, (TUNING,), 0, config) for spec in smallest_of_families(trained)]
    tasks += [
        Task(spec, (probe,), seed, replace(config, budget=budget))
        for seed in range(config.seeds)
        for budget in (config.budget, *config.other_budgets)
        for spec in specs
        for probe in seeded
    ]
    return tasks


def remaining(tasks: Sequence[Task], records: Sequence[Record], retry_failed: bool) -> list[Task]:
    """The tasks that have no complete outcome yet, without the probes that have."""
    done = {r.key for r in records if not (retry_failed and r.failed)}
    left = []
    for task in tasks:
        missing = tuple(probe for probe in task.probes if not done.issuperset(_keys(task, probe)))
        if missing:
            left.append(replace(task, probes=missing))
    return left


def without_second_tuning(tasks: Sequence[Task], run: Run) -> list[Task]:
    """The tasks, but no tuning of a family that has its recipe from another network: a run that is resumed with more
    networks may have a smaller one now, and what it trained before keeps its recipe."""
    found = {family: entry.get("model") for family, entry in run.tuned().items()}
    return [
        task
        for task in tasks
        if task.probes[0] != TUNING or found.get(task.spec.family, task.spec.name) == task.spec.name
    ]


def _keys(task: Task, probe: str) -> Iterator[RecordKey]:
    """Of the rows that a probe of a task owes."""
    return (_blank(task, probe, metric, 0.0).key for metric in metrics_of(probe))


def execute(task: Task, device: str) -> Outcome:
    """Run one task here and now. Never raises: whatever goes wrong is in the rows."""
    records: list[Record] = []
    curve: tuple[Mapping[str, Any], ...] = ()
    tuned: Mapping[str, Any] | None = None
    confusions: tuple[Mapping[str, Any], ...] = ()
    layers: tuple[Mapping[str, Any], ...] = ()
    for probe in task.probes:
        start = time.perf_counter()
        try:
            choose(device)
            measurement = PROBES[probe](
                task.spec, replace(task.config, device=device, seed=task.seed, round=task.round)
            )
        except Unsupported as reason:
            records += _without_value(task, probe, "skipped", str(reason), time.perf_counter() - start)
            continue
        except Exception as error:
            status: Status = "oom" if is_out_of_memory(error) else "failed"
            note = f"{type(error).__name__}: {_first_line(error)}"
            records += _without_value(task, probe, status, note, time.perf_counter() - start)
            continue
        seconds = time.perf_counter() - start
        hardware = "" if probe in STATIC else environment.hardware(device)
        records += [
            replace(_record(task, probe, metric, reading, seconds), hardware=hardware)
            for metric, reading in measurement.readings.items()
        ]
        curve = measurement.curve or curve
        tuned = measurement.tuned or tuned
        confusions = measurement.confusions or confusions
        layers = measurement.layers or layers
    return Outcome(tuple(records), curve, tuned, confusions, layers)


def run_tasks(
    run: Run,
    tasks: Sequence[Task],
    place: Workplace[Task, Outcome],
    timeout_s: float | None,
    on_start: Callable[[Task, str], object],
    on_end: Callable[[Task, Outcome], object],
    stop: Stop | None = None,
) -> None:
    """Execute the tasks and append their rows to the run, each as soon as it is there.

    Static tasks go first and use every processor; then each device works alone, with nothing beside it. Networks are
    trained once every recipe that is tuned has been found.

    Raises:
        KeyboardInterrupt: `stop` was requested; everything that had ended by then is written.
    """
    with run.writer() as writer:
        for part in (
            [task for task in tasks if task.static],
            [task for task in tasks if not task.static and task.probes[0] not in SEEDED],
            [task for task in tasks if task.probes[0] in SEEDED],
        ):
            if not part:
                continue
            part = with_tuned_recipes(part, run)
            engine = place.engine(execute, needs_device=not part[0].static, tasks=len(part))
            with closing(engine.run(part, timeout_s, on_start, stop)) as ended:
                for task, outcome in ended:
                    if isinstance(outcome, Crash):
                        outcome = crashed(task, outcome)
                    if outcome.curve:
                        _keep_rows(outcome.curve, run.curve_path(task.spec.name, task.curve_kind))
                    if outcome.confusions:
                        _keep_rows(outcome.confusions, run.confusion_path(task.spec.name, task.curve_kind))
                    if outcome.layers:
                        _keep_rows(outcome.layers, run.layers_path(task.spec.name))
                    if outcome.curve and task.config.tensorboard and task.probes[0] in SEEDED:
                        write_events(outcome.curve, run.events_path(task.spec.name, task.curve_kind))
                    if outcome.tuned:
                        run.keep_tuned(task.spec.family, outcome.tuned)  # before its row, which says that it is there
                    writer.append(outcome.records)
                    _drop_checkpoint(task, outcome)
                    on_end(task, outcome)
            if stop is not None and stop.requested:
                raise KeyboardInterrupt


def _drop_checkpoint(task: Task, outcome: Outcome) -> None:
    """Once its rows are written, what a training would go on from is of no use, except to try a failed one again."""
    folder = task.config.checkpoints
    if folder is None or task.probes[0] not in SEEDED or any(record.failed for record in outcome.records):
        return
    checkpoint_path(folder, task.spec.name, task.seed, str(task.config.budget)).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # others are in it
        folder.rmdir()


def _keep_rows(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Whole or not at all, and on the disk before the rows that belong to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        pd.DataFrame(rows).to_parquet(file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def with_tuned_recipes(tasks: Sequence[Task], run: Run) -> list[Task]:
    """The tasks as they are once the families that the run has tuned are trained with what was found.

    A family whose tuning failed keeps its default; the failed row says so.
    """
    recipes = recipes_of(run.tuned(), str(run.folder / "recipes.json"))
    return [replace(task, config=replace(task.config, recipes={**task.config.recipes, **recipes})) for task in tasks]


def _first_line(error: Exception) -> str:
    """Of its message, without what a terminal would take for an order."""
    empty = "it asked for more than it may have" if isinstance(error, MemoryError) else "no message"
    line = (str(error).strip().splitlines() or [empty])[0]
    return "".join(character if character.isprintable() else " " for character in line)[:500]


def relocated(task: Any, image_sets: Mapping[str, ImageSet]) -> Any:
    """A task as it is on another machine, whose image sets are given by SHA-256; other tasks than of a run stay.

    Checkpoints are only kept where the machine sees the run's folder.
    """
    if not isinstance(task, Task):
        return task
    config = task.config
    here = {track: image_sets.get(image_set.sha256, image_set) for track, image_set in config.image_sets.items()}
    shared = config.checkpoints is not None and config.checkpoints.parent.exists()
    return replace(task, config=replace(config, image_sets=here, checkpoints=config.checkpoints if shared else None))


def crashed(task: Task, crash: Crash) -> Outcome:
    """The rows of a task that brought its process down or took too long."""
    rows = [
        row for probe in task.probes for row in _without_value(task, probe, crash.kind, crash.reason, crash.seconds)
    ]
    return Outcome(tuple(rows))


def _record(task: Task, probe: str, metric: str, reading: Reading | Unsupported, seconds: float) -> Record:
    """The row of one metric, as the probe read it."""
    blank = _blank(task, probe, metric, seconds)
    if isinstance(reading, Unsupported):
        return replace(blank, status="skipped", note=str(reading))
    usable = all(map(math.isfinite, (reading.value, *reading.samples)))
    return replace(
        blank,
        value=reading.value if usable else None,
        status="ok" if usable else "failed",
        note=reading.note if usable else f"the value is {reading.value}",
        samples=reading.samples if usable else (),
        trials=reading.trials,
        batch_size=reading.batch_size,
        asked_batch_size=reading.asked_batch_size,
        predicted=reading.predicted,
        cuda_graphs=reading.cuda_graphs,
        device=reading.device,
    )


def _without_value(task: Task, probe: str, status: Status, reason: str, seconds: float) -> list[Record]:
    """One row per metric that a probe should have measured, with the reason why there is none."""
    return [replace(_blank(task, probe, metric, seconds), status=status, note=reason) for metric in metrics_of(probe)]


def _blank(task: Task, probe: str, metric: str, seconds: float) -> Record:
    """What is known of a row before its value; an accuracy row carries its images and budget even if it failed."""
    trains = probe in (*SEEDED, TUNING)
    image_set = task.config.image_sets.get(task.spec.track) if trains else None
    execution = Execution() if probe in IN_FP32 else task.config.execution
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
        dataset=image_set.name if image_set else None,
        budget=str(task.config.budget) if trains else None,
        recipe=str(recipe_for(task.spec.family, task.config.recipes)) if probe in SEEDED and image_set else None,
    )
