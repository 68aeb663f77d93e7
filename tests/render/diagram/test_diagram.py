"""Pictures of structures: well-formed, within their page, without overlaps, and the same bytes each time."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from bench.models import REGISTRY
from bench.render.diagram import described, draw
from bench.render.diagram.layout import Layout, PlacedBox, Point, clipped, layout_of, letter, text_width, wrapped
from bench.structure import Edge, Node, Panel, Structure
from bench.structure.panels import structure

SVG = "{http://www.w3.org/2000/svg}"
LIGHTEST = {
    spec.family: spec.name for spec in sorted(REGISTRY.values(), key=lambda spec: -(spec.params or 0)) if spec.params
}


@pytest.fixture(scope="module", params=LIGHTEST.values())
def drawn(request: pytest.FixtureRequest) -> Structure:
    """The lightest network of every family."""
    return structure(REGISTRY[request.param])


def conv(label: str, group: str = "") -> Node:
    return Node("convolution", (label,), (4, 8, 8), 148, 9216, group=group)


INPUT, OUTPUT = Node("input", ("input",), (4, 8, 8), 0, 0), Node("output", ("output",), (4, 8, 8), 0, 0)
PLUS = Node("join", ("+",), (4, 8, 8), 0, 0)


def panel_of(nodes: tuple[Node, ...], edges: tuple[tuple[int, int, str], ...]) -> Panel:
    return Panel(
        ("Net",), "", 1, nodes, tuple(Edge(a, b, "skip" if kind == "skip" else "flow") for a, b, kind in edges)
    )


RESIDUAL = panel_of(
    (INPUT, conv("first"), conv("second"), PLUS, OUTPUT),
    ((0, 1, "flow"), (1, 2, "flow"), (2, 3, "flow"), (0, 3, "skip"), (3, 4, "flow")),
)


def structure_of(*panels: Panel, name: str = "net") -> Structure:
    return Structure(name, "Family", 2015, "A. Author 2015, section 1", (4, 8, 8), 296, 18_432, panels)


def extent(text: ET.Element) -> tuple[float, float]:
    """Left and right end of a text by the estimate of its width."""
    width = text_width(text.text or "", float(text.get("font-size", "0")), bold=text.get("font-weight") is not None)
    x = float(text.get("x", "0"))
    start = {"middle": x - width / 2, "end": x - width}.get(text.get("text-anchor", ""), x)
    return start, start + width


def texts(element: ET.Element, x: float = 0.0, y: float = 0.0) -> list[tuple[float, float, float, str]]:
    """Every text below an element: its left and right end and baseline on the page, and what it says."""
    found = []
    for child in element:
        moved = re.fullmatch(r"translate\((\S+) (\S+)\)", child.get("transform", ""))
        dx, dy = (float(moved[1]), float(moved[2])) if moved else (0.0, 0.0)
        if child.tag == f"{SVG}text":
            start, end = extent(child)
            found.append((start + x, end + x, float(child.get("y", "0")) + y, child.text or ""))
        found += texts(child, x + dx, y + dy)
    return found


def test_every_family_draws(drawn: Structure) -> None:
    svg = draw(drawn)
    root = ET.fromstring(svg)
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
        *("svg", "title", "desc", "style", "defs", "marker", "path", "rect", "circle", "g", "text")
    }  # no script, no image, no link
    assert re.findall(r'(?:https?:)?//[^"\s<]+', svg) == ["http://www.w3.org/2000/svg"]
    assert svg == draw(structure(REGISTRY[drawn.name]))


def test_no_text_leaves_the_page(drawn: Structure) -> None:
    root = ET.fromstring(draw(drawn))
    _, _, width, height = map(float, root.get("viewBox", "").split())
    assert width <= 900.7 or drawn.family == "GoogLeNet"
    said = texts(root)
    assert len(said) > 10
    for start, end, baseline, text in said:
        assert start >= 0, text
        assert end <= width, text
        assert 10 <= baseline <= height - 4, text


def test_nothing_lies_upon_a_box(drawn: Structure) -> None:
    """Boxes are apart from each other, hold their own text, and no arrow crosses a box on its way."""
    for number, panel in enumerate(drawn.panels):
        layout = layout_of(panel, is_overview=number == 0)
        for n, one in enumerate(layout.boxes):
            for other in layout.boxes[n + 1 :]:
                apart_x = one.x + one.width <= other.x or other.x + other.width <= one.x
                apart_y = one.y + one.height <= other.y or other.y + other.height <= one.y
                assert apart_x or apart_y, (one.box.labels, other.box.labels)
            assert 0 <= one.x <= one.x + one.width <= layout.width + 0.01
            assert all(text_width(line, 12) <= one.width for line in one.box.labels)
        assert not crossings(layout), panel.title


def crossings(layout: Layout) -> list[tuple[str, ...]]:
    """Labels of boxes with a stretch of an arrow inside."""
    return [
        box.box.labels
        for line in layout.lines
        for start, end in zip(line.points, line.points[1:], strict=False)
        for box in layout.boxes
        if _enters(box, start, end)
    ]


def _enters(box: PlacedBox, start: Point, end: Point) -> bool:
    left, right = sorted((start[0], end[0]))
    top, bottom = sorted((start[1], end[1]))
    beside = right <= box.x + 0.1 or left >= box.x + box.width - 0.1
    return not (beside or bottom <= box.y + 0.1 or top >= box.y + box.height - 0.1)


def test_arrows_begin_and_end_at_their_boxes(drawn: Structure) -> None:
    for panel in drawn.panels[1:]:
        layout = layout_of(panel, is_overview=False)
        assert len(layout.lines) == len(panel.edges)
        for line in layout.lines:
            assert any(_touches(box, line.points[0]) for box in layout.boxes)
            assert any(_touches(box, line.points[-1]) for box in layout.boxes)


def _touches(box: PlacedBox, point: Point) -> bool:
    x, y = point
    near = 0.1
    inside_x, inside_y = box.x - near <= x <= box.x + box.width + near, box.y - near <= y <= box.y + box.height + near
    on_edge = min(abs(x - box.x), abs(x - box.x - box.width), abs(y - box.y), abs(y - box.y - box.height)) < near
    return inside_x and inside_y and on_edge


def test_a_skip_goes_around_what_it_skips() -> None:
    layout = layout_of(RESIDUAL, is_overview=False)
    (skip,) = [line for line in layout.lines if line.skips]
    plus, boxes = layout.boxes[3], layout.boxes[1:3]
    assert _touches(plus, skip.points[-1])
    assert max(x for x, _ in skip.points) > max(box.x + box.width for box in boxes)
    assert skip.points[0][1] < boxes[0].y < boxes[1].y < skip.points[-1][1]


def test_branches_of_a_concatenation_stand_in_its_order() -> None:
    nodes = (INPUT, conv("a"), conv("b1"), conv("b2"), conv("c"), Node("join", ("concat",), (12, 8, 8), 0, 0), OUTPUT)
    edges = ((0, 1), (0, 2), (2, 3), (0, 4), (1, 5), (3, 5), (4, 5), (5, 6))
    layout = layout_of(panel_of(nodes, tuple((a, b, "flow") for a, b in edges)), is_overview=False)
    a, b, c = (layout.boxes[n] for n in (1, 3, 4))
    bar = layout.boxes[5]
    assert a.x + a.width < b.x
    assert b.x + b.width < c.x
    assert bar.x <= a.x
    assert bar.x + bar.width >= c.x + c.width


def test_a_frame_never_holds_a_stranger() -> None:
    nodes = (INPUT, conv("first", "part"), conv("stranger"), conv("last", "part"), OUTPUT)
    apart = panel_of(nodes, ((0, 1, "flow"), (1, 2, "flow"), (2, 3, "flow"), (3, 4, "flow")))
    assert layout_of(apart, is_overview=True).frames == ()
    together = replace(apart, nodes=(INPUT, conv("first", "part"), conv("last", "part"), conv("stranger"), OUTPUT))
    (frame,) = layout_of(together, is_overview=True).frames
    assert frame.label == "part"


def test_hostile_names_stay_text() -> None:
    bad = '</text><script>alert("1")</script>&\x00\x1b\ud800 <!-- ]]> \u202e'
    nodes = (INPUT, conv(bad, bad), conv(bad, bad), PLUS, OUTPUT)
    panel = replace(RESIDUAL, title=(bad, bad), path=bad, nodes=nodes)
    hostile = replace(structure_of(panel, panel, name=bad), paper=bad, family=bad, unused=((bad, 5),))
    svg = draw(hostile)
    root = ET.fromstring(svg.encode())
    assert root.find(f".//{SVG}script") is None
    assert "<script" not in svg
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", element.get("id", "x")) for element in root.iter())


def test_a_very_long_name_is_cut() -> None:
    long = structure_of(replace(RESIDUAL, nodes=(INPUT, conv("w" * 500), conv("x"), PLUS, OUTPUT)), name="n" * 500)
    width = float(ET.fromstring(draw(long)).get("width", "0"))
    assert width < 600


def test_the_picture_in_words() -> None:
    repeated = replace(conv("first"), repeat=3)
    words = described(structure_of(replace(RESIDUAL, nodes=(INPUT, repeated, *RESIDUAL.nodes[2:]))))
    assert words == "Input 4×8×8. first, 3 times; second; + (with a skip from input)."


def test_repeats_shared_weights_and_unused_parts_are_said() -> None:
    nodes = (INPUT, replace(conv("first"), repeat=7), replace(conv("second"), params=0, shared=True), PLUS, OUTPUT)
    svg = draw(replace(structure_of(replace(RESIDUAL, nodes=nodes)), unused=(("aux1", 3_188_968),)))
    assert ">×7<" in svg
    assert "shared weights" in svg
    assert "aux1 (3.19 M parameters)" in " ".join(text for *_, text in texts(ET.fromstring(svg)))


def test_letters_of_panels() -> None:
    assert [letter(n) for n in (0, 1, 26, 27, 52, 53)] == ["", "A", "Z", "AA", "AZ", "BA"]


@pytest.mark.parametrize("bold", [False, True])
def test_widths_are_never_underestimated(bold: bool) -> None:
    """Against the glyphs of DejaVu Sans itself, which comes with matplotlib."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    font = FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")
    for text in (
        "conv 3×3, 128, /2 · BN · ReLU",
        "SwinTransformerBlock · 56→28, /2",
        "WMwm@%",
        "1.23 M params",
        "[:, ::2]",
    ):
        actual = TextPath((0, 0), text, size=12, prop=font).get_extents().width
        assert actual <= text_width(text, 12, bold) <= 1.4 * actual, text


def test_text_is_cut_and_broken_between_phrases() -> None:
    assert wrapped(["one", "two", "three"], 10, text_width("one · two", 10)) == ["one · two", "three"]
    cut = clipped("a" * 50, 10, 100)
    assert cut.endswith("…")
    assert text_width(cut, 10) <= 100
    assert clipped("tab\tand\nline", 10, 1000) == "tab and line"
