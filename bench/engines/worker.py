"""What runs on a node of a cluster: an engine of one device, so that tasks are isolated there as they are at home.

Imports neither torch nor Ray: tasks come and go as sealed parcels, which only the worker process opens.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.cache import cache_dir_of, place
from bench.data.image_set import ImageSet
from bench.engines.engine import Crash
from bench.engines.local import LocalEngine

Relocate = Callable[[Any, Mapping[str, ImageSet]], Any]  # (task, image sets of this node by SHA-256) -> task


@dataclass(frozen=True)
class Parcel:
    """A task for another machine."""

    contents: bytes  # execute, relocate and the task, pickled
    image_sets: Mapping[str, ImageSet]

    @property
    def group(self) -> str:
        return f"parcel {id(self)}"  # each has a fresh process


def seal(execute: Callable[[Any, str], Any], relocate: Relocate, task: Any) -> bytes:
    return pickle.dumps((execute, relocate, task))


def unseal(result: bytes | Crash) -> Any:
    return result if isinstance(result, Crash) else pickle.loads(result)


def execute_parcel(parcel: Parcel, device: str) -> bytes:
    """In the worker process: what `execute` returns, sealed for the way back."""
    execute, relocate, task = pickle.loads(parcel.contents)
    return pickle.dumps(execute(relocate(task, parcel.image_sets), device))


class Seat:
    """One device of a node, or one processor for what needs no device."""

    def __init__(
        self,
        device: str,
        preload: Sequence[str],
        memory_limit: int | None,
        images: Sequence[tuple[ImageSet, Callable[[str], NDArray[np.generic]]]],
        cache_dir: Path | None,
    ) -> None:
        """`images` are those of the run, and how to get their arrays by name; they are got once per node."""
        self._engine: LocalEngine[Parcel, bytes] = LocalEngine(
            [device], execute_parcel, Path(os.devnull), preload, memory_limit
        )
        self._image_sets = {
            image_set.sha256: place(image_set, fetch, cache_dir_of(cache_dir)) for image_set, fetch in images
        }

    def run(self, contents: bytes, timeout_s: float | None) -> bytes | Crash:
        parcel = Parcel(contents, self._image_sets)
        ((_, result),) = self._engine.run([parcel], timeout_s, lambda task, device: None)
        return result
