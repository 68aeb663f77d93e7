"""What a run keeps beside its rows: the machine's state at every start, the limits of its devices, and structures.

A structure of one network of each kind (networks.json) is drawn in a report next to the numbers. It is found on the
meta device in worker processes, as a user's own network may do anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from bench.config import Precision, group_without_device
from bench.device import environment
from bench.device.peaks import measure_limits
from bench.engines import Crash, Executor, FunctionTask, Stop, call_function
from bench.models import REGISTRY, ModelSpec
from bench.records.run_folder import Run, RunError, Session
from bench.structure.panels import structure

TIME_LIMIT_S = 60.0  # for what takes one to three seconds
MOST_DESCRIBED = 40  # of a user's own networks: those of all of a library would take longer than their counts


@contextmanager
def session_kept(run: Run, devices: Sequence[str], idle: bool = False) -> Iterator[dict[str, Mapping[str, float]]]:
    """Add a session to the header of the run: before what is done within, and after it, however that ends.

    Yields a place for what is said of its time: seconds by phase, "predicted" and "taken". `idle` asks for the power of
    each GPU that does nothing, which takes a few seconds: only where energy is measured.
    """
    said: dict[str, Mapping[str, float]] = {}
    earlier = run.header.sessions
    session = Session(_now(), environment.machine_state(devices, idle))
    run.rewrite_header(replace(run.header, sessions=(*earlier, session)))
    try:
        yield said
    finally:
        predicted, taken = (
            {phase: round(each, 1) for phase, each in said.get(part, {}).items()} for part in ("predicted", "taken")
        )
        session = replace(
            session, ended=_now(), after=environment.machine_state(devices), predicted=predicted, taken=taken
        )
        run.rewrite_header(replace(run.header, sessions=(*earlier, session)))


def keep_limits(
    run: Run, executor: Executor, devices: Sequence[str], precision: Precision, stop: Stop | None = None
) -> None:
    """Measure what each device can do, unless the run knows it, each in a process of its own.

    A device that cannot be measured has the `reason` instead, and is tried again when the run is resumed.
    """
    limits: dict[str, Any] = dict(run.header.limits)
    if all("peak_flops_per_s" in limits.get(device, {}) for device in devices):
        return
    tasks = [FunctionTask(measure_limits, (precision,), f"limits {number}") for number in range(len(devices))]
    at: dict[FunctionTask, str] = {}
    with closing(executor.run(call_function, tasks, TIME_LIMIT_S, at.__setitem__, stop)) as ended:
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


def describe(spec: ModelSpec, device: str) -> dict[str, Any]:
    """The structure of one network, as plain JSON; `device` is not used.

    Raises:
        Exception: whatever the network raises.
    """
    return {"structure": structure(spec).to_json()}


def representatives(specs: Sequence[ModelSpec]) -> list[ModelSpec]:
    """The first network of each family; of a user's own networks, each."""
    first: dict[str, ModelSpec] = {}
    for spec in specs:
        first.setdefault(spec.family if spec.name in REGISTRY else spec.name, spec)
    return list(first.values())


def keep_descriptions(run: Run, executor: Executor, specs: Sequence[ModelSpec], stop: Stop | None = None) -> None:
    """Describe the representatives that the run has no description of yet; one that fails has the `reason` instead.

    Raises:
        OSError: the file cannot be written.
    """
    kept: dict[str, Any] = {}
    with suppress(RunError):  # a damaged file is made anew
        kept = run.networks()
    missing = [spec for spec in representatives(specs) if spec.name not in kept]
    if not missing:
        return
    drawn, others = missing[:MOST_DESCRIBED], missing[MOST_DESCRIBED:]
    tasks = {FunctionTask(describe, (spec,), group_without_device("descriptions", spec)): spec.name for spec in drawn}
    reason = f"a run draws {MOST_DESCRIBED} of your own; python -m bench show NAME --diagram FILE draws any"
    found: dict[str, Any] = {spec.name: {"reason": reason} for spec in others}
    with closing(executor.run(call_function, list(tasks), TIME_LIMIT_S, stop=stop, needs_device=False)) as ended:
        for task, described in ended:
            found[tasks[task]] = {"reason": described.reason} if isinstance(described, Crash) else described
    order = [spec.name for spec in missing if spec.name in found]  # whichever worker was first
    run.keep_networks({**kept, **{name: found[name] for name in order}})
