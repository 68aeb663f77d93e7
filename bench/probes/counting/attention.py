"""Attention on the meta device as CPUs and GPUs compute it: in one fused kernel that keeps no scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from bench.device.accelerator import Kernels

_PLAIN = F.scaled_dot_product_attention


@contextmanager
def fused_attention(device: Kernels) -> Iterator[Callable[[], bool]]:
    """While entered, attention on the meta device is the kernel that `device` would take; others are left alone.

    PyTorch's own Python functions, in which no mode sees a call, find it under its name; all others meet the mode.
    Yields whether the kernel was taken since.
    """
    taken = False
    _fuses_without_heads()  # found out before anything is watched

    def attention(*args: Any, **kwargs: Any) -> Tensor:
        nonlocal taken
        fused = _attention(device, *args, **kwargs)
        taken = taken or fused is not None
        return _PLAIN(*args, **kwargs) if fused is None else fused

    before = F.scaled_dot_product_attention
    if before is _PLAIN:
        F.scaled_dot_product_attention = attention
    try:
        with _Fused(attention):
            yield lambda: taken
    finally:
        F.scaled_dot_product_attention = before


class _Fused(TorchFunctionMode):
    def __init__(self, attention: Any) -> None:
        super().__init__()
        self._attention = attention

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return (self._attention if func is _PLAIN else func)(*args, **(kwargs or {}))


def _attention(
    device: Kernels,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor | None:
    """Whatever the device and its kernel: the output and one number for each row of scores are kept.

    None where the device would not take it.
    """
    one_width = query.shape[-1] == key.shape[-1] == value.shape[-1]
    dimensions = (4, 3) if _fuses_without_heads() else (4,)
    learned_mask = attn_mask is not None and attn_mask.requires_grad
    on_cpu_plain = device == "cpu" and (dropout_p > 0 or learned_mask)
    if not query.is_meta or query.dim() not in dimensions or not one_width or enable_gqa or on_cpu_plain:
        return None
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill_(attn_mask.logical_not(), -torch.inf)
    several = [tensor.unsqueeze(0) if query.dim() == 3 else tensor for tensor in (query, key, value)]
    if attn_mask is not None and query.dim() == attn_mask.dim() == 3:
        attn_mask = attn_mask.unsqueeze(0)
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    out: Tensor = kernel(*several, is_causal=is_causal, attn_mask=attn_mask, scale=scale)[0]
    return out.squeeze(0) if query.dim() == 3 else out


@lru_cache(maxsize=1)
def _fuses_without_heads() -> bool:
    """Whether this PyTorch takes the fused kernel for tensors of three dimensions too."""
    tokens = torch.zeros(1, 2, 8, requires_grad=True)
    with torch.enable_grad():
        node = _PLAIN(tokens, tokens, tokens).grad_fn
    names = []
    while node is not None:
        names.append(node.name())
        node = node.next_functions[0][0] if node.next_functions else None
    return any("Flash" in name for name in names)
