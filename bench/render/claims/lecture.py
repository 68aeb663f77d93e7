"""What the CS231n lecture on architectures says (slides of lecture 9 and notes 4), and the papers that it sums up."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from bench.quantity import ordinal
from bench.render.claims.setting import LECTURE, RESNETS, VGGS, Part, Setting, Test, percent, short, unknown
from bench.render.findings.ranking import difference

_NEAR_BEST = 0.85  # of the best accuracy: who is further off buys efficiency with accuracy
_POINT = 0.01  # accuracies that are closer than a percentage point pass for equal where nothing tells their noise


def _vgg_is_heaviest(at: Setting) -> list[Part]:
    """Parameters, operations and what training keeps are ranked apart: only the first two are memory of weights."""
    words = {"params": "parameters", "macs": "operations", "saved_activation_bytes": "activation memory"}
    parts = []
    for metric, what in words.items():
        ranked = _ranked(at, LECTURE, metric)
        if len({_family(at, name) for name in ranked}) < 3:
            parts.append(unknown(what, f"{what} of VGG and two other families of the chart"))
            continue
        first = ranked[0]
        other = next((name for name in ranked if _family(at, name) != "vgg"), first)
        shown = f"{at.said(first, metric)}" if _family(at, first) != "vgg" else f"{at.said(first, metric)}, then "
        if _family(at, first) == "vgg":
            shown += at.said(other, metric)
        else:
            shown += f", {at.said(next((n for n in ranked if _family(at, n) == 'vgg'), first), metric)}"
        parts.append(Part(what, _family(at, first) == "vgg", f"most {what}: {shown}"))
    return parts


def _googlenet_is_most_efficient(at: Setting) -> list[Part]:
    """Among networks near the best accuracy: the cheapest network is always efficient for what little it can do."""
    parts = []
    for metric, what, scale, unit in (
        ("params", "accuracy per parameter", 1e6, "million parameters"),
        ("macs", "accuracy per operation", 1e9, "GMAC"),
    ):
        names = at.having(LECTURE, "top1", metric)
        if at.name("googlenet") not in names or len(names) < 4:
            parts.append(unknown(what, "accuracy of GoogLeNet and three other networks of the chart"))
            continue
        best = max(at.value(name, "top1") for name in names)
        near = [name for name in names if at.value(name, "top1") >= _NEAR_BEST * best]
        rate = {name: 100 * at.value(name, "top1") / at.value(name, metric) * scale for name in names}
        order = sorted(near, key=lambda name: -rate[name])
        shown = ", ".join(f"{name} {short(rate[name])}" for name in _with(order[:2], at.name("googlenet")))
        top = max(names, key=lambda name: rate[name])
        apart = f" (of all, {top} {short(rate[top])})" if top not in near else ""
        evidence = f"accuracy points per {unit} ({at.accuracy_source}): {shown}{apart}"
        parts.append(Part(what, order[0] == at.name("googlenet"), evidence))
    return parts


def _alexnet_is_small_and_heavy(at: Setting) -> list[Part]:
    alexnet = at.name("alexnet")
    parts = []
    least = _ranked(at, LECTURE, "macs")[::-1]
    if alexnet in least and len(least) > 2:
        shown = ", ".join(at.said(name, "macs") for name in _with(least[:2], alexnet))
        parts.append(Part("little compute", least[0] == alexnet, f"fewest MACs: {shown}"))
    else:
        parts.append(unknown("little compute", "MACs of AlexNet and others"))
    resnets = _ranked(at, RESNETS, "params")
    if at.value("alexnet", "params") > 0 and resnets:
        holds = at.value("alexnet", "params") > at.value(resnets[0], "params")
        shown = f"parameters: {at.said('alexnet', 'params')}, {at.said(resnets[0], 'params')}"
        parts.append(Part("heavy weights", holds, shown + _saved_remark(at)))
    else:
        parts.append(unknown("heavy weights", "parameters of AlexNet and a ResNet"))
    worst = _ranked(at, LECTURE, "top1")[::-1]
    if alexnet in worst and len(worst) > 2:
        shown = ", ".join(at.said(name, "top1") for name in _with(worst[:2], alexnet))
        parts.append(Part("low accuracy", worst[0] == alexnet, f"lowest accuracy, {at.accuracy_source}: {shown}"))
    else:
        parts.append(unknown("low accuracy", "accuracies"))
    return parts


def _saved_remark(at: Setting) -> str:
    """That weights are not all of memory."""
    least = _ranked(at, LECTURE, "saved_activation_bytes")[::-1]
    if at.name("alexnet") not in least:
        return ""
    place = least.index(at.name("alexnet")) + 1
    lowest = "the lowest" if place == 1 else f"{ordinal(place)} lowest"
    saved = at.said("alexnet", "saved_activation_bytes")
    return f" (saved activations: {saved} per image, {lowest} of {len(least)})"


def _resnet_is_moderate_and_best(at: Setting) -> list[Part]:
    ranked = _ranked(at, LECTURE, "top1")
    if not ranked or not at.having(RESNETS, "top1") or len({_family(at, name) for name in ranked}) < 3:
        return [unknown("accuracy", "accuracies of ResNet and two other families of the chart")]
    other = next(name for name in ranked if _family(at, name) != "resnet")
    resnet = next(name for name in ranked if _family(at, name) == "resnet")
    best = sorted((resnet, other), key=ranked.index)
    shown = f"highest accuracy, {at.accuracy_source}: {', '.join(at.said(name, 'top1') for name in best)}"
    parts = [Part("accuracy", _family(at, ranked[0]) == "resnet", shown)]
    rate = {
        name: 1e8 * at.value(name, "top1") / at.value(name, "params") for name in at.having(LECTURE, "top1", "params")
    }
    vggs = [rate[name] for name in rate if _family(at, name) == "vgg"]
    resnets = {name: rate[name] for name in rate if _family(at, name) == "resnet"}
    googlenet = rate.get(at.name("googlenet"))
    if not vggs or not resnets or googlenet is None:
        return [*parts, unknown("moderate efficiency", "accuracy per parameter of VGG, GoogLeNet and ResNet")]
    outside = [name for name, each in resnets.items() if not max(vggs) < each < googlenet]
    shown = (
        f"accuracy points per million parameters: {short(min(resnets.values()))} to {short(max(resnets.values()))}, "
        "between VGG's "
        f"{short(max(vggs))} and GoogLeNet's {short(googlenet)}"
    )
    if outside:
        shown = shown.replace("between", "against") + f"; outside: {', '.join(outside)}"
    return [*parts, Part("moderate efficiency", not outside, shown)]


def _inception_v4_is_best(at: Setting) -> list[Part]:
    names = [name for name in at.all_having("top1") if name.split(":")[-1].startswith("inception_v4")]
    resnets = _ranked(at, RESNETS, "top1")
    if not names or not resnets:
        return [unknown("accuracy", "accuracy of an Inception-v4, which is not one of the suite's networks")]
    holds = at.value(names[0], "top1") > at.value(resnets[0], "top1")
    return [Part("accuracy", holds, f"{at.said(names[0], 'top1')}, {at.said(resnets[0], 'top1')}")]


# The slide's list, which is the network's: besides the outputs of convolutions and fully connected layers, the input
# and five poolings.
_VGG_POOLS = ((64, 112), (128, 56), (256, 28), (512, 14), (512, 7))
_VGG_BESIDE = 3 * 224**2 + sum(channels * size**2 for channels, size in _VGG_POOLS)


def _vgg16_totals(at: Setting) -> list[Part]:
    params, outputs = at.value("vgg16", "params"), at.value("vgg16", "activations")
    parts = [
        Part("138 M parameters", round(params / 1e6) == 138, f"{params:,.0f} parameters")
        if params > 0
        else unknown("138 M parameters", "parameters of VGG-16")
    ]
    if not outputs > 0:
        return [*parts, unknown("24 M activations", "activations of VGG-16")]
    total = outputs + _VGG_BESIDE
    shown = (
        f"{outputs:,.0f} outputs of convolutions and fully connected layers, {total:,.0f} with input and poolings, "
        f"or {total * 4 / 2**20:.1f} MiB"
    )
    return [*parts, Part("24 M activations, 96 MB", abs(total / 24e6 - 1) < 0.05, shown)]


def _googlenet_has_few_parameters(at: Setting) -> list[Part]:
    googlenet, alexnet = at.value("googlenet", "params"), at.value("alexnet", "params")
    if not googlenet > 0 or not alexnet > 0:
        return [unknown("parameters", "parameters of GoogLeNet and AlexNet")]
    ratio = alexnet / googlenet
    shown = f"{at.said('googlenet', 'params')}, {at.said('alexnet', 'params')}: {short(ratio)} times"
    return [
        Part("fewer than AlexNet", ratio > 1, shown),
        Part("5 million", 4.5e6 <= googlenet < 5.5e6, ""),
        Part("12 times", 11 <= ratio < 13, ""),
    ]


def _memory_early_parameters_late(at: Setting) -> list[Part]:
    known = at.layers.get(at.name("vgg16"))
    if known is None:
        return [unknown("layers", "layers of VGG-16 kept with this run")]
    outputs, params = known.thirds("activations"), known.thirds("params")
    if outputs is None or params is None:
        return [unknown("layers", "products in VGG-16")]
    linear = known.share("params", "Linear")
    values = known.rows["activations"][known.rows["macs"] > 0]
    two = float(values.iloc[:2].sum() / values.sum())
    early = (
        f"{percent(outputs[0])} of the outputs are of the first third of the layers ({percent(two)} of the first two)"
    )
    late = f"{percent(linear)} of the parameters are in fully connected layers"
    return [
        Part("memory in early convolutions", outputs[0] > 0.5, early),
        Part("parameters in late fully connected layers", linear > 0.5, late),
    ]


def _three_small_for_one_large(_: Setting) -> list[Part]:
    """Of C channels each: a receptive field of 7 with 3 * 3^2 C^2 weights instead of 7^2 C^2."""
    field, stacked, single = 1 + 3 * (3 - 1), 3 * 3**2, 7**2
    evidence = f"by arithmetic: field {field}, {stacked} C² against {single} C² weights, {stacked / single:.2f} times"
    return [Part("weights", field == 7 and stacked < single, evidence)]


# The slide's example: 28x28x256 in, branches of 128 1x1, 192 3x3, 96 5x5 and a pooling; bottlenecks 64 wide.
def _bottlenecks_save_operations(_: Setting) -> list[Part]:
    pixels, channels = 28 * 28, 256
    naive = pixels * channels * (128 + 192 * 9 + 96 * 25)
    single, three, five = pixels * channels * (128 + 3 * 64), pixels * 64 * 192 * 9, pixels * 64 * 96 * 25
    narrow = single + three + five
    twice = narrow + three
    evidence = f"by arithmetic on the example's layers: {naive / 1e6:.0f} M and {narrow / 1e6:.0f} M multiply-adds"
    if abs(twice / 358e6 - 1) < 0.01 and abs(narrow / 358e6 - 1) >= 0.01:
        evidence += f"; with its 3x3 branch counted twice it would be {twice / 1e6:.0f} M"
    return [
        Part("the 854 M", abs(naive / 854e6 - 1) < 0.01, evidence),
        Part("the saving", narrow < naive, f"{naive / narrow:.2g} times fewer"),
        Part("the 358 M", abs(narrow / 358e6 - 1) < 0.01, ""),
    ]


def _nin_needs_few_parameters(at: Setting) -> list[Part]:
    nin = at.value("nin", "params")
    parts = []
    for network in ("alexnet", "vgg16"):
        other = at.value(network, "params")
        if not nin > 0 or not other > 0:
            parts.append(unknown(f"against {network}", f"parameters of NiN and {network}"))
            continue
        shown = f"{at.said('nin', 'params')}, {at.said(network, 'params')}: {short(other / nin)} times"
        parts.append(Part(f"against {at.name(network)}", other / nin >= 5, shown))
    return parts


def _squeezenet_matches_alexnet(at: Setting) -> list[Part]:
    squeezed, alexnet = at.value("squeezenet1_0", "params"), at.value("alexnet", "params")
    parts = [unknown("50 times fewer parameters", "parameters of SqueezeNet and AlexNet")]
    if squeezed > 0 and alexnet > 0:
        ratio = alexnet / squeezed
        shown = f"{at.said('alexnet', 'params')}, {at.said('squeezenet1_0', 'params')}: {short(ratio)} times"
        shown += f", {squeezed * 4 / 2**20:.2g} MiB in fp32"
        macs = at.value("squeezenet1_0", "macs") / at.value("alexnet", "macs")
        shown += "" if math.isnan(macs) else f", at {short(macs)} times the MACs"
        parts = [Part("50 times fewer parameters", 45 <= ratio <= 55, shown)]
    return [*parts, _as_accurate(at, "squeezenet1_0", "alexnet"), Part("under 0.5 MB compressed", None, "")]


def _wide_beats_deep(at: Setting) -> list[Part]:
    wide, deep = ("wide_resnet50_2", "resnet152") if at.large else ("wide_resnet16_8_cifar", "resnet110_cifar")
    parts = [_more_accurate(at, wide, deep)]
    if at.having((wide, deep), "inference_images_per_s") != [wide, deep]:
        return [*parts, unknown("faster", f"throughput of {wide} and {deep}")]
    speed = "inference_images_per_s"
    shown = f"{at.said(wide, speed)}, {at.said(deep, speed)}"
    return [*parts, Part("faster", at.value(wide, speed) > at.value(deep, speed), shown)]


def _densenet_reuses_features(at: Setting) -> list[Part]:
    dense, deep = ("densenet201", "resnet101") if at.large else ("densenet_bc100_k12_cifar", "preact_resnet1001_cifar")
    if at.having((dense, deep), "params") != [dense, deep]:
        return [unknown("fewer parameters", f"parameters of {dense} and {deep}")]
    ratio = at.value(deep, "params") / at.value(dense, "params")
    shown = f"{at.said(dense, 'params')}, {at.said(deep, 'params')}: {short(ratio)} times"
    if at.having((dense, deep), "saved_activation_bytes") == [dense, deep]:
        saved = (at.said(dense, "saved_activation_bytes"), at.said(deep, "saved_activation_bytes"))
        shown += f" (saved activations per image: {saved[0]}, {saved[1]})"
    return [Part("fewer parameters", ratio >= 2, shown), _as_accurate(at, dense, deep)]


def _residuals_are_not_essential(at: Setting) -> list[Part]:
    fractal, residual = ("fractalnet34", "resnet34") if at.large else ("fractalnet20_cifar", "resnet110_cifar")
    return [_as_accurate(at, fractal, residual)]


def _stochastic_depth_trains_faster(at: Setting) -> list[Part]:
    dropped, whole = "stochastic_depth_resnet110_cifar", "resnet110_cifar"
    parts = []
    speed = "train_images_per_s"
    if at.having((dropped, whole), speed) == [dropped, whole]:
        ratio = at.value(dropped, speed) / at.value(whole, speed)
        shown = f"{at.said(dropped, speed)}, {at.said(whole, speed)}: {short(ratio)} times"
        parts.append(Part("faster training", ratio >= 1.15, shown))
    else:
        parts.append(unknown("faster training", f"training throughput of {dropped} and {whole}"))
    if at.having((dropped, whole), "macs", "params") == [dropped, whole]:
        same = all(at.value(dropped, metric) == at.value(whole, metric) for metric in ("macs", "params"))
        shown = f"MACs: {at.said(dropped, 'macs')}, {at.said(whole, 'macs')}"
        parts.append(Part("the whole network at inference", same, shown))
    else:
        parts.append(unknown("the whole network at inference", f"MACs of {dropped} and {whole}"))
    return parts


def _ranked(at: Setting, networks: Sequence[str], metric: str) -> list[str]:
    """Those that have the metric, the largest first."""
    return sorted(at.having(networks, metric), key=lambda name: -at.value(name, metric))


def _family(at: Setting, name: str) -> str:
    return "vgg" if at.among([name], VGGS) else "resnet" if at.among([name], RESNETS) else name


def _with(names: Sequence[str], name: str) -> list[str]:
    """Some names and another, once."""
    return list(dict.fromkeys([*names, name]))


def _as_accurate(at: Setting, network: str, other: str) -> Part:
    """No worse than the other by what a test can tell, or by a percentage point where there is nothing to test."""
    if len(at.having((network, other), "top1")) < 2:
        return unknown("accuracy", f"accuracy of {at.name(network)} and {at.name(other)}")
    holds = at.value(network, "top1") > at.value(other, "top1") - _POINT or _gap(at, network, other)[1] >= 0
    return Part("accuracy", holds, _both(at, network, other))


def _more_accurate(at: Setting, network: str, other: str) -> Part:
    if len(at.having((network, other), "top1")) < 2:
        return unknown("accuracy", f"accuracy of {at.name(network)} and {at.name(other)}")
    return Part("accuracy", at.value(network, "top1") > at.value(other, "top1"), _both(at, network, other))


def _both(at: Setting, network: str, other: str) -> str:
    low, high = _gap(at, network, other)
    unsure = ", not significantly different" if low < 0 < high else ""
    return f"accuracy, {at.accuracy_source}: {at.said(network, 'top1')}, {at.said(other, 'top1')}{unsure}"


def _gap(at: Setting, network: str, other: str) -> tuple[float, float]:
    """Interval of the first accuracy minus the second; nan where nothing is known of their noise."""
    found = difference(at.cell(network, "top1"), at.cell(other, "top1"))
    return found.interval if found else (math.nan, math.nan)


TESTS: Mapping[str, Test] = {
    "S1": _vgg_is_heaviest,
    "S2": _googlenet_is_most_efficient,
    "S3": _alexnet_is_small_and_heavy,
    "S4": _resnet_is_moderate_and_best,
    "S5": _inception_v4_is_best,
    "S6": _vgg16_totals,
    "S7": _googlenet_has_few_parameters,
    "S8": _memory_early_parameters_late,
    "S9": _three_small_for_one_large,
    "S10": _bottlenecks_save_operations,
    "S11": _nin_needs_few_parameters,
    "S12": _squeezenet_matches_alexnet,
    "S13": _wide_beats_deep,
    "S14": _densenet_reuses_features,
    "S14b": _residuals_are_not_essential,
    "S15": _stochastic_depth_trains_faster,
}
