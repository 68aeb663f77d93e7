"""The same networks under several budgets: which ranking each gives, because equal epochs, seconds and FLOPs differ."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.config import Budget, BudgetKind
from bench.quantity import measured
from bench.render.results.header import Model
from bench.render.results.table import Cell, Results

_EQUAL: dict[BudgetKind, str] = {
    "ep": "equal epochs",
    "kimg": "equal images",
    "s": "equal seconds",
    "pflop": "equal FLOPs",
}


@dataclass(frozen=True)
class BudgetCell:
    """An accuracy under one budget and its place among the networks that have one under every budget."""

    cell: Cell
    place: int | None
    gained: int  # places against the first budget; below zero: lost

    @property
    def accuracy(self) -> str:
        return measured(self.cell.value, self.cell.low, self.cell.high, "fraction") if self.cell.measured else "–"

    @property
    def standing(self) -> str:
        """Such as "3", "3, up 2", "3, down 1"; empty without a place; the status where there is no accuracy."""
        if not self.cell.measured:
            return self.cell.status
        if self.place is None:
            return ""
        moved = f", {'up' if self.gained > 0 else 'down'} {abs(self.gained)}" if self.gained else ""
        return f"{self.place}{moved}"


@dataclass(frozen=True)
class BudgetRow:
    model: Model
    cells: tuple[BudgetCell, ...]


@dataclass(frozen=True)
class BudgetTable:
    """The networks of one track and data set that were trained under several budgets."""

    track: str
    dataset: str
    budgets: tuple[str, ...]
    rows: tuple[BudgetRow, ...]  # by falling accuracy under the first budget
    agreement: tuple[str, ...]  # a sentence for each further budget

    @property
    def headings(self) -> tuple[str, ...]:
        """Such as "10ep (equal epochs)"."""
        kinds = [Budget.kind_of(budget) for budget in self.budgets]
        return tuple(
            f"{budget} ({_EQUAL[kind]})" if kind else budget for budget, kind in zip(self.budgets, kinds, strict=True)
        )


def budget_tables(results: Results) -> list[BudgetTable]:
    """One for each track and data set with accuracies under more than one budget."""
    views = {results.header.budget: results}
    views |= {budget: results.under(budget) for budget in results.header.other_budgets}
    found: dict[tuple[str, str], dict[str, dict[Model, Cell]]] = {}  # (track, data set) -> budget -> its accuracies
    for budget, view in views.items():
        for group in view.accuracy_groups():
            if group.budget == budget:
                cells = {model: view.cell(model, "top1") for model in group.models}
                found.setdefault((group.track, group.dataset), {})[budget] = cells
    return [
        _table(track, dataset, {budget: views[budget] for budget in by_budget}, by_budget)
        for (track, dataset), by_budget in found.items()
        if len(by_budget) > 1
    ]


def _table(
    track: str, dataset: str, views: Mapping[str, Results], by_budget: Mapping[str, Mapping[Model, Cell]]
) -> BudgetTable:
    first, *others = by_budget
    models = list(dict.fromkeys(itertools.chain(*by_budget.values())))
    complete = [model for model in models if all(model in cells for cells in by_budget.values())]
    ranked = complete if len(complete) > 1 else []
    places = {budget: _places({model: cells[model].value for model in ranked}) for budget, cells in by_budget.items()}

    def cell(model: Model, budget: str) -> BudgetCell:
        place = places[budget].get(model)
        gained = places[first][model] - place if place is not None else 0
        return BudgetCell(views[budget].cell(model, "top1"), place, gained)

    rows = [BudgetRow(model, tuple(cell(model, budget) for budget in by_budget)) for model in models]
    rows.sort(key=lambda row: -row.cells[0].cell.value if row.cells[0].cell.measured else 1.0)
    agreement = tuple(
        _agreement(first, other, [(by_budget[first][m].value, by_budget[other][m].value) for m in complete])
        for other in others
        if len(complete) > 2
    )
    return BudgetTable(track, dataset, tuple(by_budget), tuple(rows), agreement)


def _places(accuracies: Mapping[Model, float]) -> dict[Model, int]:
    """1 for the highest; equal accuracies share a place."""
    ordered = sorted(accuracies.values(), reverse=True)
    return {model: 1 + ordered.index(value) for model, value in accuracies.items()}


def _agreement(first: str, other: str, accuracies: Sequence[tuple[float, float]]) -> str:
    """How many pairs of networks keep their order; equal accuracies keep it if they stay equal."""
    pairs = list(itertools.combinations(accuracies, 2))
    alike = sum((a > b) == (c > d) and (a < b) == (c < d) for (a, c), (b, d) in pairs)
    return f"{first} and {other} order {alike} of {len(pairs)} pairs of networks alike."
