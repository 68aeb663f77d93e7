"""index.html, one file that needs nothing else, neither network nor neighbours; and report.md, in GitHub's Markdown.

architecture  the section of each architecture;  explorer  the interactive chart's data
side_by_side  the page of several runs;  parts/  templates, styles and scripts
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
import markupsafe
from markupsafe import Markup

from bench.metrics import METRICS, probe_named
from bench.quantity import joined
from bench.render.charts import Chart
from bench.render.charts.accuracy import IMAGE_KINDS
from bench.render.charts.frame import FONTS, GRID, INK, MUTED, PAPER
from bench.render.claims import Ruling, summary, worth_showing
from bench.render.diagram import style_sheet
from bench.render.findings import Remark, named, remarks, summary_of
from bench.render.findings.machine import (
    environment_facts,
    execution_line,
    facts_of,
    limits_grid,
    lowest_use,
    sessions_grid,
)
from bench.render.findings.pick import not_timed
from bench.render.findings.ranking import budget_tables, degradation, rankings
from bench.render.page.architecture import Architecture
from bench.render.page.explorer import explorer, other_costs, script_digest
from bench.render.results import Results
from bench.render.results.networks import IMAGENET, Model, written_name
from bench.render.results.views import accuracy_note
from bench.render.tables import accuracy_conditions, dataset_words, step_conditions, track_tables

_PARTS = Path(__file__).parent / "parts"  # templates, styles and scripts
_ELSEWHERE = ("gradient_flow", *IMAGE_KINDS)  # kinds of charts that are not among the figures
_SCRIPTS = ("table.js", "pick.js", "explorer.js")
# What figures are drawn in -> the page's variables, so that figures follow light and dark.
_THEMED = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--line)", PAPER: "var(--paper)"}


def write_pages(
    results: Results,
    charts: Sequence[Chart],
    found: Sequence[Remark],
    claims: Sequence[Ruling] = (),
    sections: Sequence[Architecture] = (),
) -> tuple[str, str]:
    """index.html, and the short report.md: of the same words, by the names that both templates use."""
    headline, here = summary_of(results)
    said = {
        "title": TITLE,
        "header": results.header,
        "conditions": conditions_line(results),
        "warning": warning(results),
        "charts": charts,
        "headline": headline,
        "here": here,
        "missing": missing_charts(results, charts),
        "tables": track_tables(results),
        "rankings": rankings(results),
        "budgets": budget_tables(results),
        "degradation": degradation(results),
        "claims": claims if worth_showing(claims) else (),
        "claims_summary": summary(claims),
        "claims_accuracies": accuracy_note(results),
        "accuracies": [accuracy_conditions(results, group) for group in results.accuracy_groups()],
        "low_use": {track: lowest_use(results, models) for track, models in results.tracks().items()},
        "architectures": sections,
        "problems": found,
        "remarks": remarks(results),
        "named": partial(named, results),
    }
    short = page_environment(finalize=_as_markdown).get_template("report.md.j2").render(**said)
    return _html(results, charts, found, said), re.sub(r"\n{3,}", "\n\n", short).strip() + "\n"


def _html(results: Results, charts: Sequence[Chart], found: Sequence[Remark], said: Mapping[str, Any]) -> str:
    """Every text of the run is escaped; the only scripts are the page's own, by their hashes."""
    scripts = [read_part(name) for name in _SCRIPTS]
    interactive = explorer(results)
    first = sorted((chart for chart in charts if chart.kind == "headline"), key=lambda chart: chart.track != IMAGENET)
    return (
        page_environment()
        .get_template("page.html.j2")
        .render(
            **said,
            textbook=next((chart for chart in charts if chart.kind == "textbook"), None),
            environment=environment_facts(results.header.environment),
            first=first,
            costs={chart.name: other_costs(results, chart) for chart in first} if interactive else {},
            comparisons=[chart for chart in charts if chart not in first and chart.kind not in _ELSEWHERE],
            image_charts=[chart for chart in charts if chart.kind in IMAGE_KINDS],
            depth_charts=[chart for chart in charts if chart.kind == "gradient_flow"],
            drawings={chart.name: inline_svg(chart, f"f{number}-") for number, chart in enumerate(charts)},
            narrow={c.name: inline_svg(c.narrow, f"n{number}-") for number, c in enumerate(charts) if c.narrow},
            methods=[(metric, step_conditions(results, results.models, metric)) for metric in results.metrics()],
            sources={e.get("name", ""): e["source"] for e in results.header.image_sets.values() if e.get("source")},
            incomplete=dict.fromkeys(
                f"{name} ({r.status})" for r in found if r.status != "skipped" for name in r.models
            ),
            execution=execution_line(results.header.execution),
            sessions_grid=sessions_grid(results.header),
            limits_grid=limits_grid(results.header),
            style=Markup("\n".join((read_part("style.css"), style_sheet()))),
            explorer=interactive,
            not_timed=not_timed(results),
            scripts=[Markup(script) for script in scripts],
            digests=[*map(script_digest, scripts), *([interactive.library.digest] if interactive else [])],
        )
    )


def page_environment(**options: Any) -> jinja2.Environment:
    """For the templates of the page: every text is escaped, and an undefined name is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PARTS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **options,
    )
    environment.filters["paper_link"] = paper_link
    environment.filters["name_cell"] = name_cell
    environment.filters["breakable"] = breakable
    environment.filters["with_code"] = with_code
    environment.filters["written_name"] = written_name
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


def with_code(text: str) -> Markup:
    """`text`, in which a command between backticks is code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(markupsafe.escape(text))))


def name_cell(model: Model) -> Markup:
    """The heading of a network's row: its written name, which may be broken behind an underscore.

    Its identifier is there on hover, for the search and for copies.
    """
    name = breakable(written_name(model))
    return Markup('<th scope="row" class="name" title="{0}" data-name="{0}">{1}</th>').format(model.name, name)


_WIDE = 0.5  # an interval over its value
_OFTEN = 0.2  # of the timings of a run
TITLE = "What each classic network costs, and what it buys"


def conditions_line(results: Results) -> str:
    """Data, budget, seeds, precision, device, library, date and commit of a run, as far as they are known."""
    header = results.header
    groups = results.accuracy_groups()
    datasets = dict.fromkeys(dataset_words(group) for group in groups)
    seeds = f"{header.config.seeds} seed{'' if header.config.seeds == 1 else 's'}" if header.config else ""
    facts = facts_of(header.environment)
    words = (
        " and ".join(datasets),
        f"budget {header.budget}" if header.budget and groups else "",
        seeds if groups else "",
        str(header.execution),
        results.device,
        f"PyTorch {facts['torch']}" if facts.get("torch") else "",
        header.date,
        f"commit {facts['commit'][:12]}" if facts.get("commit") else "",
    )
    return joined(*words, between=" · ")


def warning(results: Results) -> str:
    """What a reader must know before any number; empty where there is nothing."""
    return joined(forced_warning(results), synthetic_warning(results), noise_warning(results), between=" ")


def forced_warning(results: Results) -> str:
    """That parts of the run were not made alike, and in what they differ; empty where they were."""
    differences = dict.fromkeys(words for forced in results.header.forced for words in forced.differences)
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
    if trained == 0 and not kinds & {"headline", "textbook", "ball", "scatter"}:
        sentences.append("No accuracy was measured, so the charts of accuracy against cost are left out.")
    elif trained == 0:
        sentences.append("Nothing was trained in this run: its charts show the accuracies of others.")
    elif not kinds & {"ball", "scatter"}:
        sentences.append(
            "No two networks have both an accuracy on the same data and a cost, so the charts that compare "
            "them are left out."
        )
    if trained and "curves" not in kinds:
        sentences.append("No training curves were kept, so they are not drawn.")
    return sentences


def escape(text: str) -> str:
    """`text` as itself on one line: nothing in it is read as Markdown, HTML or the end of a table cell."""
    line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*\[\]|~$])", r"\\\1", line)


def _as_markdown(value: object) -> Markup:
    """What a template of Markdown writes: what a macro made as it is, all else escaped."""
    return value if isinstance(value, Markup) else Markup(escape(str(value)))


def as_grid(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [f"| {' | '.join(map(escape, headings))} |", "|" + "---|" * len(headings)]
    lines += [f"| {' | '.join(map(escape, row))} |" for row in rows]
    return "\n".join(lines)
