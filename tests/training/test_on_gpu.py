"""One training step of every family on a GPU, with the recipe's own optimizer and the family's own randomness."""

import math

import pytest
import torch

from bench.config import PRESETS, Execution, Precision
from bench.device.execution import arithmetic, for_training
from bench.models import REGISTRY
from bench.training.recipes import recipe_for
from bench.training.step import TrainingStep, make_optimizer

MOST_STEPS = 8  # a step whose fp16 gradients overflow only lowers their scale, which begins at 65,536


@pytest.mark.gpu
@pytest.mark.parametrize("name", PRESETS["quick"].models)
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_every_family_takes_a_step(name: str, precision: Precision) -> None:
    spec = REGISTRY[name]
    device = torch.device("cuda:0")
    torch.manual_seed(0)
    execution = Execution(precision, "channels_last")
    network = for_training(spec.build(num_classes=spec.num_classes), execution, device)
    recipe = recipe_for(spec.family)
    optimizer = make_optimizer(recipe, network.parameters(), recipe.rate_at(8))
    images = torch.randn(8, *spec.input_size, device=device)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    step = TrainingStep(network, optimizer, recipe, execution, spec.num_classes)
    with arithmetic(precision):
        for _ in range(MOST_STEPS if precision == "fp16" else 1):
            loss = step(images, torch.arange(8, device=device))
            if any(not torch.equal(now, was) for now, was in zip(network.parameters(), before, strict=True)):
                break
    assert math.isfinite(loss.item())
    assert any(not torch.equal(now, was) for now, was in zip(network.parameters(), before, strict=True))
