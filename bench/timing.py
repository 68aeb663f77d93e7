"""How long one step takes: warm up by time, then synchronised samples. Knows nothing of networks."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

Step = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """Seconds of each sampled step, in the order taken, and whether warm-up reached a steady state."""

    seconds: tuple[float, ...]
    steady: bool


def steady_samples(
    step: Step,
    synchronise: Callable[[], object],
    measure_seconds: float,
    clock: Callable[[], float] = time.perf_counter,
    least_samples: int = 5,
) -> Timing:
    """Run `step` until its time no longer falls, then sample it for `measure_seconds`.

    Every sample begins and ends with `synchronise`, so that queued device work cannot leak from one to the next.
    Warm-up compares the medians of two successive windows of steps: it is over when they agree within 5 %,
    and it is given up (and said so) after five times `measure_seconds`.
    """

    def timed_step() -> float:
        synchronise()
        start = clock()
        step()
        synchronise()
        return clock() - start

    timed_step()  # allocation, autotuning and lazy initialisation: never representative
    start = clock()
    window: list[float] = []
    before: float | None = None
    steady = False
    while not steady and clock() - start < 5 * measure_seconds:
        window.append(timed_step())
        # A window is long enough to outlast single hiccups and short enough to end: a quarter of the time.
        if len(window) >= 2 and sum(window) >= measure_seconds / 4:
            now = statistics.median(window)
            steady = before is not None and abs(now - before) <= 0.05 * before
            before, window = now, []

    samples: list[float] = []
    while sum(samples) < measure_seconds or len(samples) < least_samples:
        samples.append(timed_step())
    return Timing(tuple(samples), steady)
