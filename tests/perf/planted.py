"""A slower revision of this project: a copy whose timed steps really do a known share of extra work.

The extra work is small matrix products after every step, so many that they take `share` of the step's own time. How
many that is for each step is measured here on one core, by the time that the processor spends on either, with as many
processes side by side as there will be later: a large step waits for memory that others use too, a small product never.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SIZE = 32  # of the matrices: one product takes microseconds
PRODUCTS = 500  # timed together
MEASURE_S = 2.0  # for each step

# Appended to the copy's bench/probes/steps.py.
PATCH = """

def _with_extra_work(make: MakeStep, what: str, extra: dict[str, int]) -> MakeStep:
    def made(task: Task, batch_size: int) -> Step:
        step = make(task, batch_size)
        left = torch.ones({size}, {size})
        right, product = left.clone(), left.clone()

        def slower() -> Tensor:
            output = step()
            for _ in range(extra[f"{{task.spec.name}} {{what}}"]):
                torch.mm(left, right, out=product)
            return output

        return slower

    return made


_EXTRA = {extra}
inference_step = _with_extra_work(inference_step, "inference", _EXTRA)
training_step = _with_extra_work(training_step, "train", _EXTRA)
"""


def copy_of_this_revision(folder: Path) -> Path:
    """The packages that a worker runs."""
    for package in ("bench", "models"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def slower_revision(folder: Path, products: dict[str, float], share: float) -> Path:
    """A copy in which every step takes `share` more; `products` says how many products take as long as each step."""
    tree = copy_of_this_revision(folder)
    extra = {step: max(1, round(share * count)) for step, count in products.items()}
    steps = tree / "bench" / "probes" / "steps.py"
    steps.write_text(steps.read_text(encoding="utf-8") + PATCH.format(size=SIZE, extra=extra), encoding="utf-8")
    return tree


def products_per_step(networks: Sequence[str], batch_size: int, processes: int) -> dict[str, float]:
    """How many matrix products take as long as a step of each network, measured in processes like a worker's."""

    def measured(number: int) -> dict[str, float]:
        first = number * len(networks) // processes  # each begins with another network
        order = [*networks[first:], *networks[:first]]
        command = [sys.executable, "-m", "tests.perf.planted", str(batch_size), *order]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        counts: dict[str, float] = json.loads(done.stdout)
        return counts

    with ThreadPoolExecutor(processes) as pool:
        counts = list(pool.map(measured, range(processes)))
    return {step: statistics.geometric_mean(count[step] for count in counts) for step in counts[0]}


def _measure(networks: Sequence[str], batch_size: int) -> dict[str, float]:
    import torch

    from bench.config import Task
    from bench.engines.isolation import keep_freed_memory
    from bench.models import REGISTRY
    from bench.probes.steps import inference_step, training_step
    from bench.runner.request import Request, resolve

    keep_freed_memory()
    left = torch.ones(SIZE, SIZE)
    right, product = left.clone(), left.clone()
    config, _ = resolve(Request(device="cpu"), (), "cpu")
    counts = {}
    for name in networks:
        for what, make in (("inference", inference_step), ("train", training_step)):
            step = make(Task(REGISTRY[name], config), batch_size)
            ratios: list[float] = []
            begin = time.thread_time()
            while time.thread_time() - begin < MEASURE_S:
                start = time.thread_time()
                step()
                middle = time.thread_time()
                for _ in range(PRODUCTS):
                    torch.mm(left, right, out=product)
                end = time.thread_time()
                ratios.append(math.log((middle - start) / (end - middle)))
            settled = ratios[len(ratios) // 4 :]
            counts[f"{name} {what}"] = PRODUCTS * math.exp(statistics.median(settled))
    return counts


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[2:], int(sys.argv[1]))))
