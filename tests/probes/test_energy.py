"""Energy on a board that is made up, whose power is known; and rows where there is no board."""

import math
import re
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.config import Execution, Task
from bench.device import energy as counters
from bench.device import nvml, torch_devices
from bench.device.timing import keeping_pace, steady_samples
from bench.metrics import metrics_of
from bench.models import REGISTRY
from bench.probes import energy
from bench.probes.reading import Answer, Reading, Unsupported
from bench.runner.execute import execute
from tests.clock import Time
from tests.configs import config
from tests.device.nvml_library import UUID, Install
from tests.emulated import at_work
from tests.emulated.device import BUSY_WATTS, SLOWNESS, Emulated
from tests.emulated.queue import Queue
from tests.own_network import own_spec

BATCH, STEP_S = 4, 0.004
IDLE_WATTS, JOULES, TRAINING_JOULES = 1.0, 2.0, 6.0  # each step costs so much, however long it takes
CONFIG = config("energy", batch=BATCH, measure_seconds=0.06)


class Board:
    """Draws 1 W, and a stated energy for each step; its counter moves every 20 ms."""

    spent = 0.0  # by steps, in joules

    def __init__(self, now: Time, counts: bool = True) -> None:
        self.now, self.counts = now, counts
        self._update = self._joules = 0.0

    def energy_joules(self) -> float:
        if not self.counts:
            raise nvml.Unavailable("NVML does not tell its energy: Not Supported")
        update = 0.02 * math.floor(self.now() / 0.02)
        if update > self._update:
            self._update, self._joules = update, IDLE_WATTS * update + Board.spent
        return self._joules

    def power_watts(self) -> float:
        return IDLE_WATTS


class Costly(nn.Linear):
    """Takes `STEP_S` of a made-up time, and its energy, for the means of its images."""

    def __init__(self, now: Time, num_classes: int) -> None:
        super().__init__(3, num_classes)
        self.now = now

    def forward(self, x: Tensor) -> Tensor:
        self.now.spend(STEP_S)
        Board.spent += TRAINING_JOULES if self.training else JOULES
        return super().forward(x.mean((2, 3)))


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Time:
    """By which everything is measured."""
    now = Time()
    monkeypatch.setattr(energy, "steady_samples", partial(steady_samples, clock=now))
    monkeypatch.setattr(energy, "integrated", partial(counters.integrated, clock=now))
    monkeypatch.setattr(energy, "measure_steps", partial(counters.measure_steps, clock=now))
    monkeypatch.setattr(energy, "update_period", partial(counters.update_period, clock=now, sleep=now.spend))
    return now


def measured(board: Board, monkeypatch: pytest.MonkeyPatch) -> list[Reading]:
    """Both readings of a network on a host that has such a board."""
    monkeypatch.setattr(torch_devices.Host, "board", lambda self: nullcontext(board))
    return values_of(energy.measure(Task(own_spec(partial(Costly, board.now)), CONFIG)).readings)


def values_of(readings: Mapping[str, Answer]) -> list[Reading]:
    assert set(readings) == set(metrics_of("energy"))
    found = [readings[name] for name in ("energy_joules_per_image", "train_energy_joules_per_image")]
    assert all(isinstance(reading, Reading) for reading in found)
    return found  # type: ignore[return-value]


def test_joules_per_image(now: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    inference, training = measured(Board(now), monkeypatch)
    assert inference.value * BATCH == pytest.approx(JOULES + IDLE_WATTS * STEP_S, rel=0.02)
    assert training.value * BATCH == pytest.approx(TRAINING_JOULES + IDLE_WATTS * STEP_S, rel=0.02)
    for reading in (inference, training):
        # Whole numbers, so that rows that were measured alike say the same. No promise that the sensor does not keep.
        assert re.search(r"counters.*; over \d+ s or more", reading.note)
        assert reading.batch_size == reading.asked_batch_size == BATCH


def test_a_gpu_without_a_counter_is_asked_for_its_power_once_it_has_forgotten_what_was_before(
    now: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    for reading in measured(Board(now, counts=False), monkeypatch):
        assert reading.value * BATCH == pytest.approx(IDLE_WATTS * STEP_S, rel=0.02)
        assert "power readings" in reading.note
        assert "%" not in reading.note.partition("not steady")[0]
    assert now() > 2 * (energy.SETTLE_S + energy.WINDOW_OF_HOST_S)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"mig": "1"}, "which other MIG instances share"),
        ({"stands_still": "1"}, "the energy counter did not move twice"),
        ({"refuses": "nvmlDeviceGetTotalEnergyConsumption:3 nvmlDeviceGetPowerUsage:4"}, "Insufficient Permissions"),
        ({"refuses": "nvmlInitWithFlags:9"}, "Driver Not Loaded"),
    ],
)
def test_a_gpu_that_tells_no_energy_of_its_own_is_skipped_with_the_reason(
    driver: Install, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], reason: str
) -> None:
    driver(**settings)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=UUID))
    with pytest.raises(Unsupported, match=reason):
        energy.measure(Task(REGISTRY["lenet5_cifar"], CONFIG, device="cuda:0"))


def test_steps_that_are_graphs_are_not_queued_by_the_thousand(now: Time) -> None:
    """Each takes the device a quarter longer than the host, so in 3 s it would fall 0.6 s behind."""
    ahead = [0.0]
    slow = own_spec(partial(Costly, now))
    graphs = replace(CONFIG, execution=Execution(cuda_graphs=True))
    with at_work() as device:
        device.queue = Queue(now, now.spend)
        launch = device.queue.launch

        def watched(seconds: float) -> None:
            launch(seconds)
            ahead.append(device.queue.free_at - now.now)

        device.queue.launch = watched  # type: ignore[method-assign]
        found = energy.measure(Task(slow, graphs, device="emulated:0")).readings["energy_joules_per_image"]
    assert isinstance(found, Reading)
    assert found.value == pytest.approx(BUSY_WATTS * SLOWNESS * STEP_S / BATCH, rel=0.02)
    assert max(ahead) < 4 * energy.AHEAD_S


@pytest.mark.parametrize("step_s", [0.0005, 0.005, 0.02])
def test_a_counter_that_moves_ten_times_a_second_is_watched_for_no_longer_than_asked(step_s: float) -> None:
    """A host that waits for long between two looks does not see when it moves, and would go on for twice the time."""
    time = Time()
    queue = Queue(time, time.spend)
    keep_pace = keeping_pace(Emulated(queue=queue), math.ceil(energy.AHEAD_S / step_s))

    def step() -> None:
        time.spend(1e-4)
        queue.launch(step_s)
        keep_pace()

    def read() -> float:
        time.spend(2e-5)
        return 10.0 * math.floor(10 * time.now + 0.04)

    window = counters.measure_steps(step, queue.synchronise, read, 0.1, energy.WINDOW_S, time).window
    assert energy.WINDOW_S <= window.seconds < 1.1 * energy.WINDOW_S
    assert window.watts == pytest.approx(100)


def test_power_readings_are_added_up() -> None:
    now = 10.0
    watts = iter((100.0, 100.0, 200.0, 50.0))
    read = counters.integrated(lambda: next(watts), lambda: now)
    now = 12.0
    assert read() == 200.0  # 2 s at 100 W
    now = 13.0
    assert read() == 300.0  # 1 s at 100 W; 200 W from here on
    now = 13.5
    assert read() == 400.0


def zone(powercap: Path, number: str, name: str, spent: int, counts_to: int = 262_143_328_850) -> Path:
    """A part of a made-up /sys/class/powercap; the file of its counter."""
    folder = powercap / f"intel-rapl:{number}"
    folder.mkdir()
    for file, content in (("name", name), ("energy_uj", spent), ("max_energy_range_uj", counts_to)):
        (folder / file).write_text(f"{content}\n")
    return folder / "energy_uj"


def test_processors_spend_what_their_packages_and_memory_do(tmp_path: Path) -> None:
    first, second = zone(tmp_path, "0", "package-0", 5_000_000), zone(tmp_path, "1", "package-1", 900, 1_000)
    cores, memory = zone(tmp_path, "0:0", "core", 1), zone(tmp_path, "0:1", "dram", 7)
    everything = zone(tmp_path, "2", "psys", 1)
    processors = counters.Processors(tmp_path)
    assert processors.energy_joules() == 0
    first.write_text("8000000\n")
    second.write_text("100\n")  # it began again from zero after 1,000
    memory.write_text("1000007\n")
    for other in (cores, everything):
        other.write_text("999999\n")
    assert processors.energy_joules() == pytest.approx(3 + 200e-6 + 1)
    assert processors.energy_joules() == pytest.approx(4.0002)  # it stands still between two updates


def test_processors_that_tell_nothing_are_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(nvml.Unavailable, match=r"NVIDIA GPU .*RAPL"):
        counters.Processors(tmp_path)
    zone(tmp_path, "0", "package-0", 1)
    read = Path.read_text

    def refused(path: Path, *arguments: Any) -> str:
        if path.name == "energy_uj":
            raise PermissionError
        return read(path, *arguments)

    monkeypatch.setattr(Path, "read_text", refused)
    with pytest.raises(nvml.Unavailable, match=r"only root may read .*: `sudo chmod a\+r .*/\*/energy_uj`"):
        counters.Processors(tmp_path)


def test_where_nothing_tells_of_energy_every_row_is_skipped_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counters, "ZONES", tmp_path)
    rows = execute(Task(REGISTRY["lenet5_cifar"], CONFIG, ("energy",)), "cpu").records
    assert [row.metric for row in rows] == list(metrics_of("energy"))
    assert {row.status for row in rows} == {"skipped"}
    assert all("NVIDIA" in row.note for row in rows)


@pytest.mark.gpu
def test_a_real_gpu_spends_energy_when_it_works() -> None:
    config = replace(CONFIG, batch_size={"cifar": 512}, execution=Execution("bf16", "channels_last"))
    task = Task(REGISTRY["resnet18_cifar"], replace(config, measure_seconds=0.4), device="cuda:0")
    try:
        readings = energy.measure(task).readings
    except Unsupported as reason:
        pytest.skip(str(reason))  # a container without NVML, a part of a GPU
    for reading in values_of(readings):
        assert 0 < reading.value < 1
        assert "over 3 s or more" in reading.note
    assert not torch.backends.cudnn.benchmark  # nothing global is left switched
