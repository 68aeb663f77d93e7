"""What a run keeps beside its rows: the machine's state and limits, and the structure of one network of each kind.

Structures (networks.json) are what a report draws next to the numbers; they are found on the meta device in worker
processes, as a user's own network may do anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from bench.config import Precision
from bench.device import environment
from bench.device.peaks import LimitsTask, measure_limits
from bench.engines.engine import Crash, Executor, Stop
from bench.models import REGISTRY, ModelSpec
from bench.records.run_folder import Run, RunError
from bench.records.run_json import Session
from bench.structure.panels import structure

TIME_LIMIT_S = 60.0  # for what takes one to three seconds


@dataclass
class Said:
    """Seconds of each phase: as the run said beforehand, and as it took."""

    predicted: Mapping[str, float] = field(default_factory=dict)
    taken: Mapping[str, float] = field(default_factory=dict)


@contextmanager
def conditions_kept(run: Run, devices: Sequence[str], idle: bool = False) -> Iterator[Said]:
    """Add a session to the header of the run: before what is done within, and after it, however that ends.

    Yields what the run says of its time, for whoever knows it to fill in. `idle` asks for the power of each GPU that
    does nothing, which takes a few seconds: only where energy is measured.
    """
    said = Said()
    earlier = run.header.sessions
    session = Session(_now(), environment.conditions(devices, idle))
    run.rewrite_header(replace(run.header, sessions=(*earlier, session)))
    try:
        yield said
    finally:
        predicted, taken = (
            {name: round(each, 1) for name, each in part.items()} for part in (said.predicted, said.taken)
        )
        session = replace(
            session, ended=_now(), after=environment.conditions(devices), predicted=predicted, taken=taken
        )
        run.rewrite_header(replace(run.header, sessions=(*earlier, session)))


def keep_limits(
    run: Run,
    executor: Executor[LimitsTask, dict[str, Any]],
    devices: Sequence[str],
    precision: Precision,
    stop: Stop | None = None,
) -> None:
    """Measure what each device can do, unless the run knows it, each in a process of its own.

    A device that cannot be measured has the `reason` instead, and is tried again when the run is resumed.
    """
    limits: dict[str, Any] = dict(run.header.limits)
    if all("peak_flops_per_s" in limits.get(device, {}) for device in devices):
        return
    tasks = [LimitsTask(precision, number) for number in range(len(devices))]
    at: dict[LimitsTask, str] = {}
    engine = executor.engine(measure_limits, needs_device=True, tasks=len(tasks))
    with closing(engine.run(tasks, TIME_LIMIT_S, at.__setitem__, stop)) as ended:
        for task, found in ended:
            if isinstance(found, Crash):
                found = {"precision": precision, "reason": found.reason}
            limits[at[task]] = found
    run.rewrite_header(replace(run.header, limits=limits))


def keep_faster_limits(run: Run, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Replace each limit of a device for which a later measurement was faster: a limit is what the device can do."""
    before = dict(run.header.limits)
    limits = dict(before)
    for device, now in found.items():
        known = limits.get(device, {})
        if "peak_flops_per_s" not in known:
            limits[device] = now
            continue
        for rate, what in (("peak_flops_per_s", "peak"), ("bandwidth_bytes_per_s", "bandwidth")):
            if now[rate] > known[rate]:
                known = {**known, **{name: now[name] for name in (rate, what, f"{what}_samples")}}
        limits[device] = known
    if limits != before:
        run.rewrite_header(replace(run.header, limits=limits))


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


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
