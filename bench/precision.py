"""Which arithmetic a network runs in: said once, set both ways, undone afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from bench.config import Precision


@contextmanager
def arithmetic(precision: Precision) -> Iterator[None]:
    """Run matrix products and convolutions as `precision` says.

    fp32 is 24-bit arithmetic everywhere: PyTorch's own default lets cuDNN use TF32 for convolutions.
    tf32 allows it for both; it is the same as fp32 on devices other than CUDA.
    """
    matmul, convolution = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, convolution.allow_tf32
    matmul.allow_tf32 = convolution.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        matmul.allow_tf32, convolution.allow_tf32 = before
