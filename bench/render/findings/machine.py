"""The machine: its state, what it can do at most, whether MACs predict its time, and who uses it least."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.config import Execution
from bench.quantity import listing, quantity, with_unit
from bench.records.run_folder import RunHeader, Session
from bench.render.results import Results
from bench.render.results.derived import Limits, Peak, limits_of, peak_of
from bench.render.results.networks import Model, written_name
from bench.render.tables import launch_bound
from bench.stats import rank_correlation


@dataclass(frozen=True)
class TextTable:
    """A table of text: `headings` over `rows`, whose first cell names the row."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def execution_line(execution: Execution) -> str:
    """As "bf16, channels_last memory format, not compiled, CUDA graphs in training where the network allows them"."""
    graphs = {
        True: "CUDA graphs",
        False: "no CUDA graphs",
        None: "CUDA graphs in training where the network allows them",
    }
    mode = "" if execution.compile_mode == "default" else f" ({execution.compile_mode})"
    compiled = f"compiled{mode}" if execution.compile else "not compiled"
    return (
        f"{execution.precision}, {execution.memory_format} memory format, {compiled}, {graphs[execution.cuda_graphs]}"
    )


_OF_NVIDIA_ALONE = ("cudnn", "tf32", "nvidia")
_FACTS = {"memory_gib": "memory (GiB)", "cpu_mhz": "CPU clock (MHz)", "load_average_1min": "load average, 1 min"}


def facts_of(stored: Mapping[str, Any]) -> dict[str, str]:
    """Facts as text: yes or no, a list as its items, a group of facts as one fact each; empty where there is none."""
    facts: dict[str, str] = {}
    for name, fact in stored.items():
        if isinstance(fact, dict):
            facts |= {f"{name} {inner}": text for inner, text in facts_of(fact).items()}
        else:
            items = fact if isinstance(fact, list) else [] if fact is None else [fact]
            words = [("yes" if item else "no") if isinstance(item, bool) else str(item) for item in items]
            facts[name] = ", ".join(words)
    return facts


def environment_facts(environment: Mapping[str, Any]) -> dict[str, str]:
    """What an environment is, in words, without what does not apply to a CPU."""
    on_cpu = environment.get("device_kind") == "cpu"
    return {
        _words(name): fact
        for name, fact in facts_of(environment).items()
        if fact and not (on_cpu and name.startswith(_OF_NVIDIA_ALONE))
    }


def sessions_grid(header: RunHeader) -> TextTable | None:
    """The state of the machine, a column before and after each part of the run; None where none was recorded.

    Also how long each phase was said to take before, and took.
    """
    sessions = [session for session in header.sessions if session.before or session.after]
    if not sessions:
        return None
    states = [
        {**facts_of(state), **_times(times, word)}
        for session in sessions
        for state, times, word in (
            (session.before, session.predicted, "predicted"),
            (session.after, session.taken, "taken"),
        )
    ]
    facts = dict.fromkeys(fact for state in states for fact in state)
    return TextTable(
        ("", *(heading for session in sessions for heading in _headings(session))),
        tuple((_words(fact), *(state.get(fact, "–") or "none" for state in states)) for fact in facts),
    )


def _times(seconds: Mapping[str, float], word: str) -> dict[str, str]:
    whole = {"all tasks": sum(seconds.values())} if seconds else {}
    return {f"time of {what}": f"{s / 60:.1f} min {word}" for what, s in {**whole, **seconds}.items()}


def limits_grid(header: RunHeader) -> TextTable | None:
    """What each device can do at most, a row per device; None where a run has no such measurement."""
    if not header.limits:
        return None
    headings = ("", "Precision", "Matrix products", "Memory traffic", "Ridge", "Vendor's dense peak")
    return TextTable(headings, tuple(_limits_row(limits) for limits in limits_of(header).values()))


def _limits_row(limits: Limits) -> tuple[str, ...]:
    not_measured = f"not measured: {limits.reason}" if limits.reason else "not measured"
    peak = limits.vendor_flops_per_s
    return (
        limits.device,
        limits.precision,
        with_unit(limits.flops_per_s, "FLOP/s") if limits.flops_per_s else not_measured,
        with_unit(limits.bytes_per_s, "bytes/s") if limits.bytes_per_s else not_measured,
        f"{limits.ridge:.3g} FLOP/byte" if limits.ridge else "–",
        f"{with_unit(peak, 'FLOP/s')} ({limits.vendor_source})" if peak else "not known",
    )


def _headings(session: Session) -> tuple[str, str]:
    return f"before, {_time(session.started)}", f"after, {_time(session.ended)}" if session.ended else "after"


def _time(iso: str) -> str:
    """Such as "2026-01-31 12:00:05" of an ISO time, whose zone the creation of the run gives."""
    return iso[:19].replace("T", " ")


def _words(fact: str) -> str:
    return _FACTS.get(fact) or fact.replace("_", " ").replace("cpu", "CPU")


def peaks_of(results: Results, models: Sequence[Model]) -> Limits | None:
    """The limits of the device that timed most of the networks; None where they were not measured."""
    known = {device: limits for device, limits in limits_of(results.header).items() if limits.ridge}
    timed = [results.cell(model, "inference_images_per_s").records for model in models]
    devices = [records[-1].device for records in timed if records and records[-1].device in known]
    return known[max(sorted(set(devices)), key=devices.count)] if devices else None


_NAMED = 3  # networks with the lowest share of the peak, and outliers of each kind
_FASTER = 1.25  # a larger batch that gains less explains nothing


def lowest_use(results: Results, models: Sequence[Model]) -> list[str]:
    """A sentence each on the three networks with the lowest share of the peak in a training step, lowest first.

    Of fewer than twice as many networks, none is named: they are all in the table.
    """
    known = [model for model in models if results.cell(model, "mfu").measured]
    if len(known) < 2 * _NAMED:
        return []
    reliable = [model for model in known if results.cell(model, "mfu").competes]
    reliable.sort(key=lambda model: results.cell(model, "mfu").value)
    return [_sentence(results, model) for model in reliable[:_NAMED]]


def _sentence(results: Results, model: Model) -> str:
    cell = results.cell(model, "mfu")
    row = cell.records[-1]
    limits = limits_of(results.header).get(row.device)
    peak = limits and peak_of(limits, row.precision)
    name = peak.name if isinstance(peak, Peak) else "the peak"
    share = f"{quantity(cell.value, 'fraction', digits=2)} of {name}"
    causes = {
        "kernel launches": (_launches(results, model), results.cell(model, "train_device_ms").measured),
        "memory traffic": (
            _memory(results, model),
            peaks_of(results, [model]) is not None and results.cell(model, "arithmetic_intensity").measured,
        ),
        "batch size": (_batch(results, model), results.cell(model, "best_train_images_per_s").measured),
    }
    asked = ", ".join(cause for cause, (_, known) in causes.items() if known)
    why = "; ".join(reason for reason, _ in causes.values() if reason) or (
        f"what was measured of the causes ({asked}) does not explain this" if asked else "no cause of this was measured"
    )
    return f"In training {written_name(model)} reaches {share}: {why}."


def _launches(results: Results, model: Model) -> str:
    """Whether the device waits for the host: by its own clock it works on the step for a part of its time."""
    if not launch_bound(results, model, "train_device_ms"):
        return ""
    busy, speed = results.cell(model, "train_device_ms"), results.cell(model, "train_images_per_s")
    if not speed.measured or not speed.batch_size:
        return "it is launch-bound"
    share = busy.value / 1e3 * speed.value / speed.batch_size
    return f"it is launch-bound (the device is busy for {quantity(share, 'fraction', digits=2)} of the step)"


def _memory(results: Results, model: Model) -> str:
    """Whether its operators move so many bytes that memory allows no more than a part of the peak."""
    peaks = peaks_of(results, [model])
    intensity = results.cell(model, "arithmetic_intensity").value
    if peaks is None or not intensity < peaks.ridge:
        return ""
    most = intensity * peaks.bytes_per_s
    reached = results.cell(model, "achieved_flops_per_s").value
    so_far = f", and it reaches {quantity(reached / most, 'fraction', digits=2)} of that" if reached > 0 else ""
    allowed = quantity(most / peaks.flops_per_s, "fraction", digits=2)
    return (
        f"memory allows it {allowed} of the measured peak in inference ({intensity:.3g} FLOP/byte, left of the ridge "
        f"at {peaks.ridge:.3g}){so_far}"
    )


def _batch(results: Results, model: Model) -> str:
    """Whether the common batch is too small to fill the device."""
    common, best = results.cell(model, "train_images_per_s"), results.cell(model, "best_train_images_per_s")
    larger = (best.batch_size or 0) > (common.batch_size or 0) > 0
    if not larger or not best.value >= _FASTER * common.value:
        return ""
    return (
        f"batch {common.batch_size} is small for it (batch {best.batch_size} is "
        f"{best.value / common.value:.2g} times as fast)"
    )


FAR = 3.0  # times slower or faster per MAC than the median network: too far for MACs to predict


@dataclass(frozen=True)
class TimePerMac:
    networks: int
    correlation: float  # Spearman's, of MACs and time per image
    ms_per_mac: float  # of the median network
    outliers: tuple[tuple[str, float], ...]  # networks and their time per MAC over the median's, slowest first

    @property
    def correlation_sentence(self) -> str:
        return (
            f"MACs and time per image have a rank correlation of {self.correlation:.2f} over {self.networks} networks."
        )

    @property
    def outlier_sentence(self) -> str:
        """The networks that are furthest off, slow and fast ones; empty where all are near."""
        slow = [pair for pair in self.outliers if pair[1] > 1][:_NAMED]
        fast = [pair for pair in reversed(self.outliers) if pair[1] < 1][:_NAMED]
        named = [f"{name} takes {quantity(ratio, 'times', 2)} times" for name, ratio in slow + fast]
        heading = "Outlier" if len(named) == 1 else "Outliers"
        return f"{heading}: {listing(named)} as long per MAC as the median network." if named else ""


def work_and_time(results: Results, models: Sequence[Model]) -> TimePerMac | None:
    """How MACs and time of inference at the common batch go together; None for fewer than three that have both."""
    timed = [
        model
        for model in models
        if results.cell(model, "macs").value > 0
        and (speed := results.cell(model, "inference_images_per_s")).value > 0
        and speed.asked_batch_size is None
    ]
    if len(timed) < 3:
        return None
    macs = [results.cell(model, "macs").value for model in timed]
    ms = [ms_per_image(results, model)[1] for model in timed]
    per_mac = [time / count for time, count in zip(ms, macs, strict=True)]
    middle = statistics.median(per_mac)
    ratios = sorted(
        ((written_name(model), rate / middle) for model, rate in zip(timed, per_mac, strict=True)),
        key=lambda pair: -pair[1],
    )
    far = tuple((name, ratio) for name, ratio in ratios if not 1 / FAR <= ratio <= FAR)
    return TimePerMac(len(timed), rank_correlation(macs, ms), middle, far)


def ms_per_image(results: Results, model: Model) -> tuple[float, float, float]:
    """Milliseconds of inference per image at the common batch: lower limit, value, upper limit."""
    slowest, usual, fastest = results.cell(model, "inference_images_per_s").span
    return 1e3 / fastest, 1e3 / usual, 1e3 / slowest
