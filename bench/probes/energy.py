"""What an image costs in joules."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from bench.config import Task
from bench.device import accelerator, nvml
from bench.device.accelerator import Board
from bench.device.energy import ERROR, Read, Spent, StandsStill, Window, integrated, measure_steps, update_period
from bench.device.execution import arithmetic, with_batch_that_fits
from bench.device.timing import Timing, keeping_pace, steady_samples
from bench.probes.reading import Answer, Measurement, Unsupported
from bench.probes.steps import MakeStep, check_finite, inference_step, one_by_one, timed_reading, training_step

# A board's counter moves ten times a second, and its power is sampled a part of that time (arXiv:2312.02741): in 3 s
# lie thirty updates. That of processors moves a thousand times a second.
WINDOW_S, WINDOW_OF_HOST_S = 3.0, 1.0
STEPS = {"energy_joules_per_image": inference_step, "train_energy_joules_per_image": training_step}
# Of work that is queued at least: a device that is never idle, and a host that looks often enough at the counter.
# Unbounded, it would be a thousand steps where each is one graph.
AHEAD_S = 0.02
SETTLE_S = 2.0  # power is told as a mean over the last second


@dataclass(frozen=True)
class _Meter:
    """Something that counts joules."""

    read: Read
    source: str
    period: float  # seconds between two of its updates
    settle_s: float = 0.0  # how long it takes to forget what was before


def measure(task: Task) -> Measurement:
    """Energy of the whole board per image at the batch size of the track, idle power included.

    Raises:
        Unsupported: nothing here tells of energy.
    """
    device = accelerator.named(task.device)
    try:
        with device.board() as board, arithmetic(task.config.execution.precision):
            meter = _meter(board, "the processors' counters (RAPL)" if device.is_host else "the GPU's energy counter")
            return one_by_one(task, [([name], partial(_per_image, name, make, meter)) for name, make in STEPS.items()])
    except (nvml.Unavailable, StandsStill) as reason:
        raise Unsupported(str(reason)) from None


def _meter(board: Board, counter: str) -> _Meter:
    """What the board has.

    Raises:
        Unavailable: neither counter nor power reading.
        StandsStill: a counter that does not count.
    """
    try:
        board.energy_joules()
    except nvml.Unavailable:
        board.power_watts()
        read = integrated(board.power_watts)
        source = "power readings added up, as this GPU has no energy counter; each may be a mean over the last second"
        return _Meter(read, source, update_period(read), SETTLE_S)
    return _Meter(board.energy_joules, counter, update_period(board.energy_joules))


def _per_image(metric: str, make: MakeStep, meter: _Meter, task: Task) -> Mapping[str, Answer]:
    asked = task.batch_size
    device = accelerator.named(task.device)
    window_s = WINDOW_OF_HOST_S if device.is_host else WINDOW_S

    def attempt(batch_size: int) -> tuple[Spent, Timing]:
        step = make(task, batch_size)
        with nvml.clocks(task.device) as clock:  # as it runs from here on
            seconds = task.measure_seconds / 2
            warm = steady_samples(step, device.synchronise, seconds, least_samples=1, clocks=clock)
        keep_pace = keeping_pace(device, math.ceil(AHEAD_S / statistics.median(warm.seconds)))

        def paced() -> None:
            step()
            keep_pace()

        spent = measure_steps(paced, device.synchronise, meter.read, meter.period, window_s, settle_s=meter.settle_s)
        check_finite(step(), task.config.execution)
        return spent, replace(warm, of_the_step=step.batch.note)

    try:
        (spent, warm), used = with_batch_that_fits(attempt, asked)
    except StandsStill as reason:
        raise Unsupported(str(reason)) from None
    note = f"{meter.source}; {_quality(spent.window)}"
    return {metric: timed_reading(task, warm, spent.joules_per_step / used, used, asked, note=note)}


def _quality(window: Window) -> str:
    """In whole seconds, so that rows that were measured alike say the same; how good the sensor is, it does not say."""
    known = f", a time known to {math.ceil(100 * window.error)} % only" if window.error > ERROR else ""
    return f"over {math.floor(window.seconds)} s or more{known}"
