"""What the interactive chart is given: each measured metric once, in fitting units, and text that stays text."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import pytest

from bench.records.record import Record
from bench.render.charts.frame import MARKERS, family_styles
from bench.render.page.explorer import Explorer, explorer, inert_json, plotly
from tests.render.conftest import Reader, bad, counts, listed, ok, training

A, B = (listed(f"{name}_cifar", name.upper(), 2014 + place) for place, name in enumerate("ab"))
ROWS = [
    *counts("a_cifar", 5e5, 7e6, 9e5), *training("a_cifar", 0.5),
    *counts("b_cifar", 4e6, 9e6, 3e6), *training("b_cifar", 0.1),
]  # fmt: skip


def of(read: Reader, rows: list[Record], models: Sequence[dict[str, Any]] = (A, B)) -> Explorer:
    found = explorer(read(rows, models))
    assert found is not None
    return found


def data_of(found: Explorer) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(found.data)
    return data


def test_numbers_come_with_their_text_and_interval(read: Reader) -> None:
    first, second = data_of(of(read, ROWS))["networks"]
    assert first["cells"]["params"] == [500000, "500 k"]
    value, text, low, high = first["cells"]["top1"]
    assert (value, text) == (0.5, "50.0 ± 2.2 %")
    assert low < 0.5 < high
    assert second["cells"]["top1"][1].endswith("†")
    assert (first["atChance"], second["atChance"]) == (False, True)
    assert (first["family"], first["year"], first["dataset"]) == ("A", 2014, "cifar10")


def test_a_failed_number_is_absent(read: Reader) -> None:
    rows = [*ROWS, ok("a_cifar", "latency_ms", 2.0), bad("b_cifar", "latency_ms", "oom", "too large")]
    networks = data_of(of(read, rows))["networks"]
    assert ["latency_ms" in network["cells"] for network in networks] == [True, False]


def test_every_metric_is_offered_once(read: Reader) -> None:
    found = of(read, ROWS)
    offered = [axis.name for _, axes in found.topics for axis in axes]
    assert len(offered) == len(set(offered))
    assert set(offered) == set(data_of(found)["axes"])
    assert {"params", "macs", "flops", "train_loss", "top1", "year"} <= set(offered)


@pytest.mark.parametrize(
    ("metric", "value", "title", "divisor"),
    [
        ("peak_training_bytes", 3e9, "Peak memory of training (GiB)", 2**30),
        ("saved_activation_bytes", 3e6, "Saved activations (MiB per image)", 2**20),
        ("energy_joules_per_image", 4e-3, "Inference energy (mJ)", 1e-3),
        ("latency_ms", 4.0, "Latency (ms)", 1),
        ("params", 4e9, "Parameters", 1),
        ("mfu", 0.3, "Utilisation in training (%)", 0.01),
    ],
)
def test_units(read: Reader, metric: str, value: float, title: str, divisor: float) -> None:
    rows = [ok(name, m, value) for name in ("a_cifar", "b_cifar") for m in {metric, "macs"}]
    axis = data_of(of(read, rows))["axes"][metric]
    assert (axis["title"], axis["divisor"]) == (title, divisor)
    assert axis["log"] == (metric != "mfu")


def test_it_starts_with_what_the_run_has(read: Reader) -> None:
    assert of(read, ROWS).start == {"x": "macs", "y": "top1", "size": "params", "track": "cifar"}
    rows = [ok(n, m, 2.0) for n in ("a_cifar", "b_cifar") for m in ("latency_ms", "inference_images_per_s")]
    start = {"x": "latency_ms", "y": "inference_images_per_s", "size": "", "track": "cifar"}
    assert of(read, rows).start == start


def test_there_is_none_without_two_networks_and_two_metrics(read: Reader) -> None:
    for rows in ([], ROWS[:5], [row for row in ROWS if row.metric == "macs"]):
        assert explorer(read(rows)) is None


def test_own_networks_are_known(read: Reader) -> None:
    models = [A, B, listed("mine", "Mine", 2026, "cifar", own=True), listed("timm:x", "timm", 2026, "cifar")]
    networks = data_of(of(read, ROWS, models))["networks"]
    assert [network["own"] for network in networks] == [False, False, True, True]


def test_every_marker_has_a_symbol(read: Reader) -> None:
    families = [f"family {number}" for number in range(len(MARKERS))]
    models = [listed(f"n{i}", family, 2015, "cifar") for i, family in enumerate(families)]
    rows = [ok(f"n{i}", metric, 1.0 + i) for i in range(len(families)) for metric in ("params", "macs")]
    found = of(read, rows, models)
    styles = data_of(found)["styles"]
    assert {family: style["colour"] for family, style in styles.items()} == {
        family: style.colour for family, style in family_styles(families).items()
    }
    assert len({(style["symbol"], style["angle"]) for style in styles.values()}) == len(MARKERS)
    assert len({outline for _, _, outline in found.families}) == len(MARKERS)


@pytest.mark.parametrize("text", ["</script>", "<!--", "&lt;", "\u2028\u2029", "]]>", "\ud800"])
def test_no_text_ends_the_script_element(text: str) -> None:
    written = inert_json({text: [text]})
    assert not set(written) & set("<>&\u2028\u2029")
    assert json.loads(written) == {text: [text]}


def test_the_library_is_what_its_digest_names() -> None:
    library = plotly()
    code = gzip.decompress(base64.b64decode(library.packed))
    assert base64.b64encode(hashlib.sha256(code).digest()).decode() == library.digest
    assert b"Plotly" in code
    assert len(library.packed) < 3e6


def test_a_predicted_peak_is_one_choice_not_two(read: Reader) -> None:
    rows = [
        ok(name, metric, 1e9 * (1 + place), **facts)
        for place, name in enumerate(("a_cifar", "b_cifar"))
        for metric, facts in (
            ("peak_training_bytes", {"predicted": True}),
            ("predicted_training_bytes", {}),
            ("params", {}),
        )
    ]
    found = explorer(read(rows))
    assert found is not None
    titles = [axis.name for _, axes in found.topics for axis in axes]
    assert "peak_training_bytes" in titles
    assert "predicted_training_bytes" not in titles
