"""The devices that PyTorch knows: the host, NVIDIA's and AMD's GPUs as CUDA, and others by `torch.accelerator`."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from bench.config import Precision
from bench.device import energy, environment, nvml
from bench.device.accelerator import OF_HOST, Board, Device, Event, Facts, KernelKind, MemoryUse, Sizes
from bench.quantity import first_line

Result = TypeVar("Result")
SPUN_CYCLES = 1_000_000  # to see how fast the clock is by which a device is kept busy: half a millisecond at 2 GHz
# The driver of Windows, and of Linux within it, lends the host's memory where the GPU's is full: ten times as slow.
LENT = sys.platform == "win32" or Path("/dev/dxg").exists()


class Host(Device):
    """The processors that Python runs on: nothing is queued, so nothing is waited for."""

    kind: ClassVar[str] = "cpu"
    is_host: ClassVar[bool] = True
    preset: ClassVar[str] = "quick"
    kernels: ClassVar[KernelKind] = "cpu"
    sizes: ClassVar[Sizes] = OF_HOST
    word = "cpu"
    place = torch.device("cpu")

    def __init__(self, number: int = 0) -> None:
        """There is one, whatever its number."""

    @classmethod
    def count(cls) -> int:
        return 1

    @property
    def name(self) -> str:
        return environment.processor_model()

    def board(self) -> AbstractContextManager[Board]:
        return nullcontext(energy.Processors())


class TorchAccelerator(Device):
    """An accelerator as `torch.accelerator` has it: Intel's XPU, Apple's MPS, a vendor's own. PyTorch knows one kind at
    a time."""

    def __init__(self, number: int = 0) -> None:
        self.word = f"{self.kind}:{number}"
        self.place = torch.device(self.kind, number)

    @classmethod
    def count(cls) -> int:
        present = torch.accelerator.current_accelerator(check_available=True)
        return torch.accelerator.device_count() if present is not None and present.type == cls.kind else 0

    @property
    def _module(self) -> Any:
        """torch.cuda, torch.xpu, torch.mps: what of it is missing in one of them is a capability that it lacks."""
        return torch.get_device_module(self.kind)

    @property
    def name(self) -> str:
        return str(self._module.get_device_name(self.word))

    def board(self) -> AbstractContextManager[Board]:
        raise nvml.Unavailable("needs an NVIDIA GPU: its driver's library (NVML) reads no other device")

    def facts(self) -> Facts:
        memory = self.memory
        return {"device": self.name} | ({"gpu_memory_gib": round(memory.total / 2**30, 1)} if memory else {})

    def choose(self) -> None:
        torch.accelerator.set_device_index(self.place.index)

    def synchronise(self) -> None:
        torch.accelerator.synchronize(self.place)

    def event(self) -> Event | None:
        event = torch.Event(self.place, enable_timing=True)
        event.record()
        return event

    def sleep(self, seconds: float) -> bool:
        if not hasattr(self._module, "_sleep"):
            return False
        self._module._sleep(int(seconds * self._cycles_per_second))
        return True

    @cached_property
    def _cycles_per_second(self) -> float:
        """Of the clock that `_sleep` counts: that of the processors, 0.2 to 3 GHz, or on AMD's RDNA 3 one of 0.1.

        The kernel is loaded when it is first asked for, which takes longer than it spins.
        """
        for _ in range(2):
            self.synchronise()
            begin, _, end = self.event(), self._module._sleep(SPUN_CYCLES), self.event()
        self.synchronise()
        assert begin is not None
        return 1e3 * SPUN_CYCLES / begin.elapsed_time(end)

    @property
    def memory(self) -> AllocatorOfTorch | None:
        return AllocatorOfTorch(self.place)

    def rng_state(self) -> Tensor:
        state: Tensor = self._module.get_rng_state(self.place)
        return state

    def set_rng_state(self, state: Tensor) -> None:
        self._module.set_rng_state(state, self.place)


@dataclass(frozen=True)
class AllocatorOfTorch:
    """The caching allocator of one device."""

    place: torch.device

    @property
    def total(self) -> int:
        """By its properties: asked for what is free as well, some of Intel's GPUs tell neither."""
        return int(torch.get_device_module(self.place).get_device_properties(self.place).total_memory)

    @property
    def free(self) -> int:
        return torch.accelerator.get_memory_info(self.place)[0]

    def now(self) -> MemoryUse:
        return self._told("current")

    def most(self) -> MemoryUse:
        return self._told("peak")

    def _told(self, moment: str) -> MemoryUse:
        stats = torch.accelerator.memory_stats(self.place)  # empty before anything was allocated
        held, reserved, requested = (
            int(stats.get(f"{what}_bytes.all.{moment}", 0)) for what in ("allocated", "reserved", "requested")
        )
        return MemoryUse(held, reserved, requested)

    def reset(self) -> None:
        torch.accelerator.reset_peak_memory_stats(self.place)

    def release(self) -> None:
        torch.accelerator.empty_cache()

    def limit(self, allowed: int | None) -> bool:
        set_fraction = getattr(torch.get_device_module(self.place), "set_per_process_memory_fraction", None)
        if set_fraction is None:
            return False
        set_fraction(1.0 if allowed is None else allowed / self.total, self.place)
        return True


class Cuda(TorchAccelerator):
    """A GPU of NVIDIA's, or one of AMD's, which PyTorch calls CUDA too."""

    kind = "cuda"
    captures = True

    @classmethod
    def count(cls) -> int:
        """By CUDA: until it is set up, PyTorch counts by NVML, for which a part of a GPU (MIG) is no GPU."""
        if not torch.cuda.is_available():
            return 0
        torch.cuda.init()
        return torch.cuda.device_count()

    @classmethod
    def why_none(cls) -> str:
        return nvml.why_unused()

    def unusable(self) -> str:
        """A kernel runs on later minor versions of its architecture (`sm_86` on 8.9), its PTX (`compute_90`) on
        whatever comes later."""
        built = [re.fullmatch(r"(sm|compute)_(\d+)(\d)[af]?", word) for word in torch.cuda.get_arch_list()]
        if not built or None in built:  # AMD's names, or none at all
            return ""
        major, minor = capability = torch.cuda.get_device_capability(self.word)
        known = [(found[1], int(found[2]), int(found[3])) for found in built if found]
        if any((kind == "compute" or its == major) and (its, least) <= capability for kind, its, least in known):
            return ""
        return (
            f"{self.name} has compute capability {major}.{minor}, for which this PyTorch ({torch.__version__}) holds "
            f"no kernels ({', '.join(torch.cuda.get_arch_list())}) -> another build: {nvml.INSTALL_PAGE}"
        )

    @property
    def precisions(self) -> frozenset[Precision]:
        """Tensor cores for bf16 and TF32 came together, with Ampere. AMD numbers its GPUs in another way, and what few
        of them have in place of TF32 is off unless a variable asks for it: what was called so would be fp32.
        """
        if torch.version.hip is not None:
            return frozenset(("fp32", "bf16", "fp16"))
        if torch.cuda.get_device_capability(self.word) < (8, 0):
            return frozenset(("fp32", "fp16"))
        return frozenset(("fp32", "tf32", "bf16", "fp16"))

    def facts(self) -> Facts:
        properties = torch.cuda.get_device_properties(self.word)
        return {
            "device": properties.name,
            "gpu_memory_gib": round(properties.total_memory / 2**30, 1),
            "gpu_multiprocessors": properties.multi_processor_count,
            "compute_capability": f"{properties.major}.{properties.minor}",
            "cuda": torch.version.cuda or "",
            **({"rocm": torch.version.hip} if torch.version.hip else {}),
            "cudnn": _cudnn_version(),
        }

    def choose(self) -> None:
        super().choose()
        if LENT:  # what does not fit shall be said not to
            memory = AllocatorOfTorch(self.place)
            memory.limit(min(memory.total, memory.free + memory.now().reserved))

    @contextmanager
    def waiting_is_an_error(self) -> Iterator[None]:
        before = torch.cuda.get_sync_debug_mode()
        try:
            _notice_waits("error")
            yield
        finally:
            _notice_waits(before)

    @cached_property
    def _side(self) -> torch.cuda.Stream:
        """Of this device and for good: PyTorch's own is of the device on which the process first recorded a graph, and
        what libraries set up for a stream, such as a workspace, should be there before anything is recorded."""
        return torch.cuda.Stream(self.place)

    def capture(self, work: Callable[[], Result], warm_up: Callable[[], object]) -> tuple[Result, Callable[[], None]]:
        side = self._side
        side.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(side):
                warm_up()
        finally:  # what goes on without a graph comes after what is still under way there
            torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "The CUDA Graph is empty")  # it would be replayed in no time
            with torch.cuda.graph(graph, stream=side):
                output = work()
        return output, graph.replay

    def board(self) -> AbstractContextManager[Board]:
        if torch.version.hip is not None:
            return super().board()
        return nvml.opened_by_uuid(str(torch.cuda.get_device_properties(self.word).uuid))


def _cudnn_version() -> str | int:
    """Or why PyTorch does not like it: it is older than its own, or a GPU that is not used here is too old for it."""
    try:
        return torch.backends.cudnn.version() or 0
    except RuntimeError as error:
        return first_line(error)


def _notice_waits(mode: str | int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own, that it does not notice every wait
        torch.cuda.set_sync_debug_mode(mode)


class Xpu(TorchAccelerator):
    """An Intel GPU."""

    kind = "xpu"


class Mps(TorchAccelerator):
    """The GPU of an Apple processor. It shares the host's memory, and its allocator has no peak."""

    kind = "mps"
    preset = "quick"
    tells_time = False  # but that of callbacks on the host, late or the wrong way round: pytorch#196395
    channels_last = False  # gradients of batch norm are others: pytorch#175189, #188371
    unscales = False  # pytorch#186360

    @property
    def memory(self) -> None:
        return None

    @property
    def name(self) -> str:
        return torch.backends.mps.get_name()


KINDS: dict[str, type[Device]] = {each.kind: each for each in (Host, Cuda, Xpu, Mps)}
