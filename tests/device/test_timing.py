"""Warm-up, sampling and the device's own time, by a device and a host whose clocks the test holds."""

import random
from collections.abc import Callable

import pytest

from bench.device.accelerator import Event
from bench.device.timing import (
    DEVICE_SAMPLES,
    LONGEST_WAIT_S,
    Laps,
    NoClock,
    device_seconds,
    drift_note,
    keeping_pace,
    steady_samples,
)
from bench.device.torch_devices import Host, Mps
from bench.stats import median_interval
from tests.clock import Time
from tests.emulated import queue
from tests.emulated.device import Emulated


class FakeClock:
    """Time that passes only when a step says so; `waits` counts how often the device was waited for."""

    def __init__(self, duration: Callable[[int], float]) -> None:
        self.now = 0.0
        self.waits = 0
        self.steps = 0
        self._duration = duration

    def __call__(self) -> float:
        return self.now

    def step(self) -> None:
        self.now += self._duration(self.steps)
        self.steps += 1

    def synchronise(self) -> None:
        self.waits += 1


class Queue:
    """A device whose clock is its own, and whose queue the host does not wait for."""

    tells_time = True

    def __init__(self) -> None:
        self.now = 0.0
        self.waits = 0

    def event(self) -> "Mark":
        return Mark(self.now)

    def synchronise(self) -> None:
        self.waits += 1


class Mark:
    def __init__(self, at: float) -> None:
        self.at = at

    def elapsed_time(self, end_event: "Mark") -> float:
        return 1e3 * (end_event.at - self.at)


def test_parts_of_a_step_are_timed_by_the_clock_of_the_device_that_has_one() -> None:
    device = Queue()
    clock = FakeClock(lambda _: 0.25)  # of the host
    laps = Laps(device, clock=clock)  # type: ignore[arg-type]

    def step() -> None:
        clock.step()
        for part, seconds in (("optimizer", 0.125), ("forward", 1.0), ("backward", 2.0), ("optimizer", 0.5)):
            device.now += seconds
            laps(part)

    step()  # nobody has asked for its parts
    assert laps.of(step, 2.0) == {"optimizer": (0.625,) * 8, "forward": (1.0,) * 8, "backward": (2.0,) * 8}
    assert device.waits == 2 * 8


def test_parts_on_a_device_that_tells_no_time_are_timed_by_the_host_which_waits_for_each() -> None:
    """Events of MPS are timed by callbacks, which raised an error where they came the wrong way round."""
    host = FakeClock(lambda _: 0.0)

    class Late(Host):
        is_host = False
        tells_time = Mps.tells_time

        def event(self) -> Event:
            raise AssertionError("End event 2 was not recorded after start event 1")

        def synchronise(self) -> None:
            host.now += self.asked
            self.asked = 0.0

        asked = 0.0  # seconds of work

    device = Late()
    laps = Laps(device, clock=host)

    def step() -> None:
        for part, seconds in (("forward", 1.0), ("backward", 2.0)):
            device.asked += seconds
            laps(part)

    assert laps.of(step, 2.0) == {"forward": (1.0,) * 5, "backward": (2.0,) * 5}


def test_slow_first_steps_are_not_sampled() -> None:
    first = [5.0, 0.5, 0.4, 0.3, 0.2]
    clock = FakeClock(lambda step: first[step] if step < len(first) else 0.1)
    timing = steady_samples(clock.step, clock.synchronise, measure_seconds=1.0, clock=clock)
    assert timing.note == ""
    assert timing.seconds == pytest.approx([0.1] * len(timing.seconds))
    assert sum(timing.seconds) > 0.999


def test_every_sample_is_synchronised_on_both_sides() -> None:
    clock = FakeClock(lambda _: 0.1)
    steady_samples(clock.step, clock.synchronise, measure_seconds=0.5, clock=clock)
    assert clock.waits == 2 * clock.steps


def test_short_steps_are_sampled_together_unless_latency_is_asked_for() -> None:
    clock = FakeClock(lambda _: 0.001)
    together = steady_samples(clock.step, clock.synchronise, 0.5, clock, shortest_sample_s=0.01)
    assert together.seconds == pytest.approx([0.001] * 50)  # of 10 steps each
    alone = steady_samples(clock.step, clock.synchronise, 0.5, clock, shortest_sample_s=0.0)
    assert len(alone.seconds) == pytest.approx(500, abs=1)


def test_a_time_that_never_settles_is_marked_and_warm_up_ends() -> None:
    clock = FakeClock(lambda step: 0.1 * 1.3 ** min(step, 30))
    timing = steady_samples(clock.step, clock.synchronise, measure_seconds=1.0, clock=clock)
    assert timing.note.startswith("not steady")
    assert len(timing.seconds) >= 5


def test_noise_alone_is_not_called_unsteady() -> None:
    """Steps that scatter by 20 % for no reason, on a hundred machines."""
    marked = 0
    for seed in range(100):
        noise = random.Random(seed)
        clock = FakeClock(lambda _, noise=noise: 0.002 * noise.lognormvariate(0, 0.2))  # type: ignore[misc]
        timing = steady_samples(clock.step, clock.synchronise, 0.5, clock, shortest_sample_s=0.0)
        marked += bool(timing.note)
    assert marked <= 2


def test_a_step_that_gets_slower_as_it_runs_is_reported_as_that() -> None:
    clock = FakeClock(lambda step: 0.01 * (1 + 0.002 * step))
    timing = steady_samples(clock.step, clock.synchronise, measure_seconds=2.0, clock=clock)
    assert "slower while they were sampled" in timing.note
    assert "faster" in drift_note([1.0 - 0.01 * n for n in range(30)])
    assert drift_note([1.0 + 0.001 * n for n in range(30)]) == ""  # 2 %: within what is called the same


@pytest.mark.parametrize(("seconds", "fall"), [(0.4, 0.03), (0.04, 0.03), (0.009, 0.01)])
def test_slow_steps_that_still_fall_are_marked_however_few_are_sampled(seconds: float, fall: float) -> None:
    """By so little that any two stretches that follow one another agree."""
    clock = FakeClock(lambda step: seconds * (1 - fall) ** step)
    timing = steady_samples(clock.step, clock.synchronise, 0.125, clock, least_samples=3, shortest_sample_s=0.0)
    assert "faster while they were sampled" in timing.note
    assert "faster" in drift_note([1.0, 0.98, 0.96, 0.94, 0.92])
    assert drift_note([1.0, 0.96, 0.98, 0.94, 0.92]) == drift_note([1.0, 0.96, 0.92, 0.88]) == ""  # may be chance


def test_a_slow_step_still_gets_five_samples_and_the_time_to_show_that_it_is_steady() -> None:
    clock = FakeClock(lambda _: 10.0)
    timing = steady_samples(clock.step, clock.synchronise, measure_seconds=1.0, clock=clock)
    assert len(timing.seconds) == 5
    assert timing.note == ""
    assert clock.steps == 1 + 2 + 5


def test_noise_of_slow_steps_is_not_called_unsteady() -> None:
    """Steps of which one alone fills a stretch, on a hundred machines; two marked rounds of eight mark a median."""
    marked = 0
    for seed in range(100):
        noise = random.Random(seed)
        clock = FakeClock(lambda _, noise=noise: 0.4 * noise.lognormvariate(0, 0.03))  # type: ignore[misc]
        marked += bool(steady_samples(clock.step, clock.synchronise, 0.125, clock, least_samples=3).note)
    assert marked <= 4  # five in order by chance: 1 in 60


def test_a_planted_change_of_five_percent_is_seen_by_the_intervals() -> None:
    """Two steps whose times scatter by 5 % and differ by 5 %: their intervals part, 95 times of 100 at least."""

    def interval(base: float, seed: int) -> tuple[float, float]:
        noise = random.Random(seed)
        clock = FakeClock(lambda _: base * noise.lognormvariate(0, 0.05))
        return median_interval(steady_samples(clock.step, clock.synchronise, 1.0, clock, shortest_sample_s=0.0).seconds)

    assert sum(interval(0.01, seed)[1] < interval(0.0105, seed + 1000)[0] for seed in range(100)) >= 95


def measured(launches: int, host_s: float, device_s: float) -> tuple[tuple[float, ...], Emulated]:
    """Of a step of so many launches, each of which takes the host and the device so long."""
    time = Time()
    device = Emulated(queue=queue.Queue(time, time.spend))
    return device_seconds(step_of(device, time, launches, host_s, device_s), device, time), device


def step_of(device: Emulated, time: Time, launches: int, host_s: float, device_s: float) -> Callable[[], None]:
    def step() -> None:
        for _ in range(launches):
            time.spend(host_s)
            device.queue.launch(device_s)

    return step


@pytest.mark.parametrize(("host_s", "device_s"), [(1e-5, 5e-5), (1e-5, 1e-6)])
def test_a_slow_host_does_not_show(host_s: float, device_s: float) -> None:
    seconds, _ = measured(100, host_s, device_s)
    assert seconds == pytest.approx([100 * device_s] * DEVICE_SAMPLES)


def test_a_step_that_is_queued_as_soon_as_a_mark_is_has_its_time() -> None:
    """As a replayed graph is: one launch."""

    class SlowMarks(Emulated):
        def event(self) -> queue.Event:
            time.spend(4e-5)
            return super().event()

    time = Time()
    device = SlowMarks(queue=queue.Queue(time, time.spend))
    seconds = device_seconds(step_of(device, time, 1, 6e-5, 1e-3), device, time)
    assert seconds == pytest.approx([1e-3] * DEVICE_SAMPLES)


def test_a_step_that_the_queue_does_not_hold_gives_no_number_in_place_of_a_wrong_one() -> None:
    with pytest.raises(NoClock, match="may have waited for the host"):
        measured(3 * queue.LENGTH, 1e-5, 1e-6)


def test_the_device_is_never_kept_waiting_for_long() -> None:
    """Two seconds are what a system with a display allows a kernel."""
    seconds, device = measured(500, 4e-4, 1e-2)  # 0.2 s to queue, 5 to do
    assert seconds == pytest.approx([5.0] * DEVICE_SAMPLES)
    waited = device.queue.busy_seconds - (DEVICE_SAMPLES + 1) * 5.0
    assert waited == pytest.approx(DEVICE_SAMPLES * LONGEST_WAIT_S)
    with pytest.raises(NoClock):
        measured(500, 1e-3, 1e-2)  # more to queue than that


def test_the_host_is_kept_near_a_device_that_is_slower() -> None:
    """Of launches that are whole steps, a queue holds half a minute."""
    time = Time()
    line = queue.Queue(time, time.spend)
    keep_pace = keeping_pace(Emulated(queue=line), every=2)
    ahead = []
    for _ in range(200):
        time.spend(1e-6)
        line.launch(0.03)
        ahead.append(line.free_at - time.now)
        keep_pace()
    assert 2 * 0.03 < max(ahead) <= 6 * 0.03
    assert min(ahead[10:]) > 0  # and never without work


def test_a_device_without_a_queue_says_so() -> None:
    with pytest.raises(NoClock, match="only an accelerator"):
        device_seconds(lambda: None, Host())


def test_a_device_that_cannot_be_kept_busy_says_so() -> None:
    class Sleepless(Emulated):
        def sleep(self, seconds: float) -> bool:
            return False

    with pytest.raises(NoClock, match="cannot be kept busy"):
        device_seconds(lambda: None, Sleepless())
