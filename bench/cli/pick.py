"""`pick`: the best networks of a run within limits."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from bench.cli import OK
from bench.config import Track
from bench.quantity import joined
from bench.runner.flags import Argument, Word

LimitWords = Annotated[tuple[str, ...], Argument("METRIC=NUMBER", repeats=True)]

Accuracy = Literal["published_top1", "top1", "reference_top1"] | None


@dataclass(frozen=True)
class Pick:
    """Say which networks of a run meet your limits, the most accurate first."""

    run: Annotated[Word, Argument(positional=True)] = None
    """Name of a run, or a path to its folder. Default: the newest."""
    max: LimitWords = ()
    """What a network may cost at most, such as latency_ms=5 or params=20M; may be given several times."""
    min: LimitWords = ()
    """What it must reach at least, such as inference_images_per_s=200."""
    track: Track | None = None
    """Which networks. Default: the track with most of the numbers that are needed."""
    by: Accuracy = None
    """Which accuracy counts: published, measured in this run, or this suite's reference. Default: the one that most
    networks have."""
    json: bool = False
    """Print JSON for machines."""
    results_dir: Path = Path("results")
    """Where runs are."""


def run(request: Pick) -> int:
    from bench.metrics import METRICS
    from bench.records.run_folder import find_run
    from bench.render.findings.pick import not_timed, parse_limits, select
    from bench.render.results import read_results
    from bench.render.tables import as_text, table_of

    limits = (*parse_limits(request.max, "max"), *parse_limits(request.min, "min"))
    run = find_run(request.run, request.results_dir, made_by="all --preset backbones")
    results = read_results(run)
    selection = select(results, limits, request.track, request.by)
    timed = (
        ("latency_ms",)
        if any(results.cell(choice.model, "latency_ms").measured for choice in selection.choices)
        else ()
    )
    limited = (limit.metric.name for limit in limits)
    columns = tuple(dict.fromkeys((selection.accuracy, *limited, "params", "macs", *timed)))
    if request.json:
        rows = []
        for choice in selection.choices:
            values = {column: results.cell(choice.model, column).value for column in columns}
            numbers = {column: None if math.isnan(value) else value for column, value in values.items()}
            uncertain = [limit.metric.name for limit in choice.uncertain]
            rows.append({"model": choice.model.name, **numbers, "uncertain": uncertain})
        about = {"run": request.run or run.name, "track": selection.track, "accuracy": selection.accuracy}
        print(json.dumps({**about, "networks": rows}, indent=2))
        return OK
    if selection.choices:
        unsure = {choice.model for choice in selection.choices if choice.uncertain}
        table = table_of(results, [choice.model for choice in selection.choices], [METRICS[name] for name in columns])
        print(as_text(table, lambda model: f"{model.name}{'?' if model in unsure else ''}"))
    if any(choice.uncertain for choice in selection.choices):
        print("? its 95 % interval reaches beyond a limit")
    if selection.unmeasured:
        number = len(selection.unmeasured)
        who = "1 more network was" if number == 1 else f"{number} more networks were"
        print(f"{who} not measured, or not reliably, and could not be judged.")
    print(selection.basis)
    print(joined(selection.sentence, selection.nearest, between=" "))
    if timed and request.track is None and (hint := not_timed(results)):
        print(hint)
    return OK
