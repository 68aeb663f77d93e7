"""An accelerator that is not there: real computation on the host, under a device with a queue and a clock of its own.

    BENCH_ACCELERATOR=tests.emulated:Emulated python -m bench all --device emulated

Tensors are the host's, so that every number is that of a CPU and nothing notices when devices are mixed. What PyTorch's
dispatcher is asked for is a launch: computed at once, but "done" only later, when the emulated clock has come to it.
The environment variable EMULATED plants what can go wrong, as words: `count=2`, `memory=64` (MiB), `reach=64` (KiB, of
the largest tensor: whatever touches one above it breaks the device for the process), `mig`; and faults in
processes whose name matches a glob (that of a worker is what it works on): `oom=GLOB`, `capture=GLOB`, `hang=GLOB`,
`lost=GLOB`, `throttle=GLOB`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.device import accelerator, execution
from tests.emulated.device import Emulated

__all__ = ["Emulated", "at_work"]


@contextmanager
def at_work(words: str = "") -> Iterator[Emulated]:
    """Let this process work on an emulated device, and be as it was afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(accelerator.VARIABLE, f"{__name__}:Emulated")
        patch.setenv("EMULATED", words)
        patch.setattr(accelerator, "_chosen", [])
        patch.setattr(execution, "_failed_captures", [])
        accelerator._device.cache_clear()
        device = accelerator.choose("emulated:0")
        assert isinstance(device, Emulated)
        try:
            yield device
        finally:
            device.leave()
            accelerator._device.cache_clear()
