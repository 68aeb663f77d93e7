"""A measured number and everything that is needed to trust it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal, NamedTuple, get_args

import msgspec

from bench.config import Budget, Execution
from bench.metrics import Flag, probe_named

Status = Literal["ok", "skipped", "failed", "oom", "timeout"]
RecordKey = tuple[str, str, str, int, int, str | None]  # model, probe, metric, seed, round, budget


class Conditions(NamedTuple):
    """What makes two rows comparable: rows that differ in any of it never share a cell, a point or a series."""

    hardware: str  # empty where the value does not depend on it
    batch_size: int | None
    execution: Execution
    recipe: str | None
    predicted: bool
    dataset: str | None
    test_images: int | None  # of which an accuracy is the share; None where it is none, or where it is not known
    budget: str | None

    @property
    def named(self) -> dict[str, object]:
        """Each under the name that reports and comparisons use; None where there is no such condition."""
        execution = self.execution
        return {
            "hardware": self.hardware or None,
            "precision": execution.precision,
            "memory format": execution.memory_format,
            "compiled": execution.compile,
            "compile mode": execution.compile_mode if execution.compile else None,
            "CUDA graphs": execution.cuda_graphs,
            "batch size": self.batch_size,
            "predicted": self.predicted,
            "data set": self.dataset,
            "test images": self.test_images,
            "recipe": self.recipe,
            "budget": self.budget,
        }

    @property
    def words(self) -> tuple[str, ...]:
        """ "batch 16", "bf16, channels_last", "cifar10", "1ep": all but the hardware."""
        words = (
            f"batch {self.batch_size}" if self.batch_size else "",
            str(self.execution),
            "predicted" if self.predicted else "",
            self.dataset,
            f"{self.test_images} test images" if self.test_images else "",
            self.budget,
            self.recipe,
        )
        return tuple(word for word in words if word)

    def __str__(self) -> str:
        return ", ".join(self.words)


@dataclass(frozen=True)
class Record:
    """One metric of one model, as measured once. `value` is None unless `status` is "ok"."""

    model: str
    probe: str
    metric: str
    value: float | None
    unit: str
    status: Status
    note: str = ""  # the reason where status is not "ok"; else what a reader must know
    flags: tuple[str, ...] = ()  # what a reader must be warned of: `bench.metrics.Flag`, or a newer version's
    samples: tuple[float, ...] = ()  # raw, in `unit`; statistics are derived when rendering
    trials: int | None = None  # how many yes-or-no trials stand behind a fraction
    seconds: float = 0.0  # wall-clock of the task that produced it
    seed: int = 0
    round: int = 0  # timings are taken several times over all networks, each time in another order
    batch_size: int | None = None  # as used
    asked_batch_size: int | None = None  # where memory did not suffice, the batch size is a smaller one
    predicted: bool = False  # worked out, not measured
    precision: str = "fp32"
    memory_format: str = "contiguous"
    compile: bool = False
    compile_mode: str = "default"
    cuda_graphs: bool = False
    device: str = ""  # "cpu", "cuda:0"; "meta" where no arithmetic was done
    hardware: str = ""  # "NVIDIA H200"; empty where no arithmetic was done
    clock_mhz: float | None = None  # of the GPU, the median over the samples; None where it does not tell
    dataset: str | None = None  # what the network was trained and tested on
    budget: str | None = None  # "10ep"
    recipe: str | None = None  # how the network was trained: "default: SGD 0.1, weight decay 0.0005, batch 128, cosine"

    def __post_init__(self) -> None:
        if self.status not in get_args(Status):
            raise ValueError(f"unknown status {self.status!r}")
        if (self.value is None) == (self.status == "ok"):
            raise ValueError(f"{self.model} {self.metric}: value {self.value} with status {self.status}")

    @property
    def failed(self) -> bool:
        """Whether something went wrong; a measurement that does not apply has not failed."""
        return self.status not in ("ok", "skipped")

    @property
    def halved(self) -> bool:
        """Whether memory did not suffice for the batch size that was asked for."""
        return self.asked_batch_size not in (None, self.batch_size)

    @property
    def conditions(self) -> Conditions:
        """The conditions of the measurement, as far as its value depends on them."""
        probe = probe_named(self.probe)
        anywhere = probe.portable and self.unit != "s" and Budget.kind_of(self.budget) != "s"
        return Conditions(
            hardware="" if probe.exact or self.predicted or anywhere else self.hardware,
            batch_size=self.batch_size,
            execution=Execution(
                self.precision,  # type: ignore[arg-type]  # words of a newer version among them
                self.memory_format,  # type: ignore[arg-type]
                self.compile,
                self.cuda_graphs,
                self.compile_mode,  # type: ignore[arg-type]
            ),
            recipe=self.recipe,
            predicted=self.predicted,
            dataset=self.dataset,
            test_images=self.trials,
            budget=self.budget,
        )

    @property
    def key(self) -> RecordKey:
        return self.model, self.probe, self.metric, self.seed, self.round, self.budget

    def to_json(self) -> str:
        """One line of records.jsonl; a row without flags has no such field."""
        row = {key: value for key, value in asdict(self).items() if value or key != "flags"}
        return json.dumps(row, allow_nan=False)

    @staticmethod
    def from_json(line: str | bytes) -> Record:
        """The record that `to_json` wrote; fields that a newer version may have added are ignored.

        Raises:
            ValueError: it is no record.
        """
        try:
            row = msgspec.json.decode(line, type=Record)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        return row if row.flags or row.value is None else replace(row, flags=_flags_in(row.note))


def _flags_in(note: str) -> tuple[Flag, ...]:
    """What the note of a measured row warned of before rows had flags."""
    found: tuple[Flag, ...] = ("unsteady",) if "not steady" in note else ()
    return (*found, "launch_bound") if note.startswith("launch-bound") else found


def at_the_asked_batch(rows: Sequence[Record]) -> list[Record]:
    """Measured rounds or seeds without those that memory made smaller; all of them where it did so every time."""
    return [row for row in rows if not row.halved] or list(rows)
