"""LeNet-5 against the layer shapes that lectures write beside it."""

import pytest
import torch
from torch import Tensor, nn

from models import REGISTRY
from models.lenet import LeNet5

# conv, pool, conv, pool, linear, linear, linear, worked out by hand: 32 - 5 + 1 = 28, 28 / 2 = 14, ...
HAND_WORKED = [(6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5), (120,), (84,), (10,)]


def shapes_of_layers(network: nn.Sequential, x: Tensor) -> list[tuple[int, ...]]:
    """Output shapes, without the batch, of the layers that change the shape."""
    shapes = []
    for layer in network:
        x = layer(x)
        if isinstance(layer, nn.Conv2d | nn.AvgPool2d | nn.MaxPool2d | nn.Linear):
            shapes.append(tuple(x.shape[1:]))
    return shapes


@pytest.mark.parametrize(("name", "channels"), [("lenet5_mnist", 1), ("lenet5_cifar", 3)])
def test_layers_have_the_hand_worked_shapes(name: str, channels: int) -> None:
    network = REGISTRY[name].build(num_classes=10)
    assert isinstance(network, LeNet5)
    assert shapes_of_layers(network, torch.zeros(2, channels, 32, 32)) == HAND_WORKED


def test_canonical_network_is_tanh_with_average_pooling() -> None:
    kinds = [type(layer) for layer in REGISTRY["lenet5_mnist"].build(num_classes=10).modules()]
    assert kinds.count(nn.Tanh) == 4
    assert kinds.count(nn.AvgPool2d) == 2
    assert nn.ReLU not in kinds


def test_activation_and_pooling_can_be_chosen() -> None:
    """The hand-worked activation memory of the ReLU and max-pool variant: 49,088 bytes per image and 4 more."""
    network = LeNet5(in_channels=1, num_classes=10, activation=nn.ReLU, pool=nn.MaxPool2d)
    assert sum(p.numel() for p in network.parameters()) == 61_706
    parameters = {p.untyped_storage().data_ptr() for p in network.parameters()}
    for batch_size in (1, 8):
        saved: dict[int, int] = {}

        def keep(tensor: Tensor, saved: dict[int, int] = saved) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in parameters:
                saved[storage.data_ptr()] = storage.nbytes()
            return tensor

        images = torch.randn(batch_size, 1, 32, 32)
        labels = torch.zeros(batch_size, dtype=torch.long)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = nn.functional.cross_entropy(network(images), labels)
        assert sum(saved.values()) == 49_088 * batch_size + 4
        loss.backward()


def test_first_layer_computes_the_convolution_by_hand() -> None:
    network = LeNet5(in_channels=1, num_classes=10)
    convolution = network[0]
    assert isinstance(convolution, nn.Conv2d)
    assert convolution.bias is not None
    image = torch.randn(1, 1, 32, 32)
    window = image[0, 0, 3:8, 4:9]
    by_hand = (window * convolution.weight[2, 0]).sum() + convolution.bias[2]
    torch.testing.assert_close(convolution(image)[0, 2, 3, 4], by_hand)
