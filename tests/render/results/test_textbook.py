"""Published accuracies, the figures drawn from them, and those of depth, density and years: true, and readable."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from bench.render.charts import Chart, draw_charts
from bench.render.charts.accuracy import accuracies, density_chart, textbook_charts
from bench.render.charts.costs import early_late_chart
from bench.render.charts.frame import style
from bench.render.results import Results, as_published, read_results
from bench.render.results.derived import published_top1
from bench.render.results.kept import Layers, read_layers
from tests.render.conftest import (
    FIXTURE_IMAGENET,
    Reader,
    RunBuilder,
    counts,
    kept_figures,
    listed,
    ok,
    overlaps,
    texts_of,
    training,
)

# name, family, year, millions of parameters, GMACs: all networks with a published accuracy
NETWORKS = (
    ("alexnet", "AlexNet", 2012, 61.1, 0.714),
    ("vgg11", "VGG", 2014, 132.9, 7.61),
    ("vgg13", "VGG", 2014, 133.0, 11.31),
    ("vgg16", "VGG", 2014, 138.4, 15.47),
    ("vgg19", "VGG", 2014, 143.7, 19.63),
    ("vgg11_bn", "VGG", 2014, 132.9, 7.61),
    ("vgg13_bn", "VGG", 2014, 133.1, 11.31),
    ("vgg16_bn", "VGG", 2014, 138.4, 15.47),
    ("vgg19_bn", "VGG", 2014, 143.7, 19.63),
    ("googlenet", "GoogLeNet", 2014, 6.62, 1.498),
    ("resnet18", "ResNet", 2015, 11.7, 1.814),
    ("resnet34", "ResNet", 2015, 21.8, 3.664),
    ("resnet50", "ResNet", 2015, 25.6, 4.089),
    ("resnet101", "ResNet", 2015, 44.5, 7.801),
    ("resnet152", "ResNet", 2015, 60.2, 11.51),
    ("wide_resnet50_2", "Wide ResNet", 2016, 68.9, 11.4),
    ("wide_resnet101_2", "Wide ResNet", 2016, 126.9, 22.75),
    ("resnext50_32x4d", "ResNeXt", 2016, 25.0, 4.23),
    ("resnext101_32x8d", "ResNeXt", 2016, 88.8, 16.41),
    ("densenet121", "DenseNet", 2016, 7.98, 2.834),
    ("densenet161", "DenseNet", 2016, 28.7, 7.728),
    ("densenet169", "DenseNet", 2016, 14.1, 3.36),
    ("densenet201", "DenseNet", 2016, 20.0, 4.291),
    ("squeezenet1_0", "SqueezeNet", 2016, 1.25, 0.819),
    ("squeezenet1_1", "SqueezeNet", 2016, 1.24, 0.349),
    ("vit_b_16", "ViT", 2020, 86.6, 17.56),
    ("vit_b_32", "ViT", 2020, 88.2, 4.41),
    ("vit_l_16", "ViT", 2020, 304.3, 61.55),
)


def textbook_run(read: Reader) -> Results:
    """All networks with a published accuracy, and one without."""
    models = [listed(name, family, year, "imagenet") for name, family, year, _, _ in NETWORKS]
    models.append(listed("zfnet", "ZFNet", 2013, "imagenet"))
    rows = [ok(name, "params", 1e6 * params) for name, _, _, params, _ in NETWORKS]
    rows += [ok(name, "macs", 1e9 * macs) for name, _, _, _, macs in NETWORKS]
    return read(rows, models)


def small_run(read: Reader, accuracies: list[float]) -> Results:
    """Networks of the cifar track, two or three of each family, whose accuracies crowd."""
    names = [(f"network{number}_cifar", f"F{number // 3}", 2012 + number % 6) for number in range(len(accuracies))]
    models = [listed(name, family, year, "cifar") for name, family, year in names]
    rows = []
    for number, ((name, _, _), accuracy) in enumerate(zip(names, accuracies, strict=True)):
        rows += [ok(name, "params", 1e6 * (1 + number)), ok(name, "macs", 1e7 * 1.2**number)]
        rows += training(name, accuracy, trials=10_000)
    return read(rows, models)


def drawn(results: Results, layers: dict[str, Layers] | None = None) -> dict[str, tuple[Chart, Figure]]:
    """Charts by name, with the figures as matplotlib's objects."""
    with kept_figures() as kept:
        charts = draw_charts(results, layers=layers or {})
    return {chart.name: (chart, kept[int(chart.svg)]) for chart in charts}


def test_published_accuracies_are_torchvisions_own() -> None:
    models = pytest.importorskip("torchvision.models")
    for name, published in published_top1().items():
        if published.dataset != "ImageNet":
            continue
        meta = models.get_model_weights(name)[published.source.rpartition(" ")[2]].meta
        assert published.top1 == pytest.approx(meta["_metrics"]["ImageNet-1K"]["acc@1"] / 100, abs=1e-9), name


def test_published_accuracies_are_only_of_networks_that_are_not_trained(read: Reader) -> None:
    models = [listed(name, family, year, "imagenet") for name, family, year, *_ in FIXTURE_IMAGENET]
    rows = [ok(name, "params", params) for name, _, _, params, *_ in FIXTURE_IMAGENET]
    results = read(rows, models)
    view = as_published(results)
    assert view is not None
    published, group = view
    assert {model.name for model in group.models} == {name for name, *_ in FIXTURE_IMAGENET}
    assert published.cell("alexnet", "top1").value == published_top1()["alexnet"].top1
    assert "published" in published.cell("alexnet", "top1").records[0].note
    assert not results.cell("alexnet", "top1").measured  # the run itself is as it was

    trained = read([*rows, *training("alexnet", 0.3, dataset="imagenet")], models, name="trained")
    assert as_published(trained) is None
    assert textbook_charts(trained) == []


def test_the_textbooks_chart_is_as_in_the_lecture(read: Reader) -> None:
    figures = drawn(textbook_run(read))
    chart, figure = figures["imagenet-published-top1-vs-macs"]
    axes = figure.axes[0]
    assert (chart.kind, axes.get_xscale(), axes.get_xlim()[0]) == ("textbook", "linear", 0)
    assert axes.get_ylim()[0] > 0.5  # nothing is wasted on guessing
    assert "Beyond the right edge: ViT-L/16 with 61.5 G MACs and 79.7 %." in chart.caption
    assert "No published accuracy of the same source for ZFNet." in chart.caption
    assert chart.alt.startswith("Bubble chart of published top-1 accuracy on ImageNet against MACs for 27 networks.")
    words = " ".join(text.get_text() for text in figure.texts)
    assert "torchvision 0.29, weights IMAGENET1K_V1" in words

    balls = next(c for c in axes.collections if np.asarray(c.get_offsets()).shape[0] == 27)
    areas = np.asarray(balls.get_sizes())  # type: ignore[attr-defined]
    params = [1e6 * row[3] for row in NETWORKS if row[0] != "vit_l_16"]
    assert areas / areas.max() == pytest.approx(np.array(sorted(params, reverse=True)) / max(params), rel=1e-6)


def test_no_text_of_a_textbook_figure_covers_another(read: Reader) -> None:
    figures = drawn(textbook_run(read))
    for name in ("top1-vs-macs", "bars-top1", "bars-density", "years"):
        chart, figure = figures[f"imagenet-published-{name}"]
        assert overlaps(figure, texts_of(figure)) == [], name
        assert "No room" not in chart.caption


def test_forty_networks_keep_their_names_apart(read: Reader) -> None:
    accuracies = [0.9 + 0.001 * ((7 * number) % 40) for number in range(40)]
    figures = drawn(small_run(read, accuracies))
    for name in ("cifar-top1-vs-macs", "cifar-years"):
        chart, figure = figures[name]
        assert overlaps(figure, texts_of(figure)) == []
        assert "No room" not in chart.caption


def test_density_is_percent_per_million_parameters(read: Reader) -> None:
    results = small_run(read, [0.5, 0.8, 0.1])
    group = results.accuracy_groups()[0]
    with style():
        chart = density_chart(accuracies(results, group, "cifar"))
    assert chart is not None
    assert "for 2 networks, from network0 (50.00 ± 0.98) to network1 (40.00" in chart.alt
    assert chart.caption == "Omitted because they did no better than chance: network2."


def test_the_best_so_far_only_rises(read: Reader) -> None:
    chart, figure = drawn(small_run(read, [0.5, 0.4, 0.7, 0.6, 0.8, 0.3]))["cifar-years"]
    line = next(line for line in figure.axes[0].lines if line.get_linestyle() == "--")
    x, y = np.asarray(line.get_data())
    assert y.tolist() == [0.5, 0.7, 0.8, 0.8]
    assert x.tolist() == [-0.5, 1.5, 3.5, 5.5]  # of 2012, 2014 and 2016, each from the left edge of its column
    assert "The best of the 2012 networks has 50.0 %; the best of all, of 2016, 80.0 %." in chart.caption
    falling, _ = drawn(small_run(read, [0.5, 0.4, 0.3]))["cifar-years"]
    assert "The best of the 2012 networks has 50.0 %; no later one has more." in falling.caption


def layer_rows(*rows: tuple[int, int, int]) -> pd.DataFrame:
    """Parameters, MACs and saved bytes of each layer."""
    frame = pd.DataFrame(list(rows), columns=["params", "macs", "saved_activation_bytes"])
    return frame.assign(layer="", operation="Conv2d", output_shape=frame.index.map(lambda _: (1, 1, 1)), activations=1)


def test_thirds_are_of_the_layers_that_multiply() -> None:
    # What follows a layer that multiplies is counted with it; what comes before the first, with the first.
    known = Layers("x", layer_rows((0, 0, 1), (1, 5, 2), (1, 0, 3), (3, 5, 4), (0, 0, 5), (5, 5, 6), (0, 0, 0)))
    assert known.thirds("params") == (0.2, 0.3, 0.5)
    assert known.thirds("saved_activation_bytes") == pytest.approx((6 / 21, 9 / 21, 6 / 21))
    assert known.thirds("macs") == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert Layers("x", layer_rows((1, 0, 1))).thirds("params") is None  # nothing multiplies
    assert Layers("x", layer_rows((0, 1, 1))).thirds("params") is None  # no parameters
    assert sum(Layers("x", layer_rows((1, 1, 1), (1, 1, 1))).thirds("params") or ()) == 1  # fewer layers than thirds
    assert known.share("params", "Linear") == 0
    assert known.share("params", "Conv2d") == 1


def test_where_things_sit_is_drawn_in_thirds(read: Reader) -> None:
    results = small_run(read, [0.5, 0.6, 0.7])
    names = [model.name for model in results.models]
    layers = {name: Layers(name, layer_rows((1, 6, 8), (1, 3, 1), (8, 1, 1))) for name in names[:2]}
    chart, figure = drawn(results, layers)["cifar-early-late"]
    assert "has 10 % of the parameters, 60 % of the MACs and 80 % of the saved activations" in chart.caption
    for axes in figure.axes:
        rectangles = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
        assert max(patch.get_x() + patch.get_width() for patch in rectangles) == pytest.approx(1)
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["network0", "network1"]
    assert overlaps(figure, texts_of(figure)) == []
    with style():
        assert early_late_chart(results.models, {names[0]: layers[names[0]]}) is None


def test_layers_that_a_run_kept_are_read_and_damaged_ones_named(build: RunBuilder) -> None:
    run = build([], [listed(name, track="cifar") for name in ("a_cifar", "b:c/d_cifar", "e_cifar")])
    run.table_path("layers", "a_cifar").parent.mkdir()
    for name in ("a_cifar", "b:c/d_cifar"):
        layer_rows((1, 2, 3)).to_parquet(run.table_path("layers", name))
    run.table_path("layers", "e_cifar").write_bytes(b"not Parquet")
    found, unreadable = read_layers(run, read_results(run).models)
    assert list(found) == ["a_cifar", "b:c/d_cifar"]
    assert math.isclose(found["b:c/d_cifar"].rows["saved_activation_bytes"].sum(), 3)
    assert unreadable == ["e_cifar.parquet"]


def test_of_a_few_networks_none_is_left_out_however_far_out_it_is(read: Reader) -> None:
    sizes = {"squeezenet1_1": (1.2e6, 3.5e8), "resnet18": (1.2e7, 1.8e9), "vgg19": (1.4e8, 1.96e10)}
    rows = [row for name, (params, macs) in sizes.items() for row in counts(name, params, macs, 1e6)]
    figures = drawn(read(rows))
    chart, _ = figures["imagenet-published-top1-vs-macs"]
    assert "Beyond" not in chart.caption
    assert "for 3 networks" in chart.alt
