"""What a report draws of an architecture next to its numbers: the structure of one network of each.

Kept in results/<run>/networks.json. Found on the meta device in worker processes: a user's own network may do anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

from bench.engines.engine import Crash, Executor, Stop
from bench.models import REGISTRY, ModelSpec
from bench.records.run_folder import Run, RunError
from bench.structure.panels import structure

TIME_LIMIT_S = 60.0  # for what takes a tenth of a second


@dataclass(frozen=True)
class DescribeTask:
    """What a worker process is asked for."""

    spec: ModelSpec

    @property
    def group(self) -> str:
        own = self.spec.name not in REGISTRY
        return f"description of {self.spec.name}" if own else "descriptions of networks of the suite"


def describe(task: DescribeTask, device: str) -> dict[str, Any]:
    """The structure of one network, as plain JSON; `device` is not used.

    Raises:
        Exception: whatever the network raises.
    """
    return {"structure": structure(task.spec).to_json()}


def representatives(specs: Sequence[ModelSpec]) -> list[ModelSpec]:
    """The first network of each family; of a user's own networks, each."""
    first: dict[str, ModelSpec] = {}
    for spec in specs:
        first.setdefault(spec.family if spec.name in REGISTRY else spec.name, spec)
    return list(first.values())


def keep_descriptions(
    run: Run, executor: Executor[DescribeTask, dict[str, Any]], specs: Sequence[ModelSpec], stop: Stop | None = None
) -> None:
    """Describe the representatives that the run has no description of yet; one that fails has the `reason` instead.

    Raises:
        OSError: the file cannot be written.
    """
    kept: dict[str, Any] = {}
    with suppress(RunError):  # a damaged file is made anew
        kept = run.networks()
    tasks = [DescribeTask(spec) for spec in representatives(specs) if spec.name not in kept]
    if not tasks:
        return
    engine = executor.engine(describe, needs_device=False, tasks=len(tasks))
    found: dict[str, Any] = {}
    with closing(engine.run(tasks, TIME_LIMIT_S, lambda task, device: None, stop)) as ended:
        for task, described in ended:
            found[task.spec.name] = {"reason": described.reason} if isinstance(described, Crash) else described
    order = [task.spec.name for task in tasks if task.spec.name in found]  # whichever worker was first
    run.keep_networks({**kept, **{name: found[name] for name in order}})
