"""torchvision's networks as the oracle: the same weights must give the same outputs and the same gradients.

Both lists of parameters (and of buffers) are in the order in which the layers work, so theirs are handed over
in that order, one after the other. The order and every shape are compared for all networks; the numbers for all
but the longer, wider, grouped or coarser rows of a network that is compared (VGG-13 to -19 and those without batch
norm, ResNet-34, -101 and -152, Wide ResNet, ResNeXt, DenseNet-169, ViT-B/32, ViT-L): the code is the same, and
their counts are compared in test_counts.py.
"""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import get_model_builder, list_models

from models import REGISTRY

TORCHVISION_ARGUMENTS: dict[str, dict[str, bool]] = {
    # Without them it warns that its slow default initialisation will change.
    "googlenet": {"aux_logits": False, "init_weights": False},
    "googlenet_aux": {"aux_logits": True, "init_weights": False},
}
IN_TORCHVISION = [
    name for name in REGISTRY if name in list_models(module=torchvision.models) or name in TORCHVISION_ARGUMENTS
]
COMPARED_IN_NUMBERS = (
    "alexnet",
    "vgg11_bn",
    "googlenet",
    "googlenet_aux",
    "resnet18",
    "resnet50",
    "densenet121",
    "squeezenet1_0",
    "squeezenet1_1",
    "vit_b_16",
)


def build_both(name: str, **arguments: int) -> tuple[nn.Module, nn.Module]:
    """torchvision's network and ours on the meta device: no time is spent on initial values."""
    builder = get_model_builder(name.removesuffix("_aux"))
    with torch.device("meta"):
        reference = builder(weights=None, **TORCHVISION_ARGUMENTS.get(name, {}), **arguments)
        return reference, REGISTRY[name].build(**{"num_classes": 1000, **arguments})


@pytest.mark.parametrize("name", IN_TORCHVISION)
def test_every_parameter_and_buffer_has_its_counterpart(name: str) -> None:
    reference, network = build_both(name)
    assert [tuple(p.shape) for p in network.parameters()] == [tuple(p.shape) for p in reference.parameters()]
    assert [tuple(b.shape) for b in network.buffers()] == [tuple(b.shape) for b in reference.buffers()]


def randomise(model: nn.Module) -> None:
    """Values that keep the signal's size and that no mix-up of two tensors would survive."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:  # biases, and the scales of norms
                parameter.uniform_(-0.5, 1.5)
            else:
                parameter.normal_(std=(2 / parameter[0].numel()) ** 0.5)
        for buffer in model.buffers():
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 1.5)  # a running mean or variance
            else:
                buffer.zero_()


def hand_over(reference: nn.Module, network: nn.Module) -> None:
    """Parameters in order, shared (they are large), and buffers in order, copied (training writes them)."""
    parameters = zip(network.named_parameters(), reference.parameters(), strict=True)
    buffers = zip(network.named_buffers(), reference.buffers(), strict=True)
    tensors = {name: theirs.detach() for (name, _), theirs in parameters}
    tensors |= {name: theirs.clone() for (name, _), theirs in buffers}
    network.load_state_dict(tensors, assign=True)


def without_dropout(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def outputs(model: nn.Module, images: Tensor) -> tuple[Tensor, ...]:
    out = model(images)
    return out if isinstance(out, tuple) else (out,)


def run(model: nn.Module, images: Tensor) -> list[Tensor]:
    """Outputs in eval mode, then in training mode, gradients of the latter, and the buffers that it left."""
    with torch.no_grad():
        results = [*outputs(model.eval(), images)]
    trained = outputs(model.train(), images)
    generator = torch.Generator().manual_seed(1)
    sum((out * torch.randn(out.shape, generator=generator, dtype=out.dtype)).sum() for out in trained).backward()  # type: ignore[union-attr]
    results += [out.detach() for out in trained]
    for parameter in model.parameters():
        assert parameter.grad is not None
        results.append(parameter.grad)
    return results + list(model.buffers())


@pytest.mark.parametrize("name", COMPARED_IN_NUMBERS)
def test_the_same_weights_give_the_same_numbers(name: str) -> None:
    torch.manual_seed(0)
    size = 64
    reference, network = build_both(name, **({"image_size": size} if name.startswith("vit") else {}))
    # In double precision these (VGG, ViT) would take gigabytes.
    large = sum(p.numel() for p in reference.parameters()) > 80e6
    dtype, tolerance = (torch.float32, 1e-4) if large else (torch.float64, 1e-9)
    reference.to(dtype).to_empty(device="cpu")
    randomise(reference)
    hand_over(reference, network)
    images = torch.randn(2, 3, size, size, dtype=dtype)

    results = run(without_dropout(network), images)
    for result, expected in zip(results, run(without_dropout(reference), images), strict=True):
        scale = max(expected.abs().max().item(), 1e-12)
        torch.testing.assert_close(result, expected, rtol=0, atol=tolerance * scale)


def test_the_largest_vision_transformer_has_torchvisions_heads() -> None:
    # Neither shapes nor counts depend on the number of heads.
    reference, network = build_both("vit_l_16")
    heads = [m.num_heads for m in reference.modules() if isinstance(m, nn.MultiheadAttention)]
    assert heads == [16] * 24
    assert [m.num_heads for m in network.modules() if hasattr(m, "num_heads")] == heads
