"""recipes.json: the recipe of each family for which `tune` has looked for one, and how it was found.

{"recipes": {family: {"recipe": {...}, "model": ..., "dataset": ..., "budget": ..., "trials": [...], ...}}}
Only `recipe` is needed to train with it; the rest is for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from bench.config import RequestError
from bench.records.files import write_atomically
from bench.training.recipe import Recipe


def read(path: Path) -> dict[str, Recipe]:
    """The recipes of a file by family.

    Raises:
        RequestError: the file is missing, is no such file, or a recipe in it cannot be.
    """
    recipes = {}
    for family, entry in entries(path, "--recipes").items():
        try:
            recipes[family] = Recipe.from_json(entry.get("recipe") if isinstance(entry, dict) else None)
        except ValueError as error:
            raise RequestError(f"--recipes {path}: the recipe of {family}: {error}") from None
    return recipes


def entries(path: Path, flag: str) -> dict[str, Any]:
    """Everything that a file says of each family; `flag` named the file.

    Raises:
        RequestError: the file is missing or is no such file.
    """
    try:
        raw = msgspec.json.decode(path.expanduser().read_bytes())
    except FileNotFoundError:
        raise RequestError(f"{flag} {path}: there is no such file; `python -m bench tune` writes one") from None
    except OSError as error:
        raise RequestError(f"{flag} {path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{flag} {path} is not JSON: {error}") from None
    found = raw.get("recipes") if isinstance(raw, dict) else None
    if not isinstance(found, dict):
        raise RequestError(f'{flag} {path}: expected {{"recipes": {{family: {{"recipe": ...}}}}}}')
    return found


def write(path: Path, found: Mapping[str, Any]) -> None:
    """Replace a file, atomically.

    Raises:
        OSError: it cannot be written.
    """
    write_atomically(path, msgspec.json.format(msgspec.json.encode({"recipes": found}), indent=2) + b"\n")
