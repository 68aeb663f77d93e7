"""What a reader finds on the page without looking for it: sections, files of figures, what failed."""

import re
from pathlib import Path
from typing import Any

from bench.records.record import Record
from bench.render.charts.frame import Chart
from bench.render.findings import named
from bench.render.page import missing_charts, noise_warning
from bench.render.report import write_report
from tests.render.conftest import Reader, RunBuilder, bad, ok


def page_of(build: RunBuilder, tmp_path: Path, *rows: Record, **header: object) -> str:
    return (write_report(build(rows, **header), tmp_path / "reports") / "index.html").read_text()


def test_every_entry_of_the_navigation_leads_somewhere_in_the_order_of_the_page(
    build: RunBuilder, tmp_path: Path
) -> None:
    page = page_of(build, tmp_path, *(ok(name, "params", 10.0) for name in ("a_cifar", "b_cifar")))
    nav = re.search(r'<nav aria-label="Sections">.*?</nav>', page, re.DOTALL)
    assert nav is not None
    places = [page.index(f' id="{name}"') for name in re.findall(r'href="#([^"]+)"', nav[0])]
    assert places == sorted(places)
    assert len(places) >= 5


def test_every_figure_links_to_its_files(build: RunBuilder, tmp_path: Path) -> None:
    rows = [
        ok(name, metric, 10.0 + place)
        for place, name in enumerate(("a_cifar", "b_cifar", "c_cifar"))
        for metric in ("params", "macs", "inference_images_per_s")
    ]
    page = page_of(build, tmp_path, *rows)
    figures = re.findall(r'<figure id="([^"]+)">', page)
    assert figures
    for name in figures:
        for suffix in ("png", "svg"):
            assert f'href="figures/{name}.{suffix}" download' in page
            assert (tmp_path / "reports" / "fixture" / "figures" / f"{name}.{suffix}").exists()


def test_nothing_failed_is_said_and_skipped_rows_are_folded(build: RunBuilder, tmp_path: Path) -> None:
    rows = [ok("a_cifar", "params", 10.0), bad("a_cifar", "energy_joules_per_image", "skipped", "needs NVML")]
    page = page_of(build, tmp_path, *rows)
    section = page[page.index('id="problems"') : page.index('id="networks"')]
    assert "<p>Nothing failed.</p>" in section
    assert section.index("<details>") < section.index("needs NVML")
    page = page_of(build, tmp_path, *rows, bad("a_cifar", "macs", "failed", "broken"))
    section = page[page.index('id="problems"') : page.index('id="networks"')]
    assert "Nothing failed." not in section
    assert section.index("broken") < section.index("<details>")


def test_a_remark_on_every_network_says_all(read: Reader) -> None:
    results = read(ok(f"{name}_cifar", "params", 10.0) for name in "abc")
    assert named(results, ["a_cifar", "b_cifar", "c_cifar"]) == "all 3"
    assert named(results, ["a_cifar", "c_cifar"]) == "a_cifar, c_cifar"
    networks = ["a_cifar", "lenet5_mnist", "b_cifar", "c_cifar"]
    results = read((ok(name, "params", 10.0) for name in [*networks, "resnet18"]), name="tracks")
    assert named(results, networks) == "all 3 of cifar, lenet5_mnist"


def test_a_cpus_environment_has_nothing_of_nvidia(build: RunBuilder, tmp_path: Path) -> None:
    facts = {"cpu": "Fixture", "cudnn_benchmark": True, "tf32_matmul": False, "nvidia-ml-py": "13"}
    for kind, shown in (("cpu", False), ("cuda", True)):
        page = page_of(build, tmp_path, environment={"device": "Fixture", "device_kind": kind, **facts})
        environment = page[page.index('id="environment"') :]
        assert ("cudnn benchmark" in environment) is shown
        assert ("nvidia-ml-py" in environment) is shown


def test_a_run_that_trained_nothing_has_no_budget(build: RunBuilder, tmp_path: Path) -> None:
    page = page_of(build, tmp_path, ok("a_cifar", "params", 10.0))
    assert "of training for every network" not in page


def test_what_is_printed_has_no_controls_and_no_closed_folds(build: RunBuilder, tmp_path: Path) -> None:
    page = page_of(build, tmp_path, ok("a_cifar", "params", 10.0))
    printed = page[page.index("@media print") :]
    for rule in ("@page { size: landscape", "details:not([open])", ".scroll, .drawing { overflow: visible"):
        assert rule in printed


def test_a_noisy_run_is_called_noisy(read: Reader) -> None:
    def warned(share: float, **changes: Any) -> str:
        rows = [ok(name, "latency_ms", 5.0, samples=(5.0 - share, 5.0, 5.0 + share) * 9, **changes) for name in "abcd"]
        return noise_warning(read(rows))

    assert warned(0.1) == ""
    assert warned(4.0).startswith("Noisy timings: 4 of 4 had not settled or have an interval wider than half")
    assert warned(0.1, flags=("unsteady",)).startswith("Noisy timings: 4 of 4")


def test_a_page_with_accuracies_of_others_does_not_say_that_it_has_none(read: Reader) -> None:
    results = read([ok("resnet18", "params", 1.0)])
    drawn = Chart("imagenet-published-headline", "headline", "imagenet", "", "", "", "", b"")
    assert missing_charts(results, [drawn]) == [
        "Nothing was trained in this run: its charts show the accuracies of others."
    ]
