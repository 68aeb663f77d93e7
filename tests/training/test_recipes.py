"""Recipes as data: what they say, what they refuse, how they become an optimizer, and files that somebody may write."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from bench.config import RequestError
from bench.models import REGISTRY
from bench.training import recipes
from bench.training.recipes import DEFAULT_RECIPE, RECIPES, Recipe, recipe_for

RECIPE = Recipe("sgd", 0.1, 5e-4, 128, "a test", clip_norm=1.0, mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 0.5))


def test_every_family_of_the_registry_has_its_recipe_and_source() -> None:
    assert {spec.family for spec in REGISTRY.values()} <= set(RECIPES)
    assert all(recipe.source and recipe.name == "default" for recipe in RECIPES.values())
    assert recipe_for("somebody's own") is DEFAULT_RECIPE


def test_a_chosen_recipe_counts_for_its_family_only() -> None:
    assert recipe_for("ResNet", {"ResNet": RECIPE}) is RECIPE
    assert recipe_for("VGG", {"ResNet": RECIPE}) is RECIPES["VGG"]


def test_rates_follow_the_batch_size() -> None:
    assert RECIPE.rate_at(32) == pytest.approx(0.025)
    assert replace(RECIPE, optimizer="adam", peak_rate=1e-3).rate_at(32) == pytest.approx(5e-4)


def test_a_row_says_how_its_network_was_trained() -> None:
    assert str(RECIPE) == "default: SGD 0.1, weight decay 0.0005, batch 128, cosine"


@pytest.mark.parametrize("recipe", [*RECIPES.values(), DEFAULT_RECIPE, RECIPE], ids=lambda recipe: recipe.source[:20])
def test_it_survives_json(recipe: Recipe) -> None:
    raw = recipe.to_json()
    assert raw.keys() == {field.name for field in fields(Recipe)}
    assert Recipe.from_json(raw) == recipe


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"optimizer": "sdg"}, "optimizer 'sdg': write one of sgd, adam, adamw"),
        ({"schedule": "step"}, "cosine, constant"),
        ({"peak_rate": "fast"}, "peak_rate 'fast'"),
        ({"peak_rate": float("nan")}, "peak_rate nan"),
        ({"peak_rate": -0.1}, "peak_rate -0.1"),
        ({"peak_rate": True}, "peak_rate True"),
        ({"weight_decay": None}, "weight_decay None"),
        ({"batch_size": 12.5}, "batch_size 12.5: expected `int`"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"warmup": 1.0}, "warmup 1.0"),
        ({"mean": [0.5, "grey"]}, "mean"),
        ({"std": [0.0, 1.0, 1.0]}, "std .*: expected `float` > 0"),
        ({"std": None}, "together"),
        ({"flip": "no"}, "flip 'no': expected `bool`"),
        ({"source": 7}, "source 7: expected `str`"),
        ({"learning_rate": 0.1}, "no field is named 'learning_rate'"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused_by_name(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Recipe.from_json({**RECIPE.to_json(), **change})


def test_what_is_missing_is_named() -> None:
    raw = RECIPE.to_json()
    del raw["batch_size"]
    with pytest.raises(ValueError, match="batch_size is missing"):
        Recipe.from_json(raw)
    with pytest.raises(ValueError, match="object"):
        Recipe.from_json([1, 2])


def test_it_is_read_by_family(tmp_path: Path) -> None:
    path = tmp_path / "recipes.json"
    path.write_text(json.dumps({"recipes": {"VGG": {"recipe": RECIPES["VGG"].to_json(), "trials": []}}}))
    assert recipes.read_recipes(path) == {"VGG": RECIPES["VGG"]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
        ("[]", "expected"),
        ('{"recipes": []}', "expected"),
        ('{"recipes": {"VGG": 3}}', "the recipe of VGG: a recipe is an object"),
        ('{"recipes": {"VGG": {"recipe": {"optimizer": "sgd"}}}}', "the recipe of VGG: peak_rate is missing"),
    ],
)
def test_anything_else_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "recipes.json"
    path.write_text(text)
    with pytest.raises(RequestError, match=words) as caught:
        recipes.read_recipes(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no such file"):
        recipes.read_recipes(tmp_path / "nowhere.json")
