"""Accuracy of the same networks under several budgets: a line per network, which crosses others where ranks change."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.ticker import FuncFormatter

from bench.metrics import METRICS
from bench.quantity import axis_label, tick
from bench.render.charts.curves import name_at_the_right
from bench.render.charts.figure import Chart, add_axes, new_figure, save_png, save_svg, write_title
from bench.render.charts.palette import FamilyStyle
from bench.render.findings.budgets import BudgetTable
from bench.render.results.table import Results

_WIDTH, _HEIGHT = 720.0, 470.0
_AXES = (58.0, 46.0, 500.0, 366.0)  # leaves room for names at the right


def budget_chart(results: Results, table: BudgetTable, styles: Mapping[str, FamilyStyle], stem: str) -> Chart | None:
    """The networks with an accuracy under every budget; None for fewer than two."""
    rows = [row for row in table.rows if all(cell.cell.measured for cell in row.cells)]
    if len(rows) < 2:
        return None
    figure = new_figure(_WIDTH, _HEIGHT)
    axes = add_axes(figure, *_AXES)
    title = "Test accuracy under each budget"
    write_title(
        figure, title, f"{table.track} track · {table.dataset} · {results.header.device} · {results.header.date}"
    )
    places = range(len(table.budgets))
    for row in rows:
        axes.plot(
            places, [cell.cell.value for cell in row.cells], color=styles[row.model.family].colour, linewidth=1.2,
            marker="o", markersize=3,
        )  # fmt: skip
    axes.set_xlim(-0.08, len(table.budgets) - 1)
    axes.set_xticks(list(places), table.headings)
    for label in axes.get_xticklabels()[-1:]:
        label.set_horizontalalignment("right")
    axes.grid(visible=False, axis="y")
    axes.set_ylabel(axis_label(METRICS["top1"]), loc="top")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value, "fraction")))
    ends = [(row.model, pd.Series([places[-1], row.cells[-1].cell.value])) for row in rows]
    name_at_the_right(axes, ends, styles)
    moved = [row.model.name for row in rows if any(cell.gained for cell in row.cells)]
    return Chart(
        name=f"{stem}-budgets",
        kind="budgets",
        track=table.track,
        title=title,
        alt=f"{title} ({', '.join(table.headings)}) for {len(rows)} networks; {len(moved)} change their place.",
        caption="",
        svg=save_svg(figure),
        png=save_png(figure),
    )
