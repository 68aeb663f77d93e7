"""How long steps take: images per second at one batch size and at the best, latency, and what the time is spent on.

The last, for `show`, is no probe: hooks and profilers slow down what they watch.
"""

from __future__ import annotations

import statistics
import tempfile
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.profiler import profile, supported_activities

from bench.config import Task
from bench.device import accelerator
from bench.device.execution import (
    arithmetic,
    by_its_name,
    for_inference,
    inference_dtype,
    is_out_of_memory,
    release_memory,
    with_batch_that_fits,
)
from bench.device.nvml import clocks
from bench.device.timing import LEAST_LAPS, HostTooSlow, Laps, NoClock, Timing, device_seconds, steady_samples
from bench.metrics import metrics_of
from bench.probes.counting.layers import CallKey
from bench.probes.counting.networks import fresh_network, hooked
from bench.probes.reading import Answer, Measurement, Reading, Unsupported
from bench.probes.steps import (
    Batch,
    MakeStep,
    Result,
    Step,
    attempted,
    check_finite,
    inference_step,
    one_by_one,
    replayed,
    timed_reading,
    training_step,
)
from bench.quantity import first_line, joined
from bench.stats import percentile

LAUNCH_BOUND = 1.25  # times the device's own time
PARTS = {part: f"train_{part}_ms" for part in ("forward", "backward", "optimizer")}  # as a training step names them
STEPS: dict[str, MakeStep] = {"inference": inference_step, "train": training_step}
BEST = {f"best_{kind}_images_per_s": make for kind, make in STEPS.items()}
LEAST_SAMPLES, LEAST_LATENCIES = 5, 100  # below the second, a 99th percentile is the slowest sample
LEAST_IN_A_ROUND = 3, 1  # samples and laps, where there are others: they tell how steady the machine is
SWEEP_S = 0.1  # of sampling at each batch size
WORTH_IT = 1.02  # a doubled batch must gain 2 % to be tried further
LARGEST_BATCH = 1 << 16
LAYERS_S = 0.5  # of sampling, layer by layer
WARM_UP_STEPS = 3  # where steps are watched

OwnTime = tuple[tuple[float, ...], str]  # seconds of a step by the device's own clock, and how that was told
Parts = Mapping[Hashable, tuple[float, ...]]  # of a training step: samples of the seconds of each


def throughput(task: Task) -> Measurement:
    """Synchronised steps on one batch that stays on the device; data loading excluded.

    A batch that does not fit is halved until it does; asked and used batch are in the row.
    """
    parts = [
        ((f"{kind}_images_per_s", f"{kind}_device_ms", *of_parts), partial(_throughput, kind))
        for kind, of_parts in (("inference", ()), ("train", PARTS.values()))
    ]
    with arithmetic(task.config.execution.precision):
        return one_by_one(task, parts)


def _throughput(kind: str, task: Task) -> Mapping[str, Answer]:
    if kind == "train" and task.config.inference_only:
        raise Unsupported(f"--preset {task.config.preset} times inference alone")
    (steps, own, parts), used = with_batch_that_fits(partial(_timed, kind, task), task.batch_size)
    rates = tuple(used / seconds for seconds in steps.seconds)
    rate = timed_reading(task, steps, statistics.median(rates), used, task.batch_size, samples=rates)
    busy: Answer
    if isinstance(own, Exception):
        busy = own
    else:
        seconds, manner = own
        ms = tuple(1e3 * each for each in seconds)
        share = statistics.median(ms) / (1e3 * statistics.median(steps.seconds))
        busy = replace(rate, value=statistics.median(ms), samples=ms, note=manner, flags=())
        if share < 1 / LAUNCH_BOUND:
            note = joined(f"launch-bound: the device works {share:.0%} of the step", manner)
            busy = replace(busy, note=note, flags=("launch_bound",))
    found = {f"{kind}_images_per_s": rate, f"{kind}_device_ms": busy}
    return found if kind == "inference" else {**found, **_of_parts(rate, parts)}


def _timed(kind: str, task: Task, batch_size: int) -> tuple[Timing, OwnTime | Exception, Parts | Exception]:
    """Steps, their own time, and their parts; in place of the last two, why there are none."""
    device = accelerator.named(task.device)
    laps = Laps(device)
    step = training_step(task, batch_size, laps) if kind == "train" else inference_step(task, batch_size)
    samples, least = (LEAST_SAMPLES, LEAST_LAPS) if task.config.rounds == 1 else LEAST_IN_A_ROUND
    steps = _steps(step, task, samples)
    own = _besides(lambda: _own_time(step, task))
    return steps, own, _besides(lambda: laps.of(step, task.measure_seconds / 4, least) if kind == "train" else {})


def _own_time(step: Step, task: Task) -> OwnTime:
    """By the device's clock; replayed as a graph where the host is too slow, for which it asks once.

    Raises:
        NoClock: neither is possible.
    """
    device = accelerator.named(task.device)
    try:
        return device_seconds(step, device), ""
    except HostTooSlow as reason:
        try:
            return device_seconds(replayed(task, step), device), "of a replay as a graph, as the host is too slow"
        except Unsupported as other:
            raise NoClock(f"{reason}; {other}") from None


def _of_parts(rate: Reading, parts: Parts | Exception) -> Mapping[str, Answer]:
    """The readings of what a training step is made of, under the conditions of its rate."""
    if isinstance(parts, Exception):
        return dict.fromkeys(PARTS.values(), parts)
    if not parts:
        return dict.fromkeys(PARTS.values(), Unsupported("a step that is replayed as a graph has no parts"))
    ms = {part: tuple(1e3 * seconds for seconds in parts[part]) for part in PARTS}
    return {
        metric: replace(rate, value=statistics.median(ms[part]), samples=ms[part]) for part, metric in PARTS.items()
    }


def _besides(measured: Callable[[], Result]) -> Result | Exception:
    """What is measured after the rate, or why it is not: it must not cost the rate."""
    try:
        return measured()
    except NoClock as reason:
        return Unsupported(str(reason))
    except Exception as error:
        return by_its_name(error)


def _steps(step: Step, task: Task, least: int = LEAST_SAMPLES, alone: bool = False) -> Timing:
    """Steady samples, so many at `least`: of as many steps each as suit the device, or of each step `alone`."""
    device = accelerator.named(task.device)
    last: list[Tensor] = []

    def watched() -> None:
        last.clear()  # it may be a part of something large
        last.append(step())

    with clocks(task.device) as clock:
        timing = steady_samples(
            watched,
            device.synchronise,
            task.measure_seconds,
            least_samples=least,
            shortest_sample_s=0.0 if alone else device.sizes.shortest_sample_s,
            clocks=clock,
        )
    check_finite(last[0], task.config.execution)
    return replace(timing, of_the_step=step.batch.note)


def latency(task: Task) -> Measurement:
    """Milliseconds of a forward pass at batch 1, waited for after each: median, 95th and 99th percentile.

    The median once more where the device replays the pass as a graph.
    """
    return Measurement(attempted(metrics_of("latency"), task, _latency))


def _latency(task: Task) -> Mapping[str, Answer]:
    with arithmetic(task.config.execution.precision):
        step = inference_step(task, batch_size=1)
        timing = _steps(step, task, LEAST_LATENCIES, alone=True)
        graphs = task.config.execution.cuda_graphs
        again = timing if graphs else _besides(lambda: _steps(replayed(task, step), task, LEAST_LATENCIES, alone=True))
    median = _median_ms(task, timing)
    return {  # the samples once: the other two are statistics of the same
        "latency_ms": median,
        "latency_p95_ms": replace(median, value=percentile(median.samples, 0.95), samples=()),
        "latency_p99_ms": replace(median, value=percentile(median.samples, 0.99), samples=()),
        "replayed_latency_ms": again
        if isinstance(again, Exception)
        else replace(_median_ms(task, again), cuda_graphs=True),
    }


def _median_ms(task: Task, timing: Timing) -> Reading:
    ms = tuple(1e3 * seconds for seconds in timing.seconds)
    return timed_reading(task, timing, percentile(ms, 0.5), 1, 1, samples=ms)


@dataclass
class Sweep:
    """Batch sizes tried, in order, and the first that was too large, with the reason."""

    tried: dict[int, Timing] = field(default_factory=dict)
    too_large: int | None = None
    reason: str = "did not fit into memory"

    def rate(self, batch_size: int) -> float:
        return batch_size / statistics.median(self.tried[batch_size].seconds)

    @property
    def best(self) -> int:
        return max(self.tried, key=self.rate)


def best_batch(task: Task) -> Measurement:
    """Double the batch from the common one as long as it pays, and halve it as long as that pays instead."""
    with arithmetic(task.config.execution.precision):
        return one_by_one(task, [([metric], partial(_best, metric, make)) for metric, make in BEST.items()])


def sweep(attempt: Callable[[int], Timing], start: int) -> Sweep:
    """Time batch sizes by doubling and halving from `start`, with an early stop in both directions.

    An error at a larger batch than the first ends the way up, whatever it is: kernels fail in many ways where tensors
    pass 2^31 elements. A device that has failed so is not asked again.

    Raises:
        Exception: what `attempt` raises up to the first batch, except lack of memory above a batch of one.
    """
    found = Sweep()

    def pays(batch_size: int, than: int | None) -> bool:
        """Time it; whether it is worth going on in the same direction."""
        try:
            found.tried[batch_size] = attempt(batch_size)
        except Exception as error:
            fits = not is_out_of_memory(error)
            if batch_size == 1 or (fits and batch_size <= start):
                raise
            found.too_large = batch_size
            if fits:
                found.reason = f"failed ({type(error).__name__}: {first_line(error)})"
            return False
        return than is None or found.rate(batch_size) >= WORTH_IT * found.rate(than)

    size = start
    while not pays(size, None):  # it did not fit
        release_memory()
        size //= 2
    first = size
    while found.too_large is None and size < LARGEST_BATCH and pays(2 * size, size):
        size *= 2
    release_memory()
    if size == first and found.reason == Sweep.reason:
        while size > 1 and pays(size // 2, size):
            size //= 2
    return found


def _best(metric: str, make: MakeStep, task: Task) -> Mapping[str, Answer]:
    """Each size is tried briefly, with kernels as libraries would take them unasked; the best one is timed in full."""
    brief = replace(task, config=replace(task.config, measure_seconds=SWEEP_S))
    with arithmetic(task.config.execution.precision, autotune=False):
        found = sweep(lambda batch_size: _steps(make(brief, batch_size), brief), task.batch_size)
    release_memory()
    # A device that has failed at a larger batch is not asked again.
    timing = _steps(make(task, found.best), task) if found.reason == Sweep.reason else found.tried[found.best]
    rates = tuple(found.best / seconds for seconds in timing.seconds)
    tried = ", ".join(f"{size}: {found.rate(size):,.0f}/s" for size in sorted(found.tried))
    limit = f"; batch {found.too_large} {found.reason}" if found.too_large else ""
    note = f"tried {tried}{limit}"
    return {metric: timed_reading(task, timing, statistics.median(rates), found.best, samples=rates, note=note)}


def layer_milliseconds(task: Task) -> dict[CallKey, float]:
    """Median milliseconds of each call of a layer in a forward pass in eval mode; together they are the whole pass.

    A layer is a module that has no others in it. What a module with others computes itself is at its first call. In the
    precision and memory format of the run, not compiled.
    """
    spec, execution, device = task.spec, task.config.execution, accelerator.choose(task.device)
    torch.manual_seed(task.seed)
    network = fresh_network(spec, spec.num_classes)
    paths = {module: path for path, module in network.named_modules()}
    network = for_inference(network, replace(execution, compile=False), device.place)
    batch = Batch((task.batch_size, *spec.input_size), execution, device.place, inference_dtype(execution))
    laps = Laps(device)
    entered, calls = [network], Counter[str]()

    def enter(module: nn.Module, *_: object) -> None:
        laps((paths[entered[-1]], 0))
        entered.append(module)

    def leave(module: nn.Module, *_: object) -> None:
        path = paths[entered.pop()]
        number = 0 if any(True for _ in module.children()) else calls[path]
        laps((path, number))
        calls[path] += 1

    @torch.no_grad()
    def forward() -> None:
        calls.clear()
        batch.given_to(network)
        laps(("", 0))

    inner = [module for module in paths if module is not network and not isinstance(module, torch.jit.ScriptModule)]
    with hooked(inner, enter, leave), arithmetic(execution.precision):
        for _ in range(WARM_UP_STEPS):
            forward()
        found = laps.of(forward, LAYERS_S)
    return {call: 1e3 * statistics.median(seconds) for call, seconds in found.items()}  # type: ignore[misc]


def trace(task: Task) -> str:
    """One training step, after a few to warm up, as chrome://tracing, Perfetto and TensorBoard read it: JSON.

    Raises:
        Unsupported: the network has no training step.
    """
    device = accelerator.choose(task.device)
    with arithmetic(task.config.execution.precision):
        step = training_step(task, task.batch_size)
        for _ in range(WARM_UP_STEPS):
            step()
        device.synchronise()
        with profile(activities=supported_activities(), record_shapes=True) as profiler:
            step()
            device.synchronise()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "trace.json")
        profiler.export_chrome_trace(str(file))
        return file.read_text(encoding="utf-8")
