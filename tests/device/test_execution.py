"""TF32 is said, not inherited: set both ways, undone afterwards, and visible in the arithmetic where a GPU has it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from bench.config import Execution, Precision, RequestError
from bench.device.execution import arithmetic, arithmetics, check, settings_kept
from bench.regression.ab.revision import Revision
from bench.runner.prepare import prepare
from bench.runner.request import Request
from tests.device.cards import cards


def switches() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


BACKENDS: Any = torch.backends
ON_GPUS = (BACKENDS.cuda.matmul, BACKENDS.cudnn.conv, BACKENDS.cudnn.rnn)
ON_CPUS = (BACKENDS.mkldnn.matmul, BACKENDS.mkldnn.conv, BACKENDS.mkldnn.rnn)


def of_products() -> list[str]:
    return [each.fp32_precision for each in (*ON_GPUS, *ON_CPUS)]


def choice() -> tuple[bool, bool]:
    return torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic


@pytest.mark.parametrize(("precision", "allowed"), [("fp32", False), ("tf32", True)])
@pytest.mark.parametrize("before", [False, True])
def test_both_switches_are_set_and_put_back(precision: Precision, allowed: bool, before: bool) -> None:
    found = switches()
    try:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = before
        with arithmetic(precision):
            assert switches() == (allowed, allowed)
        assert switches() == (before, before)
        with pytest.raises(KeyError), arithmetic(precision):
            raise KeyError
        assert switches() == (before, before)
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = found


def test_a_precision_that_pytorch_could_not_say_is_put_back_without_a_warning() -> None:
    found = switches()
    try:
        torch.set_float32_matmul_precision("medium")
        torch.backends.cuda.matmul.allow_tf32 = False  # both ways to set it: neither is the whole truth any more
        with pytest.raises(RuntimeError):
            torch.get_float32_matmul_precision()
        before = of_products()
        with settings_kept():
            torch.set_float32_matmul_precision("high")
        assert of_products() == before
    finally:
        torch.set_float32_matmul_precision("highest")
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = found


@pytest.mark.parametrize(
    ("of", "word"),
    [
        (BACKENDS, "tf32"),
        (BACKENDS, "ieee"),
        (BACKENDS.cuda.matmul, "tf32"),
        (BACKENDS.cudnn, "ieee"),
        (BACKENDS.cudnn.conv, "ieee"),
        (BACKENDS.mkldnn, "bf16"),
    ],
)
def test_a_module_may_have_said_in_pytorchs_newer_way_how_exact_products_are(of: Any, word: str) -> None:
    """The older way, which the suite and others still ask, raises where the newer one says something else."""
    with settings_kept():
        try:
            of.fp32_precision = word
            before = of_products()
            for precision, on_gpus in (("fp32", "ieee"), ("bf16", "tf32")):
                with arithmetic(precision):  # type: ignore[arg-type]
                    assert of_products() == [on_gpus] * 3 + ["ieee"] * 3
                    assert switches() == (on_gpus == "tf32",) * 2
                assert of_products() == before
        finally:
            BACKENDS.fp32_precision = "none"


def test_a_cpu_computes_in_fp32_though_a_module_allows_less() -> None:
    with settings_kept():
        torch.set_float32_matmul_precision("medium")
        with arithmetic("fp32"):
            assert BACKENDS.mkldnn.matmul.fp32_precision == "ieee"
        assert BACKENDS.mkldnn.matmul.fp32_precision == "bf16"
        assert torch.get_float32_matmul_precision() == "medium"


def test_how_kernels_are_chosen_is_put_back() -> None:
    before = choice()
    with arithmetic("fp32"):
        with arithmetic("fp32", autotune=False):
            assert choice() == (False, True)
        assert choice() == (True, False)
    assert choice() == before


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [
        ([(7, 5)], "fp32"),
        ([(8, 6)], "bf16"),
        ([(9, 0)], "bf16"),
        ([(8, 0), (7, 5)], "fp32"),
        ([(8, 9), (12, 0)], "bf16"),
    ],
)
def test_without_a_word_a_run_is_in_an_arithmetic_that_every_gpu_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capabilities: list[tuple[int, int]], precision: str
) -> None:
    cards(monkeypatch, *capabilities)
    request = Request(device="cuda", models=("lenet5_cifar",), results_dir=tmp_path)
    prepared = prepare(request, ("throughput",), print)
    assert prepared.config.execution.precision == precision
    assert len(prepared.devices) == len(capabilities)
    assert Revision(["--device", "cuda:0"]).execution.split(",")[0] == ("bf16" if capabilities[0] >= (8, 0) else "fp32")


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_an_arithmetic_that_is_asked_for_and_that_one_gpu_lacks_is_refused(
    monkeypatch: pytest.MonkeyPatch, precision: Precision
) -> None:
    cards(monkeypatch, (9, 0), (7, 5))
    request = Request(device="cuda", models=("lenet5_cifar",), precision=precision, dry_run=True)
    with pytest.raises(RequestError, match=rf"cuda:1 \(card 1\) has no {precision}: use --precision fp16 or fp32"):
        prepare(request, ("throughput",), print)
    check(Execution("fp16"), arithmetics(["cuda:1"]))


@pytest.mark.gpu
def test_fp32_is_exact_to_24_bits_and_tf32_is_not() -> None:
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("this GPU has no TF32")
    torch.manual_seed(0)
    a, b = torch.randn(2, 512, 512, device="cuda", dtype=torch.float64)
    exact = a @ b
    errors = {}
    for precision in ("fp32", "tf32"):
        with arithmetic(precision):
            errors[precision] = ((a.float() @ b.float()).double() - exact).norm() / exact.norm()
    assert errors["fp32"] < 1e-5
    assert errors["tf32"] > 1e-4
