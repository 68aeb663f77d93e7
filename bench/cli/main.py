"""The command line: which verbs there are, and what becomes of a request that is wrong."""

from __future__ import annotations

import codecs
import difflib
import errno
import io
import os
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.metadata import version
from typing import Any, TextIO, cast

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
    out, err = sys.stdout and _WhileRead(sys.stdout, True), sys.stderr and _WhileRead(sys.stderr, False)
    with redirect_stdout(cast(TextIO, out)), redirect_stderr(cast(TextIO, err)):
        try:
            try:
                return _run(arguments)
            finally:
                print(end="", flush=True)  # fails here, if it does
        except (RequestError, RunError) as error:
            print(f"bench: {error}", file=sys.stderr)
            return BAD_REQUEST
        except KeyboardInterrupt:  # before any task: `measure` catches the others
            print("interrupted before anything was measured", file=sys.stderr)
            return INTERRUPTED


class _WhileRead:
    """An output whose reader may leave before the end (`| head`): the rest goes nowhere, and the verb does its work.

    Only so is the exit status of a gate what it has found, and a report written.
    """

    def __init__(self, stream: TextIO, is_result: bool) -> None:
        self._stream, self._is_result = stream, is_result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._given_up():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._given_up():
            self._stream.flush()

    @contextmanager
    def _given_up(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EINVAL, errno.ENOSPC):  # EINVAL is what Windows says of a pipe
                raise
            with open(os.devnull, "wb") as nowhere:  # what could not be written is still in the buffer
                os.dup2(nowhere.fileno(), self._stream.fileno())
            if error.errno == errno.ENOSPC and self._is_result:
                raise RequestError("no space left for standard output: make some, then repeat the command") from None


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
