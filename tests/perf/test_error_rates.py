"""How often `ab` is wrong, and how often `--benchmark-compare-fail=median:5%` is, in the same trials.

    BENCH_ERROR_RATES=results/error-rates python -m pytest tests/perf/test_error_rates.py -m perf -s

A trial is one comparison of one step of one network, by fresh worker processes. In half of the trials both run the
same revision; in a quarter each, B's steps really do 5 % or 10 % of extra work (tests/perf/planted.py). Right before a
trial two of the same workers are timed one after the other for a second each, which is pytest-benchmark's default, and
its own rule is applied to the medians.

Every trial is appended to trials.jsonl in the folder, and a run that was interrupted goes on from there; summary.json
has the rates. BENCH_ERROR_TRIALS=200 is the number of trials of each half; BENCH_ERROR_STREAMS=2 how many run at once.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.utils import parse_compare_fail

from bench.cli.ab import ERROR, WORKERS
from bench.regression import MARGIN
from bench.regression.ab.paired import Pairing, Rules, run_all
from bench.regression.ab.sides import Side, WorkerProcess, workers
from tests.perf.planted import copy_of_this_revision, products_per_step, slower_revision

pytestmark = pytest.mark.perf

NETWORKS = ("lenet5_mnist", "lenet5_cifar", "cnn_mnist", "resnet20_cifar", "squeezenet_cifar")
BATCH_SIZE = 4  # steps of 1 to 20 ms on one core
STEPS = tuple((network, what) for network in NETWORKS for what in ("inference", "train"))
SAME = "A/A"
TIME_LIMIT_S = {SAME: 20.0, "5 %": 60.0, "10 %": 20.0}
PLANTED = {"5 %": 0.05, "10 %": 0.10}
SEQUENTIAL_S = 1.0  # of each side, as pytest-benchmark's --benchmark-max-time
GATE = "median:5%"

TRIALS = int(os.environ.get("BENCH_ERROR_TRIALS", "200"))
STREAMS = int(os.environ.get("BENCH_ERROR_STREAMS", "2"))

Trial = dict[str, Any]


@dataclass(frozen=True)
class Sitting:
    """One start of the workers, in which every step is compared once."""

    kind: str
    number: int


def sittings(trials: int) -> list[Sitting]:
    """Kinds alternate, so that an interrupted run has something of each."""
    half = -(-trials // len(STEPS))
    quarter = -(-half // 2)
    kinds = [SAME, *PLANTED]
    planned = [Sitting(kind, number) for number in range(half) for kind in kinds]
    return [one for one in planned if one.kind == SAME or one.number < quarter]


def gate_fails(network: str, what: str, a: WorkerProcess, b: WorkerProcess) -> tuple[float, bool]:
    """What comparing two stored runs would have said: ratio of medians, and whether it is called a regression."""
    medians = []
    for worker in (a, b):
        worker.build(network, what)
        medians.append({"median": statistics.median(_for_a_second(worker))})
    rule = parse_compare_fail(GATE)
    return medians[1]["median"] / medians[0]["median"], bool(rule.fails(medians[1], medians[0]))


def _for_a_second(worker: WorkerProcess) -> Iterator[float]:
    end = time.perf_counter() + SEQUENTIAL_S
    while time.perf_counter() < end:
        yield worker.sample(1)


def sit(sitting: Sitting, trees: Mapping[str, Path], todo: Sequence[tuple[str, str]]) -> Iterator[Trial]:
    """Every trial of a sitting that is still to be done."""
    flags = ("--device", "cpu", "--batch-size", str(BATCH_SIZE))
    base = Side("A", sys.executable, trees["base"], trees["base"], flags)
    new = Side("B", sys.executable, trees[sitting.kind], trees[sitting.kind], flags)
    rules = Rules(MARGIN, None, TIME_LIMIT_S[sitting.kind], ERROR)
    with workers(base, WORKERS, 60.0) as a, workers(new, WORKERS, 60.0) as b:
        for worker in (*a, *b):
            worker.wait_until_ready()
        for network, what in todo:
            ratio, fails = gate_fails(network, what, a[0], b[0])
            (result,) = run_all([Pairing(network, network, what)], a, b, rules, random.getrandbits(32))
            assert result.comparison is not None, result.failure
            yield {
                "kind": sitting.kind,
                "number": sitting.number,
                "network": network,
                "step": what,
                "verdict": result.verdict,
                "log_ratio": result.comparison.centre,
                "seconds": result.comparison.seconds,
                "pairs": len(result.comparison.pairs),
                "gate_ratio": ratio,
                "gate_fails": fails,
            }


def summary(trials: Sequence[Trial]) -> dict[str, dict[str, float]]:
    """Shares of each verdict by kind of trial, beside those of the gate."""
    found = {}
    for kind in (SAME, *PLANTED):
        rows = [trial for trial in trials if trial["kind"] == kind]
        if not rows:
            continue
        found[kind] = {
            "trials": len(rows),
            **{word: sum(row["verdict"] == word for row in rows) / len(rows)
               for word in ("slower", "faster", "same", "unclear")},
            "median_seconds": statistics.median(row["seconds"] for row in rows),
            "median_log_ratio": statistics.median(row["log_ratio"] for row in rows),
            "gate_fails": sum(row["gate_fails"] for row in rows) / len(rows),
        }  # fmt: skip
    return found


def table(rates: Mapping[str, Mapping[str, float]]) -> str:
    """As docs/regressions.md shows it."""
    lines = [
        f"| B against A | trials | slower | faster | same | unclear | median time | {GATE} fails |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind, row in rates.items():
        shares = " | ".join(f"{row[word]:.1%}" for word in ("slower", "faster", "same", "unclear"))
        what = "the same code" if kind == SAME else f"{kind} of extra work"
        lines.append(
            f"| {what} | {row['trials']:.0f} | {shares} | {row['median_seconds']:.1f} s | {row['gate_fails']:.1%} |"
        )
    return "\n".join(lines)


def test_error_rates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # of the workers: one core for each stream
    folder = Path(os.environ.get("BENCH_ERROR_RATES") or tempfile.mkdtemp(prefix="error-rates-"))
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "trials.jsonl"
    trials: list[Trial] = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    done = {(t["kind"], t["number"], t["network"], t["step"]) for t in trials}
    calibration = folder / "calibration.json"
    if not calibration.exists():
        calibration.write_text(json.dumps(products_per_step(NETWORKS, BATCH_SIZE, STREAMS)))
    products = json.loads(calibration.read_text())
    trees = {
        kind: slower_revision(tmp_path / kind.replace(" ", ""), products, share) for kind, share in PLANTED.items()
    }
    trees |= {"base": copy_of_this_revision(tmp_path / "base"), SAME: copy_of_this_revision(tmp_path / "same")}
    writing = threading.Lock()

    def work(sitting: Sitting) -> None:
        todo = [step for step in STEPS if (sitting.kind, sitting.number, *step) not in done]
        if not todo:
            return
        for trial in sit(sitting, trees, todo):
            with writing, file.open("a", encoding="utf-8") as out:
                trials.append(trial)
                out.write(json.dumps(trial) + "\n")
        print(f"\n{len(trials)} trials\n{table(summary(trials))}", flush=True)

    with ThreadPoolExecutor(STREAMS) as pool:
        list(pool.map(work, sittings(TRIALS)))
    rates = summary(trials)
    (folder / "summary.json").write_text(json.dumps(rates, indent=2) + "\n", encoding="utf-8")
    print(f"{folder / 'summary.json'}")
    assert rates[SAME]["slower"] + rates[SAME]["faster"] <= 0.01
    assert rates["5 %"]["slower"] >= 0.95
    assert rates["10 %"]["slower"] >= 0.95
