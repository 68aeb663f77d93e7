"""Autocast for the meta device, which has none: the same casts at the same calls.

Which functions run in half precision and which in fp32 is PyTorch's own choice, listed in its documentation
("Automatic Mixed Precision", op reference for CUDA and for the CPU). Called from inside of PyTorch's own Python
functions they are not seen; the network's calls are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from bench.device.accelerator import Kernels

IN_HALF: frozenset[Callable[..., Any]] = frozenset(
    {
        F.conv1d,
        F.conv2d,
        F.conv3d,
        F.conv_transpose1d,
        F.conv_transpose2d,
        F.conv_transpose3d,
        F.linear,
        F.multi_head_attention_forward,
        F.scaled_dot_product_attention,
        torch.addmm,
        torch.baddbmm,
        torch.bmm,
        torch.einsum,
        torch.matmul,
        torch.mm,
        Tensor.__matmul__,
        Tensor.__rmatmul__,
        Tensor.bmm,
        Tensor.matmul,
        Tensor.mm,
    }
)

IN_FP32_ON_CUDA: frozenset[Callable[..., Any]] = frozenset(
    {
        F.cosine_similarity,
        F.group_norm,
        F.layer_norm,
        F.log_softmax,
        F.normalize,
        F.softmax,
        F.softplus,
        torch.cumsum,
        torch.exp,
        torch.log,
        torch.log_softmax,
        torch.norm,
        torch.pow,
        torch.prod,
        torch.softmax,
        torch.sum,
        Tensor.__pow__,
        Tensor.cumsum,
        Tensor.exp,
        Tensor.log,
        Tensor.log_softmax,
        Tensor.norm,
        Tensor.pow,
        Tensor.prod,
        Tensor.softmax,
        Tensor.sum,
    }
)


class Autocast(TorchFunctionMode):
    """Casts what goes into a function, around one forward pass; weights once for all calls that use them."""

    def __init__(self, half: torch.dtype, device: Kernels) -> None:
        super().__init__()
        self._half = half
        self._in_fp32 = IN_FP32_ON_CUDA if device == "cuda" else frozenset()
        self._weights: dict[nn.Parameter, Tensor] = {}

    def __exit__(self, *error: Any) -> None:
        self._weights.clear()
        super().__exit__(*error)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        dtype = self._half if func in IN_HALF else torch.float32 if func in self._in_fp32 else None
        if dtype is not None:
            args = [self._cast(value, dtype) for value in args]
            kwargs = {name: self._cast(value, dtype) for name, value in kwargs.items()}
        return func(*args, **kwargs)

    def _cast(self, value: Any, dtype: torch.dtype) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.dtype == dtype:
            return value
        if not isinstance(value, nn.Parameter):
            return value.to(dtype)
        if value not in self._weights:
            self._weights[value] = value.to(dtype)
        return self._weights[value]
