"""`Config` is a run with nothing left open, `Inputs` what was found for it, `Task` what one piece of its work is.

`PRESETS` says what `quick`, `standard` and `full` do where the user does not say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.metrics import PROBES, metrics_of
from bench.quantity import MEMORY_UNITS, SECONDS, joined

if TYPE_CHECKING:
    from bench.data.image_set import ImageSet
    from bench.models import ModelSpec
    from bench.training.recipes import Recipe

Track = Literal["imagenet", "cifar", "mnist"]
Precision = Literal["fp32", "tf32", "bf16", "fp16"]
MemoryFormat = Literal["contiguous", "channels_last"]
CompileMode = Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]  # of torch.compile


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
        """Read "10ep" (passes over the training set), "200kimg", "60s" or "2pflop"; also "10epochs", "5min" and "1h".

        Raises:
            RequestError: the word is none of these, or its amount is not above zero.
        """
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(ep|epochs?|kimg|s|min|h|pflop)", word)
        if match is None or float(match[1]) <= 0:
            raise RequestError(
                f"budget {word!r}: write a number above zero and a unit, such as 10ep (epochs), "
                "200kimg (thousand images), 60s (seconds) or 2pflop (10^15 operations)"
            )
        if match[2] in SECONDS:
            return Budget(float(match[1]) * SECONDS[match[2]], "s")
        kind: BudgetKind = "ep" if match[2].startswith("ep") else match[2]  # type: ignore[assignment]
        return Budget(float(match[1]), kind)

    @staticmethod
    def kind_of(word: str | None) -> BudgetKind | None:
        """The currency of a budget as a run recorded it; None where it is no budget."""
        try:
            return Budget.parse(word or "").kind
        except RequestError:
            return None

    def __str__(self) -> str:
        return f"{self.amount:g}{self.kind}"

    @property
    def in_words(self) -> str:
        """As a title says it: "1 epoch", "200 thousand images", "12 s of training" or "2 PFLOP of training"."""
        unit = {"ep": "epoch", "kimg": "thousand images", "s": "s of training", "pflop": "PFLOP of training"}[self.kind]
        return f"{self.amount:g} {unit}{'s' if self.kind == 'ep' and self.amount != 1 else ''}"


def parse_duration(flag: str, word: str) -> float:
    """Read "90s", "15min" or "2h", in seconds.

    Raises:
        RequestError: the word is none of these, or not above zero.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|h)", word)
    if match is None or float(match[1]) <= 0:
        raise RequestError(f"{flag} {word}: write a number above zero and a unit, such as 90s, 15min or 2h")
    return float(match[1]) * SECONDS[match[2]]


@dataclass(frozen=True)
class MemorySize:
    """An amount of memory, as people write it."""

    amount: float
    unit: str

    @staticmethod
    def parse(word: str) -> MemorySize:
        """Read "16GiB" (2^30 bytes), "24GB" (10^9 bytes) or "800MiB".

        Raises:
            RequestError: the word is no such amount, or it is less than a byte.
        """
        match = re.fullmatch(rf"(\d+(?:\.\d+)?)({'|'.join(MEMORY_UNITS)})", word)
        if match is None or float(match[1]) * MEMORY_UNITS[match[2]] < 1:
            raise RequestError(
                f"--fit {word!r}: write a number above zero and a unit, such as 16GiB (2^30 bytes), 24GB (10^9 bytes) "
                "or 800MiB"
            )
        return MemorySize(float(match[1]), match[2])

    @property
    def bytes(self) -> int:
        return int(self.amount * MEMORY_UNITS[self.unit])

    def __str__(self) -> str:
        return f"{self.amount:g}{self.unit}"


@dataclass(frozen=True)
class Execution:
    """In which arithmetic and in what manner a network runs. Every part is set both ways and is in every row."""

    precision: Precision = "fp32"
    memory_format: MemoryFormat = "contiguous"
    compile: bool = False  # torch.compile
    cuda_graphs: bool | None = False  # None: in training, where the device and the network allow it
    compile_mode: CompileMode = "default"  # and that where nothing is compiled

    def __str__(self) -> str:
        return execution_words([self])


def execution_words(executions: Iterable[Execution]) -> str:
    """Say what differs from PyTorch's defaults in some of them: "bf16, channels_last, compiled (max-autotune)"."""
    them = list(executions)
    words = ["/".join(dict.fromkeys(each.precision for each in them))]
    words += ["/".join(dict.fromkeys(each.memory_format for each in them if each.memory_format != "contiguous"))]
    modes = dict.fromkeys(each.compile_mode for each in them if each.compile)
    words += ["compiled" + (f" ({'/'.join(modes)})" if [*modes] != ["default"] else "") if modes else ""]
    words += ["CUDA graphs" if any(each.cuda_graphs for each in them) else ""]
    return joined(*words, between=", ")


SECOND_LOOK = 4  # the share of the measuring time that it takes is one in so many

# Two runs are compared by these settings; the fixed ones stay as they are when a run is resumed.
_SETTING, _FIXED = {"fixed": False}, {"fixed": True}


@dataclass(frozen=True)
class Config:
    """What a run is: a request with nothing left open. Written to run.json as it is."""

    preset: str = field(default="", metadata=_SETTING)
    probes: tuple[str, ...] = ()
    budget: Budget = field(default=Budget(1, "ep"), metadata=_SETTING)
    seeds: int = field(default=1, metadata=_SETTING)
    dataset: str = "auto"
    # Of what is timed and weighed: equal for all networks of a track.
    batch_size: Mapping[Track, int] = field(default_factory=dict, metadata=_FIXED)
    train_batch_size: int | None = field(default=None, metadata=_FIXED)  # None: the recipe's own
    test_images: int | None = field(default=None, metadata=_FIXED)  # None: all of them
    measure_seconds: float = field(default=0.25, metadata=_FIXED)  # of sampling, per round and step
    task_timeout_s: float | None = None
    rounds: int = field(default=1, metadata=_SETTING)  # over all networks, each in another order
    counted: tuple[str, ...] = ()  # names of networks of which only what needs no device is measured
    execution: Execution = field(default=Execution(), metadata=_FIXED)
    any_memory_format: bool = False  # contiguous where a network does not run in that of `execution`
    dedicated: bool = False  # nothing else uses the device: a network is measured in one process, and looked at again
    other_budgets: tuple[Budget, ...] = field(default=(), metadata=_SETTING)  # the same networks are trained under each
    checkpoint_every_s: float = 30.0  # at least so far apart
    tensorboard: bool = False  # write training curves as TensorBoard events too
    fit: MemorySize | None = field(default=None, metadata=_FIXED)  # what the largest batch is to fit into
    max_train_time_s: float | None = None  # a training that is predicted to take longer is not begun
    time_limit_s: float | None = None  # of the whole run
    inference_only: bool = False  # training steps are not timed

    def settings(self, fixed: bool = False) -> dict[str, Any]:
        """The settings by which runs are compared, or only those that are `fixed` within a run, each by its name."""
        found: dict[str, Any] = {}
        for each in fields(self):
            if each.metadata.get("fixed", False) or (not fixed and "fixed" in each.metadata):
                value = getattr(self, each.name)
                found |= asdict(value) if isinstance(value, Execution) else {each.name: _plain(value)}
        return found


def _plain(value: Any) -> Any:
    """Budgets and memory sizes as their words."""
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Budget | MemorySize) else value


@dataclass(frozen=True)
class Inputs:
    """What was found for a run, on the machine that works on it."""

    image_sets: Mapping[str, ImageSet] = field(default_factory=dict)  # by track
    recipes: Mapping[str, Recipe] = field(default_factory=dict)  # by family; the others have their default
    initial_weights: Path | None = None  # that training starts from; None: fresh ones
    checkpoints: Path | None = None  # folder from which a training that was killed goes on


def group_without_device(what: str, spec: ModelSpec) -> str:
    """Of tasks that compute nothing: those of the suite's own networks share a process, any other has its own."""
    from bench.models import REGISTRY

    return f"{what} of {'networks of the suite' if spec.name in REGISTRY else spec.name}"


@dataclass(frozen=True)
class Task:
    """What one piece of work is: probes of one network that are measured in one go, on one device."""

    spec: ModelSpec
    config: Config
    probes: tuple[str, ...] = ()  # the static ones, those of a round, or one
    inputs: Inputs = field(default_factory=Inputs)
    device: str = "cpu"
    seed: int = 0
    round: int = 0
    other_budget: Budget | None = None  # where the network is not trained under the run's first one
    with_peak: bool = False  # whether it also measures what the device can do, after what it times
    without_graphs: str = ""  # why steps are not recorded as graphs, though the run would: it has failed before
    only: tuple[str, ...] = ()  # metrics that are left of its first probe; empty: all
    second_look: bool = False  # a short sample at the end of the run, which shows whether the device has changed

    @property
    def budget(self) -> Budget:
        return self.other_budget or self.config.budget

    @property
    def batch_size(self) -> int:
        """Of what is timed and weighed: the same for all networks of a track."""
        return self.config.batch_size[self.spec.track]

    @property
    def measure_seconds(self) -> float:
        """Of sampling, per step."""
        return self.config.measure_seconds / (SECOND_LOOK if self.second_look else 1)

    def with_execution(self, execution: Execution) -> Task:
        """The same work, as a network runs otherwise."""
        return replace(self, config=replace(self.config, execution=execution))

    def metrics(self, probe: str) -> tuple[str, ...]:
        """Those that the task measures of one of its probes."""
        return tuple(metric for metric in metrics_of(probe) if metric in self.only) or metrics_of(probe)

    @property
    def static(self) -> bool:
        return PROBES[self.probes[0]].when == "static"

    @property
    def group(self) -> str:
        """What shares a process. No network meets what another has left behind, but for the counts of the suite's own.

        On a dedicated device all that is measured of a network shares one, and so do its trainings: libraries choose
        kernels once. Elsewhere every task has a fresh one, so that rounds find the machine at other times.
        """
        if self.static:
            return group_without_device("counts", self.spec)
        if not self.config.dedicated or self.round:
            return f"{self.label}, round {self.round}"
        return f"{self.spec.name} {'trained' if PROBES[self.probes[0]].when == 'seeds' else 'measured'}"

    @property
    def label(self) -> str:
        what = "counts" if self.static and len(self.probes) > 1 else " and ".join(self.probes)
        seed = f" (seed {self.seed})" if self.seed else ""
        budget = f" under {self.other_budget}" if self.other_budget else ""
        return f"{self.spec.name} {what}{seed}{budget}" + (f", round {self.round + 1}" if self.round else "")

    @property
    def curve_kind(self) -> str:
        """Ending of the file of its curve: "seed0", under another budget than the first "seed0-60s", or the probe."""
        if PROBES[self.probes[0]].when != "seeds":
            return self.probes[0]
        return f"seed{self.seed}-{self.other_budget}" if self.other_budget else f"seed{self.seed}"


@dataclass(frozen=True, kw_only=True)
class Preset(Config):
    """What a run does where the user does not say; the time limit holds where nothing else is asked of it."""

    models: tuple[str, ...]  # names or globs


_WITHOUT_SWEEP = tuple(probe for probe in PROBES if probe != "best_batch")

PRESETS: dict[str, Preset] = {
    # One network per family, the lightest that is still itself, on two CPU cores in about ten minutes. An epoch means
    # the same on every machine; where it takes too long, the shipped reference has its accuracy. A slower machine
    # trains fewer of them itself: with the report, the run ends within twelve minutes there too.
    "quick": Preset(
        models=(
            *("lenet5_cifar", "cnn_mnist", "alexnet_cifar", "zfnet_cifar", "nin_cifar", "vgg11_bn_cifar"),
            *("googlenet_cifar", "resnet20_cifar", "resnet18_cifar", "plain20_cifar", "preact_resnet18_cifar"),
            *("wide_resnet16_4_cifar", "resnext29_32x4d_cifar", "stochastic_depth_resnet110_cifar"),
            *("fractalnet20_cifar", "densenet40_k12_cifar", "densenet_bc100_k12_cifar", "squeezenet_cifar"),
            *("vit_tiny_cifar", "lenet5_mnist"),
        ),
        probes=_WITHOUT_SWEEP,
        train_batch_size=32,
        batch_size={"cifar": 16, "mnist": 16, "imagenet": 2},
        # Many short rounds: a shared machine is faster or slower for tens of seconds, and steady in each of them.
        rounds=8,
        measure_seconds=0.125,
        # The textbook's comparison is one of 224x224 networks; running them takes a CPU too long, counting does not.
        counted=(
            *("alexnet", "zfnet", "nin", "vgg16", "vgg19", "googlenet", "resnet18", "resnet34", "resnet50"),
            *("resnet101", "resnet152", "plain34", "preact_resnet152", "wide_resnet50_2", "resnext50_32x4d"),
            *("fractalnet34", "densenet121", "densenet161", "squeezenet1_0", "squeezenet1_1", "vit_b_16"),
        ),
        max_train_time_s=60.0,
        time_limit_s=660.0,
    ),
    # What people choose among: published networks at 224x224, as fast as they are here. Nothing is trained.
    "backbones": Preset(
        models=(
            *("alexnet", "vgg16", "googlenet", "squeezenet1_0", "squeezenet1_1", "vit_b_16"),
            *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "wide_resnet50_2", "resnext50_32x4d"),
            *("densenet121", "densenet161"),
            *(
                f"torchvision:{name}"
                for name in (
                    *("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0"),
                    *("shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "mnasnet0_5", "mnasnet1_0"),
                    *("regnet_y_400mf", "regnet_y_800mf", "regnet_y_1_6gf", "regnet_y_3_2gf", "regnet_x_400mf"),
                    *("convnext_tiny", "convnext_small", "swin_t", "swin_s", "vit_b_32"),
                )
            ),
        ),
        probes=(
            *("params", "macs", "activations", "saved_activation_bytes", "predicted_memory"),
            *("throughput", "latency", "memory"),
        ),
        batch_size={"cifar": 8, "mnist": 8, "imagenet": 8},
        rounds=3,
        inference_only=True,
    ),
    # Everything that trains in a minute, on one GPU, in 23 minutes on an H100. Energy, whose windows are of 3 s, would
    # take another 9, and the sweep for the best batch 7: `run --probes energy best_batch --run NAME` adds them.
    "standard": Preset(
        models=("*",),
        probes=tuple(probe for probe in _WITHOUT_SWEEP if probe != "energy"),
        budget=Budget(10, "ep"),
        batch_size={"cifar": 512, "mnist": 512, "imagenet": 64},
        rounds=3,
        max_train_time_s=60.0,
    ),
    # The same with enough epochs and seeds to rank neighbours.
    "full": Preset(
        models=("*",),
        probes=tuple(PROBES),
        budget=Budget(60, "ep"),
        seeds=3,
        batch_size={"cifar": 512, "mnist": 512, "imagenet": 64},
        rounds=5,
        measure_seconds=1.0,
    ),
}
