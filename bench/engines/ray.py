"""A Ray cluster as a place to work: a seat for every GPU, or for every node of a cluster without.

Ray places the seats, carries tasks and results, and says when a node is gone. Everything else is as on one machine: a
seat has an engine of its own, and every task a fresh process on its node.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from bench.data.image_set import ImageSet
from bench.engines.dispatch import NoSeats, SeatLost, dispatch
from bench.engines.engine import Crash, Execute, Result, Stop, Task
from bench.engines.worker import Relocate, Seat, seal, unseal

CONNECT_TIMEOUT_S = 5.0
NODES_WAITED_FOR_S = 120.0  # that is how long a cluster may be without any node to work on
_REFRESH_S = 1.0
_MOST_COUNTERS = 8  # seats per node for what needs no device: each has the memory of a PyTorch

Kind = Literal["cpu", "cuda"]
Placed = tuple[ImageSet, Mapping[str, "ray.ObjectRef[Any]"]]


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
        raise NoCluster((str(error).strip().splitlines() or [type(error).__name__])[0]) from error


def kind_of_cluster() -> Kind:
    return "cuda" if any(node["Resources"].get("GPU") for node in _nodes()) else "cpu"


def ask_every_node(question: Callable[[str], Any], kind: Kind) -> dict[str, Any]:
    """What a function of the device ("cuda:0" or "cpu") answers on each node that has one, by the node's address."""
    remote = ray.remote(max_calls=1)(question)  # its process is not used again, and holds no GPU
    asked = {}
    for node in _nodes():
        if kind == "cpu" or node["Resources"].get("GPU"):
            demand = {"num_cpus": 1, "num_gpus": 1} if kind == "cuda" else {"num_cpus": _processors(node)}
            options = remote.options(**demand, scheduling_strategy=_at(node["NodeID"]))
            asked[node["NodeManagerAddress"]] = options.remote("cuda:0" if kind == "cuda" else "cpu")
    return dict(zip(asked, ray.get(list(asked.values())), strict=True))


@dataclass(frozen=True)
class RayCluster(Generic[Task, Result]):
    """All of a cluster: counts on its processors, measurements on its GPUs, or on its nodes if `kind` is "cpu"."""

    kind: Kind
    image_sets: tuple[ImageSet, ...]
    relocate: Relocate
    preload: tuple[str, ...] = ()
    memory_limit: int | None = None
    cache_dir: Path | None = None  # of every node; None: as it would be there

    def engine(self, execute: Execute[Task, Result], needs_device: bool, tasks: int) -> RayEngine[Task, Result]:
        # Only what is needed is sent: nothing that needs no device reads images.
        image_sets = self.image_sets if needs_device else ()
        placed = [(image_set, _put(image_set)) for image_set in image_sets]
        seats = _RaySeats(
            self.kind if needs_device else "meta", placed, self.preload, self.memory_limit, self.cache_dir, tasks
        )
        return RayEngine(seats, execute, self.relocate)


class RayEngine(Generic[Task, Result]):
    def __init__(self, seats: _RaySeats, execute: Execute[Task, Result], relocate: Relocate) -> None:
        self._seats = seats
        self._execute = execute
        self._relocate = relocate

    def run(
        self,
        tasks: Sequence[Task],
        timeout_s: float | None,
        on_start: Callable[[Task, str], object],
        stop: Stop | None = None,
    ) -> Generator[tuple[Task, Result | Crash]]:
        """As `bench.engines.engine.Engine.run`; the tasks of a lost node run again elsewhere."""
        self._seats.start(lambda task: (seal(self._execute, self._relocate, task), timeout_s))
        try:
            yield from dispatch(tasks, self._seats, on_start, stop)
        finally:
            self._seats.close()


@dataclass(eq=False)
class _Chair:
    """A seat as the driver sees it."""

    node: str
    name: str
    actor: Any
    ready: Any  # reference that is resolved once the seat is


@dataclass(eq=False)
class _RaySeats:
    kind: Literal["meta", "cpu", "cuda"]
    placed: Sequence[Placed]
    preload: tuple[str, ...]
    memory_limit: int | None
    cache_dir: Path | None
    most: int
    _chairs: dict[_Chair, bool] = field(default_factory=dict)  # -> whether it is ready
    _reasons: list[str] = field(default_factory=list)  # why seats were lost

    def start(self, pack: Callable[[Any], tuple[bytes, float | None]]) -> None:
        self._pack = pack
        self._looked = -_REFRESH_S
        self._last_seen = time.monotonic()

    def close(self) -> None:
        for chair in self._chairs:
            ray.kill(chair.actor)
        self._chairs.clear()

    def refresh(self) -> None:
        now = time.monotonic()
        if now - self._looked < _REFRESH_S:
            return
        self._looked = now
        for node in _nodes():
            have = sum(chair.node == node["NodeID"] for chair in self._chairs)
            for _ in range(have, self._wanted(node)):
                if len(self._chairs) < self.most:
                    self._take(node)
        if self._chairs:
            self._last_seen = now
        elif now - self._last_seen > NODES_WAITED_FOR_S:
            last = f"; the last seat was lost: {self._reasons[-1]}" if self._reasons else ""
            raise NoSeats(f"the Ray cluster has had no node to work on for {NODES_WAITED_FOR_S:g} s{last}")

    def usable(self) -> list[_Chair]:
        return [chair for chair, ready in self._chairs.items() if ready]

    def give(self, seat: _Chair, job: Any) -> Hashable:
        reference: Hashable = seat.actor.run.remote(*self._pack(job))
        return reference

    def ended(self, pending: Sequence[Hashable], patience_s: float) -> Sequence[Hashable]:
        opening = {chair.ready: chair for chair, ready in self._chairs.items() if not ready}
        awaited = [*pending, *opening]
        if not awaited:
            time.sleep(patience_s)
            return []
        done, _ = ray.wait(awaited, num_returns=1, timeout=patience_s, fetch_local=False)
        done, _ = ray.wait(awaited, num_returns=len(awaited), timeout=0, fetch_local=False) if done else (done, [])
        for reference in done:
            if reference in opening:
                self._opened(opening[reference])
        return [reference for reference in done if reference not in opening]

    def result(self, handle: Hashable) -> Any:
        try:
            return unseal(ray.get(handle))
        except RayError as error:
            raise SeatLost(_said(error)) from error

    def discard(self, seat: _Chair, reason: str) -> None:
        self._reasons.append(reason)
        if self._chairs.pop(seat, None) is not None:
            ray.kill(seat.actor)  # it may only be out of reach: what it does must not be done twice

    def name(self, seat: _Chair) -> str:
        return seat.name

    def _opened(self, chair: _Chair) -> None:
        try:
            ray.get(chair.ready)
            self._chairs[chair] = True
        except RayError as error:
            self.discard(chair, _said(error))

    def _wanted(self, node: Mapping[str, Any]) -> int:
        """How many seats a node has."""
        if self.kind == "cuda":
            return int(node["Resources"].get("GPU", 0))
        return min(_processors(node), _MOST_COUNTERS if self.kind == "meta" else 1)

    def _take(self, node: Mapping[str, Any]) -> None:
        # A measurement on processors has the node for itself.
        processors = _processors(node) if self.kind == "cpu" else 1
        device = "cuda:0" if self.kind == "cuda" else self.kind  # Ray shows a seat its own GPU alone
        actor = (
            ray.remote(_SeatActor)
            .options(
                num_cpus=processors,
                num_gpus=1 if self.kind == "cuda" else 0,
                max_restarts=0,
                scheduling_strategy=_at(node["NodeID"]),
            )
            .remote(device, self.preload, self.memory_limit, list(self.placed), self.cache_dir)
        )
        name = f"{device} of {node['NodeManagerAddress']}"
        self._chairs[_Chair(node["NodeID"], name, actor, actor.ready.remote())] = False


class _SeatActor(Seat):
    """A seat that gets its images from Ray's object store, where they are not on its node already."""

    def __init__(
        self,
        device: str,
        preload: Sequence[str],
        memory_limit: int | None,
        placed: Sequence[Placed],
        cache_dir: Path | None,
    ) -> None:
        images = [(image_set, lambda name, refs=refs: ray.get(refs[name])) for image_set, refs in placed]
        super().__init__(device, ("ray", *preload), memory_limit, images, cache_dir)

    def ready(self) -> None:
        """Returns once the seat is there."""


def _put(image_set: ImageSet) -> dict[str, Any]:
    from bench.data.cache import ARRAYS, read_array

    return {name: ray.put(read_array(image_set, name)) for name in ARRAYS}


def _nodes() -> list[Mapping[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _processors(node: Mapping[str, Any]) -> int:
    return int(node["Resources"].get("CPU", 0))


def _at(node: str) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node, soft=False)


def _said(error: RayError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else ''}"[:300]
