"""One number for each network and metric, from all of its seeds and rounds; unlike conditions are kept apart."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace
from pathlib import Path

import pytest

from bench.metrics import METRICS
from bench.records.run_folder import RunHeader
from bench.render.results import NOT_RUN, Results, cells_of, read_results, to_table, worst_status, write_csv
from bench.render.results.networks import kept_apart, unlisted
from tests.configs import new_run
from tests.render.conftest import Reader, bad, counts, listed, ok, speeds, training


def csv_of(results: Results) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(write_csv(to_table(results)))))


def test_seeds_are_averaged_with_students_interval() -> None:
    # By hand: mean 0.6, standard deviation 0.1, t(0.975, 2 degrees) = 4.30265; 4.30265 * 0.1 / sqrt(3) = 0.24841
    rows = [row for seed, top1 in enumerate((0.5, 0.6, 0.7)) for row in training("a_cifar", top1, seed=seed)]
    cell = cells_of(rows)["a_cifar", "top1"]
    assert cell.value == pytest.approx(0.6)
    assert (cell.low, cell.high) == pytest.approx((0.6 - 0.24841, 0.6 + 0.24841), abs=1e-5)


def test_two_seeds_never_reach_beyond_a_fraction() -> None:
    # t(0.975, 1 degree) = 12.7: the raw interval of two seeds would be -0.35 to 1.55
    cell = cells_of([*training("a_cifar", 0.45), *training("a_cifar", 0.75, seed=1)])["a_cifar", "top1"]
    assert (cell.low, cell.high) == (0.0, 1.0)


def test_one_seed_has_wilsons_interval() -> None:
    # Wilson 1927 for 50 of 100, as printed in textbooks
    cell = cells_of(training("a_cifar", 0.5, trials=100))["a_cifar", "top1"]
    assert (cell.low, cell.high) == pytest.approx((0.4038, 0.5962), abs=1e-4)


def test_throughput_has_the_order_statistics_of_its_samples() -> None:
    # n = 12: the third smallest and the third largest sample cover the median in 96 % of cases
    row = ok("a", "train_images_per_s", 6.5, samples=tuple(float(n) for n in range(1, 13)), batch_size=8)
    cell = cells_of([row])["a", "train_images_per_s"]
    assert (cell.value, cell.low, cell.high) == (6.5, 3.0, 10.0)


def test_rounds_have_the_interval_between_their_medians() -> None:
    # By hand: logarithms of the medians 100, 110, 121 are ln 110 - d, ln 110, ln 110 + d with d = ln 1.1, so the
    # standard deviation is d and half the interval 4.30265 * d / sqrt(3) = 0.23677; the value is the middle round's.
    rows = [
        ok("a", "train_images_per_s", middle, samples=(0.5 * middle, middle, 1.5 * middle), round=number)
        for number, middle in enumerate((110.0, 100.0, 121.0))
    ]
    cell = cells_of(rows)["a", "train_images_per_s"]
    assert cell.value == 110
    assert (cell.low, cell.high) == pytest.approx((110 * math.exp(-0.23677), 110 * math.exp(0.23677)), rel=1e-4)


def test_a_percentile_of_each_round_is_no_mean_of_seeds() -> None:
    rows = [ok("a", "latency_p99_ms", value, round=number) for number, value in enumerate((1.0, 2.0, 9.0))]
    cell = cells_of(rows)["a", "latency_p99_ms"]
    assert cell.value == 2.0
    assert cell.low < 2.0 < cell.high
    two = cells_of(rows[:2])["a", "latency_p99_ms"]
    assert (two.value, two.low, two.high) == (1.5, 1.0, 2.0)


def test_a_round_at_a_smaller_batch_takes_the_place_of_no_other() -> None:
    """Such as the second look at the end of a run, in less memory than the first."""
    rows = [
        ok("a", "train_images_per_s", 100.0, round=0, batch_size=64, asked_batch_size=64),
        ok("a", "train_images_per_s", 70.0, round=1, batch_size=32, asked_batch_size=64),
    ]
    cell = cells_of(rows)["a", "train_images_per_s"]
    assert (cell.value, cell.batch_size, cell.asked_batch_size, cell.lost) == (100.0, 64, None, (rows[1],))
    cell = cells_of(rows[1:])["a", "train_images_per_s"]
    assert (cell.value, cell.batch_size, cell.asked_batch_size, cell.lost) == (70.0, 32, 64, ())


def test_a_failed_round_stays_visible() -> None:
    rows = [ok("a", "latency_ms", 3.0), bad("a", "latency_ms", "timeout", "too slow", round=1)]
    cell = cells_of(rows)["a", "latency_ms"]
    assert (cell.value, cell.status, cell.lost) == (3.0, "timeout", (rows[1],))


def test_a_count_has_no_interval() -> None:
    assert not cells_of([ok("a", "params", 7), ok("a", "params", 7, seed=1)])["a", "params"].has_interval


def test_a_newer_row_replaces_an_older_one(read: Reader) -> None:
    results = read([bad("resnet20_cifar", "params", "failed", "boom"), ok("resnet20_cifar", "params", 10)])
    assert results.cell("resnet20_cifar", "params").value == 10
    assert csv_of(results)[0]["status"] == "ok"


def test_a_failed_seed_shows_in_the_status_and_not_in_the_mean() -> None:
    rows = [*training("a_cifar", 0.5), bad("a_cifar", "top1", "timeout", "too slow", seed=1)]
    cell = cells_of(rows)["a_cifar", "top1"]
    assert (cell.value, cell.status) == (0.5, "timeout")


@pytest.mark.parametrize(
    ("statuses", "worst"),
    [
        (["ok", "skipped"], "ok"),
        (["skipped"], "skipped"),
        (["ok", "oom"], "oom"),
        (["oom", "timeout", "skipped"], "timeout"),
        (["timeout", "failed", "ok"], "failed"),
        ([], NOT_RUN),
    ],
)
def test_worst_status(statuses: list[str], worst: str) -> None:
    assert worst_status(statuses) == worst


def test_columns_of_the_csv(read: Reader) -> None:
    rows = [*counts("resnet20_cifar", 269_722, 40_551_000, 9e5), *speeds("resnet20_cifar", 4e7)]
    models = [listed("resnet20_cifar"), listed("lenet5_cifar")]
    table = csv_of(read([*rows, *training("resnet20_cifar", 0.6)], models))
    uncertain = ("inference_images_per_s", "train_images_per_s", "achieved_flops_per_s", "top1")
    intervals = [f"{name}_{end}" for name in uncertain for end in ("low", "high")]
    facts = "model family year track dataset budget batch_size precision status published_source reference_source"
    assert sorted(table[0]) == sorted([*facts.split(), *METRICS, *intervals])
    resnet, lenet = table
    assert (resnet["params"], resnet["year"], resnet["batch_size"]) == ("269722", "2015", "64")
    assert [resnet[fact] for fact in ("dataset", "budget", "precision", "status")] == ["cifar10", "20s", "fp32", "ok"]
    assert (lenet["params"], lenet["status"]) == ("", NOT_RUN)
    assert float(resnet["top1_low"]) < float(resnet["top1"]) < float(resnet["top1_high"])


def test_two_batch_sizes_are_both_named(read: Reader) -> None:
    rows = [
        ok("resnet20_cifar", "inference_images_per_s", 10.0, batch_size=256),
        ok("resnet20_cifar", "train_images_per_s", 5.0, batch_size=64),
    ]
    assert csv_of(read(rows))[0]["batch_size"] == "256/64"


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1+1", "-2", "@SUM(A1)", "\t=1"])
def test_a_spreadsheet_sees_no_formula(read: Reader, text: str) -> None:
    (row,) = csv_of(read([ok(text, "top1", 0.5, dataset=text, budget=text, precision=text)]))
    for column in ("model", "family", "dataset", "budget"):
        assert row[column] == f"'{text}", column


def test_a_negative_number_stays_a_number(read: Reader) -> None:
    rows = [ok("resnet20_cifar", "train_loss", -0.5), ok("lenet5_cifar", "train_loss", 1.25)]
    assert [row["train_loss"] for row in csv_of(read(rows))] == ["-0.5", "1.25"]


def test_at_chance_is_wilsons_limit_over_one_test_set(read: Reader) -> None:
    # 0.115 of 2000: Wilson's lower limit is 0.1018, above chance; of 500: 0.0899, not above.
    results = read([*training("resnet20_cifar", 0.115, trials=2000), *training("lenet5_cifar", 0.115, trials=500)])
    assert [results.at_chance(model) for model in results.models] == [False, True]


def test_seeds_share_a_test_set_when_judging_chance(read: Reader) -> None:
    # Pooled over four seeds, 0.115 of 2000 would look better than chance.
    rows = [row for seed in range(4) for row in training("lenet5_cifar", 0.115, trials=500, seed=seed)]
    results = read(rows)
    assert results.at_chance(results.models[0])


def test_a_network_that_only_records_name_has_a_row(read: Reader) -> None:
    row = csv_of(read([ok("stranger_mnist", "params", 3)], []))[0]
    assert (row["model"], row["track"], row["params"], row["year"]) == ("stranger_mnist", "mnist", "3", "")


def test_a_metric_of_a_newer_version_has_a_column(read: Reader) -> None:
    results = read([ok("lenet5_cifar", "latency_ms", 1.5)])
    assert csv_of(results)[0]["latency_ms"] == "1.5"
    assert results.metrics()[-1].unit == "ms"
    assert math.isnan(results.cell("lenet5_cifar", "params").value)


def test_groups_never_mix_data_sets_or_budgets(read: Reader) -> None:
    names = ["a_cifar", "b_cifar", "c_cifar", "d_mnist"]
    rows = [
        *training("a_cifar", 0.5),
        *training("b_cifar", 0.5, dataset="synthetic"),
        *training("c_cifar", 0.5, budget="60s"),
        *training("d_mnist", 0.9, dataset="mnist"),
    ]
    groups = read(rows).accuracy_groups()
    assert [[model.name for model in group.models] for group in groups] == [[name] for name in names]


COUNT = ok("resnet20_cifar", "params", 269_722)
RATE = ok("resnet20_cifar", "train_images_per_s", 100.0, samples=(99.0, 100.0, 101.0))
BOTH = [unlisted("resnet20_cifar"), unlisted("lenet5_cifar")]


def test_one_kind_changes_nothing() -> None:
    records = [COUNT, replace(RATE, hardware="A"), replace(RATE, hardware="A", round=1)]
    assert kept_apart(BOTH, records) == (BOTH, records)


def test_each_kind_has_a_row_of_its_own_and_counts_are_in_both(tmp_path: Path) -> None:
    run = new_run(tmp_path, "a", RunHeader())
    failed = replace(RATE, model="lenet5_cifar", value=None, status="failed", note="lost", samples=())
    with run.writer() as writer:
        writer.append([COUNT, replace(RATE, hardware="A"), replace(RATE, hardware="B", round=1, value=300.0), failed])
    results = read_results(run)
    assert [model.name for model in results.models] == ["resnet20_cifar on A", "resnet20_cifar on B", "lenet5_cifar"]
    assert results.cell("resnet20_cifar on A", "train_images_per_s").value == 100
    assert results.cell("resnet20_cifar on B", "train_images_per_s").value == 300
    assert {results.cell(model, "params").value for model in results.models[:2]} == {269_722}
    assert results.cell("lenet5_cifar", "train_images_per_s").status == "failed"
