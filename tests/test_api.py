"""`import bench`: an object, a factory or a name measured from Python, tables and charts."""

import copy
import gc
import importlib
import os
import random
import re
import subprocess
import sys
import warnings
import weakref
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import bench
from bench.device.execution import settings_kept
from bench.models import REGISTRY
from bench.records.record import Record
from bench.records.run_folder import Run
from bench.runner.measure import _crowded
from bench.training import randomness
from tests.render.conftest import bad, kept_run, listed, ok

ROOT = Path(__file__).resolve().parents[1]
PARAMS, MACS = 224 + 16 + 63, 8 * 30 * 30 * 27 + 8 * 7  # of `small`, by hand


def small(num_classes: int = 7) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, num_classes),
    )


class Remembers(nn.Module):
    """Keeps its last output with its history, which PyTorch refuses to copy."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = small()
        self.last = self.layers(torch.randn(2, 3, 32, 32))

    def forward(self, images: Tensor) -> Tensor:
        self.last = self.layers(images)
        return self.last


def rows_of(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    rows = frame[frame["metric"] == metric]
    assert len(rows), f"no row of {metric}"
    return rows


def value_of(frame: pd.DataFrame, metric: str) -> float:
    (row,) = rows_of(frame, metric).to_dict("records")
    assert row["status"] == "ok", row["note"]
    return float(row["value"])


def everything_of(network: nn.Module) -> dict[str, Any]:
    """What may not change: values and identities."""
    tensors = [*network.named_parameters(), *network.named_buffers()]
    return {
        "values": {name: tensor.detach().clone() for name, tensor in tensors},
        "storages": {name: (id(tensor), tensor.data_ptr(), tensor.dtype, tensor.stride()) for name, tensor in tensors},
        "trainable": {name: tensor.requires_grad for name, tensor in tensors},
        "gradients": {name: tensor.grad if tensor.is_leaf else None for name, tensor in tensors},
        "modes": [module.training for module in network.modules()],
        "hooks": [list(module._forward_hooks.values()) for module in network.modules()],
        "attributes": [sorted(vars(module)) for module in network.modules()],
    }


def require_unchanged(network: nn.Module, before: dict[str, Any]) -> None:
    after = everything_of(network)
    for name, value in before.pop("values").items():
        assert torch.equal(value, after["values"][name]), name
    for name, gradient in before.pop("gradients").items():
        assert gradient is after["gradients"][name], name
    for what, value in before.items():
        assert value == after[what], what


def run_python(code: str, folder: Path) -> str:
    (folder / "script.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_loads_nothing_heavy_and_records_table_and_chart_no_torch(tmp_path: Path) -> None:
    heavy = "{'torch', 'numpy', 'pandas', 'matplotlib', 'msgspec'}"
    code = f"import sys, bench\nprint(sorted({heavy} & set(sys.modules)), 'measure' in dir(bench))\n"
    code += "bench.records, bench.table, bench.chart\nprint('torch' in sys.modules)"
    assert run_python(code, tmp_path) == "[] True\nFalse\n"


def test_the_package_has_no_other_names() -> None:
    with pytest.raises(AttributeError, match="no attribute 'benchmark'"):
        _ = bench.benchmark  # type: ignore[attr-defined]


def test_an_object_a_factory_and_a_name_give_the_numbers_worked_out_by_hand() -> None:
    for network in (small(), small, partial(small, num_classes=7), nn.Sequential(small())):
        frame = bench.measure(network)
        assert list(frame.columns) == [field.name for field in fields(Record)]
        assert (value_of(frame, "params"), value_of(frame, "macs")) == (PARAMS, MACS)
    frame = bench.measure("resnet20_cifar", probes=("params",))
    assert value_of(frame, "params") == REGISTRY["resnet20_cifar"].params


def test_a_factory_is_told_the_number_of_classes() -> None:
    assert value_of(bench.measure(small, num_classes=11), "params") == PARAMS + 4 * (8 + 1)


def test_a_number_of_classes_that_the_network_does_not_have_is_refused() -> None:
    def fixed(n_classes: int = 7) -> nn.Module:
        return small(n_classes)

    for network in (fixed, small(7)):
        assert set(bench.measure(network, num_classes=7)["status"]) == {"ok"}
        found = bench.measure(network, num_classes=100)
        assert set(found["status"]) == {"failed"}
        assert found["note"].str.contains("returns 7 classes where 100 are asked for").all()


def test_probes_may_be_named_by_their_metrics_or_one_alone() -> None:
    frame = bench.measure(small, probes="flops")
    assert set(frame["probe"]) == {"macs"}
    assert value_of(frame, "flops") == 2 * MACS


def test_a_network_has_the_name_of_its_class_or_another_one() -> None:
    assert set(bench.measure(small(), probes="params")["model"]) == {"Sequential"}
    assert set(bench.measure(small, probes="params")["model"]) == {"small"}
    assert set(bench.measure(small, probes="params", name="mine")["model"]) == {"mine"}


def test_an_object_is_as_it_was_after_it_was_timed_and_trained() -> None:
    network = small()
    network(torch.randn(4, 3, 32, 32)).sum().backward()
    network[0].requires_grad_(False)
    network[1].eval()
    seen: list[int] = []
    network[2].register_forward_hook(lambda *_: seen.append(1))
    before, state = everything_of(network), torch.get_rng_state()
    frame = bench.measure(
        network, probes=("throughput", "latency", "memory", "saved_activation_bytes"), batch_size=2, rounds=1
    )
    assert rows_of(frame, "train_images_per_s")["status"].tolist() == ["ok"]
    assert rows_of(frame, "inference_images_per_s")["note"].str.contains("in the calling process").all()
    require_unchanged(network, before)
    assert torch.equal(state, torch.get_rng_state())


def test_an_object_that_cannot_be_copied_is_counted_and_timed_but_not_trained() -> None:
    network = Remembers()
    last, before = network.last, everything_of(network)
    frame = bench.measure(
        network, probes=("params", "macs", "activations", "throughput", "memory"), batch_size=2, rounds=1
    )
    assert (value_of(frame, "params"), value_of(frame, "macs")) == (PARAMS, MACS)
    assert value_of(frame, "inference_images_per_s") > 0
    for metric in ("train_images_per_s", "peak_training_bytes"):
        (row,) = rows_of(frame, metric).to_dict("records")
        assert row["status"] == "skipped"
        assert "the object cannot be copied" in row["note"]
    require_unchanged(network, before)
    assert network.last is last


def test_an_object_on_the_meta_device_is_counted_and_what_needs_weights_is_skipped() -> None:
    probes = ("params", "macs", "activations", "saved_activation_bytes", "latency", "throughput", "predicted_memory")
    with torch.device("meta"):
        network = small(7)
    frame, real = (bench.measure(each, probes=probes[:4], device="cpu") for each in (network, small(7)))
    assert list(frame["value"]) == list(real["value"])
    assert set(frame["status"]) == {"ok"}
    needs_weights = bench.measure(network, probes=probes[4:], device="cpu", rounds=1)
    assert set(needs_weights["status"]) == {"skipped"}
    notes = needs_weights["note"][~needs_weights["metric"].str.contains("replayed")]
    assert set(notes) == {
        "the object is on the meta device and has no weights: pass the class or function that builds it"
    }
    assert all(parameter.is_meta for parameter in network.parameters())


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.parametrize("inside", [False, True])
def test_torchscript_is_counted_and_trained_as_what_it_was_made_of(inside: bool) -> None:
    network = small()
    network[0].weight.requires_grad_(False)
    script: nn.Module = torch.jit.script(network)
    script = nn.Sequential(script) if inside else script
    before = everything_of(script)
    probes = ("params", "macs", "activations", "saved_activation_bytes", "memory")
    frames = [bench.measure(each, probes=probes, device="cpu", precision="fp32") for each in (script, network)]
    for metric in ("params", "macs", "activations", "saved_activation_bytes"):
        rows = [rows_of(frame, metric) for frame in frames]
        assert len({(*row["value"], *row["note"]) for row in rows}) == 1, metric
    # A step of two images is taken before it is weighed.
    assert value_of(frames[0], "peak_training_bytes") > value_of(frames[0], "peak_inference_bytes")
    half = bench.measure(script, probes="predicted_memory", device="cpu", precision="bf16")
    assert "TorchScript" in rows_of(half, "predicted_training_bytes")["note"].item()
    require_unchanged(script, before)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_optimised_torchscript_is_a_lower_bound() -> None:
    network: nn.Module = torch.jit.optimize_for_inference(torch.jit.script(small().eval()))
    rows = bench.measure(network, probes="macs")
    assert (
        rows_of(rows, "macs")["note"].item().startswith("lower bound: no formula for prim::mkldnn_convolution (1 call)")
    )


def test_an_object_made_in_inference_mode_is_measured_and_stays_in_it() -> None:
    with torch.inference_mode():
        network = small()
    rows = bench.measure(network, probes=("params", "macs", "latency"), device="cpu", rounds=1)
    assert set(rows_of(rows, "latency_ms")["status"]) == {"ok"}
    assert (value_of(rows, "params"), value_of(rows, "macs")) == (PARAMS, MACS)
    assert all(parameter.is_inference() for parameter in network.parameters())


@pytest.mark.parametrize("copied", [True, False])
def test_lazy_layers_of_an_object_are_counted_and_stay_lazy(copied: bool) -> None:
    network = nn.Sequential(nn.LazyConv2d(8, 3), nn.LazyBatchNorm2d(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network.append(nn.LazyLinear(7))
    if not copied:
        network.last = torch.ones(1, requires_grad=True) * 2  # which PyTorch does not copy
    tensors = [*network.parameters(), *network.buffers()]
    frame = bench.measure(network, probes=("params", "macs", "saved_activation_bytes"))
    assert (value_of(frame, "params"), value_of(frame, "macs")) == (PARAMS, MACS)
    assert [type(each) for each in network] == [
        nn.LazyConv2d, nn.LazyBatchNorm2d, nn.AdaptiveAvgPool2d, nn.Flatten, nn.LazyLinear,
    ]  # fmt: skip
    assert all(now is before for now, before in zip(network.parameters(), tensors, strict=False))
    assert network(torch.randn(2, 1, 5, 5)).shape == (2, 7)  # other images, which a layer with sizes would refuse


def test_an_object_may_have_a_buffer_that_is_one_number_expanded() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 10))
    network.register_buffer("scale", torch.ones(1).expand(10))
    assert list(bench.measure(network, input_size=(3, 2, 2), probes=("params",))["value"]) == [130]


def test_an_object_of_half_precision_keeps_it() -> None:
    for network in (small().bfloat16(), Remembers().bfloat16()):
        before = everything_of(network)
        assert value_of(bench.measure(network), "macs") == MACS
        require_unchanged(network, before)


def test_a_copy_that_runs_the_original_changes_nothing_for_good() -> None:
    network = small()
    forward = network.forward
    network.forward = lambda images: forward(images)  # type: ignore[method-assign]
    before = everything_of(network)
    bench.measure(network, probes="throughput", batch_size=2, rounds=1)
    require_unchanged(network, before)


def test_an_object_is_not_kept_in_memory() -> None:
    network = small()
    alive = weakref.ref(network)
    bench.measure(network)
    del network
    gc.collect()
    assert alive() is None


def test_a_network_without_parameters_has_none_and_nothing_to_train() -> None:
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    frame = bench.measure(network, probes=("params", "macs", "throughput"), batch_size=2, rounds=1)
    assert (value_of(frame, "params"), value_of(frame, "macs")) == (0, 0)
    (row,) = rows_of(frame, "train_images_per_s").to_dict("records")
    assert (row["status"], "nothing to train" in row["note"]) == ("skipped", True)


def test_images_of_the_wrong_size_make_a_failed_row() -> None:
    frame = bench.measure(small(), input_size=(1, 28, 28), probes=("macs", "throughput"), batch_size=2, rounds=1)
    assert set(frame.loc[frame["metric"].isin(["macs", "inference_images_per_s"]), "status"]) == {"failed"}
    assert frame.loc[frame["metric"] == "macs", "note"].str.contains("expected input").all()


def test_logits_of_another_number_of_images_are_no_speed() -> None:
    class Loses(Remembers):
        def forward(self, images: Tensor) -> Tensor:
            return self.layers(images)[:0]

    (row,) = rows_of(bench.measure(Loses, probes="latency_ms", rounds=1), "latency_ms").to_dict("records")
    assert row["status"] == "failed"
    assert "logits of 0 images where it is given 1" in row["note"]


@pytest.mark.parametrize(("busy", "spins", "said"), [(90.0, True, True), (90.0, False, False), (1.0, True, False)])
def test_timings_beside_other_work_say_what_to_do(
    busy: float, spins: bool, said: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    if not spins:
        monkeypatch.setenv("GOMP_SPINCOUNT", "10000")
    monkeypatch.setattr("psutil.cpu_percent", lambda _: busy)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert ("GOMP_SPINCOUNT=10000" in _crowded()) == said


def test_the_callers_settings_of_pytorch_make_no_difference() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode():
            frame = bench.measure(small, probes="throughput", batch_size=2, rounds=1)
        assert torch.get_default_dtype() is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert value_of(frame, "train_images_per_s") > 0


class SeesSettings(nn.Sequential):
    """What else of the caller's would change what is measured."""

    seen: ClassVar = set[tuple[bool, ...]]()

    def forward(self, images: Tensor) -> Tensor:
        of_autocast = torch.autocast_increment_nesting() > 1
        torch.autocast_decrement_nesting()
        self.seen.add((torch.is_autocast_enabled("cpu"), of_autocast, torch.is_anomaly_enabled()))
        self.seen.add((torch.are_deterministic_algorithms_enabled(), torch.backends.cuda.flash_sdp_enabled()))
        output: Tensor = super().forward(images)
        return output


def test_within_the_callers_autocast_or_anomaly_mode_it_is_measured_as_outside() -> None:
    torch.set_deterministic_debug_mode("error")
    try:
        with (
            torch.autocast("cpu", torch.bfloat16),
            torch.autograd.set_detect_anomaly(True, check_nan=False),
            sdpa_kernel(SDPBackend.MATH),
        ):
            frame = bench.measure(lambda: SeesSettings(small()), probes="throughput", batch_size=2, rounds=1)
            assert torch.is_autocast_enabled("cpu")
            assert (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()) == (True, False)
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.set_deterministic_debug_mode("default")
    assert value_of(frame, "train_images_per_s") > 0
    assert SeesSettings.seen == {(False, False, False), (False, True)}


def test_a_training_within_the_callers_autocast_is_the_training_outside() -> None:
    """Where casts of weights were kept from step to step, nothing would be learned."""
    settings: dict[str, Any] = {"budget": "0.2kimg", "dataset": "synthetic", "test_images": 100, "precision": "bf16"}

    def loss() -> float:
        return value_of(bench.measure(partial(small, num_classes=10), probes="accuracy", **settings), "train_loss")

    outside = loss()
    with torch.autocast("cpu", torch.bfloat16):
        assert loss() == outside


class Switches(nn.Sequential):
    """Sets what is the whole process's, as a script may that was never meant to be imported."""

    def __init__(self) -> None:
        super().__init__(small())
        self.switch()

    def forward(self, images: Tensor) -> Tensor:
        self.switch()
        output: Tensor = super().forward(images.float())
        return output

    def switch(self) -> None:
        torch.set_num_threads(torch.get_num_threads() + 1)
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        torch.use_deterministic_algorithms(True)
        torch.set_float32_matmul_precision("medium")
        torch.backends.cudnn.benchmark = torch.backends.cudnn.deterministic = True
        torch.backends.cuda.enable_flash_sdp(False)
        torch.manual_seed(7)
        random.seed(7)
        np.random.seed(7)  # noqa: NPY002


def switched() -> list[Any]:
    return [
        (torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()),
        (torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision()),
        (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic, torch.backends.cuda.flash_sdp_enabled()),
        (torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())),  # noqa: NPY002
    ]


def test_what_a_network_switches_for_the_whole_process_is_put_back() -> None:
    with settings_kept(), randomness.preserved(torch.device("cpu")):  # for the other tests
        network = Switches()
        assert torch.get_default_dtype() is torch.float64
    before = switched()
    for each in (Switches, network):
        value_of(bench.measure(each, probes=("params", "predicted_inference_bytes"), device="cpu"), "params")
        assert switched() == before


def test_a_factory_is_trained_and_an_object_is_not() -> None:
    settings: dict[str, Any] = {"budget": "0.2kimg", "dataset": "synthetic", "test_images": 100}
    frame = bench.measure(partial(small, num_classes=10), probes="accuracy", **settings)
    (row,) = rows_of(frame, "top1").to_dict("records")
    assert (row["status"], row["dataset"], row["budget"], row["trials"]) == ("ok", "synthetic", "0.2kimg", 100)
    frame = bench.measure(small(), probes="accuracy", **settings)
    assert set(frame["status"]) == {"skipped"}
    assert frame["note"].str.contains("fresh weights").all()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"probes": "speed"}, "no probe is named 'speed'"),
        ({"batch_size": 0}, "batch_size 0: must be above zero"),
        ({"device": "tpu"}, "device 'tpu': write auto"),
        ({"input_size": (32, 32)}, "input_size=.*write .channels, height, width."),
        ({"num_classes": 0}, "num_classes=0: must be a whole number above zero"),
        ({"budget": "1ep 2ep"}, "write one budget"),
        ({"precision": "tf32", "device": "cpu"}, "^precision tf32: only GPUs have it"),
        ({"name": "resnet18"}, "choose one that no network of the registry has"),
    ],
)
def test_a_wrong_argument_is_said_in_one_line(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(bench.RequestError, match=said) as raised:
        bench.measure(small(), **arguments)
    assert "\n" not in str(raised.value)


def test_what_is_no_network_is_refused_in_one_line() -> None:
    wrong: list[tuple[Any, str]] = [
        ("resnet20_cifr", "nearest: resnet20_cifar"),
        (3, "not a value of type int: pass one nn.Module, a class or function that builds one, or a name"),
        ([small()], "not a value of type list: pass one nn.Module"),
        (lambda depth: small(depth), "missing a required argument: 'depth'"),
    ]
    for network, said in wrong:
        with pytest.raises(bench.RequestError, match=said):
            bench.measure(network)
    with pytest.raises(bench.RequestError, match=r"input_size=\(3, 64, 64\): resnet20_cifar has \(3, 32, 32\)"):
        bench.measure("resnet20_cifar", input_size=(3, 64, 64))


def test_layers_add_up_to_the_network() -> None:
    for network in (small(), small):
        table = bench.layers(network)
        assert (table["params"].sum(), table["macs"].sum()) == (PARAMS, MACS)
        assert table["operation"].tolist()[:2] == ["Conv2d", "BatchNorm2d"]
        assert table["output_shape"].tolist()[0] == [8, 30, 30]
    with pytest.raises(bench.RequestError, match="Sequential cannot be shown: RuntimeError"):
        bench.layers(small(), input_size=(1, 28, 28))


def test_layers_that_are_given_their_weights_from_outside_keep_their_products() -> None:
    class Given(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = small()

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            weights = {name: 2 * weight for name, weight in self.body.named_parameters()}
            return torch.func.functional_call(self.body, weights, images)

    sums = ["params", "macs", "activations"]
    outside, inside = bench.layers(Given), bench.layers(small)
    assert outside[sums].sum().to_dict() == inside[sums].sum().to_dict()


def test_a_network_is_built_by_its_name() -> None:
    network = bench.build("resnet20_cifar", num_classes=7)
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, 7)
    with pytest.raises(bench.RequestError, match="nearest: resnet20_cifar"):
        bench.build("resnet20_cifr")
    with pytest.raises(bench.RequestError, match="more than one network"):
        bench.build("resnet*")


def test_the_registry_is_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["lenet5_mnist", "resnet20_cifar"]
    monkeypatch.setattr("bench.models.REGISTRY", {name: REGISTRY[name] for name in names})
    table = bench.registry()
    assert table["name"].tolist() == names
    expected = ["ResNet", "cifar", REGISTRY["resnet20_cifar"].params]
    assert list(table.set_index("name").loc["resnet20_cifar", ["family", "track", "params"]]) == expected


def three(folder: Path) -> Run:
    """A run of two networks with an accuracy, and a third without."""
    rows = [
        row
        for name, macs, top1 in (("a", 1e6, 0.5), ("b", 2e6, 0.6))
        for row in (
            ok(name, "params", macs / 10),
            ok(name, "macs", macs),
            ok(name, "top1", top1, dataset="cifar10", budget="1ep", trials=10_000),
        )
    ]
    models = [listed(name, "ResNet", track="cifar") for name in "abc"]
    return kept_run(folder, [*rows, bad("c", "macs", "failed", "it broke")], models, "kept")


def test_records_and_tables_of_a_run_are_those_of_its_files(tmp_path: Path) -> None:
    run = three(tmp_path)
    for source in (run, "kept", str(run.folder)):
        frame = bench.records(source, tmp_path)
        assert frame["model"].tolist() == ["a"] * 3 + ["b"] * 3 + ["c"]
        assert frame["note"].tolist()[-1] == "it broke"
        assert frame["trials"].tolist()[2] == 10_000
        table = bench.table(source, tmp_path).set_index("model")
        assert list(table.loc["b", ["family", "macs", "top1", "budget"]]) == ["ResNet", 2_000_000, 0.6, "1ep"]
        assert table.loc["a", "top1_low"] == pytest.approx(0.4902, abs=1e-4)  # Wilson's interval of 5000 in 10000
        assert table.loc["c", "status"] == "failed"
    pd.testing.assert_frame_equal(bench.table(frame), bench.table(run))
    with pytest.raises(bench.RunError, match="there is no run 'other'"):
        bench.records("other", tmp_path)


def test_records_can_be_called_and_is_the_package() -> None:
    package: Any = importlib.import_module("bench.records")
    assert package.record.Record is Record
    assert callable(package)
    assert bench.records is package


def test_a_chart_has_a_named_point_for_each_network_that_has_both_numbers(tmp_path: Path) -> None:
    table = bench.table(three(tmp_path))
    figure = bench.chart(table)
    assert isinstance(figure, Figure)
    axes = figure.axes[0]
    words = {text.get_text() for text in axes.texts}
    assert {"a", "b"} <= words
    assert "c" not in words
    heading = " ".join(text.get_text() for text in figure.texts)
    assert "Test accuracy after 1 epoch against MACs" in heading
    assert "dataset cifar10 · budget 1ep · without macs or top1: c" in heading
    offsets = {tuple(np.asarray(collection.get_offsets())[0].tolist()) for collection in axes.collections}
    assert offsets >= {(1e6, 0.5), (2e6, 0.6)}
    figure.savefig(tmp_path / "chart.png")


def test_a_network_of_ones_own_stands_on_the_chart_beside_the_classics() -> None:
    probes = ("params", "macs", "activations")
    frames = [bench.measure(network, probes=probes) for network in (small(), "resnet20_cifar")]
    table = pd.concat([bench.table(frame) for frame in frames])
    assert table["family"].tolist() == ["own", "ResNet"]
    figure = bench.chart(table, y="activations", size=None)
    assert {"Sequential", "ResNet-20"} <= {text.get_text() for text in figure.axes[0].texts}


def test_a_chart_never_compares_what_was_measured_differently(tmp_path: Path) -> None:
    table = bench.table(three(tmp_path))
    other = copy.copy(table).assign(budget="2ep", model=table["model"] + "2")
    with pytest.raises(bench.RequestError, match="top1 was measured with budget 1ep and 2ep"):
        bench.chart(pd.concat([table, other]))
    with pytest.raises(bench.RequestError, match="a has several rows"):
        bench.chart(pd.concat([table, table]))
    with pytest.raises(bench.RequestError, match="no metric 'top2'; nearest: top1"):
        bench.chart(table, y="top2")
    with pytest.raises(bench.RequestError, match="no network has both macs and latency_ms"):
        bench.chart(table, y="latency_ms")
    with pytest.raises(bench.RequestError, match="no table of records"):
        bench.table(table)


def test_a_script_without_a_main_guard_prints_its_row_beside_a_classic(tmp_path: Path) -> None:
    code = """import random
import bench
from torch import nn
before = random.getstate()
net = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
for frame in (bench.measure(net, probes="throughput", batch_size=2, rounds=1), bench.measure(net),
              bench.measure("resnet18_cifar")):
    print(bench.table(frame)[["model", "status", "params"]].to_string(header=False, index=False))
assert random.getstate() == before  # whatever was imported
"""
    lines = [line.split() for line in run_python(code, tmp_path).splitlines()]
    classic = str(REGISTRY["resnet18_cifar"].params)
    assert lines == [["Sequential", "ok", "NaN"], ["Sequential", "ok", "30730"], ["resnet18_cifar", "ok", classic]]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["script.py"]  # no run is written


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_what_the_documentation_shows_runs(page: str, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    for block in blocks:
        if block.startswith("# mine.py"):
            (tmp_path / "mine.py").write_text(block)
    (shown,) = (block for block in blocks if "import bench" in block)
    run_python(shown, tmp_path)


def test_the_notebook_runs_and_shows_the_chart(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ipykernel")
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(ROOT / "docs" / "notebook.ipynb", as_version=4)
    assert len(notebook.cells) == 10
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the client's own
        nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(ROOT / "docs")}}).execute()
    assert "image/png" in notebook.cells[-1].outputs[0].data
