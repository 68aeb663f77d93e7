"""Warm-up and sampling against a clock that the test holds."""

import pytest

from bench.timing import steady_samples


class FakeClock:
    """Time that passes only when a step says so; `waits` counts how often the device was waited for."""

    def __init__(self, durations: list[float]) -> None:
        self.now = 0.0
        self.waits = 0
        self.steps = 0
        self._durations = durations

    def __call__(self) -> float:
        return self.now

    def step(self) -> None:
        self.now += self._durations[min(self.steps, len(self._durations) - 1)]
        self.steps += 1

    def synchronise(self) -> None:
        self.waits += 1


def test_slow_first_steps_are_not_sampled() -> None:
    clock = FakeClock([5.0, 0.5, 0.4, 0.3, 0.2, 0.1])
    timing = steady_samples(clock.step, clock.synchronise, measure_seconds=1.0, clock=clock)
    assert timing.steady
    assert timing.seconds == pytest.approx([0.1] * len(timing.seconds))
    assert sum(timing.seconds) > 0.999


def test_every_step_is_synchronised_on_both_sides() -> None:
    clock = FakeClock([0.1])
    steady_samples(clock.step, clock.synchronise, measure_seconds=0.5, clock=clock)
    assert clock.waits == 2 * clock.steps


def test_a_time_that_never_settles_is_marked_and_warm_up_ends() -> None:
    clock = FakeClock([0.1 * 1.3**n for n in range(30)])
    timing = steady_samples(clock.step, clock.synchronise, measure_seconds=1.0, clock=clock)
    assert not timing.steady
    assert len(timing.seconds) >= 5


def test_a_slow_step_still_gets_five_samples() -> None:
    clock = FakeClock([10.0])
    timing = steady_samples(clock.step, clock.synchronise, measure_seconds=1.0, clock=clock)
    assert len(timing.seconds) == 5
