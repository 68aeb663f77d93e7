"""A Ray cluster as an executor: every task is a Ray task, one on each GPU, or one on each node of a cluster without.

Ray carries tasks and results and says when a node is gone. On its node a task runs in a `LocalMachine`, so a fresh
process, the time limit, the memory limit and the captured output are what they are on one machine. Two things are not
left to Ray: which slot a task gets, for a measurement on processors needs all those of its node, whose numbers differ;
and trying again, for Ray would restart a task that takes too much memory for ever.

Every task has a process of its own, also those that share one on a single machine: a Ray task brings all of its results
at once, so a group of them as one would lose what had ended in it with the node or on interruption.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from bench.data.cache import ARRAYS, cache_dir_of, install, read_array
from bench.data.image_set import ImageSet
from bench.device import accelerator
from bench.engines import Crash, EngineLost, Execute, Result, Stop, Task, ignore_start
from bench.engines.local import LocalMachine
from bench.quantity import first_line

CONNECT_TIMEOUT_S = 5.0
NODES_WAITED_FOR_S = 120.0  # how long a cluster may be without any node
MOST_LOSSES = 3  # of one task: it may be what brings its nodes down
PATIENCE_S = 1.0  # between two looks at which nodes there are and whether to stop
REST_S = 20.0  # for which a node that lost a task gets no other: Ray may take as long to see that it is gone
_MOST_COUNTERS = 8  # per node, of tasks that need no device: each holds a PyTorch in memory

Kind = Literal["cpu", "cuda"]
Relocate = Callable[[Any, Mapping[str, ImageSet]], Any]  # (task, image sets of its node by SHA-256) -> task
StoredImages = tuple[ImageSet, Mapping[str, "ray.ObjectRef[Any]"]]  # and its arrays in Ray's object store


class NoCluster(Exception):
    """There is no cluster at that address; the message is the reason."""


def connect(address: str) -> None:
    """Join the cluster at `address`: "auto" for one that this machine belongs to, or HOST:PORT.

    Raises:
        NoCluster: there is none.
    """
    host, colon, port = address.rpartition(":")
    try:
        if colon:  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, ignore_reinit_error=True)
    except (RayError, OSError, ValueError, RuntimeError) as error:
        raise NoCluster(first_line(error)) from error


def kind_of_cluster() -> Kind:
    return "cuda" if any(_count(node, "GPU") for node in _nodes()) else "cpu"


def ask_every_node(question: Callable[[str], Any], kind: Kind) -> dict[str, Any]:
    """What a function of the device ("cuda:0" or "cpu") answers on each node that has one, by the node's address."""
    remote = ray.remote(max_calls=1)(question)  # its process is not used again, and holds no GPU
    asked = {}
    for node in _nodes():
        if kind == "cpu" or _count(node, "GPU"):
            demand = {"num_cpus": 1, "num_gpus": 1} if kind == "cuda" else {"num_cpus": _count(node, "CPU")}
            options = remote.options(**demand, scheduling_strategy=_at(node["NodeID"]))
            asked[node["NodeManagerAddress"]] = options.remote("cuda:0" if kind == "cuda" else "cpu")
    return dict(zip(asked, ray.get(list(asked.values())), strict=True))


class _Slot(NamedTuple):
    """Where one task at a time can run: a GPU, a node, or a processor for what needs no device."""

    node: str
    address: str
    number: int
    processors: int  # that its task takes: a measurement on processors has its node for itself


@dataclass(frozen=True)
class RayCluster:
    """All of a cluster: counts on its processors, measurements on its GPUs, or on its nodes if `kind` is "cpu".

    The tasks of a lost node or process run again elsewhere.
    """

    kind: Kind
    image_sets: tuple[ImageSet, ...]
    relocate: Relocate
    preload: tuple[str, ...] = ()
    memory_limit: int | None = None  # bytes for each task; None: what is free on its node
    cache_dir: Path | None = None  # of every node; None: that node's default

    @cached_property
    def stored(self) -> Sequence[StoredImages]:
        """The images in Ray's object store."""
        return [(each, {name: ray.put(read_array(each, name)) for name in ARRAYS}) for each in self.image_sets]

    def run(
        self,
        execute: Execute[Task, Result],
        tasks: Sequence[Task],
        timeout_s: float | None = None,
        on_start: Callable[[Task, str], object] = ignore_start,
        stop: Stop | None = None,
        *,
        needs_device: bool = True,
    ) -> Generator[tuple[Task, Result | Crash]]:
        """As `bench.engines.Executor.run`."""
        device = "meta" if not needs_device else "cuda:0" if self.kind == "cuda" else "cpu"  # Ray shows a task its GPU
        stored = self.stored if needs_device else ()  # tasks without a device read no images
        waiting = deque(tasks)
        pending: dict[Any, tuple[_Slot, Task]] = {}  # by the reference to the result
        losses: Counter[int] = Counter()
        resting: dict[str, float] = {}  # node -> until when
        last_seen, why = time.monotonic(), ""
        try:
            while (waiting or pending) and not (stop and stop.requested):
                slots, now = _slots(device), time.monotonic()
                if slots or pending:
                    last_seen = now
                elif now - last_seen > NODES_WAITED_FOR_S:
                    raise EngineLost(f"the Ray cluster has had no node to work on for {NODES_WAITED_FOR_S:g} s{why}")
                busy = {slot for slot, _ in pending.values()}
                free = [slot for slot in slots if slot not in busy and resting.get(slot.node, now) <= now]
                for slot in free[: len(waiting)]:
                    task = waiting.popleft()
                    pending[self._start(slot, device, execute, task, timeout_s, stored)] = slot, task
                    if not losses[id(task)]:
                        on_start(task, f"{device} of {slot.address}")
                for reference in _ended(list(pending)):
                    slot, task = pending.pop(reference)
                    try:
                        outcome = ray.get(reference)
                    except RayError as error:
                        why = f"; the last task was lost: {_reason(error)}"
                        resting[slot.node] = time.monotonic() + REST_S
                        losses[id(task)] += 1
                        if losses[id(task)] < MOST_LOSSES:
                            waiting.appendleft(task)
                            continue
                        outcome = Crash(
                            "failed", f"its node or process was lost {MOST_LOSSES} times: {_reason(error)}", 0.0
                        )
                    yield task, outcome if isinstance(outcome, Crash) else pickle.loads(outcome)
        finally:
            for reference in pending:
                ray.cancel(reference, force=True)

    def _start(
        self,
        slot: _Slot,
        device: str,
        execute: Execute[Task, Result],
        task: Task,
        timeout_s: float | None,
        stored: Sequence[StoredImages],
    ) -> Any:
        contents = pickle.dumps((execute, self.relocate, task))
        gpus = int(not accelerator.on_host(device))
        options = _run.options(
            num_cpus=slot.processors, num_gpus=gpus, max_retries=0, scheduling_strategy=_at(slot.node)
        )
        return options.remote(contents, device, timeout_s, self.preload, self.memory_limit, stored, self.cache_dir)


def _slots(device: str) -> list[_Slot]:
    """Where tasks on such a device can run now."""
    slots = []
    for node in _nodes():
        processors = _count(node, "CPU")
        number = {"meta": min(processors, _MOST_COUNTERS), "cpu": min(processors, 1)}
        count = number.get(device, _count(node, "GPU"))
        needed = processors if device == "cpu" else 1
        slots += [_Slot(node["NodeID"], node["NodeManagerAddress"], n, needed) for n in range(count)]
    return slots


def _ended(pending: Sequence[Any]) -> Sequence[Any]:
    """Wait until a result is there, at most for `PATIENCE_S`; all references whose result is."""
    if not pending:
        time.sleep(PATIENCE_S)
        return []
    done, _ = ray.wait(pending, num_returns=1, timeout=PATIENCE_S, fetch_local=False)
    return ray.wait(pending, num_returns=len(pending), timeout=0, fetch_local=False)[0] if done else []


def _reason(error: RayError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else ''}"[:300]


@dataclass(frozen=True)
class PickledTask:
    """A task on its node, which only its worker process opens: nothing else has to import torch."""

    contents: bytes  # execute, relocate and the task
    image_sets: Mapping[str, ImageSet]
    environment: Mapping[str, str]
    group: str = "ray"


def execute_pickled(task: PickledTask, device: str) -> bytes:
    """Run a task in its worker process; returns the pickled result."""
    os.environ.update(task.environment)  # its GPU; the fork server may have been started for another
    execute, relocate, contents = pickle.loads(task.contents)
    return pickle.dumps(execute(relocate(contents, task.image_sets), device))


_image_sets: dict[str, ImageSet] = {}  # on a node, by SHA-256: what this process has found or fetched


@ray.remote
def _run(
    contents: bytes,
    device: str,
    timeout_s: float | None,
    preload: Sequence[str],
    memory_limit: int | None,
    stored: Sequence[StoredImages],
    cache_dir: Path | None,
) -> bytes | Crash:
    """Run a task on this node; images that are not here yet are fetched from Ray's object store."""
    for images, arrays in stored:
        if images.sha256 not in _image_sets:
            fetch = lambda name, arrays=arrays: ray.get(arrays[name])  # noqa: E731
            _image_sets[images.sha256] = install(images, fetch, cache_dir_of(cache_dir))
    visible = {name: value for name, value in os.environ.items() if name.endswith("_VISIBLE_DEVICES")}
    task = PickledTask(contents, _image_sets, visible)
    here = LocalMachine([device], Path(os.devnull), ("ray", *preload), memory_limit)
    ((_, result),) = here.run(execute_pickled, [task], timeout_s)
    return result


def _nodes() -> list[Mapping[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _count(node: Mapping[str, Any], resource: str) -> int:
    return int(node["Resources"].get(resource, 0))


def _at(node: str) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node, soft=False)
