import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from bench.regression.ab.processors import SameProcessor

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system cannot bind processes")


@pytest.fixture
def sleepers() -> Iterator[tuple[int, int]]:
    words = [sys.executable, "-c", "input()"]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as a, subprocess.Popen(words, stdin=subprocess.PIPE) as b:
        yield a.pid, b.pid
        for process in (a, b):
            process.kill()


def test_both_sides_move_together_and_visit_every_processor(sleepers: tuple[int, int]) -> None:
    same = SameProcessor(sleepers, [1, 1], seed=0)
    seen = set()
    for _ in range(200):
        same.move()
        places = [os.sched_getaffinity(process) for process in sleepers]
        assert places[0] == places[1]
        assert len(places[0]) == 1
        seen |= places[0]
        if seen == os.sched_getaffinity(0):
            return
    assert seen == os.sched_getaffinity(0)


@pytest.mark.parametrize("threads", [(2, 2), (1, 2)])
def test_sides_of_several_threads_are_left_alone(sleepers: tuple[int, int], threads: tuple[int, int]) -> None:
    SameProcessor(sleepers, threads, seed=0).move()
    assert all(os.sched_getaffinity(process) == os.sched_getaffinity(0) for process in sleepers)


def test_a_process_that_is_gone_is_no_reason_to_stop(sleepers: tuple[int, int]) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    SameProcessor((sleepers[0], gone.pid), [1, 1], seed=0).move()
    assert len(os.sched_getaffinity(sleepers[0])) == 1
