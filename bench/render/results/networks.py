"""The networks of a run: their written names, and which are measured apart."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from bench.metrics import probe_named
from bench.records.record import Record
from bench.records.run_folder import Model

IMAGENET = "imagenet"  # the track whose networks are not trained here


def with_track(model: Model) -> Model:
    """A network of run.json; of an old one, its name says of which track it is, and whether it is a user's own."""
    return replace(model, track=model.track or unlisted(model.name).track, own=model.own or ":" in model.name)


def unlisted(name: str) -> Model:
    """A network that has records but no entry in run.json: its track is read off its name."""
    track = next((track for track in ("cifar", "mnist") if name.endswith(f"_{track}")), IMAGENET)
    return Model(name, track=track, listed=False)


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
    """As "ResNet-18 (resnet18_cifar)": it also says what to type."""
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
    unknown = ("budget",) if row.status == "ok" else ("budget", "CUDA graphs", "predicted")
    named = {**row.conditions.named, "batch size": row.asked_batch_size or row.batch_size}
    return {name: value for name, value in named.items() if value is not None and name not in unknown}


def _words_of(conditions: Mapping[str, object]) -> list[str]:
    """What is put behind the name of a network: "on NVIDIA H200", "(bf16, not compiled, batch 64)"."""
    words = []
    for field, value in conditions.items():
        if isinstance(value, bool):
            words.append(field if value else f"not {field}" if field != "CUDA graphs" else f"no {field}")
        elif isinstance(value, int):
            words.append(f"batch {value}" if field == "batch size" else f"{value} {field}")
        elif field == "compile mode":
            words.append(f"{value} mode")
        elif field != "hardware":
            words.append(str(value))
    hardware = [f"on {conditions['hardware']}"] if "hardware" in conditions else []
    return [*hardware, f"({', '.join(words)})"] if words else hardware
