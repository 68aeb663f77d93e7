"""What networks are called where people read of them; files and commands have their identifiers."""

from __future__ import annotations

import re
from collections.abc import Callable

from bench.render.results.header import Model

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

    What tells it from itself under other conditions follows: "ResNet-18 (bf16, compiled)".
    """
    name, conditions = model.file_name.removesuffix(f"_{model.track}"), model.name.removeprefix(model.file_name)
    for pattern, written in _WRITTEN.items():
        if match := re.fullmatch(pattern, name):
            name = written(match) if callable(written) else match.expand(written)
            return f"{name} {conditions.strip()}".rstrip()
    return name + conditions


def name_and_identifier(model: Model) -> str:
    """As "ResNet-18 (resnet18_cifar)": who reads it also learns what to type."""
    name = written_name(model)
    return name if name == model.name else f"{name} ({model.name})"
