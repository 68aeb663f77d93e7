"""Any network is counted right, or refused in words; what goes wrong costs its own number only."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._higher_order_ops import while_loop
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts
from torch.utils.flop_counter import flop_registry, register_flop_formula

from bench.config import Budget, Config, Execution, Inputs, MemorySize, Task
from bench.models import REGISTRY, ModelSpec, from_factory
from bench.probes import MEASURE
from bench.probes.counting.networks import build
from bench.probes.reading import Reading, Unsupported
from bench.probes.steps import training_step
from bench.records.record import Record
from bench.runner.execute import execute
from bench.training.step import training_loss
from tests.configs import config
from tests.own_network import own_spec
from tests.probes.field_networks import FIELD, SIZE, LazyNever, LazySpare, MadeAtFirstCall, between, plain, typed
from tests.probes.random_networks import applied
from tests.probes.test_accuracy import image_set

CONFIG = config(
    batch=4,
    budget=Budget.parse("0.06kimg"),
    train_batch_size=20,
    measure_seconds=0.001,
    execution=Execution(memory_format="channels_last"),
    any_memory_format=True,
)
COUNTS = ("params", "macs", "activations", "saved_activation_bytes", "traffic")


def spec_of(name: str) -> ModelSpec:
    return own_spec(FIELD[name].build, SIZE, f"{name}_cifar")


def rows(spec: ModelSpec, *probes: str, config: Config = CONFIG, inputs: Inputs = Inputs()) -> dict[str, Record]:
    outcome = execute(Task(spec, config, probes, inputs), "cpu")
    return {row.metric: row for row in outcome.records}


@pytest.mark.parametrize("name", FIELD)
def test_counts_are_those_worked_out_by_hand(name: str) -> None:
    field, found = FIELD[name], rows(spec_of(name), *COUNTS)
    assert {metric: row.note for metric, row in found.items() if row.status != "ok"} == {}
    assert found["params"].value == field.params
    assert found["macs"].value == field.macs
    assert found["flops"].value == 2 * field.macs
    assert found["uncounted_share"].value == 0
    assert found["activations"].value
    assert ("does not run without data" in found["macs"].note) == field.needs_data


@pytest.mark.parametrize("name", FIELD)
def test_what_a_network_keeps_is_what_a_real_step_keeps(name: str) -> None:
    if name in ("masked", "sparse"):
        pytest.skip("how much is masked depends on the images; a sparse tensor has no storage of its own")
    found = rows(spec_of(name), "saved_activation_bytes")["saved_activation_bytes"]
    assert found.value == saved_on_the_cpu(spec_of(name))


@pytest.mark.parametrize("name", ["vit_tiny_cifar", "resnet20_cifar", "squeezenet_cifar", "lenet5_mnist"])
def test_what_the_suites_own_networks_keep_is_what_a_real_step_keeps(name: str) -> None:
    found = rows(REGISTRY[name], "saved_activation_bytes")["saved_activation_bytes"]
    assert found.value == saved_on_the_cpu(REGISTRY[name])
    assert ("fused kernel" in found.note) == ("vit" in name)


def saved_on_the_cpu(spec: ModelSpec) -> float:
    """Bytes an image by an independent count: distinct storages that autograd packs in a real step."""

    def bytes_of(batch_size: int) -> int:
        torch.manual_seed(0)
        network = spec.build(num_classes=10).float()
        if any(map(nn.parameter.is_lazy, (*network.parameters(), *network.buffers()))):
            network(torch.zeros(2, *spec.input_size))
        network.train()
        own = {t.untyped_storage().data_ptr() for t in (*network.parameters(), *network.buffers())}
        kept: dict[int, Tensor] = {}

        def pack(tensor: Tensor) -> Tensor:
            if tensor.untyped_storage().data_ptr() not in own:
                kept[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        images, labels = torch.randn(batch_size, *spec.input_size), torch.zeros(batch_size, dtype=torch.int64)
        with saved_tensors_hooks(pack, lambda tensor: tensor):
            training_loss(network(images), labels, 10)
        return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())

    return (bytes_of(4) - bytes_of(2)) / 2


def last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


# Functions of (B, 4, 6, 6), whose outcome is kept, and its rows: a copy where it is laid out in another order.
LAID_OUT: dict[str, Callable[[Tensor], Any]] = {
    "convolution, channels last": lambda x: F.conv2d(last(x), x.new_ones(3, 4, 1, 1)).movedim(1, -1),
    "convolution, weights last": lambda x: F.conv2d(x, last(x.new_ones(3, 4, 2, 2))).movedim(1, -1),
    "transposed convolution": lambda x: F.conv_transpose2d(last(x), x.new_ones(4, 3, 2, 2)).movedim(1, -1),
    "convolution of a row": lambda x: F.conv1d(x.flatten(2), x.new_ones(3, 2, 4).mT),
    "group norm, channels last": lambda x: F.group_norm(last(x).sin(), 2).movedim(1, -1),
    "layer norm in half precision": lambda x: F.layer_norm(x.bfloat16(), (6,)).float(),
    "rolled": lambda x: last(x).roll(1, -1).movedim(1, -1),
    "written into a copy": lambda x: torch.stack([image.select_scatter(image[0], 0, 1).sin() for image in x[:, 0]]),
    "batch norm of tokens": lambda x: F.batch_norm(x.flatten(2).mT.sin(), None, None, training=True),
    "log softmax of tokens": lambda x: x.flatten(2).mT.log_softmax(1),
    "log sigmoid": lambda x: F.logsigmoid(x.mT),
    "noisy": lambda x: F.rrelu(x.mT, training=True),
    "power of two": lambda x: 2**x.mT,
    "sign of another": lambda x: torch.copysign(x.mT, x.new_ones(())),
    "factors": lambda x: torch.linalg.svd(x + torch.eye(6, device=x.device), full_matrices=False)[2],
    "mirrored": lambda x: F.pad(last(x), (1, 1, 1, 1), mode="reflect").movedim(1, -1),
    "quantile": lambda x: x.flatten(1).quantile(0.3, dim=1, keepdim=True),
    "recurrent": lambda x: torch.rnn_tanh(
        x.flatten(2), x.new_zeros(1, len(x), 5), [x.new_ones(5, 36), x.new_ones(5, 5)], False, 1, 0.0, True, False, True
    )[0],
    "bag": lambda x: F.embedding_bag((x > 0).long().flatten(1), torch.ones(2, 3, device=x.device) * x.mean()),
    "error": lambda x: F.mse_loss(x, x.flip(1)),
    "probability": lambda x: F.binary_cross_entropy(x.sigmoid(), x.detach().sigmoid()),
}


@pytest.mark.parametrize("name", LAID_OUT)
def test_what_is_kept_is_right_wherever_an_operator_lays_it_out(name: str) -> None:
    class LaidOut(nn.Module):
        def __init__(self, num_classes: int) -> None:
            super().__init__()
            self.stem, self.head = nn.Conv2d(3, 4, 3), nn.Linear(1, num_classes)

        def forward(self, images: Tensor) -> Tensor:
            out = LAID_OUT[name](self.stem(images))
            made = out.exp()  # which is kept as it is made
            kept = out.sin().mean() + (made.flatten(1) if made.dim() else made).sin().mean()
            return self.head(kept.expand(len(images), 1))

    spec = own_spec(LaidOut)
    found = rows(spec, "saved_activation_bytes")["saved_activation_bytes"]
    assert found.status == "ok", found.note
    assert found.value == saved_on_the_cpu(spec)
    without_data = name not in ("sign of another", "quantile", "recurrent", "bag")
    assert ("does not run without data" in found.note) != without_data


@pytest.mark.parametrize("name", ["tapped", "lazy", "made at the first call", "rows", "half", "frequencies"])
def test_every_measurement_of_it_is_ok(name: str) -> None:
    found = rows(spec_of(name), "throughput", "latency", "memory")
    assert {metric: row.note for metric, row in found.items() if row.failed} == {}
    assert found["train_images_per_s"].value
    assert found["peak_training_bytes"].value


@pytest.mark.parametrize("name", ["viewed", "volume"])
def test_channels_last_is_taken_only_where_a_network_runs_in_it(name: str) -> None:
    found = rows(spec_of(name), "throughput", "latency", "memory", "traffic")
    rates = ("inference_images_per_s", "train_images_per_s")
    for metric in (*rates, "latency_ms", "peak_training_bytes", "traffic_bytes"):
        assert (found[metric].status, found[metric].memory_format) == ("ok", "contiguous"), metric
        assert "does not run in channels_last" in found[metric].note
    assert rows(spec_of("tapped"), "latency")["latency_ms"].memory_format == "channels_last"


def test_a_format_that_was_chosen_and_fails_says_which_flag_helps() -> None:
    found = rows(spec_of("viewed"), "latency", config=replace(CONFIG, any_memory_format=False))["latency_ms"]
    assert found.status == "failed"
    assert "--memory-format contiguous" in found.note


def own(kind: Callable[[int, int], nn.Module]) -> ModelSpec:
    """A network of one's own, of all pixels and classes."""
    return replace(spec_of("spare"), build=lambda num_classes: kind(3 * 32 * 32, num_classes))


def test_a_network_that_computes_something_else_in_channels_last_runs_in_contiguous_tensors() -> None:
    class Strided(nn.Linear):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images.as_strided((len(images), self.in_features), (self.in_features, 1)))

    spec = own(Strided)
    for row in rows(spec, "latency", "traffic").values():
        if row.status == "ok":
            assert row.memory_format == "contiguous"
            assert "contiguous, as the network computes something else in channels_last: its logits are " in row.note
    chosen = rows(spec, "traffic", config=replace(CONFIG, any_memory_format=False))["traffic_bytes"]
    assert chosen.status == "failed"
    assert chosen.note.endswith("from the contiguous ones: use --memory-format contiguous")


def test_a_cast_to_a_type_of_its_own_says_what_to_do() -> None:
    class Half(nn.Linear):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images.flatten(1).half())

    row = rows(own(Half), "latency")["latency_ms"]
    assert row.note.endswith(
        "; weights are of the type that --precision says: let forward cast to theirs, as x.to(weight.dtype) does"
    )


def test_a_program_of_torch_export_is_measured_in_the_mode_of_its_export() -> None:
    def exported(num_classes: int) -> nn.Module:
        network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, num_classes))
        batch = {0: torch.export.Dim.DYNAMIC}
        program: nn.Module = torch.export.export(network, (torch.zeros(2, *SIZE),), dynamic_shapes=(batch,)).module()
        return program

    spec = from_factory(exported, "exported", SIZE)
    found = rows(spec, "macs", "saved_activation_bytes", "latency")
    assert found["macs"].value == 10 * 3 * 32 * 32
    assert found["latency_ms"].status == "ok"
    reason = "a program of torch.export has no training mode: it stays in that of its export"
    assert found["saved_activation_bytes"].note == reason
    with pytest.raises(Unsupported, match=reason):
        training_step(Task(spec, CONFIG), batch_size=2)


def test_an_error_that_a_network_catches_does_not_crash_the_second_opinion() -> None:
    class Caught(nn.Linear):
        def forward(self, images: Tensor) -> Tensor:
            try:
                return super().forward(images.transpose(1, 2).view(len(images), -1))
            except RuntimeError:
                return super().forward(images.flatten(1))

    class Failing(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise RuntimeError("view size is not what it was")

    class CaughtModule(nn.Linear):
        def __init__(self, pixels: int, num_classes: int) -> None:
            super().__init__(pixels, num_classes)
            self.tried = Failing()

        def forward(self, images: Tensor) -> Tensor:
            with suppress(RuntimeError):
                self.tried(images)
            return super().forward(images.flatten(1))

    for kind in (Caught, CaughtModule):
        found = rows(own(kind), "macs", "macs_fvcore")
        assert found["macs"].value == 10 * 3 * 32 * 32
        assert found["macs_fvcore"].note.startswith("fvcore cannot count this network: RuntimeError: view size is not")


def test_methods_of_its_own_may_return_nothing_and_take_little() -> None:
    class Quiet(nn.Linear):
        def train(self, mode: bool = True) -> None:  # type: ignore[override]
            super().train(mode)

        def eval(self) -> None:  # type: ignore[override]
            super().eval()

        def float(self) -> None:  # type: ignore[override]
            super().float()

        def parameters(self, recurse: bool = True) -> Iterator[Any]:
            yield self.weight  # alone is trained

        def to(self, device: torch.device) -> None:  # type: ignore[override]
            super().to(device)

        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images.flatten(1))

    found = rows(own(Quiet), "macs", "latency", "throughput", "memory")
    assert {metric: row.note for metric, row in found.items() if row.failed} == {}
    assert (found["macs"].value, found["macs"].note) == (10 * 3 * 32 * 32, "")
    assert found["latency_ms"].memory_format == "channels_last"


class Noted(torch.autograd.Function):
    """Keeps what it needs in attributes of its context, in a list."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.gates = [x.sigmoid()]
        return x * ctx.gates[0]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * ctx.gates[0]


def in_half(self: Any, x: Tensor) -> Tensor:
    with saved_tensors_hooks(lambda kept: kept.half() if kept.shape == x.shape else kept, Tensor.float):
        return self.fc(x)


def some_again(self: Any, x: Tensor) -> Tensor:
    """Two layers to be computed again, but for their products of eight numbers each."""
    policy = partial(create_selective_checkpoint_contexts, [torch.ops.aten.addmm.default])
    return checkpoint(nn.Sequential(self.fc, nn.ReLU(), self.fc), x, use_reentrant=False, context_fn=policy)


KEPT: dict[str, tuple[Any, int]] = {  # beyond what the last layer keeps of its eight inputs
    "in a context": (lambda self, x: Noted.apply(x), 32),
    "in half by hooks of its own": (in_half, 16),
    "some to compute again": (some_again, 2 * 32),  # what goes in, and the first product; the second is the last input
    "to compute again": (lambda self, x: checkpoint(self.fc, x, use_reentrant=False), 32),
}


@pytest.mark.parametrize("name", KEPT)
def test_what_is_kept_where_no_hook_sees_it_is_kept(name: str) -> None:
    function, more = KEPT[name]
    make = applied(function, fc=partial(nn.Linear, 8, 8))
    found = rows(replace(spec_of("spare"), build=partial(between, make)), "saved_activation_bytes")
    alone = rows(replace(spec_of("spare"), build=plain), "saved_activation_bytes")
    apart = float(found["saved_activation_bytes"].value or 0) - float(alone["saved_activation_bytes"].value or 0)
    assert apart == more


def test_what_is_drawn_from_a_generator_of_its_own_is_refused_where_it_decides() -> None:
    def dropped(self: Any, x: Tensor) -> Tensor:
        return x.sigmoid() if self.draws.random() < 0.5 else x

    def shifted(self: Any, x: Tensor) -> Tensor:
        return x + self.draws.random()

    for function, status in ((dropped, "skipped"), (shifted, "ok")):
        make = applied(function, draws=partial(np.random.default_rng, 0))
        found = rows(replace(spec_of("spare"), build=partial(between, make)), "saved_activation_bytes")
        row = found["saved_activation_bytes"]
        assert (row.status, "a generator of its own" in row.note) == (status, status == "skipped")


_tables: dict[torch.Size, Tensor] = {}


def test_a_table_that_a_file_keeps_for_each_shape_serves_training_too() -> None:
    def scaled(self: Any, x: Tensor) -> Tensor:
        return x * _tables.setdefault(x.shape, torch.ones_like(x))

    found = rows(replace(spec_of("spare"), build=partial(between, applied(scaled))), "throughput")
    assert {metric: row.note for metric, row in found.items() if row.failed} == {}
    assert not any(table.is_inference() for table in _tables.values())


def test_a_network_that_takes_gradients_in_its_pass_runs_without_inference_mode() -> None:
    def uphill(self: Any, x: Tensor) -> Tensor:
        with torch.enable_grad():
            at = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.fc(at).square().sum(), at)
        return x + slope

    make = applied(uphill, fc=partial(nn.Linear, 8, 8))
    found = rows(replace(spec_of("spare"), build=partial(between, make)), "macs", "latency")
    assert found["macs"].value == FIELD["numpy"].macs + 2 * 64  # there and, for the image alone, back
    assert found["latency_ms"].status == "ok"
    assert "without inference mode, in which the network fails" in found["latency_ms"].note


def test_a_training_step_that_fails_costs_its_own_number_only() -> None:
    class NoBackward(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: Tensor) -> Tensor:
            return x.clone()

    class OneWay(nn.Module):
        def __init__(self, num_classes: int) -> None:
            super().__init__()
            self.body = plain(num_classes)

        def forward(self, x: Tensor) -> Tensor:
            return NoBackward.apply(self.body(x))

    found = rows(replace(spec_of("spare"), build=OneWay), "throughput", "memory")
    assert found["inference_images_per_s"].status == found["peak_inference_bytes"].status == "ok"
    assert found["train_images_per_s"].status == found["peak_training_bytes"].status == "failed"
    assert "backward" in found["train_images_per_s"].note


@pytest.mark.filterwarnings("ignore:.*autograd kernel was not registered")
def test_a_step_that_trains_nothing_has_no_training_rate() -> None:
    found = rows(spec_of("quantised"), "throughput", "memory")
    assert found["inference_images_per_s"].status == "ok"
    for metric in ("train_images_per_s", "peak_training_bytes"):
        assert (found[metric].status, "no parameter gets a gradient" in found[metric].note) == ("skipped", True)


def test_lazy_layers_that_nothing_runs_are_refused_by_name() -> None:
    found = rows(replace(spec_of("spare"), build=LazyNever), *COUNTS)
    for row in found.values():
        assert row.status == "skipped"
        assert row.note == "lazy layers that do not run, so that no pass finds out their sizes: spare"


def test_parameters_are_not_those_of_the_constructor_where_a_pass_makes_more() -> None:
    class SpareNorm(MadeAtFirstCall):
        def __init__(self, num_classes: int) -> None:
            super().__init__(num_classes)
            self.spare = nn.LazyBatchNorm2d(affine=False)  # has buffers to be sized, and no parameters

    class Failing(MadeAtFirstCall):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError(f"cannot go on from {tuple(super().forward(x).shape)}")

    for network, status, why in ((SpareNorm, "skipped", "lazy layers"), (Failing, "failed", "cannot go on")):
        for row in rows(replace(spec_of("spare"), build=network), *COUNTS).values():
            assert (row.status, why in row.note) == (status, True)


def test_finding_out_sizes_leaves_the_statistics_of_norms_as_they_were() -> None:
    class Normed(LazySpare):
        def __init__(self, num_classes: int) -> None:
            super().__init__(num_classes)
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(self.norm(x))

    network = build(replace(spec_of("spare"), build=Normed))
    assert network.get_parameter("spare.weight").shape == (10, 8)
    assert network.get_buffer("norm.num_batches_tracked") == 0
    assert network.get_buffer("norm.running_mean").count_nonzero() == 0


def test_parameters_that_never_run_are_named() -> None:
    found = rows(spec_of("spare"), "params", "macs")
    assert "314 of the parameters never run" in found["params"].note
    assert found["macs"].note.endswith(": spare")
    assert rows(REGISTRY["googlenet_aux"], "params")["params"].note.endswith(": aux1, aux2")


def test_weights_that_the_network_does_not_know_are_named() -> None:
    """A layer of 72 weights in a plain list, and one made in forward."""

    def hidden(self: Any, x: Tensor) -> Tensor:
        return self.layers[0](x)

    def made(self: Any, x: Tensor) -> Tensor:
        return nn.Linear(8, 8, device=x.device)(x)

    for make in (applied(hidden, layers=lambda: [nn.Linear(8, 8)]), applied(made)):
        found = rows(replace(spec_of("spare"), build=partial(between, make)), "params", "macs")
        assert (found["params"].value, found["macs"].value) == (314, FIELD["numpy"].macs + 64)
        for metric in ("params", "macs"):
            assert found[metric].note.startswith("72 weights are of layers that the network does not know")


def sent_through_numpy(self: Any, x: Tensor) -> Tensor:
    return x + torch.from_numpy(x.detach().numpy() @ np.eye(8, dtype=np.float32))


def sent_by_dlpack(self: Any, x: Tensor) -> Tensor:
    return x + torch.from_dlpack(np.from_dlpack(x.detach()) @ np.eye(8, dtype=np.float32))


def sent_as_lists(self: Any, x: Tensor) -> Tensor:
    return x + torch.tensor((np.array(x.tolist()) @ np.eye(8)).tolist())


def of_two_lengths(self: Any, x: Tensor) -> Tensor:
    """Rows of one and of three numbers as one nested tensor."""
    rows = torch.nested.nested_tensor_from_jagged(x.view(-1, 1)[:4], torch.tensor([0, 1, 4]))
    return x + self.c(rows).values().mean()


def three_times(self: Any, x: Tensor) -> Tensor:
    return while_loop(lambda n, x: n < 3, lambda n, x: (n + 1, self.a(x)), (torch.tensor(0), x))[1]


def of_complex_numbers(self: Any, x: Tensor) -> Tensor:
    """Four real products for each of complex ones."""
    return (x.to(torch.cfloat) @ torch.eye(8, dtype=torch.cfloat, device=x.device)).abs()


def in_a_pool(self: Any, x: Tensor) -> Tensor:
    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(self.a, (x, x)))


BRANCHES: dict[str, Any] = {
    "pool": (in_a_pool, 2 * 64, ()),
    "cond": (lambda self, x: torch.cond(x.sum() < torch.inf, self.a, self.b, (x,)), 64, ()),
    "while_loop": (three_times, 3 * 64, ()),
    "numpy": (sent_through_numpy, 0, ("lower_bound",)),
    "dlpack": (sent_by_dlpack, 0, ("lower_bound",)),
    "lists": (sent_as_lists, 0, ("lower_bound",)),
    "two lengths": (of_two_lengths, 0, ("lower_bound",)),
    "numpy that only tells": (lambda self, x: x * torch.from_numpy(np.ones(8, np.float32)).to(x), 0, ()),
    "distances": (lambda self, x: x + torch.cdist(x.expand(32, 8), x.expand(32, 8)).mean(), 0, ("lower_bound",)),
    "complex": (of_complex_numbers, 4 * 64, ()),
}


@pytest.mark.parametrize("name", BRANCHES)
def test_what_runs_elsewhere_is_counted_or_marked(name: str) -> None:
    function, macs, flags = BRANCHES[name]
    make = applied(function, a=partial(nn.Linear, 8, 8), b=partial(nn.Linear, 8, 8), c=partial(nn.Linear, 1, 1))
    found = rows(replace(spec_of("spare"), build=partial(between, make)), "macs")["macs"]
    assert (found.value, found.flags) == (FIELD["numpy"].macs + macs, flags)


def test_threads_of_its_own_and_the_end_of_the_program_are_refused_in_words() -> None:
    def threads(self: Any, x: Tensor) -> Tensor:
        thread = threading.Thread(target=self.fc, args=(x,))
        thread.start()
        thread.join()
        return x

    def ends(self: Any, x: Tensor) -> Tensor:
        sys.exit("enough")

    for function, said in (
        (threads, "starts threads of its own"),
        (ends, "ends the program that runs it: exit(enough)"),
    ):
        make = applied(function, fc=partial(nn.Linear, 8, 8))
        found = rows(replace(spec_of("spare"), build=partial(between, make)), "macs")["macs"]
        assert (found.status, said in found.note) == ("failed", True)


def test_a_network_that_compiles_itself_is_counted_as_written() -> None:
    def never(*_: object) -> None:
        raise AssertionError("it is compiled")

    def compiled(num_classes: int) -> nn.Module:
        network: Any = torch.compile(plain(num_classes), backend=never)
        return network

    found = rows(replace(spec_of("spare"), build=compiled), "params", "macs", "saved_activation_bytes")
    assert {row.status for row in found.values()} == {"ok"}
    assert (found["params"].value, found["macs"].value) == (314, FIELD["numpy"].macs)


@pytest.fixture
def operator() -> Iterator[str]:
    """An operator of somebody's own that computes a matrix product."""
    with torch.library._scoped_library("tests_field", "DEF") as library:
        library.define("product(Tensor a, Tensor b) -> Tensor")
        library.impl("product", torch.mm, "CPU")
        library.impl("product", torch.mm, "Meta")
        yield "tests_field::product"


class OwnOperator(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem, self.weight = nn.Linear(12, 6), nn.Parameter(torch.ones(6, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.tests_field.product(self.stem(x.flatten(1)), self.weight)


def test_an_operator_without_a_formula_makes_a_lower_bound_until_it_has_one(operator: str) -> None:
    found = rows(own_operator(), "macs", "activations", "macs_fvcore")
    assert found["macs"].value == 72
    assert found["uncounted_share"].value == 0.5
    assert f"lower bound: no formula for {operator} (1 call)" in found["macs"].note
    assert found["flops"].note == found["macs"].note
    assert found["macs"].flags == found["flops"].flags == found["activations"].flags == ("lower_bound",)
    assert found["macs_fvcore"].value == 72
    overload = torch.ops.tests_field.product
    register_flop_formula(overload)(lambda a, b, out_shape=None, **_: 2 * a[0] * a[1] * b[1])
    try:
        found = rows(own_operator(), "macs")
        assert (found["macs"].value, found["macs"].note) == (72 + 60, "")
    finally:
        flop_registry.pop(overload)


def own_operator() -> ModelSpec:
    return replace(spec_of("spare"), input_size=(3, 2, 2), build=partial(OwnOperator))  # another one each time


def test_one_probe_leaves_nothing_in_a_network_for_the_next() -> None:
    class Remembers(nn.Module):
        """Computes more in each of its calls."""

        def __init__(self, num_classes: int) -> None:
            super().__init__()
            self.calls, self.fc = 0, nn.Linear(3, num_classes)

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return sum(self.fc(x.mean((2, 3))) for _ in range(self.calls))

    spec = replace(spec_of("spare"), build=Remembers)
    for probe in ("saved_activation_bytes", "traffic", "macs"):
        found = rows(spec, probe)
    assert found["macs"].value == 30


def test_a_flop_budget_alone_needs_a_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = Inputs(image_sets={"cifar": image_set(tmp_path, range(10), tuple("abcdefghij"))})
    found = rows(spec_of("rows"), "accuracy", inputs=inputs)
    assert found["top1"].status == "ok"
    assert found["train_flops"].value == pytest.approx(60 * 6 * FIELD["rows"].macs)
    shares = replace(spec_of("spare"), build=lambda num_classes: nn.Sequential(plain(num_classes), nn.Softmax(1)))
    assert "let it return logits" in rows(shares, "accuracy", inputs=inputs)["top1"].note
    viewed = rows(spec_of("viewed"), "accuracy", inputs=inputs)["top1"]
    assert (viewed.status, viewed.memory_format) == ("ok", "contiguous")

    def uncountable(spec: ModelSpec) -> None:
        raise ValueError("planted")

    monkeypatch.setattr("bench.probes.accuracy.layer_products", uncountable)
    found = rows(spec_of("rows"), "accuracy", inputs=inputs)
    assert found["top1"].status == "ok"
    assert (found["train_flops"].status, "planted" in found["train_flops"].note) == ("skipped", True)
    found = rows(spec_of("rows"), "accuracy", inputs=inputs, config=replace(CONFIG, budget=Budget.parse("1pflop")))
    assert (found["top1"].status, "a budget in epochs" in found["top1"].note) == ("skipped", True)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_run_in_the_precision_of_the_run(precision: str, dtype: torch.dtype) -> None:
    spec = replace(spec_of("spare"), build=partial(typed, dtype))
    config = replace(CONFIG, execution=Execution(precision))  # type: ignore[arg-type]
    assert rows(spec, "latency", config=config)["latency_ms"].status == "ok"
    found = MEASURE["predicted_memory"](Task(spec, config, ("predicted_memory",))).readings["weight_bytes"]
    assert isinstance(found, Reading)
    assert found.value == 4 * 314  # training keeps them in fp32


@pytest.mark.parametrize("reentrant", [False, True])
def test_what_is_computed_again_is_cast_as_it_was(reentrant: bool) -> None:
    class Again(nn.Module):
        def __init__(self, num_classes: int, again: bool) -> None:
            super().__init__()
            self.body, self.again = plain(num_classes), again

        def forward(self, x: Tensor) -> Tensor:
            first = self.body[0](x)
            if self.again:
                return checkpoint(self.body[1:], first, use_reentrant=reentrant)
            return self.body[1:](first)

    config = replace(CONFIG, execution=Execution("bf16"))
    kept = []
    for again in (False, True):
        spec = replace(spec_of("spare"), build=partial(Again, again=again))
        found = MEASURE["predicted_memory"](Task(spec, config, ("predicted_memory",))).readings["activation_bytes"]
        assert isinstance(found, Reading)
        kept.append(found.value)
    assert torch.amp.autocast is torch.autocast
    # What comes in is kept in place of what ReLU puts out, or beside it, each of 8 x 32 x 32 numbers of 4 images.
    assert kept[1] - kept[0] == (2 * 4 * 8 * 32 * 32 if reentrant else 0)


def test_the_largest_batch_of_a_network_that_needs_data_is_found_on_a_straight_line() -> None:
    spec = spec_of("rows")
    config = replace(CONFIG, fit=MemorySize(100, "MiB"))
    found = rows(spec, "memory", config=config)
    assert found["largest_inference_batch"].value > found["largest_training_batch"].value > 4  # type: ignore[operator]


def test_flex_attention_is_counted_and_timed_and_its_missing_backward_is_said() -> None:
    from torch.nn.attention.flex_attention import flex_attention

    class Flex(nn.Module):
        """64 tokens in 4 heads of 16."""

        def __init__(self, num_classes: int) -> None:
            super().__init__()
            self.patch, self.qkv = nn.Conv2d(3, 64, 4, stride=4), nn.Linear(64, 192, bias=False)
            self.fc = nn.Linear(64, num_classes)

        def forward(self, x: Tensor) -> Tensor:
            tokens = self.patch(x).flatten(2).transpose(1, 2)
            q, k, v = self.qkv(tokens).unflatten(2, (3, 4, 16)).permute(2, 0, 3, 1, 4)
            return self.fc(flex_attention(q, k, v).transpose(1, 2).flatten(2).mean(1))

    found = rows(replace(spec_of("spare"), build=Flex), "macs", "saved_activation_bytes")
    assert found["macs"].value == 196_608 + 786_432 + 524_288 + 640
    assert "backward" in found["saved_activation_bytes"].note


def test_the_second_opinion_stands_on_its_own() -> None:
    assert rows(spec_of("pooled"), "macs_fvcore")["macs_fvcore"].value == FIELD["pooled"].macs
    skipped = rows(spec_of("quantised"), "macs_fvcore")["macs_fvcore"]
    assert (skipped.status, "fvcore cannot count" in skipped.note) == ("skipped", True)
    assert rows(spec_of("masked"), "macs_fvcore")["macs_fvcore"].status == "ok"
