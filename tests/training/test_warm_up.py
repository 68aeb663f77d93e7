"""One-time costs leave no trace, and what cannot be a CUDA graph is told from what can."""

import random
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.config import Execution
from bench.device.execution import arithmetic, for_training
from bench.models import REGISTRY
from bench.training import randomness
from bench.training.loop import warmed_up
from bench.training.recipes import Recipe, recipe_for
from bench.training.step import TrainingStep, make_optimizer
from tests.training.toy import CPU, drawing, images, network

ADAM = Recipe("adam", 1e-2, 0.0, 16, "a test")
SGD = Recipe("sgd", 0.1, 1e-4, 16, "a test", clip_norm=1.0)


def step_of(net: nn.Module, recipe: Recipe, execution: Execution = Execution()) -> TrainingStep:
    net = for_training(net, execution, next(net.parameters()).device)
    return TrainingStep(net, make_optimizer(recipe, net.parameters(), 0.01), recipe, execution, 2)


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(16, 1, 8, 8, generator=generator), torch.arange(16) % 2


@pytest.mark.parametrize("recipe", [SGD, ADAM], ids=["sgd", "adam"])
def test_training_after_a_warm_up_is_training_without_one(recipe: Recipe) -> None:
    def trained(warm: bool) -> list[Tensor]:
        step = step_of(drawing(), recipe)
        if warm:
            warmed_up(step, images(), 16, Execution())
        step.network.train()
        step.set_rate(0.01)
        for _ in range(3):
            step(*batch())
        return list(step.network.state_dict().values())

    assert all(map(torch.equal, trained(True), trained(False)))


def test_every_generator_is_put_back() -> None:
    step = step_of(drawing(), SGD)
    # numpy's own functions, as a network might use them: half of a pair of normals stays behind, which is state too.
    np.random.standard_normal()  # noqa: NPY002
    torch_before, python_before = torch.get_rng_state(), random.getstate()
    numpy_before = np.random.get_state()  # noqa: NPY002
    with randomness.preserved(CPU):
        warmed_up(step, images(), 16, Execution())
        np.random.standard_normal(3)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert random.getstate() == python_before
    for was, now in zip(numpy_before, np.random.get_state(), strict=True):  # noqa: NPY002
        np.testing.assert_array_equal(was, now)


def test_a_seed_is_one_of_every_generator() -> None:
    def drawn(number: int) -> tuple[float, float, float]:
        with randomness.preserved(CPU):
            randomness.seed(number)
            return torch.rand(1).item(), random.random(), np.random.random()  # noqa: NPY002

    assert drawn(1) == drawn(1)
    assert all(first != second for first, second in zip(drawn(1), drawn(2), strict=True))


@pytest.mark.parametrize(
    "draw",
    [partial(torch.rand, 1), random.random, np.random.random],
    ids=["torch", "python", "numpy"],
)
def test_draws_on_the_host_are_noticed(draw: Callable[[], object]) -> None:
    assert randomness.draws_on_the_host(draw)


def test_what_a_generator_of_its_own_draws_is_no_draw_of_the_network() -> None:
    assert not randomness.draws_on_the_host(partial(torch.rand, 1, generator=torch.Generator()))


def test_on_a_cpu_there_is_no_graph_and_nothing_to_say() -> None:
    warm = warmed_up(step_of(network(), SGD), images(), 16, Execution())
    assert not warm.cuda_graphs
    assert warm.note == ""
    assert warm.seconds > 0


def test_blocks_left_out_of_the_first_step_train_later() -> None:
    """The kernel that updates all weights at once refuses momenta of which some are missing."""
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    optimizer = make_optimizer(SGD, [*first.parameters(), *second.parameters()], 0.1)
    x = torch.ones(1, 2)
    first(x).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    before = second.weight.detach().clone()
    (first(x) + second(x)).sum().backward()
    optimizer.step()
    torch.testing.assert_close(second.weight, before - 0.1 * (1 + 1e-4 * before))


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize(
    ("name", "captured"),
    [
        ("lenet5_cifar", True),  # Adam
        ("resnet20_cifar", True),  # SGD
        ("vit_tiny_cifar", True),  # AdamW, clipped
        ("fractalnet20_cifar", True),  # draws on the device
        ("stochastic_depth_resnet110_cifar", False),  # draws on the host
    ],
)
def test_a_replayed_step_trains_as_the_step_itself(name: str, captured: bool, precision: str) -> None:
    device = torch.device("cuda:0")
    spec = REGISTRY[name]
    generator = torch.Generator(device).manual_seed(0)
    x = torch.randn(32, *spec.input_size, device=device, generator=generator).to(memory_format=torch.channels_last)
    labels = torch.arange(32, device=device) % 10

    def losses(graphs: bool) -> tuple[list[float], bool, str]:
        execution = Execution(precision, "channels_last", cuda_graphs=None if graphs else False)  # type: ignore[arg-type]
        torch.manual_seed(0)
        net = for_training(spec.build(num_classes=10), execution, device)
        recipe = recipe_for(spec.family)
        step = TrainingStep(net, make_optimizer(recipe, net.parameters(), 0.01), recipe, execution, 2)
        toy = images(device)
        images_of_its_size = type(toy)(toy.image_set, toy.train, toy.test, spec.input_size)
        warm = warmed_up(step, images_of_its_size, 32, execution)
        step.network.train()
        torch.manual_seed(1)
        taken = []
        for number in range(6):
            step.set_rate(0.001 * number)
            taken.append(warm.step(x, labels))
        return torch.stack(taken).tolist(), warm.cuda_graphs, warm.note

    with arithmetic(precision):  # type: ignore[arg-type]
        (eager, no_graph, _), (replayed, graph, note) = losses(False), losses(True)
    assert (no_graph, graph) == (False, captured)
    assert captured or "draws random numbers on the host" in note
    if name != "fractalnet20_cifar":  # a graph takes other numbers from the device's generator
        torch.testing.assert_close(replayed, eager, rtol=0.05, atol=0.02)
    assert replayed[-1] != replayed[0]


@pytest.mark.gpu
@pytest.mark.parametrize("recipe", [SGD, ADAM], ids=["sgd", "adam"])
def test_steps_never_wait_for_the_device(recipe: Recipe) -> None:
    device = torch.device("cuda:0")
    execution = Execution("bf16", "channels_last", cuda_graphs=None)
    step = step_of(network().to(device), recipe, execution)
    warm = warmed_up(step, images(device), 16, execution)
    x, labels = (tensor.to(device) for tensor in batch())
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for number in range(4):
            step.set_rate(0.001 * number)
            warm.step(x, labels)
            step(x, labels)
    finally:
        torch.cuda.set_sync_debug_mode("default")
