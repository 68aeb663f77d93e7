"""Joining a Ray cluster: what is asked of it, and what is said where it cannot be had."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.config import Execution, Precision, RequestError
from bench.device.execution import check
from bench.runner import cluster
from bench.runner.cluster import Node
from bench.runner.request import Request

EVERY: frozenset[Precision] = frozenset(("fp32", "tf32", "bf16", "fp16"))
ROOT = Path(__file__).resolve().parents[2]


def test_without_ray_the_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "bench.engines.ray", raising=False)
    monkeypatch.delattr("bench.engines.ray", raising=False)
    with pytest.raises(RequestError, match="pip install 'ray"):
        cluster.join(Request(engine="ray"))


def test_ray_is_not_imported_unless_asked_for() -> None:
    code = "import sys, bench.runner.prepare, bench.engines.local; assert 'ray' not in sys.modules"
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
    assert cluster.join(Request(engine="ray")) == ("cuda:0",)
    assert cluster.join(Request(engine="ray", device="cpu")) == ("cpu",)
    with pytest.raises(RequestError, match="write auto, cpu or cuda"):
        cluster.join(Request(engine="ray", device="cuda:1"))


def test_all_kinds_of_gpu_are_named(nodes: dict[str, Node]) -> None:
    assert cluster.facts(cluster.described(("cuda:0",)))["device"] == "NVIDIA A100 and NVIDIA H200"


def test_a_node_of_a_cluster_may_lack_an_arithmetic(nodes: dict[str, Node]) -> None:
    check(Execution("bf16"), cluster.of_all(cluster.described(("cuda:0",))))
    nodes["10.0.0.2"] = Node({**nodes["10.0.0.2"].facts, "device": "Tesla T4"}, frozenset(("fp32", "fp16")))
    with pytest.raises(RequestError, match=r"10\.0\.0\.2 \(Tesla T4\) has no bf16: use --precision fp16 or fp32"):
        check(Execution("bf16"), cluster.of_all(cluster.described(("cuda:0",))))


def test_nodes_of_different_versions_are_refused(nodes: dict[str, Node]) -> None:
    nodes["10.0.0.2"].facts["torch"] = "2.11.0"
    with pytest.raises(
        RequestError, match=r"different versions of torch: 2\.12\.0 on 10\.0\.0\.1, 2\.11\.0 on 10\.0\.0\.2"
    ):
        cluster.described(("cuda:0",))
