"""Published accuracies, the figures drawn from them, and those of depth, density and years: true, and readable."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from bench.metrics import METRICS
from bench.models import REGISTRY
from bench.render.charts import Chart
from bench.render.charts.accuracy import accuracies, density_chart, scatter_chart, textbook_charts, year_chart
from bench.render.charts.costs import early_late_chart
from bench.render.charts.frame import style
from bench.render.results import Results, read_results
from bench.render.results.derived import published_top1
from bench.render.results.kept import Layers
from bench.render.results.views import as_published
from tests.render.conftest import (
    FIXTURE_IMAGENET,
    Reader,
    counts,
    kept_figures,
    kept_run,
    listed,
    ok,
    overlaps,
    texts_of,
    training,
)

COUNTS = json.loads((Path(__file__).parents[2] / "golden" / "counts.json").read_text(encoding="utf-8"))
# All networks with a published accuracy, and one without.
NETWORKS = [
    spec for name, spec in REGISTRY.items() if (known := published_top1().get(name)) and known.dataset == "ImageNet"
]
ZFNET = REGISTRY["zfnet"]


@pytest.fixture(scope="module")
def textbook(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Chart, Figure]]:
    """The charts of published accuracies of all networks that have one."""
    models = [listed(spec.name, spec.family, spec.year or 0) for spec in (*NETWORKS, ZFNET)]
    rows = [ok(spec.name, metric, COUNTS[spec.name][metric]) for spec in NETWORKS for metric in ("params", "macs")]
    results = read_results(kept_run(tmp_path_factory.mktemp("results"), rows, models))
    return drawn(lambda: textbook_charts(results))


def small_run(read: Reader, top1: list[float]) -> Results:
    """Networks of the cifar track, two or three of each family, whose accuracies crowd."""
    names = [(f"network{number}_cifar", f"F{number // 3}", 2012 + number % 6) for number in range(len(top1))]
    models = [listed(name, family, year, "cifar") for name, family, year in names]
    rows = []
    for number, ((name, _, _), accuracy) in enumerate(zip(names, top1, strict=True)):
        rows += [ok(name, "params", 1e6 * (1 + number)), ok(name, "macs", 1e7 * 1.2**number)]
        rows += training(name, accuracy, trials=10_000)
    return read(rows, models)


def drawn(make: Callable[[], Iterable[Chart | None]]) -> dict[str, tuple[Chart, Figure]]:
    """Charts by name, with the figures as matplotlib's objects."""
    with style(), kept_figures() as kept:
        charts = [chart for chart in make() if chart is not None]
    return {chart.name: (chart, kept[int(chart.svg)]) for chart in charts}


def drawn_years(read: Reader, top1: list[float]) -> tuple[Chart, Figure]:
    results = small_run(read, top1)
    return drawn(lambda: [year_chart(accuracies(results, results.accuracy_groups()[0], "cifar"))])["cifar-years"]


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


def test_the_textbooks_chart_is_as_in_the_lecture(textbook: dict[str, tuple[Chart, Figure]]) -> None:
    chart, figure = textbook["imagenet-published-top1-vs-macs"]
    axes = figure.axes[0]
    assert (chart.kind, axes.get_xscale(), axes.get_xlim()[0]) == ("textbook", "linear", 0)
    assert axes.get_ylim()[0] > 0.5  # nothing is wasted on guessing
    assert "Beyond the right edge: ViT-L/16 with 61.6 G MACs and 79.7 %." in chart.caption
    assert "No published accuracy of the same source for ZFNet." in chart.caption
    assert chart.alt.startswith("Bubble chart of published top-1 accuracy on ImageNet against MACs for 27 networks.")
    words = " ".join(text.get_text() for text in figure.texts)
    assert "torchvision 0.29, weights IMAGENET1K_V1" in words

    balls = next(c for c in axes.collections if np.asarray(c.get_offsets()).shape[0] == 27)
    areas = np.asarray(balls.get_sizes())  # type: ignore[attr-defined]
    params = [COUNTS[spec.name]["params"] for spec in NETWORKS if spec.name != "vit_l_16"]
    assert areas / areas.max() == pytest.approx(np.array(sorted(params, reverse=True)) / max(params), rel=1e-6)


def test_no_text_of_a_textbook_figure_covers_another(textbook: dict[str, tuple[Chart, Figure]]) -> None:
    for name in ("top1-vs-macs", "bars-top1", "bars-density", "years"):
        chart, figure = textbook[f"imagenet-published-{name}"]
        assert overlaps(figure, texts_of(figure)) == [], name
        assert "No room" not in chart.caption


def test_forty_networks_keep_their_names_apart(read: Reader) -> None:
    results = small_run(read, [0.9 + 0.001 * ((7 * number) % 40) for number in range(40)])
    own = accuracies(results, results.accuracy_groups()[0], "cifar")
    figures = drawn(lambda: (scatter_chart(own, METRICS["macs"]), year_chart(own)))
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
    chart, figure = drawn_years(read, [0.5, 0.4, 0.7, 0.6, 0.8, 0.3])
    line = next(line for line in figure.axes[0].lines if line.get_linestyle() == "--")
    x, y = np.asarray(line.get_data())
    assert y.tolist() == [0.5, 0.7, 0.8, 0.8]
    assert x.tolist() == [-0.5, 1.5, 3.5, 5.5]  # of 2012, 2014 and 2016, each from the left edge of its column
    assert "The best of the 2012 networks has 50.0 %; the best of all, of 2016, 80.0 %." in chart.caption
    falling, _ = drawn_years(read, [0.5, 0.4, 0.3])
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
    chart, figure = drawn(lambda: [early_late_chart(results.models, layers)])["cifar-early-late"]
    assert "has 10 % of the parameters, 60 % of the MACs and 80 % of the saved activations" in chart.caption
    for axes in figure.axes:
        rectangles = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
        assert max(patch.get_x() + patch.get_width() for patch in rectangles) == pytest.approx(1)
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["network0", "network1"]
    assert overlaps(figure, texts_of(figure)) == []
    with style():
        assert early_late_chart(results.models, {names[0]: layers[names[0]]}) is None


def test_of_a_few_networks_none_is_left_out_however_far_out_it_is(read: Reader) -> None:
    sizes = {"squeezenet1_1": (1.2e6, 3.5e8), "resnet18": (1.2e7, 1.8e9), "vgg19": (1.4e8, 1.96e10)}
    rows = [row for name, (params, macs) in sizes.items() for row in counts(name, params, macs, 1e6)]
    figures = drawn(lambda: textbook_charts(read(rows)))
    chart, _ = figures["imagenet-published-top1-vs-macs"]
    assert "Beyond" not in chart.caption
    assert "for 3 networks" in chart.alt
