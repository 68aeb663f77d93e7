"""What Canziani, Paszke and Culurciello 2016 (arXiv:1605.07678) say of power, time, memory and accuracy.

Versions 1 and 2 (2016) and versions 3 and 4 (2017) differ in their claims; each source says which one it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bench.render.claims import (
    LECTURE,
    VGGS,
    Part,
    Setting,
    Test,
    amount,
    coefficient_of_variation,
    lacking,
    percent,
    short,
    unknown,
)
from bench.render.findings.machine import work_and_time
from bench.render.findings.ranking import pareto_front
from bench.stats import rank_correlation

_ENOUGH = 6  # networks, below which no relationship is judged
_FEW_IMAGES = 4  # the largest batch at which weights can be seen in the memory of inference
_STEADY = 0.1  # coefficient of variation of what is called constant
_RELIABLE = 0.8  # rank correlation of an estimate that is called reliable
_TIME = "throughput of inference"


def _power_is_constant(at: Setting) -> list[Part]:
    names = at.all_having("energy_joules_per_image", "inference_images_per_s")
    if len(names) < _ENOUGH:
        return [
            unknown("architecture", "power draw of six networks"),
            unknown("batch size", "power at several batch sizes"),
        ]
    watts = {name: at.watts(name) for name in names}
    low, high = min(watts, key=lambda n: watts[n]), max(watts, key=lambda n: watts[n])
    spread = coefficient_of_variation(list(watts.values()))
    shown = (
        f"energy times throughput of {len(names)} networks varies by {percent(spread)} (standard deviation over "
        f"mean), from {low} {watts[low]:.0f} W to {high} {watts[high]:.0f} W"
    )
    return [Part("architecture", spread < _STEADY, shown), unknown("batch size", "power at several batch sizes")]


def _accuracy_is_hyperbolic_in_time(at: Setting) -> list[Part]:
    """On the Pareto front: accuracy = a - b / time against accuracy = a + b * time, by what each leaves over."""
    time, top1, names = _front_of_time(at)
    if len(names) < 4:
        return [unknown("hyperbola", f"{_TIME} and accuracy of enough networks")]
    left = {}
    slopes = {}
    for words, x in (("hyperbola", 1 / time), ("line", time)):
        columns = np.column_stack([np.ones_like(x), x])
        solved = np.linalg.lstsq(columns, top1, rcond=None)[0]
        left[words], slopes[words] = float(np.sqrt(np.mean((columns @ solved - top1) ** 2))), float(solved[1])
    shown = (
        f"accuracy ({at.accuracy_source}) against ms per image of the {len(names)} networks on the Pareto front: a "
        f"hyperbola leaves residuals of {100 * left['hyperbola']:.2g} percentage points, a line "
        f"of {100 * left['line']:.2g}"
    )
    return [Part("hyperbola", left["hyperbola"] < left["line"] and slopes["hyperbola"] < 0, shown)]


def _energy_bounds_accuracy(at: Setting) -> list[Part]:
    parts = []
    for metric, words in (("top1", "accuracy"), ("macs", "complexity")):
        names = at.all_having("energy_joules_per_image", metric)
        if len(names) < _ENOUGH:
            parts.append(unknown(words, f"energy and {words} of six networks"))
            continue
        energy = [at.value(name, "energy_joules_per_image") for name in names]
        found = rank_correlation(energy, [at.value(name, metric) for name in names])
        shown = f"rank correlation of energy per image and {words}: {found:.2f} over {len(names)} networks"
        parts.append(Part(words, found >= _RELIABLE, shown))
    return parts


def _operations_tell_time(at: Setting) -> list[Part]:
    found = work_and_time(at.results, at.models)
    if found is None or found.networks < _ENOUGH:
        return [unknown("estimate", f"{_TIME} of six networks")]
    outliers = ", ".join(name for name, _ in found.outliers)
    shown = f"{found.correlation_sentence} {found.outlier_sentence}".strip().rstrip(".")
    order = Part("order of the networks", found.correlation >= _RELIABLE, shown)
    return [order, Part(f"the time per MAC of {outliers}", False, "")] if outliers else [order]


def _information_density(at: Setting) -> list[Part]:
    networks = ("googlenet", "alexnet", "vgg16")
    if not at.has_all(networks, "top1", "params"):
        return [lacking(at, "ratios", "accuracy or parameters", networks, "top1", "params")]
    density = {name: 1e8 * at.value(name, "top1") / at.value(name, "params") for name in networks}
    parts = []
    for other, said, low, high in (("alexnet", 10, 9, 13), ("vgg16", 20, 17, 23)):
        ratio = density["googlenet"] / density[other]
        shown = (
            f"accuracy points per million parameters ({at.accuracy_source}): {at.name('googlenet')} "
            f"{short(density['googlenet'])}, "
            f"{at.name(other)} {short(density[other])}, {short(ratio)} times"
        )
        parts.append(Part(f"{said} times {other}", low <= ratio <= high, shown))
    return parts


def _enet_density(at: Setting) -> list[Part]:
    return [unknown("ratios", "ENet among the suite's networks")]


def _memory_follows_weights(at: Setting) -> list[Part]:
    names = [
        name
        for name in at.all_having("peak_inference_bytes", "params")
        if (at.cell(name, "peak_inference_bytes").batch_size or 1) <= _FEW_IMAGES
    ]
    if len(names) < _ENOUGH:
        return [unknown("line", f"memory of inference of six networks at a batch of {_FEW_IMAGES} or fewer")]
    weights = np.array([4 * at.value(name, "params") for name in names])
    memory = np.array([at.value(name, "peak_inference_bytes") for name in names])
    slope, constant = np.polyfit(weights, memory, 1)
    explained = float(np.corrcoef(weights, memory)[0, 1] ** 2)
    predicted = any(at.cell(name, "peak_inference_bytes").predicted for name in names)
    shown = (
        f"peak memory{' (predicted)' if predicted else ''} of {len(names)} networks = "
        f"{amount(max(float(constant), 0), 'peak_inference_bytes')} + {slope:.2f} × fp32 weights, which explains "
        f"{percent(explained)}"
    )
    return [Part("line", explained >= 0.9, shown), Part("slope of one or more", float(slope) >= 1, "")]


def _large_batches_help_fully_connected(at: Setting) -> list[Part]:
    """Images per second at the common batch over those of single images."""
    names = [
        name
        for name in at.having(LECTURE, "inference_images_per_s", "latency_ms")
        if (at.cell(name, "inference_images_per_s").batch_size or 0) >= 16
    ]
    vggs = at.among(names, VGGS)
    if at.name("alexnet") not in names or not vggs or len(names) < 4:
        return [unknown("gain", "throughput at a batch of 16 or more and latency of AlexNet, VGG and two others")]
    gain = {name: at.value(name, "inference_images_per_s") * at.value(name, "latency_ms") / 1e3 for name in names}
    batch = at.cell(names[0], "inference_images_per_s").batch_size
    order = sorted(names, key=lambda name: -gain[name])
    named = dict.fromkeys([*order[:3], at.name("alexnet"), vggs[0]])
    shown = f"images per second at batch {batch} over batch 1: "
    shown += ", ".join(f"{name} {short(gain[name])}" for name in named)
    return [
        Part("AlexNet's gain as the largest", order[0] == at.name("alexnet"), shown),
        Part("VGG's smaller gain", gain[at.name("alexnet")] > max(gain[name] for name in vggs), ""),
    ]


def _order_of_time(at: Setting) -> list[Part]:
    names = _at_common_batch(at, at.having(LECTURE, "inference_images_per_s"))
    vggs = at.among(names, VGGS)
    if at.name("alexnet") not in names or not vggs or len(names) < 4:
        return [unknown("order", f"{_TIME} of AlexNet, VGG and two other networks of the chart")]
    ms = {name: at.ms_per_image(name) for name in names}
    order = sorted(names, key=lambda name: ms[name])
    slow, fast = order[-1], order[0]
    return [
        Part("VGG as the slowest", slow in vggs, f"most ms per image: {slow} {short(ms[slow])}"),
        Part("AlexNet as the fastest", fast == at.name("alexnet"), f"fewest: {fast} {short(ms[fast])}"),
    ]


def _accuracy_falls_with_throughput(at: Setting) -> list[Part]:
    time, top1, names = _front_of_time(at)
    if len(names) < 4:
        return [unknown("line", f"{_TIME} and accuracy of enough networks")]
    found = float(np.corrcoef(1 / time, top1)[0, 1])
    shown = f"correlation of images per second and accuracy on the Pareto front: {found:.2f} ({len(names)} networks)"
    return [Part("line", found <= -0.9, f"{shown}, {at.accuracy_source}")]


def _vgg_is_dominated(at: Setting) -> list[Part]:
    names = at.all_having("top1", "macs", "params")
    vggs = at.among(names, VGGS)
    if not vggs or len(names) == len(vggs):
        return [unknown("VGG", "accuracy, MACs and parameters of VGG and others")]
    parts = []
    for vgg in vggs:
        better = [
            name
            for name in names
            if at.value(name, "top1") > at.value(vgg, "top1")
            and all(at.value(name, metric) < at.value(vgg, metric) for metric in ("macs", "params"))
        ]
        shown = (
            f"{_all_three(at, vgg)}; {_all_three(at, better[0])}"
            if better
            else f"no network beats {_all_three(at, vgg)}"
        )
        parts.append(Part(vgg, bool(better), shown if vgg == vggs[-1] or not better else ""))
    return parts


# Operations in units of 10^9 as the paper's figure shows them, read off by eye: a range each.
_FIGURE = {"vgg19": (37, 41), "resnet152": (21, 25), "googlenet": (2.5, 3.5), "alexnet": (1.3, 2.1)}


def _operations_are_twice_macs(at: Setting) -> list[Part]:
    parts = []
    for name, (low, high) in _FIGURE.items():
        operations = 2 * at.value(name, "macs") / 1e9
        if not operations > 0:
            parts.append(unknown(name, f"MACs of {name}"))
            continue
        parts.append(Part(name, low <= operations <= high, f"{name} {short(operations)} G (figure: {low} to {high})"))
    return parts


def _front_of_time(at: Setting) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Milliseconds per image and accuracy of the networks that none beats in both; nothing with too few networks."""
    names = _at_common_batch(at, at.all_having("inference_images_per_s", "top1"))
    time = np.array([at.ms_per_image(name) for name in names])
    top1 = np.array([at.value(name, "top1") for name in names])
    front = pareto_front(time.tolist(), top1.tolist()) if len(names) >= _ENOUGH else []
    return time[front], top1[front], [names[index] for index in front]


def _at_common_batch(at: Setting, names: Sequence[str]) -> list[str]:
    return [name for name in names if at.cell(name, "inference_images_per_s").asked_batch_size is None]


def _all_three(at: Setting, name: str) -> str:
    numbers: Sequence[str] = [amount(at.value(name, metric), metric) for metric in ("top1", "macs", "params")]
    return f"{name} {numbers[0]} ({at.accuracy_source}), {numbers[1]} MACs, {numbers[2]} parameters"


TESTS: Mapping[str, Test] = {
    "C1": _power_is_constant,
    "C2": _accuracy_is_hyperbolic_in_time,
    "C3": _energy_bounds_accuracy,
    "C4": _operations_tell_time,
    "C5": _information_density,
    "C5b": _enet_density,
    "C6": _memory_follows_weights,
    "C7": _large_batches_help_fully_connected,
    "C8": _order_of_time,
    "C9": _accuracy_falls_with_throughput,
    "C10": _vgg_is_dominated,
    "C11": _operations_are_twice_macs,
}
