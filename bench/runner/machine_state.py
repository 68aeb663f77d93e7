"""What surrounds the tasks of one start of a run: the machine's state before and after them, and its limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from bench.config import Precision
from bench.device import environment
from bench.device.peaks import LimitsTask, measure_limits
from bench.engines.engine import Crash, Executor, Stop
from bench.records.run_folder import Run
from bench.records.run_json import Session

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
