"""What a cost buys: the Pareto front of accuracy, and whether MACs predict the time of an image."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.metrics import Metric
from bench.quantity import listing, quantity
from bench.render.results.header import Model
from bench.render.results.table import Results
from bench.stats.intervals import rank_correlation


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


FAR = 3.0  # times slower or faster per MAC than the median network: too far for MACs to predict
_NAMED = 3  # outliers of each kind


@dataclass(frozen=True)
class Work:
    networks: int
    correlation: float  # Spearman's, of MACs and time per image
    ms_per_mac: float  # of the median network
    outliers: tuple[tuple[str, float], ...]  # networks and their time per MAC over the median's, slowest first

    @property
    def correlation_sentence(self) -> str:
        return (
            f"MACs and time per image have a rank correlation of {self.correlation:.2f} over {self.networks} networks."
        )

    @property
    def outlier_sentence(self) -> str:
        """The networks that are furthest off, slow and fast ones; empty where all are near."""
        slow = [pair for pair in self.outliers if pair[1] > 1][:_NAMED]
        fast = [pair for pair in reversed(self.outliers) if pair[1] < 1][:_NAMED]
        named = [f"{name} takes {quantity(ratio, 'times', 2)} times" for name, ratio in slow + fast]
        heading = "Outlier" if len(named) == 1 else "Outliers"
        return f"{heading}: {listing(named)} as long per MAC as the median network." if named else ""


def work_and_time(results: Results, models: Sequence[Model]) -> Work | None:
    """How MACs and time of inference go together, over networks that have both; None for fewer than three."""
    if len(models) < 3:
        return None
    macs = [results.cell(model, "macs").value for model in models]
    ms = [ms_per_image(results, model)[1] for model in models]
    per_mac = [time / count for time, count in zip(ms, macs, strict=True)]
    middle = statistics.median(per_mac)
    ratios = sorted(
        ((model.name, rate / middle) for model, rate in zip(models, per_mac, strict=True)), key=lambda pair: -pair[1]
    )
    far = tuple((name, ratio) for name, ratio in ratios if not 1 / FAR <= ratio <= FAR)
    return Work(len(models), rank_correlation(macs, ms), middle, far)


def ms_per_image(results: Results, model: Model) -> tuple[float, float, float]:
    """Milliseconds of inference per image at the common batch: lower limit, value, upper limit."""
    cell = results.cell(model, "inference_images_per_s")
    fastest, slowest = (cell.high, cell.low) if cell.has_interval else (cell.value, cell.value)
    return 1e3 / fastest, 1e3 / cell.value, 1e3 / slowest
