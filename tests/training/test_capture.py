"""Whether a training step can be a graph is found out before it is recorded; a failed capture ends the process."""

import random
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from bench.config import Execution, Inputs, Task
from bench.device.execution import CannotCapture, CaptureFailed, captured
from bench.models import REGISTRY
from bench.runner import execute as runner
from bench.runner.execute import execute
from bench.runner.request import Request, resolve
from bench.training.loop import warmed_up
from bench.training.randomness import decides_on_the_host
from tests.emulated import at_work
from tests.probes.test_accuracy import CONFIG, SPEC, image_set
from tests.training.test_loop import SGD, network, step_of
from tests.training.toy import images

GRAPHS = Execution(cuda_graphs=None)


class LooksAtNumbers(nn.Linear):
    """As a network does that masks, sorts out or breaks off by what it has computed."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return super().forward(x if x.abs().max().item() > 0 else -x)


def weights(net: nn.Module) -> list[Tensor]:
    return [each.detach().clone() for each in net.state_dict().values()]


def test_a_step_that_waits_for_the_device_is_never_recorded() -> None:
    with at_work() as device:
        device.capture = not_to_be_called  # type: ignore[method-assign,assignment]
        net = LooksAtNumbers(64, 2)
        before = weights(net)
        warm = warmed_up(step_of(net, SGD), images(), 16, GRAPHS)
        assert not warm.cuda_graphs
        assert "no CUDA graph: its step makes the host wait for the device" in warm.note
        for was, now in zip(before, weights(net), strict=True):
            torch.testing.assert_close(was, now, rtol=0, atol=0)
        x, labels = torch.randn(16, 1, 8, 8), torch.zeros(16, dtype=torch.int64)
        assert torch.isfinite(warm.step(x, labels))  # and it trains on
        assert not device.broken


class DecidesOnItsOwn(nn.Linear):
    """By a generator that is nobody else's."""

    own = random.Random(0)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1)) * (0.5 + self.own.random())


def test_a_step_that_differs_each_time_is_never_recorded() -> None:
    with at_work() as device:
        device.capture = not_to_be_called  # type: ignore[method-assign,assignment]
        warm = warmed_up(step_of(DecidesOnItsOwn(64, 2), SGD), images(), 16, GRAPHS)
        assert (warm.cuda_graphs, warm.note) == (
            False,
            "no CUDA graph: the network decides on the host what a step does",
        )
        own = replace(REGISTRY["lenet5_mnist"], name="own_mnist", input_size=(1, 8, 8), num_classes=2)
        own = replace(own, build=lambda num_classes: DecidesOnItsOwn(64, 2))
        outcome = execute(replace(task(), spec=own, config=replace(task().config, execution=GRAPHS)), "emulated:0")
    notes = {row.metric: row.note for row in outcome.records}
    assert "decides on the host" in notes["replayed_latency_ms"]
    assert outcome.records[0].value


def test_a_step_with_operators_of_functions_is_looked_at_as_any_other() -> None:
    x = torch.ones(4)

    def step() -> None:
        torch.cond(x.sum() > 0, torch.sin, torch.cos, (x,))

    step()
    assert not decides_on_the_host(step)


class RefusesToBeWatched(nn.Module):
    """As operators do that know no dispatch mode."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(64, 2)

    def forward(self, x: Tensor) -> Tensor:
        watched = [mode for mode in _get_current_dispatch_mode_stack() if type(mode).__name__ == "_Asked"]
        if watched:
            raise NotImplementedError("There was no rule registered")
        return self.fc(x.flatten(1))


def test_a_step_that_cannot_be_watched_is_never_recorded_and_trains_on() -> None:
    with at_work() as device:
        device.capture = not_to_be_called  # type: ignore[method-assign,assignment]
        warm = warmed_up(step_of(RefusesToBeWatched(), SGD), images(), 16, GRAPHS)
        assert not warm.cuda_graphs
        assert "its step cannot be watched (NotImplementedError: There was no rule registered)" in warm.note
        x, labels = torch.randn(16, 1, 8, 8), torch.zeros(16, dtype=torch.int64)
        assert torch.isfinite(warm.step(x, labels))


def not_to_be_called(work: object, warm_up: object) -> None:
    warm_up()  # type: ignore[operator]
    raise AssertionError("it was recorded")


def test_no_step_is_taken_but_where_it_is_recorded() -> None:
    """What a network keeps of its first one, such as an output with its history, would bring along another stream."""
    taken, net = list[bool](), network()
    net.register_forward_hook(lambda *_: taken.append(True))
    with at_work() as device:
        capture = device.capture

        def watched(work: Callable[[], Tensor], warm_up: Callable[[], object]) -> tuple[Tensor, Callable[[], None]]:
            assert not taken
            return capture(work, warm_up)

        device.capture = watched  # type: ignore[method-assign,assignment]
        assert warmed_up(step_of(net, SGD), images(), 16, GRAPHS).cuda_graphs
    assert taken


def test_what_can_be_recorded_is_replayed_with_the_same_result() -> None:
    x, labels = torch.randn(16, 1, 8, 8), torch.randint(2, (16,))
    trained = []
    for execution in (GRAPHS, Execution(cuda_graphs=False)):
        with at_work():
            torch.manual_seed(0)
            net = network()
            warm = warmed_up(step_of(net, SGD), images(), 16, execution)
            assert warm.cuda_graphs == (execution is GRAPHS), warm.note
            for _ in range(3):
                warm.step(x, labels)
            trained.append(weights(net))
    for replayed, eager in zip(*trained, strict=True):
        torch.testing.assert_close(replayed, eager)


def test_a_failed_capture_is_an_error_that_no_handler_of_ordinary_ones_stops() -> None:
    with at_work("capture") as device:
        with pytest.raises(CaptureFailed, match="previous error during capture"):
            captured(device, lambda: torch.ones(2) + 1)
        with pytest.raises(RuntimeError, match="still being captured"):  # what would have met the training
            torch.ones(2) + 1
    assert not issubclass(CaptureFailed, Exception)


def test_what_a_graph_reads_and_writes_stays_as_long_as_the_graph() -> None:
    def capture(work, warm_up):  # type: ignore[no-untyped-def]
        warm_up()
        return work(), lambda: None  # as of CUDA: a graph that knows addresses, and nobody who holds what lies there

    with at_work() as device:
        device.capture = capture  # type: ignore[method-assign]
        net, x = nn.Linear(4, 2), torch.ones(3, 4)
        alive = [weakref.ref(net.weight), weakref.ref(x)]
        replay = captured(device, torch.no_grad()(partial(net, x)))
        del net, x
        assert all(ref() is not None for ref in alive)
        del replay
        assert not any(ref() is not None for ref in alive)


def test_a_step_that_fails_before_it_is_recorded_fails_as_any_step() -> None:
    def out_of_memory() -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with at_work() as device, pytest.raises(torch.OutOfMemoryError):
        captured(device, out_of_memory)
    with at_work() as device, pytest.raises(CannotCapture):
        captured(device, lambda: torch.ones(2) * torch.ones(2).sum().item())


def task(device: str = "emulated:0") -> Task:
    config, _ = resolve(Request(batch_size=2, precision="fp32", cuda_graphs=True), (), "cuda")
    config = replace(config, measure_seconds=0.01, inference_only=True)
    return Task(REGISTRY["lenet5_mnist"], config, ("latency",), device=device)


def test_after_a_failed_capture_what_is_left_is_for_a_fresh_process_without_graphs() -> None:
    with at_work("capture"):
        outcome = execute(task(), "emulated:0")
    assert outcome.records == ()
    assert outcome.failed  # no other task may have this process
    assert outcome.again is not None
    assert (outcome.again.config.execution.cuda_graphs, outcome.again.probes) == (False, ("latency",))
    with at_work("capture"):  # another process
        outcome = execute(outcome.again, "emulated:0")
    assert outcome.again is None
    *eager, replay = outcome.records
    assert {(row.status, row.cuda_graphs) for row in eager} == {("ok", False)}
    assert (replay.metric, replay.status) == ("replayed_latency_ms", "skipped")
    assert "no CUDA graph: its capture failed (operation failed due to a previous error" in outcome.records[0].note


def test_a_training_whose_capture_fails_leaves_its_process_whatever_cleaning_up_raises(tmp_path: Path) -> None:
    config = replace(CONFIG, execution=Execution(cuda_graphs=None))
    training = Task(SPEC, config, ("accuracy",), Inputs(image_sets={"cifar": image_set(tmp_path)}))
    with at_work("capture"):
        outcome = execute(training, "emulated:0")
    assert (outcome.records, outcome.failed) == ((), True)
    assert outcome.again is not None
    assert outcome.again.without_graphs == "operation failed due to a previous error during capture"


def test_what_is_left_of_a_task_ends_the_task_for_who_follows_the_run() -> None:
    asked = replace(task(), probes=("throughput", "latency"))
    left = replace(asked, probes=("latency",), without_graphs="it failed")

    given: list[list[str]] = []

    def work(execute, tasks, timeout_s, on_start, stop, needs_device):  # type: ignore[no-untyped-def]
        given.append([each.without_graphs for each in tasks])
        for each in tasks:
            on_start(each, "emulated:0")
            yield each, runner.Outcome((), again=None if each.without_graphs else left)

    run, executor, seen = MagicMock(), SimpleNamespace(run=work), list[str]()
    runner.run_tasks(
        run, [asked], executor, None, lambda task, _: seen.append(task.label), lambda task, _: seen.append(task.label)
    )
    assert seen == [asked.label] * 3  # begun twice
    assert given == [[""], ["it failed"]]  # the second time in processes that are new
