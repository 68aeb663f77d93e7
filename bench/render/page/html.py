"""index.html: one file that needs nothing else, neither network nor neighbours."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from bench.metrics import Metric
from bench.render.charts import Chart
from bench.render.charts.accuracy import IMAGE_KINDS
from bench.render.charts.frame import FONTS, GRID, INK, MUTED, PAPER
from bench.render.claims import Ruling, summary, worth_showing
from bench.render.diagram import style_sheet
from bench.render.findings.machine import conditions_grid, environment_facts, execution_line, limits_grid, lowest_use
from bench.render.findings.problems import Remark, named, remarks
from bench.render.findings.ranking import budget_tables, degradation, rankings
from bench.render.findings.summary import summary_of
from bench.render.page.architecture import Architecture
from bench.render.page.explorer import explorer, other_costs
from bench.render.page.headings import TITLE, conditions_line, missing_charts, warning
from bench.render.results import TRACK, Results, accuracy_note
from bench.render.results.header import Model, written_name
from bench.render.tables.text import track_tables

_PARTS = Path(__file__).parent / "parts"  # templates, styles and scripts
_STYLES = ("style.css", "architecture.css")
_ELSEWHERE = ("gradient_flow", "budgets", *IMAGE_KINDS)  # kinds of charts that are not among the figures
_SCRIPTS = ("table.js", "pick.js", "explorer.js")
# What figures are drawn in -> the page's variables, so that figures follow light and dark.
_THEMED = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--line)", PAPER: "var(--paper)"}


@dataclass(frozen=True)
class Method:
    """A metric, what it means and under which conditions the rows of this run were taken."""

    metric: Metric
    conditions: str


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
    said = summary_of(results)
    return (
        page_environment()
        .get_template("page.html.j2")
        .render(
            title=TITLE,
            textbook=next((chart for chart in charts if chart.kind == "textbook"), None),
            named=partial(named, results),
            environment=environment_facts(results.header),
            header=results.header,
            conditions=conditions_line(results),
            warning=warning(results),
            summary=said,
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
            methods=[Method(metric, _conditions(results, metric)) for metric in results.metrics()],
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
            style=Markup("\n".join([*map(read_part, _STYLES), style_sheet()])),
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
    return environment


def read_part(name: str) -> str:
    """A style or script of the page."""
    return (_PARTS / name).read_text(encoding="utf-8")


def script_digest(script: str) -> str:
    """As a content security policy names a script."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


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
    opening = f'<svg {view[0] if view else ""} {font} role="img" aria-label="{escape(chart.alt)}">'
    svg = re.sub(r"<svg[^>]*>", lambda _: opening, svg, count=1)
    return Markup(re.sub(r"\n\s*", "\n", svg))


def _rounded(coordinates: str) -> str:
    return re.sub(r"-?\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}", coordinates)


def paper_link(paper: str) -> Markup:
    """A citation whose arXiv number is a link; nothing else in it becomes one."""
    linked = re.sub(
        r"arXiv:(\d{4}\.\d{4,5})",
        r'<a href="https://arxiv.org/abs/\1" rel="noreferrer">arXiv:\1</a>',
        str(escape(paper)),
    )
    return Markup(linked)


def name_cell(model: Model) -> Markup:
    """The heading of a network's row: its written name, which may be broken behind an underscore.

    Its identifier is there on hover, for the search and for copies.
    """
    name = Markup(str(escape(written_name(model))).replace("_", "_<wbr>"))
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
