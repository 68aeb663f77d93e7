"""Runs of a month with a planted slow-down, on two devices."""

import json
import math
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cli.main import main
from bench.records.run_folder import Run, header_of
from bench.regression.history import DEFAULT_METRICS, Series, history, runs_in
from tests.configs import new_run
from tests.rows import ok

CPU, GPU = "Fixture CPU, 2 threads", "Fixture GPU"
MODELS = ("lenet5_cifar", "resnet20_cifar")
DAYS = 16
SLOWER_FROM = 9  # resnet20_cifar, on the CPU


def write_day(results: Path, day: int, device: str, rng: random.Random) -> None:
    run = new_run(
        results,
        f"{'gpu' if device == GPU else 'cpu'}-{day:02d}",
        header_of(
            {
                "created": f"2026-01-{day + 1:02d}T12:00:00+00:00",
                "environment": {"device": device, "commit": f"{day:07x}", "uncommitted_changes": day == 3},
                "models": [{"name": name, "track": "cifar"} for name in MODELS],
            }
        ),
    )
    rows = [ok("lenet5_cifar", "params", 62_006 + (day >= 5), device="meta")]
    for model in MODELS:
        level = 92.0 if model == "resnet20_cifar" and day >= SLOWER_FROM and device == CPU else 100.0
        rows += [
            ok(model, "train_images_per_s", level * math.exp(rng.gauss(0, 0.01)), round=n, batch_size=16, device="cpu")
            for n in range(3)
        ]
    with run.writer() as writer:
        writer.append(rows)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    rng = random.Random(0)
    for day in range(DAYS):
        write_day(tmp_path, day, CPU, rng)
    for day in range(4):
        write_day(tmp_path, day, GPU, rng)
    return tmp_path


def of(found: list[Series], model: str, metric: str) -> Series:
    (series,) = [one for one in found if (one.model, one.metric) == (model, metric)]
    return series


def cpu_history(results: Path) -> list[Series]:
    runs, _ = runs_in(results, DEFAULT_METRICS)
    return history([one for one in runs if one[0].header.device == CPU], DEFAULT_METRICS, 0.02)


def test_a_planted_slow_down_is_marked_where_it_began_and_nothing_else_is(results: Path) -> None:
    found = cpu_history(results)
    series = of(found, "resnet20_cifar", "train_images_per_s")
    (change,) = series.changes
    assert series.points[change.index].run == f"cpu-{SLOWER_FROM:02d}"
    assert change.ratio == pytest.approx(0.92, abs=0.02)
    assert not of(found, "lenet5_cifar", "train_images_per_s").changes


def test_counts_change_whenever_they_differ(results: Path) -> None:
    series = of(cpu_history(results), "lenet5_cifar", "params")
    assert [series.points[change.index].run for change in series.changes] == ["cpu-05"]


def test_points_are_in_the_order_of_time_with_their_commits(results: Path) -> None:
    points = of(cpu_history(results), "lenet5_cifar", "train_images_per_s").points
    assert [point.commit for point in points] == [f"{day:07x}{'+' if day == 3 else ''}" for day in range(DAYS)]
    assert all(point.interval[0] < point.value < point.interval[1] for point in points)


@pytest.mark.parametrize("name", ["records.jsonl", "run.json"])
def test_a_damaged_run_is_left_out_and_named(results: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    with (results / "cpu-03" / name).open("r+") as file:
        file.write("damaged")
    assert len(of(cpu_history(results), "lenet5_cifar", "params").points) == DAYS - 1
    assert main(["history", "--results-dir", str(results), "--metric", "params", "--device", "fixture cpu"]) == 0
    assert "run cpu-03 cannot be read" in capsys.readouterr().err


def test_other_conditions_are_another_series(results: Path) -> None:
    run = Run.open(results, "cpu-15")
    with run.writer() as writer:
        writer.append([ok("lenet5_cifar", "train_images_per_s", 400.0, round=n, batch_size=64) for n in range(3)])
    series = of(cpu_history(results), "lenet5_cifar", "train_images_per_s")
    assert len(series.points) == DAYS - 1
    assert "batch 16" in series.conditions


def test_the_verb_prints_draws_and_tells_machines(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = results / "history.svg"
    words = ["history", "--results-dir", str(results), "--device", "fixture cpu"]
    assert main([*words, "--metric", "train_images_per_s", "--svg", str(picture)]) == 0
    said = capsys.readouterr().out
    first = said.splitlines()[1]
    assert first.startswith("resnet20_cifar")
    assert f"at cpu-{SLOWER_FROM:02d} ({SLOWER_FROM:07x})" in first
    assert "conditions" not in said.splitlines()[0]  # they are the same in every row
    assert "All: batch 16, fp32." in said
    assert main([*words, "--metric", "train_images_per_s", "params"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.split()[2:4] for row in rows if " params " in row] == [["16", "62.0"]]
    assert "train_images_per_s: batch 16, fp32." in rows  # said once, not in each row
    assert "conditions" not in rows[0]
    assert picture.read_text(encoding="utf-8").count("<svg") == 1
    assert main([*words, "--json", "--models", "resnet*"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["device"] == CPU
    assert {series["model"] for series in content["series"]} == {"resnet20_cifar"}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--device", "tpu"], "--device 'tpu' matches 0 of the devices"),
        (["--device", "fixture"], "--device 'fixture' matches 2 of the devices"),
        (["--metric", "speed"], "--metric speed: there is no such metric"),
        (["--models", "lenet6"], "no two runs on"),
    ],
)
def test_a_wrong_request_is_one_line(
    results: Path, words: list[str], complaint: str, refused: Callable[..., str]
) -> None:
    assert complaint in refused("history", "--results-dir", str(results), *words)


def test_a_report_shows_what_led_up_to_its_run(results: Path) -> None:
    assert main(["report", "cpu-12", "--results-dir", str(results), "--reports-dir", str(results / "reports")]) == 0
    page = (results / "reports" / "cpu-12" / "index.html").read_text(encoding="utf-8")
    assert "Training throughput over 13 runs" in page
    assert main(["report", "gpu-02", "--results-dir", str(results), "--reports-dir", str(results / "reports")]) == 0
    assert "over 3 runs" not in (results / "reports" / "gpu-02" / "index.html").read_text(encoding="utf-8")
