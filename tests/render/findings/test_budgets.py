"""The same networks under several budgets: places, how they move, and tables that stay those of the first budget."""

from __future__ import annotations

import csv
import io

import numpy as np

from bench.render.charts.frame import style
from bench.render.charts.lines import budget_chart
from bench.render.findings.problems import problems
from bench.render.findings.ranking import budget_tables
from bench.render.page.html import write_html
from bench.render.page.markdown import write_markdown
from bench.render.results import Results, read_results, to_table, write_csv
from tests.render.conftest import RunBuilder, bad, kept_figures, listed, training

# name -> accuracy after ten epochs and after a minute: the cheap network gains by equal seconds.
ACCURACIES = {"deep_cifar": (0.80, 0.40), "middle_cifar": (0.70, 0.50), "cheap_cifar": (0.60, 0.60)}


def two_budgets(build: RunBuilder, *extra: object) -> Results:
    rows = [
        row
        for name, accuracies in ACCURACIES.items()
        for budget, top1 in zip(("10ep", "60s"), accuracies, strict=True)
        for row in training(name, top1, budget=budget)
    ]
    models = [listed(name, name, 2015, "cifar") for name in (*ACCURACIES, "late_cifar")]
    return read_results(build(models, [*rows, *extra], budget="10ep", other_budgets=["60s"]))


def test_places_move_with_the_budget(build: RunBuilder) -> None:
    (table,) = budget_tables(two_budgets(build))
    assert table.headings == ("10ep (equal epochs)", "60s (equal seconds)")
    assert [(row.model.name, *(cell.standing for cell in row.cells)) for row in table.rows] == [
        ("deep_cifar", "1", "3, down 2"),
        ("middle_cifar", "2", "2"),
        ("cheap_cifar", "3", "1, up 2"),
    ]
    assert table.agreement == ("10ep and 60s order 0 of 3 pairs of networks alike.",)


def test_tables_are_those_of_the_first_budget(build: RunBuilder) -> None:
    results = two_budgets(build)
    rows = {row["model"]: row for row in csv.DictReader(io.StringIO(write_csv(to_table(results))))}
    assert len(rows) == 4
    assert (rows["deep_cifar"]["top1"], rows["deep_cifar"]["budget"]) == ("0.8", "10ep")
    assert [group.budget for group in results.accuracy_groups()] == ["10ep"]
    assert results.under("60s").cell("deep_cifar", "top1").value == 0.4


def test_a_network_that_failed_under_one_budget_has_no_place_and_says_so(build: RunBuilder) -> None:
    facts = {"dataset": "cifar10", "budget": "60s"}
    results = two_budgets(
        build, *training("late_cifar", 0.9, budget="10ep"), bad("late_cifar", "top1", "timeout", "slow", **facts)
    )
    (table,) = budget_tables(results)
    late = table.rows[0]
    assert (late.model.name, late.cells[0].place, late.cells[0].standing) == ("late_cifar", None, "")
    assert (late.cells[1].accuracy, late.cells[1].standing) == ("–", "timeout")
    assert [row.cells[0].place for row in table.rows[1:]] == [1, 2, 3]
    assert [(remark.models, remark.probes) for remark in problems(results) if remark.status == "timeout"] == [
        (("late_cifar",), ("accuracy under 60s",))
    ]
    # Its failure under another budget does not mark the row of the first.
    assert results.cell("late_cifar", "top1").status == "ok"
    assert to_table(results).set_index("model").status["late_cifar"] == "ok"


def test_one_budget_has_no_such_table(build: RunBuilder) -> None:
    rows = [*training("deep_cifar", 0.8), *training("cheap_cifar", 0.6)]
    results = read_results(build([listed(name, name, 2015, "cifar") for name in ("deep_cifar", "cheap_cifar")], rows))
    assert budget_tables(results) == []
    assert "other budgets" not in write_html(results, [], [])


def test_a_line_per_network_crosses_others_where_places_change(build: RunBuilder) -> None:
    results = two_budgets(build)
    (table,) = budget_tables(results)
    with style(), kept_figures() as kept:
        chart = budget_chart(results, table)
    assert chart is not None
    assert chart.alt.endswith("for 3 networks; 2 change their place.")
    (axes,) = kept[0].axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["10ep (equal epochs)", "60s (equal seconds)"]
    drawn = [tuple(np.asarray(line.get_ydata(), dtype=float)) for line in axes.lines]
    assert sorted(drawn) == sorted(ACCURACIES.values())
    assert {text.get_text() for text in axes.texts} >= {"deep", "middle", "cheap"}


def test_page_and_markdown_show_the_table_and_the_ranking(build: RunBuilder) -> None:
    results = two_budgets(build)
    for text in (write_html(results, [], []), write_markdown(results, [], [])):
        assert "under other budgets" in text
        assert "1, up 2" in text
        assert "order 0 of 3 pairs" in text
        assert "Which differences are significant" in text
        assert "ahead (p &lt; 0.001)" in text
