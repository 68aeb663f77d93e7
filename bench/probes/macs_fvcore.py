"""A second opinion on the MACs: fvcore's count of a traced forward pass on real tensors."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from bench.config import Task
from bench.models import ModelSpec
from bench.probes.counting.networks import build, images_for, open_attention, seeded
from bench.probes.counts import forward_macs
from bench.probes.reading import Measurement, Reading, Unsupported
from bench.quantity import first_line
from bench.training.step import logits

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
    """Products by fvcore's own formulas, and by some of ours for operators that it lacks or stumbles over.

    Raises:
        Unsupported: fvcore cannot trace the network, or one of its formulas fails.
    """
    spec = task.spec
    network = _Tensors(build(spec), spec.num_classes).eval()
    images = images_for(network, 1, spec.input_size)
    with seeded(0), torch.no_grad(), open_attention(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates the tracing that fvcore is built on
        from fvcore.nn import FlopCountAnalysis

        analysis = FlopCountAnalysis(network, images)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
        for operator, formula in _FORMULAS.items():
            analysis.set_op_handle(f"aten::{operator}", formula)
        try:
            by_operator = analysis.by_operator()
        except Exception as error:  # tracing and fvcore's formulas have their own limits
            raise Unsupported(
                f"fvcore cannot count this network: {type(error).__name__}: {first_line(error)}"
            ) from error
        unknown = analysis.unsupported_ops()
    counted = {operator: int(count) for operator, count in by_operator.items() if operator not in _NOT_PRODUCTS}
    macs = sum(counted.values())
    return Measurement({"macs_fvcore": Reading(macs, device="cpu", note=_disagreement(spec, macs, counted, unknown))})


def _disagreement(spec: ModelSpec, macs: int, counted: Mapping[str, int], unknown: Iterable[str]) -> str:
    """What a reader needs to see why the two counts differ; nothing where they agree."""
    try:
        ours = str(forward_macs(spec))
    except Exception as error:  # a row of its own says so
        ours = f"nothing ({type(error).__name__}: {first_line(error)})"
    if str(macs) == ours:
        return ""
    parts = ", ".join(f"{operator} {count}" for operator, count in sorted(counted.items())) or "nothing"
    return f"the dispatcher counts {ours}; fvcore counts {parts}; operators it does not know: " + (
        ", ".join(sorted(unknown)) or "none"
    )


class _Tensors(nn.Module):
    """A network whose output is a tuple of the tensors that it returns, as tracing needs it."""

    def __init__(self, network: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.network = network
        self.num_classes = num_classes

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        output = self.network(images)
        found = tuple(leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor))
        return found or (logits(output, self.num_classes),)


def _attention_macs(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """(..., L, d) x (..., S, d) scores, then (..., L, S) x (..., S, d_v): the two products of attention."""
    (*batch, queries, depth), (*_, keys, _), (*_, value_depth) = (_shape(value) for value in inputs[:3])
    return Counter({"scaled_dot_product_attention": math.prod(batch) * queries * keys * (depth + value_depth)})


def _matmul_macs(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """Of matrices and vectors alike: every output element sums over the last dimension of the first factor."""
    return Counter({"matmul": math.prod(_shape(outputs[0])) * _shape(inputs[0])[-1]})


def _einsum_macs(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """Of two factors, one product for each combination of all indices; of more, nothing is known."""
    equation = inputs[0].toIValue().replace(" ", "")
    factors = [_shape(value) for value in inputs[1].node().inputs()]
    terms = equation.partition("->")[0].split(",")
    if len(factors) != 2 or "." in equation:
        return Counter({"einsum": 0})
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, factors, strict=True):
        sizes |= zip(term, shape, strict=True)
    return Counter({"einsum": math.prod(sizes.values())})


def _shape(value: Any) -> list[int]:
    sizes: list[int] = value.type().sizes()
    return sizes


_FORMULAS = {
    "scaled_dot_product_attention": _attention_macs,
    "matmul": _matmul_macs,
    "einsum": _einsum_macs,
}
