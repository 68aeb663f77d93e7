"""pytest-benchmark knows the processor but not the GPU: what it stores here says device, driver and PyTorch, is kept
apart by device, and is never compared with another device's. A plugin that tests/conftest.py registers for `-m perf`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.device import environment

ROOT = Path(__file__).resolve().parents[2]
DEVICE = "cuda:0" if torch.cuda.is_available() else "cpu"

# What a reader of a baseline must know. What is not here may differ without a word.
FACTS = ("device", "device_kind", "driver", "cuda", "cudnn", "torch", "python", "cpu", "threads", "os")


def machine_info() -> dict[str, Any]:
    facts = environment.describe(DEVICE)
    return {name: facts[name] for name in FACTS if name in facts}


def storage(device: str) -> Path:
    """results/baselines/<device>, where the device is a plain file name: "nvidia-h200", "amd-epyc-2-threads"."""
    return ROOT / "results" / "baselines" / re.sub(r"[^a-z0-9.]+", "-", device.lower()).strip("-")


def use_storage_of_this_device(config: pytest.Config) -> None:
    """Before pytest-benchmark reads its options.

    Raises:
        pytest.UsageError: there is nothing to compare with yet.
    """
    if not any(config.getoption(f"benchmark_{name}") for name in ("save", "autosave", "compare")):
        return
    if config.getoption("benchmark_storage") != "file://./.benchmarks":
        return  # somebody chose another place
    folder = storage(machine_info()["device"])
    if config.getoption("benchmark_compare") is True and not list(folder.rglob("*.json")):
        raise pytest.UsageError(f"there is no baseline in {folder} yet: --benchmark-save=NAME makes one")
    config.option.benchmark_storage = f"file://{folder}"


def pytest_benchmark_generate_machine_info(config: pytest.Config) -> dict[str, Any]:
    return machine_info()


def pytest_benchmark_update_commit_info(config: pytest.Config, commit_info: dict[str, Any]) -> None:
    """The author's branch and time zone are nobody's business."""
    for name in ("project", "author_time", "branch"):
        commit_info.pop(name, None)


def pytest_benchmark_compare_machine_info(
    config: pytest.Config, benchmarksession: Any, machine_info: dict[str, Any], compared_benchmark: dict[str, Any]
) -> None:
    """Refuse another device's numbers, and say what else differs."""
    theirs = compared_benchmark["machine_info"]
    if theirs.get("device") != machine_info["device"]:
        device = theirs.get("device", "an unknown device")
        raise pytest.UsageError(f"this baseline is of {device}, and this device is {machine_info['device']}")
    for name in dict.fromkeys([*theirs, *machine_info]):
        if theirs.get(name) != machine_info.get(name):
            benchmarksession.logger.info(f"{name}: {theirs.get(name)} in the baseline, {machine_info.get(name)} now")
    # The plugin would go on to warn of the same, and warnings are errors here.
    compared_benchmark["machine_info"] = machine_info
