"""Counts, saved bytes and bytes moved, against networks and layers that were worked out by hand."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.config import Execution, Task
from bench.metrics import metrics_of
from bench.models import REGISTRY, ModelSpec
from bench.probes import MEASURE
from bench.probes.counting.layers import products, saved_tensors
from bench.probes.counts import DRAWS, bytes_moved
from bench.probes.reading import Reading
from models.lenet import LeNet5
from tests.configs import config
from tests.own_network import own_spec


def reading_of(probe: str, spec: ModelSpec, metric: str | None = None) -> Reading:
    reading = MEASURE[probe](Task(spec, config())).readings[metric or probe]
    assert isinstance(reading, Reading)
    return reading


def measured(probe: str, spec: ModelSpec, metric: str | None = None) -> float:
    return reading_of(probe, spec, metric).value


def test_saved_bytes_of_lenet5_are_those_worked_out_by_hand() -> None:
    """LeNet-5 with ReLU and max-pooling on 1x32x32, cross-entropy: op by op.

    input 4,096; ReLU outputs 18,816 + 6,400 + 480 + 336; pool indices (int64) 9,408 + 3,200; pool outputs
    4,704 + 1,600; log-softmax 40 and label 8.
    """
    build = partial(LeNet5, in_channels=1, activation=nn.ReLU, pool=nn.MaxPool2d)
    by_hand = 4_096 + 18_816 + 6_400 + 480 + 336 + 9_408 + 3_200 + 4_704 + 1_600 + 40 + 8
    assert measured("saved_activation_bytes", own_spec(build, (1, 32, 32))) == by_hand == 49_088
    network = partial(LeNet5, in_channels=3, activation=nn.ReLU, pool=nn.MaxPool2d)
    assert measured("saved_activation_bytes", own_spec(network, (3, 32, 32))) == 57_280


def test_the_part_that_does_not_grow_with_the_batch_is_left_out() -> None:
    """LeNet-5 keeps 49,088 bytes an image and 4 bytes (the loss's total weight) once."""
    with torch.device("meta"):
        network = LeNet5(in_channels=1, activation=nn.ReLU, pool=nn.MaxPool2d, num_classes=10)
    for batch_size in (1, 2, 8):
        saved = sum(call.saved for call in saved_tensors(network, (1, 32, 32), 10, batch_size, seed=0).calls)
        assert saved == 49_088 * batch_size + 4


def test_blocks_dropped_at_random_are_averaged_over_draws() -> None:
    class Coin(nn.Module):
        """Keeps its convolution in half of all training steps."""

        def __init__(self, num_classes: int) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 1)
            self.fc = nn.Linear(3, num_classes)

        def forward(self, x: Tensor) -> Tensor:
            if self.training and torch.rand(()).item() < 0.5:
                x = x + self.conv(x)[:, :3]
            return self.fc(x.mean((2, 3)))

    spec = own_spec(Coin, (3, 8, 8))
    reading = reading_of("saved_activation_bytes", spec)
    kept, dropped = 3 * 64 * 4 + 3 * 4 + 48, 3 * 4 + 48
    assert len(reading.samples) == DRAWS
    assert set(reading.samples) == {kept, dropped}
    assert reading.value == sum(reading.samples) / DRAWS
    assert "at random" in reading.note


def test_macs_of_lenet5_are_those_worked_out_by_hand() -> None:
    # 28*28*6*25 + 10*10*16*150 + 400*120 + 120*84 + 84*10
    spec = REGISTRY["lenet5_mnist"]
    assert measured("macs", spec) == 117_600 + 240_000 + 48_000 + 10_080 + 840
    assert measured("macs", spec, "flops") == 2 * 416_520
    assert measured("activations", spec) == 4_704 + 1_600 + 120 + 84 + 10


class Attention(nn.Module):
    """One attention layer in one of the ways people write it, between two linear ones; 16 tokens of 32 features."""

    def __init__(self, kind: str, num_classes: int) -> None:
        super().__init__()
        self.kind = kind
        self.embed = nn.Linear(3 * 16, 32)
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)
        self.encoder = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        self.head = nn.Linear(32, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).reshape(len(x), 16, 48))
        if self.kind == "module":
            tokens = self.attention(tokens, tokens, tokens, need_weights=False)[0]
        elif self.kind == "module with weights":
            tokens = self.attention(tokens, tokens, tokens)[0]
        elif self.kind == "encoder":
            tokens = self.encoder(tokens)
        else:
            q = tokens.view(len(x), 16, 4, 8).transpose(1, 2)
            tokens = nn.functional.scaled_dot_product_attention(q, q, q).transpose(1, 2).flatten(2)
        return self.head(tokens.mean(1))


PRODUCTS = 2 * 16 * 16 * 32  # scores and weighted sum, all heads together
PROJECTIONS = 4 * 16 * 32 * 32  # query, key, value, output


@pytest.mark.parametrize(
    ("kind", "inside"),
    [
        ("function", PRODUCTS),
        ("module", PRODUCTS + PROJECTIONS),
        ("module with weights", PRODUCTS + PROJECTIONS),
        ("encoder", PRODUCTS + PROJECTIONS + 2 * 16 * 32 * 64),
    ],
)
@pytest.mark.parametrize("probe", ["macs", "macs_fvcore"])
def test_attention_products_are_counted_however_they_are_written(probe: str, kind: str, inside: int) -> None:
    spec = own_spec(partial(Attention, kind), (3, 16, 16))
    assert measured(probe, spec) == 16 * 48 * 32 + inside + 32 * 10
    assert torch.backends.mha.get_fastpath_enabled()  # left as it was found


def test_fvcore_agrees_on_a_network_with_every_kind_of_layer() -> None:
    for name in ("resnet20_cifar", "lenet5_cifar", "squeezenet_cifar", "vit_tiny_cifar"):
        assert measured("macs_fvcore", REGISTRY[name]) == measured("macs", REGISTRY[name])


def test_shared_weights_count_once_and_buffers_and_frozen_weights_not_at_all() -> None:
    class Shared(nn.Module):
        def __init__(self, num_classes: int) -> None:
            super().__init__()
            self.first = nn.Linear(12, 12, bias=False)
            self.second = nn.Linear(12, 12, bias=False)
            self.second.weight = self.first.weight
            self.frozen = nn.Linear(12, 12, bias=False).requires_grad_(False)
            self.register_buffer("table", torch.zeros(5))
            self.head = nn.Linear(12, num_classes)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.frozen(self.second(self.first(x.flatten(1)))))

    spec = own_spec(Shared, (3, 2, 2))
    assert measured("params", spec) == 12 * 12 + 12 * 10 + 10
    with torch.device("meta"):
        calls = products(Shared(10), (3, 2, 2)).calls
    assert sum(call.params for call in calls) == 12 * 12 + 12 * 10 + 10
    assert sum(call.macs for call in calls) == 3 * 12 * 12 + 12 * 10


def test_a_network_that_needs_larger_images_says_so() -> None:
    def large(num_classes: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, num_classes, 96), nn.Flatten())

    assert measured("macs", own_spec(large, (3, 96, 96))) == 3 * 96 * 96 * 10
    with pytest.raises(RuntimeError, match="input size"):
        MEASURE["macs"](Task(own_spec(large, (3, 32, 32)), config()))


VIT_B_16 = 17_563_828_224  # torchvision's `_ops`; 16.87 G without the two attention products


def test_vit_b_16_counts_its_attention() -> None:
    assert measured("macs", REGISTRY["vit_b_16"]) == VIT_B_16


@pytest.mark.gpu
def test_vit_b_16_counts_the_same_where_a_gpu_would_run_it() -> None:
    """Fused attention kernels hide products from counters; the probe counts on the meta device whatever runs it."""
    assert MEASURE["macs"](Task(REGISTRY["vit_b_16"], config(), device="cuda:0")).readings["macs"].value == VIT_B_16  # type: ignore[union-attr]


def test_where_fvcore_disagrees_the_row_says_why() -> None:
    class Baddbmm(nn.Module):
        """A product that fvcore has no formula for."""

        def __init__(self, num_classes: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1, 3, num_classes))

        def forward(self, x: Tensor) -> Tensor:
            features = x.mean((2, 3)).unsqueeze(0)
            return torch.baddbmm(torch.zeros(1, 1, 1, device=x.device), features, self.weight)[0]

    spec = own_spec(Baddbmm, (3, 8, 8))
    assert measured("macs", spec) == 30
    reading = reading_of("macs_fvcore", spec)
    assert reading.value == 0
    assert "the dispatcher counts 30" in reading.note
    assert "aten::baddbmm" in reading.note


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
SPEC = own_spec(lambda num_classes: nn.Sequential(nn.Flatten(), nn.Linear(12, num_classes)), (3, 2, 2))
ELEMENTS = 12 + (12 * 10 + 10) / B + 10  # of one image


def test_the_rows() -> None:
    measured = MEASURE["traffic"](Task(SPEC, CONFIG)).readings
    assert tuple(measured) == metrics_of("traffic")
    traffic, intensity = measured.values()
    assert (traffic.value, traffic.batch_size) == (4 * ELEMENTS, B)  # type: ignore[union-attr]
    assert intensity.value == pytest.approx(2 * 12 * 10 / (4 * ELEMENTS), rel=1e-12)  # type: ignore[union-attr]


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
