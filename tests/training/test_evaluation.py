"""Testing a network, and what is done to batch norm before."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from bench.config import Execution
from bench.device.execution import for_training
from bench.training.evaluation import (
    SETTLING_BATCHES,
    Confusion,
    confusions,
    evaluate,
    predicted_classes,
    settle_batch_norm,
)
from tests.training.toy import images


def test_evaluation_counts_right_answers() -> None:
    class BrightBelow(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            bright = x[:, :, 4:].mean((1, 2, 3)) > x[:, :, :4].mean((1, 2, 3)) + 0.5
            return torch.stack([~bright, bright], 1).float()

    assert evaluate(BrightBelow(), images()) == 1.0


def test_predictions_are_in_the_order_of_the_images() -> None:
    class BrighterOfTwoPixels(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, 0, 0, :2]

    data = images()
    found = predicted_classes(BrighterOfTwoPixels(), data)
    assert found.tolist() == data.test.images[:, 0, 0, :2].argmax(1).tolist()
    assert 0 < found.sum() < len(found)


def test_a_test_that_does_not_fit_into_memory_goes_on_with_half_the_batch() -> None:
    sizes = list[int]()

    class Hungry(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            sizes.append(len(x))
            if len(x) > 13:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 PiB")
            return x[:, 0, 0, :2]

    data = images()
    expected = data.test.images[:, 0, 0, :2].argmax(1)
    assert predicted_classes(Hungry(), data).tolist() == expected.tolist()
    halved = sizes.copy()
    assert halved[:3] == [50, 25, 12]
    assert predicted_classes(Hungry(), data).tolist() == expected.tolist()
    assert sizes[len(halved) :] == halved[2:]  # later tests need not find out again


def test_confusions_count_pairs() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    taken_for = torch.tensor([0, 2, 2, 1, 0, 2])
    assert confusions(labels, taken_for) == (
        Confusion(0, 0, 1),
        Confusion(0, 2, 2),
        Confusion(1, 0, 1),
        Confusion(1, 1, 1),
        Confusion(2, 2, 1),
    )


def test_batch_norm_is_settled_to_the_mean_over_training_batches() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.BatchNorm1d(4, momentum=0.25))
    batches = [(torch.randn(32, 1, 2, 2) + shift, torch.zeros(32)) for shift in range(SETTLING_BATCHES + 3)]
    settle_batch_norm(net, iter(batches))
    norm = net[2]
    assert isinstance(norm, nn.BatchNorm1d)
    used = torch.stack([x.flatten(1) for x, _ in batches[:SETTLING_BATCHES]])  # as tested: nothing is dropped
    torch.testing.assert_close(norm.running_mean, used.mean(1).mean(0))
    torch.testing.assert_close(norm.running_var, used.var(1).mean(0))
    assert norm.momentum == 0.25
    assert not net[0].training


def test_a_compiled_network_is_trained_compiled_and_tested_as_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []

    def compiler(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> torch.fx.GraphModule:
        compiled.append(str(graph.graph))
        return graph

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=compiler))
    layers = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 2))
    net = for_training(layers, Execution(compile=True), torch.device("cpu"))
    data = images()
    pixels = data.train.images.float()
    settle_batch_norm(net, iter([(pixels, data.train.labels)] * SETTLING_BATCHES), Execution(compile=True))
    evaluate(net, data, Execution(compile=True))
    assert not compiled
    net.train()
    net(pixels)
    assert len(compiled) == 1
