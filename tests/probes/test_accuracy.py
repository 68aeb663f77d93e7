"""What a training leaves in the rows of a run, and how each thing that can be wrong with it is said."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest

from bench.config import Budget, Config, Execution, Inputs, Task
from bench.data.image_set import ImageSet
from bench.metrics import metrics_of
from bench.models import REGISTRY, ModelSpec
from bench.probes import accuracy
from bench.records.record import Record
from bench.runner.execute import execute
from bench.training.loop import Trainee
from bench.training.recipes import recipe_for
from tests.configs import config
from tests.data import fakes
from tests.emulated import at_work
from tests.emulated.device import CLOCK_MHZ, THROTTLED

SPEC = REGISTRY["lenet5_cifar"]
CONFIG = config(
    "accuracy",
    budget=Budget.parse("0.2kimg"),
    train_batch_size=20,
    execution=Execution(memory_format="channels_last"),
)


def image_set(folder: Path, labels: Sequence[int] = (0, 1, 2, 3), classes: tuple[str, ...] = tuple("abcd")) -> ImageSet:
    """Noise: forty images of each split, whose labels go round."""
    for split in ("train", "test"):
        np.save(folder / f"{split}_images.npy", fakes.random_images(40, (3, 32, 32)))
        np.save(folder / f"{split}_labels.npy", np.resize(np.array(labels, np.int64), 40))
    return ImageSet("noise", str(folder), "", classes, (3, 32, 32), 40, 40, (0.5,) * 3, (0.25,) * 3, "")


def rows(
    config: Config,
    images: ImageSet | None,
    seed: int = 0,
    found: Inputs = Inputs(),
    device: str = "cpu",
    spec: ModelSpec = SPEC,
) -> dict[str, Record]:
    inputs = replace(found, image_sets={"cifar": images} if images else {})
    outcome = execute(Task(spec, config, ("accuracy",), inputs, seed=seed), device)
    assert [row.metric for row in outcome.records] == list(metrics_of("accuracy"))
    return {row.metric: row for row in outcome.records}


def test_a_row_says_what_was_spent_in_every_currency(tmp_path: Path) -> None:
    found = rows(CONFIG, image_set(tmp_path))
    assert found["train_images"].value == 200
    assert found["train_epochs"].value == 5
    assert found["train_flops"].value == pytest.approx(200 * 6 * 651_720, rel=0.01)  # 6 per multiply-accumulate
    assert found["train_seconds"].value
    assert found["train_seconds"].value > 0
    top1 = found["top1"]
    assert (top1.status, top1.trials, top1.batch_size, top1.cuda_graphs, top1.note) == ("ok", 40, 20, False, "")
    assert found["compile_seconds"].status == "skipped"
    assert (found["images_to_90"].status, found["images_to_90"].note) == ("skipped", "never reached 90 %")


def test_an_accuracy_that_is_reached_is_dated(tmp_path: Path) -> None:
    """Images whose colour is their class are learned at once."""
    images = image_set(tmp_path)
    for split in ("train", "test"):
        pixels = np.load(tmp_path / f"{split}_images.npy") // 8
        labels = np.load(tmp_path / f"{split}_labels.npy")
        for channel in range(3):
            pixels[labels == channel, channel] += 200
        np.save(tmp_path / f"{split}_images.npy", pixels)
    found = rows(replace(CONFIG, budget=Budget.parse("1.2kimg")), images)
    assert found["top1"].value == 1
    taken = [found[f"images_to_{level}"].value for level in (70, 80, 90)]
    assert None not in taken
    assert 0 < taken[0] <= taken[1] <= taken[2] < 1200  # type: ignore[operator]
    assert found["flops_to_70"].value == pytest.approx(taken[0] * found["train_flops"].value / 1200)  # type: ignore[operator]


def of_seed(row: Mapping[str, Record]) -> tuple[float | None, ...]:
    """What a seed decides: equal to the bit, or not equal."""
    return tuple(row[metric].value for metric in ("top1", "train_loss"))


@pytest.mark.parametrize("name", ["lenet5_cifar", "resnet20_cifar"])  # Adam, SGD with batch norm
def test_seeds_share_what_was_made_ready_and_are_the_same_bits_as_alone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[bool] = []
    make = Trainee.__init__

    def counted(self: Trainee, *args: Any) -> None:
        made.append(True)
        make(self, *args)

    monkeypatch.setattr(Trainee, "__init__", counted)
    images, config = image_set(tmp_path), replace(CONFIG, seeds=2, budget=Budget.parse("0.04kimg"))
    first, second = (of_seed(rows(config, images, seed, spec=REGISTRY[name])) for seed in (0, 1))
    assert (len(made), first == second) == (1, False)
    assert not accuracy._kept  # after the last seed
    assert of_seed(rows(config, images, 1, spec=REGISTRY[name])) == second
    assert len(made) == 2


def test_another_training_makes_its_own_ready(tmp_path: Path) -> None:
    images, config = image_set(tmp_path), replace(CONFIG, seeds=2)
    alone, other = (rows(replace(config, train_batch_size=size), images)["train_loss"].value for size in (10, 20))
    (kept,) = accuracy._kept  # the last
    assert 20 in kept
    accuracy._kept.clear()
    assert alone != other


def test_seeds_on_a_device_share_one_graph(tmp_path: Path) -> None:
    images, config = image_set(tmp_path), replace(CONFIG, seeds=2, execution=Execution(cuda_graphs=None))
    with at_work() as device:
        captures = MagicMock(side_effect=device.capture)
        device.capture = captures  # type: ignore[method-assign]
        first, second = (rows(config, images, seed, device="emulated:0") for seed in (0, 1))
        assert first["top1"].cuda_graphs
        assert second["top1"].cuda_graphs
        assert captures.call_count == 1
        alone = rows(config, images, 1, device="emulated:0")
        assert captures.call_count == 2
    assert of_seed(first) != of_seed(second) == of_seed(alone)


@pytest.mark.gpu
def test_a_graph_that_seeds_share_on_a_gpu_draws_as_each_of_them_would(tmp_path: Path) -> None:
    """FractalNet drops its paths by numbers that the device draws within the recorded step."""
    images, config = image_set(tmp_path), replace(CONFIG, seeds=2, execution=Execution(cuda_graphs=None))
    where = {"device": "cuda:0", "spec": REGISTRY["fractalnet20_cifar"]}
    first, second = (rows(config, images, seed, **where) for seed in (0, 1))  # type: ignore[arg-type]
    alone = rows(config, images, 1, **where)  # type: ignore[arg-type]
    assert second["top1"].cuda_graphs
    assert second["train_loss"].value == pytest.approx(alone["train_loss"].value, rel=1e-3)
    assert first["train_loss"].value != pytest.approx(alone["train_loss"].value, rel=1e-3)


def test_somebodys_own_network_starts_anew_with_every_seed(tmp_path: Path) -> None:
    own = replace(SPEC, name="own_cifar")
    rows(replace(CONFIG, seeds=2), image_set(tmp_path), spec=own)
    assert not accuracy._kept


def test_a_training_on_a_throttled_device_says_so_where_it_counts_seconds(tmp_path: Path) -> None:
    images = image_set(tmp_path)
    with at_work("throttle"):
        by_images, by_time = (
            rows(replace(CONFIG, budget=Budget.parse(budget)), images, device="emulated:0")
            for budget in ("0.8kimg", "0.3s")
        )
    slowed = by_images["train_seconds"]
    assert (slowed.status, slowed.flags, slowed.clock_mhz) == ("ok", ("throttled",), CLOCK_MHZ / THROTTLED)
    assert "clocks held back in 100% of the samples: hot (hardware)" in slowed.note
    assert (by_images["top1"].flags, by_images["top1"].clock_mhz) == ((), CLOCK_MHZ / THROTTLED)
    assert by_time["top1"].flags == ("throttled",)  # at full speed there would have been more steps
    with at_work():
        cool = rows(CONFIG, images, device="emulated:0")["train_seconds"]
    assert (cool.flags, cool.note, cool.clock_mhz) == ((), "", CLOCK_MHZ)


def test_a_rate_at_which_training_diverges_is_said(tmp_path: Path) -> None:
    recipes = {SPEC.family: replace(recipe_for(SPEC.family), peak_rate=1e37)}
    found = rows(CONFIG, image_set(tmp_path), found=Inputs(recipes=recipes))
    for row in found.values():
        assert row.status == "failed"
        assert row.note.startswith("Diverged: the training loss was ")
        assert row.note.endswith(" images")
        assert "\n" not in row.note


def test_images_that_do_not_fit_are_said(tmp_path: Path) -> None:
    for row in rows(CONFIG, image_set(tmp_path, labels=(0, 1, 2, 4))).values():
        assert row.status == "failed"
        assert row.note.startswith("ValueError: ")
        assert row.note.endswith("label 4 is out of range: there are 4 classes, from 0")


def test_without_images_nothing_failed(tmp_path: Path) -> None:
    assert {row.status for row in rows(CONFIG, None).values()} == {"skipped"}


def test_a_training_leaves_its_checkpoint_to_whoever_writes_its_rows(tmp_path: Path) -> None:
    config, kept_in = replace(CONFIG, checkpoint_every_s=0), Inputs(checkpoints=tmp_path / "checkpoints")
    (tmp_path / "images").mkdir()
    images = image_set(tmp_path / "images")
    expected = rows(config, images, found=kept_in)["train_loss"].value
    (kept,) = (tmp_path / "checkpoints").iterdir()
    assert kept.name == "lenet5_cifar-seed0-0.2kimg.pt"
    resumed = rows(config, images, found=kept_in)
    assert resumed["top1"].note == "interrupted, and resumed after 200 images"
    assert resumed["train_loss"].value == expected
    other = rows(replace(config, train_batch_size=10), images, found=kept_in)
    assert other["top1"].note == "its checkpoint is of another training: trained from the start"
