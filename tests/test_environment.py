"""The facts that travel with every number."""

import platform

import pytest
import torch

from bench.environment import describe


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


@pytest.mark.gpu
def test_a_gpu_is_described() -> None:
    facts = describe("cuda:0")
    assert facts["device"] == torch.cuda.get_device_name(0)
    assert facts["device_kind"] == "cuda"
    assert facts["driver"]
    assert facts["cuda"] == torch.version.cuda
