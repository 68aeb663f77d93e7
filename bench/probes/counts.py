"""What is counted exactly, the same everywhere: what a network consists of, computes, keeps and moves.

The bytes that it moves are those of the model of `bench.probes.counting.kernels`.
"""

from __future__ import annotations

import math
import statistics
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from bench.config import Execution, Task
from bench.device.execution import for_inference, inference_dtype, memory_format
from bench.models import ModelSpec
from bench.probes.counting.imitation import Shortcuts, open_attention
from bench.probes.counting.kernels import KernelCounter
from bench.probes.counting.layers import BytesByCall, layer_products, layer_table, saved_tensors
from bench.probes.counting.networks import State, build, counted, grows, images_for, require_training_mode, seeded
from bench.probes.counting.operators import tensors_in
from bench.probes.reading import Answer, Measurement, Reading, Unsupported
from bench.probes.steps import inference_step, read_in_a_format_that_runs, try_step
from bench.quantity import first_line, quantity
from bench.training import randomness
from bench.training.step import logits


def params(task: Task) -> Measurement:
    """Trainable parameters, those that no pass uses among them, which the note names.

    A network that cannot be run still has its parameters, unless a pass is what makes them.
    """
    try:
        found = layer_products(task.spec)
    except (Exception, SystemExit):
        spec = task.spec
        parameters = list(spec.build(num_classes=spec.num_classes).parameters())
        if any(map(is_lazy, parameters)) or grows(spec):
            raise
        count = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
        return Measurement({"params": Reading(count, note="the network was built and not run")})
    return Measurement({"params": Reading(found.params, note=found.params_note)})


def macs(task: Task) -> Measurement:
    """Multiply-accumulates, twice that (FLOPs), and the share of operators for which nobody has said how many."""
    found = layer_products(task.spec)
    reading = Reading(found.macs, note=found.note, flags=found.flags)
    return Measurement(
        {
            "macs": reading,
            "flops": replace(reading, value=2 * found.macs),
            "uncounted_share": replace(reading, value=found.unknown_share),
        }
    )


def activations(task: Task) -> Measurement:
    """Output elements of convolution, linear and attention products for one image in eval mode."""
    found = layer_products(task.spec)
    return Measurement({"activations": Reading(found.activations, note=found.note, flags=found.flags)})


DRAWS = 16  # of a network that keeps other blocks in every step


def saved_activations(task: Task) -> Measurement:
    """Slope over the batch size of the bytes that autograd keeps, in training mode at fp32, loss included.

    A network that drops blocks at random keeps fewer bytes in some steps than in others: then the value is the mean
    over many draws, and the draws are the samples.
    """
    spec = task.spec
    draws, notes = saved_per_image(spec)
    totals = [sum(draw.values()) for draw in draws]
    reading = Reading(statistics.fmean(totals), note="; ".join(notes))
    if len(set(totals)) > 1:
        ends = " to ".join(quantity(end, "bytes") for end in (min(totals), max(totals)))
        random = f"blocks are dropped at random: mean of {DRAWS} draws, {ends}"
        reading = replace(reading, samples=tuple(totals), note="; ".join((random, *notes)))
    try:
        layers = tuple(layer_table(layer_products(spec).calls, draws))
    except Exception:  # inference fails where training does not; the rows of the counts say how
        layers = ()
    return Measurement({"saved_activation_bytes": reading}, {"layers": layers})


def saved_per_image(spec: ModelSpec) -> tuple[list[BytesByCall], list[str]]:
    """Saved bytes per image of every call, and notes: one draw, or `DRAWS` if the network decides at random.

    Raises:
        Unsupported: it decides by a generator that no seed of ours reaches.
    """

    def draws(network: nn.Module) -> tuple[list[BytesByCall], bool]:
        require_training_mode(network)
        state = State(network)  # a pass may leave what no batch of another size could use
        own = randomness.of_its_own(network)
        first, random, fused = _slope(network, state, spec, seed=0)
        by_itself = randomness.of_its_own(network) != own
        found = [first, *(_slope(network, state, spec, seed)[0] for seed in range(1, DRAWS) if random or by_itself)]
        if by_itself and any(draw != first for draw in found):
            raise Unsupported("what the network keeps is drawn from a generator of its own: let it draw from torch's")
        return found, fused

    (found, fused), on_cpu = counted(spec, draws)
    attention = "attention as the fused kernel of a CPU keeps it: no scores" if fused else ""
    return found, [note for note in (attention, on_cpu) if note]


def _slope(network: nn.Module, state: State, spec: ModelSpec, seed: int) -> tuple[BytesByCall, bool, bool]:
    """Between batches of two and four images, what does not grow with the batch falls away.

    Also whether the network drew random numbers, and whether its attention was fused.
    """
    passes = []
    for images in (2, 4):
        passes.append(saved_tensors(network, spec.input_size, spec.num_classes, images, seed))
        state.put_back()
    small, large = passes
    before = {call.key: call.saved for call in small.calls}
    bytes_ = {call.key: (call.saved - before.get(call.key, 0)) / 2 for call in large.calls}
    return bytes_, large.random, large.fused


def traffic(task: Task) -> Measurement:
    """Bytes per image at the batch size and precision of the run (weights are read once per batch); FLOPs per byte."""
    return Measurement(read_in_a_format_that_runs(task, _traffic))


def _traffic(task: Task) -> Mapping[str, Answer]:
    spec, batch_size = task.spec, task.batch_size
    tried = Execution(memory_format=task.config.execution.memory_format)
    try_step(inference_step, replace(task.with_execution(tried), device="cpu"))
    execution = replace(task.config.execution, compile=False)

    def run(network: nn.Module) -> int:
        images = images_for(network, batch_size, spec.input_size).to(inference_dtype(execution))
        network = for_inference(network, execution, images.device)
        return bytes_moved(network, images.to(memory_format=memory_format(execution)))

    moved, on_cpu = counted(spec, run)
    per_image = Reading(moved / batch_size, batch_size=batch_size, asked_batch_size=batch_size, note=on_cpu)
    intensity: Answer = Unsupported("the network moves no bytes")
    if moved:
        found = layer_products(spec)
        intensity = replace(per_image, value=2 * found.macs / per_image.value, note=found.note, flags=found.flags)
    return {"traffic_bytes": per_image, "arithmetic_intensity": intensity}


def bytes_moved(network: nn.Module, images: Tensor) -> int:
    """Bytes that the operators of one forward pass read and write, for the whole batch, wherever the network is.

    An operator that changes a tensor in place reads and writes it. Views and uninitialised tensors are free; of a
    tensor that is expanded, what exists counts.
    """
    counter = KernelCounter()
    with torch.inference_mode(), open_attention(), Shortcuts(), counter:
        network(images)
    return counter.moved


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


def macs_fvcore(task: Task) -> Measurement:
    """A second opinion on the MACs: products of a traced forward pass on real tensors.

    By fvcore's own formulas, and by some of ours for operators that it lacks or stumbles over.

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
            with _NothingCaught():
                by_operator = analysis.by_operator()
        except (Exception, _Uncaught) as error:  # tracing and fvcore's formulas have their own limits
            cause = error.__cause__ if isinstance(error, _Uncaught) and error.__cause__ else error
            raise Unsupported(
                f"fvcore cannot count this network: {type(cause).__name__}: {first_line(cause)}"
            ) from error
        unknown = analysis.unsupported_ops()
    parts = {operator: int(count) for operator, count in by_operator.items() if operator not in _NOT_PRODUCTS}
    total = sum(parts.values())
    return Measurement({"macs_fvcore": Reading(total, device="cpu", note=_disagreement(spec, total, parts, unknown))})


def _disagreement(spec: ModelSpec, total: int, parts: Mapping[str, int], unknown: Iterable[str]) -> str:
    """What a reader needs to see why the two counts differ; nothing where they agree."""
    try:
        ours = str(layer_products(spec).macs)
    except Exception as error:  # a row of its own says so
        ours = f"nothing ({type(error).__name__}: {first_line(error)})"
    if str(total) == ours:
        return ""
    theirs = ", ".join(f"{operator} {count}" for operator, count in sorted(parts.items())) or "nothing"
    return f"the dispatcher counts {ours}; fvcore counts {theirs}; operators it does not know: " + (
        ", ".join(sorted(unknown)) or "none"
    )


class _Uncaught(BaseException):
    """An operator's error, on its way past the handlers of a network."""


class _NothingCaught(TorchFunctionMode):
    """Ends a trace at the first operator or module that fails: one that is caught leaves the tracer to crash all."""

    def __enter__(self) -> Any:
        module: Any = nn.Module
        self._call = call = module._slow_forward  # as modules are called while they are traced
        module._slow_forward = lambda *args, **kwargs: _uncaught(Exception, call, *args, **kwargs)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        nn.Module._slow_forward = self._call  # type: ignore[method-assign]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _uncaught(RuntimeError, func, *args, **(kwargs or {}))


def _uncaught(kind: type[Exception], function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What the function returns; where it fails in this way, the error gets past whatever would catch it."""
    try:
        return function(*args, **kwargs)
    except kind as error:
        raise _Uncaught from error


class _Tensors(nn.Module):
    """A network whose output is a tuple of the tensors that it returns, as tracing needs it."""

    def __init__(self, network: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.network = network
        self.num_classes = num_classes

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        output = self.network(images)
        return tuple(tensors_in(output)) or (logits(output, self.num_classes),)


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


_FORMULAS = {"scaled_dot_product_attention": _attention_macs, "matmul": _matmul_macs, "einsum": _einsum_macs}
