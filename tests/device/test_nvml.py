"""NVML's answers, given by a library that is made up: one GPU, seen by its identity."""

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bench.device import nvml
from bench.device.nvml import REASONS, Unavailable, opened, opened_by_uuid

UUID = "b66d2b9f-1111-2222-3333-444455556666"


class Library(SimpleNamespace):
    """What nvidia-ml-py offers, as far as it is used; `lacks` names the questions that this GPU does not answer."""

    class NVMLError(Exception):
        pass

    NVML_TEMPERATURE_GPU, NVML_CLOCK_SM, NVML_CLOCK_MEM = "temperature", "sm", "memory"
    NVML_PERF_POLICY_POWER, NVML_PERF_POLICY_THERMAL = "power", "heat"

    def __init__(self, *lacks: str, identity: str = f"GPU-{UUID}", throttled: int = 0) -> None:
        super().__init__()
        self.open = 0
        answers: dict[str, Callable[..., Any]] = {
            "nvmlDeviceGetHandleByUUID": lambda uuid: "handle" if uuid == identity else self.refuse("Not Found"),
            "nvmlDeviceGetTotalEnergyConsumption": lambda handle: 123_456_789,
            "nvmlDeviceGetPowerUsage": lambda handle: 71_250,
            "nvmlDeviceGetEnforcedPowerLimit": lambda handle: 700_000,
            "nvmlDeviceGetTemperature": lambda handle, sensor: {"temperature": 31}[sensor],
            "nvmlDeviceGetClockInfo": lambda handle, clock: {"sm": 345, "memory": 2619}[clock],
            "nvmlDeviceGetMaxClockInfo": lambda handle, clock: {"sm": 1980, "memory": 3201}[clock],
            "nvmlDeviceGetCurrentClocksThrottleReasons": lambda handle: throttled,
            "nvmlDeviceGetViolationStatus": lambda handle, policy: SimpleNamespace(
                violationTime={"power": 2_500_000_000, "heat": 0}[policy]
            ),
            "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(used=3 * 2**30),
            "nvmlSystemGetDriverVersion": lambda: "580.82.07",
        }
        for name, answer in answers.items():
            setattr(self, name, (lambda *_: self.refuse("Not Supported")) if name in lacks else answer)

    def refuse(self, reason: str) -> Any:
        raise self.NVMLError(reason)

    def nvmlInit(self) -> None:  # noqa: N802
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1


def installed(monkeypatch: pytest.MonkeyPatch, library: Library) -> Library:
    monkeypatch.setitem(sys.modules, "pynvml", library)
    return library


def test_units(monkeypatch: pytest.MonkeyPatch) -> None:
    library = installed(monkeypatch, Library())
    with opened_by_uuid(UUID) as gpu:
        assert library.open == 1
        assert gpu.energy_joules() == 123_456.789
        assert (gpu.power_watts(), gpu.power_limit_watts()) == (71.25, 700.0)
        assert gpu.temperature_celsius() == 31
        assert (gpu.sm_clock_mhz(), gpu.memory_clock_mhz()) == (345, 2619)
        assert (gpu.max_sm_clock_mhz(), gpu.max_memory_clock_mhz()) == (1980, 3201)
        assert (gpu.held_back_by_power_seconds(), gpu.held_back_by_heat_seconds()) == (2.5, 0.0)
        assert gpu.memory_used_bytes() == 3 * 2**30
        assert gpu.driver() == "580.82.07"
    assert library.open == 0


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (0, "none"),
        (1, "idle"),
        (4, "power limit"),
        (0x4 | 0x40, "power limit, hot (hardware)"),
        (1 << 20, "unknown (0x100000)"),
        (0x8 | 1 << 20, "hardware slowdown, unknown (0x100000)"),
    ],
)
def test_throttle_reasons_are_words(monkeypatch: pytest.MonkeyPatch, mask: int, words: str) -> None:
    installed(monkeypatch, Library(throttled=mask))
    with opened_by_uuid(UUID) as gpu:
        assert gpu.throttle_reasons() == words


def test_the_bits_are_those_of_the_real_library() -> None:
    import pynvml

    named = {name: getattr(pynvml, name) for name in dir(pynvml) if name.startswith("nvmlClocksThrottleReason")}
    single = {bit for name, bit in named.items() if not name.endswith(("All", "None"))}
    assert single <= set(REASONS)  # older versions lack the last ones
    assert REASONS[named["nvmlClocksThrottleReasonSwPowerCap"]] == "power limit"
    assert REASONS[named["nvmlClocksThrottleReasonGpuIdle"]] == "idle"
    assert REASONS[named["nvmlClocksThrottleReasonHwThermalSlowdown"]] == "hot (hardware)"


def test_the_real_library_has_every_question() -> None:
    import pynvml

    for name in (*vars(Library()), *vars(Library)):
        if name.startswith("nvml"):
            assert callable(getattr(pynvml, name)), name
        if name.startswith("NVML_"):
            assert isinstance(getattr(pynvml, name), int), name


def test_a_reading_that_a_gpu_does_not_have_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    library = installed(monkeypatch, Library("nvmlDeviceGetTotalEnergyConsumption"))
    with pytest.raises(Unavailable, match="its energy: Not Supported"), opened_by_uuid(UUID) as gpu:
        gpu.energy_joules()
    assert library.open == 0


def test_a_part_of_a_gpu_is_found_too(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, Library(identity=f"MIG-{UUID}"))
    with opened_by_uuid(UUID) as gpu:
        assert gpu.driver()


def test_a_gpu_that_nvml_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    library = installed(monkeypatch, Library())
    with pytest.raises(Unavailable, match="knows no GPU other: Not Found"), opened_by_uuid("other"):
        pass
    assert library.open == 0


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(Unavailable, match="pip install nvidia-ml-py"), opened_by_uuid(UUID):
        pass


def test_without_a_driver_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    library = installed(monkeypatch, Library())
    monkeypatch.setattr(library, "nvmlInit", lambda: library.refuse("NVML Shared Library Not Found"))
    with pytest.raises(Unavailable, match="NVML Shared Library Not Found"), opened_by_uuid(UUID):
        pass


def test_a_cuda_number_is_turned_into_an_identity_by_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    # CUDA_VISIBLE_DEVICES may have made number 0 of any GPU: only CUDA knows which.
    installed(monkeypatch, Library())
    asked = []

    def properties(device: str) -> SimpleNamespace:
        asked.append(device)
        return SimpleNamespace(uuid=UUID)

    monkeypatch.setattr(torch.cuda, "get_device_properties", properties)
    with opened("cuda:1") as gpu:
        assert gpu.power_watts() == 71.25
    assert asked == ["cuda:1"]


def test_a_cpu_has_no_such_readings() -> None:
    with pytest.raises(Unavailable, match="NVIDIA"), opened("cpu"):
        pass


@pytest.mark.gpu
def test_a_real_gpu_answers() -> None:
    with nvml.opened("cuda:0") as gpu:
        assert gpu.driver()
        assert 0 < gpu.sm_clock_mhz() <= gpu.max_sm_clock_mhz()
        assert 5 < gpu.power_watts() < 2000
        before = gpu.energy_joules()
        torch.cuda.synchronize()
        torch.cuda._sleep(int(1e9))
        torch.cuda.synchronize()
        assert gpu.energy_joules() > before
