"""Tables of text: topics, columns, marks, the best of a column; the overview that the terminal prints."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from bench.device.timing import steady_samples
from bench.metrics import METRICS
from bench.records.record import Record
from bench.render.charts.frame import comparable
from bench.render.findings.machine import lowest_use
from bench.render.findings.ranking import accuracy_front
from bench.render.results import Results, read_results
from bench.render.tables import (
    CHANCE,
    INCOMPLETE,
    LAUNCH_BOUND,
    LOWER_BOUND,
    OVERVIEW,
    SMALLER_BATCH,
    THROTTLED,
    TOPICS,
    UNSTEADY,
    Mark,
    Table,
    TextCell,
    aligned,
    as_text,
    by_topic,
    marks_of,
    step_conditions,
    summary,
    track_tables,
)
from tests.configs import config
from tests.render.conftest import Reader, RunBuilder, bad, counts, gpu_run, listed, ok, speeds, training


@pytest.fixture(scope="module")
def cifar(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Table]:
    (track, _) = track_tables(read_results(gpu_run(tmp_path_factory.mktemp("results"))))
    return {table.title: table for table in (track.overview, *track.topics)}


def cell(table: Table, model: str, heading: str) -> TextCell:
    (row,) = (row for row in table.rows if row.model.name == model)
    return row.cells[[column.heading for column in table.columns].index(heading)]


def test_topics_name_metrics_that_exist_and_none_twice() -> None:
    names = [name for _, metrics in TOPICS for name in metrics]
    assert len(names) == len(set(names))
    assert set(names) <= set(METRICS)
    assert set(OVERVIEW) <= set(names)


def test_a_score_of_no_topic_is_shown_all_the_same() -> None:
    unlisted = replace(METRICS["latency_ms"], name="new_score")
    topics = dict(by_topic([METRICS["params"], unlisted, METRICS["train_epochs"]]))
    assert [metric.name for metric in topics["Size and work"]] == ["params"]
    assert [metric.name for metric in topics["Other measurements"]] == ["new_score"]  # epochs are no score


def test_where_nothing_was_trained_the_published_accuracy_is_in_the_overview(read: Reader) -> None:
    (track,) = track_tables(read(counts("resnet18", 1, 1, 1), [listed("resnet18", "ResNet", 2015, "imagenet")]))
    assert track.overview.columns[0].heading == "Published accuracy"
    assert track.overview.rows[0].cells[0].text == "69.8 %"


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


def test_a_small_run_has_one_table(read: Reader) -> None:
    rows = [row for name in ("a_cifar", "b_cifar") for row in [*counts(name, 1, 2, 3), *speeds(name, 1e6)]]
    (track,) = track_tables(read(rows))
    assert track.topics == ()
    assert {"Saved activations", "Training throughput"} <= {column.heading for column in track.overview.columns}


def test_a_table_leaves_out_networks_without_a_number_and_a_warning_that_warns_of_nothing(read: Reader) -> None:
    rows = [row for name in ("a_cifar", "b_cifar") for row in [*counts(name, 1, 2, 3), *speeds(name, 1e6)]]
    rows += [row for name in ("a_cifar", "b_cifar") for row in training(name, 0.5)]
    rows += [ok("a_cifar", metric, 1.0) for metric in ("traffic_bytes", "arithmetic_intensity", "latency_ms")]
    rows += [ok(name, "uncounted_share", 0.0) for name in ("a_cifar", "b_cifar")]
    rows += [ok("a_cifar", "gradient_norm_ratio", 0.1), bad("b_cifar", "gradient_norm_ratio", "skipped", "no twin")]
    (track,) = track_tables(read(rows))
    shown = {table.title: [row.model.name for row in table.rows] for table in track.topics}
    assert shown["Gradients from the first layer to the last"] == ["a_cifar"]
    assert "Other measurements" not in shown
    (track,) = track_tables(read([*rows[:-3], ok("b_cifar", "uncounted_share", 0.1), *rows[-2:]]))
    assert "Other measurements" in [table.title for table in track.topics]


def test_the_batch_size_stands_beside_the_best_throughput(cifar: dict[str, Table]) -> None:
    speed = cifar["Speed"]
    assert cell(speed, "resnet20_cifar", "Training throughput at its best batch").aside == "batch 4096"
    assert cell(speed, "resnet20_cifar", "Training throughput").aside == ""
    assert next(c.detail for c in speed.columns if c.heading == "Training throughput") == "images/s, batch 512"


def test_each_batch_size_that_steps_ran_at_is_said(read: Reader) -> None:
    rows = [ok(name, "latency_ms", 5.0, batch_size=1) for name in ("a", "a_cifar")]
    rows += [ok(name, "train_images_per_s", 5.0, batch_size=size) for name, size in (("a", 2), ("a_cifar", 16))]
    results = read(rows)
    said = [step_conditions(results, results.models, METRICS[name]) for name in ("train_images_per_s", "latency_ms")]
    assert said == ["batch 2 or 16, fp32", "batch 1, fp32"]


def test_a_failure_leaves_numbers_on_the_right_and_conditions_whole(read: Reader) -> None:
    rows = [ok("a_cifar", "latency_p95_ms", 12.0, batch_size=1), bad("b_cifar", "latency_p95_ms", "failed", "broken")]
    (track,) = track_tables(read(rows))
    *heading, a, b = as_text(track.overview).splitlines()
    assert [line.split() for line in heading[-2:]] == [["ms"], ["network", "batch", "1"]]
    assert len(a) == len(b) == len(heading[-1])


def test_a_number_at_a_smaller_batch_is_marked_and_never_the_best(read: Reader) -> None:
    rows = [
        ok("a_cifar", "train_images_per_s", 90.0, batch_size=8, asked_batch_size=16),
        ok("b_cifar", "train_images_per_s", 50.0, batch_size=16, asked_batch_size=16),
    ]
    (track,) = track_tables(read(rows))
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


def test_another_manner_is_said_in_its_heading(read: Reader) -> None:
    rows = [
        ok("a_cifar", "inference_images_per_s", 1.0, batch_size=8, compile=True),
        ok("a_cifar", "train_images_per_s", 1.0, batch_size=8),
        ok("a_cifar", "latency_ms", 1.0, batch_size=1),
    ]
    (track,) = track_tables(read(rows))
    assert [column.detail for column in track.overview.columns] == [
        "images/s, batch 8, fp32, compiled",
        "images/s, batch 8",
        "ms, batch 1",
    ]


def test_predictions_throughout_are_said_in_the_heading(read: Reader) -> None:
    def heading_and_marks(*predicted: bool) -> tuple[str, list[str]]:
        rows = [
            ok(f"{name}_cifar", "peak_training_bytes", 5.0 + i, batch_size=8, predicted=flag)
            for i, (name, flag) in enumerate(zip("ab", predicted, strict=True))
        ]
        (track,) = track_tables(read(rows))
        return track.overview.columns[0].heading, [row.cells[0].symbols for row in track.overview.rows]

    assert heading_and_marks(True, True) == ("Predicted peak memory of training", ["", ""])
    assert heading_and_marks(True, False) == ("Peak memory of training", ["≈", ""])


def test_a_prediction_has_a_column_only_beside_a_measurement(read: Reader) -> None:
    for measured in (False, True):
        rows = [
            ok("a_cifar", "peak_training_bytes", 5.0, predicted=not measured),
            ok("a_cifar", "predicted_training_bytes", 5.0, predicted=True),
        ]
        (track,) = track_tables(read(rows))
        assert len(track.overview.columns) == 1 + measured


def test_the_terminal_explains_its_marks_and_fits_a_screen(tmp_path: Path) -> None:
    text = summary(gpu_run(tmp_path))
    assert "¶ launch-bound" in text
    assert "The report has more: accuracy and training, size and work" in text
    numbers = next(line for line in text.splitlines() if line.startswith("resnet20_cifar"))
    assert len(numbers) < 200
    assert "Training throughput" in text


def test_a_metric_of_a_newer_version_is_shown_if_it_failed(read: Reader) -> None:
    row = Record("a_cifar", "sound", "loudness", None, "dB", "failed", note="too quiet")
    (track,) = track_tables(read([*training("a_cifar", 0.5), row]))
    assert "loudness" not in {column.heading for column in track.overview.columns}  # nobody knows if it is a score


def test_what_may_be_wrong_is_never_best_nor_ranked_nor_on_a_front(read: Reader) -> None:
    limits = {"cpu": {"precision": "fp32", "peak_flops_per_s": 1e12}}
    names = [f"{name}_cifar" for name in "abcdef"]  # not all of the first is counted, the last seems to use 108 %
    rows = []
    for place, name in enumerate(names, 1):
        flags = ("lower_bound",) if name == "a_cifar" else ()
        rows += [ok(name, metric, 1e9 * place, flags=flags) for metric in ("macs", "flops")]
        rows += [ok(name, "train_images_per_s", 10.0 * place, batch_size=8, device="cpu"), *training(name, 0.5)]
    results = read(rows, limits=limits)
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
    named = [sentence.split()[2] for sentence in lowest_use(results, results.models)]
    assert named == ["b", "c", "d"]
    drawn, words = comparable(results, results.models, "mfu")
    assert [model.name for model in drawn] == names[:-1]
    assert "more than the device can do and so not reliable: f." in words
    assert "Lower bounds, as an operator cannot be counted: a." in words


A = listed("a_cifar", "a", 2015, "cifar")


def marks(results: Results, metric: str) -> tuple[Mark, ...]:
    return marks_of(results, results.models[0], metric)


def test_a_plain_number_has_none(read: Reader) -> None:
    rows = [*training("a_cifar", 0.5), ok("a_cifar", "train_images_per_s", 10, batch_size=8, asked_batch_size=8)]
    results = read(rows)
    assert marks(results, "train_images_per_s") == marks(results, "top1") == ()


def test_chance(read: Reader) -> None:
    assert marks(read(training("a_cifar", 0.1)), "top1") == (CHANCE,)


def test_a_drifting_step_in_one_of_three_rounds(read: Reader) -> None:
    # The flag is what the clock gives a step that slows down, not what this test thinks it gives.
    now, steps = [0.0], itertools.count()

    def slower_and_slower() -> None:
        now[0] += 0.001 * (1 + 0.005 * next(steps))

    flags = steady_samples(slower_and_slower, lambda: None, 1.0, clock=lambda: now[0]).flags
    rows = [ok("a_cifar", "train_images_per_s", 10, round=n, flags=flags if n == 1 else ()) for n in range(3)]
    results = read(rows)
    assert marks(results, "train_images_per_s") == (UNSTEADY,)


@pytest.mark.parametrize(("unsteady", "expected"), [(1, ()), (2, (UNSTEADY,))])
def test_one_unsteady_round_of_many_is_none_of_their_median(
    read: Reader, unsteady: int, expected: tuple[Mark, ...]
) -> None:
    flags = [("unsteady",)] * unsteady + [()] * (8 - unsteady)
    rows = [ok("a_cifar", "latency_ms", 10, round=n, flags=these) for n, these in enumerate(flags)]
    assert marks(read(rows), "latency_ms") == expected


def test_a_clock_that_was_held_back(read: Reader) -> None:
    rows = [ok("a_cifar", "train_images_per_s", 10, round=n, flags=("throttled",) if n == 1 else ()) for n in range(3)]
    assert marks(read(rows), "train_images_per_s") == (THROTTLED,)


def test_a_launch_bound_step_marks_its_throughput_too(read: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.config import Task
    from bench.device.timing import Timing
    from bench.models import REGISTRY
    from bench.probes import speed

    # 30 ms per step of which the device works 10: what the probe makes of it, without a GPU.
    monkeypatch.setattr(speed, "_timed", lambda *_: (Timing((0.03,) * 9, ""), ((0.01,) * 9, ""), {}))
    readings = speed.throughput(Task(REGISTRY["lenet5_cifar"], config(batch=8))).readings
    rows = [ok("a_cifar", name, r.value, flags=r.flags) for name, r in readings.items() if not isinstance(r, Exception)]
    assert {row.metric for row in rows} >= {"train_images_per_s", "train_device_ms"}
    results = read(rows)
    assert marks(results, "train_images_per_s") == marks(results, "train_device_ms") == (LAUNCH_BOUND,)
    assert marks(results, "latency_ms") == ()


def test_a_count_that_is_a_lower_bound_marks_all_that_rests_on_it(read: Reader) -> None:
    rows = [ok("a_cifar", name, 1e9, device="meta", flags=("lower_bound",)) for name in ("macs", "flops")]
    rows += [ok("a_cifar", "train_images_per_s", 10, batch_size=8, device="cpu"), ok("a_cifar", "params", 10)]
    rows += [ok("a_cifar", name, 5, dataset="cifar10", budget="2pflop") for name in ("train_flops", "train_loss")]
    results = read(rows, limits={"cpu": {"precision": "fp32", "peak_flops_per_s": 1e12}})
    bounded = {"macs", "flops", "mfu", "train_flops", "train_loss"}
    assert {metric for metric in METRICS if marks(results, metric) == (LOWER_BOUND,)} == bounded
    assert marks(results, "params") == marks(results, "train_images_per_s") == ()
    epochs = [ok("a_cifar", "macs", 1.0, flags=("lower_bound",)), ok("a_cifar", "train_loss", 5, budget="2ep")]
    assert marks(read(epochs), "train_loss") == ()


def test_a_failed_round_among_good_ones(read: Reader) -> None:
    rows = [ok("a_cifar", "latency_ms", 1.0), bad("a_cifar", "latency_ms", "timeout", "took over 9 s", round=1)]
    results = read(rows)
    assert marks(results, "latency_ms") == (INCOMPLETE,)
    assert [row.note for row in results.cell("a_cifar", "latency_ms").lost] == ["took over 9 s"]


def test_no_number_no_mark(read: Reader) -> None:
    results = read([bad("a_cifar", "latency_ms", "oom", "not steady")])
    assert marks(results, "latency_ms") == ()


def test_numbers_go_right_words_left_and_headings_stand_on_their_columns() -> None:
    rows = [
        {"name": "a", "params\nof it": "1,234", "note": "x"},
        {"name": "[bold]bb", "params\nof it": "5", "note": ""},
    ]
    assert aligned(rows).split("\n") == [
        "          params",
        "name       of it  note",
        "a          1,234  x",
        "[bold]bb       5",
    ]


def test_units_are_in_the_headings_and_the_best_is_explained(build: RunBuilder) -> None:
    rows = [ok("a_cifar", "latency_ms", 5.0, batch_size=1), ok("b_cifar", "latency_ms", 7.0, batch_size=1)]
    text = summary(build(rows))
    heading = text[: text.index("a_cifar  ")]
    assert "Latency" in heading
    assert "ms" in heading.split()[-3:] or "ms" in heading.split()
    assert "5.00*" in text
    assert "* best of its column" in text
