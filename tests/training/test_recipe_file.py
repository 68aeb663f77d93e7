"""recipes.json as somebody may have written it."""

import json
from pathlib import Path

import pytest

from bench.config import RequestError
from bench.training import recipes
from bench.training.recipes import RECIPES


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
