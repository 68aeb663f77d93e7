"""The command line: one dataclass per verb whose fields are its flags, one function that does it.

Everything heavy is imported inside the verb that needs it: `--help` and `report` work without torch.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from bench.commands import BAD_REQUEST, INTERRUPTED, OK, SOME_FAILED, ab, compare, history
from bench.commands.parsing import parse
from bench.config import RequestError
from bench.request import Count, Folder, Names, Request, Word, parse_input_size
from bench.run_folder import RunError

PROG = "python -m bench"


@dataclass(frozen=True)
class All(Request):
    """Measure every probe of the preset on every network of the preset, then write the report."""


@dataclass(frozen=True)
class RunProbes(Request):
    """Measure some probes only and print the table."""

    probes: Names = ()
    """Names of probes, such as params macs throughput; a name that is none is answered with all that there are."""


@dataclass(frozen=True)
class List:
    """Show the registry as a table."""

    family: Word = None
    """Only this family, such as ResNet."""
    track: Literal["imagenet", "cifar", "mnist"] | None = None
    """Only this track."""
    year: Count = None
    """Only networks of this year."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print JSON for machines."""


@dataclass(frozen=True)
class Show:
    """Show one network layer by layer: output shape, parameters, MACs, saved bytes."""

    model: tyro.conf.Positional[str]
    """Name of the network; also torchvision:NAME, timm:NAME or package.module:factory."""
    input_size: Word = None
    """What a network that is not of the registry takes: 32, or 1x28x28."""
    num_classes: Count = None
    """How many classes such a network tells apart."""
    diagram: Path | None = None
    """Also draw its blocks, branches and skips into this SVG file."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print JSON for machines."""


@dataclass(frozen=True)
class Report:
    """Rebuild tables, charts and page of a run from its records; or of several runs, side by side."""

    runs: tyro.conf.Positional[tuple[str, ...]] = ()
    """Names of runs, or paths to their folders. One: its report. Several: one report that holds the others against the
    first. Default: the newest."""
    results_dir: Path = Path("results")
    """Where runs are."""
    reports_dir: Path = Path("reports")
    """Where the report goes."""


@dataclass(frozen=True)
class Doctor:
    """Say what this machine has, what is missing and how to get it."""

    data_dir: Folder = None
    """Where images are looked for. Default: $BENCH_DATA_DIR, else data/."""
    cache_dir: Folder = None
    """Where decoded images are kept. Default: $XDG_CACHE_HOME/classic-bench, else ~/.cache/classic-bench."""
    results_dir: Path = Path("results")
    """Where runs would be written."""


Command = (
    Annotated[All, tyro.conf.subcommand("all")]
    | Annotated[RunProbes, tyro.conf.subcommand("run")]
    | Annotated[List, tyro.conf.subcommand("list")]
    | Annotated[Show, tyro.conf.subcommand("show")]
    | Annotated[Report, tyro.conf.subcommand("report")]
    | Annotated[compare.Compare, tyro.conf.subcommand("compare")]
    | Annotated[history.History, tyro.conf.subcommand("history")]
    | Annotated[ab.Ab, tyro.conf.subcommand("ab")]
    | Annotated[Doctor, tyro.conf.subcommand("doctor")]
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        command = _parse(arguments)
        match command:
            case All():
                return _measure(command, (), arguments, report=True)
            case RunProbes():
                return _measure(command, command.probes, arguments, report=False)
            case List():
                return _list(command)
            case Show():
                return _show(command)
            case Report():
                return _report(command)
            case compare.Compare():
                return compare.run(command)
            case history.History():
                return history.run(command)
            case ab.Ab():
                return ab.run(command)
            case _:
                return _doctor(command)
    except (RequestError, RunError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return BAD_REQUEST
    except KeyboardInterrupt:  # before any task: `_measure` catches the others
        print("interrupted before anything was measured", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `bench list | head`
        sys.stderr.close()
        return OK


def _parse(
    arguments: list[str],
) -> All | RunProbes | List | Show | Report | compare.Compare | history.History | ab.Ab | Doctor:
    if arguments[:1] == ["ab"]:
        arguments = ab.joined(arguments)
    purpose = "What does each classic image-classification architecture cost, and what does it buy?"
    command: All | RunProbes | List | Show | Report | compare.Compare | history.History | ab.Ab | Doctor = parse(
        Command, arguments, PROG, purpose
    )
    return command


def _measure(request: Request, probes: tuple[str, ...], arguments: Sequence[str], report: bool) -> int:
    from bench import launch
    from models import UnknownModel

    try:
        with contextlib.redirect_stdout(sys.stderr):  # a module of a user's own may print while it is imported
            prepared = launch.prepare(request, probes, lambda line: print(line, file=sys.stderr))
    except UnknownModel as error:
        raise RequestError(str(error)) from None
    with launch.open_run(prepared, [PROG, *arguments]) as run:
        flags = arguments if request.run else [*arguments, "--run", run.name]
        again = f"{PROG} {shlex.join(flags)}"
        print(f"run {run.name} on {run.header['environment']['device']}; records in {run.folder}", file=sys.stderr)
        for track, images in run.header["image_sets"].items():
            print(f"{track} images: {images['name']} ({images['source']})", file=sys.stderr)
        try:
            failed = launch.work(prepared, run)
        except KeyboardInterrupt:
            print(f"\ninterrupted; what was measured is kept. To go on:\n  {again}", file=sys.stderr)
            return INTERRUPTED
        except OSError as error:
            reason = f"cannot write to {run.folder}: {error.strerror or error}"
            raise RunError(f"{reason}; what was measured before is kept. To go on: {again}") from error
    if run.restored:
        print(f"{run.folder} was removed meanwhile: made again with every row, without earlier curves", file=sys.stderr)
    from bench.render.published import beside_published
    from bench.render.terminal import summary

    print(summary(run))
    if line := beside_published(run):
        print(line)
    if report:
        from bench.render.report import write_report

        print(f"report: {write_report(run, prepared.request.reports_dir) / 'index.html'}")
    if failed:
        print(f"{failed} rows failed; the report names each with its reason", file=sys.stderr)
    return SOME_FAILED if failed else OK


def _list(request: List) -> int:
    from bench.catalogue import network_row
    from bench.render.quantity import quantity
    from bench.render.terminal import aligned
    from models import REGISTRY

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
    print(aligned(rows))
    return OK


def _show(request: Show) -> int:
    from bench.catalogue import layer_rows
    from bench.render.diagram import draw
    from bench.render.quantity import quantity
    from bench.render.terminal import aligned
    from bench.structure.panels import structure
    from models import UnknownModel, select

    try:
        with contextlib.redirect_stdout(sys.stderr):  # of a module of the user's own, which may print
            (spec,) = select([request.model], parse_input_size(request.input_size), request.num_classes)
    except UnknownModel as error:
        raise RequestError(str(error)) from None
    except ValueError:
        raise RequestError(f"{request.model!r} is more than one network: name one") from None
    try:
        with contextlib.redirect_stdout(sys.stderr):
            rows = layer_rows(spec)
            diagram = draw(structure(spec)) if request.diagram else ""
    except Exception as error:  # a user's own network may do anything
        reason = (str(error).splitlines() or [""])[0]
        raise RequestError(f"{spec.name} cannot be shown: {type(error).__name__}: {reason}") from error
    if request.diagram:
        try:
            request.diagram.write_text(diagram, encoding="utf-8")
        except OSError as error:
            raise RequestError(f"--diagram: cannot write {request.diagram}: {error.strerror}") from error
        print(f"diagram: {request.diagram}", file=sys.stderr)
    columns = ("params", "macs", "activations", "saved_activation_bytes")
    totals = {column: sum(row[column] for row in rows) for column in columns}
    facts = {"name": spec.name, "family": spec.family, "year": spec.year, "paper": spec.paper}
    if request.json:
        print(json.dumps({**facts, "differences": spec.differences, "layers": rows, "totals": totals}, indent=2))
        return OK
    print(f"{spec.name}: {spec.family}, {spec.year}. {spec.paper}" if spec.year else f"{spec.name}: your own network")
    print(f"input {'x'.join(map(str, spec.input_size))}, {spec.num_classes} classes")
    for difference in spec.differences:
        print(f"- {difference}")
    rows.append({"layer": "total", "operation": "", "output_shape": [], **totals})
    for row in rows:
        share = row["macs"] / totals["macs"] if totals["macs"] else 0.0
        row["output_shape"] = "x".join(map(str, row["output_shape"]))
        for column in columns[:3]:
            row[column] = f"{row[column]:,}"
        row["share of MACs"] = f"{100 * share:.1f} %"
        row["saved_activation_bytes"] = quantity(row["saved_activation_bytes"], "bytes")
    print(aligned(rows))
    return OK


def _report(request: Report) -> int:
    from bench.commands.compare import open_run
    from bench.render.report import write_report
    from bench.render.side_by_side import write_side_by_side
    from bench.run_folder import run_names

    names = request.runs or tuple(run_names(request.results_dir)[:1])
    if not names:
        raise RequestError(f"there is no run in {request.results_dir}; `{PROG} all` makes one")
    runs = [open_run(name, request.results_dir) for name in names]
    if len({run.folder.resolve() for run in runs}) < len(runs):
        raise RequestError(f"{', '.join(names)}: name every run once")
    if len(runs) == 1:
        folder = write_report(runs[0], request.reports_dir)
    else:
        folder = write_side_by_side(runs, request.reports_dir)
    print(f"report: {folder / 'index.html'}")
    return OK


def _doctor(request: Doctor) -> int:
    from bench.doctor import examine

    for line in examine(request.data_dir, request.cache_dir, request.results_dir):
        print(line)
    return OK
