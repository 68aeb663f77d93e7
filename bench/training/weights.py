"""Weights in files: those that training starts from, and checkpoints from which a training that was killed goes on.

Weights to start from are found, downloaded or given, and loaded into all of a network but its last layer. A checkpoint
is the SHA-256 of the rest, then what `torch.save` makes of the identity and the state of a training. Nothing is
unpickled that was not written whole, and `torch.load` then reads tensors and plain values only.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.config import RequestError
from bench.data.download import DownloadError, download
from bench.models import ModelSpec
from bench.quantity import first_line
from bench.records.run_folder import file_stem, write_atomically
from bench.training.experiments import Weights

RANDOM = "random"  # the word for fresh weights


def initial_weights(
    word: str | None, weights: Weights, spec: ModelSpec, data_dir: Path, say: Callable[[str], None]
) -> Path | None:
    """The file that training starts from, checked against the network; None for fresh weights.

    `word` is a file, "random", or None: the published weights, from `data_dir`/weights or downloaded to it.

    Raises:
        RequestError: the file is missing, damaged, or of another network, or the download failed.
    """
    if word == RANDOM:
        return None
    path = Path(word).expanduser() if word else _published(weights, data_dir.expanduser(), say)
    with torch.device("meta"):
        network = spec.build(num_classes=spec.num_classes)
    _fitting(path, network)
    return path


def load_weights(path: Path, network: nn.Module) -> None:
    """Copy the weights of a file into the network; its last linear layer keeps its own, fresh ones.

    Raises:
        RequestError: the file is missing, damaged, or of another network.
    """
    network.load_state_dict(_fitting(path, network), strict=False)


def _published(weights: Weights, data_dir: Path, say: Callable[[str], None]) -> Path:
    path = data_dir / "weights" / weights.file
    if path.is_file():
        with path.open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
        if actual != weights.sha256:
            raise RequestError(f"{path} is damaged or another file (SHA-256 {actual}, not {weights.sha256}): remove it")
        return path
    try:
        download([weights.url], path, weights.sha256, say)
    except DownloadError as failure:
        raise RequestError(
            f"no {path}, and its download failed: {failure}; get it from {weights.url}, or give --weights FILE "
            f"or --weights {RANDOM}"
        ) from failure
    return path


def _fitting(path: Path, network: nn.Module) -> dict[str, Tensor]:
    """The tensors of a file for every parameter and buffer of `network` but those of its last linear layer."""
    found = _read(path)
    last = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)][-1]
    own = {f"{last}.weight", f"{last}.bias"}
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items() if name not in own}
    for name, shape in wanted.items():
        if name not in found:
            raise RequestError(f"{path} holds weights of another network: {name} is missing")
        if tuple(found[name].shape) != shape:
            raise RequestError(
                f"{path} holds weights of another network: {name} is of shape {tuple(found[name].shape)}, not {shape}"
            )
    if others := sorted(found.keys() - wanted.keys() - own):
        raise RequestError(f"{path} holds weights of another network: this one has no {others[0]}")
    return {name: found[name] for name in wanted}


def _read(path: Path) -> dict[str, Tensor]:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise RequestError(f"--weights {path}: there is no such file; write a file's name, or {RANDOM}") from None
    except pickle.UnpicklingError as error:
        raise RequestError(
            f"{path} holds more than weights, or is damaged: save a state_dict with torch.save"
        ) from error
    except Exception as error:  # a damaged archive fails in many ways
        raise RequestError(f"{path} cannot be read as weights: {first_line(error)}") from error
    if not isinstance(found, dict) or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise RequestError(f"{path} does not hold a state_dict, which is tensors by name: save one with torch.save")
    return found


def checkpoint_path(folder: Path, model: str, seed: int, budget: str) -> Path:
    """Where a training keeps its checkpoint."""
    return folder / f"{file_stem(model)}-seed{seed}-{budget}.pt"


class Checkpoint:
    """The checkpoint of one training. `note` is empty, or says what a reader of its result must know."""

    def __init__(
        self, path: Path, identity: Mapping[str, Any], every_s: float, clock: Callable[[], float] = time.monotonic
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
            content = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self.note = f"its checkpoint cannot be read ({error.strerror}): trained from the start"
            return None
        size = hashlib.sha256().digest_size
        digest, written = content[:size], content[size:]
        if hashlib.sha256(written).digest() != digest:
            self.note = "its checkpoint is damaged: trained from the start"
            return None
        kept = torch.load(io.BytesIO(written), map_location="cpu", weights_only=True)
        if kept["identity"] != self._identity:
            self.note = "its checkpoint is of another training: trained from the start"
            return None
        state: dict[str, Any] = kept["state"]
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
