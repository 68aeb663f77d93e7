"""Figures of speed, memory and the machine's limits: what they draw, whom they leave out, and that text stays apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from bench.metrics import METRICS
from bench.render.charts import Chart, draw_charts
from bench.render.charts.costs import MEMORY_PARTS, bar_chart, memory_chart, roofline_chart
from bench.render.charts.frame import style
from bench.render.results import Results, read_results
from tests.render.conftest import FIXTURE_CIFAR, Reader, bad, gpu_run, kept_figures, ok, overlaps, texts_of


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return read_results(gpu_run(tmp_path_factory.mktemp("results")))


@pytest.fixture(scope="module")
def drawn(results: Results) -> tuple[list[Chart], dict[str, Figure]]:
    """All figures of a GPU run, those of the cifar track also as matplotlib's objects, by kind."""
    with kept_figures() as kept:
        charts = draw_charts(results)
    return charts, {chart.kind: kept[int(chart.svg)] for chart in charts if chart.track == "cifar"}


@pytest.mark.parametrize("name", ["bars", "memory", "roofline", "work"])
def test_no_text_covers_another_or_leaves_the_figure(drawn: tuple[list[Chart], dict[str, Figure]], name: str) -> None:
    figure = drawn[1][name]
    assert overlaps(figure, texts_of(figure)) == []
    boxes = [(text.get_text(), Text.get_window_extent(text)) for text in texts_of(figure)]
    assert [words for words, box in boxes if box.x0 < 0 or box.y0 < 0 or box.x1 > figure.bbox.x1 + 1] == []


def test_a_run_has_about_twenty_five_figures(drawn: tuple[list[Chart], dict[str, Figure]]) -> None:
    names = [chart.name for chart in drawn[0]]
    assert len(names) == len(set(names)) <= 28  # two of them for the first screen
    for kind in ("time-vs-macs", "bars-train_images_per_s", "bars-latency_ms", "roofline", "memory"):
        assert {f"cifar-{kind}", f"imagenet-{kind}"} <= set(names)
    for cost in ("latency_ms", "peak_training_bytes", "energy_joules_per_image"):
        assert f"cifar-top1-vs-{cost}" in names
    tracks = [chart.track for chart in drawn[0]]
    assert tracks == sorted(tracks, key=["cifar", "imagenet"].index)


def test_who_ran_at_a_smaller_batch_is_left_out_and_named(drawn: tuple[list[Chart], dict[str, Figure]]) -> None:
    captions = {chart.name: chart.caption for chart in drawn[0]}
    for name in ("cifar-top1-vs-inference_images_per_s", "cifar-bars-train_images_per_s", "cifar-roofline"):
        assert "Omitted because batch 512 did not fit in memory: WRN-28-10 (batch 256)." in captions[name]
    assert captions["cifar-bars-latency_ms"] == ""


def lines(axes: Axes, style: str) -> list[np.ndarray]:
    return [np.asarray(line.get_xydata(), dtype=float) for line in axes.lines if line.get_linestyle() == style]


def test_the_roof_is_what_was_measured(drawn: tuple[list[Chart], dict[str, Figure]]) -> None:
    axes = drawn[1]["roofline"].axes[0]
    roof = next(line for line in lines(axes, "-") if len(line) == 3)
    assert roof[1] == pytest.approx([6.5e14 / 4.1e12, 6.5e14])  # the ridge
    assert roof[0][1] / roof[0][0] == pytest.approx(4.1e12)  # left of it, bytes per second
    assert roof[2][1] == 6.5e14
    assert [set(line[:, 1]) for line in lines(axes, "--")] == [{9.9e14}]
    words = [text.get_text() for text in axes.texts]
    assert "measured on cuda:0: 650 TFLOP/s, 4.10 TB/s" in words
    assert "vendor's dense peak: 990 TFLOP/s" in words


def test_a_point_of_the_roofline_is_flops_times_speed(
    results: Results, drawn: tuple[list[Chart], dict[str, Figure]]
) -> None:
    axes = drawn[1]["roofline"].axes[0]
    flops = {row[0]: 2 * row[4] for row in FIXTURE_CIFAR}
    for name in ("lenet5_cifar", "resnet18_cifar"):
        achieved = flops[name] * results.cell(name, "inference_images_per_s").value
        intensity = results.cell(name, "arithmetic_intensity").value
        offsets = np.concatenate([np.asarray(points.get_offsets()) for points in axes.collections])
        assert np.isclose(offsets, [intensity, achieved], rtol=1e-9).all(axis=1).any(), name


def test_no_roofline_without_limits(results: Results) -> None:
    bare = replace(results, header=replace(results.header, limits={}))
    models = bare.tracks()["cifar"]
    assert roofline_chart(bare, models) is None


def test_the_parts_of_memory_add_up_to_the_predicted_peak(
    results: Results, drawn: tuple[list[Chart], dict[str, Figure]]
) -> None:
    amount, share = drawn[1]["memory"].axes
    models = results.tracks()["cifar"]
    bars = [bar for bar in amount.patches if isinstance(bar, Rectangle)]
    assert len(bars) == len(MEMORY_PARTS) * len(models)
    predicted = sorted(results.cell(model, "predicted_training_bytes").value for model in models)
    ends = [
        max(b.get_x() + b.get_width() for b in bars if round(b.get_y() + 0.33) == row) for row in range(len(models))
    ]
    assert ends == pytest.approx(predicted, rel=1e-6)
    assert sum(bar.get_width() for bar in share.patches if isinstance(bar, Rectangle)) == pytest.approx(len(models))


def test_memory_without_all_parts_is_not_stacked(read: Reader) -> None:
    results = read([ok(f"{name}_cifar", "weight_bytes", 5.0, batch_size=8) for name in "ab"])
    assert memory_chart(results, results.models) is None


def test_a_timing_is_a_bar_with_its_interval(read: Reader) -> None:
    rows = [ok(f"{n}_cifar", "latency_ms", 5.0 + i, samples=(4.0 + i, 5.0 + i, 7.0 + i)) for i, n in enumerate("ab")]
    results = read(rows)
    with style(), kept_figures() as kept:
        chart = bar_chart(results, results.models, METRICS["latency_ms"])
    assert chart is not None
    (axes,) = kept[0].axes
    bars = [bar.get_width() for bar in axes.patches if isinstance(bar, Rectangle)]
    assert bars == [5.0, 6.0]  # the fastest first
    whiskers = [tuple(np.asarray(line.get_xdata(), dtype=float)) for line in axes.lines]
    assert whiskers == [(cell.low, cell.high) for cell in (results.cell(f"{n}_cifar", "latency_ms") for n in "ab")]


def test_a_failed_throughput_has_a_row_with_the_reason(read: Reader) -> None:
    rows = [ok(f"{name}_cifar", "train_images_per_s", 5.0 + i, batch_size=8) for i, name in enumerate("ab")]
    rows.append(bad("c_cifar", "train_images_per_s", "oom", "too big"))
    results = read(rows)
    with style():
        chart = bar_chart(results, results.models, METRICS["train_images_per_s"])
    assert chart is not None
    assert ">out of memory</text>" in chart.svg


def test_a_handful_of_networks_is_left_to_the_table(read: Reader) -> None:
    rows = [ok(f"{name}_cifar", "train_images_per_s", 5.0 + i, batch_size=8) for i, name in enumerate("ab")]
    assert draw_charts(read(rows)) == []
