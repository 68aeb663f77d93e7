"""Bytes moved, worked out by hand for layers small enough to do so."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.config import Execution, Task
from bench.metrics import metrics_of
from bench.models import REGISTRY, ModelSpec
from bench.probes import MEASURE
from bench.probes.counts import bytes_moved
from tests.configs import config

B = 4  # images in a batch


class Does(nn.Module):
    """A network that is one function of its images."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def elements_moved(network: nn.Module, *size: int) -> float:
    """In fp32 numbers."""
    return bytes_moved(network.to("meta").eval(), torch.empty(B, *size, device="meta")) / 4


def test_a_linear_layer_reads_images_weights_and_bias_and_writes_its_output() -> None:
    assert elements_moved(nn.Linear(10, 7), 10) == B * 10 + (10 * 7 + 7) + B * 7


def test_a_convolution() -> None:
    weights = 8 * 3 * 3 * 3 + 8
    assert elements_moved(nn.Conv2d(3, 8, 3, padding=1), 3, 6, 6) == B * 3 * 36 + weights + B * 8 * 36


def test_batch_norm_in_eval_mode_reads_four_numbers_per_channel() -> None:
    assert elements_moved(nn.BatchNorm2d(5), 5, 2, 2) == 2 * B * 20 + 4 * 5


def test_max_pooling_also_writes_where_the_maxima_were_as_64_bit_numbers() -> None:
    assert elements_moved(nn.MaxPool2d(2), 1, 4, 4) == B * 16 + B * 4 + 2 * B * 4


@pytest.mark.parametrize(
    ("function", "moved"),
    [
        (lambda x: torch.relu(x), 2 * 6),
        (lambda x: x.relu_(), 2 * 6),  # in place: read and written all the same
        (lambda x: x + x, 2 * 6),  # one input, twice
        (lambda x: x + x.relu(), 2 * 6 + 3 * 6),
        (lambda x: torch.cat((x, x.relu()), 1), 2 * 6 + 2 * 6 + 12),
        (lambda x: x.flatten(1).view(B, 3, 2).transpose(1, 2)[:, :1].expand(B, 9, 3), 0),  # views
        (lambda x: x.mean(1), 6 + 1),
        (lambda x: x + x.new_zeros(6), 6 / B + 2 * 6 + 6 / B),  # zeros are written once, without a look at x
        (lambda x: torch.empty_like(x), 0),
        (lambda x: x + torch.ones(1, device="meta").expand(6), 1 / B + 2 * 6 + 1 / B),  # one number, not six
        (lambda x: F.dropout(x, 0.5, training=False), 0),
        (lambda x: F.softmax(x, 1), 2 * 6),
    ],
)  # fmt: skip
def test_operators(function: Callable[[Tensor], Tensor], moved: float) -> None:
    assert elements_moved(Does(function), 6) == B * moved


def test_attention_is_one_kernel_that_keeps_its_scores_to_itself() -> None:
    def attend(x: Tensor) -> Tensor:
        q, k, v = x.unflatten(1, (3, 2, 5, 8)).unbind(1)  # (B, 3 x 2 heads x 5 tokens x 8) -> three of (B, 2, 5, 8)
        return F.scaled_dot_product_attention(q, k, v)

    assert elements_moved(Does(attend), 3 * 2 * 5 * 8) == B * 4 * 2 * 5 * 8


CONFIG = config("traffic", batch=B)
SPEC = ModelSpec("linear_cifar", "Own", 2024, "none", "cifar", (3, 2, 2), 7, lambda num_classes: nn.Sequential(
    nn.Flatten(), nn.Linear(12, num_classes)
))  # fmt: skip
ELEMENTS = 12 + (12 * 7 + 7) / B + 7  # of one image


def test_the_rows() -> None:
    measured = MEASURE["traffic"](Task(SPEC, CONFIG)).readings
    assert tuple(measured) == metrics_of("traffic")
    traffic, intensity = measured.values()
    assert (traffic.value, traffic.batch_size) == (4 * ELEMENTS, B)  # type: ignore[union-attr]
    assert intensity.value == pytest.approx(2 * 12 * 7 / (4 * ELEMENTS), rel=1e-12)  # type: ignore[union-attr]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_the_precision_is_half_the_traffic(precision: str) -> None:
    execution = Execution(precision, compile=True)  # type: ignore[arg-type]
    measured = MEASURE["traffic"](Task(SPEC, replace(CONFIG, execution=execution))).readings
    assert measured["traffic_bytes"].value == 2 * ELEMENTS  # type: ignore[union-attr]


def test_flattening_channels_last_images_copies_them() -> None:
    execution = Execution(memory_format="channels_last")
    measured = MEASURE["traffic"](Task(SPEC, replace(CONFIG, execution=execution))).readings
    assert measured["traffic_bytes"].value == 4 * (ELEMENTS + 2 * 12)  # type: ignore[union-attr]


def test_a_shared_network_is_left_as_it_was() -> None:
    spec = REGISTRY["resnet20_cifar"]
    MEASURE["traffic"](Task(spec, replace(CONFIG, execution=Execution("bf16"))))
    assert MEASURE["traffic"](Task(spec, CONFIG)).readings["traffic_bytes"].value > 4 * 269_722 / B  # type: ignore[union-attr]


def test_weights_weigh_less_in_a_larger_batch() -> None:
    spec = REGISTRY["vgg11_bn_cifar"]
    small, large = (
        MEASURE["traffic"](Task(spec, replace(CONFIG, batch_size={"cifar": size}))).readings["traffic_bytes"].value  # type: ignore[union-attr]
        for size in (1, 64)
    )
    weights = 4 * sum(p.numel() for p in spec.build(num_classes=10).parameters())
    running = 4 * sum(b.numel() for n, b in spec.build(num_classes=10).named_buffers() if n.endswith(("mean", "var")))
    assert small - large == pytest.approx((weights + running) * (1 - 1 / 64), rel=1e-9)
