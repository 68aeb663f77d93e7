"""Words as typed, read into a dataclass whose fields are the flags; what does not fit is said in one plain line.

argparse lays out the help only: its own complaints name neither the nearest flag nor what to write, and need the words
around a flag to be read a second time for that. Of this project this imports no more than `RequestError`: `ab` also
reads the flags of older revisions with it.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import inspect
import itertools
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from bench.config import RequestError

Form = TypeVar("Form")


@dataclass(frozen=True)
class Argument:
    """What the type of a field does not say of it: what --help calls its value, and how it is typed."""

    metavar: str = ""  # empty: its choices, or its own name
    positional: bool = False  # a word without a flag
    repeats: bool = False  # each time the flag is given adds a value
    verbatim: bool = False  # the value may look like a flag


Word = str | None
Count = Annotated[int | None, Argument("N")]
File = Annotated[Path | None, Argument("FILE")]
Folder = Annotated[Path | None, Argument("DIR")]
Names = Annotated[tuple[str, ...], Argument("NAME")]

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
    "--out": "--reports-dir {}",
    "--output": "--reports-dir {}",
    "--name": "--run {}",
    "--resume": "--run {}",
}
_OF_RUN = ("--probes", "--probe", "--metric", "--metrics")  # what people ask `all` for
_EXAMPLES = {"--epochs": "10", "--seconds": "60", "--gpu": "0"}
# What to say where a word without a flag is missing.
_MISSING = {"base": "name two runs", "new": "name a second run", "model": "name a network"}
_UNITS = {"gib": "GiB", "s": "seconds"}  # by the end of a flag's name


def flag_of(field: str) -> str:
    """A field of a request as it is typed: "batch_size" is --batch-size."""
    return f"--{field.replace('_', '-')}"


def parse(form: type[Form], arguments: Sequence[str], prog: str) -> Form:
    """An instance of `form`, a dataclass; `--help` prints and exits.

    Raises:
        RequestError: the words do not fit the form.
    """
    hints = get_type_hints(form, include_extras=True)
    every = [_Flag(field, hints[field.name]) for field in fields(form)]  # type: ignore[arg-type]
    if {"-h", "--help"} & set(arguments):
        _print_help(form, every, prog)
        raise SystemExit(0)
    try:
        return form(**_values(every, arguments, prog))
    except RequestError as error:
        raise RequestError(f"{error} (see `{prog} --help`)") from None


class _Flag:
    """A field as it is typed."""

    def __init__(self, field: Field[Any], hint: Any) -> None:
        hint, *marks = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        self.argument: Argument = next((mark for mark in marks if isinstance(mark, Argument)), Argument())
        kinds = [kind for kind in get_args(hint) if kind is not type(None)]
        optional = len(kinds) < len(get_args(hint))
        self.field, self.name, self.default = field.name, flag_of(field.name), field.default
        self.kind = kinds[0] if optional else hint
        self.several = get_origin(self.kind) is tuple
        choices = get_args(self.kind) if get_origin(self.kind) is Literal else ()
        self.choices = {
            str(choice): choice for choice in ((True, False) if optional and self.kind is bool else choices)
        }
        self.takes = sys.maxsize if self.several and not self.argument.repeats else 1  # words
        if self.kind is bool and not optional:
            self.takes = 0
        self.metavar = self.argument.metavar or self.name[2:].upper()
        if self.choices:
            self.metavar = f"{{{','.join(self.choices)}}}"

    def read(self, word: str) -> Any:
        """The value that a word means.

        Raises:
            RequestError: it means none.
        """
        if word in self.choices:
            return self.choices[word]
        if self.choices:
            near = difflib.get_close_matches(word.lower(), self.choices, 1)
            wanted = f"{f'nearest: {near[0]}; there are ' if near else 'write '}{', '.join(self.choices)}"
            raise RequestError(f"{self.name} {word}: {wanted}")
        if self.several and re.fullmatch(r"[^(=/]*,[^(=/]*", word):
            raise RequestError(f"{self.name} {word}: write the values apart: {' '.join(filter(None, word.split(',')))}")
        try:
            return word if self.several else self.kind(word)
        except ValueError:
            unit = _UNITS.get(self.name.rpartition("-")[2], "")
            wanted = f"a number of {unit}, without the unit" if unit else "a number"
            wanted = "one whole number" if self.kind is int else wanted
            raise RequestError(f"{self.name} {word}: write {wanted}") from None


def _values(every: Sequence[_Flag], arguments: Sequence[str], prog: str) -> dict[str, Any]:
    """What each field that was typed has become."""
    flags = {flag.name: flag for flag in every if not flag.argument.positional}
    found: dict[str, Any] = {}
    loose: list[tuple[str, str]] = []  # words without a flag, and the flag before them that has its value already
    for typed, values in _by_flag(flags, arguments):
        flag = flags.get(typed)
        free = values[1:] if flag and flag.argument.verbatim else values
        if hyphened := next((word for word in free if re.match(r"-[^\W\d]", word)), ""):
            where = f"{typed} {hyphened}".strip()
            raise RequestError(f"{where}: values do not begin with a hyphen, flags begin with two")
        if flag is None and typed:
            positional = [flag.field for flag in every if flag.argument.positional]
            raise RequestError(_unknown(typed, values, list(flags), positional, prog))
        if flag is None:
            loose += ((word, "") for word in values)
            continue
        if flag.field in found and not flag.argument.repeats:
            raise RequestError(
                f"{typed} is given twice" + (f": write all values after one {typed}" if flag.several else "")
            )
        if flag.takes and not (any(values) if flag.several else values):
            raise RequestError(f"{typed}: a value is missing")
        taken = [flag.read(word) for word in values[: flag.takes]]
        loose += ((word, typed if flag.takes else "") for word in values[flag.takes :])
        found[flag.field] = (*found.get(flag.field, ()), *taken) if flag.several else taken[0] if flag.takes else True
    words = [flag for flag in every if flag.argument.positional]
    usage = " ".join((prog, *(word.metavar for word in words)))
    needed = [word.field for word in words if word.default is MISSING]
    if len(loose) < len(needed):
        missing = needed[len(loose)]
        raise RequestError(f"{_MISSING.get(missing, f'{missing} is missing')}: {usage}")
    if words and words[0].several:
        return {**found, words[0].field: tuple(word for word, _ in loose)}
    for word, typed in loose[len(words) :]:
        meant = next((name for name, flag in flags.items() if word in flag.choices), "")
        meant = meant or ("--models" if "--models" in flags else "")
        advice = f"{typed} takes one value" if typed else f"write {meant} {word}" if meant else usage
        if flag_of(word.partition("=")[0]) in flags:  # precision=bf16
            advice = f"write --{word}"
        raise RequestError(f"{word!r} is one word too many: {advice}")
    return found | {flag.field: word for flag, (word, _) in zip(words, loose, strict=False)}


def _by_flag(flags: Mapping[str, _Flag], arguments: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Each flag with the words that follow it; first, under no flag, the words before any."""
    flag, values = "", list[str]()
    for word in arguments:
        verbatim = flag in flags and flags[flag].argument.verbatim and not values
        if re.match(r"--\w", word) and not verbatim:
            yield flag, values
            flag, tied, value = word.partition("=")
            flag, values = flag.replace("_", "-"), [value] if tied else []
            if tied and flag in flags and not flags[flag].takes:
                raise RequestError(f"{word}: {flag} takes no value")
        else:
            values.append(word)
    yield flag, values


def _print_help(form: type, every: Sequence[_Flag], prog: str) -> None:
    texts = _texts(form)
    positional = [flag for flag in every if flag.argument.positional]
    words = [f"{flag.metavar} ..." if flag.several else flag.metavar for flag in positional]
    words = [word if flag.default is MISSING else f"[{word}]" for word, flag in zip(words, positional, strict=True)]
    parser = argparse.ArgumentParser(description=" ".join((form.__doc__ or "").split()))
    parser.usage = " ".join((prog, "[-h] [OPTIONS]", *words))
    for flag in every:
        untold = flag.default in (MISSING, None, False, "", ())  # by their texts
        text = texts[flag.field] if untold else f"{texts[flag.field]} (default: {flag.default})"
        how: dict[str, Any] = {"help": text.replace("%", "%%")}
        how |= {"metavar": flag.metavar} if flag.takes else {"action": "store_true"}
        how |= {"nargs": "+"} if flag.takes > 1 else {}
        parser.add_argument(flag.field if flag.argument.positional else flag.name, **how)
    parser.print_help()


def _texts(form: type) -> dict[str, str]:
    """What stands below each field in the source, as one paragraph."""
    texts = {}
    for each in reversed(form.__mro__[:-1]):
        (definition,) = ast.parse(inspect.getsource(each)).body
        assert isinstance(definition, ast.ClassDef)
        for line, below in itertools.pairwise(definition.body):
            if isinstance(line, ast.AnnAssign) and isinstance(below, ast.Expr):
                texts[ast.unparse(line.target)] = " ".join(ast.literal_eval(below.value).split())
    return texts


def _unknown(typed: str, values: Sequence[str], known: Sequence[str], positional: Sequence[str], prog: str) -> str:
    if values and {typed[2:], f"{typed[2:]}s"} & set(positional):
        return f"{typed} {values[0]}: write {values[0]} without {typed}"
    if typed in _OF_RUN and prog.endswith(" all"):
        return f"{typed}: `all` takes every probe of its preset; write {prog.removesuffix('all')}run --probes ..."
    meant = _MEANT.get(typed, "")
    if meant.split(" ")[0] in known:
        value = values[0] if values else _EXAMPLES.get(typed, "...")
        return f"{' '.join([typed, *values[:1]])}: write {meant.format(value)}"
    near = difflib.get_close_matches(typed.lstrip("-"), [flag.lstrip("-") for flag in known], 2)
    if near:
        return f"there is no {typed}; nearest: {', '.join(f'--{name}' for name in near)}"
    return f"`{prog}` has no {typed}; it has {', '.join(known)}"
