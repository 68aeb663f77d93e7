"""Which devices a word means, what is said of GPUs that cannot be used, and how a Ray cluster is joined."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bench.cli.main import main
from bench.config import Execution, Precision, RequestError
from bench.device import accelerator
from bench.device.execution import check
from bench.runner.prepare import Node, arithmetics_of, described_nodes, devices_for, facts_of, join_cluster
from bench.runner.request import Request
from tests.device.cards import ARCHITECTURES, cards
from tests.device.nvml_library import Install


@pytest.mark.parametrize(
    ("capability", "built_for", "runs"),
    [
        ((7, 5), ARCHITECTURES, True),
        ((7, 0), ARCHITECTURES, False),  # of the same generation as 7.5, and older
        ((6, 1), ARCHITECTURES, False),
        ((8, 9), ARCHITECTURES, True),  # what is made for 8.6 runs on it
        ((12, 1), ARCHITECTURES, True),
        ((13, 0), ARCHITECTURES, True),  # compiled by the driver
        ((13, 0), ["sm_90", "sm_120"], False),
        ((10, 3), ["sm_100f"], True),
        ((9, 0), ["gfx90a", "gfx942"], True),  # AMD's
        ((9, 0), [], True),  # it does not say
    ],
)
def test_kernels_run_on_their_own_generation_and_ptx_on_later_ones(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], built_for: Sequence[str], runs: bool
) -> None:
    cards(monkeypatch, capability, built_for=built_for)
    reason = accelerator.named("cuda:0").unusable()
    assert (not reason) == runs
    assert runs or f"card 0 has compute capability {capability[0]}.{capability[1]}" in reason


@pytest.mark.parametrize(
    ("capabilities", "said"),
    [([(9, 0)], "cuda:0 is the only CUDA device"), ([(9, 0)] * 2, "there are 2 CUDA devices, cuda:0 to cuda:1")],
)
def test_a_number_that_no_gpu_has_is_told_which_there_are(
    monkeypatch: pytest.MonkeyPatch, capabilities: Sequence[tuple[int, int]], said: str
) -> None:
    cards(monkeypatch, *capabilities)
    with pytest.raises(RequestError, match=f"--device cuda:2: {said}"):
        devices_for("cuda:2", print)


def test_a_gpu_without_kernels_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    cards(monkeypatch, (9, 0), (7, 0))
    said: list[str] = []
    assert devices_for("cuda", said.append) == devices_for("auto", said.append) == ("cuda:0",)
    assert [line[:40] for line in said] == 2 * ["cuda:1 is left out: card 1 has compute c"]
    with pytest.raises(
        RequestError, match=r"--device cuda:1: card 1 has compute capability 7\.0.*https://pytorch\.org"
    ):
        devices_for("cuda:1", said.append)


def test_where_no_gpu_has_kernels_auto_takes_the_cpu_and_says_so_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    cards(monkeypatch, (6, 1))
    said: list[str] = []
    assert devices_for("auto", said.append) == ("cpu",)
    assert said[0].startswith("MEASURING ON THE CPU: cuda:0 is left out: card 0 has compute capability 6.1")
    with pytest.raises(RequestError, match=r"--device cuda: cuda:0 is left out: .* 6\.1"):
        devices_for("cuda", said.append)


def test_a_gpu_that_does_not_answer_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost() -> None:
        raise RuntimeError("CUDA error: uncorrectable ECC error encountered\nFor debugging consider passing")

    cards(monkeypatch, (9, 0))
    monkeypatch.setattr(torch.cuda, "init", lost)
    said = "--device auto: CUDA does not start here (CUDA error: uncorrectable ECC error encountered); --device cpu"
    with pytest.raises(RequestError, match=f"^{re.escape(said)}"):
        devices_for("auto", print)


@pytest.fixture
def _unusable(driver: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU whose driver is too old for this PyTorch."""
    driver(cuda="12040")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


SAID = "the driver (550.54.14, up to CUDA 12.4) knows NVIDIA GeForce RTX 3060, but this PyTorch"


@pytest.mark.usefixtures("_unusable")
def test_a_gpu_that_pytorch_does_not_see_is_not_passed_over_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    assert devices_for("auto", said.append) == devices_for("cpu", said.append) == ("cpu",)
    assert [line[: len(SAID) + 22] for line in said] == [f"MEASURING ON THE CPU: {SAID}"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # whoever hides it knows
    assert devices_for("auto", said.append) == ("cpu",)
    assert len(said) == 1


@pytest.mark.usefixtures("_unusable")
def test_who_names_a_gpu_that_pytorch_does_not_see_is_told_what_helps(refused: Callable[..., str]) -> None:
    line = refused("run", "--device", "cuda", "--models", "lenet5_cifar", "--dry-run")
    assert f"--device cuda: {SAID}" in line
    assert "580 or newer" in line
    assert "https://pytorch.org/get-started/locally/" in line


@pytest.mark.usefixtures("_unusable")
def test_doctor_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    assert f"CUDA: no ({SAID}" in capsys.readouterr().out


EVERY: frozenset[Precision] = frozenset(("fp32", "tf32", "bf16", "fp16"))
ROOT = Path(__file__).resolve().parents[2]


def test_without_ray_the_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "bench.engines.ray", raising=False)
    monkeypatch.delattr("bench.engines.ray", raising=False)
    with pytest.raises(RequestError, match="pip install 'ray"):
        join_cluster(Request(engine="ray"))


def test_ray_is_not_imported_unless_asked_for() -> None:
    code = "import sys, bench.runner.execute; assert 'ray' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Node]:
    """What two nodes say of themselves, in place of a cluster's."""
    answers: dict[str, Node] = {
        "10.0.0.1": Node({"device": "NVIDIA H200", "torch": "2.12.0", "python": "3.12.1"}, EVERY),
        "10.0.0.2": Node({"device": "NVIDIA A100", "torch": "2.12.0", "python": "3.12.1"}, EVERY),
    }

    def ask_every_node(question: Callable[[str], Any], kind: str) -> dict[str, Node]:
        return answers

    fake = SimpleNamespace(ask_every_node=ask_every_node, connect=lambda address: None, kind_of_cluster=lambda: "cuda")
    monkeypatch.setitem(sys.modules, "bench.engines.ray", fake)
    monkeypatch.setattr("bench.engines.ray", fake, raising=False)
    return answers


def test_the_devices_are_those_of_the_cluster(nodes: dict[str, Node]) -> None:
    assert join_cluster(Request(engine="ray")) == ("cuda:0",)
    assert join_cluster(Request(engine="ray", device="cpu")) == ("cpu",)
    with pytest.raises(RequestError, match="write auto, cpu or cuda"):
        join_cluster(Request(engine="ray", device="cuda:1"))


def test_all_kinds_of_gpu_are_named(nodes: dict[str, Node]) -> None:
    assert facts_of(described_nodes(("cuda:0",)))["device"] == "NVIDIA A100 and NVIDIA H200"


def test_a_node_of_a_cluster_may_lack_an_arithmetic(nodes: dict[str, Node]) -> None:
    check(Execution("bf16"), arithmetics_of(described_nodes(("cuda:0",))))
    nodes["10.0.0.2"] = Node({**nodes["10.0.0.2"].facts, "device": "Tesla T4"}, frozenset(("fp32", "fp16")))
    with pytest.raises(RequestError, match=r"10\.0\.0\.2 \(Tesla T4\) has no bf16: use --precision fp16 or fp32"):
        check(Execution("bf16"), arithmetics_of(described_nodes(("cuda:0",))))


def test_nodes_of_different_versions_are_refused(nodes: dict[str, Node]) -> None:
    nodes["10.0.0.2"].facts["torch"] = "2.11.0"
    with pytest.raises(
        RequestError, match=r"different versions of torch: 2\.12\.0 on 10\.0\.0\.1, 2\.11\.0 on 10\.0\.0\.2"
    ):
        described_nodes(("cuda:0",))
