"""write_side_by_side: two or more runs -> reports/A-vs-B/, a page of what differs, complete or not at all.

The first run is the base: each of the others is compared with it. Verdicts are those of `bench.regression.compare`.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from markupsafe import Markup

from bench.quantity import listing, quantity
from bench.records.run_folder import Run
from bench.regression import MARGIN, Verdict, percent
from bench.regression.compare import ERROR, Change, Comparison, compare
from bench.render.findings.machine import TextTable, environment_facts, facts_of
from bench.render.page import as_grid, escape, page_environment, read_part
from bench.render.page.explorer import script_digest
from bench.render.report import swap_in
from bench.render.tables import aligned

_ALWAYS_DIFFERENT = ("created", "command", "load_average_1min")  # not worth a mark
_LONGEST_NAME = 150  # of a folder


def write_side_by_side(runs: Sequence[Run], reports: Path) -> Path:
    """Write index.html and report.md that compare each of the other runs with the first; returns their folder.

    Raises:
        RunError: records are damaged, or the reports folder cannot be written.
    """
    names = [run.name for run in runs]
    facts = side_by_side_facts(runs)
    pairs = [compare(runs[0], other, MARGIN, under_any_conditions=True) for other in runs[1:]]
    files = {"index.html": _html(names, facts, pairs).encode(), "report.md": _markdown(names, facts, pairs).encode()}
    return swap_in(files, reports / folder_name(names))


def folder_name(names: Sequence[str]) -> str:
    """Such as "A-vs-B"; shortened, with a checksum, where that is too long for a file system."""
    name = "-vs-".join(names)
    return name if len(name) <= _LONGEST_NAME else f"{name[:120]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def side_by_side_facts(runs: Sequence[Run]) -> TextTable:
    """The environments, then what was asked, then the images; what differs is first, what no run says is left out."""
    facts = (
        [environment_facts(run.header.environment) for run in runs],
        [_settings(run) for run in runs],
        [_image_sets(run) for run in runs],
    )
    rows = []
    for each in facts:
        for name in dict.fromkeys(itertools.chain(*each)):
            texts = [found.get(name, "") for found in each]
            mark = "≠ " if len(set(texts)) > 1 and name not in _ALWAYS_DIFFERENT else ""
            if any(texts):
                rows.append((f"{mark}{name}", *(text or "–" for text in texts)))
    rows.sort(key=lambda row: not row[0].startswith("≠"))
    return TextTable(("Fact", *(run.name for run in runs)), tuple(rows))


def _settings(run: Run) -> dict[str, str]:
    asked = {"created": run.header.created, "command": " ".join(run.header.command), **run.header.settings()}
    return {name.replace("_", " "): text for name, text in facts_of(asked).items()}


def _image_sets(run: Run) -> dict[str, str]:
    return {
        f"{track} images": " ".join(str(entry[key])[:12] for key in ("name", "sha256") if entry.get(key))
        for track, entry in run.header.image_sets.items()
    }


def _html(names: Sequence[str], facts: TextTable, pairs: Sequence[Comparison]) -> str:
    script = read_part("table.js")
    return (
        page_environment()
        .get_template("side_by_side.html.j2")
        .render(
            names=names,
            facts=facts,
            pairs=pairs,
            summary_of=lambda found: summary_of(found, MARGIN, show_same=True),
            preface_of=preface_of,
            worst_first=worst_first,
            row_of=row_of,
            style=Markup(read_part("style.css")),
            script=Markup(script),
            digest=script_digest(script),
        )
    )


def _markdown(names: Sequence[str], facts: TextTable, pairs: Sequence[Comparison]) -> str:
    parts = [f"# {escape(' and '.join(names))} side by side"]
    parts += [as_markdown(found, MARGIN, show_same=False) for found in pairs]
    parts += ["## Environments and settings", "≠ marks what differs.", as_grid(facts.headings, facts.rows)]
    return "\n\n".join(parts) + "\n"


WORST_FIRST: tuple[Verdict, ...] = ("worse", "slower", "higher", "lower", "better", "faster", "unclear", "same")
_MOVED = "Moved together"
COLUMNS = ("verdict", "network", "metric", "base", "new", "change", "interval", "n", "note")


def as_text(found: Comparison, margin: float, show_same: bool) -> str:
    """Differences first, then what cannot be compared, then the table, its summary last."""
    parts = [f"{found.base} → {found.new}"]
    parts += [f"{heading}\n" + "\n".join(f"  {line}" for line in lines) for heading, lines in preface_of(found)]
    rows = rows_of(found, show_same)
    if rows:
        parts.append(aligned(rows))
    parts.append("\n".join(summary_of(found, margin, show_same)))
    return "\n\n".join(parts)


def as_markdown(found: Comparison, margin: float, show_same: bool) -> str:
    """The same; what may be long is folded, and what puts the table in doubt stands before it."""
    sections = dict(preface_of(found))
    parts = [f"## {escape(found.base)} → {escape(found.new)}"]
    if moved := sections.pop(_MOVED, []):
        parts.append("\n".join(f"> {escape(line)}" for line in moved))
    parts.append("\n".join(map(escape, summary_of(found, margin, show_same))))
    rows = rows_of(found, show_same)
    if rows:
        parts.append(as_grid(COLUMNS, [[row[column] for column in COLUMNS] for row in rows]))
    for heading, lines in sections.items():
        listed = "\n".join(f"- {escape(line)}" for line in lines)
        parts.append(f"<details><summary>{escape(heading)} ({len(lines)})</summary>\n\n{listed}\n\n</details>")
    return "\n\n".join(parts)


def preface_of(found: Comparison) -> list[tuple[str, list[str]]]:
    """Headings with their lines; only those that have any."""
    reasons: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in found.incomparable:
        reasons[row.reason][row.model].append(row.metric)
    incomparable = [
        f"{_named(models, 'network')}: {_named(itertools.chain(*models.values()), 'metric')}: {why}"
        for why, models in reasons.items()
    ]
    together: dict[int, list[str]] = defaultdict(list)  # by how many networks moved
    for shift in found.shifts:
        together[shift.models].append(f"{shift.metric} {percent(shift.log_ratio)}")
    shifts = [
        f"all {models} networks moved the same way, probably by the machine and not the code (use `ab` to be sure): "
        f"medians {', '.join(medians)}"
        for models, medians in together.items()
    ]
    sections = [
        (_MOVED, shifts),
        ("Differences", [f"{d.fact.replace('_', ' ')}: {d.base} → {d.new}" for d in found.differences]),
        (f"Only in {found.base}", _by_kind(found.only_in_base)),
        (f"Only in {found.new}", _by_kind(found.only_in_new)),
        ("Unfinished", list(found.unfinished)),
        ("Cannot be compared", incomparable),
    ]
    return [(heading, lines) for heading, lines in sections if lines]


def _by_kind(things: Sequence[str]) -> list[str]:
    """ "network a", "network b" as one line: "networks a and b"."""
    names: dict[str, list[str]] = defaultdict(list)
    for thing in things:
        kind, _, name = thing.partition(" ")
        names[kind].append(name)
    return [f"{kind}{'' if len(each) == 1 else 's'} {listing(each, 8)}" for kind, each in names.items()]


def _named(names: Iterable[str], what: str) -> str:
    each = list(dict.fromkeys(names))
    return ", ".join(each) if len(each) <= 6 else f"{listing(each, 5)} {what}s"


def worst_first(found: Comparison) -> list[Change]:
    """The changes by their verdicts, and of each verdict what lost most."""
    return sorted(found.changes, key=lambda change: (WORST_FIRST.index(change.verdict), -change.loss))


def rows_of(found: Comparison, show_same: bool) -> list[dict[str, str]]:
    """The changes as text by `COLUMNS`, the worst first."""
    return [row_of(change) for change in worst_first(found) if show_same or change.verdict != "same"]


def row_of(change: Change) -> dict[str, str]:
    """One change as text by `COLUMNS`."""
    low, high = change.log_ratio
    exact = change.exact and float(change.base).is_integer() and float(change.new).is_integer()
    known = not change.exact and math.isfinite(low) and low != high
    return {
        "verdict": change.verdict,
        "network": change.model,
        "metric": change.metric + (f" ({change.budget})" if change.budget else ""),
        "base": f"{change.base:,.0f}" if exact else quantity(change.base, change.unit),
        "new": f"{change.new:,.0f}" if exact else quantity(change.new, change.unit),
        "change": percent(math.log(change.ratio)) if change.ratio > 0 else _without_ratio(change),
        "interval": f"{percent(low)} to {percent(high)}" if known else "exact" if change.exact else "",
        "n": "/".join(map(str, change.units)),
        "note": change.note,
    }


def _without_ratio(change: Change) -> str:
    """Of zero to zero, to zero, and from zero."""
    return percent(0.0) if change.base == change.new else "to zero" if change.base else "?"


def summary_of(found: Comparison, margin: float, show_same: bool) -> list[str]:
    """How many changes have which verdict, and how to read them."""
    counts = Counter(change.verdict for change in found.changes)
    said = ", ".join(f"{counts[word]} {word}" for word in WORST_FIRST if counts[word])
    hidden = " (--all shows what is the same)" if counts["same"] and not show_same else ""
    apart = f"; {len(found.incomparable)} cannot be compared" if found.incomparable else ""
    if not said:
        return [f"These runs have no number in common{apart}."]
    return [
        f"{said}{hidden}{apart}.",
        f"Change is new / base. Counts are compared exactly; all else is the same within {100 * margin:g} %, and "
        f"better or worse only if significantly beyond that. n: rounds or seeds. All intervals hold at once with "
        f"{1 - ERROR:.0%}.",
    ]
