"""The command line: which verbs there are, and what becomes of a request that is wrong."""

from __future__ import annotations

import codecs
import difflib
import errno
import io
import os
import sys
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

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
    tune,
)
from bench.config import RequestError
from bench.records.run_folder import RunError
from bench.runner.flags import parse

# A verb's flags, and what does it: given these and the words as typed, it returns the exit status, or raises
# RequestError or RunError where what was asked is wrong.
VERBS: Mapping[str, tuple[type, Callable[[Any, Sequence[str]], int]]] = {
    "all": (measure.All, lambda request, typed: measure.run(request, (), typed, report=True)),
    "run": (measure.RunProbes, lambda request, typed: measure.run(request, request.probes, typed, report=False)),
    "list": (networks.List, lambda request, _: networks.run_list(request)),
    "show": (networks.Show, lambda request, _: networks.run_show(request)),
    "pick": (pick.Pick, lambda request, _: pick.run(request)),
    "report": (report.Report, lambda request, _: report.run(request)),
    "compare": (compare.Compare, lambda request, _: compare.run(request)),
    "history": (history.History, lambda request, _: history.run(request)),
    "ab": (ab.Ab, lambda request, _: ab.run(request)),
    "reference": (report.Reference, lambda request, _: report.run_reference(request)),
    "tune": (tune.Tune, tune.run),
    "doctor": (doctor.Doctor, lambda request, _: doctor.run(request)),
}

# What stands for a character of tables and sentences where an encoding lacks it.
_PLAIN = str.maketrans(
    {"×": "x", "÷": "/", "±": "+-", "→": "->", "≈": "~", "≠": "!=", "≥": ">=", "≤": "<=", "µ": "u"}
    | {"†": "(a)", "‡": "(b)", "§": "(c)", "¶": "(d)", "◊": "(e)", "’": "'", "“": '"', "”": '"'}
    | dict.fromkeys("–—−·─━╸╺", "-")
    | dict.fromkeys("│┃", "|")
    | dict.fromkeys("╭╮╰╯", "+")
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    codecs.register_error("plain", _in_plain_characters)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="plain")
    try:
        status = _run(arguments)
        print(end="", flush=True)  # fails here, if it does
        return status
    except (RequestError, RunError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return BAD_REQUEST
    except KeyboardInterrupt:  # before any task: `measure` catches the others
        print("interrupted before anything was measured", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `bench list | head`
        _write_no_more()
        return OK
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _write_no_more()
        where = error.filename or "standard output"
        print(f"bench: no space left for {where}: make some, then repeat the command", file=sys.stderr)
        return BAD_REQUEST


def _write_no_more() -> None:
    """Standard output cannot take what is left, and Python would try again at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _in_plain_characters(error: UnicodeError) -> tuple[str, int]:
    """Replace what an output's encoding lacks, which is no reason to end without the result."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    plain = unicodedata.normalize("NFKD", error.object[error.start : error.end].translate(_PLAIN))
    told = "".join(character for character in plain if not unicodedata.combining(character))
    return told.encode("ascii", "replace").decode("ascii"), error.end


def _run(arguments: list[str]) -> int:
    verb, words = (arguments[0], arguments[1:]) if arguments else ("", [])
    if verb == "help" and words:
        verb, words = words[0], ["--help"]
    if verb in ("-h", "--help", "help"):
        print(_overview())
        return OK
    if verb in ("-V", "--version"):
        print(f"classic-bench {version('classic-bench')}")
        return OK
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, 1)
        meant = f", nearest: {near[0]}" if near else ""
        said = f"there is no command {verb!r}{meant}; there are" if verb else f"write a command after {PROG}:"
        raise RequestError(f"{said} {', '.join(VERBS)} (see `{PROG} --help`)")
    form, do = VERBS[verb]
    return do(parse(form, words, f"{PROG} {verb}"), arguments)


def _overview() -> str:
    purpose = "What does each classic image-classification architecture cost, and what does it buy?"
    texts = {verb: " ".join((form.__doc__ or "").split()) for verb, (form, _) in VERBS.items()}
    lines = [f"  {verb:11}{text.split('. ')[0].rstrip('.')}." for verb, text in texts.items()]
    return "\n".join((purpose, "", *lines, "", f"`{PROG} COMMAND --help` lists the flags of a command."))
