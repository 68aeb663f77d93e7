"""`tune`, --recipe, --recipes and --weights through the command line, on a few synthetic images."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from bench.cli.main import main
from bench.data import prepare, synthetic
from bench.engines.local import LocalMachine
from bench.models import REGISTRY
from bench.records.record import Record
from bench.records.run_folder import Run
from bench.runner.request import Request, resolve
from bench.runner.tune import Trial, TrialTask, execute_trial
from bench.training.experiments import EXPERIMENTS
from bench.training.recipes import Recipe, recipe_for
from tests.data import fakes

BUDGET = ("--budget", "0.2kimg")


@pytest.fixture(autouse=True)
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "TRAIN_COUNT", 200)
    monkeypatch.setattr(synthetic, "TEST_COUNT", 20)


def run(tmp_path: Path, name: str, *arguments: str) -> tuple[int, Run]:
    """The exit status of a run of training on synthetic images, and its folder."""
    status = main(
        [
            *("run", "--run", name, "--probes", "accuracy", "--dataset", "synthetic", "--device", "cpu"),
            *("--results-dir", str(tmp_path / "results"), "--cache-dir", str(tmp_path / "cache")),
            *("--data-dir", str(tmp_path / "data"), *arguments),
        ]
    )
    return status, Run.open(tmp_path / "results", name)


def row(run: Run, metric: str) -> Record:
    (found,) = [record for record in run.records() if record.metric == metric]
    return found


def tune(tmp_path: Path, *arguments: str) -> int:
    """The exit status of a search on few synthetic images, for LeNet unless `arguments` say otherwise."""
    usual = {
        "--dataset": "synthetic",
        "--device": "cpu",
        "--out": str(tmp_path / "recipes.json"),
        "--models": "lenet5_cifar",
        "--train-batch-size": "20",
        BUDGET[0]: BUDGET[1],
        "--cache-dir": str(tmp_path / "cache"),
        "--data-dir": str(tmp_path / "data"),
    }
    return main(["tune", *(word for pair in usual.items() if pair[0] not in arguments for word in pair), *arguments])


def found(tmp_path: Path, family: str = "LeNet") -> dict[str, Any]:
    entry: dict[str, Any] = json.loads((tmp_path / "recipes.json").read_text())["recipes"][family]
    return entry


@pytest.mark.usefixtures("in_this_process")
def test_what_tune_finds_is_what_recipes_trains_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tune(tmp_path, "--trials", "3") == 0
    said = capsys.readouterr().out
    assert f"all --recipes {tmp_path / 'recipes.json'}" in said
    assert "Accuracies are on synthetic training images that were held out" in said
    assert said.count(" %") >= 2  # as everywhere else
    entry = found(tmp_path)
    recipe = Recipe.from_json(entry["recipe"])
    assert len(entry["trials"]) == 3
    assert entry["held_out_top1"] == max(trial["top1"] for trial in entry["trials"])
    assert entry["held_out_images"] == 20  # a tenth of the training images
    assert recipe.source.startswith("tuned on lenet5_cifar, synthetic, 0.2kimg, ")
    assert str(recipe).startswith("tuned: Adam ")
    assert not (tmp_path / "results").exists()  # it is no run

    flags = ("--models", "lenet5_cifar", *BUDGET, "--train-batch-size", "20")
    status, trained = run(tmp_path, "trained", *flags, "--recipes", str(tmp_path / "recipes.json"))
    assert status == 0
    assert row(trained, "top1").recipe == str(recipe)


@pytest.mark.usefixtures("in_this_process")
def test_an_interrupted_search_goes_on_and_finds_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune(tmp_path, "--trials", "3") == 0
    whole = found(tmp_path)
    assert tune(tmp_path, "--trials", "2", "--out", str(tmp_path / "half.json")) == 0
    (tmp_path / "half.json").rename(tmp_path / "recipes.json")
    run, trained = LocalMachine.run, []

    def counted(self: Any, *arguments: Any, **named: Any) -> Any:
        trained.append(arguments)
        return run(self, *arguments, **named)

    monkeypatch.setattr(LocalMachine, "run", counted)
    assert tune(tmp_path, "--trials", "3") == 0
    assert len(trained) == 1  # the one that was missing
    assert found(tmp_path) == whole  # bit for bit
    assert tune(tmp_path, "--trials", "3", "--seed", "1") == 2
    assert "choose another --out" in capsys.readouterr().err


def test_a_crash_costs_one_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fragile.py").write_text(FRAGILE)
    monkeypatch.syspath_prepend(str(tmp_path))
    flags = ("--models", "fragile:network", "--input-size", "32", "--num-classes", "10", "--trials", "2")
    assert tune(tmp_path, *flags) == 0
    first, second = found(tmp_path, "fragile")["trials"]
    assert first["top1"] is None
    assert "exit status 3" in first["note"]
    assert second["top1"] is not None


FRAGILE = """
import multiprocessing
import os
import pathlib
from torch import nn


def network():
    once = pathlib.Path(__file__).with_name("died")
    if multiprocessing.parent_process() and not once.exists():
        once.touch()
        os._exit(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
"""


@pytest.mark.usefixtures("in_this_process")
def test_a_search_without_a_result_is_told_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(synthetic, "TRAIN_COUNT", 20)  # two of each class: none can be held out
    assert tune(tmp_path, "--trials", "2", "--budget", "0.04kimg") == 1
    said = capsys.readouterr()
    assert "no trial came to its end" in said.out
    assert "too few" in said.err
    assert not (tmp_path / "recipes.json").exists()


def test_tuning_reads_no_test_image(tmp_path: Path) -> None:
    image_set = prepare("synthetic", "cifar", tmp_path / "data", tmp_path / "cache", lambda _line: None)
    for file in Path(image_set.folder).glob("test_*.npy"):
        file.unlink()
    config, _ = resolve(Request(budget=BUDGET[1:], train_batch_size=20), ("accuracy",), "cpu")
    spec = REGISTRY["lenet5_cifar"]
    task = TrialTask(spec, recipe_for(spec.family), config, image_set, seed=0)
    trials = [execute_trial(task, "cpu") for _ in range(2)]
    assert isinstance(trials[0], Trial)
    assert trials[0].top1 is not None
    assert trials[0] == trials[1]  # the same seed finds the same


def test_a_damaged_recipes_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("{", '{"recipes": 3}', "[]", '{"recipes": {"LeNet": 3}}', '{"recipes": {"LeNet": {"trials": 3}}}'):
        (tmp_path / "recipes.json").write_text(text)
        assert tune(tmp_path) == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("bench: ")]
        assert "recipes.json" in line


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_named_recipe_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = EXPERIMENTS[name]
    small = replace(experiment.recipe, batch_size=2)  # ResNet-18 takes seconds for each documented batch
    monkeypatch.setitem(EXPERIMENTS, name, replace(experiment, recipe=small))
    weights: tuple[str, ...] = ()
    if experiment.weights:
        torch.manual_seed(0)
        torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "imagenet.pth")
        weights = ("--weights", str(tmp_path / "imagenet.pth"))
    status, done = run(tmp_path, name, "--recipe", name, "--budget", "0.004kimg", "--test-images", "10", *weights)
    assert status == 0
    top1 = row(done, "top1")
    assert (top1.model, top1.batch_size) == (experiment.spec().name, 2)
    start = " from imagenet.pth" if weights else ""
    assert top1.recipe == str(replace(small, name=f"{name}{start}"))
    assert done.header.settings()["precision"] == "fp32"
    said = capsys.readouterr().out
    assert f"{top1.recipe}: test accuracy " in said
    assert f"documented are {experiment.budget} of {experiment.dataset}" in said
    assert str(experiment.published_top1 or experiment.published) in said


@pytest.mark.usefixtures("in_this_process")
def test_resuming_a_named_recipe_needs_only_its_name(tmp_path: Path, refused: Callable[..., str]) -> None:
    flags = ("--recipe", "lenet5-mnist", *BUDGET)
    assert run(tmp_path, "lenet", *flags)[0] == 0
    _, done = run(tmp_path, "lenet")
    assert len({record.key for record in done.records()}) == len(done.records())
    said = refused("run", "--run", "lenet", "--results-dir", str(tmp_path / "results"), "--recipe", "mnist-cnn")
    assert "other recipes" in said


def test_weights_that_cannot_be_downloaded_are_said_in_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    experiment = EXPERIMENTS["finetune-224"]
    assert experiment.weights is not None
    unreachable = replace(experiment.weights, url=fakes.refused_url())
    monkeypatch.setitem(EXPERIMENTS, "finetune-224", replace(experiment, weights=unreachable))
    monkeypatch.chdir(tmp_path)
    said = refused("run", "--recipe", "finetune-224", "--device", "cpu", "--probes", "accuracy")
    assert "--weights FILE or --weights random" in said


def test_tuning_needs_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert tune(tmp_path) == 2
    assert "pip install" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--trials", "0"), "--trials 0"),
        (("--models", "resnet18"), "there are no images"),
        (("--budget", "soon"), "budget 'soon'"),
        (("--models", "no_such_network"), "no_such_network"),
    ],
)
def test_a_wrong_search_is_one_line(
    arguments: tuple[str, ...], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune(tmp_path, *arguments) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("bench: ")]
    assert words in line
    assert not (tmp_path / "recipes.json").exists()
