"""What a device can do, whatever its kind: the one seam between this suite and CUDA, other accelerators and the host.

Nothing outside this file and `torch_devices` asks for a kind. What a device lacks is None here, and whoever wanted it
says so as a reason.

A vendor's device, or one made for tests, comes in by name: `BENCH_ACCELERATOR=package.module:Class`, the class being a
`Device` with a `kind` of its own, `count()` of them, and a constructor that takes the number of one. Of a device that
PyTorch knows as an accelerator, `class Npu(TorchAccelerator): kind = "npu"` is all of it.

This file does without torch, which takes seconds to import, until a device is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar

from bench.config import Precision, RequestError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


VARIABLE = "BENCH_ACCELERATOR"
KernelKind = Literal["cpu", "cuda"]  # whose casts, attention and allocator a replay imitates
Result = TypeVar("Result")
Fact = str | int | float | bool
Facts = dict[str, Fact]


@dataclass(frozen=True)
class Sizes:
    """How much work at once suits a device: an accelerator has to be kept busy, a host takes turns in small pieces."""

    shortest_sample_s: float  # of timed steps; 0: each alone, so that what disturbs one disturbs no other
    # In `ab`. On a host it is best over before the scheduler takes the processor away: on a busy machine, a sample of
    # 5 ms scatters five times as much as one of 1 ms.
    paired_sample_s: float
    warm_up_steps: int
    evaluation_batch: int  # images: fits a cache, fills an accelerator
    gradient_steps: int  # of the short training whose gradients are followed
    prepared_bytes: int  # of input made at once: fits a cache, or costs more than launching the work
    smallest_product: int  # rows and columns of the first matrix product that is timed for the peak
    # Images, channels, height and width, kernel. On GPUs the kernel is 1, since libraries have ways to compute others
    # with fewer multiplications than are counted (Lavin & Gray 2016), which no device's peak is about.
    convolution: tuple[int, int, int, int]
    buffer_bytes: int  # of the buffer that is copied: far above what caches hold


OF_HOST = Sizes(0.0, 0.001, 1, 50, 12, 2 << 20, 256, (16, 512, 16, 3), 1 << 27)
OF_ACCELERATOR = Sizes(0.01, 0.01, 3, 2000, 100, 64 << 20, 2048, (256, 1024, 16, 1), 1 << 29)


class Event(Protocol):
    """A mark in the queue of a device, as `torch.Event` has it."""

    def query(self) -> bool:
        """Whether the device has come to it."""

    def synchronize(self) -> None:
        """Wait until it has."""

    def elapsed_time(self, end_event: Any, /) -> float:
        """Milliseconds from this mark to a later one, by the device's clock."""


@dataclass(frozen=True)
class MemoryUse:
    """Bytes of a device's allocator at one moment, or the most of each since its peak was reset."""

    held: int  # by tensors, in whole blocks
    reserved: int  # from the device
    requested: int  # by tensors, as they asked


class Memory(Protocol):
    """The allocator of a device."""

    @property
    def total(self) -> int:
        """Bytes that the device has."""

    @property
    def free(self) -> int:
        """Bytes of the device that nobody has reserved."""

    def now(self) -> MemoryUse: ...

    def most(self) -> MemoryUse:
        """Since `reset`."""

    def reset(self) -> None:
        """Forget the peak."""

    def release(self) -> None:
        """Give back to the device what no tensor holds."""

    def limit(self, allowed: int | None) -> bool:
        """Let this process reserve no more than so many bytes, or again all; whether this allocator can do that."""


class Board(Protocol):
    """What holds a device and can be asked what it spends; each reading raises Unavailable where there is none."""

    def energy_joules(self) -> float:
        """Since some moment in the past."""

    def power_watts(self) -> float: ...


class Device(Protocol):
    """One device. `kind` is its word on the command line, `word` that of this one ("cuda:1").

    A kind inherits what is here of a device without queue, clock, allocator or generator, and says what it has.
    """

    kind: ClassVar[str]
    is_host: ClassVar[bool] = False  # it computes where Python runs: no queue, no clock and no allocator of its own
    preset: ClassVar[str] = "standard"  # that suits it where the user names none
    kernels: ClassVar[KernelKind] = "cuda"
    captures: ClassVar[bool] = False  # whether a step can be recorded and replayed: `capture`
    tells_time: ClassVar[bool] = True  # between two marks in its queue
    channels_last: ClassVar[bool] = True  # whether PyTorch computes there what it does in contiguous tensors
    unscales: ClassVar[bool] = True  # whether its optimizers' kernels divide by the scale of fp16, and heed infinity
    sizes: ClassVar[Sizes] = OF_ACCELERATOR
    word: str
    place: torch.device  # where its tensors lie

    def __init__(self, number: int = 0) -> None: ...

    @classmethod
    def count(cls) -> int:
        """How many there are."""

    @classmethod
    def why_none(cls) -> str:
        """What the system knows of such devices though PyTorch finds none, and what helps; empty where nothing."""
        return ""

    def unusable(self) -> str:
        """Why this PyTorch cannot use the device, and what helps; empty where it can."""
        return ""

    @property
    def name(self) -> str:
        """Of the hardware, as its vendor writes it."""

    @property
    def precisions(self) -> frozenset[Precision]:
        """In which arithmetic it computes."""
        return frozenset(("fp32", "bf16", "fp16"))

    def facts(self) -> Facts:
        """What else there is to know of it that does not change."""
        return {}

    def choose(self) -> None:  # without `return`, mypy would take it for abstract
        """Make it the one that this process works on."""
        return

    def synchronise(self) -> None:
        """Wait until it has done everything that was asked of it."""
        return

    def event(self) -> Event | None:
        """A mark at the present end of its queue; None without a queue."""
        return None

    def sleep(self, seconds: float) -> bool:
        """Keep it busy for about so long without waiting for it; whether it can be."""
        return False

    def waiting_is_an_error(self) -> AbstractContextManager[None]:
        """A context in which whatever makes the host wait for it raises RuntimeError, as far as that is noticed."""
        return nullcontext()

    def capture(self, work: Callable[[], Result], warm_up: Callable[[], object]) -> tuple[Result, Callable[[], None]]:
        """Record what `work` asks of the device: what it returned, and what replays it all into the same memory.

        Raises:
            Exception: it holds something that cannot be recorded. The device is in no known state from then on.
        """
        raise RuntimeError(f"{self.word} records no graphs")

    @property
    def memory(self) -> Memory | None:
        """Its allocator, if it can be asked."""
        return None

    def rng_state(self) -> Tensor | None:
        """Of its own generator of random numbers, if it has one."""
        return None

    def set_rng_state(self, state: Tensor) -> None:
        """Let its generator go on from there."""
        return

    def board(self) -> AbstractContextManager[Board]:
        """Readings of energy and power; an accelerator's is an `nvml.Gpu`, with clocks and heat.

        Raises:
            Unavailable: there are none; the message says why.
        """


def on_host(word: str) -> bool:
    """Whether it computes on the machine's processors, in its memory. Asked where torch is not imported."""
    return word.partition(":")[0] in ("cpu", "meta")


def kind_named(kind: str) -> type[Device] | None:
    """What is known of a kind of device ("cuda"), whether or not there is one here."""
    from bench.device.torch_devices import KINDS

    brought = _brought()
    known = {**({brought.kind: brought} if brought else {}), **KINDS}
    return known.get(kind)


def words() -> tuple[str, ...]:
    """What `--device` takes."""
    brought = _brought()
    return ("cpu", "cuda or cuda:N", "mps", "xpu", *([brought.kind] if brought else ()))


def present() -> list[Device]:
    """The first device of each kind that there is here, but for the host."""
    from bench.device.torch_devices import KINDS

    return [named(kind) for kind, known in KINDS.items() if not known.is_host and known.count()]


def preferred_kind() -> str:
    """What `--device auto` looks for: what BENCH_ACCELERATOR names, else CUDA; another kind has to be named."""
    brought = _brought()
    return brought.kind if brought else "cuda"


def named(word: str) -> Device:
    """The device of a row or a task: "cpu", "cuda:1"; "meta" is the host, which computes nothing there.

    Raises:
        ValueError: no kind of device has this name.
    """
    kind, _, number = word.partition(":")
    return _device("cpu" if kind == "meta" else kind, int(number or 0))


@lru_cache
def _device(kind: str, number: int) -> Device:
    known = kind_named(kind)
    if known is None:
        raise ValueError(f"no kind of device is called {kind!r}")
    return known(number)


def _brought() -> type[Device] | None:
    """The class that the environment names."""
    place = os.environ.get(VARIABLE)
    if not place:
        return None
    module, _, name = place.partition(":")
    try:
        found: type[Device] = getattr(import_module(module), name)
        _ = found.kind  # which any class of devices has
    except (ImportError, AttributeError, ValueError) as error:
        raise RequestError(f"{VARIABLE}={place}: {error}; write package.module:Class") from error
    return found


_chosen: list[Device] = []  # the last one is what this process works on


def choose(word: str) -> Device:
    """Make a device the one of this process: streams, graphs and compiled kernels are made there."""
    device = named(word)
    device.choose()
    _chosen[:] = [device]
    return device


def chosen() -> Device:
    """The device of this process; the host where none was chosen."""
    return _chosen[0] if _chosen else named("cpu")


def of(place: torch.device) -> Device:
    """The device of a tensor. One that computes in the host's tensors is known by having been chosen."""
    return _chosen[0] if _chosen and _chosen[0].place == place else named(str(place))
