"""Predicted memory against steps worked out by hand, and against what the CPU's and the GPU's allocators saw."""

import gc
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from bench.config import PRESETS, Execution, Inputs, MemorySize, Precision, RequestError, Task
from bench.device import accelerator
from bench.device.accelerator import KernelKind, MemoryUse
from bench.device.torch_devices import Host
from bench.metrics import metrics_of
from bench.models import REGISTRY, ModelSpec
from bench.probes import memory
from bench.probes.counting.replay import (
    PARTS,
    Autocast,
    Footprint,
    inference_footprint,
    largest_batch,
    training_footprint,
)
from bench.probes.memory import _Weighed
from bench.probes.reading import Answer, Reading, Unsupported
from bench.probes.steps import Batch, MakeStep, Step, inference_step, training_step
from bench.runner.request import Request, resolve
from bench.training.recipes import Recipe, recipe_for
from tests.configs import config
from tests.emulated import at_work
from tests.own_network import own_spec
from tests.probes.random_networks import applied

FP32, BF16 = Execution(), Execution("bf16")
MOMENTUM = Recipe("sgd", 0.1, 0.0, 4, "for these tests")


def task(
    spec: ModelSpec,
    batch_size: int = 4,
    execution: Execution = FP32,
    device: str = "cpu",
    fit: MemorySize | None = None,
) -> Task:
    return Task(spec, config(batch=batch_size, execution=execution, dedicated=device != "cpu", fit=fit), device=device)


class TwoLayers(nn.Sequential):
    """12 numbers an image, 32 features, 10 classes; no biases."""

    def __init__(self, num_classes: int) -> None:
        hidden = nn.Linear(12, 32, bias=False), nn.ReLU()
        super().__init__(nn.Flatten(), *hidden, nn.Linear(32, num_classes, bias=False))


SPEC = own_spec(TwoLayers, (3, 2, 2))


def test_inference_is_what_was_worked_out_by_hand() -> None:
    """The peak is at the ReLU: weights, images, what goes into it and what comes out."""
    weights, images, hidden = 4 * (12 * 32 + 32 * 10), 4 * 4 * 12, 4 * 4 * 32
    found = inference_footprint(SPEC, FP32, "cpu", batch_size=4)
    assert found == Footprint(weight=weights, activation=images, workspace=2 * hidden)
    assert found.peak == 2_816 + 192 + 1_024
    assert inference_footprint(SPEC, BF16, "cpu", batch_size=4).peak == found.peak // 2


def test_a_training_step_is_what_was_worked_out_by_hand() -> None:
    """The peak is at the last gradient of all, that of the first layer's weights.

    By then the ReLU's output is gone. There are both gradients of weights, the batch (labels are int64), and in passing
    the logits (40 B an image), the loss and its own gradient, and that of the first layer's output (128 B an image).
    """
    weights = 4 * (12 * 32 + 32 * 10)
    found = training_footprint(SPEC, MOMENTUM, FP32, "cpu", batch_size=4)
    assert found == Footprint(
        weight=weights, gradient=weights, optimizer=weights, activation=4 * (48 + 8), workspace=4 * (40 + 128) + 8
    )
    assert found.peak == 3 * 2_816 + 224 + 680


def test_a_gpu_hands_out_blocks_of_512_bytes() -> None:
    """12 x 32 floats fill three blocks; 32 x 10 floats, 1,280 bytes, take three as well; everything else takes one."""
    found = training_footprint(SPEC, MOMENTUM, FP32, "cuda", batch_size=4)
    assert found == Footprint(weight=3_072, gradient=3_072, optimizer=3_072, activation=1_024, workspace=2_048)


def test_adam_keeps_two_moments_and_a_count_of_steps() -> None:
    found = training_footprint(SPEC, replace(MOMENTUM, optimizer="adam"), FP32, "cpu", batch_size=4)
    assert found.optimizer == 2 * found.weight + 2 * 4


def test_what_kernels_happen_to_be_fastest_changes_no_peak() -> None:
    """cuDNN's choice by time differs from run to run, and with it the workspace."""
    chosen_by_time: list[bool] = []

    class Asks(TwoLayers):
        def forward(self, x: Tensor) -> Tensor:
            if not x.is_meta:
                chosen_by_time.append(torch.backends.cudnn.benchmark)
            return super().forward(x)

    memory.measure(task(own_spec(Asks, (3, 2, 2))))
    assert chosen_by_time
    assert not any(chosen_by_time)


def test_a_replay_leaves_nothing_behind() -> None:
    spec = REGISTRY["resnet20_cifar"]
    first, second = (training_footprint(spec, recipe_for(spec.family, {}), FP32, "cpu", 2) for _ in range(2))
    assert first == second
    assert F.scaled_dot_product_attention.__module__ != "bench.probes.counting.imitation"


def allocated_on_cpu(make: MakeStep, task: Task, folder: Path) -> int:
    """Most bytes that the CPU allocator had handed out at any moment, from before the network is built.

    On one thread: each of several has scratch space of its own.
    """
    make(task, 2)  # what is found out about a network once for a process
    gc.collect()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiler:
            step = make(task, task.batch_size)
            for _ in range(2):
                step()
    finally:
        torch.set_num_threads(threads)
    profiler.export_chrome_trace(str(folder / "trace.json"))
    events = [e for e in json.loads((folder / "trace.json").read_text())["traceEvents"] if e["name"] == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda event: event["ts"]):
        now += event["args"]["Bytes"]
        most = max(most, now)
    return most


def test_the_step_worked_out_by_hand_is_what_the_cpu_allocates(tmp_path: Path) -> None:
    measured = allocated_on_cpu(training_step, replace(task(SPEC), inputs=Inputs(recipes={"Own": MOMENTUM})), tmp_path)
    assert measured == training_footprint(SPEC, MOMENTUM, FP32, "cpu", 4).peak


# The CPU's convolutions copy the weights of one layer at a time into an order of their own: where weights are most of
# the memory, that is more than 5 %, and no network for these tests.
@pytest.mark.parametrize("name", ["resnet20_cifar", "squeezenet_cifar", "densenet40_k12_cifar"])
def test_predictions_of_inference_are_what_the_cpu_allocates(name: str, tmp_path: Path) -> None:
    predicted = inference_footprint(REGISTRY[name], FP32, "cpu", 4).peak
    measured = allocated_on_cpu(inference_step, task(REGISTRY[name]), tmp_path)
    assert predicted / measured == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("densenet40_k12_cifar", "fp32"),
        ("resnet20_cifar", "fp32"),
        ("resnet20_cifar", "bf16"),
        ("squeezenet_cifar", "fp32"),
        ("vit_tiny_cifar", "fp32"),
    ],
)
def test_predictions_of_training_are_what_the_cpu_allocates(name: str, precision: Precision, tmp_path: Path) -> None:
    spec, execution = REGISTRY[name], Execution(precision)
    predicted = training_footprint(spec, recipe_for(spec.family, {}), execution, "cpu", 4).peak
    measured = allocated_on_cpu(training_step, task(spec, 4, execution), tmp_path)
    assert predicted < 1.05 * measured
    if precision == "fp32":
        assert predicted > 0.95 * measured
    else:  # a CPU without such arithmetic takes more, and the row says that this is not in it
        note = memory.measure(task(spec, 4, execution)).readings["peak_training_bytes"].note  # type: ignore[union-attr]
        assert "computes bf16 through copies" in note


def test_the_peak_of_resnet50_grows_with_what_others_count_as_saved() -> None:
    """81.9 MiB an image at 224x224 are saved for the backward pass, and little more is needed at any one time."""
    spec, saved = REGISTRY["resnet50"], 81.9 * 2**20
    few, many = (training_footprint(spec, recipe_for(spec.family, {}), FP32, "cpu", size) for size in (64, 128))
    assert 0.999 * saved < (many.peak - few.peak) / 64 < 1.02 * saved
    assert many.weight == pytest.approx(4 * 25_557_032, rel=0.01)  # and batch norm's buffers


def casts(autocast: torch.autocast | Autocast, device: torch.device | str) -> dict[str, torch.dtype]:
    """What comes out of functions of every kind, in the order of a forward pass."""
    with torch.device(device):
        images, conv, norm, linear = torch.randn(2, 3, 8, 8), nn.Conv2d(3, 4, 3), nn.LayerNorm(8), nn.Linear(8, 8)
        attention = nn.MultiheadAttention(8, 2, batch_first=True)
    out: dict[str, Tensor] = {}
    with autocast:
        out["conv2d"] = conv(images)
        out["batch_norm"] = nn.BatchNorm2d(4, device=device)(out["conv2d"])
        out["linear"] = linear(images)
        out["layer_norm"] = norm(out["linear"])
        out["gelu"] = F.gelu(out["linear"])
        out["sum of both types"] = out["linear"] + images
        out["cat of both types"] = torch.cat([out["linear"], images])
        out["@"] = images @ images
        out["softmax"] = out["linear"].softmax(-1)
        out["max_pool2d"] = F.max_pool2d(out["linear"], 2)
        out["mean"] = out["linear"].mean((2, 3))
        out["pow"] = out["linear"].pow(2)
        out["attention"] = attention(images[:, 0], images[:, 0], images[:, 0], need_weights=False)[0]
    return {name: tensor.dtype for name, tensor in out.items()}


def test_the_meta_device_casts_as_autocast_on_a_cpu() -> None:
    found = casts(Autocast(torch.bfloat16, "cpu"), "meta")
    assert found == casts(torch.autocast("cpu", torch.bfloat16), "cpu")
    assert set(found.values()) == {torch.bfloat16, torch.float32}


@pytest.mark.gpu
def test_the_meta_device_casts_as_autocast_on_a_gpu() -> None:
    found = casts(Autocast(torch.bfloat16, "cuda"), "meta")
    assert found == casts(torch.autocast("cuda", torch.bfloat16), "cuda")


def test_weights_are_cast_once_and_not_kept() -> None:
    weight = nn.Parameter(torch.ones(3, 3, device="meta"))
    autocast = Autocast(torch.float16, "cuda")
    with autocast:
        first, again = (F.linear(torch.ones(2, 3, device="meta"), weight) for _ in range(2))
    with autocast:
        later = F.linear(torch.ones(2, 3, device="meta"), weight)
    assert cast_before(first) is cast_before(again) is not cast_before(later)


def cast_before(product: Tensor) -> object:
    """The node of the graph that cast the weight: before its transposition, which is before the product."""
    assert product.grad_fn is not None
    transposition = product.grad_fn.next_functions[1][0]
    assert transposition is not None
    return transposition.next_functions[0][0]


class Dropped(nn.Module):
    """A linear layer of as many features as images have, behind a coin that the host throws."""

    def __init__(self, keep_above: float | None, num_classes: int) -> None:
        super().__init__()
        self.keep_above = keep_above
        self.block = nn.Linear(12, 12)
        self.head = nn.Linear(12, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        if self.keep_above is None or torch.rand(()).item() > self.keep_above:
            x = F.gelu(self.block(x)) + x
        return self.head(x)


@pytest.mark.parametrize("keep_above", [0.1, 0.9])
def test_a_network_that_drops_blocks_is_weighed_with_all_of_them(keep_above: float) -> None:
    state = torch.get_rng_state()
    dropping, whole = (
        training_footprint(own_spec(partial(Dropped, which), (3, 2, 2)), MOMENTUM, FP32, "cpu", 64)
        for which in (keep_above, None)
    )
    assert dropping.activation == whole.activation
    assert dropping.peak == pytest.approx(whole.peak, abs=8)  # the coin itself
    assert torch.equal(torch.get_rng_state(), state)


def test_a_gpu_keeps_a_byte_for_each_element_that_dropout_may_drop() -> None:
    def dropping(num_classes: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(12, 2048), nn.Dropout(0.5), nn.Linear(2048, num_classes))

    spec, batch_size = own_spec(dropping, (3, 2, 2)), 4096
    on: dict[KernelKind, Footprint] = {
        kind: training_footprint(spec, MOMENTUM, FP32, kind, batch_size) for kind in ("cpu", "cuda")
    }
    assert on["cpu"].activation - on["cuda"].activation == 3 * 2048 * batch_size


@pytest.mark.parametrize("module", [True, False])
@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_attention_does_not_hold_the_scores_of_all_pairs(module: bool, kind: KernelKind) -> None:
    class Attention(nn.Module):
        """1,024 tokens of 16 features."""

        def __init__(self, num_classes: int) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(16, 1, batch_first=True)
            self.head = nn.Linear(16, num_classes)

        def forward(self, x: Tensor) -> Tensor:
            tokens = x.flatten(2).transpose(1, 2)
            if module:
                tokens = self.attention(tokens, tokens, tokens, need_weights=False)[0]
            else:
                near = tokens.unsqueeze(1).contiguous()  # no fused kernel takes features that lie apart
                heads = self.attention.in_proj_weight[:16].sum() * near
                tokens = F.scaled_dot_product_attention(heads, heads, heads).squeeze(1)
            return self.head(tokens.mean(1))

    spec, scores, tokens = own_spec(Attention, (16, 32, 32)), 4 * 1024 * 1024, 4 * 1024 * 16
    assert training_footprint(spec, MOMENTUM, FP32, kind, 2).peak < 2 * scores
    assert inference_footprint(spec, FP32, kind, 2).peak < 2 * 8 * tokens


def test_a_network_that_looks_at_numbers_is_replayed_on_the_cpu_and_said() -> None:
    class Looks(TwoLayers):
        """With images that are divided by their largest value."""

        def forward(self, x: Tensor) -> Tensor:
            output: Tensor = super().forward(x / x.abs().max().item())
            return output

    for spec in (own_spec(Looks, (3, 2, 2)), SPEC):
        readings = of_both(replace(task(spec), inputs=Inputs(recipes={"Own": MOMENTUM})))
        peaks = [readings[f"peak_{step}_bytes"] for step in ("inference", "training")]
        notes = [peak.note for peak in peaks if isinstance(peak, Reading)]
        if spec.build is TwoLayers:
            assert [value(peak) for peak in peaks] == [2_816 + 192 + 1_024, 3 * 2_816 + 224 + 680]
            assert not any("does not run without data" in note for note in notes)
        else:  # the divided images are held beside the ones that came in, until the first layer's gradient is there
            assert [value(peak) for peak in peaks] == [2_816 + 192 + 1_024, 3 * 2_816 + 224 + 680 + 192]
            assert all("does not run without data" in note for note in notes)


def test_a_broken_network_fails_with_its_own_error() -> None:
    wrong = own_spec(lambda num_classes: nn.Sequential(nn.Flatten(), nn.Linear(13, num_classes)), (3, 2, 2))
    for reason in of_both(task(wrong)).values():
        assert isinstance(reason, RuntimeError)
        assert "mat1 and mat2 shapes cannot be multiplied (2x12 and 13x10)" in str(reason)


def test_buffers_alone_have_an_inference_pass_and_nothing_to_train() -> None:
    fixed = applied(lambda self, x: x.flatten(1) @ self.weight, weight=lambda: nn.Buffer(torch.ones(12, 10)))
    readings = of_both(task(own_spec(lambda num_classes: fixed(), (3, 2, 2))))
    assert value(readings["peak_inference_bytes"]) == 480 + 192 + 160  # the buffer, four images and their logits
    assert "nothing to train" in str(readings["peak_training_bytes"])
    assert "nothing to train" in str(readings["gradient_bytes"])


def of_both(weighed: Task) -> dict[str, Answer]:
    """What is measured of a network's memory and what is predicted of it: each metric once."""
    measured, predicted = memory.measure(weighed).readings, memory.predict(weighed).readings
    assert set(measured) == set(metrics_of("memory"))
    assert set(predicted) == set(metrics_of("predicted_memory"))
    return {**measured, **predicted}


def value(reading: Answer) -> float:
    assert isinstance(reading, Reading)
    return reading.value


def test_every_metric_has_its_row_and_the_parts_add_up() -> None:
    readings = of_both(task(REGISTRY["lenet5_cifar"], 8))
    peak = readings["peak_training_bytes"]
    assert isinstance(peak, Reading)
    assert peak.predicted
    assert peak.batch_size == 8
    assert peak.value == sum(value(readings[f"{part}_bytes"]) for part in PARTS)
    assert peak.value == value(readings["predicted_training_bytes"])
    assert "allocator" in str(readings["reserved_training_bytes"])
    assert "--fit" in str(readings["largest_training_batch"])


def test_the_largest_batch_fits_and_one_image_more_does_not() -> None:
    spec, limit = REGISTRY["lenet5_cifar"], MemorySize(100, "MiB")
    readings = memory.measure(task(spec, 16, fit=limit)).readings
    for name, footprint in (
        ("training", partial(training_footprint, spec, recipe_for(spec.family, {}), FP32, "cpu")),
        ("inference", partial(inference_footprint, spec, FP32, "cpu")),
    ):
        largest = int(value(readings[f"largest_{name}_batch"]))
        assert footprint(largest).peak <= limit.bytes < footprint(largest + 1).peak
    assert value(readings["largest_inference_batch"]) > value(readings["largest_training_batch"]) > 16
    nothing = memory.measure(task(spec, 16, fit=MemorySize(0.1, "MB"))).readings
    assert value(nothing["largest_training_batch"]) == 0


def affine(batch_size: int) -> int:
    return 1_000 + 7 * batch_size


def with_a_kink(batch_size: int) -> int:
    return max(50_000 + 3 * batch_size, 1_000 + 90 * batch_size)


def in_blocks(batch_size: int) -> int:
    return sum(-(-batch_size * size // 512) * 512 for size in (40, 128, 3_000))


@pytest.mark.parametrize("peak", [affine, with_a_kink, in_blocks])
@pytest.mark.parametrize("start", [1, 16, 100_000])
@pytest.mark.parametrize("limit", [60_000, 1_000_003, 10**9])
def test_the_largest_batch_is_found_in_few_replays(peak: Callable[[int], int], start: int, limit: int) -> None:
    asked: list[int] = []

    def counted(batch_size: int) -> int:
        asked.append(batch_size)
        return peak(batch_size)

    found = largest_batch(counted, limit, start)
    assert peak(found) <= limit < peak(found + 1)
    assert len(asked) == len(set(asked)) <= 20
    assert largest_batch(affine, limit=1_006, start=start) == 0


@pytest.mark.parametrize(
    ("word", "bytes_"), [("16GiB", 16 * 2**30), ("24GB", 24 * 10**9), ("800MiB", 800 * 2**20), ("1.5TB", 1.5e12)]
)
def test_memory_is_written_as_people_write_it(word: str, bytes_: int) -> None:
    assert MemorySize.parse(word).bytes == bytes_
    assert str(MemorySize.parse(word)) == word
    assert resolve(Request(fit=word), (), "cpu")[0].fit == MemorySize.parse(word)


@pytest.mark.parametrize("word", ["16", "GiB", "-1GB", "0GiB", "16 GiB", "16gib", "1e3GB", "", "0.0000001MB"])
def test_memory_that_cannot_be_read_is_refused_in_one_line(word: str) -> None:
    with pytest.raises(RequestError, match=r"--fit .* such as 16GiB") as refusal:
        resolve(Request(fit=word), (), "cpu")
    assert "\n" not in str(refusal.value)


class FakeGPU(Host):
    """Its allocator sees steps as large as told: 10 bytes an image once warm, 90 more while kernels are chosen."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.held = self.peak = 500  # by libraries
        self.total = self.allowed = 10_000
        self.fits = 4_000
        self.warm_after = 2
        monkeypatch.setattr(accelerator, "named", lambda word: self)

    @property
    def memory(self) -> Any:
        return self

    def now(self) -> MemoryUse:
        return MemoryUse(self.held, self.held, self.held)

    def most(self) -> MemoryUse:
        return MemoryUse(self.peak, self.peak, self.peak - 1)

    def reset(self) -> None:
        self.peak = self.held

    def release(self) -> None:
        pass

    def limit(self, allowed: int | None) -> bool:
        self.allowed = allowed or self.total
        return True

    def step(self, batch_size: int) -> Step:
        steps = iter(range(100))

        def run() -> Tensor:
            needs = self.held + 10 * batch_size + (90 if next(steps) < self.warm_after else 0)
            if needs > min(self.fits, self.allowed):
                raise torch.OutOfMemoryError("planted")
            self.peak = max(self.peak, needs)
            return torch.zeros(())

        return Step(run, Batch((1, 3, 1, 1), Execution(), torch.device("cpu"), torch.float32))

    def weighed(self, batch_size: int, fit: MemorySize | None = None) -> Any:
        return _Weighed(
            "training",
            lambda _, batch_size: self.step(batch_size),
            lambda size: Footprint(workspace=10 * size),
            task(REGISTRY["lenet5_cifar"], batch_size, device="cuda:0", fit=fit),
        )


def test_a_gpu_is_asked_once_it_is_warm_and_for_what_was_not_held_before(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeGPU(monkeypatch)
    peak, reserved = memory._measured(gpu.weighed(16), gpu.memory)
    assert value(peak) == value(reserved) == 160
    assert isinstance(peak, Reading)
    assert (peak.predicted, peak.batch_size, peak.asked_batch_size, peak.device) == (False, 16, 16, "cuda:0")
    assert "159 bytes before" in peak.note


def test_what_is_reserved_is_never_less_than_what_is_held() -> None:
    """Nor where it lies in what was reserved before and is not in use, as beside the workspace of a library."""
    with at_work():
        kept = torch.ones(1 << 16)  # in a segment of 2 MiB
        readings = memory.measure(task(REGISTRY["lenet5_cifar"], 4, device="emulated:0")).readings
        del kept
    for step in ("inference", "training"):
        assert value(readings[f"reserved_{step}_bytes"]) >= value(readings[f"peak_{step}_bytes"]) > 0


def test_an_allocator_that_counts_nothing_is_no_peak_of_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeGPU(monkeypatch)
    monkeypatch.setattr(FakeGPU, "now", lambda self: MemoryUse(0, 0, 0))
    monkeypatch.setattr(FakeGPU, "most", FakeGPU.now)
    for answer in memory._measured(gpu.weighed(16), gpu.memory):
        assert isinstance(answer, Unsupported)


def test_a_batch_that_a_gpu_cannot_hold_is_halved_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeGPU(monkeypatch)
    peak, _ = memory._measured(gpu.weighed(1_000), gpu.memory)
    assert isinstance(peak, Reading)
    assert (peak.value, peak.batch_size, peak.asked_batch_size) == (2_500, 250, 1_000)
    assert "batch 1000 did not fit" in peak.note


def test_the_largest_batch_is_tried_within_the_memory_named(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeGPU(monkeypatch)
    gpu.warm_after = 0
    fits = memory._largest(gpu.weighed(16), MemorySize(0.002, "MB"))
    assert fits.value == 200
    assert fits.note.endswith("tried: it fits")
    gpu.warm_after = 2
    too_large = memory._largest(gpu.weighed(16), MemorySize(0.002, "MB"))
    assert too_large.value == 200
    assert too_large.note.endswith("tried: it does not fit, a batch of 188 does")
    assert gpu.allowed == gpu.total  # lifted
    assert "not tried: this device has 10,000 bytes" in memory._largest(gpu.weighed(16), MemorySize(1, "GB")).note


ON_GPU = Execution("bf16", "channels_last")
# All but one that draws its depth at random: it is predicted with all blocks and measured as it comes.
WEIGHED = [name for name in PRESETS["quick"].models if not name.startswith("stochastic_depth")]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_first_kernel_of_the_thread_of_backward_passes_is_none_of_cublas(precision: Precision) -> None:
    """Which else warns that there was no CUDA context."""

    class Named(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.seen = list[str]()

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.seen.append(func.__name__.partition(".")[0])
            return func(*args, **(kwargs or {}))

    with Named() as called:
        memory._warm_up_libraries(accelerator.named("cpu"), Execution(precision))
    backward = called.seen[called.seen.index("sum") :]
    assert backward.index("threshold_backward") < backward.index("mm")


@pytest.mark.gpu
def test_predictions_on_a_gpu_are_within_5_percent_for_nine_networks_in_ten() -> None:
    ratios: dict[str, float] = {}
    for name in [*WEIGHED, "resnet50", "vgg16", "vit_b_16"]:
        batch_size = PRESETS["standard"].batch_size[REGISTRY[name].track]
        readings = of_both(task(REGISTRY[name], batch_size, ON_GPU, "cuda:0"))
        for step in ("inference", "training"):
            measured = value(readings[f"peak_{step}_bytes"])
            ratios[f"{name} {step}"] = value(readings[f"predicted_{step}_bytes"]) / measured
            assert value(readings[f"reserved_{step}_bytes"]) >= measured
    far = {which: round(ratio, 3) for which, ratio in ratios.items() if abs(ratio - 1) > 0.05}
    for step in ("inference", "training"):
        assert sum(which.endswith(step) for which in far) <= len(ratios) / 2 / 10, far


@pytest.mark.gpu
def test_the_largest_batch_is_tried_on_a_gpu() -> None:
    readings = memory.measure(task(REGISTRY["resnet18_cifar"], 64, ON_GPU, "cuda:0", MemorySize(2, "GiB"))).readings
    for step in ("inference", "training"):
        largest = readings[f"largest_{step}_batch"]
        assert isinstance(largest, Reading)
        assert largest.predicted
        assert "tried: it fits" in largest.note or "does not fit, a batch of" in largest.note
    assert torch.empty(3 * 2**30, dtype=torch.uint8, device="cuda").numel()  # the limit is lifted


class Scales(nn.Sequential):
    """Multiplies its input where it is."""

    def __init__(self, factor: float) -> None:
        super().__init__(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 8 * 8, 10))
        self.factor = factor

    def forward(self, images: Tensor) -> Tensor:
        output: Tensor = super().forward(images.mul_(self.factor))
        return output


@pytest.mark.gpu
def test_the_copy_for_a_network_that_changes_its_input_in_place_is_not_weighed() -> None:
    peaks = []
    for factor in (1.0, 2.0):
        spec = own_spec(lambda num_classes, factor=factor: Scales(factor))
        rows = memory.measure(task(spec, 16, device="cuda:0")).readings
        peaks.append([rows[f"peak_{step}_bytes"] for step in ("inference", "training")])
    assert peaks[0] == peaks[1]
    assert all(isinstance(peak, Reading) and not peak.predicted for peak in peaks[0])
