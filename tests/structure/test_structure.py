"""The structure of networks: known ones against their papers' figures, small ones written here against their code."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.models import REGISTRY, ModelSpec
from bench.probes.counting.layers import layer_products
from bench.probes.reading import Unsupported
from bench.structure import Node, Panel, Structure
from bench.structure.panels import structure


def spec_of(build: Callable[..., nn.Module], input_size: tuple[int, int, int] = (4, 8, 8)) -> ModelSpec:
    return ModelSpec("mine", "Mine", None, "", "imagenet", input_size, 10, build)


def of(module: type[nn.Module], *args: Any, input_size: tuple[int, int, int] = (4, 8, 8)) -> Structure:
    return structure(spec_of(lambda num_classes: module(*args), input_size))


def labels(panel: Panel) -> list[str]:
    return [" · ".join(node.label) for node in panel.nodes]


def read_by(panel: Panel, node: int) -> list[tuple[str, str]]:
    """What a node reads, in its order: label and kind of each edge."""
    return [(labels(panel)[edge.source], edge.kind) for edge in panel.edges if edge.target == node]


def joins(panel: Panel) -> list[int]:
    return [n for n, node in enumerate(panel.nodes) if node.kind == "join"]


def blocks(panel: Panel) -> list[Node]:
    return [node for node in panel.nodes if node.kind == "block"]


def skips(drawn: Structure) -> int:
    return sum(edge.kind == "skip" for panel in drawn.panels for edge in panel.edges)


# ---- The registry's networks --------------------------------------------------------------------------------------


def test_a_basic_block_adds_its_own_input() -> None:
    identity, projection = structure(REGISTRY["resnet18"]).panels[1:]
    assert labels(identity)[1:-1] == ["conv 3×3, 64 · BN · ReLU", "conv 3×3, 64 · BN", "+", "ReLU"]
    assert read_by(identity, 3) == [("conv 3×3, 64 · BN", "flow"), ("input", "skip")]
    shortcut = projection.nodes[3]
    assert (shortcut.label, shortcut.group) == (("conv 1×1, 128, /2", "BN"), "shortcut")
    assert read_by(projection, 3) == [("input", "flow")]
    assert read_by(projection, 4) == [("conv 3×3, 128 · BN", "flow"), ("conv 1×1, 128, /2 · BN", "flow")]
    assert (identity.count, projection.count) == (5, 3)


def test_a_shortcut_of_option_a_comes_from_the_blocks_input() -> None:
    padded = structure(REGISTRY["resnet20_cifar"]).panels[2]
    assert read_by(padded, 3) == [("input", "flow")]
    assert padded.nodes[3].label == ("[:, :, ::2, ::2]", "pad channels")
    assert padded.nodes[3].params == 0
    assert [source for source, _ in read_by(padded, 4)] == [labels(padded)[2], labels(padded)[3]]


def test_a_projection_of_preact_resnet_reads_the_activated_input() -> None:
    projection = structure(REGISTRY["preact_resnet18_cifar"]).panels[3]
    assert labels(projection)[1] == "BN · ReLU"
    assert [sources for n in joins(projection) for sources in read_by(projection, n)] == [
        ("conv 3×3, 128", "flow"),
        ("conv 1×1, 128, /2", "flow"),
    ]
    assert read_by(projection, labels(projection).index("conv 1×1, 128, /2")) == [("BN · ReLU", "flow")]


def test_deep_networks_fold_to_their_depth() -> None:
    overview = structure(REGISTRY["resnet110_cifar"]).panels[0]
    depths: dict[str, int] = {}
    for block in blocks(overview):
        depths[block.group] = depths.get(block.group, 0) + block.repeat
    assert depths == {"stages.0": 18, "stages.1": 18, "stages.2": 18}
    assert [block.label[1] for block in blocks(overview)] == ["16", "16→32, /2", "32", "32→64, /2", "64"]
    assert [block.repeat for block in blocks(overview)] == [18, 1, 17, 1, 17]


@pytest.mark.parametrize("name", ["preact_resnet164_cifar", "densenet_bc100_k12_cifar", "resnet152", "vgg19_bn"])
def test_deep_networks_stay_legible(name: str) -> None:
    drawn = structure(REGISTRY[name])
    assert len(drawn.panels) <= 4
    assert all(len(panel.nodes) <= 20 for panel in drawn.panels)


def test_a_dense_layer_concatenates_its_input_and_what_it_adds() -> None:
    overview, layer = structure(REGISTRY["densenet121"]).panels
    (join,) = joins(layer)
    assert layer.nodes[join].label == ("concat",)
    assert read_by(layer, join) == [("input", "skip"), ("BN · ReLU · conv 3×3, 32", "flow")]
    assert [block.repeat for block in blocks(overview)] == [6, 12, 24, 16]  # Table 1
    assert [block.label[1] for block in blocks(overview)] == ["64→256", "128→512", "256→1024", "512→1024"]


def test_inception_has_four_branches() -> None:
    drawn = structure(REGISTRY["googlenet"])
    overview, inception = drawn.panels
    assert len(blocks(overview)) == inception.count == 9
    (join,) = joins(inception)
    sources = [edge.source for edge in inception.edges if edge.target == join]
    assert [inception.nodes[n].group for n in sources] == ["branch1", "branch2", "branch3", "branch4"]
    first = [edge.target for edge in inception.edges if edge.source == 0]
    assert [inception.nodes[n].label[0] for n in first] == [
        "conv 1×1, 64",
        "conv 1×1, 96",
        "conv 1×1, 16",
        "max pool 3×3",
    ]
    assert skips(drawn) == 0


def test_weights_that_only_training_uses_are_named() -> None:
    drawn = structure(REGISTRY["googlenet_aux"])
    assert drawn.unused == (("aux1", 3_188_968), ("aux2", 3_191_016))


def test_a_fractal_block_joins_columns_as_figure_1_does() -> None:
    block = structure(REGISTRY["fractalnet40_cifar"]).panels[1]
    assert [len(read_by(block, n)) for n in joins(block)] == [2, 3, 2, 4]
    assert all(block.nodes[n].label == ("mean",) for n in joins(block))
    assert len([edge for edge in block.edges if edge.source == 0]) == 4


def test_fire_expands_its_squeezed_input_twice() -> None:
    fire = structure(REGISTRY["squeezenet_cifar"]).panels[1]
    assert labels(fire)[1:-1] == ["conv 1×1, 16 · ReLU", "conv 1×1, 64 · ReLU", "conv 3×3, 64 · ReLU", "concat"]
    assert read_by(fire, 4) == [("conv 1×1, 64 · ReLU", "flow"), ("conv 3×3, 64 · ReLU", "flow")]


def test_an_encoder_block_has_two_skips() -> None:
    overview, block = structure(REGISTRY["vit_tiny_cifar"]).panels
    first, second = joins(block)
    assert read_by(block, first) == [("input", "skip"), ("linear 192", "flow")]
    assert [edge.source for edge in block.edges if edge.target == second and edge.kind == "skip"] == [first]
    assert [node.group for node in block.nodes[2:5]] == ["self_attention"] * 3
    assert "attention, 3 heads" in block.nodes[3].label
    assert [b.repeat for b in blocks(overview)] == [12]
    assert ("concat class_token",) in [node.label for node in overview.nodes]
    assert ("+ pos_embedding",) in [node.label for node in overview.nodes]


def test_a_plain_network_has_no_skip_and_no_block() -> None:
    drawn = structure(REGISTRY["plain56_cifar"])
    assert len(drawn.panels) == 1
    assert skips(drawn) == 0
    convolutions = [node.repeat for node in drawn.panels[0].nodes if node.kind == "convolution"]
    assert convolutions == [1, 18, 1, 17, 1, 17]  # 6n + 1 with n = 9


LIGHTEST = {
    spec.family: spec for spec in sorted(REGISTRY.values(), key=lambda spec: -(spec.params or 0)) if spec.params
}


@pytest.mark.parametrize("family", LIGHTEST)
def test_the_boxes_add_up_to_the_network(family: str) -> None:
    """Parameters against the published count, MACs against the probe that counts without modules or boxes."""
    spec = LIGHTEST[family]
    drawn = structure(spec)
    assert sum(node.params for node in drawn.panels[0].nodes) == drawn.params == spec.params
    assert sum(node.macs for node in drawn.panels[0].nodes) == drawn.macs == layer_products(spec).macs
    assert Structure.from_json(drawn.to_json()) == drawn


# ---- Networks written here ----------------------------------------------------------------------------------------


class FunctionalSkip(nn.Module):
    """A skip around two of three convolutions, in a network without blocks; nothing but names tells them apart."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))
        self.head = nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        kept = F.relu(self.a(x))
        x = self.c(torch.tanh(self.b(kept)))
        x += kept
        return self.head(x.mean((2, 3)))


def test_a_functional_skip_of_ones_own_network() -> None:
    (panel,) = of(FunctionalSkip).panels
    assert labels(panel)[1:-1] == [
        "conv 3×3, 4 · ReLU",
        "conv 3×3, 4 · tanh",
        "conv 3×3, 4",
        "+",
        "global average pool",
        "linear 10",
    ]
    assert read_by(panel, 4) == [("conv 3×3, 4", "flow"), ("conv 3×3, 4 · ReLU", "skip")]
    assert skips(of(FunctionalSkip)) == 1


class Twice(nn.Sequential):
    def __init__(self) -> None:
        conv = nn.Conv2d(4, 4, 3, padding=1)
        super().__init__(conv, nn.MaxPool2d(2), conv)


def test_a_module_called_twice_is_two_boxes_and_one_set_of_weights() -> None:
    drawn = of(Twice)
    first, _, second = drawn.panels[0].nodes[1:-1]
    assert (first.params, first.shared) == (148, False)
    assert (second.params, second.shared) == (0, True)
    assert drawn.params == 148
    assert first.macs == 4 * second.macs == 4 * 4 * 9 * 64


class InPlace(nn.Module):
    """`x` and `y` are one tensor: the addition reads the activation twice, and nothing goes around it."""

    def forward(self, x: Tensor) -> Tensor:
        x = x * 2
        y = F.relu(x, inplace=True)
        return x + y


class DropoutSkip(nn.Module):
    """In evaluation mode `nn.Dropout` returns its argument itself; the skip is one all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(x)
        return x + self.dropout(x)


def test_what_is_written_in_place_has_no_skip() -> None:
    assert labels(of(InPlace).panels[0])[1:-1] == ["× 2 · ReLU · +"]


def test_dropout_that_drops_nothing_here_is_still_gone_around() -> None:
    (panel,) = of(DropoutSkip).panels
    assert read_by(panel, 3) == [("tanh", "skip"), ("dropout 0.3", "flow")]


class Slices(nn.Module):
    """Half of the channels are overwritten; reading the whole reads what was written into its part."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        whole = torch.zeros_like(x)
        whole[:, :2] = self.conv(x[:, :2])
        whole[:, 2:] = x[:, 2:]
        return torch.sigmoid(whole)


class ThroughAView(nn.Module):
    """The activation changes a part of `x`, which is read under its old name afterwards."""

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(x)
        x[:, :2].relu_()
        return torch.sigmoid(x)


def test_what_is_written_through_a_view_is_read_from_the_whole() -> None:
    assert labels(of(ThroughAView).panels[0])[1:-1] == ["tanh · [:, :2] · ReLU · sigmoid"]


def test_assignment_to_a_slice_joins() -> None:
    (panel,) = of(Slices).panels
    (join,) = joins(panel)
    assert read_by(panel, join) == [("[:, :2] · conv 1×1, 2 · assign [:, :2]", "flow"), ("[:, 2:]", "flow")]


class Opaque(nn.Module):
    """As a compiled module: no torch function is called where Python could see it."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        with torch._C.DisableTorchFunction():
            return x.mean((2, 3))[:, :3] * self.scale


class HasOpaque(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(Opaque())

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = super().forward(x) * 3
        return output


class Sum(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b


class Residual(nn.Module):
    def __init__(self, channels: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv, self.dropout, self.sum = nn.Conv2d(channels, channels, 1), nn.Dropout(dropout), Sum()

    def forward(self, x: Tensor) -> Tensor:
        return self.sum(self.dropout(self.conv(x)), x)


def residuals(num_classes: int) -> nn.Module:
    return nn.Sequential(Residual(4), Residual(4), nn.Conv2d(4, 8, 1), Residual(8, 0.1), Residual(8, 0.1))


def test_a_module_that_only_adds_is_part_of_the_block_that_calls_it() -> None:
    overview, block = structure(spec_of(residuals)).panels
    assert [(node.repeat, node.params) for node in overview.nodes[1:-1]] == [(2, 40), (1, 40), (2, 144)]
    assert block.title == ("Residual", "8")


def test_blocks_that_differ_in_dropout_share_a_picture_that_shows_it() -> None:
    _, block = structure(spec_of(residuals)).panels
    assert (block.count, block.path) == (4, "3")
    assert labels(block)[1:-1] == ["conv 1×1, 8 · dropout 0.1", "+"]


class Frozen(nn.Module):
    """A result that has nothing to do with the image."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = nn.Parameter(torch.zeros(1, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.answer * 2


class LooksAtValues(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.nonzero()


def test_a_network_that_cannot_run_without_data_is_declined() -> None:
    with pytest.raises(Unsupported, match="meta"):
        of(LooksAtValues)


def test_a_result_without_the_image_is_declined() -> None:
    with pytest.raises(Unsupported, match="does not depend"):
        of(Frozen)


class Logits(dict):
    """What a library of a user's own returns."""


class Wrapped(nn.Module):
    def forward(self, x: Tensor) -> Logits:
        return Logits(logits=[torch.relu(x)])


def test_results_in_a_subclass_of_dict_are_followed() -> None:
    assert labels(of(Wrapped).panels[0])[1:-1] == ["ReLU"]


def test_what_no_torch_function_shows_is_one_box() -> None:
    (panel,) = of(HasOpaque).panels
    assert labels(panel)[1:-1] == ["Opaque · × 3"]
    assert (panel.nodes[1].output_shape, panel.nodes[1].params) == ((3,), 3)


def test_a_network_is_left_as_it_was() -> None:
    network = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU())
    structure(spec_of(lambda num_classes: network))
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data.pop("panels"),
        lambda data: data["panels"].clear(),
        lambda data: data["panels"][0]["nodes"][0].update(kind="magic"),
        lambda data: data["panels"][0]["nodes"][1].update(panel=7),
        lambda data: data["panels"][0]["edges"][0].update(source=5),
        lambda data: data["panels"][0]["nodes"][0].pop("label"),
    ],
)
def test_a_broken_description_is_refused(spoil: Callable[[dict[str, Any]], object]) -> None:
    data = of(Twice).to_json()
    spoil(data)
    with pytest.raises(ValueError, match="not a network's structure"):
        Structure.from_json(data)
