"""torchvision's and timm's networks have the parameters and MACs that their libraries publish.

All of torchvision's, at the sizes at which their weights were evaluated: the lightest here, the others under
`-m perf`. Of timm's, a sample of those that are light, drawn once; its table says parameters only in a way that can be
compared, as its operations leave out attention and have normalisation in them.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torchvision import models

from bench.models import select
from bench.probes.counting.layers import layer_products

LIGHTEST = 25
# Parameters that a network has and its published figure has not, and why.
NOT_IN_THE_FIGURE = {
    "googlenet": 6_379_984,  # the two auxiliary heads, which a fresh network has and the published weights do without
}

# Parameters in millions: results/benchmark-infer-amp-nchw-pt240-cu124-rtx3090.csv of timm's repository (7479d451).
TIMM = {
    "crossvit_9_dagger_240": 8.78,
    "dla46_c": 1.30,
    "efficientnet_b0": 5.29,
    "efficientnet_b0_gn": 5.29,
    "eva02_tiny_patch14_224": 5.50 + 0.193,  # published without a head, which is 193,000 parameters
    "fbnetv3_b": 8.60,
    "ghostnet_050": 2.59,
    "ghostnet_100": 5.18,
    "gmixer_12_224": 12.70,
    "lcnet_035": 1.64,
    "mixer_s32_224": 19.10,
    "mnasnet_small": 2.03,
    "mobilenet_edgetpu_v2_xs": 4.46,
    "mobilenetv1_100": 4.23,
    "mobilenetv3_large_075": 3.99,
    "mobilevitv2_050": 1.37,
    "nf_regnet_b0": 8.76,
    "regnety_002": 3.16,
    "repvit_m1": 5.49,
    "resmlp_12_224": 15.35,
    "resnetblur18": 11.69,
    "rexnet_100": 4.80,
    "skresnet18": 11.96,
    "tiny_vit_5m_224": 12.08,
    "tinynet_d": 2.34,
}


def published() -> list[Any]:
    """Every network with each size at which it was evaluated; those beyond the lightest are marked."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for name in models.list_models(module=models):
        weights: Any = models.get_model_weights(name)
        for each in weights:
            found.setdefault((name, each.transforms().crop_size[0]), each.meta)
    lightest = sorted(found, key=lambda key: found[key]["_ops"])
    return [
        pytest.param(*key, found[key], id=f"{key[0]}-{key[1]}", marks=[pytest.mark.perf] if place >= LIGHTEST else [])
        for place, key in enumerate(lightest)
    ]


@pytest.mark.filterwarnings("ignore:The default weight initialization of")
@pytest.mark.parametrize(("name", "side", "meta"), published())
def test_torchvisions_figures_are_found(name: str, side: int, meta: dict[str, Any]) -> None:
    (spec,) = select([f"torchvision:{name}"], (3, side, side))
    found = layer_products(spec)
    assert found.params - NOT_IN_THE_FIGURE.get(name, 0) == meta["num_params"]
    assert round(found.macs / 1e9, 3) == pytest.approx(meta["_ops"], abs=0.00051)  # rounded by torchvision
    assert (found.flags, found.on_cpu) == ((), "")


def test_a_network_is_built_for_the_images_that_its_weights_take() -> None:
    (spec,) = select(["torchvision:vit_h_14"])
    assert spec.input_size == (3, 518, 518)
    with torch.device("meta"):
        assert spec.build(num_classes=10).image_size == 518


@pytest.mark.parametrize(("name", "millions"), TIMM.items())
def test_timms_figures_are_found(name: str, millions: float) -> None:
    pytest.importorskip("timm")
    (spec,) = select([f"timm:{name}"])
    found = layer_products(spec)
    assert found.params / 1e6 == pytest.approx(millions, abs=0.00501)  # rounded by timm
    assert found.macs > 1e6
    assert (found.flags, found.on_cpu) == ((), "")
