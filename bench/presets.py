"""What `quick`, `standard` and `full` do where the user does not say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.config import Track
from bench.metrics import PROBES


@dataclass(frozen=True)
class Preset:
    """What a run does where the user does not say."""

    models: tuple[str, ...]  # names or globs
    probes: tuple[str, ...]
    budget: str
    seeds: int
    test_images: int | None  # None: all of them
    train_batch_size: int | None  # None: the recipe's own
    batch_size: Mapping[Track, int]  # of the throughput probe: equal for all networks of a track
    rounds: int  # over all networks, each in another order
    measure_seconds: float  # of sampling, per round and step
    counted: tuple[str, ...] = ()  # more networks, of which only what needs no device is measured


PRESETS: dict[str, Preset] = {
    # One network per family, the lightest that is still itself, on two CPU cores in about ten minutes.
    "quick": Preset(
        models=(
            "lenet5_cifar",
            "cnn_mnist",
            "alexnet_cifar",
            "zfnet_cifar",
            "nin_cifar",
            "vgg11_bn_cifar",
            "googlenet_cifar",
            "resnet20_cifar",
            "resnet18_cifar",
            "plain20_cifar",
            "preact_resnet18_cifar",
            "wide_resnet16_4_cifar",
            "resnext29_32x4d_cifar",
            "stochastic_depth_resnet110_cifar",
            "fractalnet20_cifar",
            "densenet40_k12_cifar",
            "densenet_bc100_k12_cifar",
            "squeezenet_cifar",
            "vit_tiny_cifar",
            "lenet5_mnist",
        ),
        probes=tuple(probe for probe in PROBES if probe != "best_batch"),  # minutes of sweeping on a CPU
        budget="12s",
        seeds=1,
        test_images=1000,
        train_batch_size=32,
        batch_size={"cifar": 16, "mnist": 16, "imagenet": 2},
        rounds=5,
        measure_seconds=0.25,
        # The textbook's comparison is one of 224x224 networks; running them takes a CPU too long, counting does not.
        counted=(
            "alexnet",
            "zfnet",
            "nin",
            "vgg16",
            "vgg19",
            "googlenet",
            "resnet18",
            "resnet34",
            "resnet50",
            "resnet101",
            "resnet152",
            "plain34",
            "preact_resnet152",
            "wide_resnet50_2",
            "resnext50_32x4d",
            "fractalnet34",
            "densenet121",
            "densenet161",
            "squeezenet1_0",
            "squeezenet1_1",
            "vit_b_16",
        ),
    ),
    # Everything that trains, on one GPU, with the usual short budget.
    "standard": Preset(
        models=("*",),
        probes=tuple(PROBES),
        budget="10ep",
        seeds=1,
        test_images=None,
        train_batch_size=None,
        batch_size={"cifar": 512, "mnist": 512, "imagenet": 64},
        rounds=3,
        measure_seconds=0.4,
    ),
    # The same with enough epochs and seeds to rank neighbours.
    "full": Preset(
        models=("*",),
        probes=tuple(PROBES),
        budget="60ep",
        seeds=3,
        test_images=None,
        train_batch_size=None,
        batch_size={"cifar": 512, "mnist": 512, "imagenet": 64},
        rounds=5,
        measure_seconds=1.0,
    ),
}
