"""`all` and `run`: measure, keep every row, show the table; `all` also writes the report."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from bench.cli import INTERRUPTED, OK, PROG, SOME_FAILED, refuse_for_registry, say
from bench.config import PRESETS, RequestError
from bench.metrics import measured_by, probe_named
from bench.records.run_folder import RunError, checked_name, require_writable
from bench.runner.flags import Names, flag_of
from bench.runner.request import Request


@dataclass(frozen=True)
class All(Request):
    """Measure every probe of the preset on every network of the preset, then write the report."""


@dataclass(frozen=True)
class RunProbes(Request):
    """Measure some probes only and print the table."""

    probes: Names = ()
    """Names of probes, such as params macs throughput, or of metrics, such as flops."""


def _refuse_idle(request: Request, probes: Sequence[str]) -> None:
    """Refuse flags that none of some probes obeys; a run with a name keeps them for when it is resumed."""
    if not probes or request.run is not None or request.recipe is not None:
        return
    untouched, kinds = Request(), [probe_named(probe) for probe in probes]
    trains = any(kind.trains or kind.when == "forecast" for kind in kinds)
    of_training = ("budget", "seeds", "train_batch_size", "test_images", "recipes", "max_train_time")
    obeyed = dict.fromkeys((*of_training, "tensorboard", "checkpoint_every_s"), (trains, "trains"))
    obeyed["rounds"] = any(kind.when == "rounds" for kind in kinds), "is taken in rounds"
    obeyed["fit"] = "memory" in probes, "looks for the largest batch (memory does)"
    for name, (used, what) in obeyed.items():
        if not used and getattr(request, name) != getattr(untouched, name):
            flag = flag_of(name)
            raise RequestError(f"{flag} changes nothing: none of these probes {what}; leave {flag} out")


def run(request: Request, probes: tuple[str, ...], arguments: Sequence[str], report: bool) -> int:
    from bench.runner.execute import preview, work
    from bench.runner.header import open_run
    from bench.runner.prepare import prepare

    if request.run is not None:
        checked_name(request.run)
    if not request.recipe:
        networks = request.models or PRESETS.get(request.preset, PRESETS["quick"]).models
        refuse_for_registry(networks, request.input_size, request.num_classes)
    probes = tuple(dict.fromkeys(map(measured_by, probes)))
    _refuse_idle(request, probes or (PRESETS[request.preset].probes if request.preset in PRESETS else ()))
    prepared = prepare(request, probes, say)
    if request.dry_run:
        found = preview(prepared, [PROG, *arguments])
        print(json.dumps(found.to_json(), indent=2) if request.json else found.table())
        return OK
    if report:
        require_writable("--reports-dir", prepared.request.reports_dir)
    with open_run(prepared, [PROG, *arguments]) as run:
        flags = arguments if request.run else [*arguments, "--run", run.name]
        again = f"{PROG} {shlex.join(flags)}"
        say(f"run {run.name} on {run.header.device}; records in {run.folder}")
        for track, images in run.header.image_sets.items():
            say(f"{track} images: {images['name']} ({images['source']})")
        try:
            failed = work(prepared, run)
        except KeyboardInterrupt:
            say(f"\ninterrupted; everything measured so far is kept. To resume:\n  {again}")
            return INTERRUPTED
        except OSError as error:
            reason = f"cannot write to {run.folder}: {error.strerror or error}"
            raise RunError(f"{reason}; everything measured so far is kept. To resume: {again}") from error
    from bench.render.results.views import beside_published
    from bench.render.tables import summary

    print(summary(run))
    if line := beside_published(run):
        print(line)
    if report:
        from bench.render.report import write_report

        print(f"report: {write_report(run, prepared.request.reports_dir) / 'index.html'}")
    if failed:
        where = "the report" if report else f"`{PROG} report {run.name}`"
        say(f"{failed} row{'' if failed == 1 else 's'} failed; {where} names each with its reason")
    return SOME_FAILED if failed else OK
