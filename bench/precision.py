"""Which arithmetic a network runs in: said once, set both ways, undone afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from bench.config import Precision


@contextmanager
def arithmetic(precision: Precision, device: str) -> Iterator[None]:
    """Run matrix products and convolutions as `precision` says.

    fp32 is 24-bit arithmetic everywhere: PyTorch's own default lets cuDNN use TF32 for convolutions.
    tf32 allows it for both (CUDA only; the same as fp32 elsewhere). bf16 is autocast.
    """
    tf32 = precision == "tf32"
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    try:
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bf16"):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
