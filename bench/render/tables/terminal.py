"""The overview of a run as aligned text, for the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from bench.records.run_folder import Run
from bench.render.results.table import read_results
from bench.render.tables.text import Table, TextCell, track_tables


def summary(run: Run) -> str:
    """The overview of each track: networks and headline scores; `*` is the best, other marks are explained."""
    parts = []
    for track in track_tables(read_results(run)):
        table = track.overview
        rows = [
            {
                "network": row.model.name,
                **{heading: _text(cell) for heading, cell in zip(_headings(table), row.cells, strict=True)},
            }
            for row in table.rows
        ]
        legend = [f"{mark.symbol} {mark.meaning}" for mark in table.legend]
        more = ", ".join(topic.title.lower() for topic in track.topics)
        legend += [f"The report has more: {more}."] if more else []
        parts.append("\n".join((f"{track.track}: {'; '.join(track.conditions)}", aligned(rows), *legend)))
    return "\n\n".join(parts)


def _headings(table: Table) -> list[str]:
    """Folded to the width of the numbers below, so that nine columns fit on a screen."""
    widths = [max(len(_text(row.cells[i])) for row in table.rows) for i in range(len(table.columns))]
    return [
        "\n".join(textwrap.wrap(column.heading, width, break_long_words=False))
        for column, width in zip(table.columns, widths, strict=True)
    ]


def _text(cell: TextCell) -> str:
    return f"{cell.text}{'*' if cell.best else ''}{cell.symbols}" + (f" ({cell.aside})" if cell.aside else "")


def aligned(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows as columns of text under their headings, of one or more lines: numbers to the right, words to the left."""
    columns = list(rows[0])
    heights = [column.count("\n") + 1 for column in columns]
    lifted = [
        ("\n" * (max(heights) - height) + column).split("\n") for column, height in zip(columns, heights, strict=True)
    ]
    body = [[str(row[column]) for column in columns] for row in rows]
    cells = [*(list(line) for line in zip(*lifted, strict=True)), *body]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    numeric = [all(not line[i] or line[i][0] in "0123456789–" for line in body) for i in range(len(columns))]
    lines = [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in cells
    ]
    return "\n".join(lines)
