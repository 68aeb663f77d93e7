"""What a run is asked to do: the flags as typed, the presets, and the resolved configuration that is passed down."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from bench.metrics import PROBE_NAMES

if TYPE_CHECKING:
    from bench.data.image_set import ImageSet


class RequestError(Exception):
    """The request itself is wrong (exit status 2); the message is one line that says what to do."""


BudgetKind = Literal["ep", "kimg", "s", "pflop"]


@dataclass(frozen=True)
class Budget:
    """How much training a network gets, in one of four currencies."""

    amount: float
    kind: BudgetKind

    @staticmethod
    def parse(word: str) -> Budget:
        """ "10ep" (passes over the training set), "200kimg", "60s" or "2pflop".

        Raises:
            RequestError: the word is none of these, or its amount is not above zero.
        """
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(ep|kimg|s|pflop)", word)
        if match is None or float(match[1]) <= 0:
            raise RequestError(
                f"budget {word!r}: write a number above zero and a unit, such as 10ep (epochs), "
                "200kimg (thousand images), 60s (seconds) or 2pflop (10^15 operations)"
            )
        kind: BudgetKind = match[2]  # type: ignore[assignment]
        return Budget(float(match[1]), kind)

    def __str__(self) -> str:
        return f"{self.amount:g}{self.kind}"


Track = Literal["imagenet", "cifar", "mnist"]
Precision = Literal["fp32", "tf32"]


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
    measure_seconds: float  # of sampling, per throughput


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
        probes=PROBE_NAMES,
        budget="12s",
        seeds=1,
        test_images=1000,
        train_batch_size=32,
        batch_size={"cifar": 16, "mnist": 16, "imagenet": 2},
        measure_seconds=1.0,
    ),
    # Everything that trains, on one GPU, with the usual short budget.
    "standard": Preset(
        models=("*",),
        probes=PROBE_NAMES,
        budget="10ep",
        seeds=1,
        test_images=None,
        train_batch_size=None,
        batch_size={"cifar": 512, "mnist": 512, "imagenet": 64},
        measure_seconds=2.0,
    ),
    # The same with enough epochs and seeds to rank neighbours.
    "full": Preset(
        models=("*",),
        probes=PROBE_NAMES,
        budget="60ep",
        seeds=3,
        test_images=None,
        train_batch_size=None,
        batch_size={"cifar": 512, "mnist": 512, "imagenet": 64},
        measure_seconds=5.0,
    ),
}


# How optional flags look in --help; the text says what happens without them.
Count = Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="")]
Word = Annotated[str | None, tyro.conf.arg(metavar="WORD", help_behavior_hint="")]
Folder = Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")]
Names = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...", help_behavior_hint="")]


@dataclass(frozen=True)
class Request:
    """The flags of `all` and `run` as typed. None: left to the preset."""

    models: Names = ()
    """Names or globs (resnet18_cifar 'resnet*'), torchvision:NAME, timm:NAME or package.module:factory.
    Default: those of the preset."""
    input_size: Word = None
    """What a network that is not of the registry takes: 32, or 1x28x28."""
    num_classes: Count = None
    """How many classes such a network tells apart."""
    device: str = "auto"
    """auto, cpu, cuda (every GPU) or cuda:N."""
    preset: Literal["auto", "quick", "standard", "full"] = "auto"
    """How much to do: quick on a CPU, standard on a GPU, full for a ranking with several seeds."""
    budget: Word = None
    """Training budget per network: 10ep, 200kimg, 60s or 2pflop."""
    seeds: Count = None
    """Independent training runs per network."""
    dataset: str = "auto"
    """auto, cifar10, mnist, synthetic, or a folder with train/<class>/ and test/<class>/ images."""
    data_dir: Folder = None
    """Where images are found or downloaded to. Default: $BENCH_DATA_DIR, else data/."""
    cache_dir: Folder = None
    """Where decoded images are kept. Default: $XDG_CACHE_HOME/classic-bench, else ~/.cache/classic-bench."""
    results_dir: Path = Path("results")
    """Where runs are written."""
    reports_dir: Path = Path("reports")
    """Where reports are written."""
    run: Word = None
    """Name of the run; a run that exists is resumed. Default: date, time, device and preset."""
    retry_failed: bool = False
    """When resuming, try failed rows again."""
    engine: Literal["local"] = "local"
    """Where tasks run: in worker processes on this machine."""
    batch_size: Count = None
    """Batch size of the throughput measurement. Default: one for each track, the same for all networks."""
    train_batch_size: Count = None
    """Batch size of training; the peak rate is scaled with it. Default: the recipe's (quick: 32)."""
    test_images: Count = None
    """How many test images to use, the same number of every class. Default: all (quick: 1000)."""
    precision: Precision = "fp32"
    """Arithmetic of throughput and training: fp32, or tf32 on GPUs that have it."""
    task_timeout_s: Annotated[float | None, tyro.conf.arg(metavar="SECONDS", help_behavior_hint="")] = None
    """Give up on one measurement of one network after this many seconds. Default: never."""


@dataclass(frozen=True)
class Config:
    """A request with nothing left open. Probes get one with `device` and `seed` set for their task."""

    preset: str
    probes: tuple[str, ...]
    budget: Budget
    seeds: int
    dataset: str
    batch_size: Mapping[Track, int]
    train_batch_size: int | None
    test_images: int | None
    measure_seconds: float
    task_timeout_s: float | None
    precision: Precision = "fp32"
    device: str = "cpu"
    seed: int = 0
    image_sets: Mapping[str, ImageSet] = field(default_factory=dict)  # by track


def resolve(request: Request, probes: tuple[str, ...], device_kind: str) -> tuple[Config, tuple[str, ...]]:
    """The configuration of a run on a "cpu" or "cuda" device, and the names or globs of its networks.

    Raises:
        RequestError: a number is out of range, or a probe does not exist.
    """
    for flag, value in (
        ("--seeds", request.seeds),
        ("--num-classes", request.num_classes),
        ("--batch-size", request.batch_size),
        ("--train-batch-size", request.train_batch_size),
        ("--test-images", request.test_images),
        ("--task-timeout-s", request.task_timeout_s),
    ):
        if value is not None and value <= 0:
            raise RequestError(f"{flag} {value}: must be above zero")
    for probe in probes:
        if probe not in PROBE_NAMES:
            raise RequestError(f"no probe is named {probe!r}; there are: {', '.join(PROBE_NAMES)}")
    name = request.preset if request.preset != "auto" else "standard" if device_kind == "cuda" else "quick"
    preset = PRESETS[name]
    batch_size = preset.batch_size
    if request.batch_size is not None:
        batch_size = dict.fromkeys(preset.batch_size, request.batch_size)
    config = Config(
        preset=name,
        probes=probes or preset.probes,
        budget=Budget.parse(request.budget or preset.budget),
        seeds=request.seeds or preset.seeds,
        dataset=request.dataset,
        batch_size=batch_size,
        train_batch_size=request.train_batch_size or preset.train_batch_size,
        test_images=request.test_images or preset.test_images,
        measure_seconds=preset.measure_seconds,
        task_timeout_s=request.task_timeout_s,
        precision=request.precision,
    )
    return config, request.models or preset.models


def for_task(config: Config, device: str, seed: int) -> Config:
    """The configuration of one task."""
    return replace(config, device=device, seed=seed)


def parse_input_size(word: str | None) -> tuple[int, int, int] | None:
    """ "96" or "3x96x96" as (channels, height, width); None stays None.

    Raises:
        RequestError: the word is neither.
    """
    if word is None:
        return None
    match = re.fullmatch(r"(?:(\d+)x(\d+)x(\d+)|(\d+))", word)
    size = tuple(int(part) for part in word.split("x")) if match else ()
    if not size or min(size) == 0:
        raise RequestError(f"--input-size {word!r}: write a height such as 96, or channels, height and width: 3x96x96")
    return (3, size[0], size[0]) if len(size) == 1 else (size[0], size[1], size[2])
