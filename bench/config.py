"""What a run does, with nothing left open: the configuration that is built once and passed down."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from bench.data.image_set import ImageSet
    from bench.training.recipe import Recipe

Track = Literal["imagenet", "cifar", "mnist"]
Precision = Literal["fp32", "tf32", "bf16", "fp16"]
MemoryFormat = Literal["contiguous", "channels_last"]


class RequestError(Exception):
    """The request itself is wrong (exit status 2); the message is one line that says what to do."""


BudgetKind = Literal["ep", "kimg", "s", "pflop"]


@dataclass(frozen=True)
class Budget:
    """How much training a network gets, in one of four currencies."""

    amount: float
    kind: BudgetKind

    @staticmethod
    def parse(word: str) -> Budget:
        """ "10ep" (passes over the training set), "200kimg", "60s" or "2pflop".

        Raises:
            RequestError: the word is none of these, or its amount is not above zero.
        """
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(ep|kimg|s|pflop)", word)
        if match is None or float(match[1]) <= 0:
            raise RequestError(
                f"budget {word!r}: write a number above zero and a unit, such as 10ep (epochs), "
                "200kimg (thousand images), 60s (seconds) or 2pflop (10^15 operations)"
            )
        kind: BudgetKind = match[2]  # type: ignore[assignment]
        return Budget(float(match[1]), kind)

    @staticmethod
    def kind_of(word: str | None) -> BudgetKind | None:
        """The currency of a budget as a run recorded it; None where it is no budget."""
        try:
            return Budget.parse(word or "").kind
        except RequestError:
            return None

    def __str__(self) -> str:
        return f"{self.amount:g}{self.kind}"


_MEMORY_UNITS = {"MB": 10**6, "GB": 10**9, "TB": 10**12, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


@dataclass(frozen=True)
class MemorySize:
    """An amount of memory, as people write it."""

    amount: float
    unit: str

    @staticmethod
    def parse(word: str) -> MemorySize:
        """ "16GiB" (2^30 bytes), "24GB" (10^9 bytes) or "800MiB".

        Raises:
            RequestError: the word is no such amount, or it is less than a byte.
        """
        match = re.fullmatch(rf"(\d+(?:\.\d+)?)({'|'.join(_MEMORY_UNITS)})", word)
        if match is None or float(match[1]) * _MEMORY_UNITS[match[2]] < 1:
            raise RequestError(
                f"--fit {word!r}: write a number above zero and a unit, such as 16GiB (2^30 bytes), 24GB (10^9 bytes) "
                "or 800MiB"
            )
        return MemorySize(float(match[1]), match[2])

    @property
    def bytes(self) -> int:
        return int(self.amount * _MEMORY_UNITS[self.unit])

    def __str__(self) -> str:
        return f"{self.amount:g}{self.unit}"


@dataclass(frozen=True)
class Execution:
    """In which arithmetic and in what manner a network runs. Every part is set both ways and is in every row."""

    precision: Precision = "fp32"
    memory_format: MemoryFormat = "contiguous"
    compile: bool = False  # torch.compile
    cuda_graphs: bool | None = False  # None: in training, where the device and the network allow it

    def __str__(self) -> str:
        return execution_words([self])


def execution_words(executions: Iterable[Execution]) -> str:
    """Say what differs from PyTorch's defaults in some of them: "bf16, channels_last, compiled, CUDA graphs"."""
    them = list(executions)
    words = ["/".join(dict.fromkeys(each.precision for each in them))]
    words += ["/".join(dict.fromkeys(each.memory_format for each in them if each.memory_format != "contiguous"))]
    words += ["compiled" if any(each.compile for each in them) else ""]
    words += ["CUDA graphs" if any(each.cuda_graphs for each in them) else ""]
    return ", ".join(word for word in words if word)


@dataclass(frozen=True)
class Config:
    """A request with nothing left open. Probes get one with device, seed, round and budget set for their task."""

    preset: str
    probes: tuple[str, ...]
    budget: Budget
    seeds: int
    dataset: str
    batch_size: Mapping[Track, int]
    train_batch_size: int | None
    test_images: int | None
    measure_seconds: float  # of sampling, per round and step
    task_timeout_s: float | None
    rounds: int = 1
    counted: tuple[str, ...] = ()  # names of networks of which only what needs no device is measured
    execution: Execution = Execution()
    device: str = "cpu"
    seed: int = 0
    round: int = 0
    image_sets: Mapping[str, ImageSet] = field(default_factory=dict)  # by track
    recipes: Mapping[str, Recipe] = field(default_factory=dict)  # by family; the others have their default
    initial_weights: Path | None = None  # that training starts from; None: fresh ones
    other_budgets: tuple[Budget, ...] = ()  # under which the same networks are trained too
    checkpoints: Path | None = None  # folder from which a training that was killed goes on
    checkpoint_every_s: float = 30.0  # at least so far apart
    tensorboard: bool = False  # write training curves as TensorBoard events too
    fit: MemorySize | None = None  # what the largest batch is to fit into
