"""The device itself: launches, graphs, its board, and the faults that are planted in it."""

from __future__ import annotations

import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.device import nvml
from bench.device.accelerator import KernelKind, Sizes
from bench.device.torch_devices import Host
from tests.emulated.allocator import Allocator
from tests.emulated.queue import Event, Queue

Result = TypeVar("Result")

SLOWNESS = 1.25  # times as long as the host takes to compute it
FAULT_AFTER = 300  # launches of a process: in the middle of something
THROTTLED = 3.0  # times as long
TICK_S, IDLE_WATTS, BUSY_WATTS = 0.1, 50.0, 250.0
CLOCK_MHZ = 1980
_aten = torch.ops.aten
# What a host cannot go on without knowing.
_WAITS = {
    *(_aten._local_scalar_dense.default, _aten.item.default, _aten.is_nonzero.default),  # the first, in inference
    *(_aten.nonzero.default, _aten.masked_select.default, _aten.equal.default),
}


@dataclass(frozen=True)
class Plan:
    """What EMULATED says, as far as it concerns this process."""

    count: int = 1
    memory_mib: int = 1024
    reach_kib: float = math.inf
    faults: frozenset[str] = frozenset()

    @staticmethod
    def here(words: str, process: str) -> Plan:
        count, memory, reach, faults = 1, 1024, math.inf, set()
        for word in words.split():
            name, _, value = word.partition("=")
            if name == "count":
                count = int(value)
            elif name == "memory":
                memory = int(value)
            elif name == "reach":
                reach = int(value)
            elif not value or fnmatch(process.removeprefix("bench-"), value):
                faults.add(name)
        return Plan(count, 1 if "oom" in faults else memory, reach, frozenset(faults))


def _plan() -> Plan:
    return Plan.here(os.environ.get("EMULATED", ""), multiprocessing.current_process().name)


class Emulated(Host):
    """A device of its own on the host's processors."""

    kind: ClassVar[str] = "emulated"
    is_host: ClassVar[bool] = False
    kernels: ClassVar[KernelKind] = "cpu"
    captures: ClassVar[bool] = True
    sizes: ClassVar[Sizes] = Sizes(0.002, 0.001, 2, 100, 4, 1 << 20, 64, (2, 8, 8, 3), 1 << 16)

    def __init__(self, number: int = 0, queue: Queue | None = None, plan: Plan | None = None) -> None:
        super().__init__()
        self.word = f"{self.kind}:{number}"
        self.plan = plan or _plan()
        self.queue = queue or Queue()
        self.broken = ""  # why nothing works any more
        self._allocator = Allocator(self.plan.memory_mib << 20)
        self._launches: _Launches | None = None
        self._waiting_is_an_error = False

    @classmethod
    def count(cls) -> int:
        return _plan().count

    @property
    def name(self) -> str:
        self.check()
        return "Emulated GPU"

    @property
    def memory(self) -> Any:
        return self._allocator

    def facts(self) -> dict[str, str | int | float | bool]:
        return {"device": self.name, "gpu_memory_gib": round(self._allocator.total / 2**30, 3)}

    def choose(self) -> None:
        if self._launches is None:
            self._launches = _Launches(self)
            self._launches.__enter__()

    def leave(self) -> None:
        """Let this process be as it was before the device was chosen."""
        if self._launches is not None:
            self._launches.__exit__(None, None, None)
            self._launches = None

    def synchronise(self) -> None:
        self.check()
        self.queue.synchronise()

    def event(self) -> Event:
        return self.queue.event()

    def sleep(self, seconds: float) -> bool:
        self.queue.launch(seconds)
        return True

    def check(self) -> None:
        """Check that the device is still there.

        Raises:
            RuntimeError: it is not.
        """
        if "lost" in self.plan.faults and self.queue.launches > FAULT_AFTER:
            self.broken = "emulated device error: the device was lost"
        if "hang" in self.plan.faults and self.queue.launches > FAULT_AFTER:
            self.queue.free_at = math.inf
        if self.broken:
            raise RuntimeError(self.broken)

    def launched(self, func: Any, seconds: float, out: Any, args: Any) -> None:
        """Book what was computed; a host that has to know what came out waits for it."""
        tensors = [each for each in tree_leaves(out) if isinstance(each, Tensor) and each.device == self.place]
        waits = func in _WAITS or (func is _aten.index.Tensor and any(_is_mask(each) for each in tree_leaves(args)))
        if not tensors and not waits:
            return  # on the meta device
        for tensor in tensors:
            self._allocator.book(tensor)
            if tensor.nbytes > 1024 * self.plan.reach_kib:
                self.broken = "an illegal memory access was encountered"  # and told at the next opportunity
        slowness = SLOWNESS * (THROTTLED if self.is_throttled else 1)
        self.queue.launch(slowness * seconds)
        if waits and self._waiting_is_an_error:
            raise RuntimeError(f"called a synchronizing operation ({func})")
        if waits:
            self.synchronise()

    @property
    def is_throttled(self) -> bool:
        return "throttle" in self.plan.faults and self.queue.launches > FAULT_AFTER

    @contextmanager
    def waiting_is_an_error(self) -> Iterator[None]:
        self._waiting_is_an_error = True
        try:
            yield
        finally:
            self._waiting_is_an_error = False

    def capture(self, work: Callable[[], Result], warm_up: Callable[[], object]) -> tuple[Result, Callable[[], None]]:
        """A graph that computes everything again, as one launch.

        Raises:
            RuntimeError: it makes the host wait, or a fault is planted; nothing works from then on, as on a GPU whose
                stream is still that of the capture.
        """
        warm_up()
        try:
            if "capture" in self.plan.faults:
                raise RuntimeError("operation failed due to a previous error during capture")
            with self.waiting_is_an_error():
                output = work()
        except RuntimeError:
            self.broken = "operation not permitted: the stream is still being captured"
            raise

        def replay() -> None:
            start = self.queue.clock()
            with self._as_one_launch():
                again = work()
                if isinstance(output, Tensor) and isinstance(again, Tensor):
                    with torch.inference_mode() if output.is_inference() else nullcontext():
                        output.copy_(again)
            self.check()
            self.queue.launch(SLOWNESS * (self.queue.clock() - start))

        return output, replay

    @contextmanager
    def _as_one_launch(self) -> Iterator[None]:
        assert self._launches is not None
        self._launches.counts = False
        try:
            yield
        finally:
            self._launches.counts = True

    def board(self) -> AbstractContextManager[nvml.Gpu]:
        return nullcontext(_Board(self))


def _is_mask(each: Any) -> bool:
    return isinstance(each, Tensor) and each.dtype in (torch.bool, torch.uint8)


class _Launches(TorchDispatchMode):
    """Sees every operation of this thread."""

    def __init__(self, device: Emulated) -> None:
        super().__init__()
        self.counts = True
        self._device = device

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self.counts:
            return func(*args, **(kwargs or {}))
        self._device.check()
        start = time.perf_counter()
        out = func(*args, **(kwargs or {}))
        self._device.launched(func, time.perf_counter() - start, out, args)
        return out


class _Board(nvml.Gpu):
    """Its readings: a counter of energy that moves ten times a second, and whether it is hot."""

    def __init__(self, device: Emulated) -> None:
        self._device = device
        self._tick, self._joules = -1, 0.0

    def energy_joules(self) -> float:
        self._require_whole_board("energy")
        now = self._device.queue.clock()
        if (tick := int(now / TICK_S)) != self._tick:
            queue = self._device.queue
            busy = queue.busy_seconds - max(0.0, queue.free_at - now)
            self._tick, self._joules = tick, IDLE_WATTS * now + (BUSY_WATTS - IDLE_WATTS) * busy
        return self._joules

    def mig(self) -> str:
        return "slice" if "mig" in self._device.plan.faults else "off"

    def sm_clock_mhz(self) -> int:
        return round(CLOCK_MHZ / (THROTTLED if self._device.is_throttled else 1))

    def throttle_reasons(self) -> str:
        return "hot (hardware)" if "throttle" in self._device.plan.faults else "none"

    def driver(self) -> str:
        return "emulated"

    def power_watts(self) -> float:
        self._require_whole_board("power")
        raise nvml.Unavailable("the emulated device does not tell its power")

    def __getattribute__(self, name: str) -> Any:
        if name in vars(nvml.Gpu) and name not in vars(_Board) and not name.startswith("_"):
            return partial(self._refuse, name.replace("_", " "))
        return super().__getattribute__(name)

    def _refuse(self, what: str, *_: object) -> None:
        raise nvml.Unavailable(f"the emulated device does not tell its {what}")
