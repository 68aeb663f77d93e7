"""One training step of every family on a GPU, with the recipe's own optimizer and the family's own randomness."""

import math

import pytest
import torch

from bench.config import PRESETS
from bench.training.loop import train_step
from bench.training.recipes import make_optimizer, recipe_for
from models import REGISTRY


@pytest.mark.gpu
@pytest.mark.parametrize("name", PRESETS["quick"].models)
def test_every_family_takes_a_step(name: str) -> None:
    spec = REGISTRY[name]
    device = torch.device("cuda:0")
    torch.manual_seed(0)
    network = spec.build(num_classes=spec.num_classes).to(device).train()
    recipe = recipe_for(spec.family)
    optimizer = make_optimizer(recipe, network.parameters(), recipe.rate_at(8))
    images = torch.randn(8, *spec.input_size, device=device)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    loss = train_step(network, optimizer, images, torch.arange(8, device=device), recipe)
    assert math.isfinite(loss.item())
    assert any(not torch.equal(now, was) for now, was in zip(network.parameters(), before, strict=True))
