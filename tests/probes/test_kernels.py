"""What a step asks of a device: kernels counted by hand for a network of four layers, and held against the MACs."""

from typing import Any

import pytest
from torch import Tensor, nn

from bench.config import Execution
from bench.models import REGISTRY, ModelSpec
from bench.probes.counting.kernels import BATCH, Kernel, count_kernels
from bench.probes.counting.layers import layer_products
from bench.training.recipes import RECIPES
from tests.own_network import own_spec


class Small(nn.Module):
    """Two convolutions of the same shape, one of them in two groups, and a linear layer."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.second = nn.Conv2d(4, 4, 3, padding=1, bias=False, groups=2)
        self.fc = nn.Linear(4, num_classes, bias=False)

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.second(self.first(x)).relu().mean((2, 3)))


SPEC = own_spec(Small, (4, 8, 8))


def counted(spec: ModelSpec, precision: str = "fp32") -> Any:
    return count_kernels(spec, RECIPES["ResNet"], Execution(precision), "cuda", "meta")  # type: ignore[arg-type]


def test_a_forward_pass_is_its_operators_with_what_they_move_and_compute() -> None:
    found = counted(SPEC).inference
    pixels = 8 * 8 * 4
    assert dict(found.calls) == {
        Kernel(2 * 9 * 4 * pixels, 2 * 4 * pixels, 4 * 9 * 4 * 4, 4): 1,
        Kernel(2 * 9 * 2 * pixels, 2 * 4 * pixels, 4 * 9 * 2 * 4, 2): 1,
        Kernel(0, 2 * 4 * pixels, 0, 0): 1,  # relu
        Kernel(0, 4 * (pixels + 4), 0, 0): 1,  # mean
        Kernel(2 * 4 * 10, 4 * (4 + 10), 4 * 4 * 10, 0): 1,
    }
    assert found.convolutions == 2


def test_a_training_step_computes_each_product_twice_more_but_for_the_gradient_of_the_images() -> None:
    found = counted(SPEC)
    first = 2 * 9 * 4 * 8 * 8 * 4
    assert found.train.flops == pytest.approx(3 * found.inference.flops - first)
    assert found.params == 9 * 4 * 4 + 9 * 2 * 4 + 40
    update = Kernel(0, 0, 5 * 4 * found.params, 0)
    assert dict(found.train.calls)[update] == 1


@pytest.mark.parametrize("name", ["resnet20_cifar", "vit_tiny_cifar"])
def test_the_networks_of_the_suite_compute_what_their_macs_say(name: str) -> None:
    found = counted(REGISTRY[name], "bf16")
    assert found.inference.flops == 2 * layer_products(REGISTRY[name]).macs
    # The backward pass of attention has no formula, and nobody wants the gradient of the images.
    assert found.train.flops == pytest.approx(3 * found.inference.flops, rel=0.04)
    assert BATCH not in {kernel.width for kernel, _ in found.train.calls}
