"""The optimizer is the one that the recipe names, with its numbers."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from bench.training.recipes import DEFAULT_RECIPE, Recipe
from bench.training.step import make_optimizer
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
