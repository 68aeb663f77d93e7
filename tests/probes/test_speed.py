"""Throughput, latency and the best batch of networks whose time and appetite are known because they are planted."""

import random
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from operator import itemgetter
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from bench.config import Config, Execution, MemoryFormat, Precision, Task
from bench.device import accelerator
from bench.device.execution import arithmetic, for_inference, is_out_of_memory, release_memory, with_batch_that_fits
from bench.device.timing import Laps, Timing, device_seconds, steady_samples
from bench.engines import Crash
from bench.models import REGISTRY, ModelSpec
from bench.probes import MEASURE, speed, steps
from bench.probes.reading import Answer, Reading, Unsupported
from bench.probes.speed import sweep
from bench.probes.steps import MakeStep, inference_step, training_step
from bench.runner.execute import crashed, execute
from bench.training.step import make_optimizer
from tests.clock import Time
from tests.configs import config
from tests.emulated import at_work
from tests.emulated.allocator import Allocator
from tests.emulated.device import SLOWNESS, Emulated, Plan
from tests.emulated.queue import LENGTH, Queue
from tests.own_network import own_spec

CONFIG = config(batch=8, measure_seconds=0.2)


class Clock(Time):
    """Time that passes, with noise, only where a planted network lets it pass: nothing else shows in it."""

    noise = random.Random(0)

    def spend(self, seconds: float) -> None:
        super().spend(seconds * self.noise.lognormvariate(0, 0.02))


CLOCK = Clock()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(Clock, "noise", random.Random(0))  # the same whatever tests come before
    monkeypatch.setattr(speed, "steady_samples", partial(steady_samples, clock=CLOCK))
    monkeypatch.setattr(speed, "Laps", partial(Laps, clock=CLOCK))
    return CLOCK


class SlowBackward(torch.autograd.Function):
    """The identity, whose backward pass takes its time."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, seconds: float) -> Tensor:
        ctx.seconds = seconds
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        CLOCK.spend(ctx.seconds)
        return gradient, None


class Planted(nn.Module):
    """A network whose passes take their time, that gives out at a batch size, or that computes nonsense."""

    def __init__(
        self,
        num_classes: int,
        seconds: float = 0.0,
        limit: int | None = None,
        value: float = 1.0,
        backward_seconds: float = 0.0,
    ) -> None:
        super().__init__()
        self.fc = nn.Linear(3, num_classes)
        self.seconds = seconds
        self.limit = limit
        self.value = value
        self.backward_seconds = backward_seconds

    def forward(self, x: Tensor) -> Tensor:
        CLOCK.spend(self.seconds)
        if self.limit is not None and len(x) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 PiB")
        output: Tensor = SlowBackward.apply(self.fc(x.mean((2, 3))) * self.value, self.backward_seconds)
        return output


def planted(**what: float | None) -> ModelSpec:
    build: Callable[..., nn.Module] = partial(Planted, **what)  # type: ignore[arg-type]
    return own_spec(build)


def reading(probe: str, metric: str, spec: ModelSpec, config: Config = CONFIG) -> Reading:
    found = MEASURE[probe](Task(spec, config)).readings[metric]
    assert isinstance(found, Reading)
    return found


def test_a_step_of_known_length_is_reported_within_one_percent(clock: Clock) -> None:
    rate = reading("throughput", "inference_images_per_s", planted(seconds=0.01))
    assert rate.value == pytest.approx(8 / 0.01, rel=0.01)
    lag = reading("latency", "latency_ms", planted(seconds=0.02))
    assert lag.value == pytest.approx(20, rel=0.01)
    assert len(lag.samples) >= 100
    p95, p99 = (reading("latency", f"latency_p{n}_ms", planted(seconds=0.02)) for n in (95, 99))
    assert lag.value < p95.value < p99.value < 20 * 1.08


@pytest.mark.parametrize(("rounds", "samples", "laps"), [(1, 5, 5), (2, 3, 1)])
def test_of_a_slow_step_a_round_among_others_takes_fewer_samples(
    clock: Clock, rounds: int, samples: int, laps: int
) -> None:
    slow = planted(seconds=1.0)
    config = replace(CONFIG, rounds=rounds)
    assert len(reading("throughput", "inference_images_per_s", slow, config).samples) == samples
    rate = reading("throughput", "train_images_per_s", slow, config)
    assert len(rate.samples) == samples
    assert rate.flags == ()
    assert len(reading("throughput", "train_forward_ms", slow, config).samples) == laps
    best = reading("best_batch", "best_inference_images_per_s", planted(seconds=1.0, limit=8), config)
    assert len(best.samples) == 5  # which is measured once


def test_no_step_is_taken_but_to_warm_up_and_for_samples(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the output is finite, the last sample says."""
    monkeypatch.setattr(Clock, "spend", Time.spend)  # without noise
    task = Task(planted(seconds=1.0), CONFIG)
    step, start = inference_step(task, 8), clock()
    samples = speed._steps(step, task).seconds
    assert clock() - start == pytest.approx(1 + 2 + 5)
    assert len(samples) == 5


def test_the_parts_of_a_training_step_are_told_apart_and_add_up_to_it(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow_optimizer(*args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        optimizer = make_optimizer(*args, **kwargs)
        optimizer.register_step_pre_hook(lambda *_: clock.spend(0.005))
        return optimizer

    monkeypatch.setattr(steps, "make_optimizer", slow_optimizer)
    found = MEASURE["throughput"](Task(planted(seconds=0.01, backward_seconds=0.02), CONFIG)).readings
    values = {name: reading.value for name, reading in found.items() if isinstance(reading, Reading)}
    parts = [values[f"train_{part}_ms"] for part in ("forward", "backward", "optimizer")]
    assert parts == pytest.approx([10, 20, 5], rel=0.03)
    assert sum(parts) == pytest.approx(1e3 * 8 / values["train_images_per_s"], rel=0.02)


class Compiler:
    """torch.compile, with an error of its own in what it makes."""

    def __init__(self, error: float, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error = error
        self.modes: set[str] = set()
        self._eager = False
        monkeypatch.setattr(torch, "compile", self.compile)
        monkeypatch.setattr(steps, "as_written", self.as_written)

    def compile(self, forward: Callable[[Tensor], Tensor], mode: str) -> Callable[[Tensor], Tensor]:
        self.modes.add(mode)
        return lambda x: forward(x) * (1 if self._eager else 1 + self.error)

    @contextmanager
    def as_written(self) -> Iterator[None]:
        self._eager = True
        yield
        self._eager = False


@pytest.mark.parametrize(
    ("precision", "error", "failed"), [("fp32", 1e-2, True), ("bf16", 1e-2, False), ("bf16", 0.3, True)]
)
def test_a_compiled_network_that_computes_something_else_fails_whatever_its_speed(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, precision: Precision, error: float, failed: bool
) -> None:
    compiler = Compiler(error, monkeypatch)
    execution = Execution(precision, compile=True, compile_mode="max-autotune")
    for probe in ("throughput", "latency"):
        task = Task(planted(seconds=0.01), replace(CONFIG, execution=execution), (probe,))
        rows = [row for row in execute(task, "cpu").records if row.status != "skipped"]
        assert {row.status for row in rows} == {"failed" if failed else "ok"}
        assert {row.compile_mode for row in rows} == {"max-autotune"}
        assert not failed or all("torch.compile changes what the network computes" in row.note for row in rows)
    assert compiler.modes == {"max-autotune"}


def test_a_network_that_draws_random_numbers_is_not_held_against_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    Compiler(1.0, monkeypatch)
    steps.check_compiled(lambda: torch.randn(4, 10), Execution(compile=True))
    network = Compiler(1.0, monkeypatch).compile(lambda x: x, "default")
    with pytest.raises(ValueError, match=r"logits are 1 of their norm from the eager ones, where fp32 allows 0\.001"):
        steps.check_compiled(lambda: network(torch.ones(4, 10)), Execution(compile=True))


def test_a_compiled_network_is_checked_in_the_memory_of_one_pass() -> None:
    held = weakref.WeakSet[Tensor]()  # what the passes keep for their gradients

    def keep(made: Tensor) -> tuple[Tensor]:
        held.add(copy := made.clone())
        return (copy,)

    def forward() -> Tensor:
        assert not held, "a pass before this one is still kept"
        with torch.autograd.graph.saved_tensors_hooks(keep, itemgetter(0)):
            return torch.ones(4, 10, requires_grad=True).exp()

    steps.check_compiled(forward, Execution(compile=True))


def test_what_a_process_compiled_before_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[torch.Size] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        compiled.extend(each.shape for each in inputs if isinstance(each, Tensor) and each.dim() == 4)
        return graph.forward

    made = torch.compile
    monkeypatch.setattr(torch, "compile", lambda forward, mode: made(forward, backend=backend))
    for batch_size in (8, 16, 32):  # the second would be compiled for any size, and serve for the third
        network = for_inference(Pooled(), Execution(compile=True), torch.device("cpu"))
        network(torch.ones(batch_size, 3, 8, 8))
    assert compiled == [(8, 3, 8, 8), (16, 3, 8, 8), (32, 3, 8, 8)]


def test_what_was_compiled_is_gone_once_memory_is_released(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[weakref.ref[Tensor]] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        pool = torch.ones(1)  # as the memory of a graph that is replayed
        kept.append(weakref.ref(pool))
        return lambda *inputs: (graph.forward(*inputs), pool)[0]

    made = torch.compile
    monkeypatch.setattr(torch, "compile", lambda forward, mode: made(forward, backend=backend))
    for_inference(Pooled(), Execution(compile=True), torch.device("cpu"))(torch.ones(8, 3, 8, 8))
    release_memory()
    assert [ref() for ref in kept] == [None]


class Pooled(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 10))


class Watched(Planted):
    """Tells how cuDNN was to choose its kernels in each pass."""

    seen: ClassVar[set[tuple[bool, bool]]] = set()

    def forward(self, x: Tensor) -> Tensor:
        self.seen.add((torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic))
        return super().forward(x)


def test_kernels_chosen_by_their_time_and_by_their_reputation_are_kept_apart_in_a_process(clock: Clock) -> None:
    spec = replace(planted(), build=partial(Watched, seconds=0.01, limit=8))
    for probe in ("throughput", "best_batch"):
        assert not execute(Task(spec, CONFIG, (probe,)), "cpu").failed
    assert Watched.seen == {(True, False), (False, True)}  # cuDNN keeps one kernel per shape and per second of these


class Normalises(Pooled):
    """Changes its input where it is, as many networks do that take images as they are."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.sub_(0.5).div_(0.25))


@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("make", [inference_step, training_step])
def test_a_network_that_changes_its_input_in_place_gets_the_same_in_every_step(make: MakeStep, graphs: bool) -> None:
    task = Task(replace(planted(), build=lambda num_classes: Normalises()), CONFIG, device="emulated:0")
    task = replace(task, config=replace(CONFIG, execution=Execution(cuda_graphs=graphs)))
    with at_work():
        step = make(task, 8)
        step()  # in which it is found out
        second = step().clone()
        assert all(torch.allclose(step(), second, rtol=1e-4) for _ in range(70))  # 4^70 is more than fp32 holds
    assert step.batch.note == "the network changes its input in place: each step has a copy"
    assert not make(replace(task, device="cpu", spec=planted(), config=CONFIG), 8).batch.note


def test_rows_of_a_network_that_changes_its_input_in_place_say_so() -> None:
    spec = replace(planted(), build=lambda num_classes: Normalises())
    brief = replace(CONFIG, measure_seconds=0.01)
    rows = execute(Task(spec, brief, ("throughput", "latency", "saved_activation_bytes")), "cpu").records
    for row in (row for row in rows if row.value is not None):
        assert ("in place: each step has a copy" in row.note) == (row.probe != "saved_activation_bytes")
    saved = next(row for row in rows if row.metric == "saved_activation_bytes")
    assert saved.value == 4 * 3 + 4 * 10 + 8  # of one image: pooled, probabilities, label


class DropsOnTheHost(Planted):
    """Leaves out its backward pass by a number that the host draws."""

    def forward(self, x: Tensor) -> Tensor:
        self.backward_seconds = 0.01 * (self.training and random.random() < 0.5)
        return super().forward(x)


def test_a_network_that_draws_on_the_host_is_not_replayed() -> None:
    spec = replace(planted(), build=partial(DropsOnTheHost))
    config = replace(CONFIG, execution=Execution(cuda_graphs=True))
    with at_work():
        inference_step(Task(spec, config, device="emulated:0"), 2)
        with pytest.raises(Unsupported, match="no CUDA graph: the network draws random numbers on the host"):
            training_step(Task(spec, config, device="emulated:0"), 2)


@pytest.fixture
def planted_device(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulated]:
    """The emulated device in the same made-up time: a pass that takes the host a second takes the device `SLOWNESS`."""
    monkeypatch.setattr(speed, "device_seconds", partial(device_seconds, clock=CLOCK))
    with at_work() as device:
        device.queue = Queue(CLOCK, CLOCK.spend)
        yield device


ON_DEVICE = replace(CONFIG, measure_seconds=0.02, inference_only=True, execution=Execution(cuda_graphs=None))


def on_device(
    probe: str, spec: ModelSpec, config: Config = ON_DEVICE, without_graphs: str = ""
) -> Mapping[str, Answer]:
    return MEASURE[probe](Task(spec, config, device="emulated:0", without_graphs=without_graphs)).readings


def test_the_replayed_latency_stands_beside_the_eager_one(planted_device: Emulated) -> None:
    found = on_device("latency", planted(seconds=0.02))
    eager, replay = found["latency_ms"], found["replayed_latency_ms"]
    assert isinstance(eager, Reading)
    assert isinstance(replay, Reading)
    # An emulated replay is computed by the host, and then done by the device.
    assert (eager.value, eager.cuda_graphs) == (pytest.approx(20, rel=0.01), False)
    assert (replay.value, replay.cuda_graphs) == (pytest.approx((1 + SLOWNESS) * 20, rel=0.01), True)
    assert len(replay.samples) >= 100
    graphs = on_device("latency", planted(seconds=0.02), replace(ON_DEVICE, execution=Execution(cuda_graphs=True)))
    for reading in graphs.values():  # all of it is replayed
        assert isinstance(reading, Reading)
        assert reading.cuda_graphs
    assert graphs["latency_ms"] == graphs["replayed_latency_ms"]


class LooksAtNumbers(Planted):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.mean().item() < 9 else x


@pytest.mark.parametrize(
    ("changes", "without_graphs", "reason"),
    [
        (
            {"build": partial(LooksAtNumbers, seconds=0.01)},
            "",
            "no CUDA graph: its step makes the host wait for the device",
        ),
        ({}, "it failed", "no CUDA graph: its capture failed (it failed)"),
        ({}, "", "no CUDA graph: this run rules them out"),
    ],
)
def test_where_nothing_can_be_replayed_the_eager_latency_stands_alone(
    changes: dict[str, Any], without_graphs: str, reason: str, planted_device: Emulated
) -> None:
    config = ON_DEVICE if changes else replace(ON_DEVICE, execution=Execution(cuda_graphs=False))
    found = on_device("latency", replace(planted(seconds=0.01), **changes), config, without_graphs)
    assert isinstance(found["latency_ms"], Reading)
    replay = found["replayed_latency_ms"]
    assert isinstance(replay, Unsupported)
    assert str(replay).startswith(reason)


class Many(Planted):
    """More launches than a queue holds."""

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        for _ in range(LENGTH + 100):
            x = x + 0
        return x


def test_a_device_that_a_host_cannot_keep_up_with_is_timed_by_a_replay(planted_device: Emulated) -> None:
    found = on_device("throughput", replace(planted(), build=partial(Many, seconds=0.004)))
    own = found["inference_device_ms"]
    assert isinstance(own, Reading)
    assert own.value == pytest.approx(SLOWNESS * 4, rel=0.05)
    assert own.note.endswith("of a replay as a graph, as the host is too slow")
    assert not own.cuda_graphs  # nothing else is: it stands beside the rate


def test_a_device_that_waits_for_the_host_within_the_step_has_no_time_of_its_own(planted_device: Emulated) -> None:
    found = on_device("throughput", replace(planted(), build=partial(LooksAtNumbers, seconds=0.01)))
    assert isinstance(found["inference_images_per_s"], Reading)
    own = found["inference_device_ms"]
    assert isinstance(own, Unsupported)
    assert "may have waited for the host; no CUDA graph: its step makes the host wait for the device" in str(own)


def test_a_device_that_one_step_breaks_takes_the_other_one_in_a_fresh_process(planted_device: Emulated) -> None:
    """768 bytes an image: a batch of 32 is above 16 KiB."""
    config = replace(ON_DEVICE, inference_only=False)
    task = Task(planted(seconds=0.01), config, ("best_batch",))
    for metric in ("best_inference_images_per_s", "best_train_images_per_s"):
        planted_device.plan, planted_device.broken = Plan(reach_kib=16), ""
        outcome = execute(task, "emulated:0")
        (row,) = outcome.records
        assert (row.metric, row.status, row.batch_size) == (metric, "ok", 16)
        assert "batch 32 failed (RuntimeError: an illegal memory access was encountered)" in row.note
        if outcome.again is not None:
            task = outcome.again
    assert outcome.again is None  # nothing is left
    (row,) = crashed(task, Crash("failed", "", 0.0)).records
    assert row.metric == "best_train_images_per_s"


def test_out_of_memory_halves_the_batch_and_says_so(clock: Clock) -> None:
    rate = reading("throughput", "train_images_per_s", planted(seconds=0.01, limit=3))
    assert (rate.asked_batch_size, rate.batch_size) == (8, 2)
    assert rate.note.startswith("batch 8 did not fit into memory")


def hidden(first: Exception, message: str) -> Exception:
    """An error that another one was raised on the way out of."""
    try:
        try:
            raise first
        finally:
            raise RuntimeError(message)
    except RuntimeError as error:
        return error.with_traceback(None)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 PiB"),
        # Of something that does not ask PyTorch's allocator.
        torch.AcceleratorError("CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA`"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError(),
        RuntimeError("CUDA driver error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError('NVML_SUCCESS == r INTERNAL ASSERT FAILED at "/pytorch/c10/cuda/CUDACachingAllocator.cpp":1154'),
        RuntimeError("HIP out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
        RuntimeError("level_zero backend failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)"),
        hidden(torch.OutOfMemoryError("CUDA out of memory"), "operation failed due to a previous error during capture"),
    ],
)
def test_lack_of_memory_has_many_words(error: Exception) -> None:
    tried: list[int] = []

    def attempt(batch_size: int) -> int:
        tried.append(batch_size)
        if batch_size > 4:
            raise error
        return batch_size

    assert with_batch_that_fits(attempt, 16) == (4, 4)
    assert tried == [16, 8, 4]


@pytest.mark.parametrize(("held", "lacking"), [(0.9, True), (0.1, False)])
def test_what_libraries_say_means_lack_of_memory_where_little_is_free(
    monkeypatch: pytest.MonkeyPatch, held: float, lacking: bool
) -> None:
    device = Emulated(plan=Plan(memory_mib=64))
    monkeypatch.setattr(accelerator, "_chosen", [device])
    kept = torch.empty(int(held * (64 << 20)), dtype=torch.uint8)
    device.memory.book(kept)
    for words in (
        "FIND was unable to find an engine to execute this computation",
        "GET was unable to find an engine to execute this computation",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
    ):
        assert is_out_of_memory(RuntimeError(words)) == lacking


def test_whether_memory_lacked_is_found_out_while_it_does() -> None:
    """Once a network that failed is gone, all of it is free again."""

    def needs_a_workspace(num_classes: int = 10) -> nn.Module:
        device = accelerator.chosen()
        assert isinstance(device, Emulated)
        weights = torch.empty(int(0.9 * device.memory.total), dtype=torch.uint8)
        device.memory.book(weights)
        raise RuntimeError("GET was unable to find an engine to execute this computation")

    spec = replace(REGISTRY["lenet5_mnist"], name="own_mnist", build=needs_a_workspace)
    with at_work("memory=64"):
        rows = execute(Task(spec, CONFIG, ("latency",)), "emulated:0").records
    assert {row.status for row in rows} == {"oom"}


def test_a_device_that_is_lost_costs_nothing_that_was_measured_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked what it has free, to see whether that was it, it answers with an error of its own."""

    def loses_the_device(task: Task, batch_size: int, passed: object) -> steps.Step:
        device.broken = "an illegal memory access was encountered"
        raise RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR")

    monkeypatch.setattr(speed, "training_step", loses_the_device)
    monkeypatch.setattr(Allocator, "free", property(lambda self: device.check()))
    with at_work() as device:
        rows = execute(Task(REGISTRY["lenet5_mnist"], CONFIG, ("throughput",)), "emulated:0").records
    status = {row.metric: row.status for row in rows}
    assert (status["inference_images_per_s"], status["train_images_per_s"]) == ("ok", "failed")
    assert "CUDNN_STATUS_INTERNAL_ERROR" in next(row.note for row in rows if row.metric == "train_images_per_s")


def test_a_device_that_is_lost_from_the_beginning_is_said_in_each_row() -> None:
    with at_work() as device:
        device.broken = "the device was lost"
        rows = execute(Task(REGISTRY["lenet5_mnist"], CONFIG, ("latency",)), "emulated:0").records
    assert {(row.status, row.note) for row in rows} == {("failed", "RuntimeError: the device was lost")}


def test_the_compiler_is_reset_where_something_was_compiled_and_only_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker has the half of it that counts need; on a GPU, a reset would import the other half in every process."""
    from torch._dynamo import convert_frame  # as workers have it

    torch.compiler.reset()
    resets = 0

    def reset() -> None:
        nonlocal resets
        resets += 1
        convert_frame.FRAME_COUNTER = 0

    monkeypatch.setattr(torch.compiler, "reset", reset)
    release_memory()
    assert resets == 0
    torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1))
    release_memory()
    release_memory()
    assert resets == 1


@pytest.mark.gpu
def test_a_batch_that_no_gpu_holds_is_halved_until_it_fits() -> None:
    gib = 1 << 30
    most = torch.cuda.get_device_properties(0).total_memory // gib

    def attempt(batch_size: int) -> int:
        return torch.empty(batch_size * gib, dtype=torch.uint8, device="cuda:0").numel() // gib

    held, used = with_batch_that_fits(attempt, 4 * most)
    assert 1 <= held == used <= most


@pytest.mark.parametrize(
    "message",
    ["expected scalar type Float but found Half", "CUDA error: device-side assert triggered", "CUDA error: unknown"],
)
def test_only_lack_of_memory_changes_the_batch(message: str) -> None:
    tried: list[int] = []

    def attempt(batch_size: int) -> int:
        tried.append(batch_size)
        raise RuntimeError(message)

    with pytest.raises(RuntimeError, match=message):
        with_batch_that_fits(attempt, 8)
    assert tried == [8]


def test_a_network_for_which_nothing_fits_is_out_of_memory() -> None:
    rows = execute(Task(planted(limit=0), CONFIG, ("throughput",)), "cpu").records
    assert {row.status for row in rows} == {"oom"}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("probe", ["throughput", "latency", "best_batch"])
def test_nonsense_is_a_failure_however_fast(value: float, probe: str) -> None:
    rows = execute(Task(planted(value=value), replace(CONFIG, measure_seconds=0.01), (probe,)), "cpu").records
    assert {row.status for row in rows} == {"failed"}
    assert all("infinite or not a number" in row.note for row in rows)


def timing(seconds: float) -> Timing:
    return Timing((seconds,) * 5, "")


def test_the_sweep_goes_up_as_long_as_it_pays_and_stops_early() -> None:
    found = sweep(lambda batch: timing(0.01 + 0.0001 * batch if batch <= 64 else 0.0003 * batch), start=8)
    assert sorted(found.tried) == [8, 16, 32, 64, 128]
    assert found.best == 64


def test_the_sweep_goes_down_where_small_batches_are_faster() -> None:
    found = sweep(lambda batch: timing(0.001 * batch**1.5), start=8)
    assert found.best == 1
    assert sorted(found.tried) == [1, 2, 4, 8, 16]


@pytest.mark.parametrize(("limit", "best"), [(100, 64), (8, 8), (5, 4), (1, 1)])
def test_the_sweep_stays_within_memory(limit: int, best: int) -> None:
    def attempt(batch: int) -> Timing:
        if batch > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return timing(0.01)  # the larger the better

    found = sweep(attempt, start=8)
    assert found.best == best
    assert found.too_large == 2 * best


def test_whatever_fails_at_a_larger_batch_ends_the_sweep_and_not_the_probe() -> None:
    tried: list[int] = []

    def attempt(batch: int) -> Timing:
        tried.append(batch)
        if batch > 8:
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nCompile with")
        return timing(0.01)

    found = sweep(attempt, start=8)
    assert (found.best, found.too_large, tried) == (8, 16, [8, 16])  # a device that has failed is not asked again
    assert found.reason == "failed (AcceleratorError: CUDA error: an illegal memory access was encountered)"


def test_what_fails_at_the_first_batch_fails_the_probe() -> None:
    def attempt(batch: int) -> Timing:
        raise RuntimeError("integer out of range")

    with pytest.raises(RuntimeError, match="integer out of range"):
        sweep(attempt, start=8)


def test_the_best_batch_says_what_was_tried(clock: Clock) -> None:
    best = reading(
        "best_batch",
        "best_inference_images_per_s",
        planted(seconds=0.002, limit=32),
        replace(CONFIG, measure_seconds=0.05),
    )
    assert best.batch_size == 32
    assert "batch 64 did not fit" in best.note
    assert "8: " in best.note


class NeedsTheHost(nn.Module):
    """Looks at a number while it is built."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(3, num_classes + int(torch.zeros(1).item()))


def test_weights_are_drawn_on_the_device_unless_a_network_needs_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    place = SimpleNamespace(is_host=False, place=torch.device("meta"))
    monkeypatch.setattr(steps.accelerator, "named", lambda word: place)
    built = [steps._network(Task(replace(planted(), build=build), CONFIG)) for build in (Planted, NeedsTheHost)]
    assert [next(network.parameters()).device.type for network in built] == ["meta", "cpu"]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_steps_run_in_the_arithmetic_and_layout_that_was_asked_for(
    precision: Precision, memory_format: MemoryFormat
) -> None:
    config = replace(CONFIG, execution=Execution(precision, memory_format))
    spec = REGISTRY["resnet20_cifar"]
    seen: list[Tensor] = []

    def keep(module: nn.Module, _: object, output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            seen.append(output)

    handle = nn.modules.module.register_module_forward_hook(keep)
    try:
        with arithmetic(precision):
            inference_step(Task(spec, config), 4)()
            inferred = list(seen)
            seen.clear()
            loss = training_step(Task(spec, config), 4)()
    finally:
        handle.remove()
    assert inferred
    assert seen
    expected = torch.bfloat16 if precision == "bf16" else torch.float32
    for output in (*inferred, *seen):
        assert output.dtype == expected
        assert output.is_contiguous(memory_format=torch.channels_last) == (memory_format == "channels_last")
    assert loss.dtype == torch.float32


def test_training_steps_move_every_weight_in_every_precision() -> None:
    """Under bf16 autocast the weights themselves stay fp32 and learn."""
    from bench.device.execution import for_training
    from bench.training.recipes import recipe_for
    from bench.training.step import TrainingStep, make_optimizer

    spec = REGISTRY["lenet5_cifar"]
    images, labels = torch.randn(16, *spec.input_size), torch.arange(16) % 10
    precisions: tuple[Precision, ...] = ("fp32", "bf16", "fp16")
    for precision in precisions:
        execution = Execution(precision)
        torch.manual_seed(0)
        network = for_training(spec.build(num_classes=10), execution, torch.device("cpu"))
        recipe = recipe_for(spec.family)
        step = TrainingStep(network, make_optimizer(recipe, network.parameters(), 1e-2), recipe, execution, 10)
        first = step(images, labels).item()
        for _ in range(30):
            last = step(images, labels).item()
        assert last < 0.5 * first, precision
        assert all(parameter.dtype == torch.float32 for parameter in network.parameters())


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["resnet20_cifar", "densenet40_k12_cifar", "vit_tiny_cifar", "resnet50"])
def test_a_gpu_reports_its_own_time_within_that_of_the_step(name: str) -> None:
    config = replace(CONFIG, execution=Execution("bf16", "channels_last"))
    spec = REGISTRY[name]
    readings = MEASURE["throughput"](Task(spec, config, device="cuda:0")).readings
    for kind in ("inference", "train"):
        rate, busy = readings[f"{kind}_images_per_s"], readings[f"{kind}_device_ms"]
        assert isinstance(rate, Reading)
        if name == "vit_tiny_cifar" and isinstance(busy, Unsupported):  # 990 launches: the queue holds about as many
            assert "before the host had queued the step" in str(busy)
            continue
        assert isinstance(busy, Reading)
        assert rate.batch_size
        assert 0 < busy.value < 1.1e3 * rate.batch_size / rate.value


@pytest.mark.gpu
@pytest.mark.parametrize(
    "name", ["resnet20_cifar", "densenet_bc100_k12_cifar"]
)  # whose launches take longer than they do
def test_a_gpu_replays_many_small_kernels_sooner_than_the_host_launches_them(name: str) -> None:
    config = replace(CONFIG, execution=Execution("bf16", "channels_last", cuda_graphs=None))
    readings = MEASURE["latency"](Task(REGISTRY[name], config, device="cuda:0")).readings
    eager, replay = readings["latency_ms"], readings["replayed_latency_ms"]
    assert isinstance(eager, Reading)
    assert isinstance(replay, Reading)
    assert replay.cuda_graphs
    assert 0 < replay.value < eager.value


@pytest.mark.gpu
def test_the_parts_of_a_step_on_a_gpu_come_to_about_the_whole_step() -> None:
    readings = MEASURE["throughput"](Task(REGISTRY["resnet20_cifar"], CONFIG, device="cuda:0")).readings
    rate = readings["train_images_per_s"]
    assert isinstance(rate, Reading)
    assert rate.batch_size
    parts = [readings[f"train_{part}_ms"] for part in ("forward", "backward", "optimizer")]
    whole = 1e3 * rate.batch_size / rate.value
    # A step that is timed alone starts with an empty queue, which costs one of so many launches something.
    assert 0.8 * whole < sum(part.value for part in parts if isinstance(part, Reading)) < 1.5 * whole


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["resnet20_cifar", "vit_tiny_cifar", "lenet5_cifar"])
def test_a_graph_computes_what_the_step_computes_and_is_not_slower(name: str) -> None:
    spec = REGISTRY[name]
    rates = {}
    for graphs in (False, True):
        config = replace(CONFIG, execution=Execution("bf16", "channels_last", cuda_graphs=graphs))
        with arithmetic("bf16"):
            rates[graphs] = inference_step(Task(spec, config, device="cuda:0"), 8)().float().cpu()
    assert torch.allclose(rates[False], rates[True], atol=1e-2)
