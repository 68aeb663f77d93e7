"""Two runs with planted differences, and every way in which two runs may not be comparable."""

import math
import random
from pathlib import Path
from typing import Any

import pytest

from bench.records.record import Record
from bench.records.run_folder import Run, header_of
from bench.regression.compare import Change, Comparison, compare
from tests.configs import new_run
from tests.rows import bad, ok

MODELS = ("lenet5_cifar", "resnet20_cifar", "vgg11_bn_cifar", "vit_tiny_cifar", "squeezenet_cifar", "nin_cifar")
DEVICE = "Fixture CPU, 2 threads"
HEADER: dict[str, Any] = {
    "created": "2026-01-31T12:00:00+00:00",
    "environment": {"device": DEVICE, "torch": "2.15.0"},
    "models": [{"name": name} for name in MODELS],
    "budget": "1ep",
    "rounds": 3,
    "image_sets": {"cifar": {"name": "cifar10", "sha256": "aa"}},
}


def speeds(model: str, level: float, rng: random.Random, rounds: int = 3, **changes: Any) -> list[Record]:
    """Throughput in rounds that differ by about two per cent."""
    return [
        ok(model, "train_images_per_s", level * math.exp(rng.gauss(0, 0.02)), round=n, device="cpu",
            **{"batch_size": 16, **changes})
        for n in range(rounds)
    ]  # fmt: skip


def whole_run(seed: int, **levels: float) -> list[Record]:
    """Parameters and throughput of every network."""
    rng = random.Random(seed)
    return [
        record
        for model in MODELS
        for record in (ok(model, "params", 1000), *speeds(model, levels.get(model, 100.0), rng))
    ]


def store(tmp_path: Path, name: str, records: list[Record], **header: Any) -> Run:
    run = new_run(tmp_path, name, header_of({**HEADER, **header}))
    with run.writer() as writer:
        writer.append(records)
    return run


def compared(tmp_path: Path, base: list[Record], new: list[Record], **header_of_new: Any) -> Comparison:
    return compare(store(tmp_path, "base", base), store(tmp_path, "new", new, **header_of_new), 0.02)


def change_of(found: Comparison, model: str, metric: str) -> Change:
    (change,) = [c for c in found.changes if (c.model, c.metric) == (model, metric)]
    return change


def reason_of(found: Comparison, model: str, metric: str) -> str:
    (reason,) = [c.reason for c in found.incomparable if (c.model, c.metric) == (model, metric)]
    return reason


def test_a_round_that_needed_a_smaller_batch_is_held_against_no_whole_one(tmp_path: Path) -> None:
    small = ok("resnet20_cifar", "train_images_per_s", 50.0, round=3, device="cpu", batch_size=8, asked_batch_size=16)
    found = compared(tmp_path, whole_run(1), [*whole_run(2), small])
    change = change_of(found, "resnet20_cifar", "train_images_per_s")
    assert (change.units, change.ratio) == ((3, 3), pytest.approx(1.0, abs=0.05))


def test_planted_changes_are_found_in_both_directions_and_nothing_else(tmp_path: Path) -> None:
    found = compared(tmp_path, whole_run(1), whole_run(2, resnet20_cifar=80.0, nin_cifar=125.0))
    assert change_of(found, "resnet20_cifar", "train_images_per_s").verdict == "slower"
    assert change_of(found, "nin_cifar", "train_images_per_s").verdict == "faster"
    others = [c for c in found.changes if c.model not in ("resnet20_cifar", "nin_cifar")]
    assert {c.verdict for c in others} <= {"same", "unclear"}


def test_runs_of_the_same_code_hardly_ever_differ(tmp_path: Path) -> None:
    """Forty comparisons that may each be wrong once in twenty times: more than six is not chance."""
    wrong = 0
    for seed in range(40):
        found = compared(tmp_path, whole_run(2 * seed), whole_run(2 * seed + 1))
        wrong += any(c.verdict in ("faster", "slower") for c in found.changes)
        for name in ("base", "new"):
            (tmp_path / name / "records.jsonl").unlink()
    assert wrong <= 6


def test_the_interval_holds_the_planted_ratio(tmp_path: Path) -> None:
    change = change_of(
        compared(tmp_path, whole_run(3), whole_run(4, vgg11_bn_cifar=90.0)), "vgg11_bn_cifar", "train_images_per_s"
    )
    low, high = change.log_ratio
    assert low < math.log(0.9) < high
    assert change.units == (3, 3)


def test_counts_are_compared_exactly(tmp_path: Path) -> None:
    base = [ok("lenet5_cifar", "params", 62_006), ok("nin_cifar", "params", 5)]
    found = compared(tmp_path, base, [ok("lenet5_cifar", "params", 62_007), ok("nin_cifar", "params", 5)])
    assert change_of(found, "lenet5_cifar", "params").verdict == "worse"
    assert change_of(found, "nin_cifar", "params").verdict == "same"


def test_a_value_measured_once_is_unclear_unless_it_is_equal(tmp_path: Path) -> None:
    once = {"dataset": "cifar10", "budget": "10ep", "batch_size": 32}
    base = [ok("lenet5_cifar", "top1", 0.5, **once), ok("nin_cifar", "top1", 0.5, **once)]
    new = [ok("lenet5_cifar", "top1", 0.4, **once), ok("nin_cifar", "top1", 0.5, **once)]
    found = compared(tmp_path, base, new)
    change = change_of(found, "lenet5_cifar", "top1")
    assert change.verdict == "unclear"
    assert "measured only once" in change.note
    assert change_of(found, "nin_cifar", "top1").verdict == "same"


def test_accuracy_is_compared_over_its_seeds(tmp_path: Path) -> None:
    def seeds(level: float) -> list[Record]:
        values = (level - 0.004, level, level + 0.004)
        return [
            ok("lenet5_cifar", "top1", value, seed=n, dataset="cifar10", budget="10ep")
            for n, value in enumerate(values)
        ]

    change = change_of(compared(tmp_path, seeds(0.60), seeds(0.50)), "lenet5_cifar", "top1")
    assert change.verdict == "worse"
    assert change.units == (3, 3)


def test_memory_that_is_measured_is_repeatable_up_to_the_margin(tmp_path: Path) -> None:
    base = [ok(m, "peak_training_bytes", 1e9, batch_size=16) for m in MODELS[:2]]
    new = [ok(m, "peak_training_bytes", v, batch_size=16) for m, v in zip(MODELS, (1.01e9, 1.3e9), strict=False)]
    found = compared(tmp_path, base, new)
    assert [c.verdict for c in found.changes] == ["same", "worse"]


def test_another_device_is_compared_only_where_it_does_not_matter(tmp_path: Path) -> None:
    trained = [ok("lenet5_cifar", "top1", 0.5, dataset="cifar10", budget="10ep")]
    timed = [ok("nin_cifar", "top1", 0.5, dataset="cifar10", budget="60s")]
    found = compared(
        tmp_path, whole_run(1) + trained + timed, whole_run(2) + trained + timed,
        environment={"device": "NVIDIA H200", "torch": "2.15.0"},
    )  # fmt: skip
    assert [(d.fact, d.base, d.new) for d in found.differences] == [("device", DEVICE, "NVIDIA H200")]
    reason = reason_of(found, "lenet5_cifar", "train_images_per_s")
    assert reason == f"measured on another device: {DEVICE} in base, NVIDIA H200 in new"
    assert change_of(found, "lenet5_cifar", "params").verdict == "same"
    assert change_of(found, "lenet5_cifar", "top1").verdict == "same"
    assert "another device" in reason_of(found, "nin_cifar", "top1")  # 60 s buy more on another device


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"batch_size": 32}, "batch size: 16 in base, 32 in new"),
        ({"precision": "bf16"}, "precision: fp32 in base, bf16 in new"),
        ({"compile": True}, "compiled: no in base, yes in new"),
        ({"memory_format": "channels_last"}, "memory format: contiguous in base, channels_last in new"),
    ],
)
def test_other_conditions_are_said_and_not_compared(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    rng = random.Random(0)
    base, new = speeds("lenet5_cifar", 100, rng), speeds("lenet5_cifar", 100, rng, **change)
    found = compared(tmp_path, base, new)
    assert reason_of(found, "lenet5_cifar", "train_images_per_s") == reason
    assert not found.changes


def test_images_of_one_name_that_are_not_the_same_are_not_compared(tmp_path: Path) -> None:
    trained = [ok("lenet5_cifar", "top1", 0.5, dataset="cifar10", budget="10ep")]
    found = compared(tmp_path, trained, trained, image_sets={"cifar": {"name": "cifar10", "sha256": "bb"}})
    assert "other images" in reason_of(found, "lenet5_cifar", "top1")


def test_other_budgets_are_not_compared(tmp_path: Path) -> None:
    base, new = ([ok("lenet5_cifar", "top1", 0.5, dataset="cifar10", budget=b)] for b in ("10ep", "60s"))
    found = compared(tmp_path, base, new)
    assert {c.reason for c in found.incomparable} == {
        "budget 10ep: new was trained under 60s",
        "budget 60s: base was trained under 10ep",
    }


def test_a_half_finished_run_says_what_it_lacks(tmp_path: Path) -> None:
    half = [r for r in whole_run(2) if r.model != "nin_cifar" and not (r.model == "vit_tiny_cifar" and r.round == 2)]
    half = [r for r in half if not (r.model == "lenet5_cifar" and r.probe == "throughput")]
    found = compared(tmp_path, whole_run(1), half)
    assert found.only_in_base == ("network nin_cifar",)
    assert found.unfinished == ("new has nothing of nin_cifar", "new has fewer than its 3 rounds of vit_tiny_cifar")
    assert "no such row" in reason_of(found, "lenet5_cifar", "train_images_per_s")
    assert change_of(found, "vit_tiny_cifar", "train_images_per_s").units == (3, 2)


def test_a_failed_row_is_no_number_and_counts_as_lost(tmp_path: Path) -> None:
    new = [
        bad(r.model, r.metric, "oom", "out of memory", round=r.round)
        if (r.model, r.metric) == ("lenet5_cifar", "train_images_per_s")
        else r
        for r in whole_run(2)
    ]
    found = compared(tmp_path, whole_run(1), new)
    assert reason_of(found, "lenet5_cifar", "train_images_per_s") == "oom in new: out of memory"
    assert [r.model for r in found.regressions(0.05)[0]] == ["lenet5_cifar"]


def test_a_count_that_is_a_lower_bound_is_said(tmp_path: Path) -> None:
    base, new = ok("lenet5_cifar", "macs", 100), ok("lenet5_cifar", "macs", 90, flags=("lower_bound",))
    assert change_of(compared(tmp_path, [base], [new]), "lenet5_cifar", "macs").note == "a lower bound in new"


def test_a_failed_round_among_good_ones_is_said(tmp_path: Path) -> None:
    new = whole_run(2)
    lost = next(n for n, r in enumerate(new) if r.metric == "train_images_per_s" and r.round == 1)
    new[lost] = bad(new[lost].model, "train_images_per_s", "failed", "x", round=1)
    change = change_of(compared(tmp_path, whole_run(1), new), new[lost].model, "train_images_per_s")
    assert change.note == "1 of 3 failed in new"
    assert change.units == (3, 2)


def test_only_what_is_significantly_worse_fails_a_gate(tmp_path: Path) -> None:
    found = compared(tmp_path, whole_run(5), whole_run(6, resnet20_cifar=70.0, vgg11_bn_cifar=50.0, nin_cifar=140.0))
    (worst, second), together = found.regressions(0.05)
    assert (worst.model, worst.metric) == ("vgg11_bn_cifar", "train_images_per_s")
    assert (second.model, together) == ("resnet20_cifar", [])
    assert found.regressions(1.5) == ([], [])


def test_a_machine_that_is_slower_as_a_whole_is_said(tmp_path: Path) -> None:
    found = compared(tmp_path, whole_run(7), whole_run(8, **dict.fromkeys(MODELS, 60.0)))
    (shift,) = found.shifts
    assert shift.metric == "train_images_per_s"
    assert math.exp(shift.log_ratio) == pytest.approx(0.6, abs=0.05)


def test_what_the_whole_machine_did_is_apart_from_a_network_that_is_worse_still(tmp_path: Path) -> None:
    levels = {**dict.fromkeys(MODELS, 60.0), "nin_cifar": 30.0}
    alone, together = compared(tmp_path, whole_run(7), whole_run(8, **levels)).regressions(0.05)
    assert [row.model for row in alone] == ["nin_cifar"]
    assert {row.model for row in together} == {*MODELS} - {"nin_cifar"}


def test_metrics_and_networks_of_one_run_only_are_listed(tmp_path: Path) -> None:
    base = [ok("lenet5_cifar", "params", 1), ok("lenet5_cifar", "macs", 2)]
    new = [ok("lenet5_cifar", "params", 1), ok("nin_cifar", "params", 1)]
    found = compared(tmp_path, base, new)
    assert found.only_in_base == ("metric macs",)
    assert found.only_in_new == ("network nin_cifar",)


def test_under_any_conditions_the_note_says_what_differs(tmp_path: Path) -> None:
    base = [ok("lenet5_cifar", "peak_training_bytes", 100.0, predicted=True, precision="fp32", batch_size=8)]
    new = [ok("lenet5_cifar", "peak_training_bytes", 150.0, precision="bf16", batch_size=8)]
    runs = [store(tmp_path, name, rows) for name, rows in (("base", base), ("new", new))]
    assert not compare(runs[0], runs[1], 0.02).changes
    found = compare(runs[0], runs[1], 0.02, under_any_conditions=True)
    change = change_of(found, "lenet5_cifar", "peak_training_bytes")
    assert (change.verdict, change.exact) == ("worse", False)
    assert change.note == "precision: fp32 in base, bf16 in new; predicted: yes in base, no in new"
    assert not found.incomparable


def test_first_budgets_meet_under_any_conditions_and_others_under_their_own(tmp_path: Path) -> None:
    base = [ok("lenet5_cifar", "top1", value, dataset="cifar10", budget=b) for value, b in ((0.5, "1ep"), (0.7, "5ep"))]
    new = [ok("lenet5_cifar", "top1", value, dataset="cifar10", budget=b) for value, b in ((0.6, "2ep"), (0.7, "5ep"))]
    runs = [store(tmp_path, "base", base, budget="1ep"), store(tmp_path, "new", new, budget="2ep")]
    found = compare(runs[0], runs[1], 0.02, under_any_conditions=True)
    assert [(c.budget, c.base, c.new) for c in found.changes] == [
        ("1ep", pytest.approx(0.5), pytest.approx(0.6)),
        ("5ep", pytest.approx(0.7), pytest.approx(0.7)),
    ]
    assert "budget: 1ep in base, 2ep in new" in found.changes[0].note
