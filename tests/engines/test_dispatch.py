"""Handing out tasks on simulated clusters: nothing is lost, nothing is done twice, and nobody waits for long."""

import heapq
import random
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bench.engines.dispatch import MOST_LOSSES, NoSeats, SeatLost, dispatch
from bench.engines.engine import Crash
from bench.records.record import Record
from bench.records.run_folder import Run


@dataclass(frozen=True)
class Job:
    name: str
    seconds: float


@dataclass
class Simulated:
    """Seats of which every task takes as long as it says, by a clock that moves to the next end when all wait.

    With `real_time` it also moves by what the process that hands out and writes down takes for that.
    """

    seats: list[int]
    lost_at: dict[int, float] = field(default_factory=dict)  # seat -> when it is lost
    joins_at: dict[int, float] = field(default_factory=dict)
    real_time: bool = False
    poison: str = ""  # a task under which every seat is lost
    now: float = 0.0
    begun: list[str] = field(default_factory=list)
    _ends: list[tuple[float, int, int]] = field(default_factory=list)  # when, handle, seat
    _jobs: dict[int, Job] = field(default_factory=dict)
    _lost: set[int] = field(default_factory=set)
    _clock: float = field(default_factory=time.perf_counter)

    def refresh(self) -> None:
        if self.real_time:
            self._clock, before = time.perf_counter(), self._clock
            self.now += self._clock - before
        self.seats += [seat for seat, when in self.joins_at.items() if when <= self.now and seat not in self.seats]
        self.joins_at = {seat: when for seat, when in self.joins_at.items() if when > self.now}
        if not self.seats:
            raise NoSeats("none")

    def usable(self) -> list[int]:
        return self.seats

    def give(self, seat: int, job: Job) -> Hashable:
        handle = len(self._jobs)
        self._jobs[handle] = job
        self.begun.append(job.name)
        end = self.now + job.seconds
        lost = self.lost_at.get(seat, float("inf"))
        if lost < end or job.name == self.poison:
            self._lost.add(handle)
            end = min(end, lost)
        heapq.heappush(self._ends, (end, handle, seat))
        return handle

    def ended(self, pending: Sequence[Hashable], patience_s: float) -> Sequence[Hashable]:
        if not self._ends or (self.joins_at and min(self.joins_at.values()) < self._ends[0][0]):
            self.now += patience_s
            return []
        when, handle, _ = heapq.heappop(self._ends)
        self.now = max(self.now, when)
        return [handle]

    def result(self, handle: Hashable) -> str:
        assert isinstance(handle, int)
        if handle in self._lost:
            raise SeatLost("the node was switched off")
        return f"result of {self._jobs[handle].name}"

    def discard(self, seat: int, reason: str) -> None:
        self.seats.remove(seat)

    def name(self, seat: int) -> str:
        return f"seat {seat}"


def jobs_of(lengths: Sequence[float]) -> list[Job]:
    return [Job(str(number), seconds) for number, seconds in enumerate(lengths)]


def test_every_task_is_done_once_in_the_order_in_which_they_end() -> None:
    seats = Simulated([0, 1])
    told: list[str] = []
    done = list(dispatch(jobs_of([5, 1, 1, 1]), seats, lambda job, name: told.append(f"{job.name} at {name}")))
    assert [(job.name, result) for job, result in done] == [(n, f"result of {n}") for n in "1230"]
    assert told == ["0 at seat 0", "1 at seat 1", "2 at seat 1", "3 at seat 1"]
    assert seats.now == 5


def test_what_a_lost_seat_had_is_done_elsewhere_and_shown_as_started_once() -> None:
    seats = Simulated([0, 1], lost_at={0: 2.5})
    told: list[str] = []
    done = list(dispatch(jobs_of([2, 2, 2, 2]), seats, lambda job, name: told.append(job.name)))
    assert sorted((job.name, result) for job, result in done) == [(n, f"result of {n}") for n in "0123"]
    assert sorted(seats.begun) == sorted("0123" + "2")
    assert sorted(told) == ["0", "1", "2", "3"]
    assert seats.seats == [1]


def test_a_node_that_joins_later_gets_work() -> None:
    seats = Simulated([0], joins_at={1: 3.0})
    list(dispatch(jobs_of([2] * 10), seats, lambda job, name: None))
    assert seats.now < 14  # 20 with one


def test_a_task_that_brings_every_seat_down_is_given_up_and_the_others_are_done() -> None:
    seats = Simulated([0], joins_at={n: float(n) for n in range(1, 2 * MOST_LOSSES)}, poison="1")
    done = {job.name: result for job, result in dispatch(jobs_of([1, 1, 1]), seats, lambda job, name: None)}
    assert seats.begun.count("1") == MOST_LOSSES
    crash = done["1"]
    assert isinstance(crash, Crash)
    assert "lost 3 times: the node was switched off" in crash.reason
    assert (done["0"], done["2"]) == ("result of 0", "result of 2")


def test_a_cluster_that_is_gone_is_an_error() -> None:
    seats = Simulated([0], lost_at={0: 0.5})
    with pytest.raises(NoSeats):
        list(dispatch(jobs_of([1]), seats, lambda job, name: None))


@pytest.mark.parametrize(
    "workers", [8, pytest.param(64, marks=pytest.mark.perf), pytest.param(256, marks=pytest.mark.perf)]
)
def test_many_workers_are_kept_busy(tmp_path: Path, workers: int) -> None:
    """At least 90 % of the ideal speed-up: tasks by a simulated clock, all other work by the real one.

    Tasks of 10 to 30 s, twenty for each worker, in random order; each brings four rows, which are really written.
    """
    generator = random.Random(workers)
    lengths = [generator.uniform(10, 30) for _ in range(20 * workers)]
    seats = Simulated(list(range(workers)), real_time=True)
    run = Run.create(tmp_path, "a", {})
    rows = [
        Record("resnet20_cifar", "throughput", f"m{n}", 1.0, "images/s", "ok", samples=(1.0,) * 20) for n in range(4)
    ]
    writing = 0.0
    with run.writer() as writer:
        for _ in dispatch(jobs_of(lengths), seats, lambda job, name: None):
            began = time.perf_counter()
            writer.append(rows)
            writing += time.perf_counter() - began
    speedup = sum(lengths) / seats.now
    print(
        f"{workers} workers: {speedup / workers:.1%} of the ideal speed-up; "
        f"the writer takes {1e3 * writing / len(lengths) / len(rows):.2f} ms per row"
    )
    assert speedup >= 0.9 * workers
