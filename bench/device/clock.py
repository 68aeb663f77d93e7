"""How long the device itself works on a step, without the pauses in which it waits for the host."""

from __future__ import annotations

from collections.abc import Callable

import torch

SAMPLES = 7
CYCLES_PER_SECOND = 2e9  # of a GPU, roughly: only the length of a wait depends on it


def device_seconds(step: Callable[[], object], device: torch.device, step_seconds: float) -> tuple[float, ...]:
    """Seconds between two CUDA events around `step`, with its launches queued before the first of them starts.

    The device is kept busy while the host queues the step (which takes at most `step_seconds`), so that a host that
    is slower than the device does not show. Of a step of more than about a thousand launches, which is what the queue
    holds, a part of the host's time remains in the result.
    """
    seconds = []
    for _ in range(SAMPLES):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(device)
        torch.cuda._sleep(int(2 * step_seconds * CYCLES_PER_SECOND))
        begin.record()
        step()
        end.record()
        end.synchronize()
        seconds.append(begin.elapsed_time(end) / 1e3)
    return tuple(seconds)
