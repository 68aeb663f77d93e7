"""index.html, one file that needs nothing else, neither network nor neighbours; and report.md, in GitHub's Markdown.

architecture  the section of each architecture;  explorer  the interactive chart's data
side_by_side  the page of several runs;  parts/  templates, styles and scripts
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import jinja2
import markupsafe
from markupsafe import Markup

from bench.metrics import METRICS, Metric, probe_named
from bench.render.charts import Chart
from bench.render.charts.accuracy import IMAGE_KINDS
from bench.render.charts.frame import FONTS, GRID, INK, MUTED, PAPER
from bench.render.claims import NOT_MEASURED, Ruling, summary, worth_showing
from bench.render.diagram import style_sheet
from bench.render.findings import Remark, named, remarks, summary_of
from bench.render.findings.machine import conditions_grid, environment_facts, execution_line, limits_grid, lowest_use
from bench.render.findings.ranking import BudgetTable, Ranking, budget_tables, degradation, rankings
from bench.render.page.architecture import Architecture
from bench.render.page.explorer import explorer, other_costs, script_digest
from bench.render.results import TRACK, Results, accuracy_note
from bench.render.results.header import Model, written_name
from bench.render.tables import Table, TextCell, TrackTables, accuracy_conditions, dataset_words, track_tables

_PARTS = Path(__file__).parent / "parts"  # templates, styles and scripts
_ELSEWHERE = ("gradient_flow", "budgets", *IMAGE_KINDS)  # kinds of charts that are not among the figures
_SCRIPTS = ("table.js", "pick.js", "explorer.js")
# What figures are drawn in -> the page's variables, so that figures follow light and dark.
_THEMED = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--line)", PAPER: "var(--paper)"}


def write_html(
    results: Results,
    charts: Sequence[Chart],
    found: Sequence[Remark],
    claims: Sequence[Ruling] = (),
    sections: Sequence[Architecture] = (),
) -> str:
    """The page. Every text of the run is escaped; the only scripts are the page's own, by their hashes."""
    scripts = [read_part(name) for name in _SCRIPTS]
    interactive = explorer(results)
    drawings = {chart.name: inline_svg(chart, f"f{number}-") for number, chart in enumerate(charts)}
    narrow = {c.name: inline_svg(c.narrow, f"n{number}-") for number, c in enumerate(charts) if c.narrow is not None}
    first = sorted((chart for chart in charts if chart.kind == "headline"), key=lambda chart: chart.track != TRACK)
    headline, here = summary_of(results)
    return (
        page_environment()
        .get_template("page.html.j2")
        .render(
            title=TITLE,
            textbook=next((chart for chart in charts if chart.kind == "textbook"), None),
            named=partial(named, results),
            environment=environment_facts(results.header.environment),
            header=results.header,
            conditions=conditions_line(results),
            warning=warning(results),
            headline=headline,
            here=here,
            low_use={track: lowest_use(results, models) for track, models in results.tracks().items()},
            first=first,
            costs={chart.name: other_costs(results, chart) for chart in first} if interactive else {},
            comparisons=[chart for chart in charts if chart not in first and chart.kind not in _ELSEWHERE],
            image_charts=[chart for chart in charts if chart.kind in IMAGE_KINDS],
            budget_charts=[chart for chart in charts if chart.kind == "budgets"],
            depth_charts=[chart for chart in charts if chart.kind == "gradient_flow"],
            missing=missing_charts(results, charts),
            drawings=drawings,
            narrow=narrow,
            tables=track_tables(results),
            methods=[(metric, _conditions(results, metric)) for metric in results.metrics()],
            sources={name: text for name, text in results.header.sources.items() if text},
            architectures=sections,
            rankings=rankings(results),
            budgets=budget_tables(results),
            degradation=degradation(results),
            claims=claims if worth_showing(claims) else (),
            claims_summary=summary(claims),
            claims_accuracies=accuracy_note(results),
            problems=found,
            incomplete=_incomplete(found),
            remarks=remarks(results),
            execution=execution_line(results.header.execution),
            conditions_grid=conditions_grid(results.header),
            limits_grid=limits_grid(results.header),
            style=Markup("\n".join((read_part("style.css"), style_sheet()))),
            explorer=interactive,
            scripts=[Markup(script) for script in scripts],
            digests=[*map(script_digest, scripts), *([interactive.library.digest] if interactive else [])],
        )
    )


def page_environment() -> jinja2.Environment:
    """For the templates of the page: every text is escaped, and an undefined name is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PARTS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["paper_link"] = paper_link
    environment.filters["name_cell"] = name_cell
    environment.filters["breakable"] = breakable
    return environment


def read_part(name: str) -> str:
    """A style or script of the page."""
    return (_PARTS / name).read_text(encoding="utf-8")


def inline_svg(chart: Chart, prefix: str) -> Markup:
    """A figure's SVG as part of a page: its ids unique and short, its colours themed, its alt text attached.

    Ids that nothing points to go, and digits below a hundredth of a point: together a fifth of a figure.
    """
    svg = chart.svg[chart.svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)
    svg = svg.replace("xlink:href", "href")
    targets = dict.fromkeys(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    ids = {target: f"{prefix}{number}" for number, target in enumerate(targets)}
    svg = re.sub(r' id="([^"]*)"', lambda found: f' id="{ids[found[1]]}"' if found[1] in ids else "", svg)
    svg = re.sub(r'(href="|url\()#([^")]+)', lambda found: f"{found[1]}#{ids[found[2]]}", svg)
    svg = svg.replace(f"font-family: {FONTS}; ", "")  # of the whole figure
    svg = re.sub(r' (?:d|x|y)="[^"]*|translate\([^)]*', lambda found: _rounded(found[0]), svg)
    for colour, variable in _THEMED.items():
        svg = svg.replace(colour, variable)
    view = re.search(r'viewBox="[^"]*"', svg)
    font = f'style="font-family: {FONTS}"'
    opening = f'<svg {view[0] if view else ""} {font} role="img" aria-label="{markupsafe.escape(chart.alt)}">'
    svg = re.sub(r"<svg[^>]*>", lambda _: opening, svg, count=1)
    return Markup(re.sub(r"\n\s*", "\n", svg))


def _rounded(coordinates: str) -> str:
    return re.sub(r"-?\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}", coordinates)


def paper_link(paper: str) -> Markup:
    """A citation whose arXiv number is a link; nothing else in it becomes one."""
    linked = re.sub(
        r"arXiv:(\d{4}\.\d{4,5})",
        r'<a href="https://arxiv.org/abs/\1" rel="noreferrer">arXiv:\1</a>',
        str(markupsafe.escape(paper)),
    )
    return Markup(linked)


def breakable(text: str) -> Markup:
    """`text`, in which a narrow column may break an identifier after each _."""
    return Markup(str(markupsafe.escape(text)).replace("_", "_<wbr>"))


def name_cell(model: Model) -> Markup:
    """The heading of a network's row: its written name, which may be broken behind an underscore.

    Its identifier is there on hover, for the search and for copies.
    """
    name = breakable(written_name(model))
    return Markup('<th scope="row" class="name" title="{0}" data-name="{0}">{1}</th>').format(model.name, name)


def _incomplete(found: Sequence[Remark]) -> list[str]:
    """Such as "resnet20_cifar (failed)": the networks that lack a number for another reason than being skipped."""
    return list(dict.fromkeys(f"{model} ({r.status})" for r in found if r.status != "skipped" for model in r.models))


def _conditions(results: Results, metric: Metric) -> str:
    """Such as "batch 256 (19 networks), 64 (1 network); fp32", for metrics that depend on these."""
    rows = {r.model: r for r in results.records if r.metric == metric.name and r.status == "ok"}.values()
    sizes = Counter(row.batch_size for row in rows if row.batch_size)
    batches = ", ".join(f"{size} ({count} network{'' if count == 1 else 's'})" for size, count in sorted(sizes.items()))
    precisions = ", ".join(dict.fromkeys(row.precision for row in rows))
    devices = ", ".join(dict.fromkeys(row.device for row in rows if row.device))
    words = (f"batch size {batches}" if batches else "", precisions, f"on {devices}" if devices else "")
    return "; ".join(word for word in words if word)


_WIDE = 0.5  # an interval over its value
_OFTEN = 0.2  # of the timings of a run
TITLE = "What each classic network costs, and what it buys"


def conditions_line(results: Results) -> str:
    """Data, budget, seeds, precision, device, library, date and commit of a run, as far as they are known."""
    header = results.header
    groups = results.accuracy_groups()
    datasets = dict.fromkeys(dataset_words(group) for group in groups)
    seeds = "" if header.seeds is None else f"{header.seeds} seed{'' if header.seeds == 1 else 's'}"
    words = (
        " and ".join(datasets),
        f"budget {header.budget}" if header.budget and groups else "",
        seeds if groups else "",
        str(header.execution),
        header.device,
        f"PyTorch {header.environment['torch']}" if header.environment.get("torch") else "",
        header.date,
        f"commit {header.environment['commit'][:12]}" if header.environment.get("commit") else "",
    )
    return " · ".join(word for word in words if word)


def warning(results: Results) -> str:
    """What a reader must know before any number; empty where there is nothing."""
    return " ".join(
        sentence
        for sentence in (forced_warning(results), synthetic_warning(results), noise_warning(results))
        if sentence
    )


def forced_warning(results: Results) -> str:
    """That parts of the run were not made alike, and in what they differ; empty where they were."""
    differences = dict.fromkeys(results.header.forced)
    if not differences:
        return ""
    return (
        "Resumed with --force: not all numbers of this run were measured under the same conditions "
        f"({'; '.join(differences)})."
    )


def noise_warning(results: Results) -> str:
    """That many timings of the run scatter widely or had not settled; empty where few do."""
    timings = [
        cell
        for (_, metric), cell in results.cells.items()
        if cell.measured and metric in METRICS and probe_named(METRICS[metric].probe).when == "rounds"
    ]
    noisy = [cell for cell in timings if "unsteady" in cell.flags or cell.high - cell.low > _WIDE * cell.value]
    if len(noisy) < _OFTEN * len(timings) or len(noisy) < 3:
        return ""
    return (
        f"Noisy timings: {len(noisy)} of {len(timings)} had not settled or have an interval wider than half of their "
        "value. The machine was probably busy; compare timings by their intervals only."
    )


def synthetic_warning(results: Results) -> str:
    """What accuracies on generated images do not mean; empty where all accuracies are on real images."""
    groups = [group for group in results.accuracy_groups() if group.synthetic]
    if not groups:
        return ""
    names = " and ".join(dict.fromkeys(group.dataset for group in groups))
    tracks = " and ".join(dict.fromkeys(f"{group.track} track" for group in groups))
    stands_for = {"cifar": "CIFAR-10", "mnist": "MNIST"}
    real = " or ".join(dict.fromkeys(stands_for.get(group.track, "photograph") for group in groups))
    return (
        f"Synthetic images: the accuracies of the {tracks} are on generated images ({names}). "
        f"They are not {real} accuracies and must not be compared with published ones."
    )


def missing_charts(results: Results, charts: Sequence[Chart]) -> list[str]:
    """A sentence for each kind of chart that this run cannot have."""
    kinds = {chart.kind for chart in charts}
    trained = sum(len(group.models) for group in results.accuracy_groups())
    sentences = []
    if trained == 0:
        sentences.append("No accuracy was measured, so the charts of accuracy against cost are left out.")
    elif not kinds & {"ball", "scatter"}:
        sentences.append(
            "No two networks have both an accuracy on the same data and a cost, so the charts that compare "
            "them are left out."
        )
    if trained and "curves" not in kinds:
        sentences.append("No training curves were kept, so they are not drawn.")
    return sentences


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
    parts += ["\n".join(f"- {escape(sentence)}" for sentences in summary_of(results) for sentence in sentences)]
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
            " ".join(paper for paper, _ in one.papers),
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
        (written_name(row.model), *((row.model.family, str(row.model.year or "")) if facts else ()), *row.cells)
        for row in table.rows
    ]
    legend = "; ".join(escape(f"{mark.symbol} {mark.meaning}") for mark in table.legend)
    return as_grid(("Network", *(("Family", "Year") if facts else ()), *headings), rows) + (
        f"\n\n{legend}." if legend else ""
    )


def _ranking(ranking: Ranking) -> str:
    rows = [(str(one.place), written_name(one.model), one.accuracy, one.verdict or "–") for one in ranking.placed]
    grid = as_grid(("Place", "Network", "Test accuracy", "Against the next"), rows)
    heading = f"## Which differences are significant on the {escape(ranking.group.track)} track"
    return "\n\n".join((heading, escape(ranking.conditions), grid, escape(ranking.method)))


def _budgets(table: BudgetTable) -> str:
    rows = [
        (
            written_name(row.model),
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
