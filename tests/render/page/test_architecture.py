"""A section for each architecture: ranks, what it is good and bad at, curves, structure and layers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.records.record import Record
from bench.records.run_folder import Run
from bench.render.page import write_pages
from bench.render.page.architecture import Architecture, architectures
from bench.render.results import read_results
from bench.render.results.kept import COLUMNS, Curve, Kept
from bench.render.tables import track_tables
from bench.structure import Edge, Node, Panel, Structure
from tests.render.conftest import RunBuilder, bad, listed, ok, training

EVIL = "<img src=x onerror=alert(1)>"


def networks(families: dict[str, list[str]]) -> list[dict[str, Any]]:
    return [listed(name, family, 2015, "cifar") for family, names in families.items() for name in names]


def sections(run: Run, curves: tuple[Curve, ...] = ()) -> dict[str, Architecture]:
    results = read_results(run)
    kept = Kept(run, results.models)
    found = architectures(results, track_tables(results), kept.networks(), kept.layers(), curves)
    return {one.title: one for one in found}


def keep_layers(run: Run, name: str, layer: str = "conv", layers: int = 2) -> None:
    """A convolution, of 3/4 of all MACs, and further layers."""
    rows: list[tuple[object, ...]] = [(layer, "Conv2d", [8, 32, 32], 224, 300, 8192, 32768.0)]
    rows += [(f"fc{number}", "Linear", [10], 10, 100 if number == 0 else 0, 10, 0.0) for number in range(layers - 1)]
    path = run.table_path("layers", name)
    path.parent.mkdir(exist_ok=True)
    pd.DataFrame(rows, columns=list(COLUMNS)).to_parquet(path)


def entry(name: str) -> dict[str, Any]:
    """What a run keeps of the structure of a network of one convolution."""
    nodes = (
        Node("input", ("input",), (3, 32, 32), 0, 0),
        Node("convolution", ("conv 3×3, 8",), (8, 32, 32), 224, 300),
        Node("output", ("output",), (8, 32, 32), 0, 0),
    )
    panel = Panel(("Net",), "", 1, nodes, (Edge(0, 1, "flow"), Edge(1, 2, "flow")))
    structure = Structure(name, "A", 2015, "A paper", (3, 32, 32), 224, 300, (panel,))
    return {"structure": structure.to_json()}


def eight(metric: str, values: list[float]) -> list[Record]:
    return [ok(f"n{number}", metric, value) for number, value in enumerate(values)]


@pytest.fixture
def two_families(build: RunBuilder) -> Run:
    """Eight networks: the even ones are of family A and have fewer parameters the higher their number."""
    families = {"A": ["n0", "n2", "n4", "n6"], "B": ["n1", "n3", "n5", "n7"]}
    rows = eight("params", [800, 1, 700, 900, 600, 950, 2, 960]) + eight("macs", [5, 5, 5, 5, 5, 5, 5, 6])
    rows += [row for n in range(8) for row in training(f"n{n}", 0.2 + n / 20)]
    return build(rows, networks(families))


# --- numbers -------------------------------------------------------------------------------------------------


def test_each_number_has_its_rank_among_all_of_the_track(two_families: Run) -> None:
    ((_, standing),) = sections(two_families)["A"].standings
    place = [column.name for column in standing.columns].index("params")
    ranks = {row.model.name: row.cells[place].rank_text for row in standing.rows}
    assert ranks == {"n0": "5th of 8", "n2": "4th of 8", "n4": "3rd of 8", "n6": "2nd of 8"}


def test_equals_share_a_rank(two_families: Run) -> None:
    found = sections(two_families)
    ((_, first),), ((_, second),) = found["A"].standings, found["B"].standings
    place = [column.name for column in first.columns].index("macs")
    assert {row.cells[place].rank_text for row in first.rows} == {"1st of 8"}
    assert second.rows[-1].cells[place].rank_text == "8th of 8"


def test_a_smaller_batch_does_not_compete(build: RunBuilder) -> None:
    rows = [ok(f"n{n}", "train_images_per_s", 10.0 + n, batch_size=8, asked_batch_size=8) for n in range(3)]
    rows.append(ok("n3", "train_images_per_s", 99.0, batch_size=4, asked_batch_size=8))
    ((_, standing),) = sections(build(rows, networks({"A": ["n0", "n1", "n2", "n3"]})))["A"].standings
    assert [row.cells[0].rank_text for row in standing.rows] == ["3rd of 3", "2nd of 3", "1st of 3", ""]
    assert [mark.symbol for mark in standing.legend] == ["§"]


def test_what_a_family_is_good_and_bad_at(two_families: Run) -> None:
    found = sections(two_families)
    assert found["A"].strengths == ["(top quarter, cifar track): test accuracy (n6 2nd), parameters (n6 2nd)."]
    assert found["A"].weaknesses == ["(bottom quarter, cifar track): test accuracy (n0 8th)."]
    assert found["B"].strengths == ["(top quarter, cifar track): test accuracy (n7 1st), parameters (n1 1st)."]
    # A value that all but one share puts nobody into the top quarter, and one network into the bottom one.
    assert found["B"].weaknesses == [
        "(bottom quarter, cifar track): test accuracy (n1 7th), parameters (n7 8th and n5 7th), MACs (n7 8th)."
    ]


def test_of_many_networks_two_are_named(build: RunBuilder) -> None:
    names = [f"n{number}_cifar" for number in range(20)]
    run = build([ok(name, "params", 10 + place) for place, name in enumerate(names)], networks({"A": names}))
    assert sections(run)["A"].strengths == ["(top quarter, cifar track): parameters (n0 1st, n1 2nd and 3 more)."]


def test_three_networks_have_no_quarter(build: RunBuilder) -> None:
    run = build(eight("params", [1, 2, 3]), networks({"A": ["n0", "n1", "n2"]}))
    assert (sections(run)["A"].strengths, sections(run)["A"].weaknesses) == ([], [])


def test_a_failure_stands_in_the_table(build: RunBuilder) -> None:
    rows = [
        *eight("params", [1, 2]),
        ok("n0", "train_images_per_s", 5.0),
        bad("n1", "train_images_per_s", "oom", "big"),
    ]
    ((_, standing),) = sections(build(rows, networks({"A": ["n0", "n1"]})))["A"].standings
    assert "oom" in [cell.text for cell in standing.rows[1].cells]


def test_a_users_own_networks_have_a_section_each(build: RunBuilder) -> None:
    models = [{**model, "year": None} for model in networks({"torchvision": ["torchvision:a", "torchvision:b"]})]
    assert list(sections(build([], models))) == ["torchvision:a", "torchvision:b"]


def test_papers_and_remarks_name_their_networks(build: RunBuilder) -> None:
    models = [
        listed("n0", "A", 2015, "cifar", paper="first", differences=["one", "both"]),
        listed("n1", "A", 2016, "cifar", paper="second", differences=["both"]),
        listed("n2", "A", 2016, "cifar", paper="first", differences=[]),
    ]
    one = sections(build([], models))["A"]
    assert one.years == "2015 to 2016"
    assert one.papers == (("first", ("n0", "n2")), ("second", ("n1",)))
    assert one.remarks == (("one", ("n0",)), ("both", ("n0", "n1")))


# --- training ------------------------------------------------------------------------------------------------


def a_curve(model: str, reached: float, seed: int = 0, budget: str = "") -> Curve:
    steps = pd.DataFrame({"seconds": [10.0, 15.0, 20.0], "test_top1": [reached / 2, float("nan"), reached]})
    return Curve(model, seed, budget, steps.assign(images=1.0, flops=1.0, train_loss=1.0))


def test_curves_are_drawn_beside_the_best_of_all(two_families: Run) -> None:
    curves = (a_curve("n0", 0.2), a_curve("n6", 0.5), a_curve("n6", 0.1, seed=1), a_curve("n7", 0.55))
    found = sections(two_families, curves)
    ((caption, drawing),) = found["A"].curves
    assert caption.endswith("grey: n7, the most accurate of all.")
    assert "of n0 and n6; n6 ends at 50.0 %, n7, in grey, at 55.0 %" in drawing
    paths = re.findall(r'class="(own|measure)"[^>]* d="M([\d. L]+)"', drawing)
    assert [kind for kind, _ in paths] == ["measure", "own", "own"]
    ends = {d.split("L")[-1].split()[0] for _, d in paths}
    assert len(ends) == 1  # all have spent the same
    heights = [float(d.split()[-1]) for _, d in paths]
    assert heights[0] < heights[2] < heights[1]  # the best is the highest on the screen
    ((caption, _),) = found["B"].curves
    assert "grey" not in caption


def test_without_curves_there_is_no_drawing(two_families: Run) -> None:
    assert sections(two_families)["A"].curves == []
    assert sections(two_families, (a_curve("n0", 0.0),))["A"].curves == []


# --- structure -----------------------------------------------------------------------------------------------


def test_structure_and_layers_of_the_first_network_that_the_run_describes(two_families: Run) -> None:
    two_families.keep_networks({"n2": entry("n2"), "n4": entry("n4")})
    keep_layers(two_families, "n2")
    known = sections(two_families)["A"].description
    assert known is not None
    assert known.model == "n2"
    assert [(layer, output, params, share) for layer, _, output, params, _, share, _ in known.layers] == [
        ("conv", "8×32×32", "224", "75.0 %"),
        ("fc0", "10", "10", "25.0 %"),
    ]
    assert "Structure of n2" in known.diagram
    assert "<style" not in known.diagram  # the page has it once
    ids = re.findall(r'\bid="([^"]*)"', known.diagram)
    assert len(ids) > 3
    assert all(word.startswith("nn0-") for word in ids)
    used = re.findall(r"url\(#([^)]*)\)", known.diagram) + re.findall(r'labelledby="([^"]*)"', known.diagram)[0].split()
    assert set(used) <= set(ids)
    assert sections(two_families)["B"].description is None


def test_very_many_layers_are_cut_in_the_middle(two_families: Run) -> None:
    two_families.keep_networks({"n0": entry("n0")})
    keep_layers(two_families, "n0", layers=1000)
    known = sections(two_families)["A"].description
    assert known is not None
    assert (len(known.layers), known.left_out) == (600, 400)
    assert (known.layers[0][0], known.layers[-1][0]) == ("conv", "fc998")


@pytest.mark.parametrize(
    "damage",
    [
        {"reason": "its process ended"},
        {},
        [],
        "text",
        None,
        {"structure": {}},
    ],
)
def test_what_is_missing_or_damaged_is_said(two_families: Run, damage: Any) -> None:
    two_families.keep_networks({"n0": damage})
    known = sections(two_families)["A"].description
    assert known is not None
    assert known.reason
    assert not known.layers


def test_without_layers_the_structure_is_still_drawn(two_families: Run) -> None:
    two_families.keep_networks({"n0": entry("n0")})
    known = sections(two_families)["A"].description
    assert known is not None
    assert known.diagram
    assert not known.layers
    assert "Layers of n0" not in rendered(two_families)[0]


def test_on_two_kinds_of_hardware_a_network_keeps_its_structure_and_layers(build: RunBuilder) -> None:
    rows = [ok("n0", "train_images_per_s", 10.0, hardware=f"GPU {n}", round=n) for n in (1, 2)]
    run = build(rows, networks({"A": ["n0"]}))
    run.keep_networks({"n0": entry("n0")})
    keep_layers(run, "n0")
    section = sections(run)["A"]
    assert [model.name for model in section.models] == ["n0 on GPU 1", "n0 on GPU 2"]
    assert section.description is not None
    assert [row[0] for row in section.description.layers] == ["conv", "fc0"]


# --- pages ---------------------------------------------------------------------------------------------------


def rendered(run: Run) -> tuple[str, str]:
    results = read_results(run)
    kept = Kept(run, results.models)
    found = architectures(results, track_tables(results), kept.networks(), kept.layers(), ())
    return write_pages(results, [], [], (), found)


def test_the_page_and_the_short_report_have_them(two_families: Run, tmp_path: Path) -> None:
    two_families.keep_networks({"n0": entry("n0")})
    keep_layers(two_families, "n0")
    page, markdown = rendered(two_families)
    assert len(re.findall('<details class="architecture"', page)) == 2
    assert "<small>2nd of 8</small>" in page
    assert "Layers of n0" in page
    assert "This run did not keep the structure of its networks; <code>python -m bench show n1</code>" in page
    assert "| A | 2015 | Fixture et al. 2015, arXiv:1512.03385, section 4.2 | (top quarter, cifar track)" in markdown


def test_hostile_names_are_only_text(build: RunBuilder) -> None:
    run = build(training(EVIL, 0.5), [listed(EVIL, EVIL, 2015, "cifar", paper=EVIL, differences=[EVIL])])
    run.keep_networks({EVIL: entry(EVIL)})
    keep_layers(run, EVIL, layer=EVIL)
    page, markdown = rendered(run)
    for text in (page, markdown):
        assert "<img" not in text
        assert "&lt;img" in text
