"""The command line: which verbs there are, and what every one of them answers to a wrong request."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, assert_never

import tyro

from bench.cli import (
    BAD_REQUEST,
    INTERRUPTED,
    OK,
    PROG,
    ab,
    compare,
    doctor,
    history,
    measure,
    networks,
    pick,
    report,
    show,
)
from bench.cli.parsing import parse
from bench.config import RequestError
from bench.records.run_folder import RunError

Command = (
    Annotated[measure.All, tyro.conf.subcommand("all")]
    | Annotated[measure.RunProbes, tyro.conf.subcommand("run")]
    | Annotated[networks.List, tyro.conf.subcommand("list")]
    | Annotated[show.Show, tyro.conf.subcommand("show")]
    | Annotated[pick.Pick, tyro.conf.subcommand("pick")]
    | Annotated[report.Report, tyro.conf.subcommand("report")]
    | Annotated[compare.Compare, tyro.conf.subcommand("compare")]
    | Annotated[history.History, tyro.conf.subcommand("history")]
    | Annotated[ab.Ab, tyro.conf.subcommand("ab")]
    | Annotated[doctor.Doctor, tyro.conf.subcommand("doctor")]
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(_parse(arguments), arguments)
    except (RequestError, RunError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return BAD_REQUEST
    except KeyboardInterrupt:  # before any task: `measure` catches the others
        print("interrupted before anything was measured", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `bench list | head`
        sys.stderr.close()
        return OK


def _parse(arguments: list[str]) -> Command:
    if arguments[:1] == ["ab"]:
        arguments = ab.joined(arguments)
    purpose = "What does each classic image-classification architecture cost, and what does it buy?"
    command: Command = parse(Command, arguments, PROG, purpose)
    return command


def _run(command: Command, arguments: Sequence[str]) -> int:
    match command:
        case measure.All():
            return measure.run(command, (), arguments, report=True)
        case measure.RunProbes():
            return measure.run(command, command.probes, arguments, report=False)
        case networks.List():
            return networks.run(command)
        case show.Show():
            return show.run(command)
        case pick.Pick():
            return pick.run(command)
        case report.Report():
            return report.run(command)
        case compare.Compare():
            return compare.run(command)
        case history.History():
            return history.run(command)
        case ab.Ab():
            return ab.run(command)
        case doctor.Doctor():
            return doctor.run(command)
    assert_never(command)
