"""report.md: title, conditions, findings, a table per track, figures, failures, in GitHub's Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from bench.render.charts import Chart
from bench.render.claims import NOT_MEASURED, Ruling, summary, worth_showing
from bench.render.findings.machine import lowest_use
from bench.render.findings.problems import Remark, named, remarks
from bench.render.findings.ranking import BudgetTable, Ranking, budget_tables, degradation, rankings
from bench.render.findings.summary import summary_of
from bench.render.page.architecture import Architecture
from bench.render.page.headings import TITLE, conditions_line, missing_charts, warning
from bench.render.results import Results, accuracy_note
from bench.render.tables.subtitles import accuracy_conditions
from bench.render.tables.text import Table, TextCell, TrackTables, track_tables


def write_markdown(
    results: Results,
    charts: Sequence[Chart],
    found: Sequence[Remark],
    claims: Sequence[Ruling] = (),
    sections: Sequence[Architecture] = (),
) -> str:
    """The short report; index.html has the method, the environment and the papers as well."""
    parts = [f"# {TITLE}", f"Run **{escape(results.header.name)}**: {escape(conditions_line(results))}"]
    if said := warning(results):
        parts.append(f"> **{escape(said)}**")
    first = [chart for chart in charts if chart.kind == "headline"]
    parts += map(_figure, first)
    parts += ["\n".join(f"- {escape(sentence)}" for sentence in summary_of(results).sentences)]
    parts += [_track(table) for table in track_tables(results)]
    parts += [_ranking(ranking) for ranking in rankings(results)]
    parts += [_budgets(table) for table in budget_tables(results)]
    parts += [f"## Does more depth make training harder?\n\n{escape(sentence)}" for sentence in degradation(results)]
    parts += [_claims(claims, accuracy_note(results))] if worth_showing(claims) else []
    parts.append("More: [table.csv](table.csv) has all columns, [index.html](index.html) method and environment.")
    parts += [escape(sentence) for sentence in missing_charts(results, charts)]
    others = [_figure(chart) for chart in charts if chart not in first]
    if others:
        parts += ["## Figures", *others]
    for track, models in results.tracks().items():
        sentences = lowest_use(results, models)
        if sentences:
            heading = f"## The lowest utilisation on the {escape(track)} track"
            parts += [heading, "\n".join(f"- {escape(sentence)}" for sentence in sentences)]
    parts += [_architectures(sections)] if sections else []
    if found:
        rows = [(r.status, r.reason, named(results, r.models), ", ".join(r.probes) or "–") for r in found]
        parts += ["## Not measured", as_grid(("Status", "Reason", "Networks", "Probes"), rows)]
        parts += [] if any(r.status != "skipped" for r in found) else ["Nothing failed."]
    noted = [(probe, r.reason, named(results, r.models)) for probe, said in remarks(results).items() for r in said]
    if noted:
        grid = as_grid(("Probe", "Remark", "Networks"), noted)
        parts.append(f"<details><summary>Remarks on measured numbers</summary>\n\n{grid}\n\n</details>")
    groups = "; ".join(escape(accuracy_conditions(results, group)) for group in results.accuracy_groups())
    if groups:
        parts.append(f"Accuracies: {groups}. ± is the larger half of the 95 % interval.")
    return "\n\n".join(part for part in parts if part) + "\n"


def _architectures(sections: Sequence[Architecture]) -> str:
    """Strengths and weaknesses of each; the page has their structure, layers and ranks."""
    rows = [
        (
            one.title,
            one.years,
            " ".join(paper.text for paper in one.papers),
            " ".join(one.strengths) or "–",
            " ".join(one.weaknesses) or "–",
        )
        for one in sections
    ]
    grid = as_grid(("Architecture", "Year", "Paper", "Strong", "Weak"), rows)
    note = "1st is always the best. [index.html](index.html) has their structure and layers."
    return "\n\n".join(("## The architectures", note, grid))


def escape(text: str) -> str:
    """`text` as itself on one line: nothing in it is read as Markdown, HTML or the end of a table cell."""
    line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*\[\]|~$])", r"\\\1", line)


def _track(track: TrackTables) -> str:
    parts = [f"## Networks of the {escape(track.track)} track", escape("; ".join(track.conditions))]
    parts += [_table(track.overview, facts=True)]
    # GitHub folds these; what does not know the element shows them as they are.
    parts += [
        f"<details><summary>{escape(table.title)}</summary>\n\n{_table(table, facts=False)}\n\n</details>"
        for table in track.topics
    ]
    return "\n\n".join(parts)


def _table(table: Table, *, facts: bool) -> str:
    """A row per network, with its family and year where `facts` are wanted."""
    headings = [f"{c.heading} ({c.detail})" if c.detail else c.heading for c in table.columns]
    rows: list[tuple[str | TextCell, ...]] = [
        (row.model.name, *((row.model.family, str(row.model.year or "")) if facts else ()), *row.cells)
        for row in table.rows
    ]
    legend = "; ".join(escape(f"{mark.symbol} {mark.meaning}") for mark in table.legend)
    return as_grid(("Network", *(("Family", "Year") if facts else ()), *headings), rows) + (
        f"\n\n{legend}." if legend else ""
    )


def _ranking(ranking: Ranking) -> str:
    rows = [(str(placed.place), placed.model.name, placed.accuracy, placed.verdict or "–") for placed in ranking.placed]
    grid = as_grid(("Place", "Network", "Test accuracy", "Against the next"), rows)
    heading = f"## Which differences are significant on the {escape(ranking.group.track)} track"
    return "\n\n".join((heading, escape(ranking.conditions), grid, escape(ranking.method)))


def _budgets(table: BudgetTable) -> str:
    rows = [
        (
            row.model.name,
            *(f"{cell.accuracy} ({cell.standing})" if cell.standing else cell.accuracy for cell in row.cells),
        )
        for row in table.rows
    ]
    grid = as_grid(("Network", *table.headings), rows)
    heading = f"## The same networks of the {escape(table.track)} track under other budgets"
    note = "In brackets: the rank among the networks that have an accuracy under every budget, and how it changed."
    return "\n\n".join((heading, grid, escape(" ".join((note, *table.agreement)))))


def _claims(claims: Sequence[Ruling], note: str) -> str:
    """The verdicts on those that this run tests; the page has all of them with their evidence at both input sizes."""
    rows = [
        (ruling.claim.id, f"{ruling.claim.words} ({ruling.claim.source})", *_verdicts(ruling))
        for ruling in claims
        if ruling.found.kind != NOT_MEASURED
    ]
    grid = as_grid(("Id", "Claim", "At 224×224", "At 32×32"), rows)
    said = f"{escape(summary(claims))} {escape(note)} All of them with their evidence: [claims.csv](claims.csv)."
    folded = f"<details><summary>Claims and verdicts</summary>\n\n{grid}\n\n</details>"
    return "\n\n".join(("## What others claim, tested here", said, folded))


def _verdicts(ruling: Ruling) -> tuple[str, str]:
    """At both input sizes; with its evidence at the one that the claim is about."""
    home = f"{ruling.found.verdict}: {ruling.found.evidence}"
    beside = ruling.beside.verdict if ruling.beside else "–"
    return (home, beside) if ruling.claim.home == "imagenet" else (beside, home)


def as_grid(headings: Sequence[str], rows: Iterable[Sequence[str | TextCell]]) -> str:
    lines = [f"| {' | '.join(map(escape, headings))} |", "|" + "---|" * len(headings)]
    lines += [f"| {' | '.join(map(_cell, row))} |" for row in rows]
    return "\n".join(lines)


def _cell(cell: str | TextCell) -> str:
    if isinstance(cell, str):
        return escape(cell)
    text = escape(" ".join(word for word in (cell.text, cell.symbols, cell.aside and f"({cell.aside})") if word))
    return f"**{text}**" if cell.best else text


def _figure(chart: Chart) -> str:
    return f"![{escape(chart.alt)}](figures/{chart.name}.svg)" + (
        f"\n\n{escape(chart.caption)}" if chart.caption else ""
    )
