"""The facts that travel with every number."""

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from bench.device import nvml
from bench.device.environment import conditions, describe
from bench.device.execution import arithmetic


def test_a_cpu_is_described() -> None:
    facts = describe("cpu")
    assert facts["device_kind"] == "cpu"
    assert facts["device"] == f"{facts['cpu']}, {torch.get_num_threads()} threads"
    assert facts["python"] == platform.python_version()
    assert facts["torch"] == torch.__version__.split("+")[0] or facts["torch"] == torch.__version__
    assert all(isinstance(value, str | int | float | bool) for value in facts.values())


def test_outside_a_checkout_the_commit_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert "commit" not in describe("cpu")


def test_switches_are_told_as_they_are_set_now(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    with arithmetic("fp32"):
        exact = describe("cpu")
    with arithmetic("tf32"):
        fast = describe("cpu")
    assert (exact["tf32_matmul"], exact["tf32_convolution"], exact["cudnn_benchmark"]) == (False, False, True)
    assert (fast["tf32_matmul"], fast["tf32_convolution"]) == (True, True)
    assert exact["deterministic_algorithms"] is False
    assert exact["PYTORCH_CUDA_ALLOC_CONF"] == "expandable_segments:True"
    assert "CUDA_VISIBLE_DEVICES" not in exact  # not set is not the same as empty


def test_the_state_of_a_machine_without_a_gpu() -> None:
    state = conditions(["cpu"])
    assert state["load_average_1min"] == pytest.approx(os.getloadavg()[0], abs=1)
    assert "cpu" not in state  # what belongs to the host is not said once per device


class Gpu:
    """Answers everything but its power, its memory clock and how long it was hot."""

    def driver(self) -> str:
        return "580.82.07"

    def power_limit_watts(self) -> float:
        return 700.0

    def max_sm_clock_mhz(self) -> int:
        return 1980

    def max_memory_clock_mhz(self) -> int:
        raise nvml.Unavailable("NVML does not tell its fastest memory clock: Not Supported")

    def temperature_celsius(self) -> int:
        return 64

    def sm_clock_mhz(self) -> int:
        return 1755

    def memory_clock_mhz(self) -> int:
        raise nvml.Unavailable("NVML does not tell its memory clock: Not Supported")

    def throttle_reasons(self) -> str:
        return "power limit"

    def held_back_by_power_seconds(self) -> float:
        return 12.3456

    def held_back_by_heat_seconds(self) -> float:
        raise nvml.Unavailable("NVML does not tell how long it was slowed down: Not Supported")

    def memory_used_bytes(self) -> int:
        return 5 * 2**30

    def power_watts(self) -> float:
        raise nvml.Unavailable("NVML does not tell its power: Not Supported")


@pytest.fixture
def _two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of which the second does not answer."""

    @contextmanager
    def opened(device: str) -> Iterator[Gpu]:
        if device == "cuda:1":
            raise nvml.Unavailable("NVML cannot be used here: Driver Not Loaded")
        yield Gpu()

    card = SimpleNamespace(name="NVIDIA H200", total_memory=141 * 2**30, multi_processor_count=132, major=9, minor=0)
    monkeypatch.setattr(nvml, "opened", opened)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)


@pytest.mark.usefixtures("_two_gpus")
def test_a_gpu_is_described_by_cuda_and_by_its_driver() -> None:
    facts = describe("cuda:0")
    assert (facts["device"], facts["device_kind"], facts["compute_capability"]) == ("NVIDIA H200", "cuda", "9.0")
    assert (facts["gpu_memory_gib"], facts["gpu_multiprocessors"]) == (141.0, 132)
    assert (facts["driver"], facts["power_limit_watts"], facts["max_sm_clock_mhz"]) == ("580.82.07", 700.0, 1980)
    assert "max_memory_clock_mhz" not in facts
    assert facts["cudnn_benchmark"] is False
    assert "Driver Not Loaded" in str(describe("cuda:1")["driver"])


@pytest.mark.usefixtures("_two_gpus")
def test_the_state_of_each_gpu() -> None:
    state = conditions(["cuda:0", "cuda:1"])
    assert state["cuda:0"] == {
        "temperature_celsius": 64,
        "sm_clock_mhz": 1755,
        "throttle_reasons": "power limit",
        "held_back_by_power_s": 12.346,
        "memory_used_gib": 5.0,
    }
    assert state["cuda:1"] == {"reason": "NVML cannot be used here: Driver Not Loaded"}


@pytest.mark.gpu
def test_a_gpu_is_described() -> None:
    facts = describe("cuda:0")
    assert facts["device"] == torch.cuda.get_device_name(0)
    assert facts["device_kind"] == "cuda"
    assert facts["driver"]
    assert facts["cuda"] == torch.version.cuda
    assert facts["max_sm_clock_mhz"]
    state = conditions(["cuda:0"])["cuda:0"]
    assert isinstance(state, dict)
    assert {"temperature_celsius", "sm_clock_mhz", "throttle_reasons"} <= set(state)


@pytest.mark.gpu
def test_looking_at_a_gpu_takes_none_of_its_memory() -> None:
    """A context on the device would take hundreds of MiB and keep it from idling."""
    program = """
import pynvml
from bench.device.environment import conditions, describe

def used():
    handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
    return sum(pynvml.nvmlDeviceGetMemoryInfo(handle).used for handle in handles)

pynvml.nvmlInit()
before = used()
describe("cuda:0"), conditions(["cuda:0"])
print(used() - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100 * 2**20
