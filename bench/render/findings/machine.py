"""What the page says of the machine: its state before and after each part of a run, and what it can do at most."""

from __future__ import annotations

from dataclasses import dataclass

from bench.quantity import with_unit
from bench.render.results.header import Header, Limits, Session


@dataclass(frozen=True)
class Grid:
    """A table of text: `headings` over `rows`, whose first cell names the row."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def execution_line(header: Header) -> str:
    """As "bf16, channels_last memory format, not compiled, CUDA graphs in training where the network allows them"."""
    graphs = {True: "CUDA graphs", False: "no CUDA graphs"}
    words = (
        header.precision,
        f"{header.memory_format} memory format" if header.memory_format else "",
        "compiled" if header.compile else "not compiled",
        "CUDA graphs in training where the network allows them"
        if header.cuda_graphs is None
        else graphs[header.cuda_graphs],
    )
    return ", ".join(word for word in words if word)


_OF_NVIDIA_ALONE = ("cudnn", "tf32", "nvidia")


def environment_facts(header: Header) -> dict[str, str]:
    """The environment as recorded, without what does not apply to a CPU."""
    on_cpu = header.environment.get("device_kind") == "cpu"
    return {
        name: text
        for name, text in header.environment.items()
        if text and not (on_cpu and name.startswith(_OF_NVIDIA_ALONE))
    }


def conditions_grid(header: Header) -> Grid | None:
    """The state of the machine, a column before and after each part of the run; None where none was recorded."""
    sessions = [session for session in header.sessions if session.before or session.after]
    if not sessions:
        return None
    states = [state for session in sessions for state in (session.before, session.after)]
    facts = dict.fromkeys(fact for state in states for fact in state)
    return Grid(
        ("", *(heading for session in sessions for heading in _headings(session))),
        tuple((_words(fact), *(state.get(fact, "–") or "none" for state in states)) for fact in facts),
    )


def limits_grid(header: Header) -> Grid | None:
    """What each device can do at most, a row per device; None where a run has no such measurement."""
    if not header.limits:
        return None
    headings = ("", "Precision", "Matrix products", "Memory traffic", "Ridge", "Vendor's dense peak")
    return Grid(headings, tuple(_limits_row(limits) for limits in header.limits))


def _limits_row(limits: Limits) -> tuple[str, ...]:
    flops, traffic = limits.peak_flops_per_s, limits.bandwidth_bytes_per_s
    not_measured = f"not measured: {limits.reason}" if limits.reason else "not measured"
    peak = limits.vendor_flops_per_s
    return (
        limits.device,
        limits.precision,
        with_unit(flops, "FLOP/s") if flops else not_measured,
        with_unit(traffic, "bytes/s") if traffic else not_measured,
        f"{flops / traffic:.3g} FLOP/byte" if flops and traffic else "–",
        f"{with_unit(peak, 'FLOP/s')} ({limits.vendor_source})" if peak else "not known",
    )


def _headings(session: Session) -> tuple[str, str]:
    return f"before, {_time(session.started)}", f"after, {_time(session.ended)}" if session.ended else "after"


def _time(iso: str) -> str:
    """Such as "2026-01-31 12:00:05" of an ISO time, whose zone the creation of the run gives."""
    return iso[:19].replace("T", " ")


def _words(fact: str) -> str:
    return fact.replace("_", " ")
