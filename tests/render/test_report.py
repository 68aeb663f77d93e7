"""The folder that write_report leaves: complete, self-contained, safe, repeatable."""

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bench.records.record import Record
from bench.records.run_folder import RunError
from bench.render import report
from bench.render.page import escape, paper_link
from bench.render.report import write_report
from bench.render.results.networks import unlisted, written_name
from tests.render.conftest import (
    FIXTURE_CIFAR,
    RunBuilder,
    bad,
    counts,
    full_run,
    gpu_run,
    listed,
    ok,
    speeds,
    training,
)


class Page(HTMLParser):
    """What a browser would find: elements with attributes, and the text outside scripts and styles."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._silent = 0
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self._silent += tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        self.text += "" if self._silent else data

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("full")
    return write_report(full_run(folder / "results"), folder / "reports")


@pytest.fixture(scope="module")
def page(full: Path) -> Page:
    return Page(full / "index.html")


def small_records(dataset: str = "cifar10") -> list[Record]:
    return [
        row
        for i, name in enumerate(("a_cifar", "b_cifar"))
        for row in [*counts(name, 5e5 + i, 7e6 + i, 9e5 + i), *training(name, 0.5 + i / 10, dataset=dataset)]
    ]


# --- the whole ---------------------------------------------------------------------------------------------


def test_files(full: Path) -> None:
    assert sorted(path.name for path in full.iterdir()) == [
        "claims.csv",
        "figures",
        "index.html",
        "report.md",
        "table.csv",
    ]
    svg, png = ({path.stem for path in (full / "figures").glob(f"*.{kind}")} for kind in ("svg", "png"))
    assert svg == png
    assert {
        "cifar-top1-vs-macs",
        "cifar-top1-vs-inference_images_per_s",
        "cifar-bars-top1",
        "cifar-bars-saved_activation_bytes",
        "cifar-curves-loss",
        "cifar-curves-top1",
        "cifar-bars-inference_images_per_s",
        "cifar-time-vs-macs",
        "imagenet-published-top1-vs-macs",
        "imagenet-bars-train_images_per_s",
        "mnist-top1-vs-macs",
    } <= svg
    assert not [name for name in svg if name.startswith(("imagenet-top1", "mnist-bars-train"))]
    assert (full / "index.html").stat().st_size < 8 * 2**20


def test_the_page_needs_no_network(page: Page) -> None:
    for tag, attributes in page.elements:
        assert "src" not in attributes, tag
        for name in ("href", "xlink:href", "action", "data", "poster", "srcset"):
            link = attributes.get(name, "")
            if re.match(r"[a-z]+:|//", link, re.IGNORECASE):
                assert tag == "a", (tag, link)  # the one exception: a paper, as a plain link that is followed by hand
                assert link.startswith("https://arxiv.org/abs/"), link
    assert not page.of("link")
    assert not re.search(r"@import|url\((?!#)", page.source)
    assert page.of("a")[-1]["rel"] == "noreferrer"


def test_only_the_pages_own_scripts_may_run(page: Page) -> None:
    scripts = [script.encode() for script in re.findall(r"<script>(.*?)</script>", page.source, re.DOTALL)]
    assert len(scripts) == 3
    packed = re.search(r'<script type="text/plain" id="plotly-packed">([^<]*)</script>', page.source)
    assert packed is not None
    scripts.append(gzip.decompress(base64.b64decode(packed[1])))
    assert b"plotly.js" in scripts[-1][:100]
    digests = [base64.b64encode(hashlib.sha256(script).digest()).decode() for script in scripts]
    policy = next(meta["content"] for meta in page.of("meta") if "http-equiv" in meta)
    sources = " ".join(f"'sha256-{digest}'" for digest in digests)
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {sources}"


def test_every_figure_has_alt_text_and_its_own_ids(page: Page, full: Path) -> None:
    drawings = [svg for svg in page.of("svg") if svg.get("aria-hidden") != "true"]
    small = [svg for svg in drawings if svg.get("class") == "sparkline"]
    narrow = [svg for svg in drawings if svg["viewbox"].split()[2] == "270"]  # for a telephone, beside the wide one
    assert len(drawings) - len(small) - len(narrow) == len(list((full / "figures").glob("*.svg")))
    assert narrow
    assert len(small) > 10
    assert all(svg["role"] == "img" and len(svg["aria-label"]) > 40 for svg in drawings)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {a["href"][1:].partition("?")[0] for _, a in page.elements if a.get("href", "").startswith("#")}
    assert links <= set(ids)


def test_every_network_is_in_every_output(page: Page, full: Path) -> None:
    markdown, table = ((full / name).read_text() for name in ("report.md", "table.csv"))
    for name, *_ in FIXTURE_CIFAR:
        assert name in page.text
        assert f"| {written_name(unlisted(name))} |" in markdown
        assert f"\n{name}," in table


def test_a_failure_is_visible_in_every_output(page: Page, full: Path) -> None:
    assert "fractalnet20_cifar (oom)" in page.text
    assert "out of memory at batch 128" in page.text
    markdown = (full / "report.md").read_text()
    assert "| oom | out of memory at batch 128 | fractalnet20_cifar | accuracy |" in markdown
    row = next(line for line in (full / "table.csv").read_text().splitlines() if line.startswith("fractalnet20"))
    assert row.endswith(",oom")
    # identical reasons share a row
    assert page.text.count("networks of the imagenet track are not trained") == 1


def test_chance_and_best_are_marked(page: Page) -> None:
    cells = page.of("td")
    assert {c["title"] for c in cells if "chance" in c.get("class", "").split()} == {"0.105 fraction"}
    assert "0.689 fraction" in [c["title"] for c in cells if "best" in c.get("class", "").split()]


def test_the_page_says_how_it_was_measured(page: Page) -> None:
    for words in (
        "batch 64, fp32.",
        "python -m bench all",
        "Fixture CPU, 2 threads",
        "Trainable parameters, shared tensors once.",
        "Fixture images, 10 classes.",
        "Differs from the paper: this is a fixture.",
    ):
        assert words in page.text


def test_headings_sort_by_button(page: Page) -> None:
    sorting = [button for button in page.of("button") if "name" not in button]
    assert len(sorting) == len([th for th in page.of("th") if "aria-sort" in th]) > 20


def test_markdown_links_exist(full: Path) -> None:
    links = re.findall(r"\]\(([^)]+)\)", (full / "report.md").read_text())
    assert links
    assert not [link for link in links if not (full / link).exists()]


def test_a_gpu_run_says_what_its_machine_can_do_and_who_uses_little_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "draw_charts", lambda *_: [])  # they have tests of their own
    folder = write_report(gpu_run(tmp_path / "results"), tmp_path / "reports")
    page, markdown = Page(folder / "index.html").text, (folder / "report.md").read_text()
    for words in (
        "after, 2026-01-31 12:08:05",
        "650 TFLOP/s",
        "990 TFLOP/s (fixture data sheet)",
        "CUDA graphs in training where the network allows them",
        "The lowest utilisation on the cifar track",
        "¶ launch-bound",
    ):
        assert words in page, words
    assert "In training LeNet-5 reaches 0.048 % of the vendor's dense bf16 peak" in markdown
    assert "<summary>Memory of a training step</summary>" in markdown
    assert "| throughput | not steady: steps got 9% slower while they were sampled | vgg16_bn_cifar |" in markdown
    table = list(csv.reader((folder / "table.csv").read_text().splitlines()))
    assert {len(row) for row in table} == {len(table[0])}
    assert "resnet20_cifar" in {row[0] for row in table}


# --- special runs ------------------------------------------------------------------------------------------


def test_rebuilding_gives_the_same_bytes(build: RunBuilder, tmp_path: Path) -> None:
    run = build(small_records())
    first = {p.relative_to(tmp_path / "one"): p.read_bytes() for p in files(write_report(run, tmp_path / "one"))}
    # In another process, where hashes of strings and the order of sets differ, and nothing has imported PyTorch.
    again = f"""
import sys
from pathlib import Path
from bench.records.run_folder import Run
from bench.render.report import write_report
write_report(Run.open(Path({str(run.folder.parent)!r}), {run.name!r}), Path({str(tmp_path / "two")!r}))
assert not [name for name in sys.modules if name.startswith(("torch", "bench.models"))]
"""
    subprocess.run([sys.executable, "-W", "error", "-c", again], check=True)
    assert {p.relative_to(tmp_path / "two"): p.read_bytes() for p in files(tmp_path / "two")} == first


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_hostile_text_is_only_text(build: RunBuilder, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>|`x`\n| a [b](http://evil) \"'&amp;<!-- -->"
    models = [listed(f"{evil}{i}", evil, 2015, "cifar", paper=evil, differences=[evil]) for i in range(2)]
    rows = [
        row
        for i in range(2)
        for row in [
            *counts(f"{evil}{i}", 10 + i, 20 + i, 30 + i),
            *training(f"{evil}{i}", 0.4 + i / 10, dataset=evil),
            bad(f"{evil}{i}", "train_images_per_s", "failed", evil),
            ok(f"{evil}{i}", "inference_images_per_s", 1.0 + i, note=evil, batch_size=4),
        ]
    ]
    run = build(
        rows, models, environment={"device": evil, evil: evil}, preset=evil, budget="20s", command=[evil],
        image_sets={"cifar": {"name": evil, "source": evil}},
        limits={evil: {"precision": evil, "vendor_flops_per_s": 1e12, "vendor_source": evil, "reason": evil}},
        conditions=[{"started": evil, "before": {evil: evil}, "ended": evil, "after": {evil: [evil, {evil: evil}]}}],
    )  # fmt: skip
    folder = write_report(run, tmp_path / "reports")
    page = Page(folder / "index.html")
    kinds = [script.get("type") for script in page.of("script")]
    assert kinds == ["application/json", "text/plain", None, None, None]
    assert "<script>alert" not in page.source
    assert not [a for _, attributes in page.elements for a in attributes if a.startswith("on")]
    assert not [a for a in page.of("a") if "evil" in a.get("href", "")]
    assert "<script>alert(1)</script>" in page.text
    markdown = (folder / "report.md").read_text()
    assert "<script" not in markdown
    assert not re.search(r"(?<!\\)\]\(http", markdown)
    for table in re.findall(r"^\|.*(?:\n\|.*)*", markdown, re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, table  # every row has the same number of cells
    assert all(re.fullmatch(r"[a-z0-9_.-]+", path.name) for path in folder.rglob("*"))


@pytest.mark.parametrize(
    ("text", "escaped"),
    [("a|b", "a\\|b"), ("a\nb", "a b"), ("`x`", "\\`x\\`"), ("<b>", "&lt;b&gt;"), ("\\|", "\\\\\\|")],
)
def test_markdown_escapes(text: str, escaped: str) -> None:
    assert escape(text) == escaped


def test_only_an_arxiv_number_becomes_a_link() -> None:
    assert str(paper_link('<i> arXiv:1512.03385, "x" arXiv:javascript')) == (
        '&lt;i&gt; <a href="https://arxiv.org/abs/1512.03385" rel="noreferrer">arXiv:1512.03385</a>, '
        "&#34;x&#34; arXiv:javascript"
    )


def test_no_accuracy(build: RunBuilder, tmp_path: Path) -> None:
    rows = [
        row
        for i, n in enumerate(("a_cifar", "b_cifar", "c_cifar"))
        for row in [*counts(n, 5 + i, 7 + i, 9 + i), *speeds(n, i)]
    ]
    folder = write_report(build(rows), tmp_path / "reports")
    page = Page(folder / "index.html")
    sentence = "No accuracy was measured, so the charts of accuracy against cost are left out."
    assert sentence in page.text
    assert sentence in (folder / "report.md").read_text()
    assert "a has the fewest parameters" in page.text
    names = {path.stem for path in (folder / "figures").iterdir()}
    assert "cifar-bars-params" in names
    assert not [name for name in names if "top1" in name or "curves" in name]


def test_a_single_network(build: RunBuilder, tmp_path: Path) -> None:
    run = build([*counts("a_cifar", 5, 7, 9), *training("a_cifar", 0.5)])
    page = Page(write_report(run, tmp_path / "reports") / "index.html")
    assert "a reaches 50.0 ± 2.2 %" in page.text
    assert "the charts that compare them are left out" in page.text
    assert not page.of("strong")[1:]  # the run's name alone: nothing is best among one


def test_an_empty_run(build: RunBuilder, tmp_path: Path) -> None:
    folder = write_report(build([], [listed("a_cifar")]), tmp_path / "reports")
    assert "This run has no numbers to compare yet." in Page(folder / "index.html").text
    assert (folder / "table.csv").read_text().splitlines()[1].endswith(",not run")


def test_synthetic_images_have_a_banner(build: RunBuilder, tmp_path: Path, page: Page) -> None:
    folder = write_report(build(small_records("synthetic")), tmp_path / "reports")
    banner = "They are not CIFAR-10 accuracies and must not be compared with published ones."
    assert banner in Page(folder / "index.html").text
    assert banner in (folder / "report.md").read_text()
    assert "Synthetic images" not in page.text


# --- the swap ----------------------------------------------------------------------------------------------


def test_a_new_report_replaces_the_old_one_whole(build: RunBuilder, tmp_path: Path) -> None:
    stale = tmp_path / "reports" / "fixture" / "figures" / "stale.svg"
    stale.parent.mkdir(parents=True)
    stale.touch()
    write_report(build([ok("a_cifar", "params", 3)]), tmp_path / "reports")
    assert not stale.exists()
    assert [path.name for path in (tmp_path / "reports").iterdir()] == ["fixture"]


def test_a_crash_leaves_the_old_report(build: RunBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = build([ok("a_cifar", "params", 3)])
    before = (write_report(run, tmp_path / "reports") / "index.html").read_bytes()
    write, rename = Path.write_bytes, Path.rename

    def full_disk(path: Path, content: bytes) -> int:
        if path.name == "index.html":
            raise OSError(28, "No space left on device")
        return write(path, content)

    def refuse(path: Path, target: Path) -> Path:
        if path.name.endswith(".new"):
            raise OSError(5, "Input/output error")
        return rename(path, target)

    for method, fault in (("write_bytes", full_disk), ("rename", refuse)):
        with monkeypatch.context() as patch:
            patch.setattr(Path, method, fault)
            with pytest.raises(RunError, match="choose another reports folder"):
                report.write_report(run, tmp_path / "reports")
        assert [path.name for path in (tmp_path / "reports").iterdir()] == ["fixture"]
        assert (tmp_path / "reports" / "fixture" / "index.html").read_bytes() == before


def test_claims_are_judged_where_the_run_has_numbers_for_them(full: Path, page: Page) -> None:
    assert "VGG is dominated: another network is more accurate" in page.text
    assert {"#claims"} <= {link["href"] for link in page.of("a") if "href" in link}
    verdicts = {line.partition(",")[0] for line in (full / "claims.csv").read_text().splitlines()}
    assert {"id", "S1", "S1@32", "C10", "C10@32"} <= verdicts
    markdown = (full / "report.md").read_text()
    assert "[claims.csv](claims.csv)" in markdown
    assert "| C10 | VGG is dominated" in markdown


def test_a_run_in_which_everything_failed_judges_no_claim(build: RunBuilder, tmp_path: Path) -> None:
    rows = [bad("a_cifar", metric, "failed", "broken") for metric in ("params", "macs")]
    folder = write_report(build(rows), tmp_path / "reports")
    assert "tested here" not in Page(folder / "index.html").text
    assert "tested here" not in (folder / "report.md").read_text()
    assert "not measured" in (folder / "claims.csv").read_text()


def test_published_accuracies_are_the_first_picture_where_nothing_was_trained_and_have_an_entry(
    build: RunBuilder, tmp_path: Path
) -> None:
    names = [("alexnet", 6.1e7, 7e8), ("resnet50", 2.5e7, 4e9), ("vgg16", 1.4e8, 1.5e10)]
    rows = [row for name, params, macs in names for row in counts(name, params, macs, 1e8)]
    folder = write_report(build(rows), tmp_path)
    page = Page(folder / "index.html")
    figures = [element["id"] for element in page.of("figure") if "id" in element]
    assert figures[0] == "imagenet-published-headline"
    assert "published ones (torchvision" in page.text
    (place,) = re.findall(r'<a href="#([^"]+)">Textbook chart</a>', page.source)
    assert place in figures


def test_rows_of_a_measurement_that_is_no_more_are_shown(build: RunBuilder, tmp_path: Path) -> None:
    """Tuning was a probe once; runs of that time have its rows."""
    row = Record("a_cifar", "tuning", "tuned_top1", 0.5, "fraction", "ok", note="the best of 20 recipes", trials=5000)
    folder = write_report(build([ok("a_cifar", "params", 10.0), row], tune=20), tmp_path)
    assert "tuned_top1" in Page(folder / "index.html").text
    assert "tuned_top1" in (folder / "table.csv").read_text().partition("\n")[0]
