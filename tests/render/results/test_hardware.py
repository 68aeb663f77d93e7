"""Several kinds of hardware in one run."""

from dataclasses import replace
from pathlib import Path

from bench.records.record import Record
from bench.records.run_folder import Run
from bench.records.run_json import RunHeader
from bench.render.results import read_results
from bench.render.results.header import kept_apart, unlisted

COUNT = Record("resnet20_cifar", "params", "params", 269_722, "count", "ok")
RATE = Record(
    "resnet20_cifar", "throughput", "train_images_per_s", 100.0, "images/s", "ok", samples=(99.0, 100.0, 101.0)
)
MODELS = [unlisted("resnet20_cifar"), unlisted("lenet5_cifar")]


def test_one_kind_changes_nothing() -> None:
    records = [COUNT, replace(RATE, hardware="A"), replace(RATE, hardware="A", round=1)]
    assert kept_apart(MODELS, records) == (MODELS, records)


def test_each_kind_has_a_row_of_its_own_and_counts_are_in_both(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "a", RunHeader())
    failed = replace(RATE, model="lenet5_cifar", value=None, status="failed", note="lost", samples=())
    with run.writer() as writer:
        writer.append([COUNT, replace(RATE, hardware="A"), replace(RATE, hardware="B", round=1, value=300.0), failed])
    results = read_results(run)
    assert [model.name for model in results.models] == ["resnet20_cifar on A", "resnet20_cifar on B", "lenet5_cifar"]
    assert results.cell("resnet20_cifar on A", "train_images_per_s").value == 100
    assert results.cell("resnet20_cifar on B", "train_images_per_s").value == 300
    assert {results.cell(model, "params").value for model in results.models[:2]} == {269_722}
    assert results.cell("lenet5_cifar", "train_images_per_s").status == "failed"
