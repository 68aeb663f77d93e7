"""The device's own time, by a device and a host whose clocks the test holds."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from bench.device.timing import DEVICE_SAMPLES, LONGEST_WAIT_S, NoClock, device_seconds
from bench.device.torch_devices import Host
from tests.emulated.device import Emulated
from tests.emulated.queue import LENGTH, Queue


@dataclass
class Time:
    """One that passes only when somebody works or waits."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now

    def spend(self, seconds: float) -> None:
        self.now += seconds


def measured(launches: int, host_s: float, device_s: float) -> tuple[tuple[float, ...], Emulated]:
    """Of a step of so many launches, each of which takes the host and the device so long."""
    time = Time()
    device = Emulated(queue=Queue(time, time.spend))
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


def test_a_step_that_the_queue_does_not_hold_gives_no_number_in_place_of_a_wrong_one() -> None:
    with pytest.raises(NoClock, match="may have waited for the host"):
        measured(3 * LENGTH, 1e-5, 1e-6)


def test_the_device_is_never_kept_waiting_for_long() -> None:
    """Two seconds are what a system with a display allows a kernel."""
    seconds, device = measured(500, 4e-4, 1e-2)  # 0.2 s to queue, 5 to do
    assert seconds == pytest.approx([5.0] * DEVICE_SAMPLES)
    waited = device.queue.busy_seconds - (DEVICE_SAMPLES + 1) * 5.0
    assert waited == pytest.approx(DEVICE_SAMPLES * LONGEST_WAIT_S)
    with pytest.raises(NoClock):
        measured(500, 1e-3, 1e-2)  # more to queue than that


def test_a_device_without_a_queue_says_so() -> None:
    with pytest.raises(NoClock, match="only an accelerator"):
        device_seconds(lambda: None, Host())


def test_a_device_that_cannot_be_kept_busy_says_so() -> None:
    class Sleepless(Emulated):
        def sleep(self, seconds: float) -> bool:
            return False

    with pytest.raises(NoClock, match="cannot be kept busy"):
        device_seconds(lambda: None, Sleepless())
