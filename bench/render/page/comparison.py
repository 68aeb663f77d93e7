"""A comparison of two runs for people: as aligned text, or as Markdown for a pull request."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from bench.quantity import listing, quantity
from bench.regression import Verdict, percent
from bench.regression.compare import ERROR, Change, Comparison
from bench.render.page.markdown import as_grid, escape
from bench.render.tables.terminal import aligned

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
    incomparable = [f"{_named(list(models), 'network')}: {_metrics(models)}: {why}" for why, models in reasons.items()]
    shifts = [
        f"{shift.metric}: all {shift.models} networks moved the same way, median {percent(shift.log_ratio)}: "
        "probably the machine, not the code (use `ab` to be sure)"
        for shift in found.shifts
    ]
    sections = [
        (_MOVED, shifts),
        ("Differences", [f"{d.fact}: {d.base} → {d.new}" for d in found.differences]),
        (f"Only in {found.base}", list(found.only_in_base)),
        (f"Only in {found.new}", list(found.only_in_new)),
        ("Unfinished", list(found.unfinished)),
        ("Cannot be compared", incomparable),
    ]
    return [(heading, lines) for heading, lines in sections if lines]


def _metrics(models: dict[str, list[str]]) -> str:
    return _named(list(dict.fromkeys(metric for metrics in models.values() for metric in metrics)), "metric")


def _named(names: Sequence[str], what: str) -> str:
    """The names, or how many they are where they are many."""
    return ", ".join(names) if len(names) <= 6 else f"{listing(names, 5)} {what}s"


def rows_of(found: Comparison, show_same: bool) -> list[dict[str, str]]:
    """The changes as text by `COLUMNS`, the worst first."""
    shown = [change for change in found.changes if show_same or change.verdict != "same"]
    return [row_of(change) for change in sorted(shown, key=lambda change: WORST_FIRST.index(change.verdict))]


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
        "change": "?" if math.isnan(change.ratio) else percent(math.log(change.ratio)) if change.ratio else "to zero",
        "interval": f"{percent(low)} to {percent(high)}" if known else "exact" if change.exact else "",
        "n": "/".join(map(str, change.units)),
        "note": change.note,
    }


def summary_of(found: Comparison, margin: float, show_same: bool) -> list[str]:
    """How many changes have which verdict, and how to read them."""
    counts = Counter(change.verdict for change in found.changes)
    said = ", ".join(f"{counts[word]} {word}" for word in WORST_FIRST if counts[word]) or "nothing in common"
    hidden = " (--all shows what is the same)" if counts["same"] and not show_same else ""
    return [
        f"{said}{hidden}; {len(found.incomparable)} cannot be compared.",
        f"Change is new / base. Counts are compared exactly; all else is the same within {100 * margin:g} %, and "
        f"better or worse only if significantly beyond that. n: rounds or seeds. All intervals hold at once with "
        f"{1 - ERROR:.0%}.",
    ]
