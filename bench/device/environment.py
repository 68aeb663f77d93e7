"""Where a run was measured: device, driver, versions, switches and commit, and the state that the machine was in.

A number without these is worth little.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path

import psutil

from bench.device import accelerator, nvml
from bench.device.accelerator import Fact, Facts
from bench.device.energy import SETTLES_WITHIN_S, settled_watts

MachineState = dict[str, Fact | Facts]

_PACKAGES = ("torch", "torchvision", "numpy", "pandas", "fvcore", "matplotlib", "timm", "nvidia-ml-py")

# What changes how fast or how exactly PyTorch computes without being said on the command line.
_VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "CUDA_LAUNCH_BLOCKING",
    "CUDA_MODULE_LOADING",
    "CUBLAS_WORKSPACE_CONFIG",
    "NVIDIA_TF32_OVERRIDE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
    "PYTORCH_NO_CUDA_MEMORY_CACHING",
    "OMP_NUM_THREADS",
    "OMP_PROC_BIND",
    "GOMP_CPU_AFFINITY",
    "GOMP_SPINCOUNT",
    "KMP_AFFINITY",
    "KMP_BLOCKTIME",
    "MKL_NUM_THREADS",
    "ONEDNN_MAX_CPU_ISA",
    "ATEN_CPU_CAPABILITY",
    "LD_PRELOAD",
)


def describe(device: str) -> Facts:
    """Flat facts that stay as they are while a run lasts, as seen from `device` ("cpu" or "cuda:N").

    Unknown facts are left out. PyTorch's switches are told as they are set at the moment of asking.
    """
    facts: Facts = {"device_kind": device.partition(":")[0], **_processor(), **_versions(), **_commit()}
    if not accelerator.named(device).is_host:
        facts |= _gpu(device)
    return {**facts, "device": hardware(device), **_switches()}


def hardware(device: str) -> str:
    """What does the work: "NVIDIA H200", or "AMD EPYC, 2 threads"."""
    import torch

    found, threads = accelerator.named(device), torch.get_num_threads()
    return f"{found.name}, {threads} thread{'' if threads == 1 else 's'}" if found.is_host else found.name


def machine_state(devices: Sequence[str], idle: bool = False) -> MachineState:
    """What changes while a run lasts: load and clock of the processors, and one group of facts per accelerator.

    Unknown facts are left out; a GPU of which nothing is known has a `reason`. Seconds held back are counted since the
    driver was loaded: what was added between two moments tells whether the clocks were kept down between them. `idle`
    waits until each GPU that does nothing has cooled down, and tells its power.
    """
    state: MachineState = {}
    with suppress(OSError):
        state["load_average_1min"] = round(psutil.getloadavg()[0], 2)
    with suppress(OSError, NotImplementedError, AttributeError):  # not on this system
        state["cpu_mhz"] = round(psutil.cpu_freq().current)
    return state | {device: _gpu_state(device, idle) for device in devices if not accelerator.named(device).is_host}


def _gpu_state(device: str, idle: bool = False) -> Facts:
    try:
        with nvml.opened(device) as gpu:
            settled = _known({"idle_watts": lambda: _idle_watts(gpu)} if idle else {})
            return settled | _known(
                {
                    "temperature_celsius": gpu.temperature_celsius,
                    "power_watts": lambda: round(gpu.power_watts(), 1),
                    "sm_clock_mhz": gpu.sm_clock_mhz,
                    "memory_clock_mhz": gpu.memory_clock_mhz,
                    "throttle_reasons": gpu.throttle_reasons,
                    "held_back_by_power_s": lambda: round(gpu.held_back_by_power_seconds(), 3),
                    "held_back_by_heat_s": lambda: round(gpu.held_back_by_heat_seconds(), 3),
                    "memory_used_gib": lambda: round(gpu.memory_used_bytes() / 2**30, 1),
                    "other_processes": lambda: ", ".join(map(str, gpu.others(_held_here(device)))) or "none",
                }
            )
    except nvml.Unavailable as reason:
        return {"reason": str(reason)}


def _held_here(device: str) -> int:
    """Bytes of the device that this process has reserved, as far as its allocator tells."""
    memory = accelerator.named(device).memory
    with suppress(RuntimeError):
        return memory.now().reserved if memory else 0
    return 0


def _idle_watts(gpu: nvml.Gpu) -> Fact:
    watts = settled_watts(gpu.power_watts)
    return round(watts, 1) if watts is not None else f"not settled within {SETTLES_WITHIN_S:g} s"


def busy_gpus(devices: Sequence[str]) -> Iterator[str]:
    """One line for each GPU on which others compute."""
    for device in devices:
        others = _gpu_state(device).get("other_processes", "none")
        if others != "none":
            yield f"{device}: others compute on it ({others}); what is measured beside them is doubtful"


def _known(questions: dict[str, Callable[[], Fact]]) -> Facts:
    """The answers that there are."""
    facts: Facts = {}
    for name, question in questions.items():
        try:
            facts[name] = question()
        except nvml.Unavailable:  # this GPU has no such reading, others have
            continue
    return facts


def _switches() -> Facts:
    """Of PyTorch, and of the environment where they are set."""
    import torch

    return {
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "tf32_matmul": torch.backends.cuda.matmul.allow_tf32,
        "tf32_convolution": torch.backends.cudnn.allow_tf32,
        **{name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }


def _processor() -> Facts:
    import torch

    return {
        "cpu": processor_model(),
        "cpu_count": os.cpu_count() or 0,
        "threads": torch.get_num_threads(),
        "os": platform.platform(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
    }


@cache
def processor_model() -> str:
    """As its maker calls it, where the system says so."""
    told = _output("sysctl", "-n", "machdep.cpu.brand_string") if psutil.MACOS else ""
    with suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
        told = found[1].strip() if found else ""
    return told or platform.processor() or platform.machine()


def _versions() -> Facts:
    facts: Facts = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            facts[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return facts


def _gpu(device: str) -> Facts:
    facts: Facts = accelerator.named(device).facts()
    try:
        with nvml.opened(device) as gpu:
            facts |= _known(
                {
                    "driver": gpu.driver,
                    "power_limit_watts": gpu.power_limit_watts,
                    "max_sm_clock_mhz": gpu.max_sm_clock_mhz,
                    "max_memory_clock_mhz": gpu.max_memory_clock_mhz,
                    "gpu_uuid": gpu.uuid,
                    "mig": gpu.mig,
                    "persistence_mode": gpu.persistence_mode,
                    "compute_mode": gpu.compute_mode,
                }
            )
    except nvml.Unavailable as reason:
        facts["driver"] = f"unknown: {reason}"
    return facts


def _commit() -> Facts:
    """The commit of the code that measures, where it runs from a git checkout."""
    here = str(Path(__file__).resolve().parent)
    commit = _output("git", "-C", here, "rev-parse", "--short=12", "HEAD")
    if not commit:
        return {}
    return {
        "commit": commit,
        "uncommitted_changes": bool(_output("git", "-C", here, "status", "--porcelain")),
    }


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
