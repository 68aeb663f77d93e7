"""Which differences of accuracy are significant, how ranks change from budget to budget, and what a cost buys."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bench.config import Budget, BudgetKind
from bench.metrics import METRICS, Metric
from bench.render.results import AccuracyGroup, Cell, Results
from bench.render.results.networks import Model
from bench.render.tables import Column, Row, Table, TextCell, accuracy_conditions, text_cell
from bench.stats import Difference, holm, mean_difference, share_difference

FAMILY_ERROR = 0.05  # how often, at most, a ranking of equal networks may find any difference significant


@dataclass(frozen=True)
class Ranked:
    """A network, its rank by accuracy (equal accuracies share one), and how it stands to the next one below."""

    rank: int
    model: Model
    cell: Cell
    p_value: float | None  # corrected for the number of neighbours; None for the last network

    @property
    def differs_from_next(self) -> bool:
        return self.p_value is not None and self.p_value < FAMILY_ERROR

    @property
    def verdict(self) -> str:
        """How it stands to the next one, in words; empty for the last network."""
        if self.p_value is None:
            return ""
        chance = "p < 0.001" if self.p_value < 0.001 else f"p = {self.p_value:.2g}"
        return f"ahead ({chance})" if self.differs_from_next else f"not significant ({chance})"


@dataclass(frozen=True)
class Ranking:
    """The networks of one track, data set and budget by falling accuracy."""

    group: AccuracyGroup
    conditions: str
    ranked: tuple[Ranked, ...]
    method: str  # which test, and what it does not know

    @property
    def clusters(self) -> tuple[tuple[Ranked, ...], ...]:
        """Cut wherever two neighbours differ significantly. Within a cluster only neighbours were compared."""
        clusters: list[list[Ranked]] = [[]]
        for ranked in self.ranked:
            clusters[-1].append(ranked)
            if ranked.differs_from_next:
                clusters.append([])
        return tuple(tuple(cluster) for cluster in clusters if cluster)


def rankings(results: Results) -> list[Ranking]:
    """One for each group of at least two networks whose accuracies may be compared."""
    return [_ranking(results, group) for group in results.accuracy_groups() if len(group.models) > 1]


def difference(first: Cell, second: Cell) -> Difference | None:
    """First accuracy minus second: over seeds where both have several, else over the images of the test set.

    None where one has a single seed and nothing is known of its test images.
    """
    trials = first.trials, second.trials
    if all(len(cell.records) > 1 for cell in (first, second)):
        values = [[row.value for row in cell.records if row.value is not None] for cell in (first, second)]
        return mean_difference(values[0], values[1], resolution=1 / max(trials[0] or 10_000, trials[1] or 10_000))
    if trials[0] is None or trials[1] is None:
        return None
    return share_difference(first.value, trials[0], second.value, trials[1])


def neighbour_p_values(cells: Sequence[Cell]) -> list[float]:
    """Of each accuracy against the next one, corrected for their number; 1 where there is nothing to test."""
    found = [difference(above, below) for above, below in itertools.pairwise(cells)]
    return holm([1.0 if known is None else known.p_value for known in found])


def _ranking(results: Results, group: AccuracyGroup) -> Ranking:
    cells = {model: results.cell(model, "top1") for model in group.models}
    ordered = sorted(group.models, key=lambda model: -cells[model].value)
    corrected = neighbour_p_values([cells[model] for model in ordered])
    values = [cells[model].value for model in ordered]
    ranked = tuple(
        Ranked(_rank(values, cells[model].value), model, cells[model], p_value)
        for model, p_value in zip(ordered, [*corrected, None], strict=True)
    )
    method = _method([len(cells[model].records) for model in ordered])
    return Ranking(group, accuracy_conditions(results, group), ranked, method)


def _method(seeds: Sequence[int]) -> str:
    welch = "Welch's t-test over the seeds, which are independent trainings"
    images = (
        "a test of two proportions over the test images; it does not know how much another seed would change an "
        "accuracy, so its verdicts are on these trained networks only (--seeds 3 tests the training too)"
    )
    if min(seeds) > 1:
        words = welch
    elif max(seeds) == 1:
        words = images
    else:
        words = f"{welch}, where both have several; else {images}"
    return (
        f"Each network against the next one below: {words}. p-values are corrected for the number of neighbours "
        "(Holm): if all networks were equally good, at most one ranking in twenty would find any difference "
        "significant."
    )


_SHALLOW, _DEEP = 20, 56  # layers
DEPTH_NETWORKS = tuple(f"{kind}{depth}_cifar" for kind in ("plain", "resnet") for depth in (_SHALLOW, _DEEP))


def degradation(results: Results) -> list[str]:
    """A sentence for each group that has an accuracy of all four networks, with what was seen and how sure it is."""
    return [
        _degradation(results, group)
        for group in results.accuracy_groups()
        if {model.name for model in group.models}.issuperset(DEPTH_NETWORKS)
    ]


def depth_gaps(results: Results) -> list[Difference | None]:
    """What 56 layers have more of accuracy than 20: of the plain networks, then of the ResNets."""
    return [
        difference(results.cell(f"{kind}{_DEEP}_cifar", "top1"), results.cell(f"{kind}{_SHALLOW}_cifar", "top1"))
        for kind in ("plain", "resnet")
    ]


def _degradation(results: Results, group: AccuracyGroup) -> str:
    plain, residual = depth_gaps(results)
    if plain is None or residual is None:
        return f"Degradation with depth cannot be judged: the number of test images is unknown ({group.dataset})."
    if _below_zero(plain):
        verdict = "Degradation with depth is seen"
        verdict += ", in the residual networks too" if _below_zero(residual) else ", and not in the residual networks"
    elif _below_zero(residual):
        verdict = "Degradation with depth is seen in the residual networks alone"
    else:
        verdict = "No degradation with depth is seen"
    return (
        f"{verdict}: plain-{_DEEP} is {_points(plain)} plain-{_SHALLOW}, ResNet-{_DEEP} is {_points(residual)} "
        f"ResNet-{_SHALLOW} ({accuracy_conditions(results, group)})."
    )


def _below_zero(found: Difference) -> bool:
    return found.interval[1] < 0


def _points(found: Difference) -> str:
    """Such as "4.1 percentage points below (95 % interval 2.9 to 5.3)"."""
    sign = -1 if found.value < 0 else 1
    low, high = sorted(100 * sign * end for end in found.interval)
    return (
        f"{100 * abs(found.value):.1f} percentage points {'below' if sign < 0 else 'above'} "
        f"(95 % interval {low:.1f} to {high:.1f})"
    )


_EQUAL: dict[BudgetKind | None, str] = {
    "ep": "equal epochs",
    "kimg": "equal images",
    "s": "equal seconds",
    "pflop": "equal FLOPs",
}


@dataclass(frozen=True)
class BudgetTable:
    """The networks of one track and data set that were trained under several budgets."""

    track: str
    dataset: str
    table: Table  # a column for each budget, with ranks; by falling accuracy under the first budget
    agreement: tuple[str, ...]  # a sentence for each further budget


def budget_tables(results: Results) -> list[BudgetTable]:
    """One for each track and data set with accuracies under more than one budget."""
    views = {results.header.budget: results}
    views |= {budget: results.under(budget) for budget in results.header.other_budgets}
    found: dict[tuple[str, str], dict[str, tuple[Model, ...]]] = {}  # (track, data set) -> budget -> who was trained
    for budget, view in views.items():
        for group in view.accuracy_groups():
            if group.budget == budget:
                found.setdefault((group.track, group.dataset), {})[budget] = group.models
    return [
        _budget_table(track, dataset, {budget: views[budget] for budget in trained}, trained)
        for (track, dataset), trained in found.items()
        if len(trained) > 1
    ]


def _budget_table(
    track: str, dataset: str, views: Mapping[str, Results], trained: Mapping[str, Sequence[Model]]
) -> BudgetTable:
    complete = [model for model in trained[next(iter(views))] if all(model in own for own in trained.values())]
    top1 = {budget: [view.cell(model, "top1").value for model in complete] for budget, view in views.items()}
    first, *others = top1

    def cell(model: Model, budget: str) -> TextCell:
        """Its rank among those that have an accuracy under every budget, such as "3, up 2", stands beside it."""
        text = text_cell(views[budget], model, METRICS["top1"])
        if model not in complete or len(complete) < 2:
            return replace(text, aside="")
        before, now = (_rank(top1[each], top1[each][complete.index(model)]) for each in (first, budget))
        moved = f", {'up' if now < before else 'down'} {abs(before - now)}" if now != before else ""
        return replace(text, aside=f"{now}{moved}", rank=(now, len(complete)))

    rows = [
        Row(model, tuple(cell(model, each) for each in views))
        for model in dict.fromkeys(itertools.chain(*trained.values()))
    ]
    rows.sort(key=lambda row: 1.0 if row.cells[0].order is None else -row.cells[0].order)
    columns = tuple(Column(each, each, _EQUAL.get(Budget.kind_of(each), "")) for each in views)
    pairs = {other: list(zip(top1[first], top1[other], strict=True)) for other in others if len(complete) > 2}
    agreement = tuple(_agreement(first, other, both) for other, both in pairs.items())
    return BudgetTable(track, dataset, Table("", columns, tuple(rows)), agreement)


def _rank(values: Sequence[float], value: float) -> int:
    """1 for the highest; equal values share a rank."""
    return 1 + sum(other > value for other in values)


def _agreement(first: str, other: str, accuracies: Sequence[tuple[float, float]]) -> str:
    """How many pairs of networks keep their order; equal accuracies keep it if they stay equal."""
    pairs = list(itertools.combinations(accuracies, 2))
    alike = sum((a > b) == (c > d) and (a < b) == (c < d) for (a, c), (b, d) in pairs)
    return f"{first} and {other} order {alike} of {len(pairs)} pairs of networks alike."


def pareto_front(
    cost: Sequence[float], accuracy: Sequence[float], cost_better: Literal["lower", "higher"] = "lower"
) -> list[int]:
    """Indices of the pairs that no other pair matches in both and beats in one, by rising cost.

    Equal pairs are all on the front, or none is. "higher" is for throughputs, where more is better.
    """
    sign = 1 if cost_better == "lower" else -1
    pairs = [(sign * c, -a) for c, a in zip(cost, accuracy, strict=True)]
    front = [
        index
        for index, (c, a) in enumerate(pairs)
        if not any(oc <= c and oa <= a and (oc, oa) != (c, a) for oc, oa in pairs)
    ]
    return sorted(front, key=lambda index: (cost[index], accuracy[index]))


def accuracy_front(results: Results, models: Sequence[Model], cost: Metric) -> list[int]:
    """Indices of the networks on the front of accuracy against a metric, by rising cost.

    A network that is no better than chance, or whose cost is a lower bound or not reliable, is on no front, however
    cheap it is. All models must have both values.
    """
    telling = [
        index
        for index, model in enumerate(models)
        if not results.at_chance(model) and results.cell(model, cost.name).competes
    ]
    front = pareto_front(
        [results.cell(models[index], cost.name).value for index in telling],
        [results.cell(models[index], "top1").value for index in telling],
        cost_better=cost.better or "lower",
    )
    return [telling[index] for index in front]
