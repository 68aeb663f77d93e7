"""Shares of the device's peak, published accuracies with their sources, and the reference that the package ships."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from torchvision import models as torchvision_models

from bench.cli.main import main
from bench.config import PRESETS
from bench.metrics import DERIVED
from bench.models import REGISTRY, select
from bench.records.record import Record
from bench.render.claims import settings
from bench.render.findings import summary_of
from bench.render.findings.pick import select as pick
from bench.render.results import Results, derived, to_table
from bench.render.results.derived import PUBLISHED_FILE, published_of, published_top1
from bench.render.results.networks import Model
from bench.render.results.views import accuracy_note, short_training, with_references
from bench.render.tables import track_tables
from tests.render.conftest import Reader, RunBuilder, bad, counts, listed, ok, speeds

RESNET = listed("resnet20_cifar", "ResNet", 2015, "cifar")
MEASURED = {"cpu": {"precision": "fp32", "peak_flops_per_s": 1e12, "bandwidth_bytes_per_s": 1e10}}
STATED = {"cpu": {**MEASURED["cpu"], "vendor_flops_per_s": 4e12, "vendor_source": "a data sheet"}}


def rows(**changes: Any) -> list[Record]:
    facts = {"device": "cpu", "batch_size": 64, **changes}
    return [
        ok("resnet20_cifar", "flops", 1e9, device="meta"),
        ok("resnet20_cifar", "inference_images_per_s", 200.0, samples=(190.0, 200.0, 230.0), **facts),
        ok("resnet20_cifar", "train_images_per_s", 50.0, samples=(49.0, 50.0, 52.0), **facts),
    ]


def results(read: Reader, records: list[Record], limits: object = None) -> Results:
    return read(records, **({} if limits is None else {"limits": limits}))


def test_shares_of_the_measured_peak_where_no_other_is_known(read: Reader) -> None:
    found = results(read, rows(), MEASURED)
    achieved, inference, training = (
        found.cell("resnet20_cifar", metric) for metric in ("achieved_flops_per_s", "inference_mfu", "mfu")
    )
    assert (achieved.value, achieved.low, achieved.high) == pytest.approx((200e9, 190e9, 230e9))
    assert (inference.value, inference.low, inference.high) == pytest.approx((0.2, 0.19, 0.23))
    assert (training.value, training.low, training.high) == pytest.approx((0.15, 0.147, 0.156))
    (row,) = training.records
    assert row.note == "share of 1.000 TFLOP/s, the fastest fp32 matrix product or convolution measured here"
    assert (row.probe, row.unit, row.batch_size, row.device) == (DERIVED, "fraction", 64, "cpu")


def test_the_vendors_dense_peak_comes_first_and_is_cited(read: Reader) -> None:
    cell = results(read, rows(), STATED).cell("resnet20_cifar", "mfu")
    assert cell.value == pytest.approx(3 * 1e9 * 50 / 4e12)
    assert cell.records[0].note == "share of the vendor's dense fp32 peak of 4.000 TFLOP/s (a data sheet)"


def test_rounds_keep_their_rounds(read: Reader) -> None:
    flops, *first = rows()
    _, *second = rows(round=1)
    found = results(read, [flops, *first, *second], MEASURED)
    throughput, share = found.cell("resnet20_cifar", "train_images_per_s"), found.cell("resnet20_cifar", "mfu")
    assert len(share.records) == 2
    for end in ("value", "low", "high"):
        assert getattr(share, end) == pytest.approx(getattr(throughput, end) * 3e9 / 1e12)


def test_what_is_remarkable_of_the_throughput_is_so_of_the_share(read: Reader) -> None:
    found = results(read, rows(note="not steady: steps got 9 % slower while they were sampled"), MEASURED)
    for metric in ("achieved_flops_per_s", "inference_mfu", "mfu"):
        assert "not steady" in found.cell("resnet20_cifar", metric).records[0].note


def test_more_than_the_measured_peak_is_explained(read: Reader) -> None:
    slow = {"cpu": {"precision": "fp32", "peak_flops_per_s": 1e11}}
    cell = results(read, rows(), slow).cell("resnet20_cifar", "mfu")
    assert cell.value == pytest.approx(1.5)
    assert "busier" in cell.records[0].note


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"cpu": {"precision": "fp32", "reason": "stopped after 60 s"}}, "stopped after 60 s"),
        ({"cpu": {"precision": "fp32"}}, "not measured"),
        ({"cpu": {"precision": "bf16", "peak_flops_per_s": 1e12}}, "in bf16, and this in fp32"),
    ],
)
def test_without_a_peak_the_share_is_skipped_with_the_reason(read: Reader, limits: object, reason: str) -> None:
    found = results(read, rows(), limits)
    cell = found.cell("resnet20_cifar", "mfu")
    assert (cell.measured, cell.status) == (False, "skipped")
    assert reason in cell.records[0].note
    assert found.cell("resnet20_cifar", "achieved_flops_per_s").value == 200e9


def test_nothing_is_derived_of_what_is_not_there(read: Reader) -> None:
    failed = [rows()[0], bad("resnet20_cifar", "train_images_per_s", "oom", "too large", device="cpu")]
    for records, limits, expected in (
        (rows(), None, ["achieved_flops_per_s"]),  # made before limits were measured
        (rows()[1:], MEASURED, []),  # without FLOPs
        (failed, MEASURED, []),  # without throughput
    ):
        found = [row.metric for row in results(read, records, limits).records if row.probe == DERIVED]
        assert [metric for metric in found if metric != "published_top1"] == expected


ROWS = list(csv.DictReader(PUBLISHED_FILE.read_text(encoding="utf-8").splitlines()))


def described(name: str, **facts: object) -> Model:
    spec = REGISTRY[name.removeprefix("torchvision:")]
    size, classes = spec.input_size, spec.num_classes
    changes: dict[str, object] = {"input_size": size, "num_classes": classes, "own": ":" in name, **facts}
    return Model(name, spec.family, spec.year, spec.paper, spec.track, differences=(), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["model"])
def test_a_published_network_is_ours_and_says_where_it_is_from(row: dict[str, str]) -> None:
    spec = REGISTRY[row["model"]]
    assert row["dataset"] == {"imagenet": "ImageNet", "cifar": "CIFAR-10"}[spec.track]
    assert 0.5 < float(row["top1"]) < 1
    assert row["source"]
    assert row["statistic"]
    if row["params_millions"]:
        digits = len(row["params_millions"].partition(".")[2])
        half_a_digit = 0.5 * 10**-digits * 1e6
        assert spec.params == pytest.approx(float(row["params_millions"]) * 1e6, rel=0.01, abs=half_a_digit)


def test_most_networks_of_the_cifar_track_have_one() -> None:
    cifar = [name for name, spec in REGISTRY.items() if spec.track == "cifar"]
    assert len([name for name in cifar if name in published_top1()]) == 28
    assert published_top1()["resnet20_cifar"].top1 == 0.9125  # He et al. 2015, Table 6: 8.75 % error
    assert "Table 6" in published_top1()["resnet20_cifar"].source


def test_the_table_has_the_value_and_its_source_and_never_as_top1(read: Reader) -> None:
    spec = REGISTRY["resnet20_cifar"]
    model = {"name": spec.name, "family": spec.family, "year": 2015, "track": "cifar", "num_classes": 10}
    other = {"name": "own_cifar", "family": "own", "track": "cifar", "num_classes": 10}
    table = to_table(read([ok("own_cifar", "params", 10)], [model, other])).set_index("model")
    assert table.loc["resnet20_cifar", "published_top1"] == 0.9125
    assert "He et al. 2015, Table 6" in str(table.loc["resnet20_cifar", "published_source"])
    assert table["top1"].isna().all()
    assert table.loc["own_cifar"].isna()["published_top1"]
    assert table.loc["resnet20_cifar", "status"] == "not run"  # what others measured is no row of this run


def test_another_image_size_or_number_of_classes_is_another_network() -> None:
    assert published_of(described("torchvision:resnet18")) == published_of(described("resnet18"))
    assert published_of(described("torchvision:resnet18", num_classes=10)) is None
    assert published_of(described("torchvision:resnet18", input_size=(3, 96, 96))) is None


def test_torchvision_says_it_of_its_own_networks() -> None:
    (spec,) = select(["torchvision:mobilenet_v3_small"])
    metrics = torchvision_models.MobileNet_V3_Small_Weights.IMAGENET1K_V1.meta["_metrics"]
    assert spec.published_top1 == pytest.approx(metrics["ImageNet-1K"]["acc@1"] / 100)
    assert spec.published_top1 == pytest.approx(0.67668)
    assert select(["torchvision:mobilenet_v3_small"], num_classes=10)[0].published_top1 is None
    assert select(["torchvision:mobilenet_v3_small"], input_size=(3, 96, 96))[0].published_top1 is None


def test_own_images_have_neither_published_accuracies_nor_a_reference(
    read: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are of other pictures: beside these they would be read as the same."""
    file = tmp_path / "reference.csv"
    columns = "model,dataset,budget,seed,top1,tested,batch_size,precision,recipe,hardware,torch,torchvision,commit,run"
    file.write_text(f"{columns}\nresnet20_cifar,cifar10,1ep,0,0.6,10000,32,fp32,a recipe,CPU,2.15,,c0ffee,made\n")
    monkeypatch.setattr(derived, "REFERENCE_FILE", file)
    rows = [ok("resnet20_cifar", "params", 10), ok("resnet18", "params", 10)]
    for images, has in (("folder-birds", False), ("cifar10-jpeg", True), ("synthetic", True)):
        sets = {"cifar": {"name": images, "source": "there"}}
        results = read(rows, image_sets=sets)
        for metric in ("published_top1", "reference_top1"):
            assert results.cell("resnet20_cifar", metric).measured is has
        assert results.cell("resnet18", "published_top1").measured


QUICK = [name for name in PRESETS["quick"].models if name.endswith("_cifar")]
TRAINED = {"dataset": "cifar10-jpeg", "budget": "1ep", "trials": 10_000, "batch_size": 32, "recipe": "default: SGD"}


def trained(name: str, top1: float, **changes: object) -> Record:
    return ok(name, "top1", top1, **{**TRAINED, **changes})


def whole(**changes: object) -> list[Record]:
    """A row of each network of quick: 0.50, 0.51, ..."""
    return [trained(name, 0.5 + number / 100, **changes) for number, name in enumerate(QUICK)]


@pytest.fixture
def shipped(build: RunBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table made from a run of three seeds, in place of the package's."""
    rows = [row for seed in range(3) for row in whole(seed=seed)]
    run = build(rows, name="made")
    file = tmp_path / "reference.csv"
    assert main(["reference", run.name, "--out", str(file), "--results-dir", str(run.folder.parent)]) == 0
    monkeypatch.setattr(derived, "REFERENCE_FILE", file)
    return file


def test_the_table_has_a_row_per_network_and_seed_the_best_first(shipped: Path) -> None:
    lines = shipped.read_text().splitlines()
    assert lines[0].startswith("model,dataset,budget,seed,top1,tested,batch_size")
    assert len(lines) == 1 + 3 * len(QUICK)
    assert lines[1].startswith(f"{QUICK[-1]},cifar10-jpeg,1ep,0,")


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        (whole()[1:], f"lacks {QUICK[0]}: a reference has every network of quick"),
        ([*whole()[1:], trained(QUICK[0], 0.101)], "did not start: a defect of the recipe"),
        ([*whole()[1:], trained(QUICK[0], 0.5, trials=1000)], "more than one number of test images"),
        ([*whole()[1:], trained(QUICK[0], 0.5, dataset="synthetic")], "more than one data set"),
        (whole(dataset="synthetic"), "was trained on synthetic: a reference is trained on CIFAR-10"),
        (whole(trials=1000), "was tested on 1000 images: a reference is tested on all 10000"),
        ([*whole(), *whole(budget="3ep")], "several budgets: choose one with --budget"),
        ([*whole(), trained(QUICK[0], 0.5, seed=1)], "more seeds of some networks than of others"),
    ],
)
def test_what_is_no_reference_is_refused_and_nothing_is_written(
    rows: list[Record], complaint: str, build: RunBuilder, tmp_path: Path, refused: Callable[..., str]
) -> None:
    run = build(rows)
    file = tmp_path / "reference.csv"
    said = refused("reference", run.name, "--out", str(file), "--results-dir", str(run.folder.parent))
    assert complaint in said
    assert not file.exists()


def a_run(read: Reader, *rows: Record) -> Results:
    return read(rows, [listed(name) for name in QUICK[:3]] + [listed("mine:tiny", track="cifar")])


def test_a_budget_that_the_run_does_not_have_is_refused(
    build: RunBuilder, tmp_path: Path, refused: Callable[..., str]
) -> None:
    run = build(whole())
    words = ["reference", run.name, "--budget", "7ep", "--out", str(tmp_path / "no.csv")]
    said = refused(*words, "--results-dir", str(run.folder.parent))
    assert "has no trainings under 7ep; it has 1ep" in said


def test_a_network_that_was_not_trained_has_its_reference_with_the_spread_of_its_seeds(
    shipped: Path, read: Reader
) -> None:
    results = a_run(read)
    cell = results.cell(QUICK[1], "reference_top1")
    assert cell.value == pytest.approx(0.51)
    assert not results.cell(QUICK[1], "top1").measured
    table = to_table(results).set_index("model")
    assert table.loc[QUICK[1], "reference_top1"] == pytest.approx(0.51)
    assert table["top1"].isna().all()
    source = "1ep of cifar10-jpeg, default: SGD, trained at batch 32; measured on "
    assert str(table.loc[QUICK[1], "reference_source"]).startswith(source)


@pytest.mark.parametrize(
    ("names", "first"),
    [
        (QUICK[:1], ["top1", "reference_top1"]),
        ((), ["reference_top1", "published_top1"]),
        ((*QUICK[:3], "mine:tiny"), ["top1", "params"]),
    ],
)
def test_the_overview_has_accuracies_of_networks_that_were_not_trained_beside_those_that_were(
    names: Sequence[str], first: list[str], shipped: Path, read: Reader
) -> None:
    costs = [row for name in QUICK[:3] for row in (*counts(name, 1e6, 1e6, 1e6), *speeds(name, 1e6))]
    models = [listed(name) for name in ("vgg16", *QUICK[:3])] + [listed("mine:tiny", track="cifar")]
    results = read([*costs, *(trained(name, 0.6) for name in names)], models)
    track, _ = track_tables(results)  # what this suite has trained anywhere stands before what it has not
    assert [column.name for column in track.overview.columns][:2] == first


def test_one_axis_takes_what_was_measured_here_alike_and_the_reference_of_the_others(
    shipped: Path, read: Reader
) -> None:
    rows = (trained(QUICK[0], 0.6), trained(QUICK[1], 0.7, recipe="tuned: SGD"), trained("mine:tiny", 0.4))
    found = with_references(a_run(read, *rows))
    assert found is not None
    results, group = found
    assert group.elsewhere == {QUICK[1], QUICK[2]}  # a tuned recipe is not the reference's training
    assert [model.name for model in group.models] == [*QUICK[:3], "mine:tiny"]
    assert results.cell(QUICK[0], "top1").value == 0.6
    assert results.cell(QUICK[1], "top1").value == pytest.approx(0.51)
    assert (group.dataset, group.budget) == ("cifar10-jpeg", "1ep")


def test_the_first_screen_says_how_many_accuracies_are_the_reference_and_what_was_trained_otherwise(
    shipped: Path, read: Reader
) -> None:
    rows = (trained(QUICK[0], 0.6), trained(QUICK[1], 0.1, recipe="tuned: SGD", batch_size=64))
    results = a_run(read, *rows)
    assert accuracy_note(results) == "Accuracies at 32×32: 1 trained here, 2 from the shipped reference."
    said = summary_of(results)[0]
    assert "is the most accurate of 3 networks (1 trained here, 2 from the shipped reference): 60.0" in said[0]
    assert (
        "Trained here with another recipe and batch size, and so not in the comparison: AlexNet "
        "(10.00 ± 0.60 %, no better than chance)."
    ) in said


def test_ones_own_network_has_its_place_among_the_classics(shipped: Path, read: Reader) -> None:
    costs = [row for name in (*QUICK[:3], "mine:tiny") for row in counts(name, 1e6, 1e6, 1e6)]
    said = summary_of(a_run(read, trained("mine:tiny", 0.515), *costs))[0]
    assert (
        "mine:tiny is 2nd of 4 with 51.50 ± 0.98 %; no network is significantly more accurate with no more MACs and "
        "parameters."
    ) in said
    said = summary_of(a_run(read, trained("mine:tiny", 0.4), *costs))[0]
    assert "mine:tiny is 4th of 4 with 40.00 ± 0.96 %; ZFNet is more accurate with no more MACs and parameters." in said


def test_what_a_run_has_trained_longer_is_not_hidden_behind_the_reference(shipped: Path, read: Reader) -> None:
    rows = [trained(name, 0.8 + place / 100, budget="10ep", batch_size=128) for place, name in enumerate(QUICK[:3])]
    results = a_run(read, *rows)
    view = short_training(results)
    assert view is not None
    assert (view[1].budget, view[1].elsewhere) == ("10ep", frozenset())
    assert (
        settings(results, {})["cifar"].accuracy_source == "cifar10-jpeg after 10ep"
    )  # claims are held against these too
    assert pick(results, ()).accuracy == "top1"
    column = next(
        c
        for table in track_tables(results)
        for topic in (table.overview, *table.topics)
        for c in topic.columns
        if c.name == "reference_top1"
    )
    assert column.heading == "Reference accuracy after 1 epoch"  # another budget than the column beside it


def test_accuracies_on_generated_images_take_no_place_on_the_first_screen(shipped: Path, read: Reader) -> None:
    rows = [trained(name, 0.9, dataset="synthetic") for name in QUICK[:3]]
    view = short_training(a_run(read, *rows))
    assert view is not None
    assert view[1].dataset == "cifar10-jpeg"


def test_accuracies_on_other_images_stay_on_an_axis_of_their_own(shipped: Path, read: Reader) -> None:
    rows = (trained(QUICK[0], 0.9, dataset="synthetic"), trained("mine:tiny", 0.9, dataset="synthetic"))
    found = with_references(a_run(read, *rows))
    assert found is not None
    results, group = found
    assert group.elsewhere == set(QUICK[:3])
    assert results.cell(QUICK[0], "top1").value == pytest.approx(0.50)
    assert "mine:tiny" not in [model.name for model in group.models]


def test_without_a_table_there_is_no_reference(read: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(derived, "REFERENCE_FILE", tmp_path / "none.csv")
    assert with_references(a_run(read)) is None
