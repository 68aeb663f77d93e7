"""Hands tasks to seats that come and go: who is free gets the next one, and what a lost seat had is given out again.

A seat is a place for one task at a time, a GPU or a node of a cluster. This knows no cluster and no clock, so that it
can be tried out on simulated ones.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Generator, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from bench.engines.engine import Crash, Stop

MOST_LOSSES = 3  # of seats under the same task; it may be what brings them down
PATIENCE_S = 1.0  # between two looks at which nodes there are, and at whether an end is wished

Seat = TypeVar("Seat", bound=Hashable)
Job = TypeVar("Job")


class SeatLost(Exception):
    """The node or the process of a seat is gone; the message is the reason."""


class NoSeats(Exception):
    """Nothing is left to work on; the message says what to do."""


class Seats(Protocol[Seat]):
    def refresh(self) -> None:
        """Look which nodes there are now, and ask new ones for seats.

        Raises:
            NoSeats: there have been none for too long.
        """

    def usable(self) -> Iterable[Seat]:
        """Seats that can be given a task, the busy ones among them."""

    def give(self, seat: Seat, job: Any) -> Hashable:
        """Start a task; what is returned stands for its result."""

    def ended(self, pending: Sequence[Hashable], patience_s: float) -> Sequence[Hashable]:
        """Which results are there, once one is or something else has changed; at the latest after `patience_s`."""

    def result(self, handle: Hashable) -> Any:
        """
        Raises:
            SeatLost: there will be none.
        """

    def discard(self, seat: Seat, reason: str) -> None:
        """The seat is not to be used again."""

    def name(self, seat: Seat) -> str: ...


@dataclass(frozen=True)
class _UnderWay(Generic[Seat, Job]):
    seat: Seat
    job: Job


def dispatch(
    jobs: Sequence[Job], seats: Seats[Seat], on_start: Callable[[Job, str], object], stop: Stop | None = None
) -> Generator[tuple[Job, Any]]:
    """Every job with its result, in the order in which they end.

    Raises:
        NoSeats: as `Seats.refresh`.
    """
    waiting = deque(jobs)
    pending: dict[Hashable, _UnderWay[Seat, Job]] = {}
    busy: set[Seat] = set()
    losses: Counter[int] = Counter()
    told: set[int] = set()
    while (waiting or pending) and not (stop and stop.requested):
        seats.refresh()
        for seat in list(seats.usable()):
            if not waiting:
                break
            if seat not in busy:
                job = waiting.popleft()
                pending[seats.give(seat, job)] = _UnderWay(seat, job)
                busy.add(seat)
                if id(job) not in told:  # not again when it is given out again
                    told.add(id(job))
                    on_start(job, seats.name(seat))
        for handle in seats.ended(list(pending), PATIENCE_S):
            at = pending.pop(handle)
            busy.discard(at.seat)
            try:
                result = seats.result(handle)
            except SeatLost as reason:
                seats.discard(at.seat, str(reason))
                losses[id(at.job)] += 1
                if losses[id(at.job)] < MOST_LOSSES:
                    waiting.appendleft(at.job)
                    continue
                result = Crash("failed", f"its node or worker was lost {MOST_LOSSES} times: {reason}", 0.0)
            yield at.job, result
