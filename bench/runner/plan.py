"""What a run has to do, in which order, how long that takes, and what does not fit into its time.

Each kernel of a step takes as long as its bytes, its operations or its launch, whichever is longest ("roofline"); what
has been timed on the device counts instead as soon as it is there. Processes, the choice of kernels and tests come on
top. What a run leaves out gets rows that say so, and a later start decides anew.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import accumulate
from operator import itemgetter
from types import MappingProxyType
from typing import Any, NamedTuple

from bench.config import Budget, Config, Inputs, Task, group_without_device
from bench.device import accelerator
from bench.device.peaks import VendorPeak, vendor_named
from bench.engines import Crash, Executor, FunctionTask, Stop, call_function
from bench.metrics import PROBES, metrics_of
from bench.models import REGISTRY, ModelSpec
from bench.probes import gradient_flow
from bench.probes.counting.kernels import Kernel, Kernels, StepKernels, count_kernels
from bench.probes.energy import WINDOW_S
from bench.probes.speed import SWEEP_S
from bench.quantity import joined
from bench.records.record import Record, RecordKey
from bench.training.recipes import recipe_for
from bench.training.schedule import CURVE_POINTS, CURVE_TEST_IMAGES, CURVE_TEST_SHARE, budget_images

SECOND_LOOKS = 8  # networks that are timed again at the end of a run on a dedicated device


def plan(specs: Sequence[ModelSpec], config: Config, inputs: Inputs = Inputs(), pace: Pace | None = None) -> list[Task]:
    """Every task of a run, in its order; `pace` tells how long each may take, as far as that is known.

    First the static probes of all networks, and the forecasts. Then what is measured once, and training last, one seed
    of all networks after the other, under one budget after the other: an interrupted run has something of everything.
    Timings come in rounds over all networks, each in another order, so that a machine that grows hot or busy is unfair
    to none. The rounds are spread over all of the rest: a shared machine is slower for a minute at a time, and rounds
    within that minute would agree with each other and be wrong. For the same reason each round measures the peak of the
    device again.

    On a dedicated device a network is measured in one go, and its seeds are trained in one go, each in one process. At
    the end some networks are timed once more, briefly, so that a device that has grown hot shows.
    """
    static, forecasts, rounded, once, seeded = (
        tuple(probe for probe in config.probes if PROBES[probe].when == when)
        for when in ("static", "forecast", "rounds", "once", "seeds")
    )
    tasks = [Task(spec, config, static, inputs) for spec in specs if static]
    specs = [spec for spec in specs if spec.name not in config.counted]
    tasks += [Task(spec, config, (probe,), inputs) for spec in specs for probe in forecasts]
    trainings = [
        Task(spec, config, (probe,), inputs, seed=seed, other_budget=budget)
        for seed in range(config.seeds)
        for budget in (None, *config.other_budgets)
        for spec in specs
        for probe in seeded
    ]
    rounds = [
        [Task(spec, config, rounded, inputs, round=number) for spec in random.Random(number).sample(specs, len(specs))]
        for number in range(config.rounds if rounded else 0)
    ]
    if config.dedicated:
        in_one_go = [probe for probe in PROBES if probe in (*rounded, *once)]
        tasks += [Task(spec, config, (probe,), inputs) for spec in specs for probe in in_one_go]
        tasks += sorted(trainings, key=lambda task: specs.index(task.spec))
        if config.rounds == 1 and "throughput" in rounded:
            rounds.append(
                [Task(spec, config, ("throughput",), inputs, round=1, second_look=True) for spec in _some(specs)]
            )
    if "throughput" in rounded:  # which is compared with the peak; that is first measured before everything else
        rounds[1:] = [[replace(first, with_peak=True), *others] for first, *others in rounds[1:]]
    if config.dedicated:
        return tasks + [task for tasks in rounds[1:] for task in tasks]
    others = [Task(spec, config, (probe,), inputs) for spec in specs for probe in once] + trainings
    return tasks + _spread(rounds, others, pace or Pace(config))


def _some(specs: Sequence[ModelSpec]) -> Sequence[ModelSpec]:
    count = min(SECOND_LOOKS, len(specs))
    return [specs[n * len(specs) // count] for n in range(count)]


def _spread(rounds: Sequence[Sequence[Task]], others: Sequence[Task], pace: Pace) -> list[Task]:
    """The first round before everything else, the last one after it, those between about equally far apart in time."""
    starts = list(accumulate(pace.seconds(others), initial=0.0))
    distance = starts[-1] / max(len(rounds) - 1, 1)
    timed = [(number * distance, tasks) for number, tasks in enumerate(rounds)]
    timed += [(start, [task]) for start, task in zip(starts, others, strict=False)]  # the last one is the end
    return [task for _, tasks in sorted(timed, key=itemgetter(0)) for task in tasks]


def keys(task: Task, probe: str) -> Iterator[RecordKey]:
    """The keys of the rows that one of a task's probes gives."""
    budget = str(task.budget) if PROBES[probe].trains else None
    return ((task.spec.name, probe, metric, task.seed, task.round, budget) for metric in metrics_of(probe))


def remaining(tasks: Sequence[Task], records: Sequence[Record], retry_failed: bool) -> list[Task]:
    """The tasks that have no complete outcome yet, without the probes that have."""
    done = {r.key for r in records if not (retry_failed and r.failed) and "left_out" not in r.flags}
    left = []
    for task in tasks:
        missing = tuple(probe for probe in task.probes if not done.issuperset(keys(task, probe)))
        if missing:
            left.append(replace(task, probes=missing))
    return left


COUNT_S = 0.3  # of the static probes of a network
# To count those of a network, which takes seconds, on a busy machine a hundred times as long: a training of unknown
# length is not left out.
KERNELS_LIMIT_S = 600.0
LIMITS_S = 6.0  # of the peak and the bandwidth of a device
REPLAY_S = 0.2  # of both steps on the meta device
UNKNOWN_TRAINING_S = 60.0
CLOSING_SHARE = 0.06  # of a time limit: for the last task, which may take longer than was reckoned, and the report
BELIEVED_S = 30.0  # of work as reckoned that what has ended is weighed against: one slow task is no trend
WARM_AND_SAMPLED = 1.6  # times the measuring time
BATCHES_SWEPT = 3.5
GRADIENT_STEP = 2  # times as long as a training step
HOST_INITIALISATION_S = 11e-9  # of one weight


@dataclass(frozen=True)
class Speed:
    """What a device and its host need for a kernel, and for what comes with a process."""

    flops_per_s: float
    bytes_per_s: float
    kernel_s: float  # the least that a kernel takes on the device
    launch_s: float  # that the host takes to ask for one
    process_s: float  # to start a process: fork, libraries, the device's context
    autotune_s: float  # to choose how to compute a convolution of new shapes
    stage_s: float  # to bring a data set to the device
    width: int  # channels of a group from which on a convolution is at its full rate
    missed: float = 1.0  # times what the rest says: what kernels do not reach


# On an H100 SXM in bf16, from a count of all launches of all networks and public measurements, not yet from a run of
# this suite: 420 of 989 TFLOP/s and 2.6 of 3.35 TB/s are what cuDNN and elementwise kernels come to; 2.2 us is the
# least between two kernels of a graph, 7.5 us what eager PyTorch needs to launch one; 30 ms is cuDNN's search over ten
# plans. Range of the whole: -20 % to +30 %.
H100 = Speed(420e12, 2.6e12, 2.2e-6, 7.5e-6, 1.1, 0.03, 0.5, width=128, missed=1.6)
_H100_VENDOR = vendor_named("H100")
# Of a CPU: shares of the peak and of the bandwidth that it was measured at, and what an operator takes at least, with
# which both steps of the networks of `quick` come out best on two cores (within 25 % for two in three of them).
CPU_SHARES = (0.8, 0.5)
CPU = Speed(math.nan, math.nan, 3e-5, 0.0, 0.3, 0.0, 0.5, width=8)


def speed_of(config: Config, limits: Iterable[Mapping[str, Any]], named: VendorPeak | None = None) -> Speed | None:
    """Of the slowest of the devices with these measured `limits`, or of a device that a vendor's table knows.

    None of a device of which nothing is known.
    """
    if named is not None:
        precision = config.execution.precision
        flops = named.tflops.get(precision, named.tflops["fp32"]) / _H100_VENDOR.tflops["bf16"]
        bytes_ = named.gbytes_per_s / _H100_VENDOR.gbytes_per_s
        return replace(H100, flops_per_s=flops * H100.flops_per_s, bytes_per_s=bytes_ * H100.bytes_per_s)
    known = [each for each in limits if each.get("peak_flops_per_s") and each.get("bandwidth_bytes_per_s")]
    if not known:
        return None
    peak, bandwidth = (min(each[f"{what}_per_s"] for each in known) for what in ("peak_flops", "bandwidth_bytes"))
    if config.dedicated:  # a large product reaches about 0.7 of the vendor's peak, a copy all that kernels come to
        return replace(H100, flops_per_s=0.6 * peak, bytes_per_s=0.9 * bandwidth)
    return replace(CPU, flops_per_s=CPU_SHARES[0] * peak, bytes_per_s=CPU_SHARES[1] * bandwidth)


def step_seconds(kernels: Kernels, batch_size: int, speed: Speed, replayed: bool = False) -> float:
    """Of one step at a batch size; `replayed`: as a graph, for which the host asks once."""
    device = sum(count * _kernel_s(kernel, batch_size, speed) for kernel, count in kernels.calls)
    return speed.missed * device if replayed else max(speed.missed * device, speed.launch_s * kernels.launches)


def _kernel_s(kernel: Kernel, batch_size: int, speed: Speed) -> float:
    rate = speed.flops_per_s * (min(1.0, kernel.width / speed.width) if kernel.width else 1.0)
    moved = batch_size * kernel.bytes + kernel.fixed_bytes
    return max(speed.kernel_s, moved / speed.bytes_per_s, batch_size * kernel.flops / rate)


def counted_kernels(
    executor: Executor, specs: Sequence[ModelSpec], config: Config, inputs: Inputs, stop: Stop | None = None
) -> dict[str, StepKernels]:
    """The kernels of each network's steps; none of a network that fails."""
    kind: accelerator.KernelKind = "cuda" if config.dedicated else "cpu"
    tasks = {}
    for spec in specs:
        arguments = spec, recipe_for(spec.family, inputs.recipes), config.execution, kind
        tasks[FunctionTask(count_kernels, arguments, group_without_device("kernels", spec))] = spec.name
    with closing(executor.run(call_function, list(tasks), KERNELS_LIMIT_S, stop=stop, needs_device=False)) as ended:
        return {tasks[task]: found for task, found in ended if not isinstance(found, Crash)}


# The flags that leave tasks out; {} is one with its value.
_ABOVE = {"--max-train-time": "above {}", "--time-limit": "more than {} leaves"}


@dataclass(frozen=True)
class LeftOut:
    """A task that the run does not take on, how long it would take, and the flag that rules it out."""

    task: Task
    seconds: float
    flag: str
    limit_s: float

    @property
    def rule(self) -> str:
        """Such as "--max-train-time 60 s"."""
        return f"{self.flag} {minutes(self.limit_s)}"

    @property
    def reason(self) -> str:
        return f"it would take about {minutes(self.seconds)} here, {_ABOVE[self.flag].format(self.rule)}"


@dataclass(frozen=True)
class Estimate:
    """The tasks that a run takes on, those that it leaves out, and what that comes to."""

    tasks: tuple[Task, ...]
    left_out: tuple[LeftOut, ...]
    phases: Mapping[str, float]  # seconds
    processes: int = 0  # that are started on a device
    autotuned: int = 0  # convolutions for which a library chooses how to compute them

    @property
    def seconds(self) -> float:
        return sum(self.phases.values())

    def __str__(self) -> str:
        phases = ", ".join(f"{name} {minutes(seconds)}" for name, seconds in self.phases.items() if seconds >= 1)
        said = f"about {minutes(self.seconds)} for {_counted(len(self.tasks), 'task')}"
        said += f": {phases}" if phases else ""
        return joined(said if self.tasks else "", self.omissions, between="\n")

    def table(self) -> str:
        """A line for each phase."""
        trained = sum(PROBES[task.probes[0]].trains for task in self.tasks)
        processes = f"in {_counted(self.processes, 'process', 'es')}" if self.processes else "in this process"
        counted = f"{_counted(len(self.tasks), 'task')} ({_counted(trained, 'training')}) {processes}"
        width = max(map(len, self.phases), default=0)
        phases = [f"  {name:{width}}  {minutes(seconds):>7}" for name, seconds in self.phases.items()]
        return joined(f"about {minutes(self.seconds)}: {counted}", *phases, self.omissions, between="\n")

    @property
    def omissions(self) -> str:
        """A line for each rule that leaves something out: every training by name, and how many of the others."""
        said: dict[str, dict[str, list[LeftOut]]] = {}
        for each in self.left_out:
            label, name = each.task.label, each.task.spec.name
            what = label if PROBES[each.task.probes[0]].trains else label.removeprefix(f"{name} ")
            said.setdefault(each.rule, {}).setdefault(what, []).append(each)
        return "\n".join(
            f"left out by {rule}: {'; '.join(map(_omitted, kinds, kinds.values()))}" for rule, kinds in said.items()
        )

    def to_json(self) -> dict[str, Any]:
        """What `--dry-run --json` prints."""
        return {
            "minutes": round(self.seconds / 60, 2),
            "phases": {name: round(seconds / 60, 2) for name, seconds in self.phases.items()},
            "processes": self.processes,
            "autotuned": self.autotuned,
            "trainings": sum(PROBES[task.probes[0]].trains for task in self.tasks),
            "left_out": {each.task.label: round(each.seconds / 60, 2) for each in self.left_out},
        }


class ImageCounts(NamedTuple):
    """Images of a track."""

    train: int
    test: int


Tuned = set[tuple[str, int]]  # steps and batch sizes for which libraries have chosen their kernels in a process
Alike = tuple[tuple[str, ...], Budget]  # tasks that are off by about as much: the same probes under the same budget


class Pace:
    """How long things take on this machine: reckoned from kernels, from what was timed, and from what has ended."""

    def __init__(
        self,
        config: Config,
        images: Mapping[str, ImageCounts] | None = None,
        records: Iterable[Record] = (),
        kernels: Mapping[str, StepKernels] | None = None,
        speed: Speed | None = None,
        devices: int = 1,
    ) -> None:
        """`images`: by track. `records`: of the run so far. `kernels`: by network. `devices`: that share the work."""
        self.taken: dict[str, float] = {}  # seconds by phase
        self._config, self._images = config, images or {}
        self._kernels, self._speed, self._devices = kernels or {}, speed, devices
        self._host = speed or CPU
        self._sizes = accelerator.OF_ACCELERATOR if config.dedicated else accelerator.OF_HOST
        self._found = {(row.model, row.metric): row for row in records if row.value is not None}
        self._ended: defaultdict[Alike, list[tuple[float, float]]] = defaultdict(list)  # seconds reckoned, and taken

    def ended(self, task: Task, reckoned_s: float, taken_s: float) -> None:
        """Learn from a task that has ended."""
        self._ended[task.probes, task.budget].append((reckoned_s, taken_s))
        phase = phase_of(task)
        self.taken[phase] = self.taken.get(phase, 0.0) + taken_s / self._devices

    def off(self, task: Task) -> float:
        """How many times as long as reckoned tasks of its kind have taken so far."""
        ended = self._ended.get((task.probes, task.budget), [])
        reckoned, taken = (sum(seconds) for seconds in zip((BELIEVED_S, BELIEVED_S), *ended, strict=True))
        return taken / reckoned

    def reckoned(self, tasks: Sequence[Task]) -> list[float]:
        """Seconds of the run that each of some tasks takes which follow one another, before anything has ended."""
        return [seconds / self._devices for seconds, _, _ in self._walk(tasks)]

    def seconds(self, tasks: Sequence[Task]) -> list[float]:
        """The same by what tasks of each kind have taken."""
        return [seconds * self.off(task) for task, seconds in zip(tasks, self.reckoned(tasks), strict=True)]

    def processes(self, tasks: Sequence[Task]) -> tuple[int, int]:
        """How many processes the tasks start on a device, and how many convolutions are autotuned in them."""
        walked = [each for task, each in zip(tasks, self._walk(tasks), strict=True) if not task.static]
        return sum(fresh for _, fresh, _ in walked), sum(tuned for _, _, tuned in walked)

    def _walk(self, tasks: Iterable[Task]) -> Iterator[tuple[float, bool, int]]:
        """Seconds of each task, whether it starts a process, and how many convolutions are autotuned in it."""
        group, tuned = "", Tuned()
        for task in tasks:
            if fresh := task.group != group:
                group, tuned = task.group, Tuned()
            before = self._chosen(task, tuned)
            work = COUNT_S if task.static else sum(self._probe_s(task, probe, tuned) for probe in task.probes)
            chosen = self._chosen(task, tuned) - before
            start = 0.0 if task.static or not fresh else self._host.process_s
            yield start + work + chosen * self._host.autotune_s, fresh, chosen

    def training_s(self, task: Task) -> float | None:
        """Seconds of a training itself; None where nothing tells."""
        if task.budget.kind == "s":
            return task.budget.amount
        images, batch_size = self._trained_on(task, task.budget), self._train_batch(task)
        known = [seconds for seconds in (self._step_s(task, "train", batch_size, replayed=True),) if seconds]
        forecast = self._found.get((task.spec.name, "predicted_train_seconds"))
        forecast_images = self._trained_on(task, self._config.budget)
        if forecast and forecast.value and forecast_images:  # a few steps may have met a busy moment: the faster counts
            known.append(forecast.value / forecast_images * batch_size)
        return min(known) / batch_size * images if known and images else None

    def _probe_s(self, task: Task, probe: str, tuned: Tuned) -> float:
        """Of one probe in a process that is there, without choosing kernels; `tuned` gains what it chooses for."""
        common, measure_s, dedicated = task.batch_size, task.measure_seconds, self._config.dedicated
        kinds = ("inference",) if self._config.inference_only else ("inference", "train")

        def sampled(kind: str, batch_size: int, seconds: float = measure_s, steps: int = 10) -> float:
            tuned.add((kind, batch_size))
            return max(WARM_AND_SAMPLED * seconds, steps * (self._step_s(task, kind, batch_size) or 0.0))

        match probe:
            case "train_time":
                return max(0.5, 3 * (self._step_s(task, "train", self._train_batch(task)) or 0.0))
            case "throughput":  # with the device's own clock, where it has one, and the parts of a training step
                steps = 15 if dedicated else 9
                return sum(sampled(kind, common, steps=steps) for kind in kinds) + measure_s / 4
            case "latency":  # and once more, replayed; where all of it is, the same steps serve for both
                both = dedicated and self._config.execution.cuda_graphs is None
                return (2 if both else 1) * sampled("inference", 1, steps=110)
            case "energy" if dedicated:
                return sum(WINDOW_S + sampled(kind, common, measure_s / 2, steps=6) for kind in kinds)
            case "memory" if dedicated:
                return sum(sampled(kind, common, 0.0, steps=8) for kind in kinds)
            case "memory":
                return REPLAY_S
            case "best_batch":  # the sizes are tried without choosing kernels; the winner is often the next one up
                sweep = WARM_AND_SAMPLED * SWEEP_S * BATCHES_SWEPT * len(kinds)
                return sweep + sum(sampled(kind, 2 * common, steps=20) for kind in kinds)
            case "gradient_flow" if gradient_flow.twin_of(task.spec):
                steps = len(gradient_flow.VARIANTS) * (gradient_flow.DRAWS + self._sizes.gradient_steps)
                return GRADIENT_STEP * steps * (self._step_s(task, "train", gradient_flow.BATCH_SIZE) or 0.0)
            case "accuracy":
                return self._training_task_s(task, tuned)
        return 0.0

    def _training_task_s(self, task: Task, tuned: Tuned) -> float:
        known, batch_size = self.training_s(task), self._sizes.evaluation_batch
        training = UNKNOWN_TRAINING_S if known is None else known
        images = self._images.get(task.spec.track, ImageCounts(0, 0))
        trained_before = ("train", self._train_batch(task)) in tuned  # in this process, under another seed or budget
        tuned.add(("train", self._train_batch(task)))
        step = self._step_s(task, "inference", batch_size)
        trained = self._trained_on(task, task.budget)
        points = max(CURVE_POINTS, trained / images.train) if trained and images.train else 0.0
        tests = CURVE_TEST_SHARE * training
        if step is not None:
            tests = min(tests, points * CURVE_TEST_IMAGES / batch_size * step) + images.test / batch_size * step
        kernels = self._kernels.get(task.spec.name)
        built = HOST_INITIALISATION_S * kernels.params if kernels else 0.0
        return (0.0 if trained_before else self._host.stage_s) + built + training + tests

    def _step_s(self, task: Task, kind: str, batch_size: int, replayed: bool = False) -> float | None:
        """Of one step: as it was timed, at another batch size in proportion to what its kernels say; else as they say.

        A replayed step is one for which the device does not wait for the host.
        """
        latency = self._found.get((task.spec.name, "latency_ms")) if kind == "inference" and batch_size == 1 else None
        if latency is not None and latency.value:
            return latency.value / 1e3
        modelled = self._modelled(task, kind, batch_size, replayed)
        rate = self._found.get((task.spec.name, f"{kind}_images_per_s"))
        if rate is None or not rate.value:
            return modelled
        there_size = rate.batch_size or task.batch_size
        own = self._found.get((task.spec.name, f"{kind}_device_ms")) if replayed else None
        timed = own.value / 1e3 if own is not None and own.value else there_size / rate.value
        there = self._modelled(task, kind, there_size, replayed)
        return timed * (modelled / there if modelled and there else batch_size / there_size)

    def _modelled(self, task: Task, kind: str, batch_size: int, replayed: bool) -> float | None:
        kernels = self._kernels.get(task.spec.name)
        if kernels is None or self._speed is None:
            return None
        return step_seconds(getattr(kernels, kind), batch_size, self._speed, replayed)

    def _chosen(self, task: Task, tuned: Tuned) -> int:
        """For how many convolutions kernels were chosen: forward at each batch size, and for two gradients."""
        kernels = self._kernels.get(task.spec.name)
        trained = sum(kind == "train" for kind, _ in tuned)
        return kernels.inference.convolutions * (len({size for _, size in tuned}) + 2 * trained) if kernels else 0

    def _train_batch(self, task: Task) -> int:
        return self._config.train_batch_size or recipe_for(task.spec.family, task.inputs.recipes).batch_size

    def _trained_on(self, task: Task, budget: Budget) -> float | None:
        """Images that a budget buys."""
        images, kernels = self._images.get(task.spec.track), self._kernels.get(task.spec.name)
        counted = self._found.get((task.spec.name, "flops"))
        flops = counted.value if counted else kernels.inference.flops if kernels else None
        if budget.kind == "s" or images is None or (budget.kind == "pflop" and not flops):
            return None
        return budget_images(budget, images.train, flops or 0.0)


def estimate(
    tasks: Sequence[Task],
    pace: Pace,
    config: Config,
    spent_s: float = 0.0,
    before: Mapping[str, float] = MappingProxyType({}),
) -> Estimate:
    """Leave out trainings above `config.max_train_time_s`, then what does not fit into `config.time_limit_s`.

    A user's own network has no reference that could stand for its training, so it is not among the trainings. Those and
    rounds of timings beyond the third are what a run can do without, first what takes longest, a round as a whole; then
    come the last of the other rounds. What still fits stays, and the counts always do. `spent_s` of the limit are gone
    already; `before` are seconds of phases that have no tasks.
    """
    left_out: dict[int, LeftOut] = {}  # by the task's index
    longest, whole = config.max_train_time_s, config.time_limit_s
    seconds = pace.seconds(tasks)
    for index, task in enumerate(tasks):
        fixed = task.budget.kind == "s" or task.spec.name not in REGISTRY
        needs = pace.training_s(task) if PROBES[task.probes[0]].trains and not fixed else None
        if longest is not None and needs is not None and needs > longest:
            left_out[index] = LeftOut(task, needs, "--max-train-time", longest)
    if whole is not None:
        room = (1 - CLOSING_SHARE) * whole - spent_s
        left = [index for index, task in enumerate(tasks) if index not in left_out and not task.static]
        rounds: defaultdict[int, float] = defaultdict(float)
        for index in left:
            rounds[tasks[index].round] += seconds[index]
        longest_round_s = max((rounds[number] for number in rounds if number), default=0.0)
        for index in sorted(left, key=lambda index: _last_to_go(tasks[index], seconds[index], longest_round_s)):
            if seconds[index] <= room:
                room -= seconds[index]
            else:
                left_out[index] = LeftOut(tasks[index], seconds[index], "--time-limit", whole)
    kept = [task for index, task in enumerate(tasks) if index not in left_out]
    phases = dict(before)
    for task, needed in zip(kept, pace.seconds(kept), strict=True):
        phases[phase_of(task)] = phases.get(phase_of(task), 0.0) + needed
    return Estimate(tuple(kept), tuple(left_out.values()), phases, *pace.processes(kept))


def phase_of(task: Task) -> str:
    """The part of a run to which a task belongs, as people read it."""
    if task.second_look:
        return "second look"
    name = task.probes[0]
    named = {"static": "counts", "forecast": "predicting the trainings", "seeds": "trainings"}
    return named.get(PROBES[name].when) or " and ".join(task.probes).replace("_", " ")


def _last_to_go(task: Task, seconds: float, round_s: float) -> tuple[float, int, float]:
    """For sorting: what a run can do without first comes last. Of three rounds or more there is an interval."""
    if PROBES[task.probes[0]].trains and task.spec.name in REGISTRY:
        return seconds, 0, 0.0
    return round_s if task.round > 2 else 0.0, task.round, seconds


def _omitted(what: str, several: Sequence[LeftOut]) -> str:
    """Such as "googlenet_cifar accuracy (8 min)", or "throughput, round 4, of 20 networks (3 min)"."""
    who = several[0].task.label if len(several) == 1 else f"{what}, of {len(several)} networks"
    return f"{who} ({minutes(sum(each.seconds for each in several))})"


def _counted(number: int, what: str, plural: str = "s") -> str:
    return f"{number} {what}{'' if number == 1 else plural}"


def minutes(seconds: float) -> str:
    """Write a time as "0.2 s", "45 s", "12 min" or "5.1 h"."""
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} h"
    if 0 < seconds < 1:
        return f"{seconds:.1g} s"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
