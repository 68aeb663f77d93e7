"""What NVIDIA's management library says of a GPU: energy, power, clocks, temperature, and what slows it down.

The library comes with the driver. `nvidia-ml-py`, which reads it, is imported only when somebody asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

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


class Unavailable(Exception):
    """There is no such reading here; the message is the reason."""


class Gpu:
    """One GPU as NVML sees it. Every method raises `Unavailable` where this GPU has no such reading."""

    def __init__(self, library: Any, handle: Any) -> None:
        self._library = library
        self._handle = handle

    def energy_joules(self) -> float:
        """Of the whole board since the driver was loaded, Volta and later; stands still between two updates."""
        return self._ask("its energy", self._library.nvmlDeviceGetTotalEnergyConsumption) / 1e3

    def power_watts(self) -> float:
        """Of the whole board: an instant, or on Ampere and later the mean over the last second."""
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

    def driver(self) -> str:
        """Version of the driver."""
        return self._checked("the driver's version", self._library.nvmlSystemGetDriverVersion)

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


@contextmanager
def opened(device: str) -> Iterator[Gpu]:
    """The GPU that PyTorch calls `device`, "cuda:N", whatever CUDA_VISIBLE_DEVICES makes of the numbers.

    Sets CUDA up in this process, but allocates nothing on the device.

    Raises:
        Unavailable: the device is no GPU, or NVML cannot be asked about it.
    """
    if not device.startswith("cuda"):
        raise Unavailable("needs an NVIDIA GPU: its driver's library (NVML) reads no other device")
    import torch

    with opened_by_uuid(str(torch.cuda.get_device_properties(device).uuid)) as gpu:
        yield gpu


@contextmanager
def opened_by_uuid(uuid: str) -> Iterator[Gpu]:
    """The GPU, or the part of one, with this identity.

    Raises:
        Unavailable: NVML is not there or knows no such GPU.
    """
    try:
        import pynvml
    except ImportError:
        raise Unavailable("nvidia-ml-py is not installed: pip install nvidia-ml-py") from None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise Unavailable(f"NVML cannot be used here: {error}") from None
    try:
        yield Gpu(pynvml, _handle(pynvml, uuid))
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
