"""The flags of `all` and `run` as typed, and how they become a configuration."""

from __future__ import annotations

import contextlib
import math
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from bench.config import (
    PRESETS,
    Budget,
    CompileMode,
    Config,
    Execution,
    MemoryFormat,
    MemorySize,
    Precision,
    RequestError,
    parse_duration,
)
from bench.device import accelerator
from bench.device.accelerator import Device
from bench.metrics import PROBES
from bench.runner.flags import Argument, Count, File, Folder, Names, Word, flag_of
from bench.training.experiments import EXPERIMENTS, Experiment, experiment_named

if TYPE_CHECKING:
    from bench.models import ModelSpec

MOST_REPEATS = 1_000  # seeds or rounds: more is a slip, and its plan fills the memory

Budgets = Annotated[tuple[str, ...], Argument("BUDGET")]
Arguments = Annotated[tuple[str, ...], Argument("KEY=VALUE")]


@dataclass(frozen=True)
class Setup:
    """Which networks, on what and with which images: the flags that `all`, `run` and `tune` share. None: left to the
    preset."""

    models: Names = ()
    """Names or globs (resnet18_cifar 'resnet*'), torchvision:NAME, timm:NAME, package.module:factory or
    ./file.py:factory. Default: those of the preset."""
    input_size: Word = None
    """What a network that is not of the registry takes: 32, or 1x28x28."""
    num_classes: Count = None
    """How many classes such a network has."""
    model_kwargs: Arguments = ()
    """Arguments of such a network's factory: drop_path_rate=0.1 depth=2. They become a part of its name."""
    device: str = "auto"
    """auto, cpu, cuda (every GPU) or cuda:N, mps, xpu."""
    preset: Literal["auto", "quick", "standard", "full", "backbones"] = "auto"
    """How much to do: quick on a CPU, standard on a GPU, full for a ranking with several seeds; backbones for the speed
    of published networks at 224x224."""
    dataset: str = "auto"
    """auto, cifar10, mnist, synthetic, or a folder with train/<class>/ and test/<class>/ images."""
    data_dir: Folder = None
    """Where images are found or downloaded to. Default: $BENCH_DATA_DIR, else data/."""
    cache_dir: Folder = None
    """Where decoded images are kept. Default: $XDG_CACHE_HOME/classic-bench, else ~/.cache/classic-bench."""
    train_batch_size: Count = None
    """Batch size of training; the peak rate is scaled with it. Default: the recipe's (quick: 32)."""
    test_images: Count = None
    """How many test images to use, the same number of every class. Default: all."""
    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16"] = "auto"
    """Arithmetic of measuring and training. auto: bf16 where every GPU has it, else fp32. bf16 and fp16 mean weights of
    that type for inference, and autocast over fp32 weights for training."""
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    """How images lie in memory. auto: channels_last, on a CPU too, where most networks are faster for it; contiguous
    on MPS, and for a network that does not run in it."""
    compile: bool = False
    """Compile networks with torch.compile before they are timed or trained; compilation is timed apart. One whose
    logits change by it fails."""
    compile_mode: CompileMode = "default"
    """Mode of torch.compile; another than the default implies --compile."""
    task_timeout_s: Annotated[float | None, Argument("SECONDS")] = None
    """Give up on one measurement of one network after this many seconds. Default: never."""
    task_memory_gib: Annotated[float | None, Argument("GIB")] = None
    """The most memory of the machine (not of the GPU) that one measurement may take. Default: what is free."""


@dataclass(frozen=True)
class Request(Setup):
    """The flags of `all` and `run` as typed."""

    budget: Budgets = ()
    """Training budget per network: 10ep, 200kimg, 60s or 2pflop. Several: all are trained under each; tables and charts
    show the first, and the report compares them. Default: the preset's (quick 1ep, standard 10ep, full 60ep)."""
    seeds: Count = None
    """Independent training runs per network. Default: 1 (full: 3)."""
    results_dir: Path = Path("results")
    """Where runs are written."""
    reports_dir: Path = Path("reports")
    """Where reports are written."""
    run: Word = None
    """Name of the run; a run that exists is resumed. Default: date, time, device and preset."""
    retry_failed: bool = False
    """When resuming, try failed rows again."""
    force: bool = False
    """Resume a run that was made with other settings, images, hardware or PyTorch; the run says so."""
    engine: Literal["local", "ray"] = "local"
    """Where tasks run: in worker processes on this machine, or on every node of a Ray cluster."""
    ray_address: str = "auto"
    """The cluster of --engine ray: auto for the one that this machine is part of, else HOST:PORT."""
    threads: Count = None
    """How many threads PyTorch computes with on a CPU. Default: one for each core."""
    batch_size: Count = None
    """Batch size of the throughput measurement. Default: one for each track, the same for all networks."""
    fit: Word = None
    """Find the largest batch that fits into this much memory: 16GiB, 24GB or 800MiB."""
    cuda_graphs: bool | None = None
    """Replay steps as CUDA graphs. Default: not when steps are timed; in training, where the network allows it."""
    recipe: Word = None
    """Repeat a documented experiment as it was written: resnet18-cifar, finetune-224, mnist-cnn or lenet5-mnist. It
    fixes network, images, budget, batch size and all of training, and fp32 where --precision says nothing; --budget,
    --seeds, --dataset and --test-images still count."""
    weights: Word = None
    """What --recipe finetune-224 starts from: a file of torchvision's ResNet-18 weights, or random. Default: the
    published ones, from --data-dir or downloaded to it."""
    recipes: File = None
    """Train as this recipes.json says, which `tune` has written; families that it lacks have their default."""
    max_train_time: Word = None
    """Do not begin a training that is predicted to take longer here, such as 90s, 15min or 2h; its row says so, and the
    report shows the shipped reference. Default: 60s with the budget of quick or standard, no limit with a --budget."""
    time_limit: Word = None
    """Leave out what does not fit into this time, such as 15min: first what takes longest of trainings and of rounds
    beyond the third. Default: 11min for quick as it is, without flags for its networks, budget, seeds or rounds; no
    limit otherwise."""
    dry_run: bool = False
    """Say what would be done and about how long each phase takes, reckoned from what networks compute and what the
    device can do; nothing is kept."""
    on: Annotated[str | None, Argument("GPU")] = None
    """With --dry-run: on a GPU that is not here, by its name: H100, "RTX 3060"."""
    json: bool = False
    """With --dry-run: print it as JSON, times in minutes."""
    tensorboard: bool = False
    """Also write training curves as TensorBoard events, to tensorboard/ in the folder of the run."""
    checkpoint_every_s: Annotated[float, Argument("SECONDS")] = 30.0
    """A training that is killed goes on from its last checkpoint: one is written where an epoch or a twentieth of the
    budget ends, but no sooner than this after the one before."""
    rounds: Count = None
    """How often each throughput and latency is measured, each time in another order of networks. Default: the
    preset's (quick: 4) on a CPU; on a GPU once, and a second look at some networks at the end."""

    @property
    def experiment(self) -> Experiment | None:
        """The documented experiment that --recipe names.

        Raises:
            RequestError: there is none of this name.
        """
        return experiment_named(self.recipe) if self.recipe else None


def resolve(
    request: Request, probes: tuple[str, ...], device_kind: str, bf16: bool = True
) -> tuple[Config, tuple[str, ...]]:
    """The configuration of a run on a kind of device ("cuda"), and the names or globs of its networks.

    `bf16` says whether all of its devices have that arithmetic.

    Raises:
        RequestError: a number is out of range, a probe or recipe does not exist, or two flags contradict each other.
    """
    _refuse_numbers(request)
    for probe in probes:
        if probe not in PROBES:
            raise RequestError(f"no probe is named {probe!r}; there are: {', '.join(PROBES)}")
    experiment = request.experiment
    _refuse_conflicts(request, experiment)
    kind = accelerator.kind_named(device_kind)
    assert kind is not None
    name = request.preset if request.preset != "auto" else kind.preset
    preset = PRESETS[name]
    batch_size, dedicated = preset.batch_size, not kind.is_host
    if request.batch_size is not None:
        batch_size = dict.fromkeys(preset.batch_size, request.batch_size)
    longest = None if experiment or request.budget else preset.max_train_time_s
    if request.max_train_time:
        longest = parse_duration("--max-train-time", request.max_train_time)
    words = request.budget or (experiment.budget if experiment else str(preset.budget),)
    budget, *other_budgets = dict.fromkeys(map(Budget.parse, words))
    more = (request.models, request.budget, request.seeds, request.rounds, request.max_train_time, experiment, probes)
    limit = None if any(more) else preset.time_limit_s  # more than the preset is asked for: no limit
    if request.time_limit:
        limit = parse_duration("--time-limit", request.time_limit)
    named, beside = with_model_kwargs(request.models, request.model_kwargs), _classics_beside(request, probes)
    settings = Config(**{each.name: getattr(preset, each.name) for each in fields(Config)})
    as_typed = ("seeds", "test_images", "task_timeout_s", "tensorboard", "checkpoint_every_s")
    config = replace(
        settings,
        **{flag: value for flag in as_typed if (value := getattr(request, flag)) is not None},
        preset=name,
        probes=_with_forecasts(probes or preset.probes, needed=longest is not None or limit is not None),
        budget=budget,
        other_budgets=tuple(other_budgets),
        dataset=experiment.dataset if experiment and request.dataset == "auto" else request.dataset,
        batch_size=batch_size,
        train_batch_size=None if experiment else request.train_batch_size or preset.train_batch_size,
        rounds=request.rounds or (1 if dedicated else preset.rounds),
        counted=beside if request.models or experiment else preset.counted,
        fit=MemorySize.parse(request.fit) if request.fit is not None else None,
        max_train_time_s=longest,
        time_limit_s=limit,
        dedicated=dedicated,
        execution=_execution(request, kind, bf16),
        any_memory_format=request.memory_format == "auto",
    )
    return config, (*named, *beside) or (*preset.models, *preset.counted)


def _classics_beside(request: Request, probes: tuple[str, ...]) -> tuple[str, ...]:
    """Networks that `all` only counts, so that a chart shows a user's own 32x32 networks among them."""
    elsewhere = all(name.startswith(("torchvision:", "timm:")) for name in request.models)
    if probes or not request.models or not all(":" in name for name in request.models):
        return ()
    if (request.input_size is None and elsewhere) or request.input_size not in (None, "32", "3x32x32"):
        return ()
    return tuple(name for name in PRESETS["quick"].models if name.endswith("_cifar"))


def networks(patterns: Sequence[str], input_size: str | None, num_classes: int | None) -> tuple[ModelSpec, ...]:
    """The networks that names or globs mean, those from elsewhere for images of `input_size` as typed.

    Raises:
        RequestError: one means none, or the size is none.
    """
    from bench.models import UnknownModel, select

    size = parse_input_size(input_size)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # a module of a user's own may print while it is imported
            return tuple(select(patterns, size, num_classes))
    except UnknownModel as error:
        raise RequestError(str(error)) from None


def with_model_kwargs(names: Sequence[str], words: Sequence[str]) -> tuple[str, ...]:
    """The names of networks, with `(key=value,...)` behind those that are not of the registry.

    Raises:
        RequestError: a word is no `key=value`, or no network takes any.
    """
    for word in words:
        if not re.fullmatch(r"[^\W\d]\w*=.+", word):
            raise RequestError(f"--model-kwargs {word}: write key=value, such as drop_path_rate=0.1")
    if words and not any(":" in name for name in names):
        raise RequestError(
            "--model-kwargs is for networks such as timm:NAME or mine:tiny, not for those of the registry"
        )
    return tuple(f"{name}({','.join(words)})" if words and ":" in name else name for name in names)


def _with_forecasts(probes: tuple[str, ...], needed: bool) -> tuple[str, ...]:
    """The probes with the predictions of trainings, where something follows from them."""
    trained = any(PROBES[probe].trains for probe in probes)
    needed = needed and "throughput" not in probes  # which says the same, timed at more length
    forecasts = [name for name, probe in PROBES.items() if probe.when == "forecast" and trained and needed]
    return tuple(
        dict.fromkeys((*forecasts, *(probe for probe in probes if PROBES[probe].when != "forecast" or needed)))
    )


def _refuse_numbers(request: Request) -> None:
    """Check that each is within its range."""
    for field in (
        *("seeds", "num_classes", "batch_size", "train_batch_size", "test_images"),
        *("task_timeout_s", "task_memory_gib", "rounds", "threads"),
    ):
        flag, value = flag_of(field), getattr(request, field)
        if value is not None and not 0 < value < 1e9:
            raise RequestError(f"{flag} {value}: must be {'above zero' if value <= 0 else 'a number below 1e9'}")
        if field in ("seeds", "rounds") and value is not None and value > MOST_REPEATS:
            raise RequestError(f"{flag} {value}: at most {MOST_REPEATS:,}")
    if request.threads and request.threads > (cores := os.cpu_count() or 1):
        raise RequestError(f"--threads {request.threads}: this machine has {cores}")
    if not 0 <= request.checkpoint_every_s < math.inf:
        raise RequestError(
            f"--checkpoint-every-s {request.checkpoint_every_s:g}: must be a finite number, not below zero"
        )


def _refuse_conflicts(request: Request, experiment: Experiment | None) -> None:
    """Check that no flag contradicts another."""
    if experiment is not None:
        for field in ("models", "input_size", "num_classes", "model_kwargs", "train_batch_size", "recipes"):
            if getattr(request, field):
                raise RequestError(f"--recipe {request.recipe} fixes how training goes: leave out {flag_of(field)}")
    for flag, given, other, goes in (
        ("--on", request.on is not None, "--dry-run", request.dry_run),
        ("--json", request.json, "--dry-run", request.dry_run),
        ("--retry-failed", request.retry_failed, "--run, the run to resume", request.run is not None),
        ("--force", request.force, "--run, the run to resume", request.run is not None),
        ("--ray-address", request.ray_address != "auto", "--engine ray", request.engine == "ray"),
    ):
        if given and not goes:
            raise RequestError(f"{flag}: only goes with {other}")
    if request.on is not None and not request.on.strip():
        raise RequestError("--on: name a GPU, such as H100")
    if request.weights and (experiment is None or experiment.weights is None):
        known = ", ".join(name for name, known in EXPERIMENTS.items() if known.weights)
        raise RequestError(f"--weights {request.weights}: only goes with --recipe {known}")


def _execution(request: Request, kind: type[Device], bf16: bool) -> Execution:
    """What "auto" means on a kind of device."""
    fast: Precision = "bf16" if not kind.is_host and bf16 and request.recipe is None else "fp32"
    precision: Precision = request.precision if request.precision != "auto" else fast
    usual: MemoryFormat = "channels_last" if kind.channels_last else "contiguous"
    memory_format: MemoryFormat = request.memory_format if request.memory_format != "auto" else usual
    if memory_format == "channels_last" != usual:
        raise RequestError(
            f"--memory-format channels_last: PyTorch computes other gradients in it with {kind.kind}; use contiguous"
        )
    if kind.is_host and precision == "tf32":
        raise RequestError("--precision tf32: only GPUs have it; on a CPU use fp32 or bf16")
    if not kind.captures and request.cuda_graphs:
        raise RequestError("--cuda-graphs: needs --device cuda")
    compiled = request.compile or request.compile_mode != "default"
    graphs = request.cuda_graphs if kind.captures else False
    if kind.captures and request.compile_mode in ("reduce-overhead", "max-autotune"):
        if graphs:
            raise RequestError(
                f"--compile-mode {request.compile_mode} replays CUDA graphs itself: leave out --cuda-graphs"
            )
        graphs = False
    return Execution(precision, memory_format, compiled, graphs, request.compile_mode)


def parse_input_size(word: str | None) -> tuple[int, int, int] | None:
    """Read "96" or "3x96x96" as (channels, height, width); None stays None.

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
