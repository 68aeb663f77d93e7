"""The training loop on a task that can be learned in a second: it does what a recipe says.

One-time costs leave no trace, and what cannot be a CUDA graph is told from what can.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.config import Budget, Execution, MemoryFormat
from bench.device import accelerator
from bench.device.execution import arithmetic, for_training
from bench.models import REGISTRY
from bench.training import randomness, schedule
from bench.training.evaluation import Images
from bench.training.loop import Trainee, warmed_up
from bench.training.recipes import Recipe, recipe_for
from bench.training.schedule import Diverged
from bench.training.step import TrainingStep, make_optimizer
from tests.emulated import at_work
from tests.training.toy import CPU, drawing, images, network

RECIPE = Recipe("sgd", 0.1, 0.0, 16, "a test", clip_norm=1.0)


def test_it_learns_and_reports_what_it_spent() -> None:
    outcome = Trainee(network(), RECIPE, images(), 16).train(Budget.parse("16ep"), forward_flops=1e3, seed=0)
    assert outcome.top1 > 0.9
    assert outcome.tested == 64
    assert outcome.spent.images == 16 * 64
    assert outcome.spent.epochs == 16
    assert outcome.spent.flops == 3e3 * 16 * 64
    assert outcome.spent.seconds > 0
    assert outcome.final_loss < outcome.curve[0].train_loss


def test_the_curve_has_a_tested_point_per_epoch_and_ends_with_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "CURVE_TEST_SHARE", 0.35)  # as many test as training images: once an epoch
    outcome = Trainee(network(), RECIPE, images(), 16).train(Budget.parse("5ep"), 1e3, seed=0)
    tested = [point for point in outcome.curve if point.test_top1 is not None]
    assert [point.epoch for point in tested] == [1, 2, 3, 4, 5]
    assert tested[-1].test_top1 == outcome.top1
    assert [p.images for p in outcome.curve] == sorted({p.images for p in outcome.curve})
    assert outcome.curve[-1].images == outcome.spent.images


@pytest.mark.parametrize("budget", ["2ep", "0.2kimg", "0.000000001pflop"])
def test_same_seed_same_result_bit_for_bit(budget: str) -> None:
    outcomes = [Trainee(network(), RECIPE, images(), 16).train(Budget.parse(budget), 1e3, seed=7) for _ in range(2)]
    assert outcomes[0].final_loss == outcomes[1].final_loss
    assert outcomes[0].top1 == outcomes[1].top1
    other = Trainee(network(), RECIPE, images(), 16).train(Budget.parse(budget), 1e3, seed=8)
    assert other.final_loss != outcomes[0].final_loss


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_a_network_that_draws_is_repeated_bit_for_bit(memory_format: MemoryFormat) -> None:
    execution = Execution(memory_format=memory_format)

    def trained(seed: int) -> tuple[list[Tensor], list[float]]:
        net = for_training(drawing(seed), execution, CPU)
        outcome = Trainee(net, RECIPE, images(), 16, execution).train(Budget.parse("5ep"), 1e3, seed)
        return [p.detach() for p in net.parameters()], [point.train_loss for point in outcome.curve]

    (weights, losses), (again, losses_again), (other, _) = trained(1), trained(1), trained(2)
    assert losses == losses_again
    assert all(map(torch.equal, weights, again))
    assert not any(map(torch.equal, weights, other))


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The learning rates that steps are given."""
    given: list[float] = []
    set_rate = TrainingStep.set_rate

    def noted(step: TrainingStep, rate: float) -> None:
        given.append(rate)
        set_rate(step, rate)

    monkeypatch.setattr(TrainingStep, "set_rate", noted)
    return given


@pytest.mark.parametrize(
    ("word", "last"),
    [("6ep", 0.01), ("0.4kimg", 0.01), ("0.0000000012pflop", 0.01), ("1s", 0.1)],  # a last step may take any time
)
def test_every_budget_ends_with_a_finished_schedule(word: str, last: float, rates: list[float]) -> None:
    outcome = Trainee(network(), RECIPE, images(), 16).train(Budget.parse(word), 1e3, seed=0)
    del rates[0]  # the warm-up's
    assert len(rates) == outcome.spent.images / 16
    assert 0 < rates[-1] < last * RECIPE.peak_rate
    assert max(rates) > 0.9 * RECIPE.peak_rate


def test_warm_up_leaves_no_trace() -> None:
    """With a rate of zero nothing may change but the statistics of batch norm, and no random state."""
    still = replace(RECIPE, peak_rate=0.0)
    net = network()
    before = {name: value.clone() for name, value in net.named_parameters()}
    state = torch.get_rng_state()
    Trainee(net, still, images(), 16).train(Budget.parse("0.016kimg"), 1e3, seed=0)
    assert all(torch.equal(value, before[name]) for name, value in net.named_parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_loss_that_is_no_number_is_said() -> None:
    wild = replace(RECIPE, peak_rate=1e30, clip_norm=None)
    with pytest.raises(Diverged, match=r"^the training loss was (inf|nan) after \d+ images$"):
        Trainee(network(), wild, images(), 16).train(Budget.parse("20ep"), 1e3, seed=0)


@pytest.mark.gpu
@pytest.mark.parametrize("budget", ["3ep", "1s"])
def test_it_learns_on_a_gpu(budget: str) -> None:
    device = torch.device("cuda:0")
    outcome = Trainee(network().to(device), RECIPE, images(device), 16).train(Budget.parse(budget), 1e3, seed=0)
    assert outcome.top1 > 0.8


def test_an_accelerator_takes_nothing_from_a_view_that_is_larger_than_what_it_is_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """MPS copies such a view first; that of all lines of CIFAR-10's images has 43 GiB."""
    taken = Tensor.index_select

    def select(self: Tensor, dim: int, index: Tensor) -> Tensor:
        assert self.nbytes <= self.untyped_storage().nbytes()
        return taken(self, dim, index)

    monkeypatch.setattr(Tensor, "index_select", select)
    with at_work():
        outcome = Trainee(network(), RECIPE, images(), 16).train(Budget.parse("1ep"), 1e3, seed=0)
    assert outcome.spent.images == 64


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
    with accelerator.named("cuda:0").waiting_is_an_error():
        for number in range(4):
            step.set_rate(0.001 * number)
            warm.step(x, labels)
            step(x, labels)


class Keeps(nn.Sequential):
    """Its last output, with its history."""

    def forward(self, x: Tensor) -> Tensor:
        self.last: Tensor = super().forward(x)
        return self.last


@pytest.mark.gpu
def test_a_network_that_keeps_its_last_output_is_recorded_too() -> None:
    device = torch.device("cuda:0")
    net = Keeps(*network()).to(device)  # type: ignore[misc]
    warm = warmed_up(step_of(net, SGD), images(device), 16, Execution(cuda_graphs=None))
    assert warm.cuda_graphs, warm.note
    x, labels = (tensor.to(device) for tensor in batch())
    assert torch.isfinite(warm.step(x, labels))


AS_IT_IS = Recipe("sgd", 0.1, 0.0, 16, "a test", crop_padding=0, flip=False)


def trained(recipe: Recipe, budget: str, on: Images | None = None) -> tuple[nn.Module, list[int]]:
    """The network, and after how many images its curve has points."""
    net = network()
    outcome = Trainee(net, recipe, on or images(), recipe.batch_size).train(Budget.parse(budget), 1e3, seed=0)
    return net, [point.images for point in outcome.curve]


def test_a_constant_rate_without_warm_up_is_the_same_in_every_step(rates: list[float]) -> None:
    trained(replace(AS_IT_IS, schedule="constant", warmup=0.0), "2ep")
    assert rates[-8:] == [0.1] * 8
    assert all(rate < 1e-5 for rate in rates[:-8])  # one-time costs are paid before


def test_points_of_the_curve_come_as_often_as_the_recipe_says() -> None:
    many = images(count=640)  # 40 steps: a twentieth is 2
    _, usual = trained(AS_IT_IS, "1ep", many)
    _, often = trained(replace(AS_IT_IS, curve_every=7), "1ep", many)
    assert usual == [32 * n for n in range(1, 21)]
    assert often == sorted({*usual, *(112 * n for n in range(1, 6))})


@pytest.mark.parametrize("settled", [True, False])
def test_statistics_are_those_of_training_unless_they_are_settled(settled: bool) -> None:
    still = replace(AS_IT_IS, peak_rate=0.0, settle_batch_norm=settled)
    net, _ = trained(still, "1ep")
    norm = net[2]  # type: ignore[index]
    steps = norm.num_batches_tracked.item()
    assert steps == (8 if settled else 4)  # the batches of settling, or the steps of one epoch


def test_without_crops_and_flips_every_image_is_seen_as_it_is() -> None:
    """Four epochs over 16 images show those, and the random ones on which one-time costs are paid."""
    seen: set[tuple[float, ...]] = set()

    class Watching(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                seen.update(map(tuple, x.flatten(1).tolist()))
            return super().forward(x)

    few = images(count=16)
    torch.manual_seed(0)
    net = Watching(nn.Flatten(), nn.Linear(64, 2))
    Trainee(net, AS_IT_IS, few, 16).train(Budget.parse("4ep"), 1e3, seed=0)
    assert len(seen) == 16 + 16
