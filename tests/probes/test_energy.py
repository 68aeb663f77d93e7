"""Energy on a board that is made up, whose power is known; and rows where there is no board."""

import math
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from bench.config import Budget, Config, Execution, Task
from bench.device import nvml
from bench.metrics import metrics_of
from bench.models import REGISTRY, ModelSpec
from bench.probes import energy
from bench.probes.energy import integrated
from bench.probes.reading import Answer, Reading
from bench.runner.execute import execute

BATCH, STEP_S = 4, 0.004
IDLE_WATTS, JOULES, TRAINING_JOULES = 1.0, 2.0, 6.0  # each step costs so much, however long it takes
CONFIG = Config(
    "quick",
    ("energy",),
    Budget(1, "ep"),
    1,
    "auto",
    {"cifar": BATCH, "mnist": BATCH, "imagenet": 1},
    None,
    None,
    0.06,
    None,
)


class Board:
    """Draws 1 W, and a stated energy for each step; its counter moves every 20 ms."""

    spent = 0.0  # by steps, in joules

    def __init__(self, counts: bool = True) -> None:
        self.counts = counts
        self._update = self._joules = 0.0

    def energy_joules(self) -> float:
        if not self.counts:
            raise nvml.Unavailable("NVML does not tell its energy: Not Supported")
        update = 0.02 * math.floor(time.perf_counter() / 0.02)
        if update > self._update:
            self._update, self._joules = update, IDLE_WATTS * update + Board.spent
        return self._joules

    def power_watts(self) -> float:
        return IDLE_WATTS


class Costly(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(3, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(STEP_S)
        Board.spent += TRAINING_JOULES if self.training else JOULES
        return self.fc(x.mean((2, 3)))


SPEC = ModelSpec("costly_cifar", "Own", 2024, "none", "cifar", (3, 8, 8), 10, Costly)


def on(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def opened(device: str) -> Iterator[Board]:
        yield board

    monkeypatch.setattr(nvml, "opened", opened)


def values_of(readings: Mapping[str, Answer]) -> list[Reading]:
    assert set(readings) == set(metrics_of("energy"))
    found = [readings[name] for name in ("idle_watts", "energy_joules_per_image", "train_energy_joules_per_image")]
    assert all(isinstance(reading, Reading) for reading in found)
    return found  # type: ignore[return-value]


def test_joules_per_image(monkeypatch: pytest.MonkeyPatch) -> None:
    on(Board(), monkeypatch)
    idle, inference, training = values_of(energy.measure(Task(SPEC, CONFIG)).readings)
    assert idle.value == pytest.approx(IDLE_WATTS, rel=0.05)
    # Loose, as the speed of this machine varies while it measures; tests of the counter itself are sharp.
    assert inference.value * BATCH == pytest.approx(JOULES, rel=0.2)
    assert training.value * BATCH == pytest.approx(TRAINING_JOULES, rel=0.2)
    for reading in (idle, inference, training):
        # Whole numbers, so that rows that were measured alike say the same.
        assert re.search(r"energy counter.*; over \d+ s or more, to within \d+ %", reading.note)
    for reading in (inference, training):
        assert reading.batch_size == reading.asked_batch_size == BATCH


def test_a_gpu_without_a_counter_is_asked_for_its_power(monkeypatch: pytest.MonkeyPatch) -> None:
    on(Board(counts=False), monkeypatch)
    idle, inference, training = values_of(energy.measure(Task(SPEC, CONFIG)).readings)
    assert idle.value == pytest.approx(IDLE_WATTS, rel=0.05)
    for reading in (inference, training):
        assert reading.value * BATCH >= 0.98 * IDLE_WATTS * STEP_S
        assert "power readings" in reading.note


def test_power_readings_are_added_up() -> None:
    now = 10.0
    watts = iter((100.0, 100.0, 200.0, 50.0))
    read = integrated(lambda: next(watts), lambda: now)
    now = 12.0
    assert read() == 200.0  # 2 s at 100 W
    now = 13.0
    assert read() == 300.0  # 1 s at 100 W; 200 W from here on
    now = 13.5
    assert read() == 400.0


def test_where_there_is_no_gpu_every_row_is_skipped_and_says_why() -> None:
    rows = execute(Task(REGISTRY["lenet5_cifar"], CONFIG, ("energy",)), "cpu").records
    assert [row.metric for row in rows] == list(metrics_of("energy"))
    assert {row.status for row in rows} == {"skipped"}
    assert all("NVIDIA" in row.note for row in rows)


@pytest.mark.gpu
def test_a_real_gpu_draws_more_when_it_works() -> None:
    config = replace(CONFIG, batch_size={"cifar": 512}, execution=Execution("bf16", "channels_last"))
    readings = energy.measure(
        Task(REGISTRY["resnet18_cifar"], replace(config, measure_seconds=0.4), device="cuda:0")
    ).readings
    idle, image = readings["idle_watts"], readings["energy_joules_per_image"]
    assert isinstance(idle, Reading)
    assert isinstance(image, Reading)
    assert 5 < idle.value < 500
    assert 0 < image.value < 1
    assert "to within 1 %" in image.note
    assert not torch.backends.cudnn.benchmark  # nothing global is left switched
