"""What an image costs in joules, and what the GPU draws while it does nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from functools import partial

from bench.config import Task
from bench.device import accelerator, nvml
from bench.device.energy_counter import Idle, Read, Spent, StandsStill, Window, measure_idle, measure_steps
from bench.device.execution import arithmetic
from bench.device.out_of_memory import with_batch_that_fits
from bench.device.timing import Timing, steady_samples
from bench.probes.reading import Answer, Measurement, Reading, Unsupported
from bench.probes.steps import MakeStep, attempted, check_finite, inference_step, training_step

WINDOW, LEAST_WINDOW_S = 2.5, 1.0  # times the measuring time, and at least so long


def measure(task: Task) -> Measurement:
    """Energy of the whole board per image at the batch size of the track; its idle power is stated, not taken off.

    Idle power is measured first, before this process has put anything on the GPU.

    Raises:
        Unsupported: nothing here tells of energy.
    """
    try:
        with nvml.opened(task.device) as gpu:
            read, source = _meter(gpu)
            return Measurement(_readings(task, read, source))
    except (nvml.Unavailable, StandsStill) as reason:
        raise Unsupported(str(reason)) from None


def window_seconds(task: Task) -> float:
    """How long the counter is watched for one number."""
    return max(LEAST_WINDOW_S, WINDOW * task.measure_seconds)


def _readings(task: Task, read: Read, source: str) -> dict[str, Answer]:
    idle = measure_idle(read, window_seconds(task))
    readings: dict[str, Answer] = {}
    with arithmetic(task.config.execution.precision):
        for name, make in (
            ("energy_joules_per_image", inference_step),
            ("train_energy_joules_per_image", training_step),
        ):
            readings |= attempted([name], task, partial(_per_image, name, make, read, source, idle))
    note = f"{source}, before anything ran on it; {_quality(idle.window)}"
    return {**readings, "idle_watts": Reading(idle.window.watts, device=task.device, note=note)}


def _meter(gpu: nvml.Gpu) -> tuple[Read, str]:
    """Something that counts joules, and what it is.

    Raises:
        Unavailable: the GPU has neither counter nor power reading.
    """
    try:
        gpu.energy_joules()
        return gpu.energy_joules, "the GPU's energy counter"
    except nvml.Unavailable:
        gpu.power_watts()
        return integrated(gpu.power_watts), "power readings added up, as this GPU has no energy counter"


def integrated(power_watts: Callable[[], float], clock: Callable[[], float] = time.perf_counter) -> Read:
    """A counter of joules made of power readings, each of which holds until the next."""
    joules, before, watts = 0.0, clock(), power_watts()

    def read() -> float:
        nonlocal joules, before, watts
        now = clock()
        joules += watts * (now - before)
        before, watts = now, power_watts()
        return joules

    return read


def _per_image(metric: str, make: MakeStep, read: Read, source: str, idle: Idle, task: Task) -> Mapping[str, Answer]:
    asked = task.batch_size
    synchronise = accelerator.named(task.device).synchronise

    def attempt(batch_size: int) -> tuple[Spent, Timing]:
        step = make(task, batch_size)
        warm = steady_samples(step, synchronise, task.measure_seconds / 2, least_samples=1)
        spent = measure_steps(step, synchronise, read, idle.period, window_seconds(task))
        check_finite(step())
        return spent, warm

    try:
        (spent, warm), used = with_batch_that_fits(attempt, asked)
    except StandsStill as reason:
        raise Unsupported(str(reason)) from None
    notes = (
        f"batch {asked} did not fit into memory" if used != asked else "",
        f"{source}; {_quality(spent.window)}",
        warm.note,
    )
    reading = Reading(
        value=spent.joules_per_step / used,
        batch_size=used,
        asked_batch_size=asked,
        cuda_graphs=bool(task.config.execution.cuda_graphs),
        device=task.device,
        note="; ".join(note for note in notes if note),
        flags=warm.flags,
    )
    return {metric: reading}


def _quality(window: Window) -> str:
    """In whole steps, so that rows that were measured alike say the same."""
    return f"over {math.floor(window.seconds)} s or more, to within {max(1, math.ceil(100 * window.error))} %"
