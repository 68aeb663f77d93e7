"""index.html in a browser: what a reader does with it works, offline and without a complaint of the browser."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Literal

import pytest

from bench.cli.main import main
from bench.metrics import METRICS
from bench.records.record import Record
from bench.records.run_folder import Run
from bench.render.findings.ranking import accuracy_front
from bench.render.report import write_report
from bench.render.results import Results, read_results
from bench.render.results.networks import written_name
from tests.browser.conftest import DESKTOP, PHONE, Opened, Opener
from tests.render.conftest import (
    EIGHTY_CIFAR,
    FIXTURE_CIFAR,
    FIXTURE_IMAGENET,
    RunBuilder,
    bad,
    counts,
    gpu_run,
    listed,
    ok,
    speeds,
    training,
)

HOSTILE = "<img src=x onerror=alert(1)>"
BY_NAME = {row[0]: row for row in FIXTURE_CIFAR}


@pytest.fixture(scope="module")
def kept(open_lasting_page: Opener, gpu_report: Path) -> Opened:
    opened = open_lasting_page(gpu_report)
    opened.explore()
    return opened


@pytest.fixture
def opened(kept: Opened) -> Opened:
    """The page as it is once its chart is drawn; loading it for every test anew would take a minute."""
    kept.start_over()
    return kept


@pytest.fixture(scope="session")
def results(gpu_report: Path) -> Results:
    return read_results(Run.open(gpu_report.parents[1] / "results", "gpu"))


def choose(opened: Opened, **choices: str) -> None:
    for name, value in choices.items():
        opened.page.select_option(f"form.explorer [name={name}]", value)
        opened.settle()


def drawn(opened: Opened) -> dict[str, tuple[float, float]]:
    """What Plotly was given: name -> (x, y)."""
    rows = opened.page.evaluate(
        """() => {
          const marks = document.querySelector(".plot").data[2];
          return marks.customdata.map((network, i) => [network.name, marks.x[i], marks.y[i]]);
        }"""
    )
    return {name: (x, y) for name, x, y in rows}


def axis(opened: Opened, side: str) -> dict[str, str]:
    read = "side => (({title, type}) => ({title: title.text, type}))(document.querySelector('.plot').layout[side])"
    found: dict[str, str] = opened.page.evaluate(read, f"{side}axis")
    return found


def said(opened: Opened) -> str:
    """The text below the chart."""
    return opened.page.locator("#explorer-words").text_content() or ""


def names_of(opened: Opened, track: str = "cifar") -> list[str]:
    """The identifiers of the visible rows of a track's first table."""
    rows = opened.page.locator(f"[aria-label='Overview of the {track} track'] tbody tr:visible th")
    names: list[str] = rows.evaluate_all("cells => cells.map((cell) => cell.dataset.name)")
    return names


# --- the page as a whole ---------------------------------------------------------------------------------------


def test_nothing_is_requested_and_nothing_complains(opened: Opened, gpu_report: Path) -> None:
    for details in opened.page.locator("details > summary").all():
        details.click()
    assert opened.requests == [(gpu_report / "index.html").as_uri()]
    assert opened.complaints == []


def test_the_chart_is_not_unpacked_before_somebody_comes_near(open_page: Opener, gpu_report: Path) -> None:
    opened = open_page(gpu_report)
    assert opened.page.evaluate("() => window.Plotly === undefined")
    assert (
        opened.page.locator("section.first svg[role=img]:visible").count() == 2
    )  # of its own run, and with the shipped reference


@pytest.mark.parametrize(("viewport", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop", "phone"])
def test_layout(open_page: Opener, gpu_report: Path, viewport: dict[str, int], scheme: str) -> None:
    opened = open_page(gpu_report, viewport=viewport, color_scheme=scheme)
    opened.explore()
    page = opened.page
    assert page.evaluate("() => document.documentElement.scrollWidth") <= viewport["width"]
    assert page.evaluate(OVERLAPPING_TEXTS) == []
    schemes: dict[Literal["light", "dark"], str] = {"light": "#fefefe", "dark": "#13161a"}
    for chosen, paper in schemes.items():
        page.emulate_media(color_scheme=chosen)
        page.wait_for_function("paper => document.querySelector('.plot').layout.paper_bgcolor === paper", arg=paper)
    assert opened.complaints == []


# Pairs of visible texts, each in one line, whose boxes cover each other; SVG figures outside of the plot are pictures.
OVERLAPPING_TEXTS = """() => {
  const boxes = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const text = walk.currentNode, parent = text.parentElement;
    if (!text.data.trim() || parent.closest(".unseen, script, option, .drawing") || !parent.checkVisibility()) continue;
    const range = document.createRange();
    range.selectNodeContents(text);
    for (const box of range.getClientRects()) {
      let [left, right] = [box.left, box.right];
      const scroller = parent.closest(".scroll")?.getBoundingClientRect();
      if (scroller) [left, right] = [Math.max(left, scroller.left), Math.min(right, scroller.right)];
      if (right - left > 2) boxes.push({left, right, top: box.top, bottom: box.bottom, text: text.data.trim(), parent});
    }
  }
  boxes.sort((a, b) => a.top - b.top);
  const found = [];
  boxes.forEach((a, i) => {
    for (let j = i + 1; j < boxes.length && boxes[j].top < a.bottom - 4; j++) {
      const b = boxes[j];
      const sticky = a.parent.closest("table") && a.parent.closest("table") === b.parent.closest("table") &&
        (a.parent.closest(".name") || b.parent.closest(".name"));  // the first column lies above the others
      const bar = a.parent.closest("nav") || b.parent.closest("nav");  // so does the bar of sections
      if (!sticky && !bar && Math.min(a.right, b.right) - Math.max(a.left, b.left) > 2) found.push([a.text, b.text]);
    }
  });
  return found;
}"""


def test_everything_is_reached_and_seen_by_keyboard(opened: Opened) -> None:
    page = opened.page
    unreachable = page.evaluate(
        """() => [...document.querySelectorAll("button, select, input, summary, a[href]")]
          .filter((element) => element.checkVisibility() && element.tabIndex < 0).map((element) => element.outerHTML)"""
    )
    assert unreachable == []
    page.locator("#tables input[type=search]").first.focus()
    for _ in range(3):  # over the two copy buttons and the table that scrolls
        page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.textContent") == "Network"
    assert page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    assert sorted(names_of(opened)) == sorted(BY_NAME)
    first = opened.page.locator("[aria-label='Overview of the cifar track'] tbody th").first
    assert (first.text_content(), first.get_attribute("title")) == ("AlexNet", "alexnet_cifar")


# --- tables --------------------------------------------------------------------------------------------------------


def test_sort(opened: Opened) -> None:
    heading = opened.page.locator("[aria-label='Overview of the cifar track'] th", has_text="Test accuracy")
    heading.locator("button").click()
    falling = sorted(BY_NAME, key=lambda name: -BY_NAME[name][6])
    assert names_of(opened) == falling
    assert heading.get_attribute("aria-sort") == "descending"
    heading.locator("button").click()
    assert names_of(opened) == falling[::-1]
    assert heading.get_attribute("aria-sort") == "ascending"


def test_search(opened: Opened) -> None:
    box = opened.page.locator("#tables input[type=search]").first
    box.fill("resnet18_cifar")
    assert names_of(opened) == ["resnet18_cifar", "preact_resnet18_cifar"]  # not what is read, but what is typed
    box.fill("resnet 2015")
    assert sorted(names_of(opened)) == sorted(row[0] for row in FIXTURE_CIFAR if row[1] == "ResNet")
    assert opened.page.locator("#tables .tools [role=status]").first.text_content() == "4 of 20 rows"
    box.fill("")
    assert len(names_of(opened)) == 20


_NO_CLIPBOARD = "Object.defineProperty(navigator, 'clipboard', {value: undefined})"


@pytest.mark.parametrize("before", ["", _NO_CLIPBOARD], ids=["clipboard", "fallback"])
def test_copy(open_page: Opener, gpu_report: Path, results: Results, before: str) -> None:
    opened = open_page(gpu_report, before, permissions=["clipboard-read", "clipboard-write"])
    opened.page.locator("#tables input[type=search]").first.fill("vgg")
    rows = list(csv.DictReader(io.StringIO(copied(opened, "Copy as CSV"))))
    assert [row["model"] for row in rows] == ["vgg11_bn_cifar", "vgg16_bn_cifar"]
    for row in rows:
        assert row["family"] == "VGG"
        assert int(float(row["params"])) == BY_NAME[row["model"]][3]
        accuracy = results.cell(row["model"], "top1")
        assert [float(row[f"top1{end}"]) for end in ("", "_low", "_high")] == [
            accuracy.value,
            accuracy.low,
            accuracy.high,
        ]
    table = copied(opened, "Copy as Markdown").splitlines()
    assert [line.count("|") for line in table] == [table[0].count("|")] * 4
    assert re.match(r"\| Network \| Family \| Year \| Test accuracy \|", table[0])
    assert re.match(r"\| --- \| --- \| ---: \| ---: \|", table[1])
    assert re.match(r"\| VGG-11-BN \| VGG \| 2014 \| 63.4 ± \d.\d % \|", table[2])
    assert opened.complaints == []


def copied(opened: Opened, button: str) -> str:
    """What a press on a button of the first table leaves to be pasted."""
    page = opened.page
    page.locator("#tables .tools button", has_text=button).first.click()
    page.locator("#tables .tools", has_text="Copied.").first.wait_for()
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<textarea id=\"pasted\"></textarea>')")
    page.locator("#pasted").focus()
    page.keyboard.press("Control+V")
    text: str = page.locator("#pasted").input_value()
    page.evaluate("document.getElementById('pasted').remove()")
    return text


# --- the interactive chart -----------------------------------------------------------------------------------------


def test_the_first_chart_is_accuracy_against_macs(opened: Opened) -> None:
    expected = {name: (row[4], 100 * row[6]) for name, row in BY_NAME.items()}
    assert drawn(opened) == {name: pytest.approx(place) for name, place in expected.items()}
    assert (axis(opened, "x"), axis(opened, "y")) == (
        {"title": "MACs", "type": "log"},
        {"title": "Test accuracy (%)", "type": "linear"},
    )


def test_axes_change(opened: Opened, results: Results) -> None:
    choose(opened, x="peak_training_bytes", y="latency_ms")
    assert axis(opened, "x") == {"title": "Peak memory of training (GiB)", "type": "log"}
    assert axis(opened, "y") == {"title": "Latency (ms)", "type": "log"}
    expected = {
        name: (results.cell(name, "peak_training_bytes").value / 2**30, results.cell(name, "latency_ms").value)
        for name in BY_NAME
    }
    assert drawn(opened) == {name: pytest.approx(place, rel=1e-5) for name, place in expected.items()}
    opened.page.uncheck("form.explorer [name=x_log]")
    opened.settle()
    assert axis(opened, "x")["type"] == "linear"
    choose(opened, track="", x="year", y="params")
    assert drawn(opened)["alexnet"] == pytest.approx((2012, FIXTURE_IMAGENET[0][3]))


@pytest.mark.parametrize("cost", ["macs", "inference_images_per_s", "peak_training_bytes"])
def test_the_front_is_that_of_the_figures(opened: Opened, results: Results, cost: str) -> None:
    choose(opened, x=cost)
    models = results.tracks()["cifar"]
    expected = [written_name(models[index]) for index in accuracy_front(results, models, METRICS[cost])]
    text = said(opened)
    named = re.search(r"Pareto front \(higher test accuracy, (\w+) [^)]*\): (.*)\.$", text)
    assert named is not None
    assert named[1] == METRICS[cost].better
    assert named[2].split(", ") == expected
    line = opened.page.evaluate("() => document.querySelector('.plot').data[0].x.length")
    assert line == len(expected)


def test_there_is_no_front_of_a_statement(opened: Opened) -> None:
    choose(opened, x="arithmetic_intensity")
    assert "There is no Pareto front" in said(opened)


def test_the_area_of_a_bubble_is_its_metric(opened: Opened) -> None:
    sizes = opened.page.evaluate(
        """() => [...document.querySelectorAll(".plot .scatterlayer .trace:nth-of-type(2) path.point")]
          .map((path) => path.getBBox().width)"""
    )
    params = [row[3] for row in FIXTURE_CIFAR]
    assert len(sizes) == 20
    large = [(size, count) for size, count in zip(sizes, params, strict=True) if count > 1e6]
    scale = large[0][0] ** 2 / large[0][1]
    assert [size**2 for size, _ in large] == pytest.approx([scale * count for _, count in large], rel=0.03)


def test_filters(opened: Opened) -> None:
    page = opened.page
    page.click("form.explorer [name=none]")
    opened.settle()
    assert drawn(opened) == {}
    page.check("form.explorer [value=VGG]")
    page.check("form.explorer [value=LeNet]")
    opened.settle()
    assert set(drawn(opened)) == {"lenet5_cifar", "vgg11_bn_cifar", "vgg16_bn_cifar"}
    choose(opened, **{"from": "2014"})
    assert set(drawn(opened)) == {"vgg11_bn_cifar", "vgg16_bn_cifar"}
    page.click("form.explorer [name=every]")
    choose(opened, to="2014")
    assert {BY_NAME[name][2] for name in drawn(opened)} == {2014}
    choose(opened, **{"from": "1998", "to": "2020", "y": "params", "track": "imagenet"})
    assert set(drawn(opened)) == {row[0] for row in FIXTURE_IMAGENET}
    choose(opened, track="", dataset="cifar10")
    assert set(drawn(opened)) == set(BY_NAME)
    choose(opened, dataset="not trained")
    assert set(drawn(opened)) == {row[0] for row in FIXTURE_IMAGENET}


def test_hover_and_highlight_show_the_row(opened: Opened) -> None:
    page = opened.page
    place = page.locator(".plot .scatterlayer .trace").nth(2).locator("path.point").nth(18)  # squeezenet_cifar
    box = place.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.locator(".plot .hovertext").wait_for()
    shown = page.locator(".plot .hovertext").text_content() or ""
    for words in (
        "squeezenet_cifar",
        "SqueezeNet · 2016 · cifar track · cifar10",
        "Test accuracy: 52.3 ± 2.2 %",
        "61.0 M",
    ):
        assert words in shown
    page.mouse.down()
    page.mouse.up()
    opened.settle()
    row = page.locator(".row-of-network")
    row.locator("h3", has_text="squeezenet_cifar").wait_for()
    assert "Energy" in (row.text_content() or "").title()
    assert page.evaluate("() => document.querySelector('.plot').data[3].x.length") == 1


def test_zooming_keeps_names_at_their_points(opened: Opened) -> None:
    page = opened.page
    box = page.locator(".plot .nsewdrag").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.55 * box["width"], box["y"] + 0.02 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.98 * box["width"], box["y"] + 0.5 * box["height"], steps=4)
    page.mouse.up()
    page.wait_for_function("() => !document.querySelector('.plot .annotation')?.textContent.includes('LeNet-5')")
    opened.settle()
    assert page.evaluate(OVERLAPPING_TEXTS) == []
    assert opened.complaints == []


def test_a_track_is_shown_on_axes_that_it_has(opened: Opened) -> None:
    choose(opened, y="top1", track="imagenet")
    assert axis(opened, "y")["title"] == "Published accuracy (%)"
    assert set(drawn(opened)) == {row[0] for row in FIXTURE_IMAGENET}


# --- pick for me ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("track", "by", "limits"),
    [
        ("", "", {"params": "20M"}),
        ("", "", {"params": "1e6", "latency_ms": "5"}),
        ("", "", {"params": "20,000,000", "latency_ms": "0.005 s"}),
        ("cifar", "top1", {"peak_training_bytes": "2000MB"}),
        ("cifar", "top1", {"peak_training_bytes": "2", "params": "20M"}),
        ("imagenet", "", {"macs": "5G"}),
        ("cifar", "top1", {"params": "10"}),
    ],
)
def test_the_page_picks_what_the_command_picks(
    opened: Opened, gpu_report: Path, capsys: pytest.CaptureFixture[str], track: str, by: str, limits: dict[str, str]
) -> None:
    form = opened.page.locator("form.pick")
    form.locator("[name=track]").select_option(track)
    form.locator("[name=by]").select_option(by)
    for row, (metric, bound) in zip(form.locator(".limit").all(), [*limits.items(), ("params", "")][:2], strict=True):
        row.locator("[name=metric]").select_option(metric)
        row.locator("[name=bound]").fill(bound)
    command = (form.locator("code").text_content() or "").removeprefix("python -m bench ").split()
    assert main([*command, "--json", "--results-dir", str(gpu_report.parents[1] / "results")]) == 0
    expected = json.loads(capsys.readouterr().out)
    rows = form.locator("tbody tr:visible").all()
    assert [row.locator("th").get_attribute("title") for row in rows] == [
        each["model"] for each in expected["networks"]
    ]
    uncertain = [bool(each["uncertain"]) for each in expected["networks"]]
    assert ["?" in (row.text_content() or "") for row in rows] == uncertain
    sentence = form.locator("[role=status]").text_content() or ""
    assert f" {expected['track']} networks" in sentence
    assert (f"({expected['networks'][0]['model']})" in sentence) if rows else sentence.startswith("None of the ")
    assert "5ms" not in sentence  # but "5 ms"
    if not rows:
        assert re.search(r"Lowest parameters here: .+\(.+_cifar\)\.$", sentence)


def test_a_pick_is_in_the_address_and_a_wrong_number_is_said(open_page: Opener, gpu_report: Path) -> None:
    opened = open_page(gpu_report)
    form = opened.page.locator("form.pick")
    form.locator("[name=bound]").nth(0).fill("5 apples")
    assert "is not such a number" in (form.locator("[role=status]").text_content() or "")
    form.locator("[name=bound]").nth(0).fill("100")
    form.locator("[name=bound]").nth(1).fill("20M")
    shown = form.locator("tbody").text_content()
    opened.page.reload()
    assert form.locator("tbody").text_content() == shown
    opened.page.evaluate("location.hash = '#pick?max=params=1M'")
    opened.page.wait_for_function("() => document.querySelector('form.pick code').textContent.endsWith('params=1M')")
    assert opened.complaints == []


def test_nothing_is_cut_off_on_paper(open_page: Opener, gpu_report: Path) -> None:
    page = open_page(gpu_report, viewport={"width": 1032, "height": 700}).page  # A4 on its side, between its margins
    page.emulate_media(media="print")
    right = page.locator("table:visible").evaluate_all("tables => tables.map((t) => t.getBoundingClientRect().right)")
    assert max(right) <= 1032
    assert page.locator("section.first svg:visible").count() == page.locator("section.first figure").count()
    page.set_viewport_size({"width": 580, "height": 800})  # printed from a phone
    beyond = "svgs => svgs.filter((svg) => svg.clientWidth > svg.closest('.drawing').clientWidth).length"
    assert page.locator("#figures svg:visible").evaluate_all(beyond) == 0


# --- special runs --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("without_figures")
def test_a_hostile_name_is_only_a_name(open_page: Opener, build: RunBuilder, tmp_path: Path) -> None:
    names = [HOSTILE, "</script><script>alert(2)</script>", "\u2028&lt;b&gt;", "torchvision:resnet18", "%{x}<b>b</b>"]
    models = [listed(name, HOSTILE, track="cifar") for name in names]
    rows = [
        row
        for i, name in enumerate(names)
        for row in [*counts(name, 5e5 * (i + 1), 7e6 * 3**i, 9e5), *training(name, 0.4 + i / 10, dataset=HOSTILE)]
    ]
    opened = open_page(write_report(build(rows, models), tmp_path / "reports"))
    opened.explore()
    assert set(drawn(opened)) == set(names)
    labels = " ".join(opened.page.locator(".plot .annotation").all_text_contents())
    assert HOSTILE in labels
    assert opened.page.locator("form.explorer [name=highlight]").input_value() == "own"
    assert opened.page.evaluate("() => document.querySelector('.plot').data[3].x") == [7e6 * 27]
    for index in range(len(names)):
        choose(opened, highlight=f"network {index}")
        assert opened.page.locator(".row-of-network h3").text_content() == names[index]
    assert opened.page.locator("img").count() == 0
    assert opened.complaints == []
    assert len(opened.requests) == 1


NO_ACCURACY = [
    row
    for place, name in enumerate(("a_cifar", "b_cifar", "c_cifar"))
    for row in [*counts(name, 5e5 + place, 7e6 * (1 + place), 9e5), *speeds(name, 7e6)]
]


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([*counts("a_cifar", 5, 7, 9), *training("a_cifar", 0.5)], "a reaches 50.0"),
        ([bad(n, "params", "failed", "broken") for n in ("a_cifar", "b_cifar")], "no numbers to compare"),
        ([], "no numbers to compare"),
        (NO_ACCURACY, "No accuracy was measured"),
    ],
    ids=["one network", "everything failed", "nothing ran", "no accuracy"],
)
def test_page_states(open_page: Opener, build: RunBuilder, tmp_path: Path, rows: list[Record], words: str) -> None:
    run = build(rows) if rows else build([], [listed("a_cifar"), listed("b_cifar")])
    opened = open_page(write_report(run, tmp_path / "reports"), viewport=PHONE)
    assert words in (opened.page.locator("main").text_content() or "")
    if rows is NO_ACCURACY:
        opened.explore()
        assert axis(opened, "y")["title"] == "Inference throughput (images/s)"
    else:
        assert opened.page.locator("#explorer").count() == 0
    assert opened.page.evaluate("() => document.documentElement.scrollWidth") <= PHONE["width"]
    assert opened.page.evaluate(OVERLAPPING_TEXTS) == []
    assert opened.complaints == []


@pytest.mark.usefixtures("without_figures")
def test_a_number_of_zero_has_no_place_on_a_logarithmic_axis(
    open_page: Opener, build: RunBuilder, tmp_path: Path
) -> None:
    rows = [
        ok(name, metric, value)
        for name, value in {"a_cifar": 0.0, "b_cifar": 2.0, "c_cifar": 3.0}.items()
        for metric in ("params", "macs")
    ]
    opened = open_page(write_report(build(rows), tmp_path / "reports"))
    opened.explore()
    assert set(drawn(opened)) == {"b_cifar", "c_cifar"}
    assert "1 selected network was not measured on these axes" in (said(opened))


@pytest.mark.usefixtures("without_figures")
def test_eighty_networks(open_page: Opener, tmp_path: Path) -> None:
    run = gpu_run(tmp_path / "results", cifar=EIGHTY_CIFAR)
    opened = open_page(write_report(run, tmp_path / "reports"))
    opened.explore()
    assert len(drawn(opened)) == 80
    for x in ("macs", "train_images_per_s"):
        choose(opened, x=x)
        assert opened.page.evaluate(OVERLAPPING_TEXTS) == []
        assert opened.page.locator(".plot .annotation").count() > 20
    assert len(names_of(opened)) == 80
    assert opened.complaints == []


def test_the_choices_are_in_the_address(open_page: Opener, gpu_report: Path) -> None:
    first = open_page(gpu_report)
    first.explore()
    choose(first, x="params", y="latency_ms", highlight="network 3")
    first.page.uncheck("form.explorer [value=VGG]")
    first.page.uncheck("form.explorer [name=x_log]")
    first.settle()
    shown, address = drawn(first), first.page.url
    assert "#explorer?" in address
    second = open_page(gpu_report)
    second.page.goto("about:blank")
    second.page.goto(address)
    second.explore()
    assert drawn(second) == shown
    assert not any(name.startswith("vgg") for name in shown)
    assert (axis(second, "x"), axis(second, "y")["type"]) == ({"title": "Parameters", "type": "linear"}, "log")
    assert second.page.locator("form.explorer [name=highlight]").input_value() == "network 3"
    second.page.evaluate("() => { location.hash = '#explorer?x=nonsense&y=macs' }")
    second.page.wait_for_function("() => document.querySelector('form.explorer').elements.y.value === 'macs'")
    second.settle()
    assert axis(second, "x")["title"] == "Parameters"
    assert second.complaints == []


def test_names_in_the_chart_are_those_of_the_papers(opened: Opened) -> None:
    opened.start_over()
    labels = opened.page.locator(".plot .annotation").all_text_contents()
    assert "LeNet-5" in labels
    choose(opened, track="")
    assert "lenet5_cifar" in opened.page.locator(".plot .annotation").all_text_contents()
