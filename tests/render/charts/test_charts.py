"""Figures: what they draw, measured on matplotlib's own objects."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.markers import MarkerStyle
from matplotlib.text import Annotation, Text

from bench.metrics import METRICS
from bench.models import REGISTRY
from bench.quantity import tick
from bench.render import charts
from bench.render.charts import draw_charts
from bench.render.charts.accuracy import accuracies, scatter_chart
from bench.render.charts.frame import (
    COLOURS,
    MARKERS,
    PAPER,
    chart_name,
    family_styles,
    marker_size,
    printable,
    scale_from_zero,
    style,
)
from bench.render.charts.points import ball_areas
from bench.render.results import Results, read_results
from bench.render.results.networks import Model
from tests.render.conftest import Reader, bad, counts, full_run, kept_figures, listed, overlaps, speeds, training

COSTS = ("macs", "inference_images_per_s", "train_images_per_s", "saved_activation_bytes")


def test_bytes_on_an_axis_are_round_where_the_unit_has_just_changed() -> None:
    axes = Figure().add_subplot()
    scale_from_zero(axes, 2.0 * 2**30, "bytes")
    shown = [tick(at, "bytes") for at in axes.xaxis.get_majorticklocs()]
    assert shown == ["0 B", "512 MiB", "1 GiB", "1.5 GiB", "2 GiB"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return read_results(full_run(tmp_path_factory.mktemp("results"), curves=False))


def pair(read: Reader, top1: tuple[float, float], **changes: object) -> Results:
    models = [listed(f"{name}_cifar", name, 2015, "cifar", **changes) for name in "ab"]
    rows = [
        row
        for (name, macs), value in zip((("a_cifar", 1e6), ("b_cifar", 1e7)), top1, strict=True)
        for row in [*counts(name, macs / 10, macs, macs), *training(name, value)]
    ]
    return read(rows, models)


def drawn(results: Results, cost: str) -> tuple[Figure, list[Text]]:
    """A scatter of the first group, and its labels: the annotations that say something."""
    group = results.accuracy_groups()[0]
    with kept_figures() as kept:
        chart = scatter_chart(accuracies(results, group, "cifar"), METRICS[cost])
    assert chart is not None
    assert "No room" not in chart.caption
    return kept[0], [text for text in kept[0].axes[0].texts if isinstance(text, Annotation) and text.get_text()]


@pytest.mark.parametrize(("top1", "line"), [((0.5, 0.6), True), ((0.6, 0.5), False)])
def test_the_legend_knows_a_front_only_where_there_is_a_line(
    read: Reader, top1: tuple[float, float], line: bool
) -> None:
    """A single network that is cheaper and better than all others is a front without a line."""
    with style():
        figure, _ = drawn(pair(read, top1), "macs")
    assert ("Pareto front" in [text.get_text() for legend in figure.legends for text in legend.texts]) is line


@pytest.mark.parametrize("cost", COSTS)
def test_labels_of_twenty_networks_do_not_overlap(results: Results, cost: str) -> None:
    with style():
        figure, labels = drawn(results, cost)
        figure.draw_without_rendering()
        boxes = [Text.get_window_extent(label) for label in labels]
        axes = figure.axes[0]
        frame = axes.get_window_extent()
        group = results.accuracy_groups()[0]
        points = axes.transData.transform(
            [(results.cell(m, cost).value, results.cell(m, "top1").value) for m in group.models]
        )
    assert len(boxes) == 19
    assert overlaps(figure, labels) == []
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)
    assert all(frame.y0 <= box.y0 and box.y1 <= frame.y1 for box in boxes)
    hidden = [label.get_text() for label, box in zip(labels, boxes, strict=True) if box.count_contains(points)]
    assert hidden == []


def test_ball_area_is_proportional_to_parameters(results: Results) -> None:
    with style():
        figure, _ = drawn(results, "macs")
    balls = next(
        c for c in figure.axes[0].collections if isinstance(c, PathCollection) and np.size(c.get_offsets()) > 2
    )
    params = sorted((results.cell(m, "params").value for m in results.accuracy_groups()[0].models), reverse=True)
    # The largest is drawn first, so that none hides a smaller one.
    # `s` is the squared diameter of a circle, so it must be to the area as 4 is to pi, for every network.
    assert np.asarray(balls.get_sizes()) / params == pytest.approx(balls.get_sizes()[0] / params[0])
    assert ball_areas([4.0, 1.0, math.nan])[1:].tolist() == [ball_areas([4.0])[0] / 4, 0]


def test_the_subtitle_names_the_conditions(results: Results) -> None:
    with style():
        figure, _ = drawn(results, "train_images_per_s")
    words = " ".join(text.get_text() for text in figure.texts)
    for condition in ("cifar10", "20s", "1 seed", "Fixture CPU, 2 threads", "2026-01-31"):
        assert condition in words
    assert figure.axes[0].get_xlabel() == "Training throughput (images/s, batch 64, fp32)"


def test_chance_is_a_dashed_line(read: Reader) -> None:
    with style():
        figure, _ = drawn(pair(read, (0.3, 0.6), num_classes=4), "macs")
    axes = figure.axes[0]
    level = [line for line in axes.lines if set(np.asarray(line.get_ydata())) == {0.25}]
    assert [line.get_linestyle() for line in level] == ["--"]
    assert "chance 25 %" in [text.get_text() for text in axes.texts]


def test_chance_far_below_is_said_instead_of_drawn(read: Reader) -> None:
    with style():
        figure, _ = drawn(pair(read, (0.985, 0.991)), "macs")
    axes = figure.axes[0]
    assert axes.get_ylim()[0] > 0.9
    assert "chance 10 % is below this axis" in [text.get_text() for text in axes.texts]


def test_an_accuracy_chart_shows_one_data_set(results: Results) -> None:
    figures = {group.dataset: group for group in results.accuracy_groups()}
    assert {dataset: len(group.models) for dataset, group in figures.items()} == {"cifar10": 19, "mnist": 2}
    with style():
        _, labels = drawn(results, "macs")
    assert not [label.get_text() for label in labels if "mnist" in label.get_text() or label.get_text() == "cnn"]


def test_a_network_without_the_cost_is_named(read: Reader) -> None:
    rows = [*counts("a_cifar", 1, 1e6, 1), *counts("b_cifar", 1, 1e7, 1)]
    results = read([*rows, *(row for name in "abc" for row in training(f"{name}_cifar", 0.5))])
    with style():
        group = results.accuracy_groups()[0]
        chart = scatter_chart(accuracies(results, group, "cifar"), METRICS["macs"])
    assert chart is not None
    assert chart.caption == "No MACs measured for c."
    assert "for 2 networks" in chart.alt


def test_a_failed_network_has_a_row_in_the_bars(read: Reader) -> None:
    rows = [*training("a_cifar", 0.4), *training("b_cifar", 0.5)]
    rows.append(bad("c_cifar", "top1", "oom", "too big", dataset="cifar10", budget="20s"))
    figures = draw_charts(read(rows))
    bars = next(chart for chart in figures if chart.name == "cifar-bars-top1")
    assert ">out of memory</text>" in bars.svg
    assert "from b (50.0 ± 2.2 %) to a (40.0 ± 2.2 %)" in bars.alt


def test_names_are_text_and_not_mathematics(read: Reader) -> None:
    names = ["$\\frac{", "a\nb 🔥 <script>", "c"]
    models = [listed(f"{name}_cifar", "$x$", 2015, "cifar") for name in names]
    rows = [
        row
        for i, name in enumerate(names)
        for row in [
            *counts(f"{name}_cifar", 5 + i, 7 + i, 9 + i),
            *training(f"{name}_cifar", 0.5 + i / 10),
            *speeds(f"{name}_cifar", 1e6),
        ]
    ]
    figures = draw_charts(read(rows, models))
    assert {chart.kind for chart in figures} == {"headline", "ball", "scatter", "bars", "work"}
    assert not [chart.name for chart in figures if "<script" in chart.svg]


def test_a_headline_says_how_large_its_largest_ball_is(read: Reader) -> None:
    results = pair(read, (0.3, 0.6))
    with style():
        found = accuracies(results, results.accuracy_groups()[0], "cifar")
        headline = scatter_chart(found, METRICS["macs"], headline="After 1 epoch")
    assert headline is not None
    assert headline.narrow is not None
    assert ">balls: parameters, up to 1.00 M<" in headline.svg
    assert ">balls: parameters<" in headline.narrow.svg  # which has no room for more


def test_printable_replaces_what_the_font_lacks() -> None:
    assert printable("a\n b\t🔥") == "a b □"
    assert printable("x" * 50, 10) == "x" * 9 + "…"


def test_drawing_leaves_matplotlibs_settings_alone(read: Reader) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    draw_charts(pair(read, (0.3, 0.6)))
    assert dict(matplotlib.rcParams) == before


def test_text_stays_text_in_a_font_that_is_there(read: Reader) -> None:
    (svg,) = (chart.svg for chart in draw_charts(pair(read, (0.3, 0.6))) if chart.kind == "ball")
    texts = re.findall(r'<text style="([^"]*)"[^>]*>([^<]*)</text>', svg)
    assert {"Test accuracy after 20 s of training against MACs", "a", "b", "chance 10 %"} <= {text for _, text in texts}
    assert all("'DejaVu Sans', Verdana, " in style and "sans-serif" in style for style, _ in texts)
    sizes = [float(size) for style, _ in texts for size in re.findall(r"([\d.]+)px", style)]
    assert min(sizes) * 960 / 720 >= 11  # points on a slide of 960 points that a figure of 720 fills


def test_a_marker_and_a_name_say_the_identifier(read: Reader) -> None:
    rows = [
        row
        for i, name in enumerate(("vgg11_cifar", 'x"<&_cifar'))
        for row in [*counts(name, 5, 7 + i, 9), *training(name, 0.5 + i / 10)]
    ]
    (svg,) = (chart.svg for chart in draw_charts(read(rows)) if chart.kind == "ball")
    titles = [element.text for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("}title")]
    assert sorted(str(title) for title in titles) == ["vgg11_cifar"] * 2 + ['x"<&_cifar'] * 2
    assert ">VGG-11</text>" in svg


def test_accuracies_of_elsewhere_are_hollow_and_the_legend_says_so(read: Reader) -> None:
    results = pair(read, (0.3, 0.6))
    group = replace(results.accuracy_groups()[0], elsewhere=frozenset({"b_cifar"}))
    accuracy = accuracies(results, group, "cifar")
    with style(), kept_figures() as kept:
        for cost in ("macs", "params"):
            assert scatter_chart(accuracy, METRICS[cost])
    for figure in kept:
        markers = [c for c in figure.axes[0].collections if np.size(c.get_offsets()) == 2]
        colours = [to_hex(tuple(np.asarray(c.get_facecolor())[0])) for c in markers]
        assert colours == [family_styles("ab")["a"].colour, PAPER]
        words = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
        assert words[-2:] == ["measured here", "reference"]


def test_every_network_of_the_registry_has_a_name_of_its_own_in_figures() -> None:
    written = {}
    for spec in REGISTRY.values():
        model = Model(spec.name, spec.family, spec.year, spec.paper, spec.track, spec.input_size, 10, ())
        written[spec.track, chart_name(model)] = spec.name
    assert len(written) == len(REGISTRY)
    assert not [name for (_, name) in written if "_" in name or name.islower()]
    names = {identifier: name for (_, name), identifier in written.items()}
    assert [names[n] for n in ("resnet18", "resnet18_cifar", "vit_b_16", "wide_resnet28_10_cifar", "googlenet")] == [
        "ResNet-18", "ResNet-18", "ViT-B/16", "WRN-28-10", "GoogLeNet"
    ]  # fmt: skip


def test_networks_of_torchvision_are_named_as_their_papers_do() -> None:
    written = {
        "mobilenet_v3_small": "MobileNetV3-Small",
        "efficientnet_b0": "EfficientNet-B0",
        "shufflenet_v2_x0_5": "ShuffleNetV2 0.5×",
        "mnasnet1_0": "MNASNet-1.0",
        "regnet_y_400mf": "RegNetY-400MF",
        "regnet_y_1_6gf": "RegNetY-1.6GF",
        "convnext_tiny": "ConvNeXt-T",
        "swin_s": "Swin-S",
        "resnet18": "torchvision:resnet18",  # the suite has a ResNet-18 of its own
    }
    for name, expected in written.items():
        model = Model(f"torchvision:{name}", "torchvision", None, "", "imagenet", (3, 224, 224), 1000, (), own=True)
        assert chart_name(model) == expected


# --- palette ---------------------------------------------------------------------------------------------

# Machado, Oliveira, Fernandes 2009, Table 1, severity 1.0; on linear RGB.
MACHADO = {
    "normal": np.eye(3),
    "protan": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deutan": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritan": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def linear(colour: str) -> np.ndarray:
    rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(rgb, 0, 1) / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", MACHADO)
def test_colours_are_apart_for_every_kind_of_vision(vision: str) -> None:
    seen = [lab(MACHADO[vision] @ linear(colour)) for colour in COLOURS[:7]]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 22


def test_every_family_of_the_registry_has_a_colour_of_its_own() -> None:
    styles = family_styles(spec.family for spec in REGISTRY.values())
    seen = {family: lab(linear(style.colour)) for family, style in styles.items()}
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen.values(), 2)) > 17
    assert np.linalg.norm(seen["ResNet"] - seen["DenseNet"]) > 60  # what a lecture compares


def test_colours_stand_out_on_both_pages() -> None:
    style = (Path(charts.__file__).parents[1] / "page" / "parts" / "style.css").read_text()
    grounds = re.findall(r"--paper: (#\w{6})", style)
    assert len(grounds) == 2
    assert grounds[0] == PAPER

    def luminance(colour: str) -> float:
        return float(np.array([0.2126, 0.7152, 0.0722]) @ linear(colour))

    for colour, ground in itertools.product(COLOURS, grounds):
        dark, light = sorted((luminance(colour), luminance(ground)))
        assert (light + 0.05) / (dark + 0.05) > 2.8, (colour, ground)


def test_eighteen_families_differ_without_colour() -> None:
    styles = family_styles(f"family {i}" for i in range(306))
    assert len({styles[f"family {i}"].marker for i in range(18)}) == 18
    assert len({(style.colour, style.marker) for style in styles.values()}) == 306


@pytest.mark.parametrize("marker", MARKERS)
def test_markers_cover_the_same_area(marker: str | tuple[int, int, int]) -> None:
    style = MarkerStyle(marker)
    scale = math.sqrt(marker_size(marker, 30.0))  # what matplotlib stretches the unit path by
    (polygon, *_) = style.get_path().transformed(style.get_transform()).to_polygons()
    x, y = np.asarray(polygon).T * scale
    inside = np.array([np.roll(x, -1) * y - x * np.roll(y, -1)]).sum() / 2
    assert abs(inside) == pytest.approx(30.0, rel=1e-6)
