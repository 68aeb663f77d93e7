"""What a device was asked for and has not done yet, by a clock that passes whether or not the host looks."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

LENGTH = 1024  # launches; a host that asks for more has to wait


class Queue:
    """Launches, each of which begins when the one before is done."""

    def __init__(
        self, clock: Callable[[], float] = time.perf_counter, wait: Callable[[float], object] = time.sleep
    ) -> None:
        self.clock = clock
        self._wait = wait
        self._ends: deque[float] = deque()
        self.free_at = -math.inf  # when the last one is done; never, once a kernel hangs
        self.busy_seconds = 0.0  # of all that was asked for
        self.launches = 0

    def launch(self, seconds: float) -> None:
        """Ask for work of so many seconds."""
        now = self.clock()
        while self._ends and self._ends[0] <= now:
            self._ends.popleft()
        if len(self._ends) == LENGTH:
            self.wait_until(self._ends[0])
            now = self.clock()
        self.free_at = max(now, self.free_at) + seconds
        self._ends.append(self.free_at)
        self.busy_seconds += seconds
        self.launches += 1

    def synchronise(self) -> None:
        self.wait_until(self.free_at)

    def wait_until(self, moment: float) -> None:
        while (left := moment - self.clock()) > 0:
            self._wait(min(left, 3600.0))

    def event(self) -> Event:
        return Event(self, max(self.clock(), self.free_at))


class Event:
    """A mark at the end of the queue, as `torch.Event` has it."""

    def __init__(self, queue: Queue, moment: float) -> None:
        self._queue = queue
        self.moment = moment

    def query(self) -> bool:
        return self._queue.clock() >= self.moment

    def synchronize(self) -> None:
        self._queue.wait_until(self.moment)

    def elapsed_time(self, end_event: Event, /) -> float:
        return 1e3 * (end_event.moment - self.moment)
