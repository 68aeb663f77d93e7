"""What a run is going to do and about how long that takes, said before it is done; and what does not fit into its time.

Every training is predicted from a few timed steps of its own (the probe `train_time`); whatever else takes time is
reckoned from the same steps. What a run leaves out gets rows that say so, and a later start decides anew.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.config import Budget, Config, Task
from bench.metrics import PROBES
from bench.models import REGISTRY
from bench.records.record import Record
from bench.training.schedule import TRAINING_PER_FORWARD, budget_images

PROCESS_S = 1.0  # of starting a worker, whose imports the fork server has
COUNT_S = 0.3  # of the static probes of a network
AROUND_TRAINING = 1.1  # times the training itself: the tests, and re-estimating batch norm
UNKNOWN_TRAINING_S = 60.0
_STEPS = 10  # of a measurement, warm-up included, where they are slow
_PHASES = {
    "static": "counts",
    "forecast": "predicting the trainings",
    "rounds": "timings",
    "once": "memory, gradients, energy",
    "seeds": "trainings",
}


@dataclass(frozen=True)
class LeftOut:
    """A task that the run does not take on, how long it would take, and the flag that rules it out."""

    task: Task
    seconds: float
    rule: str  # "--max-train-time 60 s"

    @property
    def reason(self) -> str:
        return f"it would take about {minutes(self.seconds)} here, above {self.rule}"


@dataclass(frozen=True)
class Estimate:
    """The tasks that a run takes on, those that it leaves out, and seconds by phase."""

    tasks: tuple[Task, ...]
    left_out: tuple[LeftOut, ...]
    phases: Mapping[str, float]

    @property
    def seconds(self) -> float:
        return sum(self.phases.values())

    def __str__(self) -> str:
        phases = ", ".join(f"{name} {minutes(seconds)}" for name, seconds in self.phases.items() if seconds >= 1)
        said = f"about {minutes(self.seconds)} for {len(self.tasks)} tasks" + (f": {phases}" if phases else "")
        return f"{said}\n{self.omissions}" if self.left_out else said

    @property
    def omissions(self) -> str:
        """A line for each rule that leaves something out."""
        names: dict[str, list[str]] = {}
        for each in self.left_out:
            names.setdefault(each.rule, []).append(f"{each.task.label} ({minutes(each.seconds)})")
        return "\n".join(f"left out by {rule}: {', '.join(labels)}" for rule, labels in names.items())


class Pace:
    """How long things take on this machine: reckoned from timed steps where there are some, else guessed."""

    def __init__(
        self,
        config: Config,
        train_counts: Mapping[str, int] | None = None,
        records: Iterable[Record] = (),
        flops_per_s: float = math.inf,
    ) -> None:
        """`train_counts`: training images by track. `records`: of the run so far. `flops_per_s`: what a network of
        which no step was timed may reach here."""
        self._config, self._train_counts, self._flops_per_s = config, train_counts or {}, flops_per_s
        found = {(row.model, row.metric): row.value for row in records if row.value is not None}
        self._predicted = {
            model: value for (model, metric), value in found.items() if metric == "predicted_train_seconds"
        }
        self._rates = {model: value for (model, metric), value in found.items() if metric == "train_images_per_s"}
        self._flops = {model: value for (model, metric), value in found.items() if metric == "flops"}

    def training_s(self, task: Task) -> float | None:
        """Seconds of a training itself; None where none of its steps was timed."""
        if task.budget.kind == "s":
            return task.budget.amount
        timed, images = self._timed_image_s(task), self._images(task, task.budget)
        return timed * images if timed and images else None

    def task_s(self, task: Task) -> float:
        """About how long a task takes."""
        match PROBES[task.probes[0]].when:
            case "static":
                return COUNT_S
            case "seeds":
                known = self.training_s(task)
                return PROCESS_S + AROUND_TRAINING * (UNKNOWN_TRAINING_S if known is None else known)
        share = 1 / TRAINING_PER_FORWARD if self._config.inference_only else 1.0
        flops = TRAINING_PER_FORWARD * self._flops.get(task.spec.name, 0.0)
        image_s = self._timed_image_s(task) or flops / self._flops_per_s
        return PROCESS_S + max(4 * task.config.measure_seconds, _STEPS * share * task.batch_size * image_s)

    def _timed_image_s(self, task: Task) -> float | None:
        """Seconds of a training step for one image: a few steps may have met a busy moment, so what was timed at more
        length counts where it is faster."""
        predicted, images = self._predicted.get(task.spec.name), self._images(task, self._config.budget)
        if predicted is None or not images:
            return None
        rate = self._rates.get(task.spec.name, 0.0)
        return min(predicted / images, 1 / rate) if rate > 0 else predicted / images

    def _images(self, task: Task, budget: Budget) -> float | None:
        count, flops = self._train_counts.get(task.spec.track), self._flops.get(task.spec.name, 0.0)
        if budget.kind == "s" or count is None or (budget.kind == "pflop" and not flops):
            return None
        return budget_images(budget, count, flops)


def estimate(tasks: Sequence[Task], pace: Pace, config: Config, spent_s: float = 0.0) -> Estimate:
    """Leave out trainings above `config.max_train_time_s`, then what does not fit into `config.time_limit_s`.

    A user's own network has no reference that could stand for its training, so the first of these is not for it. Of
    what does not fit, the longest trainings go first, then the last rounds of timings, then what takes longest. The
    counts always stay. `spent_s` of the limit are gone already.
    """
    left_out: dict[int, LeftOut] = {}  # by the task's place
    longest, whole = config.max_train_time_s, config.time_limit_s
    for place, task in enumerate(tasks):
        fixed = task.budget.kind == "s" or task.spec.name not in REGISTRY
        needs = pace.training_s(task) if PROBES[task.probes[0]].trains and not fixed else None
        if longest is not None and needs is not None and needs > longest:
            left_out[place] = LeftOut(task, needs, f"--max-train-time {minutes(longest)}")
    if whole is not None:
        left = [place for place, task in enumerate(tasks) if place not in left_out and not task.static]
        over = spent_s + sum(pace.task_s(tasks[place]) for place in left) - whole
        for place in sorted(left, key=lambda place: _first_to_go(tasks[place], pace)):
            if over <= 0:
                break
            needs = pace.task_s(tasks[place])
            over -= needs
            left_out[place] = LeftOut(tasks[place], needs, f"--time-limit {minutes(whole)} of the run")
    kept = [task for place, task in enumerate(tasks) if place not in left_out]
    phases: dict[str, float] = {}
    for task in kept:
        phase = _PHASES[PROBES[task.probes[0]].when]
        phases[phase] = phases.get(phase, 0.0) + pace.task_s(task)
    return Estimate(tuple(kept), tuple(left_out.values()), phases)


def _first_to_go(task: Task, pace: Pace) -> tuple[bool, int, float]:
    """For sorting: what a run can do without first comes first."""
    return not PROBES[task.probes[0]].trains, -task.round, -pace.task_s(task)


def minutes(seconds: float) -> str:
    """Write a time as "0.2 s", "45 s", "12 min" or "5.1 h"."""
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} h"
    if 0 < seconds < 1:
        return f"{seconds:.1g} s"
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
