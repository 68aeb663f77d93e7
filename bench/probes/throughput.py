"""Images per second at one batch size for all networks of a track: inference, and the training step."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from bench.config import Task
from bench.device import accelerator
from bench.device.execution import arithmetic
from bench.device.nvml import clocks
from bench.device.out_of_memory import with_batch_that_fits
from bench.device.timing import Laps, NoClock, Timing, device_seconds, steady_samples
from bench.probes.reading import Answer, Measurement, Reading, Unsupported
from bench.probes.steps import MakeStep, Result, Step, attempted, check_finite, inference_step, training_step

LAUNCH_BOUND = 1.25  # times the device's own time
PARTS = {part: f"train_{part}_ms" for part in ("forward", "backward", "optimizer")}  # as a training step names them


@dataclass(frozen=True)
class _Timed:
    steps: Timing
    device_seconds: tuple[float, ...] | Exception  # by the device's own clock, or why there are none
    parts: Mapping[Hashable, tuple[float, ...]] | Exception  # of a training step


def measure(task: Task) -> Measurement:
    """Synchronised steps on one batch that stays on the device; data loading excluded.

    A batch that does not fit is halved until it does; asked and used batch are in the row.
    """
    readings: dict[str, Answer] = {}
    with arithmetic(task.config.execution.precision):
        for kind in ("inference", "train"):
            metrics = (f"{kind}_images_per_s", f"{kind}_device_ms", *(PARTS.values() if kind == "train" else ()))
            if kind == "train" and task.config.inference_only:
                reason = Unsupported(f"--preset {task.config.preset} times inference alone")
                readings |= dict.fromkeys(metrics, reason)
                continue
            readings |= attempted(metrics, task, partial(_readings, kind))
    return Measurement(readings)


def timed(make: MakeStep, task: Task, batch_size: int) -> Timing:
    """Steady samples of one step at one batch size.

    Raises:
        Unsupported: there is no such step.
        ValueError: the network returns nonsense.
    """
    return _steps(make(task, batch_size), task)


def _readings(kind: str, task: Task) -> Mapping[str, Answer]:
    asked = task.batch_size
    result, used = with_batch_that_fits(lambda batch_size: _timed(kind, task, batch_size), asked)
    rates = tuple(used / seconds for seconds in result.steps.seconds)
    notes = [result.steps.note] if result.steps.note else []
    if used != asked:
        notes.insert(0, f"batch {asked} did not fit into memory")
    rate = Reading(
        value=statistics.median(rates),
        samples=rates,
        batch_size=used,
        asked_batch_size=asked,
        cuda_graphs=bool(task.config.execution.cuda_graphs),
        device=task.device,
        note="; ".join(notes),
        flags=result.steps.flags,
        clock_mhz=result.steps.clock_mhz,
    )
    if isinstance(result.device_seconds, Exception):
        busy: Answer = result.device_seconds
    else:
        ms = tuple(1e3 * seconds for seconds in result.device_seconds)
        share = statistics.median(ms) / (1e3 * statistics.median(result.steps.seconds))
        busy = replace(rate, value=statistics.median(ms), samples=ms, note="", flags=())
        if share < 1 / LAUNCH_BOUND:
            note = f"launch-bound: the device works {share:.0%} of the step"
            busy = replace(busy, note=note, flags=("launch_bound",))
    found = {f"{kind}_images_per_s": rate, f"{kind}_device_ms": busy}
    return found if kind == "inference" else {**found, **_parts(rate, result.parts)}


def _parts(rate: Reading, parts: Mapping[Hashable, tuple[float, ...]] | Exception) -> Mapping[str, Answer]:
    """The readings of what a training step is made of, under the conditions of its rate."""
    if isinstance(parts, Exception):
        return dict.fromkeys(PARTS.values(), parts)
    if not parts:
        return dict.fromkeys(PARTS.values(), Unsupported("a step that is replayed as a graph has no parts"))
    ms = {part: tuple(1e3 * seconds for seconds in parts[part]) for part in PARTS}
    return {
        metric: replace(rate, value=statistics.median(ms[part]), samples=ms[part]) for part, metric in PARTS.items()
    }


def _timed(kind: str, task: Task, batch_size: int) -> _Timed:
    device = accelerator.named(task.device)
    laps = Laps(device)
    step = training_step(task, batch_size, laps) if kind == "train" else inference_step(task, batch_size)
    steps = _steps(step, task)
    own = _besides(lambda: device_seconds(step, device))
    return _Timed(steps, own, _besides(lambda: laps.of(step, task.measure_seconds / 4) if kind == "train" else {}))


def _steps(step: Step, task: Task) -> Timing:
    device = accelerator.named(task.device)
    with clocks(task.device) as clock:
        steps = steady_samples(
            step,
            device.synchronise,
            task.measure_seconds,
            shortest_sample_s=device.sizes.shortest_sample_s,
            clocks=clock,
        )
    check_finite(step())
    return steps


def _besides(measured: Callable[[], Result]) -> Result | Exception:
    """What is measured after the rate, or why it is not: it must not cost the rate."""
    try:
        return measured()
    except NoClock as reason:
        return Unsupported(str(reason))
    except Exception as error:
        return error.with_traceback(None)
