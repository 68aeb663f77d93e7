"""NVML's answers through the real nvidia-ml-py, on a library that is made up: one GPU, or a part of it."""

import ctypes
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import cast
from unittest.mock import MagicMock

import pytest
import torch

from bench.config import Task
from bench.device import nvml
from bench.device.nvml import REASONS, Unavailable, opened, opened_by_uuid, why_unused
from bench.device.timing import steady_samples
from bench.models import REGISTRY
from bench.runner.execute import execute
from bench.runner.request import Request, resolve
from tests.device.nvml_library import UUID, Install, compiled


def test_units(driver: Install) -> None:
    driver(stands_still="1")
    with opened_by_uuid(UUID) as gpu:
        assert gpu.energy_joules() == 123_456.789
        assert (gpu.power_watts(), gpu.power_limit_watts()) == (71.25, 700.0)
        assert gpu.temperature_celsius() == 31
        assert (gpu.sm_clock_mhz(), gpu.memory_clock_mhz()) == (345, 2619)
        assert (gpu.max_sm_clock_mhz(), gpu.max_memory_clock_mhz()) == (1980, 3201)
        assert (gpu.held_back_by_power_seconds(), gpu.held_back_by_heat_seconds()) == (2.5, 0.0)
        assert gpu.memory_used_bytes() == 3 * 2**30
        assert (gpu.driver(), gpu.uuid()) == ("550.54.14", f"GPU-{UUID}")
        assert (gpu.mig(), gpu.persistence_mode(), gpu.compute_mode()) == ("off", True, "exclusive process")
        assert gpu.others() == []


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
def test_throttle_reasons_are_words(driver: Install, mask: int, words: str) -> None:
    driver(throttled=hex(mask))
    with opened_by_uuid(UUID) as gpu:
        assert gpu.throttle_reasons() == words


class Reasons:
    """A GPU that says why its clock is held back, one sample after the other."""

    def __init__(self, *reasons: str) -> None:
        self._reasons = iter(reasons)

    def sm_clock_mhz(self) -> int:
        return 1410

    def throttle_reasons(self) -> str:
        return next(self._reasons)


@pytest.mark.parametrize(
    ("reasons", "said"),
    [
        (["none", "idle", "clocks set by a user"] * 4, ""),
        (["none"] * 11 + ["power limit"], ""),  # too rare for a median to notice
        (["none"] * 9 + ["hot (driver), idle"], "held back in 10% of the samples: hot (driver)"),
        (
            ["power limit"] * 2 + ["power brake"] * 2,
            "held back in 100% of the samples: power brake, power limit",
        ),
    ],
)
def test_what_held_a_clock_back_is_said_where_it_happened_often(reasons: list[str], said: str) -> None:
    clocks = nvml.Clocks(cast(nvml.Gpu, Reasons(*reasons)), clock=lambda: 0.0)
    ticks = itertools.count()  # every step takes a second
    timing = steady_samples(
        lambda: None, lambda: None, 1.0, lambda: float(next(ticks)), len(reasons), shortest_sample_s=0.0, clocks=clocks
    )
    assert timing.throttled.removeprefix("clocks ") == said
    assert timing.clock_mhz == 1410
    assert ("throttled" in timing.flags) == bool(said)


def test_a_board_that_is_slow_to_answer_is_asked_less_often() -> None:
    now, looks = 0.0, 0

    class Slow(Reasons):
        def sm_clock_mhz(self) -> int:
            nonlocal now, looks
            now, looks = now + 0.005, looks + 1
            return 1410

    clocks = nvml.Clocks(cast(nvml.Gpu, Slow(*["none"] * 100)), clock=lambda: now)
    for _ in range(1000):
        now += 0.001  # a step of the device
        clocks.look()
    assert now < 1.06  # most of it at work
    assert looks > 5


def test_the_library_is_opened_for_good(driver: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes up to a second to find the GPUs of a large machine, and each measurement asks for the clocks."""
    import pynvml

    driver()
    monkeypatch.setattr(nvml, "_kept_open", [])
    opened, closed = MagicMock(wraps=pynvml.nvmlInit), MagicMock(wraps=pynvml.nvmlShutdown)
    monkeypatch.setattr(pynvml, "nvmlInit", opened)
    monkeypatch.setattr(pynvml, "nvmlShutdown", closed)
    for _ in range(3):
        with opened_by_uuid(UUID) as gpu:
            assert gpu.sm_clock_mhz()
    assert (opened.call_count, closed.call_count) == (4, 3)


def test_a_row_tells_the_clock_and_that_it_was_held_back(driver: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    driver(throttled="0x4")

    @contextmanager
    def first(device: str) -> Iterator[nvml.Gpu]:
        with opened_by_uuid(UUID) as gpu:
            yield gpu

    monkeypatch.setattr(nvml, "opened", first)
    config, _ = resolve(Request(batch_size=1), ("latency",), "cpu")
    outcome = execute(Task(REGISTRY["lenet5_cifar"], replace(config, measure_seconds=0.01), ("latency",)), "cpu")
    for row in (row for row in outcome.records if row.metric != "replayed_latency_ms"):  # which a CPU has not
        assert (row.status, row.clock_mhz) == ("ok", 345)
        assert "throttled" in row.flags
        assert "clocks held back in 100% of the samples: power limit" in row.note


def test_a_device_that_tells_no_clock_has_none() -> None:
    with nvml.clocks("cpu") as clocks:
        clocks.look()
    assert (clocks.throttled, clocks.mhz) == ("", None)


def test_the_bits_are_those_of_the_real_library() -> None:
    import pynvml

    named = {name: getattr(pynvml, name) for name in dir(pynvml) if name.startswith("nvmlClocksThrottleReason")}
    single = {bit for name, bit in named.items() if not name.endswith(("All", "None"))}
    assert single <= set(REASONS)  # older versions lack the last ones
    assert REASONS[named["nvmlClocksThrottleReasonSwPowerCap"]] == "power limit"
    assert REASONS[named["nvmlClocksThrottleReasonGpuIdle"]] == "idle"
    assert REASONS[named["nvmlClocksThrottleReasonHwThermalSlowdown"]] == "hot (hardware)"


def test_the_library_is_found_by_its_name() -> None:
    program = (
        f"from bench.device import nvml\nwith nvml.opened_by_uuid({UUID!r}) as gpu: print(gpu.temperature_celsius())"
    )
    environment = {**os.environ, "LD_LIBRARY_PATH": str(compiled().parent)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "31\n"


def test_a_reading_that_a_gpu_does_not_have_is_named(driver: Install) -> None:
    driver(refuses="nvmlDeviceGetTotalEnergyConsumption:3 nvmlDeviceGetPowerUsage:4")
    with opened_by_uuid(UUID) as gpu:
        with pytest.raises(Unavailable, match="its energy: Not Supported"):
            gpu.energy_joules()
        with pytest.raises(Unavailable, match="its power: Insufficient Permissions"):
            gpu.power_watts()


def test_a_function_that_the_driver_lacks_is_a_reading_that_there_is_not(driver: Install) -> None:
    driver("-DWITHOUT_ENERGY")
    with opened_by_uuid(UUID) as gpu:
        with pytest.raises(Unavailable, match="its energy: Function Not Found"):
            gpu.energy_joules()
        assert gpu.power_watts() == 71.25


@pytest.mark.parametrize(
    ("settings", "mode"), [({"knows": f"MIG-{UUID}"}, "slice"), ({"mig": "1"}, "on")], ids=["slice", "parted GPU"]
)
def test_what_a_shared_board_spends_is_nobodys(driver: Install, settings: dict[str, str], mode: str) -> None:
    driver(**settings)
    with opened_by_uuid(UUID) as gpu:
        assert gpu.mig() == mode
        for reading in (gpu.energy_joules, gpu.power_watts):
            with pytest.raises(Unavailable, match="of the whole GPU, which other MIG instances share"):
                reading()
        assert gpu.sm_clock_mhz() == 345


def test_a_gpu_that_knows_no_parts_is_whole(driver: Install) -> None:
    driver(refuses="nvmlDeviceGetMigMode:3 nvmlDeviceIsMigDeviceHandle:3")
    with opened_by_uuid(UUID) as gpu:
        assert gpu.energy_joules() > 0


def test_whoever_else_computes_on_a_gpu_is_seen(driver: Install) -> None:
    driver(pids=f"123 {os.getpid()} 456")
    with opened_by_uuid(UUID) as gpu:
        assert [str(process) for process in gpu.others()] == ["pid 123 (3.0 GiB)", "pid 456 (3.0 GiB)"]


def test_in_a_container_this_process_is_one_of_those_that_have_the_hosts_numbers(driver: Install) -> None:
    driver(pids="7000001 7000002")
    with opened_by_uuid(UUID) as gpu:
        assert len(gpu.others()) == 2  # it has not touched the GPU
        assert len(gpu.others(held_bytes=2 << 30)) == 1
        assert len(gpu.others(held_bytes=4 << 30)) == 2  # of 3 GiB each: neither can be this one


def test_what_draws_the_desktop_of_windows_computes_nothing(driver: Install) -> None:
    driver(pids="123 456 789", draws="123 789", wddm="1")
    with opened_by_uuid(UUID) as gpu:
        assert list(map(str, gpu.others())) == ["pid 456"]


def test_a_gpu_that_nvml_does_not_know(driver: Install) -> None:
    driver()
    with pytest.raises(Unavailable, match="knows no GPU other: Not Found"), opened_by_uuid("other"):
        pass


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(Unavailable, match="pip install nvidia-ml-py"), opened_by_uuid(UUID):
        pass


@pytest.mark.parametrize(
    ("code", "words"), [(9, "Driver Not Loaded"), (18, "RM version mismatch.; the driver was updated")]
)
def test_a_driver_that_does_not_answer_is_said(driver: Install, code: int, words: str) -> None:
    driver(refuses=f"nvmlInitWithFlags:{code}")
    with pytest.raises(Unavailable, match=f"NVML cannot be used here: .*{words}"), opened_by_uuid(UUID):
        pass
    assert words in why_unused()
    assert "nvidia-smi" in why_unused()


@pytest.mark.parametrize(
    ("built", "driver_cuda", "visible", "said"),
    [
        (
            "13.0",
            "12040",
            None,
            "CUDA 13.0 -> a newer driver, 580 or newer, or a build for CUDA 12.4 or older",
        ),
        (None, "13000", None, "built without CUDA -> a build for CUDA 13.0 or older: https://pytorch.org/"),
        ("13.0", "13000", "", "CUDA_VISIBLE_DEVICES hides every GPU"),
        ("12.8", "12040", None, "torch.cuda.init"),  # any minor version of a CUDA runs on a driver for another
    ],
)
def test_a_gpu_that_pytorch_cannot_use_is_named_with_what_helps(
    driver: Install,
    monkeypatch: pytest.MonkeyPatch,
    built: str | None,
    driver_cuda: str,
    visible: str | None,
    said: str,
) -> None:
    driver(cuda=driver_cuda)
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    why = why_unused()
    assert f"driver (550.54.14, up to CUDA {driver_cuda[:2]}." in why
    assert "NVIDIA GeForce RTX 3060" in why
    assert said in why


def test_where_there_is_no_gpu_nothing_is_said_of_one(driver: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    driver(count="0")
    assert why_unused() == ""
    monkeypatch.setattr(pynvml, "CDLL", lambda name: ctypes.CDLL("no such library"))
    monkeypatch.setattr(pynvml, "nvmlLib", None)
    assert why_unused() == ""


def test_a_cuda_number_is_turned_into_an_identity_by_cuda(driver: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    # CUDA_VISIBLE_DEVICES may have made number 0 of any GPU: only CUDA knows which.
    driver()
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
