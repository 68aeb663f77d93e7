"""Gradient norms by depth: hand-worked, by an identity that holds for every ReLU network, and as the probe reports."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from bench.config import Task
from bench.device.accelerator import OF_HOST
from bench.device.torch_devices import Host
from bench.models import REGISTRY
from bench.probes import gradient_flow
from bench.probes.gradient_flow import SMALL_STD, VARIANTS, Variant, change, gradient_norms, measure, twin_of
from bench.probes.reading import Reading, Unsupported
from bench.runner.request import Request, resolve

CONFIG, _ = resolve(Request(), ("gradient_flow",), "cpu")


class TwoWeights(nn.Module):
    """Logits (a * b * x, 0) of a single pixel x: two 1x1 convolutions with one weight each."""

    def __init__(self, a: float, b: float) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 1, 1, bias=False), nn.Conv2d(1, 1, 1, bias=False)
        nn.init.constant_(self.first.weight, a)
        nn.init.constant_(self.second.weight, b)

    def forward(self, x: Tensor) -> Tensor:
        logit = self.second(self.first(x)).flatten(1)
        return torch.cat((logit, torch.zeros_like(logit)), dim=1)


@pytest.mark.parametrize("x", [2.0, 1e-25])
def test_norms_by_hand(x: float) -> None:
    # Loss log(1 + exp(-z)) with z = a b x, so its slope is -1 / (1 + exp(z)); 1e-25 squared is zero in fp32.
    a, b = 0.5, -3.0
    slope = 1 / (1 + math.exp(a * b * x))
    norms = gradient_norms(TwoWeights(a, b), torch.tensor([[[[x]]]]), torch.tensor([0]), 2)
    assert norms == pytest.approx([slope * abs(b) * x, slope * abs(a) * x], rel=1e-6)


def test_a_device_needs_no_numbers_of_double_precision() -> None:
    class Refused(TorchDispatchMode):
        """As those of Apple's and some of Intel's GPUs are; the host has them."""

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            assert not isinstance(out, Tensor) or out.device.type == "cpu" or out.dtype != torch.float64
            return out

    network = TwoWeights(0.5, 2.0).to("meta")
    image, label = torch.ones(1, 1, 1, 1, device="meta"), torch.tensor([0], device="meta")
    with Refused(), pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        gradient_norms(network, image, label, 2)


def test_every_layer_of_a_plain_relu_network_has_the_same_product_of_weight_and_gradient() -> None:
    # Scaling any one layer scales the logits alike, so <W, dL/dW> is one number for all layers (Euler's identity).
    torch.manual_seed(0)
    network = REGISTRY["plain20_cifar"].build(num_classes=10)
    change(network, Variant("relu", "he", batch_norm=False))
    norms = gradient_norms(network, torch.randn(2, 3, 32, 32), torch.tensor([0, 1]), 10)
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    products = [(layer.weight * layer.weight.grad).sum().item() for layer in layers if layer.weight.grad is not None]
    assert len(norms) == len(products) == 19
    assert products == pytest.approx([products[0]] * 19, rel=1e-3)


@pytest.mark.parametrize("name", ["plain20_cifar", "resnet20_cifar"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_changes_what_it_says_and_nothing_else(name: str, variant: Variant) -> None:
    torch.manual_seed(0)
    before = REGISTRY[name].build(num_classes=10)
    network = REGISTRY[name].build(num_classes=10)
    change(network, variant)
    kinds = [type(module) for module in network.modules()]
    found = {kind: sum(kind is other for other in kinds) for kind in (nn.ReLU, nn.Sigmoid, nn.Tanh, nn.BatchNorm2d)}
    activations = sum(isinstance(module, nn.ReLU) for module in before.modules())
    chosen = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}[variant.activation]
    expected = {nn.ReLU: 0, nn.Sigmoid: 0, nn.Tanh: 0, nn.BatchNorm2d: 19 if variant.batch_norm else 0}
    assert found == expected | {chosen: activations}
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            fan_in = module.weight[0].numel()
            std = math.sqrt(2 / fan_in) if variant.initialisation == "he" else SMALL_STD
            # Four standard errors of a standard deviation.
            assert float(module.weight.detach().std()) == pytest.approx(
                std, rel=4 / math.sqrt(2 * module.weight.numel())
            )
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_twins_are_those_of_the_paper() -> None:
    pairs = {spec.name: twin.name for spec in REGISTRY.values() if (twin := twin_of(spec))}
    assert pairs == {
        "plain20_cifar": "resnet20_cifar",
        "plain56_cifar": "resnet56_cifar",
        "resnet20_cifar": "plain20_cifar",
        "resnet56_cifar": "plain56_cifar",
    }


@pytest.mark.parametrize("name", ["lenet5_cifar", "resnet18_cifar", "resnet110_cifar", "plain18", "lenet5_mnist"])
def test_a_network_without_a_twin_is_skipped(name: str) -> None:
    with pytest.raises(Unsupported, match="shortcuts alone"):
        measure(Task(REGISTRY[name], CONFIG))


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Host, "sizes", replace(OF_HOST, gradient_steps=2))
    monkeypatch.setattr(gradient_flow, "BATCH_SIZE", 2)
    monkeypatch.setattr(gradient_flow, "DRAWS", 2)


def test_sigmoid_starves_the_first_layer_and_shortcuts_feed_it(short: None) -> None:
    plain, residual = (measure(Task(REGISTRY[name], CONFIG)) for name in ("plain20_cifar", "resnet20_cifar"))
    for measurement in (plain, residual):
        assert len(measurement.tables["curves"]) == 8 * 3 * 19
        assert {row["step"] for row in measurement.tables["curves"]} == {0, 1, 2}
        for reading in measurement.readings.values():
            assert isinstance(reading, Reading)
            assert len(reading.samples) == 2
            assert (reading.note, reading.device, reading.batch_size) == ("on random images", "cpu", 2)
    ratios = [
        {metric: reading.value for metric, reading in m.readings.items() if isinstance(reading, Reading)}
        for m in (plain, residual)
    ]
    # A sigmoid passes on at most a quarter; nineteen layers of it leave next to nothing, a shortcut more.
    assert ratios[0]["gradient_norm_ratio_sigmoid"] < 1e-6 * ratios[0]["gradient_norm_ratio"]
    assert ratios[1]["gradient_norm_ratio_sigmoid"] > 10 * ratios[0]["gradient_norm_ratio_sigmoid"]
    assert all(1e-3 < ratio[metric] < 1e3 for ratio in ratios for metric in ratio if "sigmoid" not in metric)


def test_the_seed_decides_everything(short: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradient_flow, "VARIANTS", tuple(gradient_flow.REPORTED.values()))
    spec = REGISTRY["plain20_cifar"]
    first = measure(Task(spec, CONFIG)).tables["curves"]
    assert measure(Task(spec, CONFIG)).tables["curves"] == first
    assert measure(Task(spec, CONFIG, seed=1)).tables["curves"] != first


def test_a_training_that_overflows_keeps_what_was_measured_before(short: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Host, "sizes", replace(OF_HOST, gradient_steps=4))  # two before the next point
    monkeypatch.setattr(gradient_flow, "RATE", 1e30)
    monkeypatch.setattr(gradient_flow, "VARIANTS", tuple(gradient_flow.REPORTED.values()))
    measurement = measure(Task(REGISTRY["plain20_cifar"], CONFIG))
    relu = [row for row in measurement.tables["curves"] if row["activation"] == "relu" and not row["batch_norm"]]
    assert {row["step"] for row in relu} == {0}
    reading = measurement.readings["gradient_norm_ratio"]
    assert isinstance(reading, Reading)
    assert "training of relu, he diverged" in reading.note
    assert math.isfinite(reading.value)


@pytest.mark.gpu
def test_the_same_on_a_gpu(short: None) -> None:
    measurement = measure(Task(REGISTRY["resnet20_cifar"], CONFIG, device="cuda:0"))
    assert len(measurement.tables["curves"]) == 8 * 3 * 19
    for reading in measurement.readings.values():
        assert isinstance(reading, Reading)
        assert reading.device == "cuda:0"
        assert math.isfinite(reading.value)
