"""Does more depth make training harder, and do shortcuts cure it? The experiment of He et al. 2015, section 4.2."""

from __future__ import annotations

from bench.render.findings.ranking import difference
from bench.render.results.table import AccuracyGroup, Results
from bench.render.tables.subtitles import accuracy_conditions
from bench.stats.intervals import Difference

_SHALLOW, _DEEP = 20, 56  # layers
NETWORKS = tuple(f"{kind}{depth}_cifar" for kind in ("plain", "resnet") for depth in (_SHALLOW, _DEEP))


def degradation(results: Results) -> list[str]:
    """A sentence for each group that has an accuracy of all four networks, with what was seen and how sure it is."""
    return [
        _sentence(results, group)
        for group in results.accuracy_groups()
        if {model.name for model in group.models}.issuperset(NETWORKS)
    ]


def _sentence(results: Results, group: AccuracyGroup) -> str:
    plain, residual = (
        difference(results.cell(f"{kind}{_DEEP}_cifar", "top1"), results.cell(f"{kind}{_SHALLOW}_cifar", "top1"))
        for kind in ("plain", "resnet")
    )
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
    """ "4.1 percentage points below (95 % interval 2.9 to 5.3)"."""
    sign = -1 if found.value < 0 else 1
    low, high = sorted(100 * sign * end for end in found.interval)
    return (
        f"{100 * abs(found.value):.1f} percentage points {'below' if sign < 0 else 'above'} "
        f"(95 % interval {low:.1f} to {high:.1f})"
    )
