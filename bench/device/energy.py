"""Power and energy: how to read a counter of joules, and the counter of a Linux machine's processors.

A counter such as NVML's stands still between two updates. Reading it at any moment may miss what was spent since its
last update, which is up to a tenth of a second. So time is taken where the counter is seen to move, and the window
grows until what is left of that error is small.

What processors spend, and their memory where it is told, is RAPL in /sys/class/powercap. Of the libraries that read
the same files, those that are kept up bring a dozen others along.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.device.nvml import Unavailable

Read = Callable[[], float]  # joules since some moment in the past
Clock = Callable[[], float]
Sleep = Callable[[float], object]

LOOK_EVERY_S = 0.002  # a reading takes some ten microseconds; where it takes long:
REST = 20  # times as long as a reading, so that it costs the host 5 % of its time at most
ERROR = 0.01  # of the length of a window
LONGEST_WINDOW = 5  # times the length that was asked for
LONGEST_PERIOD_S = 2.0  # in which a counter has to move twice
SETTLED, SETTLED_FOR_S, SETTLES_WITHIN_S = 0.05, 2.0, 20.0  # power that moves by so little for so long


class StandsStill(Exception):
    """The counter did not move; the message says for how long."""


@dataclass(frozen=True)
class Tick:
    """The counter as it was seen to move: some time between `earliest` and `latest`, in seconds."""

    earliest: float
    latest: float
    joules: float

    @property
    def moment(self) -> float:
        return (self.earliest + self.latest) / 2

    @property
    def doubt(self) -> float:
        return (self.latest - self.earliest) / 2


@dataclass(frozen=True)
class Window:
    """Mean power between two ticks."""

    first: Tick
    last: Tick

    @property
    def seconds(self) -> float:
        return self.last.moment - self.first.moment

    @property
    def watts(self) -> float:
        return (self.last.joules - self.first.joules) / self.seconds

    @property
    def error(self) -> float:
        """The largest relative error of `seconds`; infinite where it is not known to be above zero."""
        return (self.first.doubt + self.last.doubt) / self.seconds if self.seconds > 0 else math.inf


class Watch:
    """Looks at a counter now and then and keeps the first and the last time that it moved."""

    def __init__(self, read: Read, clock: Clock, period: float = math.inf) -> None:
        """`period` is the time between two updates, where it is known: no tick is older than that."""
        self._read = read
        self._clock = clock
        self._period = period
        self._asked = self._started = clock()  # when the last reading began
        self._joules = read()
        self._answered = clock()  # when it ended
        self._ticks: list[Tick] = []

    def look(self) -> bool:
        """Read the counter if the last time was long enough ago; whether it was."""
        now = self._clock()
        if now - self._answered < max(LOOK_EVERY_S, REST * (self._answered - self._asked)):
            return False
        joules = self._read()
        before, self._asked, self._answered = self._asked, now, self._clock()
        if joules != self._joules:
            self._ticks.append(Tick(max(before, now - self._period), self._answered, joules))
        self._joules = joules
        return True

    @property
    def waited(self) -> float:
        """Seconds since the first look."""
        return self._clock() - self._started

    @property
    def updates(self) -> int:
        """How often the counter was seen to move."""
        return len(self._ticks)

    @property
    def window(self) -> Window | None:
        """From the first tick to the last; None before the second."""
        return Window(self._ticks[0], self._ticks[-1]) if len(self._ticks) > 1 else None

    @property
    def period(self) -> float:
        """Median time between two ticks."""
        return statistics.median(b.moment - a.moment for a, b in zip(self._ticks, self._ticks[1:], strict=False))

    def is_done(self, seconds: float) -> bool:
        """Whether the window is as long as asked for and exact enough, or cannot become so in time."""
        if self.waited > LONGEST_WINDOW * seconds:
            return True
        return self.window is not None and self.window.seconds >= seconds and self.window.error <= ERROR

    def result(self) -> Window:
        """The window.

        Raises:
            StandsStill: there is none.
        """
        if self.window is None or self.window.seconds <= 0:
            raise StandsStill(f"the energy counter did not move twice within {self.waited:.1f} s")
        return self.window


@dataclass(frozen=True)
class Spent:
    """What steps cost that follow one another without a pause."""

    window: Window
    seconds_per_step: float

    @property
    def joules_per_step(self) -> float:
        return self.window.watts * self.seconds_per_step


def update_period(read: Read, clock: Clock = time.perf_counter, sleep: Sleep = time.sleep) -> float:
    """Median seconds between two updates of a counter, watched while nothing else is done.

    Raises:
        StandsStill: the counter does not move.
    """
    watch = Watch(read, clock)
    while watch.updates <= 4 and watch.waited < LONGEST_PERIOD_S:
        if not watch.look():
            sleep(LOOK_EVERY_S)
    watch.result()
    return watch.period


def integrated(power_watts: Read, clock: Clock = time.perf_counter) -> Read:
    """A counter of joules made of power readings, each of which holds until the next."""
    joules, before, watts = 0.0, clock(), power_watts()

    def read() -> float:
        nonlocal joules, before, watts
        now = clock()
        joules += watts * (now - before)
        before, watts = now, power_watts()
        return joules

    return read


def settled_watts(power_watts: Read, clock: Clock = time.perf_counter, sleep: Sleep = time.sleep) -> float | None:
    """Mean power of a device that does nothing, once it has cooled down; None where it goes on moving.

    A board that has just worked keeps its clocks up for a while, and leaks more as long as it is hot.
    """
    start, seen = clock(), [(clock(), power_watts())]
    while (now := clock()) - start < SETTLES_WITHIN_S:
        sleep(0.1)
        seen = [(then, watts) for then, watts in seen if now - then <= SETTLED_FOR_S] + [(clock(), power_watts())]
        watts = [watts for _, watts in seen]
        if seen[-1][0] - seen[0][0] >= SETTLED_FOR_S and max(watts) - min(watts) <= SETTLED * max(watts):
            return statistics.fmean(watts)
    return None


def measure_steps(
    step: Callable[[], object],
    synchronise: Callable[[], object],
    read: Read,
    period: float,
    seconds: float,
    clock: Clock = time.perf_counter,
    settle_s: float = 0.0,
) -> Spent:
    """Repeat a step that is warm, and watch the counter for `seconds` or longer until that time is known to 1 %.

    Before it come `settle_s` of the same steps: a sensor that tells a mean over the last second still holds what was
    before them.

    The device is never waited for in between, so that it works without a pause: power is that between two ticks
    within this time, and the time of a step is that of all of it.

    Raises:
        StandsStill: the counter does not move.
    """
    synchronise()
    start = clock()
    while clock() - start < settle_s:
        step()
    synchronise()  # what is queued would be timed and not counted
    watch = Watch(read, clock, period)
    start, steps = clock(), 0
    while not (watch.look() and watch.is_done(seconds)):
        step()
        steps += 1
    synchronise()
    return Spent(watch.result(), (clock() - start) / steps)


ZONES = Path("/sys/class/powercap")  # also of AMD's processors, under Intel's name


class Processors:
    """All processors of the machine, whatever uses them."""

    def __init__(self, zones: Path | None = None) -> None:
        """Look for their counters.

        Raises:
            Unavailable: there are none, or this process may not read them.
        """
        names = {zone: (zone / "name").read_text().strip() for zone in sorted((zones or ZONES).glob("intel-rapl:*"))}
        # A package holds its cores; "psys" is the whole machine, with what is not needed for computing.
        self._counters = [_Counter(zone) for zone, name in names.items() if name.startswith(("package", "dram"))]
        if not self._counters:
            raise Unavailable("needs an NVIDIA GPU (NVML), or a Linux that tells what its processors spend (RAPL)")

    def energy_joules(self) -> float:
        """Since this object was made."""
        return sum(counter.joules() for counter in self._counters)

    def power_watts(self) -> float:
        raise Unavailable("RAPL counts energy and tells no power")


class _Counter:
    """Microjoules that begin again from zero at some large number."""

    def __init__(self, zone: Path) -> None:
        self._file = zone / "energy_uj"
        self._range = int((zone / "max_energy_range_uj").read_text())
        self._spent, self._last = 0, self._read()

    def joules(self) -> float:
        now = self._read()
        self._spent, self._last = self._spent + (now - self._last) % self._range, now
        return self._spent / 1e6

    def _read(self) -> int:
        try:
            return int(self._file.read_text())
        except PermissionError:
            every = self._file.parents[1] / "*" / "energy_uj"
            raise Unavailable(
                f"only root may read what the processors spend (RAPL): `sudo chmod a+r {every}` lets this run read it"
            ) from None
