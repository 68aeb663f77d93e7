"""Images per second at one batch size for all networks of a track: inference, and the training step."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from bench.config import Task
from bench.device import accelerator
from bench.device.execution import arithmetic
from bench.device.out_of_memory import with_batch_that_fits
from bench.device.timing import NoClock, Timing, device_seconds, steady_samples
from bench.probes.reading import Answer, Measurement, Reading, Unsupported
from bench.probes.steps import MakeStep, attempted, check_finite, inference_step, training_step

LAUNCH_BOUND = 1.25  # times the device's own time


@dataclass(frozen=True)
class _Timed:
    steps: Timing
    device_seconds: tuple[float, ...] | Exception  # by the device's own clock, or why there are none


def measure(task: Task) -> Measurement:
    """Synchronised steps on one batch that stays on the device; data loading excluded.

    A batch that does not fit is halved until it does; asked and used batch are in the row.
    """
    readings: dict[str, Answer] = {}
    with arithmetic(task.config.execution.precision):
        for kind, make in (("inference", inference_step), ("train", training_step)):
            metrics = (f"{kind}_images_per_s", f"{kind}_device_ms")
            if kind == "train" and task.config.inference_only:
                reason = Unsupported(f"--preset {task.config.preset} times inference alone")
                readings |= dict.fromkeys(metrics, reason)
                continue
            readings |= attempted(metrics, task, partial(_readings, kind, make))
    return Measurement(readings)


def timed(make: MakeStep, task: Task, batch_size: int) -> Timing:
    """Steady samples of one step at one batch size.

    Raises:
        Unsupported: there is no such step.
        ValueError: the network returns nonsense.
    """
    return _timed(make, task, batch_size).steps


def _readings(kind: str, make: MakeStep, task: Task) -> Mapping[str, Answer]:
    asked = task.batch_size
    result, used = with_batch_that_fits(lambda batch_size: _timed(make, task, batch_size), asked)
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
    return {f"{kind}_images_per_s": rate, f"{kind}_device_ms": busy}


def _timed(make: MakeStep, task: Task, batch_size: int) -> _Timed:
    device = accelerator.named(task.device)
    step = make(task, batch_size)
    steps = steady_samples(
        step,
        device.synchronise,
        task.measure_seconds,
        shortest_sample_s=device.sizes.shortest_sample_s,
    )
    check_finite(step())
    try:
        own: tuple[float, ...] | Exception = device_seconds(step, device)
    except NoClock as reason:
        own = Unsupported(str(reason))
    except Exception as error:  # it must not cost the rate, which was measured without it
        own = error.with_traceback(None)
    return _Timed(steps, own)
