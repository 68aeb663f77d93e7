"""The tables of a run as aligned text, for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.record import Run
from bench.render.readable import track_tables
from bench.render.table import read_results


def summary(run: Run) -> str:
    """One table per track: the networks and every score that some of them have; `*` marks the best."""
    parts = []
    for table in track_tables(read_results(run)):
        rows = [
            {
                "network": row.model.name,
                **{
                    column.heading: cell.text + ("*" if cell.best else "")
                    for column, cell in zip(table.columns, row.cells, strict=True)
                },
            }
            for row in table.rows
        ]
        parts.append(f"{table.track}: {'; '.join(table.conditions)}\n{aligned(rows)}")
    return "\n\n".join(parts)


def aligned(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows as columns of text under their headings: numbers to the right, words to the left."""
    columns = list(rows[0])
    cells = [columns, *([str(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    numeric = [all(not line[i] or line[i][0] in "0123456789–" for line in cells[1:]) for i in range(len(columns))]
    lines = [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in cells
    ]
    return "\n".join(lines)
