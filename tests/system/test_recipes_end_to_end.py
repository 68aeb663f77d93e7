"""--recipe, --recipes, --tune and --weights through the command line, on a few synthetic images."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision

from bench.cli.main import main
from bench.config import Config
from bench.data import ImageSet, synthetic
from bench.data.resolve import prepare
from bench.metrics import PROBES
from bench.models import REGISTRY
from bench.probes import MEASURE
from bench.records.record import Record
from bench.records.run_folder import Run, RunError
from bench.runner.execute import with_tuned_recipes
from bench.runner.plan import plan, without_second_tuning
from bench.runner.request import Request, resolve
from bench.training.experiments import EXPERIMENTS
from bench.training.recipe import Recipe
from bench.training.recipes import RECIPES
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


def test_tuning_comes_before_training_and_is_done_once(tmp_path: Path) -> None:
    flags = ("--models", "lenet5_cifar", *BUDGET, "--tune", "3", "--train-batch-size", "20")
    status, tuned = run(tmp_path, "tuned", *flags)
    assert status == 0
    text = (tuned.folder / "recipes.json").read_text()
    entry = json.loads(text)["recipes"]["LeNet"]
    found = Recipe.from_json(entry["recipe"])
    assert len(entry["trials"]) == 3
    assert entry["held_out_top1"] == max(trial["top1"] for trial in entry["trials"]) == row(tuned, "tuned_top1").value
    assert found.source.startswith("tuned on lenet5_cifar, synthetic, 0.2kimg, ")
    assert row(tuned, "tuned_top1").trials == 20  # a tenth of the training images
    assert row(tuned, "top1").recipe == str(found)
    assert str(found).startswith("tuned: Adam ")

    rows = tuned.records()
    assert run(tmp_path, "tuned")[0] == 0  # nothing is left to do
    assert tuned.records() == rows
    assert (tuned.folder / "recipes.json").read_text() == text

    status, again = run(tmp_path, "again", *flags[:-4], *flags[-2:], "--recipes", str(tuned.folder / "recipes.json"))
    assert status == 0
    assert not (again.folder / "recipes.json").exists()
    assert row(again, "top1").recipe == row(tuned, "top1").recipe
    for metric in ("top1", "train_loss"):
        assert row(again, metric).value == row(tuned, metric).value  # bit for bit


def test_a_tuning_that_fails_is_a_row_and_leaves_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "TRAIN_COUNT", 20)  # two of each class: none can be held out
    status, failed = run(tmp_path, "failed", "--models", "lenet5_cifar", "--budget", "0.04kimg", "--tune", "2")
    assert status == 1
    assert row(failed, "tuned_top1").status == "failed"
    assert "too few" in row(failed, "tuned_top1").note
    assert row(failed, "top1").status == "ok"
    assert (row(failed, "top1").recipe or "").startswith("default: Adam ")


def test_tuning_reads_no_test_image(tmp_path: Path) -> None:
    image_set = prepare("synthetic", "cifar", tmp_path / "data", tmp_path / "cache", lambda _line: None)
    for file in Path(image_set.folder).glob("test_*.npy"):
        file.unlink()
    config = tuning(image_set)
    values = [MEASURE["tuning"](REGISTRY["lenet5_cifar"], config).tuned for _ in range(2)]
    assert values[0] is not None
    assert values[0] == values[1]  # the same seed finds the same


def tuning(image_set: ImageSet) -> Config:
    request = Request(budget=BUDGET[1:], tune=2, train_batch_size=20)
    config, _ = resolve(request, ("accuracy",), "cpu")
    assert config.probes == ("tuning", "accuracy")
    return replace(config, image_sets={"cifar": image_set})


def test_a_family_keeps_the_recipe_that_it_has(tmp_path: Path) -> None:
    """A run that is resumed with a smaller network of a family does not change its recipe halfway."""
    found = replace(RECIPES["ResNet"], name="tuned", peak_rate=0.07)
    tuned = Run.create(tmp_path, "tuned", {})
    tuned.keep_tuned("ResNet", {"recipe": found.to_json(), "model": "resnet56_cifar"})
    image_set = ImageSet("toy", "", "", tuple("0123456789"), (3, 32, 32), 0, 0, (0.5,) * 3, (0.5,) * 3, "")
    tasks = plan([REGISTRY["resnet20_cifar"], REGISTRY["lenet5_cifar"]], tuning(image_set))
    left = without_second_tuning(tasks, tuned)
    assert [(task.spec.family, task.probes) for task in left if task.probes == ("tuning",)] == [("LeNet", ("tuning",))]
    recipes = {task.spec.family: task.config.recipes.get(task.spec.family) for task in with_tuned_recipes(left, tuned)}
    assert recipes == {"ResNet": found, "LeNet": None}


def test_a_damaged_recipes_file_is_named(tmp_path: Path) -> None:
    tuned = Run.create(tmp_path, "tuned", {})
    for text in ("{", '{"recipes": 3}', "[]"):
        (tuned.folder / "recipes.json").write_text(text)
        with pytest.raises(RunError, match=r"recipes\.json"):
            with_tuned_recipes([], tuned)


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
    assert done.header["precision"] == "fp32"
    said = capsys.readouterr().out
    assert f"{top1.recipe}: test accuracy " in said
    assert f"documented are {experiment.budget} of {experiment.dataset}" in said
    assert str(experiment.published_top1 or experiment.published) in said


def test_resuming_a_named_recipe_needs_only_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--recipe", "lenet5-mnist", *BUDGET)
    assert run(tmp_path, "lenet", *flags)[0] == 0
    _, done = run(tmp_path, "lenet")
    assert len({record.key for record in done.records()}) == len(done.records())
    assert main(["run", "--run", "lenet", "--results-dir", str(tmp_path / "results"), "--recipe", "mnist-cnn"]) == 2
    assert "other recipes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--recipe", "resnet-cifar"], "resnet18-cifar"),
        (["--recipe", "resnet18-cifar", "--models", "lenet5_cifar"], "leave out --models"),
        (["--recipe", "resnet18-cifar", "--train-batch-size", "32"], "leave out --train-batch-size"),
        (["--recipe", "resnet18-cifar", "--tune", "3"], "leave out --tune"),
        (["--recipe", "mnist-cnn", "--recipes", "recipes.json"], "leave out --recipes"),
        (["--recipe", "mnist-cnn", "--dataset", "cifar10"], "needs mnist"),
        (["--recipe", "resnet18-cifar", "--weights", "random"], "finetune-224"),
        (["--weights", "random", "--models", "lenet5_cifar"], "finetune-224"),
        (["--recipe", "finetune-224", "--weights", "nowhere.pth"], "no such file"),
        (["--tune", "0"], "--tune 0"),
        (["--tune", "3", "--recipes", "recipes.json"], "choose one"),
        (["--tune", "3", "--probes", "params"], "nothing is trained"),
        (["--probes", "tuning"], "--tune 20"),
        (["--recipes", "nowhere.json", "--models", "lenet5_cifar"], "no such file"),
    ],
)
def test_a_wrong_request_is_one_line_and_leaves_nothing(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--device", "cpu", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.strip().splitlines()
    assert words in line
    assert not list(tmp_path.glob("results/*"))


def test_weights_that_cannot_be_downloaded_are_said_in_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = EXPERIMENTS["finetune-224"]
    assert experiment.weights is not None
    unreachable = replace(experiment.weights, url=fakes.refused_url())
    monkeypatch.setitem(EXPERIMENTS, "finetune-224", replace(experiment, weights=unreachable))
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--recipe", "finetune-224", "--device", "cpu", "--probes", "accuracy"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "--weights FILE or --weights random" in line


def test_tuning_needs_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["run", "--models", "lenet5_cifar", "--tune", "2", "--device", "cpu"]) == 2
    assert "pip install" in capsys.readouterr().err


def test_no_preset_tunes_unasked() -> None:
    assert "tuning" in PROBES
    for preset in ("quick", "standard", "full"):
        assert "tuning" not in resolve(Request(preset=preset), (), "cpu")[0].probes
