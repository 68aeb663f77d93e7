"""A network timed the usual way, which is that of timm's benchmark script: 10 steps to warm up, the mean of 40.

    python -m tests.perf.usual_way DEVICE BATCH_SIZE NETWORK

in a process of its own, as that script is run, on PyTorch's own settings. Prints images per second.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WARM_UP, STEPS = 10, 40


def measured_in_a_process(device: str, batch_size: int, network: str) -> float:
    command = [sys.executable, "-m", __name__, device, str(batch_size), network]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return float(done.stdout)


def _measure(device: str, batch_size: int, network: str) -> float:
    import torch

    from bench.device import accelerator
    from bench.models import REGISTRY

    place = torch.device(device)
    spec = REGISTRY[network]
    model = spec.build(num_classes=spec.num_classes).eval().to(place)
    images = torch.randn(batch_size, *spec.input_size, device=place)
    with torch.no_grad():
        for _ in range(WARM_UP):
            model(images)
        total = 0.0
        for _ in range(STEPS):
            accelerator.of(place).synchronise()
            start = time.perf_counter()
            model(images)
            accelerator.of(place).synchronise()
            total += time.perf_counter() - start
    return STEPS * batch_size / total


if __name__ == "__main__":
    print(_measure(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
