"""TF32 is said, not inherited: set both ways, undone afterwards, and visible in the arithmetic where a GPU has it."""

import pytest
import torch

from bench.config import Precision
from bench.device.execution import arithmetic


def switches() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


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
