"""The command line: which verbs there are, typed words as dataclasses of flags, and complaints of one line."""

from __future__ import annotations

import ast
import codecs
import contextlib
import difflib
import inspect
import io
import itertools
import re
import shlex
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from importlib.metadata import version
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

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
    tune,
)
from bench.config import RequestError, flag_of
from bench.records.run_folder import RunError

Form = TypeVar("Form")

# A verb's flags, and what does it, given these and the words as typed.
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

# What people type -> what is meant; {} is the value that they typed.
_MEANT = {
    "--epochs": "--budget {}ep",
    "--images": "--budget 200kimg",
    "--seconds": "--budget {}s",
    "--gpu": "--device cuda:{}",
    "--cuda": "--device cuda",
    "--cpu": "--device cpu",
    "--model": "--models {}",
    "--network": "--models {}",
    "--networks": "--models {}",
    "--probe": "--probes {}",
    "--metrics": "--metric {}",
    "--bs": "--batch-size {}",
    "--data": "--data-dir {}",
    "--out": "--results-dir {}",
    "--output": "--results-dir {}",
    "--name": "--run {}",
}
_EXAMPLES = {"--epochs": "10", "--seconds": "60", "--gpu": "0"}
# What to say where a word without a flag is missing.
_MISSING = {"base": "name two runs", "new": "name a second run", "model": "name a network"}
_UNITS = {"gib": "GiB", "s": "seconds"}  # by the end of a flag's name

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
        return _run(arguments)
    except (RequestError, RunError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return BAD_REQUEST
    except KeyboardInterrupt:  # before any task: `measure` catches the others
        print("interrupted before anything was measured", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `bench list | head`
        sys.stderr.close()
        return OK


def _in_plain_characters(error: UnicodeError) -> tuple[str, int]:
    """Replace what an output's encoding lacks, which is no reason to end without the result."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    plain = unicodedata.normalize("NFKD", error.object[error.start : error.end].translate(_PLAIN))
    told = "".join(character for character in plain if not unicodedata.combining(character))
    return told.encode("ascii", "replace").decode("ascii"), error.end


def _run(arguments: list[str]) -> int:
    verb, words = (arguments[0], arguments[1:]) if arguments else ("", [])
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
    return do(parse(form, ab.joined(words) if form is ab.Ab else words, f"{PROG} {verb}"), arguments)


def _overview() -> str:
    purpose = "What does each classic image-classification architecture cost, and what does it buy?"
    texts = {verb: " ".join((form.__doc__ or "").split()) for verb, (form, _) in VERBS.items()}
    lines = [f"  {verb:11}{text.split('. ')[0].rstrip('.')}." for verb, text in texts.items()]
    return "\n".join((purpose, "", *lines, "", f"`{PROG} COMMAND --help` lists the flags of a command."))


def parse(form: type[Form], arguments: Sequence[str], prog: str) -> Form:
    """An instance of `form`, a dataclass; `--help` prints and exits.

    Raises:
        RequestError: the words do not fit the form.
    """
    asks = bool({"-h", "--help"} & set(arguments))
    wrong = "" if asks else _misread(form, arguments)
    try:
        if not wrong:
            with contextlib.redirect_stderr(io.StringIO()):  # tyro would draw a box
                return tyro.cli(_described(form) if asks else form, prog=prog, args=list(arguments))
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
    raise RequestError(f"{wrong or _complaint(form, arguments, prog)} (see `{prog} --help`)")


def _described(form: type[Form]) -> type[Form]:
    """The form as --help shows it: each flag's text is one paragraph, and what it takes has the flag's own name.

    tyro breaks a text where its source does, and calls what a flag takes STR.
    """
    texts = {}
    for each in reversed(form.__mro__[:-1]):
        (definition,) = ast.parse(inspect.getsource(each)).body
        assert isinstance(definition, ast.ClassDef)
        for line, below in itertools.pairwise(definition.body):
            if isinstance(line, ast.AnnAssign) and isinstance(below, ast.Expr):
                texts[ast.unparse(line.target)] = " ".join(ast.literal_eval(below.value).split())
    shown = {}
    for name, hint in get_type_hints(form, include_extras=True).items():
        metadata, kinds = getattr(hint, "__metadata__", ()), str(hint)
        named = "Literal" in kinds or "bool" in kinds or any(getattr(each, "metavar", None) for each in metadata)
        shown[name] = Annotated[
            hint,
            tyro.conf.arg(
                help=texts.get(name),
                metavar=None if named else name.upper().replace("_", "-"),
                help_behavior_hint="" if "bool" in kinds else None,
            ),
        ]
    inside = {"__annotations__": shown, "__doc__": form.__doc__, "__module__": form.__module__}
    return dataclass(frozen=True, kw_only=True)(type(form.__name__, (form,), inside))


def _misread(form: type, arguments: Sequence[str]) -> str:
    """What tyro would take without a word: a flag of several values that has none, and one that is given twice.

    Of two `--models` it would take the second alone.
    """
    flags, seen = _flags(form), set[str]()
    for typed, values in _by_flag(arguments):
        flag = flags.get(typed.replace("_", "-"))
        if flag is not None and flag.several and not any(values):
            return f"{typed}: a value is missing"
        if flag is not None and not flag.repeats and flag.name in seen:
            return f"{typed} is given twice" + (f": write all values after one {typed}" if flag.several else "")
        seen.add(flag.name if flag else "")
    return ""


@dataclass(frozen=True)
class _Flag:
    name: str  # as typed: "--batch-size"; of a positional word, the name of its field
    kind: Any  # the type without None
    positional: bool
    required: bool
    repeats: bool  # each time it is given adds a value

    @property
    def several(self) -> bool:
        return get_origin(self.kind) is tuple

    def chooses(self, word: str) -> bool:
        return get_origin(self.kind) is Literal and word in get_args(self.kind)

    def complaint(self, word: str) -> str:
        """What is wrong with a value; empty where nothing is."""
        if get_origin(self.kind) is Literal:
            choices = get_args(self.kind)
            near = difflib.get_close_matches(word, choices, 1)
            meant = f"nearest: {near[0]}; there are " if near else "write "
            return "" if self.chooses(word) else f"{meant}{', '.join(choices)}"
        if self.kind not in (int, float):
            return ""
        try:
            self.kind(word)
        except ValueError:
            unit = _UNITS.get(self.name.rpartition("-")[2], "")
            if self.kind is int:
                return "write one whole number"
            return f"write a number of {unit}, without the unit" if unit else "write a number"
        return ""


def _flags(form: type) -> dict[str, _Flag]:
    hints = get_type_hints(form, include_extras=True)
    found = {}
    for field in fields(form):
        hint, marks = hints[field.name], list[Any]()
        while get_origin(hint) is Annotated:
            hint, *more = get_args(hint)
            marks += more
        positional, repeats = tyro.conf.Positional in marks, tyro.conf.UseAppendAction in marks
        kinds = [kind for kind in get_args(hint) if kind is not type(None)]
        optional = len(kinds) < len(get_args(hint))
        kinds = [Literal["True", "False"]] if optional and kinds == [bool] else kinds  # takes a value
        name = field.name if positional else flag_of(field.name)
        required = field.default is MISSING and field.default_factory is MISSING
        found[name] = _Flag(name, kinds[0] if optional else hint, positional, required, repeats)
    return found


def _complaint(form: type, arguments: Sequence[str], prog: str) -> str:
    """The first thing that is wrong, in words; tyro has refused these arguments."""
    flags = _flags(form)
    words = [flag for flag in flags.values() if flag.positional]
    loose: list[str] = []
    after: dict[str, str] = {}  # a word -> the flag that it follows, and which has its value already
    for typed, values in _by_flag(arguments):
        if hyphened := next((word for word in values if re.match(r"-[^\W\d]", word)), ""):
            return f"{f'{typed} {hyphened}'.strip()}: values do not begin with a hyphen, flags begin with two"
        if not typed:
            loose += values
            continue
        flag = flags.get(typed.replace("_", "-")) or flags.get(typed.replace("--no-", "--", 1))
        if flag is None:
            return _unknown(typed, values, [name for name in flags if name.startswith("--")], prog)
        if flag.kind is bool or flag.several:
            loose += values if flag.kind is bool else []
            continue
        if not values:
            return f"{typed}: a value is missing"
        if wrong := flag.complaint(values[0]):
            return f"{typed} {values[0]}: {wrong}"
        loose += values[1:]
        after |= dict.fromkeys(values[1:], typed)
    needed = [flag for flag in words if flag.required]
    usage = " ".join([prog, *(flag.name.upper() for flag in words)])
    if len(loose) < len(needed):
        return f"{_MISSING.get(needed[len(loose)].name, f'{needed[len(loose)].name} is missing')}: {usage}"
    if len(loose) > len(words) and not any(flag.several for flag in words):
        word = loose[len(words)]
        if word in after:
            return f"{word!r} is one word too many: {after[word]} takes one value"
        meant = next((name for name, flag in flags.items() if not flag.positional and flag.chooses(word)), "")
        meant = meant or ("--models" if "--models" in flags else "")
        return f"{word!r} is one word too many: {f'write {meant} {word}' if meant else usage}"
    return f"these flags do not go together: {shlex.join(arguments)}"


def _by_flag(arguments: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Each flag with the words that follow it; first, under no flag, the words before any."""
    flag, values = "", list[str]()
    for word in arguments:
        if re.match(r"--\w", word):
            yield flag, values
            flag, tied, value = word.partition("=")
            values = [value] if tied else []
        else:
            values.append(word)
    yield flag, values


def _unknown(typed: str, values: Sequence[str], known: Sequence[str], prog: str) -> str:
    meant = _MEANT.get(typed, "")
    if meant.split(" ")[0] in known:
        value = values[0] if values else _EXAMPLES.get(typed, "...")
        return f"{' '.join([typed, *values[:1]])}: write {meant.format(value)}"
    near = difflib.get_close_matches(typed, known, 2)
    if near:
        return f"there is no {typed}; nearest: {', '.join(near)}"
    return f"`{prog}` has no {typed}; it has {', '.join(known)}"
