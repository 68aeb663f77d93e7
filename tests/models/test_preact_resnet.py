"""Pre-activation: nothing follows the addition, so a stage is its input plus the sum of its branches."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models import REGISTRY
from models.layers import BNReLU, CifarStem
from models.preact_resnet import PreActBlock, PreActResNet, bottleneck_block, padded_block


def silence(block: nn.Module) -> None:
    """Let the last convolution of the branch, and with it the branch, be zero."""
    assert isinstance(block, PreActBlock)
    *_, last = (module for module in block.branch.modules() if isinstance(module, nn.Conv2d))
    nn.init.zeros_(last.weight)


def test_a_block_whose_branch_is_zero_passes_every_value() -> None:
    block, _ = padded_block(BNReLU(4), in_channels=4, width=4, stride=1)
    silence(block)
    x = torch.randn(2, 4, 5, 5)
    assert (x < 0).any()
    assert torch.equal(block.eval()(x), x)  # a ReLU after the addition would cut the negative ones


def test_a_projection_takes_the_activated_input_and_an_identity_does_not() -> None:
    activation = nn.ReLU()
    projecting, out_channels = bottleneck_block(activation, in_channels=4, width=4, stride=2)
    keeping, _ = bottleneck_block(activation, in_channels=16, width=4, stride=1)
    assert out_channels == 16
    for block in (projecting, keeping):
        silence(block)
    negative = -torch.rand(1, 4, 4, 4)
    assert not projecting.eval()(negative).any()
    negative = -torch.rand(1, 16, 4, 4)
    assert torch.equal(keeping.eval()(negative), negative)


def test_a_stage_adds_up_its_branches() -> None:
    """x_L = x_l + sum of F(x_i), Equation 4."""
    torch.manual_seed(0)
    model = PreActResNet(CifarStem, padded_block, widths=(4, 8), layers=(3, 1), num_classes=2).eval()
    branches: list[Tensor] = []
    stage = model.stages[0]
    for block in (module for module in stage.modules() if isinstance(module, PreActBlock)):
        block.branch.register_forward_hook(lambda module, args, out: branches.append(out))
    x = model.stem(torch.randn(1, 3, 8, 8))
    torch.testing.assert_close(stage(x), x + sum(branches))
    assert len(branches) == 3


def test_the_stem_activates_for_the_first_block_and_a_last_one_follows_the_last_addition() -> None:
    with torch.device("meta"):
        model = REGISTRY["preact_resnet164_cifar"].build(num_classes=10)
    blocks = [module for module in model.modules() if isinstance(module, PreActBlock)]
    assert len(blocks) == 54
    assert [isinstance(block.activation, nn.Identity) for block in blocks] == [True] + [False] * 53
    assert isinstance(model, PreActResNet)
    assert isinstance(model.stem, CifarStem)
    assert isinstance(model.last_activation, BNReLU)
