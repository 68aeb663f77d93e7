"""What the CS231n lecture (slides of lecture 9, notes 4), the papers that it sums up, and two tutorials say.

The tutorials are on residual networks and on a first convolutional network, with the layer sizes of LeNet-5.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

from bench.quantity import ordinal
from bench.render.claims import LECTURE, RESNETS, VGGS, Part, Setting, Test, amount, lacking, percent, short, unknown
from bench.render.findings.ranking import DEPTH_NETWORKS, depth_gaps, difference

_NEAR_BEST = 0.85  # of the best accuracy: a network further off buys efficiency with accuracy
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
        is_vgg = [_family(at, name) == "vgg" for name in ranked]
        other = ranked[is_vgg.index(not is_vgg[0]) if len(set(is_vgg)) > 1 else 0]
        shown = f"{at.said(ranked[0], metric)}, {'then ' if is_vgg[0] else ''}{at.said(other, metric)}"
        parts.append(Part(what, is_vgg[0], f"most {what}: {shown}"))
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
        apart = f" (left out as far less accurate: {top} {short(rate[top])})" if top not in near else ""
        evidence = f"accuracy points per {unit} ({at.accuracy_source}): {shown}{apart}"
        parts.append(Part(what, order[0] == at.name("googlenet"), evidence))
    return parts


def _alexnet_is_small_and_heavy(at: Setting) -> list[Part]:
    resnets = _ranked(at, RESNETS, "params")
    heavy = unknown("heavy weights", "parameters of AlexNet and a ResNet")
    if at.value("alexnet", "params") > 0 and resnets:
        holds = at.value("alexnet", "params") > at.value(resnets[0], "params")
        shown = f"parameters: {at.said('alexnet', 'params')}, {at.said(resnets[0], 'params')}"
        heavy = Part("heavy weights", holds, shown + _saved_remark(at))
    return [
        _alexnet_has_least(at, "macs", "little compute", "fewest MACs", "MACs of AlexNet and others"),
        heavy,
        _alexnet_has_least(at, "top1", "low accuracy", f"lowest accuracy, {at.accuracy_source}", "accuracies"),
    ]


def _alexnet_has_least(at: Setting, metric: str, words: str, said: str, missing: str) -> Part:
    alexnet, least = at.name("alexnet"), _ranked(at, LECTURE, metric)[::-1]
    if alexnet not in least or len(least) < 3:
        return unknown(words, missing)
    shown = ", ".join(at.said(name, metric) for name in _with(least[:2], alexnet))
    return Part(words, least[0] == alexnet, f"{said}: {shown}")


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
    ends = " to ".join(dict.fromkeys((short(min(resnets.values())), short(max(resnets.values())))))
    shown = (
        f"accuracy points per million parameters: {ends}, {'against' if outside else 'between'} VGG's "
        f"{short(max(vggs))} and GoogLeNet's {short(googlenet)}"
    )
    if outside and len(resnets) > 1:
        shown += f"; outside: {', '.join(outside)}"
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
    ratio, shown = at.against("googlenet", "alexnet")
    if not ratio > 0:
        return [lacking(at, "parameters", "parameters", ("googlenet", "alexnet"), "params")]
    return [
        Part("fewer than AlexNet", ratio > 1, shown),
        Part("5 million", 4.5e6 <= at.value("googlenet", "params") < 5.5e6, ""),
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
    found = {network: at.against("nin", network) for network in ("alexnet", "vgg16")}
    return [
        Part(f"the ratio to {network}", ratio >= 5, shown)
        if ratio > 0
        else lacking(at, f"the ratio to {network}", "parameters", ("nin", network), "params")
        for network, (ratio, shown) in found.items()
    ]


def _squeezenet_matches_alexnet(at: Setting) -> list[Part]:
    ratio = at.against("squeezenet1_0", "alexnet")[0]
    parts = [lacking(at, "50 times fewer parameters", "parameters", ("squeezenet1_0", "alexnet"), "params")]
    if ratio > 0:
        shown = f"{at.said('alexnet', 'params')}, {at.said('squeezenet1_0', 'params')}: {short(ratio)} times"
        shown += f", {at.value('squeezenet1_0', 'params') * 4 / 2**20:.2g} MiB in fp32"
        macs = at.value("squeezenet1_0", "macs") / at.value("alexnet", "macs")
        shown += "" if math.isnan(macs) else f", at {short(macs)} times the MACs"
        parts = [Part("50 times fewer parameters", 45 <= ratio <= 55, shown)]
    return [*parts, _accuracies(at, "squeezenet1_0", "alexnet"), Part("under 0.5 MB compressed", None, "")]


def _wide_beats_deep(at: Setting) -> list[Part]:
    wide, deep = ("wide_resnet50_2", "resnet152") if at.large else ("wide_resnet16_8_cifar", "resnet110_cifar")
    parts = [_accuracies(at, wide, deep, more=True)]
    speed = "inference_images_per_s"
    if not at.has_all((wide, deep), speed):
        return [*parts, lacking(at, "faster", "throughput", (wide, deep), speed)]
    shown = f"{at.said(wide, speed)}, {at.said(deep, speed)}"
    return [*parts, Part("faster", at.value(wide, speed) > at.value(deep, speed), shown)]


def _densenet_reuses_features(at: Setting) -> list[Part]:
    dense, deep = ("densenet201", "resnet101") if at.large else ("densenet_bc100_k12_cifar", "preact_resnet1001_cifar")
    ratio, shown = at.against(dense, deep)
    if not ratio > 0:
        return [lacking(at, "fewer parameters", "parameters", (dense, deep), "params")]
    if at.has_all((dense, deep), "saved_activation_bytes"):
        saved = (at.said(dense, "saved_activation_bytes"), at.said(deep, "saved_activation_bytes"))
        shown += f" (saved activations per image: {saved[0]}, {saved[1]})"
    return [Part("fewer parameters", ratio >= 2, shown), _accuracies(at, dense, deep)]


def _residuals_are_not_essential(at: Setting) -> list[Part]:
    fractal, residual = ("fractalnet34", "resnet34") if at.large else ("fractalnet20_cifar", "resnet110_cifar")
    return [_accuracies(at, fractal, residual)]


def _stochastic_depth_trains_faster(at: Setting) -> list[Part]:
    dropped, whole = "stochastic_depth_resnet110_cifar", "resnet110_cifar"
    both = (dropped, whole)
    faster = lacking(at, "faster training", "training throughput", both, "train_images_per_s")
    same = lacking(at, "the whole network at inference", "MACs", both, "macs", "params")
    if at.has_all(both, "train_images_per_s"):
        ratio = at.value(dropped, "train_images_per_s") / at.value(whole, "train_images_per_s")
        said = [at.said(name, "train_images_per_s") for name in both]
        faster = replace(faster, holds=ratio >= 1.15, evidence=f"{', '.join(said)}: {short(ratio)} times")
    if at.has_all(both, "macs", "params"):
        equal = all(at.value(dropped, metric) == at.value(whole, metric) for metric in ("macs", "params"))
        shown = f"MACs: {at.said(dropped, 'macs')}, {at.said(whole, 'macs')}"
        same = replace(same, holds=equal, evidence=shown)
    return [faster, same]


def _ranked(at: Setting, networks: Sequence[str], metric: str) -> list[str]:
    return sorted(at.having(networks, metric), key=lambda name: -at.value(name, metric))


def _family(at: Setting, name: str) -> str:
    return "vgg" if at.among([name], VGGS) else "resnet" if at.among([name], RESNETS) else name


def _with(names: Sequence[str], name: str) -> list[str]:
    return list(dict.fromkeys([*names, name]))


def _accuracies(at: Setting, network: str, other: str, *, more: bool = False) -> Part:
    """Whether a network has more accuracy; or no less, by what a test can tell, or by a point where there is none."""
    if not at.has_all((network, other), "top1"):
        return lacking(at, "accuracy", "accuracy", (network, other), "top1")
    found = difference(at.cell(network, "top1"), at.cell(other, "top1"))
    low, high = found.interval if found else (math.nan, math.nan)
    first, second = at.value(network, "top1"), at.value(other, "top1")
    holds = first > second if more else first > second - _POINT or high >= 0
    unsure = ", not significantly different" if low < 0 < high else ""
    shown = f"accuracy, {at.accuracy_source}: {at.said(network, 'top1')}, {at.said(other, 'top1')}{unsure}"
    return Part("accuracy", holds, shown)


_KEPT = 0.1  # a gradient that reaches the first layer with this share of the last layer's has not vanished


def _saturation_makes_gradients_vanish(at: Setting) -> list[Part]:
    metric = "gradient_norm_ratio_sigmoid"
    shallow, deep = at.value("plain20_cifar", metric), at.value("plain56_cifar", metric)
    parts = [_gradient_kept(at, f"plain{depth}_cifar", metric, f"{depth} layers", kept=False) for depth in (20, 56)]
    return [*parts, Part("worse with depth", deep < shallow, "")] if shallow >= 0 and deep >= 0 else parts


def _relu_and_he_keep_gradients(at: Setting) -> list[Part]:
    names = ("plain20_cifar", "plain56_cifar")
    return [_gradient_kept(at, name, "gradient_norm_ratio", name, kept=True) for name in names]


def _gradient_kept(at: Setting, name: str, metric: str, words: str, *, kept: bool) -> Part:
    ratio = at.value(name, metric)
    if not ratio >= 0:
        return unknown(words, f"gradients of {name}")
    return Part(words, (ratio >= _KEPT) == kept, f"{name}: first-to-last gradient ratio {ratio:.2g}")


def _shortcuts_keep_gradients(at: Setting) -> list[Part]:
    metric = "gradient_norm_ratio_sigmoid"
    parts = []
    for depth in (20, 56):
        plain, residual = at.value(f"plain{depth}_cifar", metric), at.value(f"resnet{depth}_cifar", metric)
        if not (plain >= 0 and residual >= 0):
            parts.append(unknown(f"{depth} layers", f"gradients with sigmoid of plain{depth} and ResNet-{depth}"))
            continue
        shown = (
            f"{depth} layers with sigmoid, first-to-last gradient ratio: {residual:.2g}, without shortcuts {plain:.2g}"
        )
        parts.append(Part(f"{depth} layers", residual > plain, shown))
    return parts


def _depth_harms_plain_networks_alone(at: Setting) -> list[Part]:
    if not at.has_all(DEPTH_NETWORKS, "top1"):
        return [unknown("accuracy", "accuracies of plain networks and ResNets of 20 and 56 layers on one data set")]
    plain, residual = depth_gaps(at.results)
    if plain is None or residual is None:
        return [unknown("accuracy", "number of test images")]
    words = [
        f"{name}, 56 against 20 layers: {100 * gap.value:+.1f} percentage points "
        f"({100 * gap.interval[0]:+.1f} to {100 * gap.interval[1]:+.1f}), {at.accuracy_source}"
        for name, gap in (("plain", plain), ("ResNet", residual))
    ]
    return [
        Part("plain networks getting worse", plain.interval[1] < 0, words[0]),
        Part("ResNets staying as good", residual.interval[1] >= 0, words[1]),
    ]


def _bottlenecks_buy_depth(at: Setting) -> list[Part]:
    parts = []
    for metric, words in (("macs", "operations"), ("params", "parameters")):
        deep, shallow = at.value("resnet50", metric), at.value("resnet34", metric)
        if not (deep > 0 and shallow > 0):
            parts.append(lacking(at, words, words, ("resnet50", "resnet34"), metric))
            continue
        shown = f"{words}: {at.said('resnet50', metric)}, {at.said('resnet34', metric)}"
        parts.append(Part(words, deep / shallow < 1.25, shown))
    return parts


def _pooling_replaces_fully_connected(at: Setting) -> list[Part]:
    """Networks with one fully connected layer after the last convolution, against those with three wide ones."""
    pooled = at.having(("nin", "googlenet", "resnet18", "resnet50", "squeezenet1_0"), "params")
    connected = at.having(("alexnet", "vgg16"), "params")
    if not pooled or not connected:
        return [unknown("parameters", "parameters of networks of both kinds")]
    most = max(pooled, key=lambda name: at.value(name, "params"))
    least = min(connected, key=lambda name: at.value(name, "params"))
    shown = f"most with pooling: {at.said(most, 'params')}; fewest without: {at.said(least, 'params')}"
    middle = statistics.median(at.value(name, "params") for name in pooled)
    shown += f"; median with pooling {amount(middle, 'params')}"
    return [Part("parameters", at.value(most, "params") < at.value(least, "params"), shown)]


def _conv(channels_in: int, channels_out: int, side: int) -> int:
    """Weights and biases of a convolution; a fully connected layer is one of side 1."""
    return channels_out * (channels_in * side**2 + 1)


def _lenet_sizes(at: Setting) -> list[Part]:
    said = _conv(1, 6, 5) + _conv(6, 16, 5) + _conv(16 * 5 * 5, 120, 1) + _conv(120, 84, 1) + _conv(84, 10, 1)
    return _exact(at, "lenet5_mnist", said)


def _mnist_cnn_sizes(at: Setting) -> list[Part]:
    """The described network: its code has 64*7*6 inputs to the last layer, which does not run."""
    convolutions = _conv(1, 16, 5) + _conv(16, 32, 5) + _conv(32, 32, 5) + _conv(32, 64, 5)
    return _exact(at, "cnn_mnist", convolutions + _conv(64 * 7 * 7, 10, 1))


def _exact(at: Setting, network: str, said: int) -> list[Part]:
    found = at.results.cell(network, "params")
    if not found.measured:
        return [unknown("parameters", f"parameters of {network}")]
    return [
        Part("parameters", found.value == said, f"parameters as described: {said:,}; {network}: {found.value:,.0f}")
    ]


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
    "R1": _saturation_makes_gradients_vanish,
    "R2": _relu_and_he_keep_gradients,
    "R3": _shortcuts_keep_gradients,
    "R4": _depth_harms_plain_networks_alone,
    "R5": _bottlenecks_buy_depth,
    "R6": _pooling_replaces_fully_connected,
    "L1": _lenet_sizes,
    "L2": _mnist_cnn_sizes,
}
