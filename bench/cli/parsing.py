"""Typed words to dataclasses of flags, with complaints of one line."""

from __future__ import annotations

import contextlib
import difflib
import io
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import tyro

from bench.config import RequestError
from bench.records.files import write_atomically

Form = TypeVar("Form")

# How a choice that may be left out looks in --help.
Track = Annotated[
    Literal["imagenet", "cifar", "mnist"] | None,
    tyro.conf.arg(metavar="{imagenet,cifar,mnist}", help_behavior_hint=""),
]

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


def parse(form: type[Form], arguments: Sequence[str], prog: str) -> Form:
    """An instance of `form`, a dataclass; `--help` prints and exits.

    Raises:
        RequestError: the words do not fit the form.
    """
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # tyro would draw a box
            return tyro.cli(form, prog=prog, args=list(arguments))
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
    raise RequestError(f"{_complaint(form, arguments, prog)} (see `{prog} --help`)")


def with_suffix(flag: str, path: Path, suffix: str) -> Path:
    """The path, if its name says what will be written there.

    Raises:
        RequestError: the name ends in something else.
    """
    if path.suffix.lower() != suffix:
        raise RequestError(f"{flag} {path}: writes {suffix[1:].upper()}: choose a name that ends in {suffix}")
    return path


def write(flag: str, path: Path, text: str) -> None:
    """Write what a flag asks for into the file that it names.

    Raises:
        RequestError: it cannot be written.
    """
    try:
        write_atomically(path, text)
    except OSError as error:
        raise RequestError(f"{flag}: cannot write {path}: {error.strerror}") from None


def refuse_for_registry(names: Sequence[str], input_size: str | None, num_classes: int | None) -> None:
    """Refuse flags that change nothing where all networks are of the registry, which fixes both itself.

    Raises:
        RequestError: one was given with such networks only.
    """
    from bench.models import REGISTRY

    for flag, value in (("--input-size", input_size), ("--num-classes", num_classes)):
        if value is not None and names and all(name in REGISTRY for name in names):
            known = REGISTRY[names[0]]
            size = "x".join(map(str, known.input_size))
            raise RequestError(
                f"{flag} {value} changes nothing: {known.name} takes {size} and has {known.num_classes} "
                f"classes; leave {flag} out"
            )


@dataclass(frozen=True)
class _Flag:
    name: str  # as typed: "--batch-size"; of a positional word, the name of its field
    kind: Any  # the type without None
    positional: bool
    required: bool

    @property
    def several(self) -> bool:
        return get_origin(self.kind) is tuple

    def complaint(self, word: str) -> str:
        """What is wrong with a value; empty where nothing is."""
        if get_origin(self.kind) is Literal:
            choices = get_args(self.kind)
            near = difflib.get_close_matches(word, choices, 1)
            meant = f"nearest: {near[0]}; there are " if near else "write "
            return "" if word in choices else f"{meant}{', '.join(choices)}"
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
        hint, positional = hints[field.name], False
        while get_origin(hint) is Annotated:
            positional |= tyro.conf.Positional in get_args(hint)[1:]
            hint = get_args(hint)[0]
        kinds = [kind for kind in get_args(hint) if kind is not type(None)]
        optional = len(kinds) < len(get_args(hint))
        name = field.name if positional else f"--{field.name.replace('_', '-')}"
        required = field.default is MISSING and field.default_factory is MISSING
        found[name] = _Flag(name, kinds[0] if optional else hint, positional, required)
    return found


def _complaint(form: type, arguments: Sequence[str], prog: str) -> str:
    """The first thing that is wrong, in words; tyro has refused these arguments."""
    flags = _flags(form)
    words = [flag for flag in flags.values() if flag.positional]
    loose: list[str] = []
    for typed, values in _by_flag(arguments):
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
    needed = [flag for flag in words if flag.required]
    usage = " ".join([prog, *(flag.name.upper() for flag in words)])
    if len(loose) < len(needed):
        return f"{_MISSING.get(needed[len(loose)].name, f'{needed[len(loose)].name} is missing')}: {usage}"
    if len(loose) > len(words) and not any(flag.several for flag in words):
        return f"{loose[len(words)]!r} is one word too many: {usage}"
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
