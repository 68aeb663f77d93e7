"""The first screen: two comparisons and what they say, on a desk and on a telephone, whatever was trained."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from bench.render.report import write_report
from bench.render.results import derived
from tests.browser.conftest import DESKTOP, PHONE, Opener
from tests.render.conftest import RunBuilder, counts, listed, ok

IMAGENET = ("alexnet", "vgg16", "resnet18", "resnet50", "squeezenet1_1", "densenet121")
CIFAR = ("lenet5_cifar", "resnet20_cifar", "resnet18_cifar", "vgg11_bn_cifar")
SHIPPED = {"lenet5_cifar": 0.49, "resnet20_cifar": 0.60, "resnet18_cifar": 0.72, "vgg11_bn_cifar": 0.63}


TRAINED = {"lenet5_cifar": 0.49, "resnet20_cifar": 0.60, "mine:tiny": 0.55}


@pytest.fixture
def report(build: RunBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Counts of both tracks, two networks trained as the shipped reference was, and one of the user's own."""
    return report_of(build, tmp_path, monkeypatch, TRAINED)


def report_of(build: RunBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: Mapping[str, float]) -> Path:
    file = tmp_path / "reference.csv"
    columns = "model,dataset,budget,seed,top1,tested,batch_size,precision,recipe,hardware,torch,torchvision,commit,run"
    rows = [
        f"{name},cifar10,1ep,0,{top1},10000,32,fp32,a recipe,CPU,2.15,,c0ffee,made" for name, top1 in SHIPPED.items()
    ]
    file.write_text("\n".join((columns, *rows, "")))
    monkeypatch.setattr(derived, "REFERENCE_FILE", file)
    models = [listed(name) for name in (*IMAGENET, *CIFAR)] + [listed("mine:tiny", track="cifar")]
    records = [
        row
        for place, name in enumerate((*IMAGENET, *CIFAR, "mine:tiny"))
        for row in counts(name, 1e6 * (place + 1), 2e8 * (place + 1), 1e6)
    ]
    records += [
        ok(name, "top1", top1, dataset="cifar10", budget="1ep", trials=10_000, batch_size=32, recipe="a recipe")
        for name, top1 in trained.items()
    ]
    return write_report(build(records, models, budget="1ep"), tmp_path / "reports")


def test_two_charts_stand_side_by_side_and_each_says_what_it_shows(open_page: Opener, report: Path) -> None:
    page = open_page(report, viewport=DESKTOP).page
    figures = page.locator("section.first figure")
    left, right = (figures.nth(place).bounding_box() for place in range(2))
    assert figures.count() == 2
    assert left
    assert right
    assert left["y"] == right["y"]
    assert left["x"] + left["width"] <= right["x"]
    assert right["y"] + right["height"] <= 1.1 * DESKTOP["height"]
    published, trained = (figures.nth(place).locator("svg").first.text_content() or "" for place in range(2))
    assert "After full training (published)" in published
    assert "After 1 epoch" in trained
    assert "3 trained here, 2 from the shipped reference" in trained


def test_hollow_markers_are_the_reference_and_a_legend_says_so(open_page: Opener, report: Path) -> None:
    svg = open_page(report).page.locator("section.first figure").nth(1).locator("svg").first
    words = svg.text_content() or ""
    assert "measured here" in words
    assert "reference" in words
    assert "tiny" in words  # one's own network among the classics


def test_the_charts_fit_a_telephone_without_scrolling_sideways(open_page: Opener, report: Path) -> None:
    page = open_page(report, viewport=PHONE).page
    for place in range(2):
        drawing = page.locator("section.first .drawing:visible").nth(place)
        wide, room = drawing.evaluate("element => [element.scrollWidth, element.clientWidth]")
        assert wide <= room
        box = drawing.locator("svg").bounding_box()
        assert box
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= PHONE["width"]
        heights = drawing.locator("text").evaluate_all("texts => texts.map((text) => text.getBBox().height)")
        scale = box["width"] / float(drawing.locator("svg").get_attribute("viewBox").split()[2])  # type: ignore[union-attr]
        assert min(heights) * scale > 11  # a line of 11 pixels' type


def test_other_costs_are_one_press_away(open_page: Opener, report: Path) -> None:
    opened = open_page(report)
    opened.page.locator("section.first figure").nth(0).get_by_text("parameters", exact=True).click()
    opened.explore()
    words = opened.page.locator("#explorer-words").text_content() or ""
    assert words.startswith("6 of 11 networks drawn: published accuracy against parameters")


def test_the_sentences_stand_below_and_name_the_kind_of_accuracy(open_page: Opener, report: Path) -> None:
    said = open_page(report).page.locator("section.first .findings li").all_text_contents()
    assert said[0].startswith("After full training (published), ResNet-50 is the most accurate of 6 networks")
    assert any(sentence.startswith("After 1 epoch on cifar10, ResNet-18") for sentence in said)


def test_without_any_training_the_first_screen_is_that_of_the_reference(
    open_page: Opener, build: RunBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = open_page(report_of(build, tmp_path, monkeypatch, {})).page
    words = page.locator("section.first figure").nth(1).locator("svg").first.text_content() or ""
    assert "all from the shipped reference" in words
    assert "reference" in words.partition("Pareto front")[2]  # the legend
    assert "measured here" not in words
    said = page.locator("section.first .findings li").all_text_contents()
    assert any(
        sentence.startswith("After 1 epoch on cifar10, ResNet-18 is the most accurate of 4") for sentence in said
    )
