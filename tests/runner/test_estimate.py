"""What a run says it will do: reckoned by hand from timed steps of two networks."""

import json
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.cli.main import main
from bench.config import Budget, Config, Execution, RequestError, Task, parse_duration
from bench.device.peaks import vendor_named
from bench.metrics import PROBES
from bench.models import REGISTRY
from bench.probes.counting.kernels import Kernel, Kernels, StepKernels
from bench.records.record import Record
from bench.records.run_folder import Run
from bench.runner import execute
from bench.runner.execute import without_value
from bench.runner.plan import (
    COUNT_S,
    CPU,
    H100,
    REPLAY_S,
    Estimate,
    ImageCounts,
    Pace,
    Speed,
    estimate,
    minutes,
    plan,
    remaining,
    speed_of,
    step_seconds,
)
from bench.runner.request import Request, resolve
from tests.configs import config
from tests.data.fakes import write_image_folder
from tests.rows import ok

IMAGES = {"cifar": ImageCounts(50_000, 10_000)}
CONFIG = config(
    *("macs", "train_time", "throughput", "memory", "accuracy"),
    batch=16,
    train_batch_size=32,
    measure_seconds=0.25,
    rounds=3,
    max_train_time_s=60.0,
)
SPECS = [REGISTRY["lenet5_cifar"], REGISTRY["googlenet_cifar"]]
RECORDS = [  # a light network that trains an epoch in 5 s, and one that needs 500
    ok("lenet5_cifar", "predicted_train_seconds", 5.0, predicted=True),
    ok("googlenet_cifar", "predicted_train_seconds", 500.0, predicted=True),
]


def reckoned(config: Config, records: Sequence[Record] = RECORDS, spent_s: float = 0.0) -> Estimate:
    pace = Pace(config, IMAGES, records)
    return estimate(plan(SPECS, config, pace=pace), pace, config, spent_s)


def names(tasks: Sequence[Task], probe: str) -> list[str]:
    return [task.spec.name for task in tasks if probe in task.probes]


def test_a_training_that_takes_too_long_is_left_out_with_its_time() -> None:
    found = reckoned(CONFIG)
    assert names(found.tasks, "accuracy") == ["lenet5_cifar"]
    (one,) = found.left_out
    assert one.task.spec.name == "googlenet_cifar"
    assert one.reason == "it would take about 8 min here, above --max-train-time 60 s"
    assert "left out by --max-train-time 60 s: googlenet_cifar accuracy (8 min)" in str(found)


def test_ones_own_network_is_trained_however_long_it_takes() -> None:
    own = replace(SPECS[1], name="mine:large")
    slow = [replace(RECORDS[1], model="mine:large")]
    pace = Pace(CONFIG, IMAGES, slow)
    found = estimate(plan([own], CONFIG, pace=pace), pace, CONFIG)
    assert names(found.tasks, "accuracy") == ["mine:large"]
    assert found.phases["trainings"] > 500


def test_a_prediction_from_a_busy_moment_gives_way_to_what_was_timed_at_more_length() -> None:
    rate = ok("googlenet_cifar", "train_images_per_s", 2000.0)
    pace = Pace(CONFIG, IMAGES, [*RECORDS, rate])
    (training,) = [task for task in plan(SPECS[1:], CONFIG) if "accuracy" in task.probes]
    assert pace.training_s(training) == pytest.approx(50_000 / 2000)
    slow = replace(rate, value=10.0)
    assert Pace(CONFIG, IMAGES, [*RECORDS, slow]).training_s(training) == pytest.approx(500)


def test_a_latency_that_was_measured_counts_for_the_rounds_to_come() -> None:
    """A pass on one image takes more than a sixteenth of one on sixteen."""
    config = replace(CONFIG, probes=("latency",), rounds=2)
    rows = [ok("googlenet_cifar", "inference_images_per_s", 160.0, batch_size=16)]
    (_, later), late = plan(SPECS[1:], config), ok("googlenet_cifar", "latency_ms", 15.0, batch_size=1)
    before, after = (Pace(config, IMAGES, known).seconds([later]) for known in (rows, [*rows, late]))
    assert before == [pytest.approx(CPU.process_s + 110 * 0.1 / 16)]
    assert after == [pytest.approx(CPU.process_s + 110 * 0.015)]


def test_phases_add_up_to_what_each_task_is_reckoned_at() -> None:
    phases = reckoned(CONFIG).phases
    assert phases["counts"] == pytest.approx(2 * COUNT_S)
    # Both steps for 1.6 times the quarter of a second; nothing is known of how long a step takes.
    assert phases["throughput"] == pytest.approx(2 * 3 * (CPU.process_s + 2 * 1.6 * 0.25 + 0.25 / 4))
    assert phases["memory"] == pytest.approx(2 * (CPU.process_s + REPLAY_S))
    assert phases["trainings"] == pytest.approx(CPU.process_s + CPU.stage_s + 1.05 * 5)


# One kernel that only its launch bounds, one that memory bounds, one that arithmetic does; the last is a narrow one.
SPEED = Speed(1e12, 1e9, 1e-3, 2e-3, 1.0, 0.1, 0.5, width=64, missed=2.0)
STEP = Kernels(
    ((Kernel(1, 1, 1, 0), 3), (Kernel(0, 1e6, 1e6, 0), 1), (Kernel(1e10, 0, 0, 64), 1), (Kernel(1e10, 0, 0, 16), 1)), 5
)
KERNELS = {spec.name: StepKernels(STEP, STEP, 1000) for spec in SPECS}


def test_a_step_takes_as_long_as_what_bounds_each_of_its_kernels() -> None:
    at_4 = 2.0 * (3 * 1e-3 + 5e6 / 1e9 + 4e10 / 1e12 + 4 * 4e10 / 1e12)
    assert step_seconds(STEP, 4, SPEED) == pytest.approx(at_4)
    slow_host = replace(SPEED, launch_s=1.0)
    assert step_seconds(STEP, 4, slow_host) == 6.0
    assert step_seconds(STEP, 4, slow_host, replayed=True) == pytest.approx(at_4)


def test_what_was_timed_counts_at_other_batch_sizes_too() -> None:
    rate = ok("lenet5_cifar", "train_images_per_s", 100.0, batch_size=16)
    pace = Pace(CONFIG, IMAGES, [rate], KERNELS, SPEED)
    training = next(task for task in plan(SPECS, CONFIG) if "accuracy" in task.probes)
    ratio = step_seconds(STEP, 32, SPEED) / step_seconds(STEP, 16, SPEED)
    assert pace.training_s(training) == pytest.approx(0.16 * ratio * 50_000 / 32)
    assert Pace(CONFIG, IMAGES, [rate]).training_s(training) == pytest.approx(50_000 / 100)
    alone = ok("lenet5_cifar", "train_device_ms", 80.0, batch_size=16)
    busy = Pace(CONFIG, IMAGES, [rate, alone], KERNELS, SPEED)  # replayed, it does not wait for the host
    assert busy.training_s(training) == pytest.approx(0.08 * ratio * 50_000 / 32)


def test_on_a_dedicated_device_kernels_are_chosen_once_for_each_shape_in_a_process() -> None:
    probes = ("throughput", "latency", "memory", "best_batch", "accuracy")
    config = replace(CONFIG, probes=probes, dedicated=True, rounds=1, seeds=3, max_train_time_s=None)
    pace = Pace(config, IMAGES, (), KERNELS, SPEED)
    found = estimate(plan(SPECS, config), pace, config)
    assert found.processes == 2 * 3  # measured, trained, looked at again
    # Of five convolutions: forward at three batch sizes, both gradients at two; then in training; then looked at again.
    assert found.autotuned == 2 * 5 * (3 + 2 * 2 + 3 + 3)
    apart = estimate(plan(SPECS, replace(config, dedicated=False, rounds=3)), pace, config)
    assert apart.processes == 2 * (3 + 2 + 3)
    assert sum(found.phases.values()) < sum(apart.phases.values())


def test_seeds_that_share_a_process_share_its_start_its_images_and_its_kernels() -> None:
    def trainings(seeds: int, dedicated: bool) -> float:
        config = replace(CONFIG, probes=("accuracy",), dedicated=dedicated, seeds=seeds, max_train_time_s=None)
        pace = Pace(config, IMAGES, (), KERNELS, SPEED)
        return estimate(plan(SPECS[:1], config), pace, config).phases["trainings"]

    once = SPEED.process_s + SPEED.stage_s + 5 * 3 * SPEED.autotune_s
    assert trainings(3, dedicated=True) == pytest.approx(3 * trainings(1, dedicated=True) - 2 * once)
    assert trainings(3, dedicated=False) == pytest.approx(3 * trainings(1, dedicated=False))


def test_the_rest_is_reckoned_by_what_has_ended() -> None:
    pace = Pace(CONFIG, IMAGES, RECORDS)
    first, second, *_ = [task for task in plan(SPECS, CONFIG) if "throughput" in task.probes]
    before = pace.seconds([second])[0]
    pace.ended(first, 3.0, 9.0)  # one slow task is no trend
    assert pace.seconds([second])[0] == pytest.approx(39 / 33 * before)
    pace.ended(first, 297.0, 891.0)
    assert pace.seconds([second])[0] == pytest.approx(930 / 330 * before)
    assert pace.taken == {"throughput": 900.0}


def test_another_gpu_is_scaled_by_what_its_vendor_says() -> None:
    config = replace(CONFIG, dedicated=True, execution=Execution("bf16"))
    assert speed_of(config, (), vendor_named("H100")) == H100
    small = speed_of(config, (), vendor_named("rtx 3060"))
    assert small is not None
    assert small.flops_per_s == pytest.approx(H100.flops_per_s * 25.5 / 989.4)
    assert small.bytes_per_s == pytest.approx(H100.bytes_per_s * 360 / 3352)
    with pytest.raises(RequestError, match=r"no vendor's table here; there are: .*H100"):
        vendor_named("RTX 9999")
    assert speed_of(config, ({"reason": "it died"},)) is None


@pytest.mark.parametrize(("budget", "trained"), [("2ep", 10.0), ("100kimg", 10.0), ("3s", 3.0)])
def test_other_budgets_follow_from_the_same_steps(budget: str, trained: float) -> None:
    config = replace(CONFIG, other_budgets=(Budget.parse(budget),))
    pace = Pace(config, IMAGES, RECORDS)
    (task,) = [t for t in plan(SPECS[:1], config) if t.other_budget]
    assert pace.training_s(task) == pytest.approx(trained)


def test_what_still_fits_is_measured_and_ones_own_network_is_trained_first() -> None:
    own = replace(SPECS[0], name="mine:light")
    forecasts = [*RECORDS, replace(RECORDS[0], model="mine:light")]
    tight = replace(CONFIG, max_train_time_s=None, time_limit_s=60.0)
    pace = Pace(tight, IMAGES, forecasts)
    found = estimate(plan([*SPECS, own], tight, pace=pace), pace, tight)
    assert [each.task.label for each in found.left_out] == ["googlenet_cifar accuracy"]  # 5 s of another fit beside it
    shorter = replace(tight, time_limit_s=found.seconds - 1)
    short = estimate(plan([*SPECS, own], shorter, pace=pace), pace, shorter)
    assert names(short.tasks, "accuracy") == ["mine:light"]


def test_what_is_left_out_is_said_in_one_line_however_many_networks_it_is() -> None:
    hurried = replace(CONFIG, max_train_time_s=None, time_limit_s=5.0)
    said = str(reckoned(hurried)).splitlines()[-1]
    assert "lenet5_cifar accuracy (" in said
    assert "throughput, round 3, of 2 networks (" in said
    assert "round 3" not in said.replace("throughput, round 3, of 2 networks", "")
    nothing = reckoned(hurried, spent_s=100.0)
    assert str(replace(nothing, tasks=())).startswith("left out by --time-limit 5 s: ")


def test_what_was_not_timed_is_never_left_out_for_its_length() -> None:
    assert names(reckoned(CONFIG, records=()).tasks, "accuracy") == ["lenet5_cifar", "googlenet_cifar"]


def test_a_time_limit_gives_up_the_longest_training_first_then_later_rounds() -> None:
    whole = reckoned(replace(CONFIG, max_train_time_s=None))
    no_long_training = replace(CONFIG, max_train_time_s=None, time_limit_s=whole.seconds - 1)
    assert [each.task.label for each in reckoned(no_long_training).left_out] == ["googlenet_cifar accuracy"]
    short = reckoned(replace(CONFIG, max_train_time_s=None, time_limit_s=5.0))
    assert names(short.tasks, "accuracy") == []
    assert {task.round for task in short.tasks} == {0}
    assert names(short.tasks, "macs") == ["lenet5_cifar", "googlenet_cifar"]  # counts always stay
    assert short.seconds <= 5.0


def test_of_a_training_and_a_round_beyond_the_third_what_takes_longer_goes_first() -> None:
    """On a slow machine, more rounds of all networks would leave no time to train any."""
    config = replace(CONFIG, rounds=8, measure_seconds=5.0, max_train_time_s=None)  # a round takes 35 s
    for time_limit_s, rounds, trained in [
        (100.0, 3, []),
        (135.0, 3, ["lenet5_cifar"]),
        (155.0, 4, ["lenet5_cifar"]),
        (305.0, 8, ["lenet5_cifar"]),
        (900.0, 8, ["lenet5_cifar", "googlenet_cifar"]),
    ]:
        found = reckoned(replace(config, time_limit_s=time_limit_s)).tasks
        assert {task.round for task in found} == set(range(rounds))
        assert names(found, "accuracy") == trained


def test_time_that_is_gone_counts_against_the_limit() -> None:
    config = replace(CONFIG, time_limit_s=reckoned(CONFIG).seconds + 1)
    assert len(reckoned(config).left_out) == 1
    assert len(reckoned(config, spent_s=5.0).left_out) == 2


def test_a_later_start_decides_anew_on_what_was_left_out() -> None:
    found = reckoned(CONFIG)
    one, *_ = found.left_out
    task = one.task
    rows = list(without_value(task, one.reason, flags=("left_out",)))
    assert {row.status for row in rows} == {"skipped"}
    assert remaining([task], rows, retry_failed=False) == [task]


@pytest.mark.parametrize(("word", "seconds"), [("90s", 90), ("15min", 900), ("1.5h", 5400)])
def test_durations(word: str, seconds: float) -> None:
    assert parse_duration("--time-limit", word) == seconds


@pytest.mark.parametrize("word", ["15", "0s", "-3min", "1d", "min"])
def test_what_is_no_duration_is_refused(word: str) -> None:
    with pytest.raises(RequestError, match="such as 90s, 15min or 2h"):
        parse_duration("--time-limit", word)


@pytest.fixture
def arguments(in_this_process: None, tmp_path: Path) -> list[str]:
    """Two networks on forty random images, in folders of this test."""
    images = write_image_folder(tmp_path / "images")
    folders = {f"--{name}-dir": str(tmp_path / name) for name in ("results", "reports", "cache")}
    words = ["run", "--models", "lenet5_cifar", "resnet20_cifar", "--probes", "macs", "accuracy", "--budget", "1ep"]
    return [*words, "--dataset", str(images), *(word for pair in folders.items() for word in pair)]


def test_a_dry_run_says_what_would_be_done_and_keeps_nothing(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--dry-run", "--max-train-time", "1h"]) == 0
    said = capsys.readouterr().out
    assert "6 tasks (2 trainings) in 4 processes" in said
    assert re.search(r"trainings +\S+ s", said)
    assert not (tmp_path / "results").exists()


def test_a_dry_run_on_a_gpu_that_is_not_here(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = [*arguments, "--preset", "standard", "--dry-run", "--json"]
    words[words.index("macs")] = "throughput"
    assert main([*words, "--on", "RTX 3060"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["processes"] == 3 * found["trainings"] == 6
    assert set(found["phases"]) == {"limits", "throughput", "trainings", "second look"}
    assert sum(found["phases"].values()) == pytest.approx(found["minutes"], abs=0.03)
    assert main([*words, "--on", "RTX 9999"]) == 2
    assert main([*arguments, "--json"]) == 2


def test_a_run_writes_down_what_it_left_out_and_does_it_when_it_may(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--run", "a", "--max-train-time", "0.001s"]) == 0
    rows = {row.model: row for row in Run.open(tmp_path / "results", "a").records() if row.metric == "top1"}
    assert {row.status for row in rows.values()} == {"skipped"}
    assert {row.flags for row in rows.values()} == {("left_out",)}
    assert "above --max-train-time 0.001 s" in rows["lenet5_cifar"].note
    capsys.readouterr()
    assert main([*arguments, "--run", "a", "--max-train-time", "1h"]) == 0
    rows = {row.model: row for row in Run.open(tmp_path / "results", "a").records() if row.metric == "top1"}
    assert {row.status for row in rows.values()} == {"ok"}
    predicted = [row for row in Run.open(tmp_path / "results", "a").records() if PROBES[row.probe].when == "forecast"]
    assert {row.predicted for row in predicted} == {True}


def test_what_takes_less_than_was_reckoned_lets_in_what_had_been_left_out(
    in_this_process: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hurried_at_first(tasks: Sequence[Task], pace: Pace, config: Config, spent_s: float) -> Estimate:
        return estimate(tasks, pace, config, 280.0 if len(tasks) == 5 else 0.0)

    monkeypatch.setattr(execute, "estimate", hurried_at_first)
    words = ["run", "--models", "lenet5_cifar", "--probes", "latency", "--rounds", "6", "--device", "cpu"]
    assert main([*words, "--time-limit", "5min", "--run", "soon", "--results-dir", str(tmp_path)]) == 0
    rows = [row for row in Run.open(tmp_path, "soon").records() if row.metric == "latency_ms"]
    assert sorted((row.round, row.status) for row in rows) == [(number, "ok") for number in range(6)]
    written = (tmp_path / "soon" / "records.jsonl").read_text(encoding="utf-8")
    assert written.count("more than --time-limit 5 min leaves") >= 4  # a row of each metric of a round, at least


@pytest.mark.parametrize(
    ("asked", "limit_s"),
    [
        ({"preset": "quick"}, 660.0),
        ({"preset": "quick", "threads": 1}, 660.0),
        ({"preset": "quick", "time_limit": "2h"}, 7200.0),
        ({"preset": "standard"}, None),
        *(
            ({"preset": "quick", **more}, None)
            for more in (
                {"models": ("resnet18_cifar",)},
                {"budget": ("3ep",)},
                {"seeds": 3},
                {"rounds": 1},
                {"max_train_time": "1h"},
                {"recipe": "mnist-cnn"},
            )
        ),
    ],
)
def test_the_bare_quick_preset_ends_in_time_on_a_slow_machine_too(asked: dict[str, Any], limit_s: float | None) -> None:
    assert resolve(Request(**asked), (), "cpu")[0].time_limit_s == limit_s


def test_what_takes_longer_than_was_reckoned_leaves_less_of_the_time_limit(
    in_this_process: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter((0.0, 1.0, 2.0, 3.0, 4.0))  # at every look until the second task begins; then the limit has passed
    watch = SimpleNamespace(monotonic=lambda: next(clock, 1000.0), perf_counter=time.perf_counter)
    monkeypatch.setattr(execute, "time", watch)
    words = ["run", "--models", "lenet5_cifar", "--probes", "params", "latency", "--rounds", "3", "--device", "cpu"]
    places = ["--run", "late", "--results-dir", str(tmp_path)]
    assert main([*words, "--time-limit", "5min", *places]) == 0
    rows = [row for row in Run.open(tmp_path, "late").records() if row.metric == "latency_ms"]
    assert [(row.round, row.status) for row in rows] == [(0, "ok"), (1, "ok"), (2, "skipped")]
    assert "--time-limit 5 min leaves" in rows[-1].note
    watch.monotonic = lambda: 0.0
    assert main([*words, *places]) == 0  # started again without a limit, it measures the rest
    skipped = [row for row in Run.open(tmp_path, "late").records() if row.status != "ok"]
    assert {row.metric for row in skipped} == {"replayed_latency_ms"}  # of a GPU


def test_a_time_below_a_second_is_not_nought() -> None:
    assert [minutes(s) for s in (0.0, 0.1, 0.96, 45, 90, 720)] == ["0 s", "0.1 s", "1 s", "45 s", "90 s", "12 min"]
