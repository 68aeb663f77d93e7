"""Placement of names: no overlap, nothing outside, and honesty where there is no room."""

import itertools

import numpy as np
import pytest

from bench.render.charts.frame import family_styles, spread
from bench.render.charts.points import PHONE, Panel, Point, exact, place_labels, point_figure
from bench.render.results.networks import unlisted

BOUNDS = (0.0, 0.0, 500.0, 360.0)
NOTHING = np.empty((0, 4))


def overlap(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3])


@pytest.mark.parametrize("seed", range(4))
def test_thirty_crowded_labels_stay_apart_and_inside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = np.clip(rng.normal((300, 250), (70, 45), (30, 2)), 0, (500, 360))
    sizes = np.column_stack([rng.uniform(30, 95, 30), np.full(30, 9.0)])
    reserved = np.array([[400.0, 0.0, 500.0, 60.0]])
    corners = place_labels(points, sizes, BOUNDS, reserved, NOTHING)
    boxes = np.hstack([corners, corners + sizes])
    assert not np.isnan(boxes).any()
    assert not any(overlap(a, b) for a, b in itertools.combinations(boxes, 2))
    assert not any(overlap(box, reserved[0]) for box in boxes)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= (500, 360)).all()


def test_a_lonely_label_lies_beside_its_point() -> None:
    point, size = np.array([250.0, 180.0]), np.array([60.0, 9.0])
    (corner,) = place_labels(point[None], size[None], BOUNDS, NOTHING, NOTHING)
    assert np.linalg.norm(np.clip(point, corner, corner + size) - point) < 11


def test_labels_without_room_are_left_out_rather_than_stacked() -> None:
    points = np.full((6, 2), 20.0)
    sizes = np.tile([38.0, 9.0], (6, 1))
    corners = place_labels(points, sizes, (0.0, 0.0, 42.0, 42.0), NOTHING, NOTHING)
    placed = np.hstack([corners, corners + sizes])[~np.isnan(corners[:, 0])]
    assert 1 <= len(placed) < 6
    assert not any(overlap(a, b) for a, b in itertools.combinations(placed, 2))


def test_on_a_telephone_a_far_name_is_left_out_and_said_but_never_one_of_the_front() -> None:
    """Fifteen networks on a spot, the last of which is on the front: no leader line leads across the chart."""
    crowd = [
        Point(
            unlisted(f"a_network_of_a_long_name_{n}_cifar"),
            exact(5.0 + n / 1e3),
            exact(5.0 + n / 1e3),
            always_named=n == 14,
        )
        for n in range(15)
    ]
    models = [point.model for point in crowd]
    panel = Panel([*crowd, *(Point(models[0], exact(at), exact(at)) for at in (0.0, 10.0))], "x", "y", lambda _: [])
    figure, unnamed = point_figure(panel, family_styles(m.family for m in models), layout=PHONE)
    axes = figure.axes[0]
    names = {text.get_text() for text in axes.texts}
    assert any("name_14" in name for name in names), names
    assert unnamed.startswith("No room for the names of ")


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ([50, 10, 90], [50, 10, 90]),  # far enough apart already
        ([50, 50], [55, 45]),  # equal: half a gap each way, in some order
        ([50, 50, 50, 90], [40, 50, 60, 90]),
        ([0, 0], [0, 10]),  # against the lower end
        ([100, 100, 99], [90, 100, 80]),  # against the upper end, order kept
    ],
)
def test_spread_by_hand(wanted: list[float], expected: list[float]) -> None:
    heights = spread(np.array(wanted, dtype=float), 10, 0, 100)
    assert sorted(heights) == pytest.approx(sorted(expected))
    for (a, at), (b, bt) in itertools.combinations(zip(wanted, heights, strict=True), 2):
        assert a == b or (a < b) == (at < bt)  # the order is kept


def test_spread_shrinks_the_gap_when_there_is_no_room() -> None:
    assert spread(np.array([5.0, 5.0, 5.0]), 10, 0, 10) == pytest.approx([0, 5, 10])
