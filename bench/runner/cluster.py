"""A run on a Ray cluster: whether there is one, what its nodes are, and the executor for it.

Ray is imported here alone, and only when a run asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.config import Inputs, Precision, RequestError
from bench.device import environment
from bench.device.execution import Arithmetics, arithmetics
from bench.runner.execute import PRELOAD, relocated
from bench.runner.request import Request

if TYPE_CHECKING:
    from bench.engines.ray import RayCluster

_SAME = ("torch", "python")  # on every node, or one run would mix numbers of two kinds


@dataclass(frozen=True)
class Node:
    """What a node says of itself."""

    facts: environment.Facts
    has: frozenset[Precision]  # in what its devices compute


def join(request: Request) -> tuple[str, ...]:
    """Join the cluster; returns the kind of its devices: "cuda:0", as every task sees its own GPU, or "cpu".

    Raises:
        RequestError: a flag is of this machine alone, Ray is missing, or there is no such cluster or device.
    """
    if request.threads is not None:
        raise RequestError(f"--threads {request.threads}: only goes with --engine local")
    try:
        from bench.engines import ray
    except ImportError as error:
        if error.name != "ray":
            raise
        raise RequestError("--engine ray needs Ray, which is not installed: pip install 'ray>=2.40,<3'") from None
    try:
        ray.connect(request.ray_address)
    except ray.NoCluster as reason:
        raise RequestError(
            f"--ray-address {request.ray_address}: there is no cluster ({reason}); `ray start --head` starts one"
        ) from None
    found = ray.kind_of_cluster()
    wanted = found if request.device == "auto" else request.device
    if wanted not in ("cpu", "cuda"):
        raise RequestError(f"--device {request.device}: a cluster gives all it has; write auto, cpu or cuda")
    if wanted == "cuda" and found == "cpu":
        raise RequestError("--device cuda: no node of the Ray cluster has a GPU")
    return ("cuda:0",) if wanted == "cuda" else ("cpu",)


def described(devices: tuple[str, ...]) -> Mapping[str, Node]:
    """What each node that has such devices says of itself, by the node's address.

    Raises:
        RequestError: the nodes differ in their versions.
    """
    from bench.engines import ray

    nodes: dict[str, Node] = ray.ask_every_node(_node, _kind(devices))
    for key in _SAME:
        versions = {address: node.facts.get(key) for address, node in nodes.items()}
        if len(set(versions.values())) > 1:
            told = ", ".join(f"{version} on {address}" for address, version in versions.items())
            raise RequestError(f"the nodes of the Ray cluster have different versions of {key}: {told}")
    return nodes


def _node(device: str) -> Node:
    (has,) = arithmetics([device]).values()
    return Node(environment.describe(device), has)


def of_all(nodes: Mapping[str, Node]) -> Arithmetics:
    """In what the device of each node computes."""
    return {f"{address} ({node.facts['device']})": node.has for address, node in nodes.items()}


def facts(nodes: Mapping[str, Node]) -> environment.Facts:
    """The facts of a node; `device` names the hardware of all."""
    about = next(iter(nodes.values())).facts
    return {**about, "device": " and ".join(sorted({str(node.facts["device"]) for node in nodes.values()}))}


def executor(
    devices: tuple[str, ...], inputs: Inputs, memory_limit: int | None, cache_dir: Path | None
) -> RayCluster[Any, Any]:
    """The cluster as an executor, which brings the images to its nodes."""
    from bench.engines import ray

    image_sets: Mapping[str, Any] = {image_set.sha256: image_set for image_set in inputs.image_sets.values()}
    return ray.RayCluster(_kind(devices), tuple(image_sets.values()), relocated, PRELOAD, memory_limit, cache_dir)


def _kind(devices: tuple[str, ...]) -> Literal["cpu", "cuda"]:
    return "cpu" if devices == ("cpu",) else "cuda"
