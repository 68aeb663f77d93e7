"""Which networks no other beats in both cost and accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from bench.metrics import Metric
from bench.render.results.header import Model
from bench.render.results.table import Results


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

    A network that cannot be told from guessing is on no front, however cheap it is. All models must have both
    values.
    """
    telling = [index for index, model in enumerate(models) if not results.at_chance(model)]
    front = pareto_front(
        [results.cell(models[index], cost.name).value for index in telling],
        [results.cell(models[index], "top1").value for index in telling],
        cost_better=cost.better or "lower",
    )
    return [telling[index] for index in front]
