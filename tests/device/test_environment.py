"""The facts that travel with every number."""

import os
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from bench.device.environment import busy_gpus, describe, machine_state
from bench.device.execution import arithmetic
from tests.device.nvml_library import UUID, Install


def test_a_cpu_is_described() -> None:
    facts = describe("cpu")
    assert facts["device_kind"] == "cpu"
    threads = torch.get_num_threads()
    assert facts["device"] == f"{facts['cpu']}, {threads} thread{'s' * (threads != 1)}"
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
    state = machine_state(["cpu"])
    assert state["load_average_1min"] == pytest.approx(os.getloadavg()[0], abs=1)
    assert "cpu" not in state  # what belongs to the host is not said once per device


@pytest.fixture
def _two_gpus(driver: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of which NVML does not know the second, and does not tell all of the first."""
    driver(refuses="nvmlDeviceGetPowerUsage:3", throttled="4", pids="123")

    def properties(device: str) -> SimpleNamespace:
        return SimpleNamespace(
            name="NVIDIA H200",
            total_memory=141 * 2**30,
            multi_processor_count=132,
            major=9,
            minor=0,
            uuid=UUID if device == "cuda:0" else "unknown",
        )

    monkeypatch.setattr(torch.cuda, "get_device_properties", properties)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")


@pytest.mark.usefixtures("_two_gpus")
def test_a_gpu_is_described_by_cuda_and_by_its_driver() -> None:
    facts = describe("cuda:0")
    assert (facts["device"], facts["device_kind"], facts["compute_capability"]) == ("NVIDIA H200", "cuda", "9.0")
    assert (facts["gpu_memory_gib"], facts["gpu_multiprocessors"]) == (141.0, 132)
    assert (facts["driver"], facts["power_limit_watts"], facts["max_sm_clock_mhz"]) == ("550.54.14", 700.0, 1980)
    assert (facts["gpu_uuid"], facts["mig"]) == (f"GPU-{UUID}", "off")
    assert (facts["persistence_mode"], facts["compute_mode"]) == (True, "exclusive process")
    assert facts["cudnn_benchmark"] is False


@pytest.mark.usefixtures("_two_gpus")
def test_a_cudnn_that_pytorch_does_not_like_is_described_and_ends_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where one of the GPUs is older than it knows, though another one is used."""

    def version() -> int:
        raise RuntimeError("cuDNN version 91100 is not compatible with devices with SM < 7.5. Please install")

    monkeypatch.setattr(torch.backends.cudnn, "version", version)
    assert str(describe("cuda:0")["cudnn"]).startswith("cuDNN version 91100 is not compatible with devices")
    assert "knows no GPU unknown" in str(describe("cuda:1")["driver"])


@pytest.mark.usefixtures("_two_gpus")
def test_the_state_of_each_gpu() -> None:
    state = machine_state(["cuda:0", "cuda:1"])
    assert state["cuda:0"] == {
        "temperature_celsius": 31,
        "sm_clock_mhz": 345,
        "memory_clock_mhz": 2619,
        "throttle_reasons": "power limit",
        "held_back_by_power_s": 2.5,
        "held_back_by_heat_s": 0.0,
        "memory_used_gib": 3.0,
        "other_processes": "pid 123 (3.0 GiB)",
    }
    assert state["cuda:1"] == {"reason": "NVML knows no GPU unknown: Not Found"}


@pytest.mark.usefixtures("_two_gpus")
def test_whoever_else_computes_on_a_gpu_is_said_before_a_run() -> None:
    assert list(busy_gpus(["cpu", "cuda:0", "cuda:1"])) == [
        "cuda:0: others compute on it (pid 123 (3.0 GiB)); what is measured beside them is doubtful"
    ]


@pytest.mark.usefixtures("_two_gpus")
def test_an_allocator_of_somebodys_own_may_not_tell_what_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    def stats(place: torch.device) -> None:
        raise RuntimeError("CUDAPluggableAllocator does not yet support getDeviceStats")

    monkeypatch.setattr(torch.accelerator, "memory_stats", stats)
    assert len(list(busy_gpus(["cuda:0"]))) == 1


@pytest.mark.gpu
def test_a_gpu_is_described() -> None:
    facts = describe("cuda:0")
    assert facts["device"] == torch.cuda.get_device_name(0)
    assert facts["device_kind"] == "cuda"
    assert facts["driver"]
    assert facts["cuda"] == torch.version.cuda
    assert facts["max_sm_clock_mhz"]
    state = machine_state(["cuda:0"])["cuda:0"]
    assert isinstance(state, dict)
    assert {"temperature_celsius", "sm_clock_mhz", "throttle_reasons"} <= set(state)


@pytest.mark.gpu
def test_looking_at_a_gpu_takes_none_of_its_memory() -> None:
    """A context on the device would take hundreds of MiB and keep it from idling."""
    program = """
import pynvml
from bench.device import accelerator
from bench.device.environment import describe, machine_state

def used():
    handles = [*map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))]
    processes = sum(len(pynvml.nvmlDeviceGetComputeRunningProcesses(handle)) for handle in handles)
    return processes, sum(pynvml.nvmlDeviceGetMemoryInfo(handle).used for handle in handles)

pynvml.nvmlInit()
before = used()
accelerator.present(), describe("cuda:0"), machine_state(["cuda:0"])
print(*(now - was for now, was in zip(used(), before)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    processes, taken = map(int, done.stdout.split())
    assert processes == 0  # so it is none of those that `busy_gpus` tells of
    assert taken < 100 * 2**20


@pytest.mark.gpu
def test_who_uses_a_gpu_is_none_of_the_others_there() -> None:
    program = """
import torch
from bench.device.environment import company

before = list(company(["cuda:0"]))
kept = torch.ones(1 << 26, device="cuda:0")
assert list(company(["cuda:0"])) == before
"""
    subprocess.run([sys.executable, "-c", program], check=True)
