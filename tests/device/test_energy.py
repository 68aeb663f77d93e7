"""A counter with a planted power that stands still between updates, and a device that works while the host goes on."""

import math

import pytest

from bench.device.energy import (
    ERROR,
    SETTLES_WITHIN_S,
    StandsStill,
    integrated,
    measure_steps,
    settled_watts,
    update_period,
)


class Board:
    """Time, and a board whose counter moves every `period` seconds. The device works through what is queued."""

    def __init__(self, watts: float, period: float, reading_takes: float = 50e-6) -> None:
        self.now = 100.0
        self.watts = watts
        self.period = period
        self.reading_takes = reading_takes
        self.busy_until = 0.0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def joules(self) -> float:
        self.now += self.reading_takes
        # As NVML's: whole millijoules, as of the last update.
        return math.floor(1e3 * self.watts * self.period * math.floor(self.now / self.period)) / 1e3

    def step(self, host_takes: float, device_takes: float, runs_ahead: float = 0.1) -> None:
        """Queue a step; the host waits once it is `runs_ahead` seconds ahead of the device."""
        self.now += host_takes
        self.busy_until = max(self.busy_until, self.now) + device_takes
        self.now = max(self.now, self.busy_until - runs_ahead)

    def synchronise(self) -> None:
        self.now = max(self.now, self.busy_until)


@pytest.mark.parametrize("period", [0.02, 0.1])
def test_the_rhythm_of_a_counter(period: float) -> None:
    board = Board(70.0, period)
    assert update_period(board.joules, board.clock, board.sleep) == pytest.approx(period, rel=0.05)
    assert board.now - 100.0 < 1.0


def test_idle_power_is_told_once_the_board_has_cooled_down() -> None:
    """A board that has just worked at 400 W falls to 70 W with a time constant of a second."""
    board = Board(70.0, 0.1)
    watts = settled_watts(lambda: 70.0 + 330.0 * math.exp(100.0 - board.now), board.clock, board.sleep)
    assert watts == pytest.approx(70.0, rel=0.05)
    assert 6.0 < board.now - 100.0 < 10.0


def test_a_board_whose_power_goes_on_moving_has_no_idle_power() -> None:
    board = Board(70.0, 0.1)
    assert settled_watts(lambda: 70.0 + 10.0 * math.sin(board.now), board.clock, board.sleep) is None
    assert board.now - 100.0 < SETTLES_WITHIN_S + 1.0


def test_what_a_sensor_still_holds_of_the_time_before_is_left_out() -> None:
    """Power as the mean over the last second: 50 W of idling before, 300 W from the first step on."""
    board = Board(300.0, 0.1)
    begun = board.now
    read = integrated(lambda: 50.0 + 250.0 * min(board.now - begun, 1.0), board.clock)
    held, spent = (
        measure_steps(lambda: board.step(0.0, 0.01), board.synchronise, read, 0.01, 1.0, board.clock, settle_s)
        for settle_s in (0.0, 2.0)
    )
    assert held.window.watts < 200.0
    assert spent.window.watts == pytest.approx(300.0, rel=0.01)
    assert spent.joules_per_step == pytest.approx(3.0, rel=0.01)


@pytest.mark.parametrize("period", [0.02, 0.1])
@pytest.mark.parametrize("step_s", [20e-6, 0.001, 0.0133, 0.07])
def test_energy_of_a_step(period: float, step_s: float) -> None:
    board = Board(300.0, period)
    spent = measure_steps(lambda: board.step(10e-6, step_s), board.synchronise, board.joules, period, 2.0, board.clock)
    assert spent.joules_per_step == pytest.approx(300.0 * step_s, rel=0.01)
    assert spent.window.error <= ERROR
    assert spent.window.seconds >= 2.0


def test_a_step_that_outlasts_the_counter_is_measured_for_longer_and_says_how_well() -> None:
    board = Board(300.0, 0.1)
    spent = measure_steps(lambda: board.step(1e-3, 0.9), board.synchronise, board.joules, 0.1, 2.0, board.clock)
    assert spent.window.seconds > 5
    assert spent.joules_per_step == pytest.approx(300.0 * 0.9, rel=spent.window.error)


def test_a_host_that_is_slower_than_the_device_is_part_of_the_step() -> None:
    board = Board(120.0, 0.02)
    spent = measure_steps(lambda: board.step(2e-3, 1e-4), board.synchronise, board.joules, 0.02, 1.0, board.clock)
    assert spent.joules_per_step == pytest.approx(120.0 * 2e-3, rel=0.05)  # the readings of the counter, and no more


def test_a_counter_that_takes_long_to_read_is_read_less_often() -> None:
    board = Board(120.0, 0.1, reading_takes=0.004)
    spent = measure_steps(lambda: board.step(1e-4, 1e-5), board.synchronise, board.joules, 0.1, 2.0, board.clock)
    assert spent.joules_per_step == pytest.approx(120.0 * 1e-4, rel=0.06)
    assert spent.window.watts == pytest.approx(120.0, rel=spent.window.error)


@pytest.mark.parametrize("phase", [0.0, 0.013, 0.031, 0.05, 0.077, 0.099])
def test_the_error_that_is_stated_holds_wherever_in_the_counters_rhythm_a_window_begins(phase: float) -> None:
    board = Board(300.0, 0.1)
    board.now += phase
    spent = measure_steps(lambda: board.step(0.0, 0.033), board.synchronise, board.joules, 0.1, 0.5, board.clock)
    assert abs(spent.window.watts / 300.0 - 1) <= spent.window.error


def test_a_counter_that_stands_still_is_no_measurement() -> None:
    board = Board(0.0, 0.02)
    with pytest.raises(StandsStill, match="did not move"):
        update_period(board.joules, board.clock, board.sleep)
    with pytest.raises(StandsStill):
        measure_steps(lambda: board.step(0.0, 0.01), board.synchronise, board.joules, 0.02, 0.5, board.clock)
