"""Searching recipes: which images, which network, and what happens to a trial that diverges."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bench.config import Execution
from bench.data.batches import Split
from bench.models import REGISTRY, select
from bench.runner.tune import (
    DECAY_WITHOUT_DEFAULT,
    SPAN,
    Trial,
    TrialTask,
    best_of,
    held_out,
    search,
    smallest_of_families,
    tune,
)
from bench.training.recipes import Recipe
from tests.emulated import at_work
from tests.probes.test_accuracy import CONFIG, SPEC, image_set

DEFAULT = Recipe("sgd", 0.1, 5e-4, 128, "a test")


def likes_small_rates(recipe: Recipe) -> float:
    """Best at a rate of 0.02, and blind to weight decay."""
    return 1 - abs(math.log10(recipe.peak_rate / 0.02)) / 4


def tried(accuracy: Callable[[Recipe], float]) -> Callable[[Recipe], Trial]:
    return lambda recipe: Trial(recipe.peak_rate, recipe.weight_decay, accuracy(recipe))


def test_the_first_trial_is_the_default_and_the_others_lie_around_it() -> None:
    trials = list(search(DEFAULT, 12, 0, tried(likes_small_rates)))
    assert len(trials) == 12
    assert (trials[0].peak_rate, trials[0].weight_decay) == (0.1, 5e-4)
    for trial in trials[1:]:
        assert 0.1 / SPAN <= trial.peak_rate <= 0.1 * SPAN
        assert 5e-4 / SPAN <= trial.weight_decay <= 5e-4 * SPAN
        assert trial.peak_rate == float(f"{trial.peak_rate:.3g}")
    best = best_of(trials)
    assert best is not None
    assert best.top1 == likes_small_rates(replace(DEFAULT, peak_rate=best.peak_rate)) > likes_small_rates(DEFAULT)


def test_the_same_seed_tries_the_same() -> None:
    accuracy = tried(likes_small_rates)
    assert list(search(DEFAULT, 12, 3, accuracy)) == list(search(DEFAULT, 12, 3, accuracy))
    assert list(search(DEFAULT, 3, 3, accuracy)) != list(search(DEFAULT, 3, 4, accuracy))


def test_a_recipe_without_decay_is_tried_with_some() -> None:
    trials = list(search(replace(DEFAULT, weight_decay=0.0), 5, 0, tried(likes_small_rates)))
    assert trials[0].weight_decay == 0
    assert all(DECAY_WITHOUT_DEFAULT[0] <= trial.weight_decay <= DECAY_WITHOUT_DEFAULT[1] for trial in trials[1:])


def test_what_diverges_is_pruned_and_named() -> None:
    def only_below_a_tenth(recipe: Recipe) -> Trial:
        if recipe.peak_rate >= 0.1:
            return Trial(recipe.peak_rate, recipe.weight_decay, None, note="the loss was nan after 640 images")
        return Trial(recipe.peak_rate, recipe.weight_decay, 0.5)

    trials = list(search(DEFAULT, 10, 0, only_below_a_tenth))
    assert trials[0] == Trial(0.1, 5e-4, None, note="the loss was nan after 640 images")
    assert {trial.top1 for trial in trials} == {None, 0.5}
    assert best_of(trials) == next(trial for trial in trials if trial.top1 is not None)


def test_where_every_recipe_diverges_there_is_none() -> None:
    def never(recipe: Recipe) -> Trial:
        return Trial(recipe.peak_rate, recipe.weight_decay, None, note="the loss was inf after 32 images")

    trials = list(search(DEFAULT, 3, 0, never))
    assert len(trials) == 3
    assert best_of(trials) is None


def test_any_other_error_ends_the_search() -> None:
    def broken(recipe: Recipe) -> Trial:
        raise ValueError("no logits")

    with pytest.raises(ValueError, match="no logits"):
        list(search(DEFAULT, 3, 0, broken))


def test_a_trial_whose_capture_fails_is_repeated_without_graphs_and_so_is_every_later_one(tmp_path: Path) -> None:
    asked = list[bool | None]()

    def run(execute: Any, tasks: Sequence[TrialTask], *_: object, stop: object) -> Iterator[tuple[TrialTask, Any]]:
        for task in tasks:
            asked.append(task.config.execution.cuda_graphs)
            with at_work("capture"):  # each time another process
                yield task, execute(task, "emulated:0")

    config = replace(CONFIG, execution=Execution(cuda_graphs=None))
    default = TrialTask(SPEC, DEFAULT, config, image_set(tmp_path), 0)
    *_, entry = tune(default, 2, None, SimpleNamespace(run=run), lambda *_: None, None)  # type: ignore[arg-type]
    assert asked == [None, False, False]
    assert all(trial["top1"] is not None for trial in entry["trials"])


def numbered(count: int, classes: int) -> Split:
    """Images that carry their own number."""
    return Split(torch.arange(count, dtype=torch.int32).view(-1, 1, 1, 1), torch.arange(count) % classes)


def test_a_tenth_of_every_class_is_held_out() -> None:
    trained, validation = held_out(numbered(400, 4), seed=0)
    assert validation.labels.bincount().tolist() == [10] * 4
    assert trained.labels.bincount().tolist() == [90] * 4
    numbers = torch.cat((trained.images, validation.images)).flatten().tolist()
    assert sorted(numbers) == list(range(400))  # none in both, none lost
    for part in (trained, validation):
        assert torch.equal(part.images.flatten() % 4, part.labels.int())
        assert torch.equal(part.images, part.images.sort(0).values)


def test_the_seed_draws_them_and_a_limit_leaves_training_alone() -> None:
    split = numbered(400, 4)
    trained, validation = held_out(split, seed=0)
    assert torch.equal(held_out(split, seed=0)[1].images, validation.images)
    assert not torch.equal(held_out(split, seed=1)[1].images, validation.images)
    fewer, few = held_out(split, seed=0, limit=8)
    assert torch.equal(fewer.images, trained.images)
    assert few.labels.bincount().tolist() == [2] * 4


def test_too_few_images_are_said() -> None:
    with pytest.raises(ValueError, match="class 0 has 5 training images"):
        held_out(numbered(20, 4), seed=0)


def test_recipes_are_tried_on_the_smallest_network_of_each_family() -> None:
    specs = [spec for spec in REGISTRY.values() if spec.track != "imagenet"]
    chosen = {spec.family: spec.name for spec in smallest_of_families(specs)}
    assert chosen.keys() == {spec.family for spec in specs}
    assert chosen["ResNet"] == "resnet20_cifar"
    assert chosen["LeNet"] == "lenet5_cifar"  # lenet5_mnist is smaller, but recipes are compared on CIFAR-10
    assert chosen["FractalNet"] == "fractalnet40_cifar"


def test_a_network_of_unknown_size_is_the_last_choice() -> None:
    known, foreign = REGISTRY["resnet20_cifar"], replace(REGISTRY["resnet20_cifar"], name="mine", params=None)
    assert smallest_of_families([foreign, known]) == [known]
    assert [spec.name for spec in smallest_of_families(select(["cnn_mnist"]))] == ["cnn_mnist"]
