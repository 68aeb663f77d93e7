"""What NVIDIA's management library says of a GPU: energy, power, clocks, temperature, and what slows it down.

The library comes with the driver. `nvidia-ml-py`, which reads it, is imported only when it is needed.
"""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, NamedTuple, TypeVar, cast

from bench.device import accelerator

Value = TypeVar("Value")

# Bits of nvmlDeviceGetCurrentClocksThrottleReasons (NVML reference manual, "NvmlClocksEventReasons").
REASONS = {
    0x001: "idle",
    0x002: "clocks set by a user",
    0x004: "power limit",
    0x008: "hardware slowdown",
    0x010: "kept equal to other GPUs",
    0x020: "hot (driver)",
    0x040: "hot (hardware)",
    0x080: "power brake",
    0x100: "clocks set by the display",
    0x200: "board limit",
    0x400: "reliability",
}
_HARMLESS = {"none", "idle", "clocks set by a user", "clocks set by the display", "kept equal to other GPUs"}
OFTEN = 0.1  # of the samples: rarer than that, their median does not notice
SHORT_S, REST = 2e-4, 20  # a look that takes longer is followed by so many times as long without one
COMPUTE_MODES = ("default", "exclusive thread", "prohibited", "exclusive process")
INSTALL_PAGE = "https://pytorch.org/get-started/locally/"
_OLDEST_DRIVER = {11: "450", 12: "525", 13: "580"}  # of all minor versions of a CUDA (NVIDIA, "CUDA Compatibility")


class Unavailable(Exception):
    """There is no such reading here; the message is the reason."""


class NoLibrary(Unavailable):
    """NVML is not installed, so there is no driver."""


class Process(NamedTuple):
    """One that computes on a GPU."""

    pid: int  # in a container that of the host
    gib: float | None  # of the GPU's memory

    def __str__(self) -> str:
        return f"pid {self.pid}" + ("" if self.gib is None else f" ({self.gib:.1f} GiB)")


class Gpu:
    """One GPU as NVML sees it. Every method raises `Unavailable` where this GPU has no such reading."""

    def __init__(self, library: Any, handle: Any) -> None:
        self._library = library
        self._handle = handle

    def energy_joules(self) -> float:
        """Of the whole board since the driver was loaded, Volta and later; stands still between two updates."""
        self._require_whole_board("energy")
        return self._ask("its energy", self._library.nvmlDeviceGetTotalEnergyConsumption) / 1e3

    def power_watts(self) -> float:
        """Of the whole board: an instant, or on Ampere and later the mean over the last second."""
        self._require_whole_board("power")
        return self._ask("its power", self._library.nvmlDeviceGetPowerUsage) / 1e3

    def power_limit_watts(self) -> float:
        return self._ask("its power limit", self._library.nvmlDeviceGetEnforcedPowerLimit) / 1e3

    def temperature_celsius(self) -> int:
        return self._ask("its temperature", self._library.nvmlDeviceGetTemperature, self._library.NVML_TEMPERATURE_GPU)

    def sm_clock_mhz(self) -> int:
        return self._ask("its clock", self._library.nvmlDeviceGetClockInfo, self._library.NVML_CLOCK_SM)

    def memory_clock_mhz(self) -> int:
        return self._ask("its memory clock", self._library.nvmlDeviceGetClockInfo, self._library.NVML_CLOCK_MEM)

    def max_sm_clock_mhz(self) -> int:
        return self._ask("its fastest clock", self._library.nvmlDeviceGetMaxClockInfo, self._library.NVML_CLOCK_SM)

    def max_memory_clock_mhz(self) -> int:
        ask = self._library.nvmlDeviceGetMaxClockInfo
        return self._ask("its fastest memory clock", ask, self._library.NVML_CLOCK_MEM)

    def throttle_reasons(self) -> str:
        """Why the clocks are not as fast as they could be, in words; "none"."""
        mask = self._ask("what slows it down", self._library.nvmlDeviceGetCurrentClocksThrottleReasons)
        known = [word for bit, word in REASONS.items() if mask & bit]
        unknown = mask & ~sum(REASONS)
        return ", ".join([*known, f"unknown ({unknown:#x})"] if unknown else known) or "none"

    def held_back_by_power_seconds(self) -> float:
        """How long the power limit has kept the clocks down in all, since the driver was loaded."""
        return self._held_back(self._library.NVML_PERF_POLICY_POWER)

    def held_back_by_heat_seconds(self) -> float:
        """How long heat has kept the clocks down in all, since the driver was loaded."""
        return self._held_back(self._library.NVML_PERF_POLICY_THERMAL)

    def memory_used_bytes(self) -> int:
        """By all processes together."""
        return self._ask("its memory", self._library.nvmlDeviceGetMemoryInfo).used

    def others(self, held_bytes: int = 0) -> list[Process]:
        """What computes on it, but for this process, which holds so many bytes there.

        In a container the numbers are the host's, and this process is taken for the smallest that holds as much.
        """
        found = self._ask("what computes on it", self._library.nvmlDeviceGetComputeRunningProcesses)
        gib = (None if each.usedGpuMemory is None else each.usedGpuMemory / 2**30 for each in found)
        processes = [Process(each.pid, size) for each, size in zip(found, gib, strict=True)]
        own, desktop = os.getpid(), set[int]()
        if held_bytes and all(process.pid != own for process in processes):
            large = [each for each in processes if each.gib is None or each.gib * 2**30 >= held_bytes]
            own = min(large, key=lambda process: process.gib or 0.0).pid if large else own
        if any(process.gib is None for process in processes):  # as on Windows, where whatever draws is said to compute
            drawing = self._ask("what draws on it", self._library.nvmlDeviceGetGraphicsRunningProcesses)
            desktop = {each.pid for each in drawing}
        return [process for process in processes if process.pid not in {own, *desktop}]

    def uuid(self) -> str:
        return self._ask("its identity", self._library.nvmlDeviceGetUUID)

    def mig(self) -> str:
        """Whether it is one of several parts of a GPU, "slice", or can be parted, "on" or "off"."""
        if self._ask("whether it is a part", self._library.nvmlDeviceIsMigDeviceHandle).value:
            return "slice"
        return "on" if self._ask("whether it is parted", self._library.nvmlDeviceGetMigMode)[0] else "off"

    def persistence_mode(self) -> bool:
        return bool(self._ask("its persistence mode", self._library.nvmlDeviceGetPersistenceMode))

    def compute_mode(self) -> str:
        return COMPUTE_MODES[self._ask("its compute mode", self._library.nvmlDeviceGetComputeMode)]

    def driver(self) -> str:
        """Version of the driver."""
        return self._checked("the driver's version", self._library.nvmlSystemGetDriverVersion)

    def _require_whole_board(self, what: str) -> None:
        """Check that what the board spends is spent for the caller: the sensor is of the whole board.

        Raises:
            Unavailable: the GPU is shared.
        """
        try:
            parted = self.mig() != "off"
        except Unavailable:  # a GPU or driver that knows no parts
            return
        if parted:
            raise Unavailable(f"its {what} is that of the whole GPU, which other MIG instances share")

    def _held_back(self, policy: int) -> float:
        status = self._ask("how long it was slowed down", self._library.nvmlDeviceGetViolationStatus, policy)
        return status.violationTime / 1e9

    def _ask(self, what: str, question: Callable[..., Any], *arguments: Any) -> Any:
        return self._checked(what, lambda: question(self._handle, *arguments))

    def _checked(self, what: str, question: Callable[[], Value]) -> Value:
        try:
            return question()
        except self._library.NVMLError as error:
            raise Unavailable(f"NVML does not tell {what}: {error}") from None


class Clocks:
    """How fast a GPU's clock was and what held it back, at each look; of a device that does not tell, nothing."""

    def __init__(self, gpu: Gpu | None, clock: Callable[[], float] = time.perf_counter) -> None:
        self._gpu = gpu
        self._clock = clock
        self._mhz: list[int] = []
        self._reasons: list[set[str]] = []
        self._not_before = -math.inf

    def look(self) -> None:
        """Between two samples: some ten microseconds, or milliseconds where the driver has to ask the board, which is
        then done the less often, as the device has nothing to do meanwhile."""
        start = self._clock()
        if self._gpu is None or start < self._not_before:
            return
        with suppress(Unavailable):
            self._mhz.append(self._gpu.sm_clock_mhz())
        with suppress(Unavailable):
            self._reasons.append(set(self._gpu.throttle_reasons().split(", ")) - _HARMLESS)
        end = self._clock()
        self._not_before = end + REST * max(0.0, end - start - SHORT_S)

    @property
    def mhz(self) -> float | None:
        """Median over the looks."""
        return statistics.median(self._mhz) if self._mhz else None

    @property
    def throttled(self) -> str:
        """What held the clock back in more than a few of the looks; empty if nothing did."""
        slow = sum(map(bool, self._reasons))
        if not slow or slow < OFTEN * len(self._reasons):
            return ""
        return f"clocks held back in {slow / len(self._reasons):.0%} of the samples: " + ", ".join(
            sorted(set().union(*self._reasons))
        )


@contextmanager
def clocks(device: str) -> Iterator[Clocks]:
    """The clocks of the device that PyTorch calls so."""
    with ExitStack() as stack:
        gpu: Gpu | None = None
        with suppress(Unavailable):
            gpu = stack.enter_context(opened(device))
        yield Clocks(gpu)


@contextmanager
def opened(device: str) -> Iterator[Gpu]:
    """What reads a device's energy, clocks and heat. Of "cuda:N", whatever CUDA_VISIBLE_DEVICES makes of the numbers.

    Sets CUDA up in this process, but allocates nothing on the device.

    Raises:
        Unavailable: the device is no GPU, or NVML cannot be asked about it.
    """
    if accelerator.named(device).is_host:
        raise Unavailable("needs an NVIDIA GPU: its driver's library (NVML) reads no other device")
    with accelerator.named(device).board() as board:
        yield cast(Gpu, board)


@contextmanager
def opened_by_uuid(uuid: str) -> Iterator[Gpu]:
    """The GPU, or the part of one, with this identity.

    Raises:
        Unavailable: NVML is not there or knows no such GPU.
    """
    with _opened_library() as library:
        yield Gpu(library, _handle(library, uuid))


def why_unused() -> str:
    """Why PyTorch uses no GPU though the driver knows some, and what helps; empty where it knows none."""
    import torch

    try:
        with _opened_library() as library:
            handles = map(library.nvmlDeviceGetHandleByIndex, range(library.nvmlDeviceGetCount()))
            names = " and ".join(dict.fromkeys(map(library.nvmlDeviceGetName, handles)))
            driver, supported = library.nvmlSystemGetDriverVersion(), library.nvmlSystemGetCudaDriverVersion()
    except NoLibrary:
        return ""
    except Unavailable as error:
        return f"{error}; `nvidia-smi` says more"
    if not names:
        return ""
    up_to, built = f"{supported // 1000}.{supported % 1000 // 10}", torch.version.cuda
    if os.environ.get("CUDA_VISIBLE_DEVICES", "unset") in ("", "-1"):
        reason = "CUDA_VISIBLE_DEVICES hides every GPU -> unset it"
    elif built is None:
        reason = f"it was built without CUDA -> a build for CUDA {up_to} or older: {INSTALL_PAGE}"
    elif (major := int(built.partition(".")[0])) > supported // 1000:
        least = f", {_OLDEST_DRIVER[major]} or newer," if major in _OLDEST_DRIVER else ""
        reason = f"it was built for CUDA {built} -> a newer driver{least} or a build for CUDA {up_to} or older: "
        reason += INSTALL_PAGE
    else:
        reason = "`python -c 'import torch; torch.cuda.init()'` says why"
    return (
        f"the driver ({driver}, up to CUDA {up_to}) knows {names}, but this PyTorch ({torch.__version__}) uses no GPU: "
        f"{reason}"
    )


_kept_open: list[Any] = []  # the library, from its first use to the end of the process


@contextmanager
def _opened_library() -> Iterator[Any]:
    """nvidia-ml-py, ready to be asked; whatever it does not answer meanwhile is `Unavailable`.

    Raises:
        Unavailable: it is not there, or refuses.
    """
    try:
        import pynvml
    except ImportError:
        raise Unavailable("nvidia-ml-py is not installed: pip install nvidia-ml-py") from None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        kind = NoLibrary if error.value == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND else Unavailable
        updated = error.value == pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH
        hint = "; the driver was updated while its old module runs: restart the machine" if updated else ""
        raise kind(f"NVML cannot be used here: {error}{hint}") from None
    if not _kept_open:  # NVML counts: while it is open once, it is open at once; else it looks for its GPUs anew
        pynvml.nvmlInit()
        _kept_open.append(pynvml)
    try:
        yield pynvml
    except pynvml.NVMLError as error:
        raise Unavailable(f"NVML does not answer: {error}") from None
    finally:
        pynvml.nvmlShutdown()


def _handle(library: Any, uuid: str) -> Any:
    """CUDA gives a bare identity; NVML wants to know whether it is that of a GPU or of a part (MIG)."""
    reason = ""
    for kind in ("GPU", "MIG"):
        try:
            return library.nvmlDeviceGetHandleByUUID(f"{kind}-{uuid}")
        except library.NVMLError as error:
            reason = reason or str(error)
    raise Unavailable(f"NVML knows no GPU {uuid}: {reason}")
