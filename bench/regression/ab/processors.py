"""Where two workers run: on the same processor, in turns, so that neither is stuck on the busier one."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from pathlib import Path


class SameProcessor:
    """Moves processes of one thread each to one processor, another one each time.

    Left alone, each would stay where it woke up first, and a neighbour on that processor would be taken for a slower
    side. Processes of several threads are left to the system, as are those of a system that cannot bind.
    """

    def __init__(self, processes: Sequence[int], threads: Sequence[int], seed: int) -> None:
        can_bind = hasattr(os, "sched_getaffinity") and set(threads) == {1}
        self._processes = tuple(processes) if can_bind else ()
        self._allowed = sorted(os.sched_getaffinity(0)) if can_bind else []
        self._random = random.Random(seed)

    def move(self) -> None:
        """To a processor drawn at random; a process that is gone stays gone."""
        if not self._processes:
            return
        chosen = {self._random.choice(self._allowed)}
        for process in self._processes:
            for thread in Path(f"/proc/{process}/task").glob("*"):
                try:
                    os.sched_setaffinity(int(thread.name), chosen)
                except ProcessLookupError:
                    continue
