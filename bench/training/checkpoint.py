"""A file from which a training that was killed goes on.

Layout: the SHA-256 of the rest, then what `torch.save` makes of the identity and the state of a training. Nothing is
unpickled that was not written whole, and `torch.load` then reads tensors and plain values only.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from bench.records.files import write_atomically
from bench.records.run_folder import file_stem


def checkpoint_path(folder: Path, model: str, seed: int, budget: str) -> Path:
    """Where a training keeps its checkpoint."""
    return folder / f"{file_stem(model)}-seed{seed}-{budget}.pt"


class Checkpoint:
    """The checkpoint of one training. `note` is empty, or says what a reader of its result must know."""

    def __init__(
        self,
        path: Path,
        identity: Mapping[str, Any],
        every_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`identity`: everything that the state depends on, as JSON can hold it. `every_s`: how far apart two writings
        are at least."""
        self.note = ""
        self._path = path
        self._identity = json.dumps(identity, sort_keys=True)
        self._every_s = every_s
        self._clock = clock
        self._written = clock()

    def load(self) -> dict[str, Any] | None:
        """The state that was written last, on the CPU; None where there is none that fits, which `note` then says."""
        try:
            digest, written = _parts(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            self.note = f"its checkpoint cannot be read ({error.strerror}): trained from the start"
            return None
        if hashlib.sha256(written).digest() != digest:
            self.note = "its checkpoint is damaged: trained from the start"
            return None
        content = torch.load(io.BytesIO(written), map_location="cpu", weights_only=True)
        if content["identity"] != self._identity:
            self.note = "its checkpoint is of another training: trained from the start"
            return None
        state: dict[str, Any] = content["state"]
        return state

    def due(self) -> bool:
        return self._clock() - self._written >= self._every_s

    def write(self, state: Mapping[str, Any]) -> None:
        """Replace the file by one with this state; a reader finds the old one or the new one, never a part.

        A disk that is full or forbids writing does not end a training: `note` says so.
        """
        buffer = io.BytesIO()
        torch.save({"identity": self._identity, "state": state}, buffer)
        written = buffer.getbuffer()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path, hashlib.sha256(written).digest(), written)
        except OSError as error:
            self.note = f"no checkpoint could be written ({error.strerror})"
        self._written = self._clock()


def _parts(content: bytes) -> tuple[bytes, bytes]:
    size = hashlib.sha256().digest_size
    return content[:size], content[size:]
