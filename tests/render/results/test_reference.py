"""The shipped reference: made from a run that is whole, and never mixed with what a run measured itself."""

from pathlib import Path

import pytest

from bench.cli.main import main
from bench.config import PRESETS
from bench.records.record import Record
from bench.records.run_folder import Run
from bench.render.results import derived, read_results, to_table, with_references
from tests.render.conftest import RunBuilder, listed, ok

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
    run = build([listed(name, "Family", 2015, "cifar") for name in QUICK], rows, name="made")
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
    rows: list[Record], complaint: str, build: RunBuilder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = build([listed(name, "Family", 2015, "cifar") for name in QUICK], rows)
    file = tmp_path / "reference.csv"
    assert main(["reference", run.name, "--out", str(file), "--results-dir", str(run.folder.parent)]) == 2
    assert complaint in capsys.readouterr().err
    assert not file.exists()


def a_run(build: RunBuilder, *rows: Record) -> Run:
    return build([listed(name, "Family", 2015, "cifar") for name in (*QUICK[:3], "mine:tiny")], rows, name="here")


def test_a_budget_that_the_run_does_not_have_is_refused(
    build: RunBuilder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = build([listed(name, "Family", 2015, "cifar") for name in QUICK], whole())
    words = ["reference", run.name, "--budget", "7ep", "--out", str(tmp_path / "no.csv")]
    assert main([*words, "--results-dir", str(run.folder.parent)]) == 2
    assert "has no trainings under 7ep; it has 1ep" in capsys.readouterr().err


def test_a_network_that_was_not_trained_has_its_reference_with_the_spread_of_its_seeds(
    shipped: Path, build: RunBuilder
) -> None:
    results = read_results(a_run(build))
    cell = results.cell(QUICK[1], "reference_top1")
    assert cell.value == pytest.approx(0.51)
    assert not results.cell(QUICK[1], "top1").measured
    table = to_table(results).set_index("model")
    assert table.loc[QUICK[1], "reference_top1"] == pytest.approx(0.51)
    assert table["top1"].isna().all()


def test_one_axis_takes_what_was_measured_here_alike_and_the_reference_of_the_others(
    shipped: Path, build: RunBuilder
) -> None:
    rows = (trained(QUICK[0], 0.6), trained(QUICK[1], 0.7, recipe="tuned: SGD"), trained("mine:tiny", 0.4))
    found = with_references(read_results(a_run(build, *rows)))
    assert found is not None
    results, group, elsewhere = found
    assert elsewhere == {QUICK[1], QUICK[2]}  # a tuned recipe is not the reference's training
    assert [model.name for model in group.models] == [*QUICK[:3], "mine:tiny"]
    assert results.cell(QUICK[0], "top1").value == 0.6
    assert results.cell(QUICK[1], "top1").value == pytest.approx(0.51)
    assert (group.dataset, group.budget) == ("cifar10-jpeg", "1ep")


def test_accuracies_on_other_images_stay_on_an_axis_of_their_own(shipped: Path, build: RunBuilder) -> None:
    rows = (trained(QUICK[0], 0.9, dataset="synthetic"), trained("mine:tiny", 0.9, dataset="synthetic"))
    found = with_references(read_results(a_run(build, *rows)))
    assert found is not None
    results, group, elsewhere = found
    assert elsewhere == set(QUICK[:3])
    assert results.cell(QUICK[0], "top1").value == pytest.approx(0.50)
    assert "mine:tiny" not in [model.name for model in group.models]


def test_without_a_table_there_is_no_reference(
    build: RunBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(derived, "REFERENCE_FILE", tmp_path / "none.csv")
    assert with_references(read_results(a_run(build))) is None
