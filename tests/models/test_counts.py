"""Parameters, multiply-accumulates and output shapes of every network against what others published.

Everything runs on the meta device: shapes without numbers. MACs are counted by PyTorch's own
`FlopCounterMode`, which shares no code with this project's probes.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import get_model_weights, list_models

from models import REGISTRY

# Exact multiply-accumulates of convolution and linear layers for one image.
# Repositories: the networks of that commit were built and counted; recorded with their sources.
KUANGLIU = "kuangliu/pytorch-cifar@49b7aa9"
AKAMASTER = "akamaster/pytorch_resnet_cifar10@d5489e8"
BEARPAW = "bearpaw/pytorch-classification@24f1c45"
OSMR = "osmr/pytorchcv@7f31dc8"
BY_HAND = "by hand from the paper's text"
PUBLISHED_MACS = (
    ("lenet5_mnist", 416_520, "by hand: 117,600 + 240,000 + 48,000 + 10,080 + 840"),
    ("lenet5_cifar", 651_720, KUANGLIU),
    ("alexnet_cifar", 14_957_056, BEARPAW),
    ("nin_cifar", 222_486_528, OSMR),
    ("vgg11_bn_cifar", 152_769_536, KUANGLIU),
    ("vgg16_bn_cifar", 313_201_664, KUANGLIU),
    ("vgg19_bn_cifar", 398_136_320, KUANGLIU),
    ("googlenet_cifar", 1_521_756_160, KUANGLIU),
    ("resnet20_cifar", 40_551_040, AKAMASTER),
    ("resnet32_cifar", 68_862_592, AKAMASTER),
    ("resnet56_cifar", 125_485_696, AKAMASTER),
    ("resnet110_cifar", 252_887_680, AKAMASTER),
    ("resnet18_cifar", 555_422_720, KUANGLIU),
    ("resnet34_cifar", 1_159_402_496, KUANGLIU),
    ("resnet50_cifar", 1_297_829_888, KUANGLIU),
    ("resnet101_cifar", 2_509_983_744, KUANGLIU),
    ("resnet152_cifar", 3_722_137_600, KUANGLIU),
    # ResNet-18 and -34 without their three projections, 64 * 128 * 28 * 28 = 6,422,528 each
    ("plain18", 1_814_073_344 - 3 * 6_422_528, BY_HAND),
    ("plain34", 3_663_761_408 - 3 * 6_422_528, BY_HAND),
    ("plain20_cifar", 40_551_040, "as ResNet-20, whose shortcuts multiply nothing: " + AKAMASTER),
    ("plain56_cifar", 125_485_696, "facebookresearch/pycls@5719de6, V-56: 125,485,706 with 10 biases"),
    ("preact_resnet18_cifar", 555_422_720, KUANGLIU),
    # Theirs has two 1x1 projections that the paper has not, 16 * 32 * 16 * 16 = 32 * 64 * 8 * 8 each.
    ("preact_resnet110_cifar", 253_149_824 - 131_072 - 131_072, BEARPAW),
    ("preact_resnet164_cifar", 247_646_720, BEARPAW),
    ("preact_resnet1001_cifar", 1_490_995_712, BEARPAW),
    ("wide_resnet16_4_cifar", 392_612_352, BEARPAW),
    ("wide_resnet28_10_cifar", 5_243_328_768, BEARPAW),
    ("wide_resnet40_4_cifar", 1_298_582_016, BEARPAW),
    ("resnext29_8x64d_cifar", 5_387_266_048, BEARPAW),
    ("resnext29_32x4d_cifar", 774_055_936, OSMR),
    ("stochastic_depth_resnet110_cifar", 252_887_680, "as ResNet-110: " + AKAMASTER),
    ("fractalnet20_cifar", 845_222_912, OSMR),
    ("densenet40_k12_cifar", 264_812_928, BY_HAND),
    ("densenet100_k12_cifar", 1_769_516_448, BY_HAND),
    ("densenet_bc100_k12_cifar", 287_929_692, BEARPAW),
    ("densenet_bc250_k24_cifar", 5_418_785_724, BEARPAW),
)

IN_TORCHVISION = sorted(set(REGISTRY) & set(list_models(module=torchvision.models)))


def build_on_meta(name: str, num_classes: int) -> nn.Module:
    with torch.device("meta"):
        return REGISTRY[name].build(num_classes=num_classes).eval()


@cache
def count(name: str) -> tuple[int, int]:
    """Parameters, and multiply-accumulates of one image in eval mode."""
    spec = REGISTRY[name]
    model = build_on_meta(name, spec.num_classes)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.empty(1, *spec.input_size, device="meta"))
    return sum(p.numel() for p in model.parameters()), counter.get_total_flops() // 2


@pytest.mark.parametrize("name", REGISTRY)
def test_parameters_are_the_published_ones(name: str) -> None:
    assert count(name)[0] == REGISTRY[name].params


@pytest.mark.parametrize("name", {spec.family: name for name, spec in REGISTRY.items()}.values())
def test_any_number_of_classes_comes_out(name: str) -> None:
    """Of one network of each family, whose rows are arguments of the same code."""
    model = build_on_meta(name, num_classes=7)
    with torch.no_grad():
        logits = model(torch.empty(2, *REGISTRY[name].input_size, device="meta"))
    assert logits.shape == (2, 7)


@pytest.mark.parametrize("name", IN_TORCHVISION)
def test_counts_are_those_of_torchvisions_weights(name: str) -> None:
    meta = next(iter(get_model_weights(name))).meta
    params, macs = count(name)
    assert params == meta["num_params"]
    assert macs / 1e9 == pytest.approx(meta["_ops"], abs=0.000_501)  # published with three decimals


@pytest.mark.parametrize(("name", "macs", "source"), PUBLISHED_MACS, ids=[row[0] for row in PUBLISHED_MACS])
def test_macs_are_the_published_ones(name: str, macs: int, source: str) -> None:
    assert count(name)[1] == macs, source


@pytest.mark.parametrize(
    ("pre_activation", "post_activation"),
    [("preact_resnet50", "resnet50"), ("preact_resnet152", "resnet152")],
)
def test_moving_the_activations_moves_no_product(pre_activation: str, post_activation: str) -> None:
    assert count(pre_activation)[1] == count(post_activation)[1]
