"""write_side_by_side: two or more runs -> reports/A-vs-B/, a page of what differs, complete or not at all.

The first run is the base: each of the others is compared with it. Verdicts are those of `bench.regression.compare`.
"""

from __future__ import annotations

import hashlib
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from bench.metrics import METRICS, Metric
from bench.records.run_folder import Run, RunError
from bench.regression import MARGIN, percent
from bench.regression.compare import Change, Comparison, compare
from bench.render.charts import Chart
from bench.render.charts.frame import slug
from bench.render.charts.lines import pair_chart
from bench.render.page.comparison import WORST_FIRST, as_markdown, preface_of, row_of, summary_of
from bench.render.page.html import inline_svg, page_environment, read_part, script_digest
from bench.render.page.markdown import as_grid, escape
from bench.render.report import figure_files, swap_in
from bench.render.results.header import Model, read_header, unlisted
from bench.render.tables.text import OVERVIEW

_ALWAYS_DIFFERENT = ("created", "command", "load_average_1min")  # not worth a mark
_LONGEST_NAME = 150  # of a folder


@dataclass(frozen=True)
class FactRow:
    """One fact of the environment or of what was asked, in each run."""

    name: str
    texts: tuple[str, ...]
    differs: bool


@dataclass(frozen=True)
class MetricRows:
    """The changes of one metric, with their text."""

    metric: Metric
    budget: str  # of the base; empty where the metric has one only
    rows: tuple[tuple[Change, dict[str, str]], ...]
    verdicts: str  # "12 faster, 3 same"
    median: str  # of the changes, "+5.1 %"

    @property
    def noteworthy(self) -> bool:
        return self.metric.name in OVERVIEW and any(change.verdict != "same" for change, _ in self.rows)


@dataclass(frozen=True)
class Pair:
    """The base and one other run."""

    found: Comparison
    summary: tuple[str, ...]
    lists: tuple[tuple[str, tuple[str, ...]], ...]  # heading, lines: only in one of them, unfinished, ...
    metrics: tuple[MetricRows, ...]
    charts: tuple[Chart, ...]


def write_side_by_side(runs: Sequence[Run], reports: Path) -> Path:
    """Write index.html, report.md and figures/ that compare each of the other runs with the first; the folder.

    Raises:
        RunError: records are damaged, or the reports folder cannot be written.
    """
    name = folder_name(runs)
    facts = side_by_side_facts(runs)
    pairs = [_pair(runs[0], other, number) for number, other in enumerate(runs[1:], start=1)]
    charts = [chart for pair in pairs for chart in pair.charts]
    files = {
        "index.html": _html(runs, facts, pairs).encode(),
        "report.md": _markdown(runs, facts, pairs).encode(),
        **figure_files(charts),
    }
    try:
        return swap_in(files, reports / name)
    except OSError as error:
        raise RunError(f"cannot write {reports / name}: {error.strerror}; choose another reports folder") from error


def folder_name(runs: Sequence[Run]) -> str:
    """Such as "A-vs-B"; shortened, with a checksum, where that is too long for a file system."""
    name = "-vs-".join(run.name for run in runs)
    return name if len(name) <= _LONGEST_NAME else f"{name[:120]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def side_by_side_facts(runs: Sequence[Run]) -> list[FactRow]:
    """The environments, then what was asked, then the images; what no run says is left out."""
    environments = [read_header(run).environment for run in runs]
    settings = [
        {"created": run.header.created, "command": list(run.header.command), **run.header.settings()} for run in runs
    ]
    rows = [
        (name, [environment.get(name, "") for environment in environments])
        for name in dict.fromkeys(name for environment in environments for name in environment)
    ]
    rows += [
        (name.replace("_", " "), [_words(asked.get(name)) for asked in settings])
        for name in dict.fromkeys(name for asked in settings for name in asked)
    ]
    sets = [_image_sets(run) for run in runs]
    tracks = dict.fromkeys(track for images in sets for track in images)
    rows += [(f"{track} images", [images.get(track, "") for images in sets]) for track in tracks]
    return [
        FactRow(name, tuple(texts), len(set(texts)) > 1 and name not in _ALWAYS_DIFFERENT)
        for name, texts in rows
        if any(texts)
    ]


def _image_sets(run: Run) -> dict[str, str]:
    """Track -> name of its images and the start of their SHA-256."""
    return {
        str(track): " ".join(str(entry[key])[:12] for key in ("name", "sha256") if entry.get(key))
        for track, entry in run.header.image_sets.items()
    }


def _words(value: Any) -> str:
    """A setting as people write it; empty where there is none."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return " ".join(map(_words, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def _pair(base: Run, new: Run, number: int) -> Pair:
    found = compare(base, new, MARGIN, under_any_conditions=True)
    models = {model.name: model for run in (new, base) for model in read_header(run).models}
    models |= {change.model: unlisted(change.model) for change in found.changes if change.model not in models}
    metrics = _by_metric(found.changes)
    charts = [
        pair_chart(
            group.metric, own, models, (found.base, found.new), f"pair{number}-{slug(f'{track} {group.budget}')}"
        )
        for group in metrics
        if group.metric.name in OVERVIEW
        for track, own in _by_track(group, models).items()
    ]
    return Pair(
        found=found,
        summary=tuple(summary_of(found, MARGIN, show_same=True)),
        lists=tuple((heading, tuple(lines)) for heading, lines in preface_of(found) if heading != "Differences"),
        metrics=tuple(metrics),
        charts=tuple(chart for chart in charts if chart is not None),
    )


def _by_metric(changes: Sequence[Change]) -> list[MetricRows]:
    """The metrics in the order of METRICS, each once for each budget."""
    budgets: dict[str, set[str | None]] = {}
    for change in changes:
        budgets.setdefault(change.metric, set()).add(change.budget)
    groups: dict[tuple[str, str], list[Change]] = {}
    for change in changes:
        budget = change.budget or "" if len(budgets[change.metric]) > 1 else ""
        groups.setdefault((change.metric, budget), []).append(change)
    order = {name: place for place, name in enumerate(METRICS)}
    found = []
    for (name, budget), own in sorted(groups.items(), key=lambda item: (order.get(item[0][0], len(order)), item[0])):
        metric = METRICS.get(name) or Metric(name, "", own[0].unit, name, None, "")
        own.sort(key=lambda change: (WORST_FIRST.index(change.verdict), change.model))
        counts = Counter(change.verdict for change in own)
        moves = [math.log(change.ratio) for change in own if change.ratio > 0]
        found.append(
            MetricRows(
                metric=metric,
                budget=budget,
                rows=tuple((change, row_of(change)) for change in own),
                verdicts=", ".join(f"{counts[word]} {word}" for word in WORST_FIRST if counts[word]),
                median=percent(statistics.median(moves)) if moves else "–",
            )
        )
    return found


def _by_track(group: MetricRows, models: Mapping[str, Model]) -> dict[str, list[Change]]:
    found: dict[str, list[Change]] = {}
    for change, _ in group.rows:
        found.setdefault(models[change.model].track, []).append(change)
    return found


def _html(runs: Sequence[Run], facts: Sequence[FactRow], pairs: Sequence[Pair]) -> str:
    script = read_part("table.js")
    charts = [chart for pair in pairs for chart in pair.charts]
    return (
        page_environment()
        .get_template("side_by_side.html.j2")
        .render(
            names=[run.name for run in runs],
            facts=facts,
            pairs=pairs,
            drawings={chart.name: inline_svg(chart, f"f{number}-") for number, chart in enumerate(charts)},
            style=Markup(read_part("style.css")),
            script=Markup(script),
            digest=script_digest(script),
        )
    )


def _markdown(runs: Sequence[Run], facts: Sequence[FactRow], pairs: Sequence[Pair]) -> str:
    names = [run.name for run in runs]
    rows = [(f"{'≠ ' if fact.differs else ''}{fact.name}", *(text or "–" for text in fact.texts)) for fact in facts]
    parts = [f"# {escape(' and '.join(names))} side by side"]
    for pair in pairs:
        parts.append(as_markdown(pair.found, MARGIN, show_same=False))
        parts += [f"![{escape(chart.alt)}](figures/{chart.name}.svg)" for chart in pair.charts]
    parts += ["## Environments and settings", "≠ marks what differs.", as_grid(("Fact", *names), rows)]
    return "\n\n".join(parts) + "\n"
