"""What run.json says, with every gap filled, and its networks: their written names, and who is measured apart."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.config import Execution
from bench.metrics import probe_named
from bench.records.record import Record
from bench.records.run_folder import Model, Run, Session


@dataclass(frozen=True)
class Limits:
    """What one device can do at the run's precision, as measured in the run and as its vendor states it; 0: unknown."""

    device: str  # "cpu", "cuda:0"
    precision: str
    flops_per_s: float  # of the best large matrix product or convolution
    bytes_per_s: float  # of the best large copy, bytes read and written
    vendor_flops_per_s: float  # dense
    vendor_source: str
    reason: str  # why it was not measured

    @property
    def ridge(self) -> float:
        """FLOP/byte above which the device's arithmetic, and not its memory, is the limit; 0 where that is unknown."""
        return self.flops_per_s / self.bytes_per_s if self.bytes_per_s else 0.0


@dataclass(frozen=True)
class Header:
    """run.json as text and numbers that are safe to format; anything may be empty, nothing is missing."""

    name: str
    created: str  # ISO time
    command: str
    preset: str
    budget: str
    other_budgets: tuple[str, ...]  # under which the same networks were trained too
    seeds: int | None
    execution: Execution
    environment: Mapping[str, str]
    limits: tuple[Limits, ...]  # one per device
    sessions: tuple[Session, ...]
    forced: tuple[str, ...]  # "budget 10ep (now 20ep)": differences that --force let pass when the run was resumed
    sources: Mapping[str, str]  # data set name -> one sentence: where its images came from
    own_images: frozenset[str]  # tracks whose images are the user's own: nothing is published of them
    models: tuple[Model, ...]  # in registry order

    @property
    def device(self) -> str:
        return self.environment.get("device", "") or "unknown device"

    @property
    def date(self) -> str:
        """The day of the run, "2026-01-31", or "undated"."""
        match = re.match(r"\d{4}-\d\d-\d\d", self.created)
        return match[0] if match else "undated"


def read_header(run: Run) -> Header:
    """The header of a run, with every gap filled."""
    raw = run.header
    settings = raw.settings()
    return Header(
        name=run.name,
        created=raw.created,
        command=" ".join(raw.command),
        preset=settings.get("preset", ""),
        budget=settings.get("budget", ""),
        other_budgets=tuple(settings.get("other_budgets", ())),
        seeds=settings.get("seeds"),
        execution=raw.config.execution if raw.config else Execution(),
        environment=_facts(raw.environment),
        limits=tuple(_limits(device, entry) for device, entry in raw.limits.items()),
        sessions=tuple(
            replace(session, before=_facts(session.before), after=_facts(session.after)) for session in raw.sessions
        ),
        forced=tuple(difference for forced in raw.forced for difference in forced.differences),
        sources={_text(entry.get("name")): _text(entry.get("source")) for entry in raw.image_sets.values()},
        own_images=frozenset(
            track for track, entry in raw.image_sets.items() if _text(entry.get("name")).startswith("folder-")
        ),
        models=tuple(
            replace(model, track=model.track or unlisted(model.name).track, own=model.own or ":" in model.name)
            for model in raw.models
        ),
    )


def unlisted(name: str) -> Model:
    """A network that has records but no entry in run.json: its track is read off its name."""
    track = next((track for track in ("cifar", "mnist") if name.endswith(f"_{track}")), "imagenet")
    return Model(name, track=track, listed=False)


def _limits(device: str, entry: Mapping[str, Any]) -> Limits:
    return Limits(
        device=device,
        precision=_text(entry.get("precision")),
        flops_per_s=_positive(entry.get("peak_flops_per_s")),
        bytes_per_s=_positive(entry.get("bandwidth_bytes_per_s")),
        vendor_flops_per_s=_positive(entry.get("vendor_flops_per_s")),
        vendor_source=_text(entry.get("vendor_source")),
        reason=_text(entry.get("reason")),
    )


def _facts(value: Mapping[str, Any]) -> dict[str, str]:
    """Facts as text: a list as its items, a group of facts as one fact each."""
    facts: dict[str, str] = {}
    for key, fact in value.items():
        if isinstance(fact, dict):
            facts |= {f"{key} {inner}": text for inner, text in _facts(fact).items()}
        else:
            facts[str(key)] = ", ".join(map(_text, fact)) if isinstance(fact, list) else _text(fact)
    return facts


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _positive(value: object) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
    return float(value) if number else 0.0  # type: ignore[arg-type]


# An identifier, without its track -> the name that figures and sentences use.
_WRITTEN: dict[str, str | Callable[[re.Match[str]], str]] = {
    r"(alex|google|squeeze)net": lambda m: f"{m[1].capitalize()}Net".replace("GoogleN", "GoogLeN"),
    r"zfnet": "ZFNet",
    r"nin": "NiN",
    r"cnn": "CNN",
    r"lenet(\d+)": r"LeNet-\1",
    r"vgg(\d+)": r"VGG-\1",
    r"vgg(\d+)_bn": r"VGG-\1-BN",
    r"googlenet_aux": "GoogLeNet (aux)",
    r"resnet(\d+)": r"ResNet-\1",
    r"plain(\d+)": r"Plain-\1",
    r"preact_resnet(\d+)": r"PreAct-ResNet-\1",
    r"wide_resnet(\d+)_(\d+)": r"WRN-\1-\2",
    r"resnext(\d+)_(\d+)x(\d+)d": r"ResNeXt-\1 \2×\3d",
    r"stochastic_depth_resnet(\d+)": r"ResNet-\1-SD",
    r"fractalnet(\d+)": r"FractalNet-\1",
    r"densenet(\d+)": r"DenseNet-\1",
    r"densenet(\d+)_k(\d+)": r"DenseNet-\1 (k=\2)",
    r"densenet_bc(\d+)_k(\d+)": r"DenseNet-BC-\1 (k=\2)",
    r"squeezenet(\d)_(\d)": r"SqueezeNet \1.\2",
    r"vit_(ti|s|b|l)_(\d+)": lambda m: f"ViT-{m[1].capitalize()}/{m[2]}",
    r"vit_(tiny|small)": lambda m: f"ViT-{m[1].capitalize()}",
    # torchvision's, as far as the suite has none of the same name
    r"torchvision:mobilenet_v2": "MobileNetV2",
    r"torchvision:mobilenet_v3_(small|large)": lambda m: f"MobileNetV3-{m[1].capitalize()}",
    r"torchvision:efficientnet_(b\d)": lambda m: f"EfficientNet-{m[1].upper()}",
    r"torchvision:efficientnet_v2_(s|m|l)": lambda m: f"EfficientNetV2-{m[1].upper()}",
    r"torchvision:shufflenet_v2_x(\d)_(\d)": r"ShuffleNetV2 \1.\2×",
    r"torchvision:mnasnet(\d)_(\d+)": r"MNASNet-\1.\2",
    r"torchvision:regnet_(x|y)_(\d+)(mf|gf)": lambda m: f"RegNet{m[1].upper()}-{m[2]}{m[3].upper()}",
    r"torchvision:regnet_(x|y)_(\d+)_(\d+)gf": lambda m: f"RegNet{m[1].upper()}-{m[2]}.{m[3]}GF",
    r"torchvision:convnext_(tiny|small|base|large)": lambda m: f"ConvNeXt-{m[1][0].upper()}",
    r"torchvision:swin_(t|s|b)": lambda m: f"Swin-{m[1].upper()}",
    r"torchvision:swin_v2_(t|s|b)": lambda m: f"SwinV2-{m[1].upper()}",
}


def written_name(model: Model) -> str:
    """A network's name as its papers write it, "ResNet-18" or "WRN-28-10"; else its identifier without the track.

    Reports, figures and sentences have this name; the identifier is where it may have to be typed: on the terminal, in
    files for machines, and in lists of what failed or needs a remark, which mix the tracks. What tells a network from
    itself under other conditions follows: "ResNet-18 (bf16, compiled)".
    """
    name, conditions = model.file_name.removesuffix(f"_{model.track}"), model.name.removeprefix(model.file_name)
    for pattern, written in _WRITTEN.items():
        if match := re.fullmatch(pattern, name):
            name = written(match) if callable(written) else match.expand(written)
            return f"{name} {conditions.strip()}".rstrip()
    return name + conditions


def with_written_names(text: str) -> str:
    """A text in which identifiers of the registry have become names: "VGG-19 144 M, then AlexNet 61.1 M"."""
    return re.sub(r"[a-z]\w*(?::\w+)?", lambda word: written_name(unlisted(word[0])), text)


def name_and_identifier(model: Model) -> str:
    """As "ResNet-18 (resnet18_cifar)": who reads it also learns what to type."""
    name = written_name(model)
    return name if name == model.name else f"{name} ({model.name})"


def kept_apart(models: Sequence[Model], records: Sequence[Record]) -> tuple[list[Model], list[Record]]:
    """Split each network into one for each set of conditions under which the run measured it, named by what is unlike.

    Rows that do not depend on what is unlike, such as counts, belong to all of them. What was measured under the same
    conditions stays as it is.
    """
    apart: tuple[list[Model], list[Record]] = ([], [])
    for model in models:
        own = [record for record in records if record.model == model.name]
        rows = list(zip(own, _conditions_apart(own), strict=True))
        known = list(dict.fromkeys(tuple(under.items()) for _, under in rows)) or [()]
        for each in (dict(some) for some in known if not any(set(some) < set(other) for other in known)):
            name = " ".join([model.name, *_words_of(each)])
            apart[0].append(replace(model, name=name, kept_as=model.name) if each else model)
            for row, under in rows:
                if all(each.get(field, value) == value for field, value in under.items()):
                    apart[1].append(replace(row, model=name))
    return apart


def _conditions_apart(rows: Sequence[Record]) -> list[dict[str, object]]:
    """For each row of a network, its conditions as far as measured rows of one metric and budget differ in them.

    A smaller batch where memory did not suffice is none of them: it is marked.
    """
    stated = [_stated(row) for row in rows]
    seen: dict[tuple[str, str | None], dict[str, set[object]]] = {}  # metric and budget -> condition -> its values
    for row, conditions in zip(rows, stated, strict=True):
        for field, value in conditions.items() if row.status == "ok" else ():
            seen.setdefault((row.metric, row.budget), {}).setdefault(field, set()).add(value)
    unlike = {key: {field for field in fields if len(fields[field]) > 1} for key, fields in seen.items()}
    of_all = {"hardware", "precision", "memory format", "compiled", "compile mode"} & set().union(*unlike.values())

    def matters(field: str, row: Record) -> bool:
        apart = unlike.get((row.metric, row.budget), ())
        return field in apart or (field in of_all and probe_named(row.probe).precision == "run")

    return [
        {field: value for field, value in conditions.items() if matters(field, row)}
        for row, conditions in zip(rows, stated, strict=True)
    ]


def _stated(row: Record) -> dict[str, object]:
    """The conditions of a row by name, without those that it does not have."""
    conditions = row.conditions
    stated: dict[str, object] = {
        "hardware": conditions.hardware or None,
        "precision": conditions.execution.precision,
        "memory format": conditions.execution.memory_format,
        "compiled": conditions.execution.compile,
        "compile mode": f"{conditions.execution.compile_mode} mode" if conditions.execution.compile else None,
        "CUDA graphs": conditions.execution.cuda_graphs if row.status == "ok" else None,
        "batch": row.asked_batch_size or row.batch_size,
        "predicted": row.predicted if row.status == "ok" else None,
        "images": conditions.dataset,
        "test images": conditions.test_images,
        "recipe": conditions.recipe,
    }
    return {field: value for field, value in stated.items() if value is not None}


def _words_of(conditions: Mapping[str, object]) -> list[str]:
    """What is put behind the name of a network: "on NVIDIA H200", "(bf16, not compiled, batch 64)"."""
    words = []
    for field, value in conditions.items():
        if isinstance(value, bool):
            words.append(field if value else f"not {field}" if field != "CUDA graphs" else f"no {field}")
        elif isinstance(value, int):
            words.append(f"batch {value}" if field == "batch" else f"{value} {field}")
        elif field != "hardware":
            words.append(str(value))
    hardware = [f"on {conditions['hardware']}"] if "hardware" in conditions else []
    return [*hardware, f"({', '.join(words)})"] if words else hardware
