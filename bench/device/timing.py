"""How long one step takes: warm up by time until it is steady, then synchronised samples. Knows nothing of networks."""

from __future__ import annotations

import math
import statistics
import time
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bench.device.accelerator import Device, Event
from bench.device.nvml import Clocks
from bench.metrics import Flag
from bench.quantity import joined
from bench.stats import median_interval

Step = Callable[[], object]
Clock = Callable[[], float]

AGREEMENT = 0.05  # two stretches of steps whose medians differ by less are the same to us
WARM_UP_LIMIT = 5  # times the measuring time, then warm-up is given up; slow steps have a few in any case
LEAST_STRETCHES = 6
DEVICE_SAMPLES = 5
LONGEST_WAIT_S = 0.25  # a kernel of 2 s is killed where the GPU has a display to serve
MARKS_S = 1e-4  # more than the host takes for two marks in the queue
LEAST_LAPS = 5


@dataclass(frozen=True)
class Timing:
    """Seconds of one step, a value for each sample in the order taken; a sample is the mean of several steps.

    `unsteady` is empty, or says that warm-up did not end or that the step changed while it was sampled; `throttled`
    what held the device's clock back.
    """

    seconds: tuple[float, ...]
    unsteady: str
    throttled: str = ""
    clock_mhz: float | None = None
    of_the_step: str = ""  # what a reader must know of what was timed

    @property
    def note(self) -> str:
        """What a reader must know."""
        return joined(self.of_the_step, self.unsteady, self.throttled)

    @property
    def flags(self) -> tuple[Flag, ...]:
        unsteady: tuple[Flag, ...] = ("unsteady",) if self.unsteady else ()
        return (*unsteady, "throttled") if self.throttled else unsteady


def steady_samples(
    step: Step,
    synchronise: Callable[[], object],
    measure_seconds: float,
    clock: Clock = time.perf_counter,
    least_samples: int = 5,
    shortest_sample_s: float = 0.01,
    clocks: Clocks | None = None,
) -> Timing:
    """Run `step` until its time no longer falls, then sample it for `measure_seconds`.

    A sample begins and ends with `synchronise`, so that queued device work cannot leak from one to the next. It holds
    as many steps as fill `shortest_sample_s`: waiting for the device after each short step would be timed with it, and
    no program that has work to do waits so. Zero samples every step alone, which is its latency.
    `clocks` are looked at after each.
    """

    def sample(steps: int) -> float:
        synchronise()
        start = clock()
        for _ in range(steps):
            step()
        synchronise()
        return (clock() - start) / steps

    sample(1)  # allocation, autotuning and lazy initialisation: never representative
    steady, recent = _warm_up(sample, clock, measure_seconds)
    steps = max(1, math.ceil(shortest_sample_s / max(recent[-1], 1e-9))) if shortest_sample_s else 1

    seconds: list[float] = []
    while sum(seconds) * steps < measure_seconds or len(seconds) < least_samples:
        seconds.append(sample(steps))
        if clocks is not None:
            clocks.look()
    note = "" if steady else f"not steady: step times still moved by over {AGREEMENT:.0%} when sampling began"
    seen = (clocks.throttled, clocks.mhz) if clocks is not None else ("", None)
    alike = recent if steady and steps == 1 else []  # steps that are not waited for take less
    return Timing(tuple(seconds), drift_note([*alike, *seconds]) or note, *seen)


def _warm_up(sample: Callable[[int], float], clock: Clock, measure_seconds: float) -> tuple[bool, list[float]]:
    """Until two successive stretches of steps agree: whether they did, and the median seconds of a step in the last."""
    start = clock()
    stretches: list[list[float]] = []
    stretch: list[float] = []
    while clock() - start < WARM_UP_LIMIT * measure_seconds or len(stretches) < LEAST_STRETCHES:
        stretch.append(sample(1))
        # Long enough to outlast single hiccups and short enough to end: a quarter of the time.
        if sum(stretch) >= measure_seconds / 4:
            stretches.append(stretch)
            if len(stretches) > 1 and _agree(*stretches[-2:]):
                return True, [statistics.median(each) for each in stretches[-2:]]
            stretch = []
    return False, [statistics.median(stretch or stretches[-1])]


def _agree(before: Sequence[float], after: Sequence[float]) -> bool:
    """Whether the medians are close, or cannot be told apart where steps scatter more than that."""
    if abs(statistics.median(after) - statistics.median(before)) <= AGREEMENT * statistics.median(before):
        return True
    (low, high), (low_after, high_after) = median_interval(before), median_interval(after)
    return min(len(before), len(after)) >= 6 and low <= high_after and low_after <= high


def drift_note(seconds: Sequence[float]) -> str:
    """Says so if the last third of the samples is slower or faster than the first by more than chance and 5 %.

    By Kendall's rank correlation with their order, of 0.001; of five or six samples that is all of them in order.
    """
    count = len(seconds)
    if count < 5:
        return ""
    change = statistics.median(seconds[-(count // 3) :]) / statistics.median(seconds[: count // 3]) - 1
    if abs(change) <= AGREEMENT:
        return ""
    from scipy.stats import kendalltau  # only here: it takes a second to import

    # Two of all orders are as regular as can be; of seven samples and more they are rarer than the limit asks.
    if kendalltau(range(count), seconds).pvalue > max(0.001, 2.01 / math.factorial(min(count, 7))):
        return ""
    return f"not steady: steps got {abs(change):.0%} {'slower' if change > 0 else 'faster'} while they were sampled"


class NoClock(Exception):
    """The device's own time cannot be told; the message is the reason."""


class HostTooSlow(NoClock):
    """The device may have waited while the step was queued, so what its clock says is no time of its own."""


def device_seconds(step: Step, device: Device, clock: Clock = time.perf_counter) -> tuple[float, ...]:
    """Seconds of a step by the device's clock, with all its launches queued before the first of them starts.

    The device is kept busy while the host queues the step, so that a host that is slower than the device does not
    show. A step of more launches than the queue holds (about a thousand) is under way before all of it is queued: then
    nobody can tell whether the device has waited in between, and the sample does not count.

    Raises:
        NoClock: the device has no clock or cannot be kept busy.
        HostTooSlow: it had begun too early in most of the samples.
    """
    if device.is_host:
        raise NoClock("only an accelerator works apart from the host, with a clock of its own")
    device.synchronise()
    start = clock()
    step()
    to_queue = clock() - start
    seconds = []
    for _ in range(DEVICE_SAMPLES):
        device.synchronise()
        busy = device.sleep(min(1.5 * to_queue + MARKS_S, LONGEST_WAIT_S))
        begin = device.event()
        if begin is None or not busy:
            raise NoClock("this device cannot be kept busy while a step is queued")
        step()
        end, too_early = device.event(), begin.query()
        device.synchronise()
        if not too_early:
            seconds.append(begin.elapsed_time(end) / 1e3)
    if len(seconds) <= DEVICE_SAMPLES // 2:
        raise HostTooSlow("the device had begun before the host had queued the step: it may have waited for the host")
    return tuple(seconds)


def keeping_pace(device: Device, every: int = 1) -> Callable[[], None]:
    """To be called after each step: lets the host run ahead of the device by two or three times `every` steps."""
    ahead: deque[Event] = deque()
    steps = 0

    def keep() -> None:
        nonlocal steps
        steps += 1
        if steps % every == 0 and (mark := device.event()):
            ahead.append(mark)
        if len(ahead) > 2:
            ahead.popleft().synchronize()

    return keep


class Laps:
    """What a step spends on its parts: a part ends where the step calls this with the part's name.

    By the clock of a device that has one, so that nothing waits within the step; else by the host's, which waits for
    the device at the end of each part.
    """

    def __init__(self, device: Device, clock: Clock = time.perf_counter) -> None:
        self._device = device
        self._clock = clock
        self._marks: list[tuple[Hashable, Event | float]] | None = None  # None: nobody has asked

    def __call__(self, part: Hashable) -> None:
        if self._marks is not None:
            self._marks.append((part, self._now()))

    def of(self, step: Step, measure_seconds: float, least: int = LEAST_LAPS) -> dict[Hashable, tuple[float, ...]]:
        """Seconds of each part, summed over its laps: a sample for each of so many steps as fill a time."""
        samples: dict[Hashable, list[float]] = {}
        taken, start = 0, self._clock()
        while taken < least or self._clock() - start < measure_seconds:
            self._device.synchronise()
            self._marks = [("", self._now())]
            step()
            self._device.synchronise()
            marks, self._marks = self._marks, None
            spent: dict[Hashable, float] = defaultdict(float)
            for (_, before), (part, after) in pairwise(marks):
                spent[part] += _seconds_between(before, after)
            for part, seconds in spent.items():
                samples.setdefault(part, []).append(seconds)
            taken += 1
        return {part: tuple(seconds) for part, seconds in samples.items()}

    def _now(self) -> Event | float:
        event = self._device.event() if self._device.tells_time else None
        if event is not None:
            return event
        self._device.synchronise()
        return self._clock()


def _seconds_between(before: Event | float, after: Event | float) -> float:
    if isinstance(before, float) or isinstance(after, float):
        return after - before  # type: ignore[operator]  # both are of one clock
    return before.elapsed_time(after) / 1e3
