"""`ab`: two networks, revisions, Python environments or sets of flags, measured alternately in one run."""

from __future__ import annotations

import json
import secrets
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from bench.cli import GATE_WORSE, INTERRUPTED, PROG, SOME_FAILED, refuse_for_registry, say
from bench.cli.compare import Gate
from bench.config import PRESETS, RequestError, parse_duration
from bench.regression import percent
from bench.runner.flags import Argument, Count, Names, Word, flag_of, parse
from bench.runner.request import Request, networks, parse_input_size

if TYPE_CHECKING:
    from bench.regression.ab.paired import Pairing, Result
    from bench.regression.ab.sides import Asked, Repository, WorkerProcess

ERROR = 0.01  # the chance that any interval of one `ab` is wrong
WORKERS = 2  # of each side
ANSWER_LIMIT_S = 600.0  # for one build or sample; compiling takes minutes

_COMMON = ("device", "batch_size", "input_size", "num_classes")  # what holds for both sides
# What --a and --b can change: how the two timed steps run.
_FLAGS = ("device", "batch_size", "precision", "memory_format", "compile", "compile_mode", "cuda_graphs")

Python = Annotated[Path | None, Argument("PATH")]
Flags = Annotated[str, Argument('"FLAG ..."', verbatim=True)]


@dataclass(frozen=True, kw_only=True)
class Ab(Gate):
    """Measure two networks, revisions, Python environments or sets of flags alternately, until it is clear which is
    faster. The verdict is on B: `faster`, `slower` or `same`; `unclear`: the time limit was reached first."""

    base: Annotated[Word, Argument("A", positional=True)] = None
    """A network, or a revision (commit, branch, tag; "." is the working tree as it is) of the git repository of the
    current folder, which may be your own project."""
    new: Annotated[Word, Argument("B", positional=True)] = None
    """The other side: likewise."""
    a: Flags = ""
    """Flags of A only, such as "--precision tf32"."""
    b: Flags = ""
    """Flags of B only."""
    python_a: Python = None
    """Interpreter of A, such as one with another PyTorch. Default: this one."""
    python_b: Python = None
    """Interpreter of B."""
    models: Names = ()
    """Names or globs of networks, where A and B are not networks; of a repository of your own package.module:factory.
    Default: those of the quick preset."""
    input_size: Word = None
    """What a network from outside the registry takes: 32, or 1x28x28."""
    num_classes: Count = None
    """How many classes such a network has."""
    what: Literal["both", "train", "inference"] = "both"
    """Which step is timed."""
    device: str = "auto"
    """Of both sides: auto, cpu, cuda or cuda:N."""
    batch_size: Count = None
    """Batch size of both sides. Default: the preset's for each track."""
    time_limit: str = "60s"
    """Of one comparison, such as 60s or 2min, from when both sides are warm; it ends early when the answer is clear,
    and never before there are as many builds as any verdict needs."""
    seed: Count = None
    """Seed of the order within pairs. Default: a new one each time."""


def run(request: Ab) -> int:
    from bench.regression.ab.paired import Rules, run_all

    margin, fail_on = request.shares()
    word = request.time_limit  # a number alone means seconds
    limit_s = parse_duration("--time-limit", f"{word}s" if word.replace(".", "", 1).isdigit() else word)
    pairings, revisions_of = _pairings(request)
    rules = Rules(margin, fail_on, limit_s, ERROR / len(pairings))
    seed = request.seed if request.seed is not None else secrets.randbits(32)
    results: list[Result] = []
    interrupted = False
    with _workers(request, revisions_of) as (a, b):
        if revisions_of is not None:
            say(f"revisions of {revisions_of.root}")
        told = [
            f"{worker.side.label}: {', '.join(f'{key} {value}' for key, value in worker.facts.items())}"
            for worker in (a[0], b[0])
        ]
        say("\n".join(told))
        try:
            for result in run_all(pairings, a, b, rules, seed, say):
                results.append(result)
                say(_line(result))
        except KeyboardInterrupt:
            say(f"interrupted; {len(results)} of {len(pairings)} comparisons are done")
            interrupted = True
    if request.json:
        facts = {"a": {"label": a[0].side.label, **a[0].facts}, "b": {"label": b[0].side.label, **b[0].facts}}
        content = {**facts, "margin": margin, "fail_on": fail_on, "error": ERROR, "seed": seed}
        print(json.dumps({**content, "comparisons": [result.as_json() for result in results]}, indent=2))
    elif results and request.markdown != "-":
        print(_table(results, margin))
    request.write_markdown(_as_markdown(f"{a[0].side.label} → {b[0].side.label}", told, results, margin))
    return INTERRUPTED if interrupted else exit_status(request, results, fail_on)


def exit_status(request: Ab, results: Sequence[Result], fail_on: float | None) -> int:
    """What the gate says, which comes before a comparison that failed."""
    compared = [(result, result.comparison) for result in results if result.comparison is not None]
    found: dict[bool | None, list[str]] = {True: [], False: [], None: []}
    for result, comparison in sorted(compared, key=lambda pair: pair[1].centre, reverse=True):
        slower = fail_on is not None and comparison.slower_than(fail_on)
        found[slower].append(f"{result.pairing} ({percent(comparison.centre)})")
    status = request.status(found[True], found[None])
    return status if status == GATE_WORSE or len(compared) == len(results) else SOME_FAILED


def _pairings(request: Ab) -> tuple[list[Pairing], Repository | None]:
    """What is to be compared, and of which repository A and B are revisions; None: they are none."""
    from bench.models import REGISTRY
    from bench.regression.ab.paired import Pairing
    from bench.regression.ab.sides import WORKING_TREE, repository

    if (request.base is None) != (request.new is None):
        raise RequestError("name two sides, A and B; or none, with --a and --b or --python-a and --python-b")
    steps = ("inference", "train") if request.what == "both" else (request.what,)
    names = [name for name in (request.base, request.new) if name is not None]
    known = [name for name in names if name in REGISTRY or ":" in name]
    refuse_for_registry([*known, *request.models], request.input_size, request.num_classes)
    networks = [_network(name, request) for name in names]
    if names and all(networks):
        if request.models:
            raise RequestError("A and B are networks: --models would name others")
        a, b = (network for network in networks if network is not None)
        return [Pairing(a, b, step) for step in steps], None
    here = repository() if names else None
    for name, network in zip(names, networks, strict=True):
        if network is None and name != WORKING_TREE and (here is None or not here.has(name)):
            why = here.why_not(name) if here else "nor a revision: this is no git repository"
            raise RequestError(f"{name!r} is neither a network (see `python -m bench list`) {why}")
    if any(networks):
        raise RequestError("A and B must be two networks or two revisions, not one of each")
    if names and here is None:
        raise RequestError("this is no git repository: name two networks instead of revisions")
    if not names and not (request.a or request.b or request.python_a or request.python_b):
        raise RequestError("nothing to compare: name two networks or two revisions, or give --a, --b or --python-b")
    if here is not None and not here.is_suite:
        chosen = _own(request.models, here)
    else:
        chosen = _selected(request.models or PRESETS["quick"].models, request)
    return [Pairing(name, name, step) for name in chosen for step in steps], here


def _own(names: Sequence[str], here: Repository) -> list[str]:
    """Networks of a user's repository, which only the sides can import: each has its own revision of them."""
    from bench.models import in_a_package_called_bench

    for name in names or ("",):
        if name.partition(":")[0] in ("", name, "torchvision", "timm"):
            given = f"--models {name}" if name else "--models"
            raise RequestError(f"{given}: name networks of {here.root} as package.module:factory")
        module, _, factory = name.partition(":")
        if advice := in_a_package_called_bench(module, factory):
            raise RequestError(f"--models {name}: {advice}")
        if Path(name).is_absolute():  # the same file for both sides
            raise RequestError(f"--models {name}: name the file from the current folder, such as ./file.py:factory")
    return list(names)


def _network(name: str, request: Ab) -> str | None:
    """The one network that a name means, if it means one."""
    from bench.regression.ab.sides import WORKING_TREE

    if name == WORKING_TREE:
        return None
    try:
        found = _selected([name], request)
    except RequestError:
        if ":" in name:  # no revision has a colon
            raise
        return None
    if len(found) != 1:
        raise RequestError(f"{name!r} is more than one network: name one, or use --models with two revisions")
    return found[0]


def _selected(patterns: Sequence[str], request: Ab) -> list[str]:
    return [spec.name for spec in networks(patterns, request.input_size, request.num_classes)]


@contextmanager
def _workers(
    request: Ab, revisions_of: Repository | None
) -> Iterator[tuple[Sequence[WorkerProcess], Sequence[WorkerProcess]]]:
    from bench.regression.ab.sides import Asked, sides, workers

    asked = (
        Asked("A", request.base if revisions_of else None, request.python_a, request.a),
        Asked("B", request.new if revisions_of else None, request.python_b, request.b),
    )
    common = {field: getattr(request, field) for field in _COMMON}
    said = list[str]()
    for one in asked:
        _check_flags(one, common, said.append)
    for line in dict.fromkeys(said):
        say(line)
    flags = [word for field, value in common.items() if value is not None for word in (flag_of(field), str(value))]
    with (
        _terminable(),
        sides(asked, flags, revisions_of) as (side_a, side_b),
        workers(side_a, WORKERS, ANSWER_LIMIT_S) as a,
        workers(side_b, WORKERS, ANSWER_LIMIT_S) as b,
    ):
        for worker in (*a, *b):  # all have started by now
            worker.wait_until_ready()
        yield a, b


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM interrupt it as Ctrl-C does, so that no checkout is left behind."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _check_flags(asked: Asked, common: Mapping[str, Any], say: Callable[[str], None]) -> None:
    """Find a wrong flag before anything starts; what another interpreter can do, only its own worker knows."""
    from bench.regression.ab.sides import split_flags
    from bench.runner.prepare import prepare

    flag = f"--{asked.letter.lower()}"
    try:
        request = parse(Request, split_flags(asked.letter, asked.flags), f"{PROG} run")
    except RequestError as error:
        raise RequestError(f"{flag} {asked.flags!r}: {error}") from None
    untouched, own = Request(), dict[str, Any]()
    for field in fields(Request):
        if (value := getattr(request, field.name)) != getattr(untouched, field.name):
            own[field.name] = value
        if field.name in own and field.name not in _FLAGS:
            known = ", ".join(map(flag_of, _FLAGS))
            raise RequestError(f"{flag}: {flag_of(field.name)} changes no step; what does: {known}")
    whole = replace(untouched, **{**common, **own})
    parse_input_size(whole.input_size)
    if asked.python is None:
        prepare(replace(whole, dry_run=True), ("throughput",), say)


def _line(result: Result) -> str:
    row = result.row()
    return f"{row['network']} {row['step']}: {row['verdict']}, " + (
        f"time of B {row['time of B']} ({row['interval']}), {row['builds']} builds, {row['seconds']} s"
        if result.comparison
        else result.failure
    )


def _rows(results: Sequence[Result]) -> list[dict[str, str]]:
    rows = [result.row() for result in results]
    columns = dict.fromkeys(column for row in rows for column in row)
    return [{column: row.get(column, "") for column in columns} for row in rows]


def _legend(margin: float) -> str:
    return (
        f"Verdicts are on B. Slower and faster: significantly, by more than {100 * margin:g} %; same: within that; "
        f"unclear: the time limit was reached first. All intervals hold at once with {1 - ERROR:.0%}."
    )


def _table(results: Sequence[Result], margin: float) -> str:
    from bench.render.tables import aligned

    return f"{aligned(_rows(results))}\n{_legend(margin)}"


def _as_markdown(labels: str, sides: Sequence[str], results: Sequence[Result], margin: float) -> str:
    from bench.render.page import as_grid, escape

    rows = _rows(results)
    table = as_grid(list(rows[0]), [list(row.values()) for row in rows]) if rows else "nothing was compared"
    listed = "\n".join(f"- {escape(side)}" for side in sides)
    return f"## {escape(labels)}\n\n{table}\n\n{escape(_legend(margin))}\n\n{listed}"
