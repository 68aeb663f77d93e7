"""recipes.json: the recipe of each family that was tuned, and how it was found.

{"recipes": {family: {"recipe": {...}, "model": ..., "dataset": ..., "budget": ..., "trials": [...], ...}}}
Only `recipe` is needed to train with it; the rest is for people.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.config import RequestError
from bench.training.recipe import Recipe


def read(path: Path) -> dict[str, Recipe]:
    """The recipes of a file by family.

    Raises:
        RequestError: the file is missing, is no such file, or a recipe in it cannot be.
    """
    try:
        raw = json.loads(path.expanduser().read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RequestError(f"--recipes {path}: there is no such file; a run with --tune writes one") from None
    except OSError as error:
        raise RequestError(f"--recipes {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise RequestError(f"--recipes {path} is not JSON: {error}") from None
    entries = raw.get("recipes") if isinstance(raw, dict) else None
    if not isinstance(entries, dict):
        raise RequestError(f'--recipes {path}: expected {{"recipes": {{family: {{"recipe": ...}}}}}}')
    return recipes_of(entries, f"--recipes {path}")


def recipes_of(entries: Mapping[str, Any], where: str) -> dict[str, Recipe]:
    """The recipes of the entries of such a file, which `where` names.

    Raises:
        RequestError: one of them cannot be.
    """
    recipes = {}
    for family, entry in entries.items():
        try:
            recipes[family] = Recipe.from_json(entry.get("recipe") if isinstance(entry, dict) else None)
        except ValueError as error:
            raise RequestError(f"{where}: the recipe of {family}: {error}") from None
    return recipes
