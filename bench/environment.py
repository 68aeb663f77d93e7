"""Where a run was measured: device, driver, versions, load and commit. A number without these is worth little."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

Facts = dict[str, str | int | float | bool]

_PACKAGES = ("torch", "torchvision", "numpy", "pandas", "fvcore", "matplotlib", "timm")


def describe(device: str) -> Facts:
    """Flat facts about this machine as seen from `device` ("cpu" or "cuda:N"); unknown facts are left out."""
    facts: Facts = {"device_kind": device.partition(":")[0], **_processor(), **_versions(), **_commit()}
    if device.startswith("cuda"):
        facts |= _gpu(device)
    else:
        facts["device"] = f"{facts['cpu']}, {facts['threads']} threads"
    return facts


def _processor() -> Facts:
    import torch

    facts: Facts = {
        "cpu": _cpu_model(),
        "cpu_count": os.cpu_count() or 0,
        "threads": torch.get_num_threads(),
        "os": platform.platform(),
    }
    try:
        facts["load_average_1min"] = round(os.getloadavg()[0], 2)
        facts["memory_gib"] = round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    except (OSError, ValueError):  # not on this system
        pass
    return facts


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _versions() -> Facts:
    facts: Facts = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            facts[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return facts


def _gpu(device: str) -> Facts:
    import torch

    properties = torch.cuda.get_device_properties(device)
    facts: Facts = {
        "device": properties.name,
        "gpu_memory_gib": round(properties.total_memory / 2**30, 1),
        "gpu_multiprocessors": properties.multi_processor_count,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "cuda": torch.version.cuda or "",
        "cudnn": torch.backends.cudnn.version() or 0,
    }
    driver = _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    if driver:
        facts["driver"] = driver.splitlines()[0]
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
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
