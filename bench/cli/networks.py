"""`list` and `show`: the registry as a table, and one network layer by layer."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from bench.cli import OK, in_a_folder, refuse_for_registry, say, with_suffix, write
from bench.config import RequestError, Track
from bench.engines.isolation import spin_briefly
from bench.runner.flags import Argument, Count, File, Word
from bench.runner.request import Arguments, networks, with_model_kwargs


@dataclass(frozen=True)
class List:
    """Show the registry as a table."""

    family: Word = None
    """Only this family, such as ResNet."""
    track: Track | None = None
    """Only this track."""
    year: Count = None
    """Only networks of this year."""
    json: bool = False
    """Print JSON for machines."""


def run_list(request: List) -> int:
    from bench.models import REGISTRY
    from bench.quantity import quantity
    from bench.render.tables import aligned
    from bench.runner.measure import network_row

    specs = [
        spec
        for spec in REGISTRY.values()
        if (request.family is None or spec.family.casefold() == request.family.casefold())
        and (request.track is None or spec.track == request.track)
        and (request.year is None or spec.year == request.year)
    ]
    if not specs:
        families = dict.fromkeys(f"{spec.family} ({spec.year})" for spec in REGISTRY.values())
        raise RequestError(f"no network matches; families and their years: {', '.join(families)}")
    rows = [network_row(spec) for spec in specs]
    if request.json:
        print(json.dumps(rows, indent=2))
        return OK
    for row in rows:
        row["input_size"] = "x".join(map(str, row["input_size"]))
        row["params"] = f"{row['params']:,}"
        row["macs"] = quantity(row["macs"], "count")
    print(aligned(_headed(rows)))
    return OK


@dataclass(frozen=True)
class Show:
    """Show one network layer by layer: output shape, parameters, MACs, saved bytes."""

    model: Annotated[str, Argument(positional=True)]
    """Name of the network; also torchvision:NAME, timm:NAME, package.module:factory or ./file.py:factory."""
    input_size: Word = None
    """What a network from outside the registry takes: 32, or 1x28x28."""
    num_classes: Count = None
    """How many classes such a network has."""
    model_kwargs: Arguments = ()
    """Arguments of such a network's factory: drop_path_rate=0.1 depth=2."""
    diagram: File = None
    """Also draw its blocks, branches and skips into this file, NAME.svg."""
    time: bool = False
    """Also measure how long each layer takes in a forward pass in eval mode, between hooks: the median of many."""
    trace: File = None
    """Also write a profiler's trace of one training step into this file, NAME.json, for Perfetto or chrome://tracing."""
    device: str = "auto"
    """For --time and --trace: auto, cpu, cuda or cuda:N."""
    batch_size: Count = None
    """For --time (default: 1) and --trace (default: that of a run)."""
    json: bool = False
    """Print JSON for machines."""


def run_show(request: Show) -> int:
    # Before torch is loaded: threads spin as in a run, and the profiler says nothing of its own.
    spin_briefly()
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")
    from bench.device.environment import hardware
    from bench.probes.counting.networks import with_own_classes
    from bench.probes.speed import trace
    from bench.quantity import first_line
    from bench.render.diagram import draw
    from bench.runner.measure import layer_rows, step_task
    from bench.structure.panels import structure

    diagram_file = request.diagram and in_a_folder("--diagram", with_suffix("--diagram", request.diagram, ".svg"))
    trace_file = request.trace and in_a_folder("--trace", with_suffix("--trace", request.trace, ".json"))
    for flag, value in (("--device", request.device != "auto"), ("--batch-size", request.batch_size is not None)):
        if value and not (request.time or trace_file):
            raise RequestError(f"{flag}: only goes with --time or --trace")
    refuse_for_registry([request.model], request.input_size, request.num_classes)
    if request.num_classes is not None and request.num_classes <= 0:
        raise RequestError(f"--num-classes {request.num_classes}: must be above zero")
    names = with_model_kwargs([request.model], request.model_kwargs)
    spec, *more = networks(names, request.input_size, request.num_classes)
    if more:
        raise RequestError(f"{request.model!r} is more than one network: name one")
    try:
        with contextlib.redirect_stdout(sys.stderr):
            spec = with_own_classes(spec)
            alone = 1 if request.batch_size is None else request.batch_size
            timed = step_task(spec, request.device, alone) if request.time else None
            rows, notes = layer_rows(spec, timed)
            diagram = draw(structure(spec)) if diagram_file else ""
            traced = trace(step_task(spec, request.device, request.batch_size)) if trace_file else ""
    except RequestError:
        raise
    except (Exception, SystemExit) as error:  # a user's own network may do anything
        raise RequestError(f"{spec.name} cannot be shown: {type(error).__name__}: {first_line(error)}") from error
    for what, file, text in (("diagram", diagram_file, diagram), ("trace", trace_file, traced)):
        if file:
            write(f"--{what}", file, text)
            say(f"{what}: {file}")
    columns = ("params", "macs", "activations", "saved_activation_bytes", *(("time_ms",) if timed else ()))
    unknown = {column for column in columns if any(row[column] is None for row in rows)}
    totals = {column: None if column in unknown else sum(row[column] for row in rows) for column in columns}
    facts = {"name": spec.name, "family": spec.family, "year": spec.year, "paper": spec.paper}
    if timed:
        facts["timed"] = (
            f"a forward pass in eval mode, batch {timed.batch_size}, {timed.config.execution}, {hardware(timed.device)}"
        )
    if request.json:
        told = {"differences": spec.differences, "notes": notes}
        print(json.dumps({**facts, **told, "layers": rows, "totals": totals}, indent=2))
        return OK
    print(f"{spec.name}: {spec.family}, {spec.year}. {spec.paper}" if spec.year else f"{spec.name}: your own network")
    print(f"input {'x'.join(map(str, spec.input_size))}, {spec.num_classes} classes")
    for remark in (*spec.differences, *notes):
        print(f"- {remark}")
    if timed:
        print(f"time of {facts['timed']}; hooks and all, the median of many")
    print(_layers_as_text(rows, totals))
    return OK


def _layers_as_text(rows: Sequence[dict[str, Any]], totals: Mapping[str, Any]) -> str:
    """The layers and their totals as a table, with the share of each in the MACs, and in the time if it was taken."""
    from bench.quantity import quantity
    from bench.render.tables import aligned

    rows = [*rows, {"layer": "total", "operation": "", "output_shape": [], **totals}]
    for row in rows:
        share = row["macs"] / totals["macs"] if totals["macs"] else 0.0
        row["output_shape"] = "x".join(map(str, row["output_shape"]))
        for column in ("params", "macs", "activations"):
            row[column] = f"{row[column]:,}"
        row["share of MACs"] = f"{100 * share:.1f} %"
        saved = row["saved_activation_bytes"]
        row["saved_activation_bytes"] = "-" if saved is None else quantity(saved, "bytes")
        if "time_ms" in totals:
            row["share of time"] = f"{100 * row['time_ms'] / totals['time_ms']:.1f} %"
            row["time_ms"] = f"{row['time_ms']:.4f}"
    return aligned(_headed(rows))


_HEADINGS = {
    "params": "parameters",
    "macs": "MACs",
    "saved_activation_bytes": "saved activations",
    "time_ms": "time (ms)",
}


def _headed(rows: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    return [{_HEADINGS.get(name, name.replace("_", " ")): value for name, value in row.items()} for row in rows]
