"""GPUs that PyTorch is said to see."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import pytest
import torch

from bench.device import accelerator

ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120")


def cards(
    monkeypatch: pytest.MonkeyPatch, *capabilities: tuple[int, int], built_for: Sequence[str] = ARCHITECTURES
) -> None:
    """PyTorch sees GPUs of these compute capabilities, no more of them than that, and has kernels for these."""

    def number(device: str) -> int:
        return int(device.partition(":")[2])

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(capabilities))
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: list(built_for))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capabilities[number(device)])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"card {number(device)}")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=device))
    monkeypatch.setattr(torch.accelerator, "set_device_index", lambda index: None)
    monkeypatch.setattr(accelerator, "_chosen", [])
