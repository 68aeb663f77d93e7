"""report.md: title, conditions, findings, a table per track, figures, failures, in GitHub's Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from bench.render.charts import Chart
from bench.render.conditions import accuracy_conditions
from bench.render.findings import findings
from bench.render.problems import Remark
from bench.render.readable import TextCell, TrackTable, track_tables
from bench.render.table import Results
from bench.render.words import TITLE, conditions_line, missing_charts, synthetic_warning


def write_markdown(results: Results, charts: Sequence[Chart], found: Sequence[Remark]) -> str:
    """The short report; the page beside it has the method, the environment and the papers."""
    parts = [f"# {TITLE}", f"Run **{escape(results.header.name)}**: {escape(conditions_line(results))}"]
    warning = synthetic_warning(results)
    if warning:
        parts.append(f"> **{escape(warning)}**")
    parts += [_figure(chart) for chart in charts if chart.kind == "ball"][:1]
    parts += ["\n".join(f"- {escape(sentence)}" for sentence in findings(results))]
    parts += [_track(table) for table in track_tables(results)]
    parts.append("More: [table.csv](table.csv) has all columns, [index.html](index.html) method and environment.")
    parts += [escape(sentence) for sentence in missing_charts(results, charts)]
    if charts:
        parts.append("## Figures")
        parts += [_figure(chart) for chart in charts if chart.kind != "bars"]
        parts.append(_bar_links(charts))
    if found:
        rows = [(r.status, r.reason, ", ".join(r.models), ", ".join(r.probes) or "–") for r in found]
        parts += ["## Not measured", _grid(("Status", "Reason", "Networks", "Probes"), rows)]
    groups = "; ".join(escape(accuracy_conditions(results, group)) for group in results.accuracy_groups())
    if groups:
        parts.append(f"Accuracies: {groups}. ± is the larger half of the 95 % interval.")
    return "\n\n".join(part for part in parts if part) + "\n"


def escape(text: str) -> str:
    """`text` as itself on one line: nothing in it is read as Markdown, HTML or the end of a table cell."""
    line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*\[\]|~$])", r"\\\1", line)


def _track(table: TrackTable) -> str:
    headings = [f"{c.heading} ({c.detail})" if c.detail else c.heading for c in table.columns]
    rows: list[tuple[str | TextCell, ...]] = [
        (row.model.name, row.model.family, "" if row.model.year is None else str(row.model.year), *row.cells)
        for row in table.rows
    ]
    grid = _grid(("Network", "Family", "Year", *headings), rows)
    note = "\n\n† cannot be told from guessing." if table.any_at_chance else ""
    heading = f"## Networks of the {escape(table.track)} track"
    return f"{heading}\n\n{escape('; '.join(table.conditions))}\n\n{grid}{note}"


def _grid(headings: Sequence[str], rows: Iterable[Sequence[str | TextCell]]) -> str:
    lines = [f"| {' | '.join(map(escape, headings))} |", "|" + "---|" * len(headings)]
    lines += [f"| {' | '.join(map(_cell, row))} |" for row in rows]
    return "\n".join(lines)


def _cell(cell: str | TextCell) -> str:
    if isinstance(cell, str):
        return escape(cell)
    text = escape(cell.text) + (" †" if cell.at_chance else "")
    return f"**{text}**" if cell.best else text


def _figure(chart: Chart) -> str:
    return f"![{escape(chart.alt)}](figures/{chart.name}.svg)" + (
        f"\n\n{escape(chart.caption)}" if chart.caption else ""
    )


def _bar_links(charts: Sequence[Chart]) -> str:
    bars = [f"[{escape(c.title)} ({escape(c.track)})](figures/{c.name}.svg)" for c in charts if c.kind == "bars"]
    return f"Bar charts: {', '.join(bars)}." if bars else ""
