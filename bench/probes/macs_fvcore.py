"""A second opinion on the MACs: fvcore's count of a traced forward pass on real tensors."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from bench.config import Task
from bench.models import ModelSpec
from bench.probes.counting.layers import open_attention
from bench.probes.macs import forward_macs
from bench.probes.reading import Measurement, Reading

# What fvcore adds to its "flops" beyond products; the suite's MACs leave these out.
_NOT_PRODUCTS = {
    "batch_norm",
    "group_norm",
    "layer_norm",
    "instance_norm",
    "upsample_nearest2d",
    "upsample_bilinear2d",
    "adaptive_avg_pool2d",
    "grid_sampler",
}


def measure(task: Task) -> Measurement:
    """Products by fvcore's own formulas, and by one of ours for attention, which it lacks."""
    spec = task.spec
    torch.manual_seed(task.seed)
    network = spec.build(num_classes=spec.num_classes).eval()
    images = torch.zeros(1, *spec.input_size)
    with torch.no_grad(), open_attention(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates the tracing that fvcore is built on
        from fvcore.nn import FlopCountAnalysis

        analysis = FlopCountAnalysis(network, images)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
        analysis.set_op_handle("aten::scaled_dot_product_attention", _attention_macs)
        by_operator = analysis.by_operator()
        unknown = analysis.unsupported_ops()
    counted = {operator: int(count) for operator, count in by_operator.items() if operator not in _NOT_PRODUCTS}
    macs = sum(counted.values())
    return Measurement({"macs_fvcore": Reading(macs, device="cpu", note=_disagreement(spec, macs, counted, unknown))})


def _disagreement(spec: ModelSpec, macs: int, counted: Mapping[str, int], unknown: Iterable[str]) -> str:
    """What a reader needs to see why the two counts differ; nothing where they agree."""
    ours = forward_macs(spec)
    if macs == ours:
        return ""
    parts = ", ".join(f"{operator} {count}" for operator, count in sorted(counted.items())) or "nothing"
    return f"the dispatcher counts {ours}; fvcore counts {parts}; operators it does not know: " + (
        ", ".join(sorted(unknown)) or "none"
    )


def _attention_macs(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """(..., L, d) x (..., S, d) scores, then (..., L, S) x (..., S, d_v): the two products of attention."""
    (*batch, queries, depth), (*_, keys, _), (*_, value_depth) = (value.type().sizes() for value in inputs[:3])
    macs = queries * keys * (depth + value_depth)
    for size in batch:
        macs *= size
    return Counter({"scaled_dot_product_attention": macs})
