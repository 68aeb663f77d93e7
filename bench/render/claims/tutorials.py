"""What two tutorials on residual networks and on a first convolutional network say, and LeNet-5's layer sizes."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from bench.render.claims.setting import Part, Setting, Test, amount, unknown
from bench.render.findings.ranking import difference

_KEPT = 0.1  # a gradient that reaches the first layer with this share of the last layer's has not vanished


def _saturation_makes_gradients_vanish(at: Setting) -> list[Part]:
    metric = "gradient_norm_ratio_sigmoid"
    shallow, deep = at.value("plain20_cifar", metric), at.value("plain56_cifar", metric)
    parts = []
    for words, name, ratio in (("20 layers", "plain20_cifar", shallow), ("56 layers", "plain56_cifar", deep)):
        if ratio >= 0:
            parts.append(Part(words, ratio < _KEPT, f"{name}: first-to-last gradient ratio {_ratio(ratio)}"))
        else:
            parts.append(unknown(words, f"gradients of {name}"))
    if shallow >= 0 and deep >= 0:
        parts.append(Part("worse with depth", deep < shallow, ""))
    return parts


def _relu_and_he_keep_gradients(at: Setting) -> list[Part]:
    parts = []
    for name in ("plain20_cifar", "plain56_cifar"):
        ratio = at.value(name, "gradient_norm_ratio")
        if ratio >= 0:
            parts.append(Part(name, ratio >= _KEPT, f"{name}: first-to-last gradient ratio {_ratio(ratio)}"))
        else:
            parts.append(unknown(name, f"gradients of {name}"))
    return parts


def _shortcuts_keep_gradients(at: Setting) -> list[Part]:
    metric = "gradient_norm_ratio_sigmoid"
    parts = []
    for depth in (20, 56):
        plain, residual = at.value(f"plain{depth}_cifar", metric), at.value(f"resnet{depth}_cifar", metric)
        if not (plain >= 0 and residual >= 0):
            parts.append(unknown(f"{depth} layers", f"gradients with sigmoid of plain{depth} and ResNet-{depth}"))
            continue
        shown = (
            f"{depth} layers with sigmoid, first-to-last gradient ratio: {_ratio(residual)}, without "
            f"shortcuts {_ratio(plain)}"
        )
        parts.append(Part(f"{depth} layers", residual > plain, shown))
    return parts


def _depth_harms_plain_networks_alone(at: Setting) -> list[Part]:
    names = [f"{kind}{depth}_cifar" for kind in ("plain", "resnet") for depth in (20, 56)]
    if at.having(names, "top1") != names:
        return [unknown("accuracy", "accuracies of plain networks and ResNets of 20 and 56 layers on one data set")]
    plain, residual = (
        difference(at.cell(f"{kind}56_cifar", "top1"), at.cell(f"{kind}20_cifar", "top1"))
        for kind in ("plain", "resnet")
    )
    if plain is None or residual is None:
        return [unknown("accuracy", "number of test images")]
    words = [
        f"{name}, 56 against 20 layers: {100 * gap.value:+.1f} percentage points "
        f"({100 * gap.interval[0]:+.1f} to {100 * gap.interval[1]:+.1f}), {at.accuracy_source}"
        for name, gap in (("plain", plain), ("ResNet", residual))
    ]
    return [
        Part("plain networks get worse", plain.interval[1] < 0, words[0]),
        Part("ResNets do not", residual.interval[1] >= 0, words[1]),
    ]


def _bottlenecks_buy_depth(at: Setting) -> list[Part]:
    parts = []
    for metric, words in (("macs", "operations"), ("params", "parameters")):
        deep, shallow = at.value("resnet50", metric), at.value("resnet34", metric)
        if not (deep > 0 and shallow > 0):
            parts.append(unknown(words, f"{words} of ResNet-50 and ResNet-34"))
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
    return [Part("parameters", found.value == said, f"layers as described: {said:,}; {network}: {found.value:,.0f}")]


def _ratio(value: float) -> str:
    return f"{value:.2g}"


TESTS: Mapping[str, Test] = {
    "R1": _saturation_makes_gradients_vanish,
    "R2": _relu_and_he_keep_gradients,
    "R3": _shortcuts_keep_gradients,
    "R4": _depth_harms_plain_networks_alone,
    "R5": _bottlenecks_buy_depth,
    "R6": _pooling_replaces_fully_connected,
    "L1": _lenet_sizes,
    "L2": _mnist_cnn_sizes,
}
