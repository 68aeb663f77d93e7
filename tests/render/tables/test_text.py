"""The tables: by topic, with the exceptions in a column told from the rest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.metrics import METRICS
from bench.records.record import Record
from bench.render.charts.frame import comparable
from bench.render.findings.machine import lowest_use
from bench.render.findings.ranking import accuracy_front
from bench.render.results import read_results
from bench.render.tables.terminal import summary
from bench.render.tables.text import (
    LAUNCH_BOUND,
    OVERVIEW,
    SMALLER_BATCH,
    TOPICS,
    Table,
    TextCell,
    by_topic,
    track_tables,
)
from tests.render.conftest import RunBuilder, counts, gpu_run, listed, ok, speeds, training

A, B = (listed(f"{name}_cifar", name, 2015, "cifar") for name in "ab")


@pytest.fixture(scope="module")
def cifar(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Table]:
    (track, _) = track_tables(read_results(gpu_run(tmp_path_factory.mktemp("results"))))
    return {table.title: table for table in (track.overview, *track.topics)}


def cell(table: Table, model: str, heading: str) -> TextCell:
    (row,) = (row for row in table.rows if row.model.name == model)
    return row.cells[[column.heading for column in table.columns].index(heading)]


def test_topics_name_metrics_that_exist_and_none_twice() -> None:
    names = [name for topic in TOPICS for name in topic.metrics]
    assert len(names) == len(set(names))
    assert set(names) <= set(METRICS)
    assert set(OVERVIEW) <= set(names)


def test_a_score_of_no_topic_is_shown_all_the_same(build: RunBuilder) -> None:
    unlisted = replace(METRICS["latency_ms"], name="new_score")
    topics = dict(by_topic([METRICS["params"], unlisted, METRICS["train_epochs"]]))
    assert [metric.name for metric in topics["Size and work"]] == ["params"]
    assert [metric.name for metric in topics["Other measurements"]] == ["new_score"]  # epochs are no score


def test_a_full_run_has_an_overview_and_topics(cifar: dict[str, Table]) -> None:
    assert list(cifar) == [
        "Overview",
        "Accuracy and training",  # published ones: nothing was trained
        "Size and work",
        "Memory of a training step",
        "Memory of inference",
        "Speed",
        "Energy and utilisation",
    ]
    assert len(cifar["Overview"].columns) == len(OVERVIEW)
    assert all(len(table.columns) <= 10 for table in cifar.values())


def test_a_small_run_has_one_table(build: RunBuilder) -> None:
    rows = [row for name in ("a_cifar", "b_cifar") for row in [*counts(name, 1, 2, 3), *speeds(name, 1e6)]]
    (track,) = track_tables(read_results(build([A, B], rows)))
    assert track.topics == ()
    assert {"Saved activations", "Training throughput"} <= {column.heading for column in track.overview.columns}


def test_the_batch_size_stands_beside_the_best_throughput(cifar: dict[str, Table]) -> None:
    speed = cifar["Speed"]
    assert cell(speed, "resnet20_cifar", "Training throughput at its best batch").aside == "batch 4096"
    assert cell(speed, "resnet20_cifar", "Training throughput").aside == ""
    assert next(c.detail for c in speed.columns if c.heading == "Training throughput") == "images/s, batch 512"


def test_a_number_at_a_smaller_batch_is_marked_and_never_the_best(build: RunBuilder) -> None:
    rows = [
        ok("a_cifar", "train_images_per_s", 90.0, batch_size=8, asked_batch_size=16),
        ok("b_cifar", "train_images_per_s", 50.0, batch_size=16, asked_batch_size=16),
    ]
    (track,) = track_tables(read_results(build([A, B], rows)))
    (a,), (b,) = (row.cells for row in track.overview.rows)
    assert (a.best, a.marks, a.aside) == (False, (SMALLER_BATCH,), "batch 8")
    assert (b.best, b.marks, b.aside) == (True, (), "")
    assert track.overview.columns[0].detail == "images/s, batch 16"
    assert track.overview.legend == (SMALLER_BATCH,)


def test_the_hint_has_the_notes(cifar: dict[str, Table]) -> None:
    text = cell(cifar["Overview"], "lenet5_cifar", "Training throughput")
    assert text.marks == (LAUNCH_BOUND,)
    assert "took over 60 s" in cell(cifar["Overview"], "nin_cifar", "Latency").hint


def test_one_manner_for_all_is_said_once(cifar: dict[str, Table], tmp_path: Path) -> None:
    assert not [column for table in cifar.values() for column in table.columns if "bf16" in column.detail]
    (track, _) = track_tables(read_results(gpu_run(tmp_path)))
    assert "steps in bf16, channels_last" in track.conditions[0]


def test_another_manner_is_said_in_its_heading(build: RunBuilder) -> None:
    rows = [
        ok("a_cifar", "inference_images_per_s", 1.0, batch_size=8, compile=True),
        ok("a_cifar", "train_images_per_s", 1.0, batch_size=8),
        ok("a_cifar", "latency_ms", 1.0, batch_size=1),
    ]
    (track,) = track_tables(read_results(build([A], rows)))
    assert [column.detail for column in track.overview.columns] == [
        "images/s, batch 8, fp32, compiled",
        "images/s, batch 8",
        "ms, batch 1",
    ]


def test_predictions_throughout_are_said_in_the_heading(build: RunBuilder) -> None:
    def heading_and_marks(*predicted: bool) -> tuple[str, list[str]]:
        rows = [
            ok(f"{name}_cifar", "peak_training_bytes", 5.0 + i, batch_size=8, predicted=flag)
            for i, (name, flag) in enumerate(zip("ab", predicted, strict=True))
        ]
        (track,) = track_tables(read_results(build([A, B], rows, name="-".join(map(str, predicted)))))
        return track.overview.columns[0].heading, [row.cells[0].symbols for row in track.overview.rows]

    assert heading_and_marks(True, True) == ("Peak memory of training, predicted", ["", ""])
    assert heading_and_marks(True, False) == ("Peak memory of training", ["≈", ""])


def test_a_prediction_has_a_column_only_beside_a_measurement(build: RunBuilder) -> None:
    for measured in (False, True):
        rows = [
            ok("a_cifar", "peak_training_bytes", 5.0, predicted=not measured),
            ok("a_cifar", "predicted_training_bytes", 5.0, predicted=True),
        ]
        (track,) = track_tables(read_results(build([A], rows, name=f"run-{measured}")))
        assert len(track.overview.columns) == 1 + measured


def test_the_terminal_explains_its_marks_and_fits_a_screen(tmp_path: Path) -> None:
    text = summary(gpu_run(tmp_path))
    assert "¶ launch-bound" in text
    assert "The report has more: accuracy and training, size and work" in text
    numbers = next(line for line in text.splitlines() if line.startswith("resnet20_cifar"))
    assert len(numbers) < 200
    assert "Training throughput" in text


def test_a_metric_of_a_newer_version_is_shown_if_it_failed(build: RunBuilder) -> None:
    row = Record("a_cifar", "sound", "loudness", None, "dB", "failed", note="too quiet")
    (track,) = track_tables(read_results(build([A], [*training("a_cifar", 0.5), row])))
    assert "loudness" not in {column.heading for column in track.overview.columns}  # nobody knows if it is a score


def test_what_may_be_wrong_is_never_best_nor_ranked_nor_on_a_front(build: RunBuilder) -> None:
    limits = {"cpu": {"precision": "fp32", "peak_flops_per_s": 1e12}}
    names = [f"{name}_cifar" for name in "abcdef"]  # not all of the first is counted, the last seems to use 108 %
    rows = []
    for place, name in enumerate(names, 1):
        flags = ("lower_bound",) if name == "a_cifar" else ()
        rows += [ok(name, metric, 1e9 * place, flags=flags) for metric in ("macs", "flops")]
        rows += [ok(name, "train_images_per_s", 10.0 * place, batch_size=8, device="cpu"), *training(name, 0.5)]
    results = read_results(build([listed(name, name, 2015, "cifar") for name in names], rows, limits=limits))
    (track,) = track_tables(results)
    best = {
        column.name: [row.model.name for row in track.overview.rows if row.cells[place].best]
        for place, column in enumerate(track.overview.columns)
    }
    assert best["macs"] == ["b_cifar"]
    assert best["mfu"] == ["e_cifar"]
    assert cell(track.overview, "f_cifar", "Utilisation in training").symbols == "?"
    (front,) = accuracy_front(results, results.models, METRICS["macs"])
    assert results.models[front].name == "b_cifar"
    named = [sentence.split()[0] for sentence in lowest_use(results, results.models)]
    assert named == ["b_cifar", "c_cifar", "d_cifar"]
    drawn, words = comparable(results, results.models, "mfu")
    assert [model.name for model in drawn] == names[:-1]
    assert "more than the device can do and so not reliable: f_cifar" in words
    assert "Lower bounds, as an operator cannot be counted: a_cifar" in words
