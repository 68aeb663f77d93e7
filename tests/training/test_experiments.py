"""Named recipes against what the documents say."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from bench.config import Budget, RequestError
from bench.models import REGISTRY
from bench.training.experiments import EXPERIMENTS, experiment_named
from bench.training.recipes import RECIPES


@pytest.mark.parametrize(
    ("name", "model", "dataset", "budget", "documented"),
    [
        (
            "finetune-224",
            "resnet18_224_cifar",
            "cifar10",
            "5ep",
            {
                "optimizer": "adam",
                "peak_rate": 1e-3,
                "weight_decay": 0.0,
                "batch_size": 64,
                "schedule": "constant",
                "warmup": 0.0,
                "resize": True,
                "crop_padding": 0,
                "flip": False,
                "mean": (0.5, 0.5, 0.5),
                "std": (0.5, 0.5, 0.5),
            },
        ),
        (
            "resnet18-cifar",
            "resnet18_cifar",
            "cifar10",
            "10ep",
            {
                "optimizer": "sgd",
                "peak_rate": 0.1,
                "momentum": 0.9,
                "nesterov": False,
                "weight_decay": 5e-4,
                "batch_size": 128,
                "schedule": "constant",
                "warmup": 0.0,
                "crop_padding": 4,
                "flip": True,
                "resize": False,
                "mean": (0.4914, 0.4822, 0.4465),
                "std": (0.2023, 0.1994, 0.2010),
            },
        ),
        (
            "mnist-cnn",
            "cnn_mnist",
            "mnist",
            "9ep",
            {
                "optimizer": "adam",
                "peak_rate": 0.01,
                "weight_decay": 0.0,
                "batch_size": 64,
                "schedule": "constant",
                "warmup": 0.0,
                "crop_padding": 0,
                "flip": False,
                "curve_every": 100,
            },
        ),
        ("lenet5-mnist", "lenet5_mnist", "mnist", "10ep", {}),
    ],
)
def test_it_is_as_documented(name: str, model: str, dataset: str, budget: str, documented: dict[str, Any]) -> None:
    experiment = experiment_named(name)
    assert experiment.spec().name == model
    assert (experiment.dataset, experiment.budget) == (dataset, budget)
    recipe = experiment.recipe
    assert {key: getattr(recipe, key) for key in documented} == documented
    assert recipe.name == name
    assert (recipe.label_smoothing, recipe.clip_norm) == (0.0, None)  # no document has them


def test_all_are_tested_above() -> None:
    assert set(EXPERIMENTS) == {"finetune-224", "resnet18-cifar", "mnist-cnn", "lenet5-mnist"}
    for experiment in EXPERIMENTS.values():
        Budget.parse(experiment.budget)


def test_where_a_document_gives_no_training_it_is_the_default_of_the_family() -> None:
    recipe, default = EXPERIMENTS["lenet5-mnist"].recipe, RECIPES["LeNet"]
    assert recipe == replace(default, name=recipe.name, source=recipe.source)


def test_the_fine_tuned_network_is_the_one_that_the_weights_fit() -> None:
    spec = experiment_named("finetune-224").spec()
    assert (spec.track, spec.input_size, spec.num_classes) == ("cifar", (3, 224, 224), 10)
    with torch.device("meta"):
        network = spec.build(num_classes=10)
        canonical = REGISTRY["resnet18"].build(num_classes=10)
    assert sum(p.numel() for p in network.parameters()) == sum(p.numel() for p in canonical.parameters())
    weights = experiment_named("finetune-224").weights
    assert weights is not None
    assert weights.file == f"resnet18-{weights.sha256[:8]}.pth"  # torchvision's names hold the first digits
    assert len(weights.sha256) == 64


def test_an_unknown_name_is_answered_with_all() -> None:
    with pytest.raises(RequestError, match=r"nearest: resnet18-cifar; there are .*finetune-224.*mnist-cnn"):
        experiment_named("resnet-cifar")
