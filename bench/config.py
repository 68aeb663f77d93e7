"""What a run does, with nothing left open: the configuration that is built once and passed down."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from bench.data.image_set import ImageSet

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

    def __str__(self) -> str:
        return f"{self.amount:g}{self.kind}"


@dataclass(frozen=True)
class Execution:
    """In which arithmetic and in what manner a network runs. Every part is set both ways and is in every row."""

    precision: Precision = "fp32"
    memory_format: MemoryFormat = "contiguous"
    compile: bool = False  # torch.compile
    cuda_graphs: bool | None = False  # None: in training, where the device and the network allow it

    def __str__(self) -> str:
        """ "bf16, channels_last, compiled, CUDA graphs": what differs from PyTorch's defaults."""
        words = [self.precision, "channels_last" if self.memory_format == "channels_last" else ""]
        words += ["compiled" if self.compile else "", "CUDA graphs" if self.cuda_graphs else ""]
        return ", ".join(word for word in words if word)


@dataclass(frozen=True)
class Config:
    """A request with nothing left open. Probes get one with `device`, `seed` and `round` set for their task."""

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
    execution: Execution = Execution()
    device: str = "cpu"
    seed: int = 0
    round: int = 0
    image_sets: Mapping[str, ImageSet] = field(default_factory=dict)  # by track
