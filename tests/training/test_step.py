"""The optimizer is the one that the recipe names, with its numbers.

What networks return besides a tensor: the logits are found, or the network is refused; none are guessed.
"""

import gc
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.googlenet import GoogLeNetOutputs

from bench.config import Execution, Precision
from bench.device.torch_devices import Host, Mps
from bench.training.recipes import DEFAULT_RECIPE, Recipe, recipe_for
from bench.training.step import TrainingStep, logits, make_optimizer, training_loss
from tests.training.toy import network

RECIPE = Recipe("sgd", 0.1, 5e-4, 128, "a test", momentum=0.8, nesterov=True)


@pytest.mark.parametrize(
    ("recipe", "kind", "numbers"),
    [
        (RECIPE, torch.optim.SGD, {"lr": 0.05, "momentum": 0.8, "nesterov": True, "weight_decay": 5e-4}),
        (
            replace(RECIPE, optimizer="adam"),
            torch.optim.Adam,
            {"lr": 0.05, "weight_decay": 5e-4, "betas": (0.9, 0.999)},
        ),
        (DEFAULT_RECIPE, torch.optim.AdamW, {"lr": 0.05, "weight_decay": 0.05}),
    ],
    ids=["sgd", "adam", "adamw"],
)
def test_it_has_the_numbers_of_the_recipe(
    recipe: Recipe, kind: type[torch.optim.Optimizer], numbers: dict[str, Any]
) -> None:
    optimizer = make_optimizer(recipe, network().parameters(), 0.05)
    assert type(optimizer) is kind
    assert {name: optimizer.param_groups[0][name] for name in numbers} == numbers


def test_adamw_leaves_norms_and_biases_alone() -> None:
    optimizer = make_optimizer(DEFAULT_RECIPE, network().parameters(), 1e-3)
    decayed, spared = optimizer.param_groups
    assert {p.dim() for p in decayed["params"]} == {2}
    assert {p.dim() for p in spared["params"]} == {1}
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.05, 0.0)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_nothing_of_a_step_stays_that_knows_on_which_stream_it_was(precision: Precision) -> None:
    """The nodes that add up gradients know it: one that were left of an eager step would break a recorded one."""
    execution, net = Execution(precision), network()
    step = TrainingStep(net, make_optimizer(RECIPE, net.parameters(), 0.01), RECIPE, execution, 2)

    def nodes() -> list[dict[str, Any]]:
        views: list[Any] = [parameter.view_as(parameter).grad_fn for parameter in net.parameters()]
        return [view.next_functions[0][0].metadata for view in views]

    def mark(*_: object) -> None:
        for node in nodes():
            node["seen"] = True
        assert all(nodes())  # they live as long as what was computed

    gc.disable()
    try:
        with net.register_forward_hook(mark):
            step(torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 0, 1]))
        assert not any(nodes())
    finally:
        gc.enable()


@pytest.mark.parametrize("recipe", [RECIPE, DEFAULT_RECIPE], ids=["sgd", "adamw"])
def test_scaled_gradients_are_divided_whatever_the_optimizers_kernel_makes_of_a_scale(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On MPS, kernels updated weights with gradients that were 65,536 times too large, and with infinite ones."""

    def weights(ignores_scale: bool) -> list[Tensor]:
        net = network()
        with monkeypatch.context() as patch:
            for name in ("_fused_sgd_", "_fused_adamw_") if ignores_scale else ():
                patch.setattr(torch, name, partial(ignoring_scale, getattr(torch, name)))
                patch.setattr(Host, "unscales", Mps.unscales)
            step = TrainingStep(net, make_optimizer(recipe, net.parameters(), 0.01), recipe, Execution("fp16"), 2)
            for scale in (1.0, 1e30, 1.0):  # the second overflows
                step(scale * torch.ones(4, 1, 8, 8), torch.tensor([0, 1, 0, 1]))
        return [each.detach() for each in net.parameters()]

    def ignoring_scale(kernel: Any, *lists: Any, grad_scale: object, found_inf: object, **numbers: Any) -> None:
        kernel(*lists, grad_scale=None, found_inf=None, **numbers)

    for ignored, heeded in zip(weights(True), weights(False), strict=True):
        assert torch.isfinite(ignored).all()
        assert torch.equal(ignored, heeded)


LOGITS = torch.randn(4, 10, generator=torch.Generator().manual_seed(0))
FEATURES = torch.ones(4, 64)
LABELS = torch.tensor([0, 3, 9, 1])


@dataclass
class Output:
    logits: Tensor | None
    hidden: Tensor | None = None


FOUND: dict[str, Any] = {
    "a tensor": LOGITS,
    "a dictionary": {"hidden": FEATURES, "logits": LOGITS},
    "an object": Output(LOGITS, FEATURES),
    "a list of one": [LOGITS],
    "features first": (FEATURES, LOGITS),
    "logits first": (LOGITS, FEATURES),
    "nothing beside them": (LOGITS, None),
    "indices of the same shape": (LOGITS, torch.ones(4, 10, dtype=torch.int64)),
    "maps beside them": (torch.ones(4, 10, 8, 8), LOGITS),
}


@pytest.mark.parametrize("output", FOUND.values(), ids=FOUND)
def test_logits_are_found_and_trained_on_alone(output: Any) -> None:
    assert logits(output, 10) is LOGITS
    torch.testing.assert_close(training_loss(output, LABELS, 10), F.cross_entropy(LOGITS, LABELS))


class Heads(NamedTuple):
    out: Tensor
    aux1: Tensor


def test_a_field_of_an_auxiliary_head_is_no_candidate() -> None:
    assert logits(Heads(LOGITS, torch.randn(4, 10)), 10) is LOGITS


REFUSED: dict[str, tuple[Any, str]] = {
    "two that could be": ((LOGITS, LOGITS.clone()), r"float32 \(4, 10\), float32 \(4, 10\)\), several of which"),
    "none that could be": ([FEATURES, None], r"\(float32 \(4, 64\), NoneType\), none of which can be .* \(B, 10\)"),
    "feature maps": ([torch.ones(4, 64, 8, 8)], "none of which"),
    "a map alone": (torch.ones(4, 10, 8, 8), r"returns float32 \(4, 10, 8, 8\); expected logits of shape \(B, 10\)"),
    "indices alone": (LABELS[:, None], r"returns int64 \(4, 1\)"),
    "a dictionary without them": ({"features": LOGITS}, r"returns dict with features: float32 \(4, 10\); expected"),
    "an object without them": (Output(None, LOGITS), "returns Output; expected"),
    "nothing": (None, "returns NoneType"),
    "an empty tuple": ((), r"returns \(\), none of which"),
}


@pytest.mark.parametrize(("output", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_ambiguous_is_refused(output: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        logits(output, 10)
    with pytest.raises(ValueError, match=words):
        training_loss(output, LABELS, 10)


def test_features_as_wide_as_the_classes_are_ambiguous() -> None:
    with pytest.raises(ValueError, match="several of which"):
        logits((FEATURES, torch.ones(4, 64)), 64)


def test_auxiliary_heads_are_those_that_a_network_names_and_count_three_tenths() -> None:
    first, second = torch.randn(4, 10), torch.randn(4, 10)
    output = GoogLeNetOutputs(LOGITS, second, first)
    assert logits(output, 10) is LOGITS
    expected = F.cross_entropy(LOGITS, LABELS) + 0.3 * (
        F.cross_entropy(first, LABELS) + F.cross_entropy(second, LABELS)
    )
    torch.testing.assert_close(training_loss(output, LABELS, 10), expected)
    alone = GoogLeNetOutputs(LOGITS, None, None)  # as in eval mode, or where they are left out
    torch.testing.assert_close(training_loss(alone, LABELS, 10), F.cross_entropy(LOGITS, LABELS))


def test_a_head_too_narrow_for_the_data_is_said() -> None:
    network = nn.Linear(3, 10)
    recipe = recipe_for("own")
    step = TrainingStep(network, make_optimizer(recipe, network.parameters(), 0.1), recipe, Execution(), 100)
    with pytest.raises(ValueError, match="the network returns 10 classes, its images have 100"):
        step(torch.ones(4, 3), torch.tensor([0, 90, 9, 1]))
