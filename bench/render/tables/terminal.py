"""The overview of a run as aligned text, for the terminal."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence

import rich.table
from rich.console import Console
from rich.text import Text

from bench.records.run_folder import Run
from bench.render.results import read_results
from bench.render.tables.text import Table, TextCell, track_tables


def summary(run: Run) -> str:
    """The overview of each track: networks and headline scores with their units; every mark is explained."""
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
        legend = ["* best of its column"] if any(cell.best for row in table.rows for cell in row.cells) else []
        legend += [f"{mark.symbol} {mark.meaning}" for mark in table.legend]
        more = ", ".join(topic.title.lower() for topic in track.topics)
        legend += [f"The report has more: {more}."] if more else []
        parts.append("\n".join((f"{track.track}: {'; '.join(track.conditions)}", aligned(rows), *legend)))
    return "\n\n".join(parts)


def _headings(table: Table) -> list[str]:
    """With the unit below, folded to the width of the numbers, so that nine columns fit on a screen."""
    widths = [max(len(_text(row.cells[i])) for row in table.rows) for i in range(len(table.columns))]
    return [
        "\n".join(
            line
            for words in (column.heading, *column.detail.split(", "))
            for line in textwrap.wrap(words, width, break_long_words=False)
        )
        for column, width in zip(table.columns, widths, strict=True)
    ]


def _text(cell: TextCell) -> str:
    return f"{cell.text}{'*' if cell.best else ''}{cell.symbols}" + (f" ({cell.aside})" if cell.aside else "")


def aligned(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows as columns of text under their headings, of one or more lines: numbers to the right, words to the left."""
    table = rich.table.Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    for column in rows[0]:
        numeric = all(str(row[column])[:1] in "0123456789–" for row in rows)
        table.add_column(Text(column), justify="right" if numeric else "left", vertical="bottom", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(str(text)) for text in row.values()))
    console = Console(file=io.StringIO(), width=10_000, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().rstrip("\n").split("\n"))
