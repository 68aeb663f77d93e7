"""Which operators compute products, and how many: PyTorch's own formulas, those it lacks, and those of its users.

A product is a multiply-accumulate of a convolution, a linear layer or attention, recurrent layers and bilinear forms
included. Fourier transforms, sampling, normalisation and everything elementwise are none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, is_traceable_wrapper_subclass
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


class Mode(TorchDispatchMode):
    """Sees every operator, those that take functions too.

    PyTorch would import its compiler, which takes as long as all the rest, to keep it away from here; but what is
    counted runs as written.
    """

    supports_higher_order_operators = True

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


class Work(NamedTuple):
    """What one call of an operator computes."""

    macs: int
    activations: int  # output elements of its products


Formula = Callable[..., Work]


def formula_of(func: Any) -> Formula | None:
    """How much a call of the operator computes: `formula(out, *args, **kwargs)`; None where nobody has said.

    What was registered with `torch.utils.flop_counter.register_flop_formula` counts before anything that is here.
    """
    key, name = getattr(func, "_overloadpacket", func), operator_name(func)
    if name.startswith("aten::") and name.endswith("_"):  # it writes where it reads, and computes the same
        name = name[:-1]
        key = getattr(torch.ops.aten, name.removeprefix("aten::"), key)
    own = _FORMULAS.get(name)
    if own is None and key not in flop_registry:
        return None
    if own is None or flop_registry.get(key, _BUILT_IN.get(key)) is not _BUILT_IN.get(key):
        return _counted_by(flop_registry[key])
    return own


def is_composite(func: Any) -> bool:
    """Whether it has no kernel and is made of others; in inference mode, such operations arrive whole.

    So are torch.cond and while_loop, which run the functions that they take.
    """
    if not isinstance(func, torch._ops.OpOverload) or func.namespace == "prim":  # which the dispatcher does not know
        return operator_name(func) in _RUN
    return torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), torch._C.DispatchKey.CompositeImplicitAutograd)


def is_of_vectors(func: Any) -> bool:
    """Whether it multiplies a vector, with a matrix or with another."""
    return operator_name(func) in ("aten::mv", "aten::dot", "aten::vdot")


def decomposed(func: Any, *args: Any, **kwargs: Any) -> Any:
    """A composite operation as the operators that it is made of.

    Not by `func.decompose`, which prefers rewritings in Python that may copy what the original does not.
    """
    if own := _RUN.get(operator_name(func)):
        return own(*args, **kwargs)
    return func._op_dk(torch._C.DispatchKey.CompositeImplicitAutograd, *args, **kwargs)


def _while_loop(condition: Any, body: Any, carried: Any, more: Any = ()) -> Any:
    while condition(*carried, *more):
        carried = body(*carried, *more)
    return carried


_RUN: dict[str, Callable[..., Any]] = {
    "cond": lambda chosen, yes, no, operands=(): (yes if chosen else no)(*operands),
    "while_loop": _while_loop,
}


def may_compute_products(func: Any) -> bool:
    """Whether an operator without a formula could compute products.

    Of PyTorch's own operators the name tells. Of anybody else's nothing is known but what their schema says: what
    works elementwise or only looks at a tensor in another way computes none.
    """
    if not isinstance(func, torch._ops.OpOverload):
        return True  # an operator that takes functions, such as a fused kernel that is compiled for them
    namespace, _, name = operator_name(func).partition("::")
    if namespace in ("prim", "profiler"):
        return False
    if namespace in ("aten", "prims", "quantized", "mkldnn"):
        return re.search(_SOUNDS_LIKE_PRODUCTS, name) is not None and name not in _SOUNDS_ONLY
    return not (operator_name(func) in _NONE_OF_OTHERS or torch.Tag.pointwise in func.tags or func.is_view)


_SOUNDS_LIKE_PRODUCTS = (
    r"(?:^|_)(?:[a-z]*mm|mv|v?dot|matmul|linear|conv\w*|[a-z]*rnn|lstm|gru|attention|transformer|trilinear|cdist"
    r"|euclidean_dist|linalg|cholesky|lu|triangular|geqrf|ormqr)(?:\d*d)?(?:_|$)"
)
_SOUNDS_ONLY = frozenset(
    {
        "linalg_vector_norm",
        "linalg_cross",
        "_linalg_check_errors",
        "_convert_indices_from_csr_to_coo",
        "_convert_indices_from_coo_to_csr",
        "_fused_sdp_choice",
        "upsample_linear1d",
        "upsample_trilinear3d",
        "lu_unpack",
    }
)  # fmt: skip
_NONE_OF_OTHERS = frozenset(
    f"torchvision::{name}" for name in ("nms", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "qroi_align")
)


def work_of(formula: Formula, out: Any, args: Any, kwargs: Any) -> Work:
    """What a call computes: of a sparse factor its values alone; complex numbers take four products of real ones."""
    work = formula(out, *args, **kwargs)
    macs = 4 * work.macs if isinstance(out, Tensor) and out.is_complex() else work.macs
    for factor in args:
        if isinstance(factor, Tensor) and factor.layout in _SPARSE and factor.numel():
            macs = macs * parts_of(factor)[-1].numel() // factor.numel()
    return Work(macs, work.activations)


_COMPRESSED = {
    torch.sparse_csr: (Tensor.crow_indices, Tensor.col_indices),
    torch.sparse_bsr: (Tensor.crow_indices, Tensor.col_indices),
    torch.sparse_csc: (Tensor.ccol_indices, Tensor.row_indices),
    torch.sparse_bsc: (Tensor.ccol_indices, Tensor.row_indices),
}
_SPARSE = (torch.sparse_coo, *_COMPRESSED)


def tensors_in(values: Any) -> list[Tensor]:
    """Every tensor in nested tuples, lists and dicts, and in subclasses of these, which PyTorch takes for leaves."""
    found: list[Tensor] = []
    for leaf in tree_leaves(values):
        if isinstance(leaf, Tensor):
            found.append(leaf)
        elif isinstance(leaf, dict | tuple | list):
            found += tensors_in([*(leaf.values() if isinstance(leaf, dict) else leaf)])
    return found


def parts_of(tensor: Tensor) -> tuple[Tensor, ...]:
    """The tensors in whose storage its numbers are: itself; of a sparse one its indices and, last, its values.

    None of a tensor in a library's own format, whose storage nobody sees.
    """
    wrapper: Any = tensor
    if is_traceable_wrapper_subclass(wrapper):
        names, _ = wrapper.__tensor_flatten__()
        return tuple(part for name in names for part in parts_of(getattr(tensor, name)))
    if tensor.layout == torch.sparse_coo:
        return tensor._indices(), tensor._values()
    if tensor.layout in _COMPRESSED:
        return *(indices(tensor) for indices in _COMPRESSED[tensor.layout]), tensor.values()
    return (tensor,) if tensor.layout == torch.strided else ()


def _counted_by(flops: Callable[..., int]) -> Formula:
    def formula(out: Any, /, *args: Any, **kwargs: Any) -> Work:
        return Work(flops(*args, **kwargs, out_val=out) // 2, _elements(out))  # the library counts two per MAC

    return formula


def _elements(out: Any) -> int:
    return next((tensor.numel() for tensor in tensors_in(out)), 0)


@lru_cache(maxsize=4096)
def operator_name(func: Any) -> str:
    """As people write it, whichever of its overloads: "aten::mm"."""
    name: str = func.name() if callable(getattr(func, "name", None)) else str(func)
    return name.partition(".")[0]


def _contraction(out: Any, /, left: Tensor, *_: Any, **__: Any) -> Work:
    """Every output element sums over the last dimension of the first argument."""
    elements = _elements(out)
    return Work(elements * left.shape[-1], elements)


def _added_contraction(out: Any, /, _added: Tensor, left: Tensor, *_: Any, **__: Any) -> Work:
    return _contraction(out, left)


def _addbmm(out: Any, /, _added: Tensor, left: Tensor, *_: Any, **__: Any) -> Work:
    """(b, n, m) x (b, m, p), summed over b: (n, p)."""
    elements = _elements(out)
    return Work(elements * left.shape[0] * left.shape[-1], elements)


def _grouped_mm(out: Any, /, left: Tensor, right: Tensor, *_: Any, **__: Any) -> Work:
    """Matrices of groups, which lie behind each other along the rows, the columns, or what is summed over."""
    elements = _elements(out)
    each = len(out) if left.dim() == right.dim() == 2 else 1  # such a group sums over its own part alone
    return Work(elements * left.shape[-1] // max(each, 1), elements)


def _outer(out: Any, /, *_: Any, **__: Any) -> Work:
    return Work(_elements(out), _elements(out))


def _trilinear(
    out: Any,
    /,
    first: Tensor,
    second: Tensor,
    third: Tensor,
    expand1: list[int],
    expand2: list[int],
    expand3: list[int],
    summed: list[int],
    *_: Any,
) -> Work:
    """Three factors summed over one or two dimensions, as nn.Bilinear does: first over one of them, then the other."""
    sizes = []
    for tensor, expanded in ((first, expand1), (second, expand2), (third, expand3)):
        shape = list(tensor.shape)
        for dim in sorted(expanded):
            shape.insert(dim, 1)
        sizes.append(shape)
    full = [max(dims) for dims in zip(*sizes, strict=True)]
    all_, elements = math.prod(full), _elements(out)
    return Work(all_ + all_ // (full[summed[0]] if len(summed) > 1 else 1), elements)


def _kernel(out: Any, /, _images: Tensor, weight: Tensor, *_: Any, **__: Any) -> Work:
    """A convolution whose weights are (out channels, in channels of a group, ...)."""
    elements = _elements(out)
    return Work(elements * weight[0].numel(), elements)


def _kernel_of_time(out: Any, /, _images: Tensor, weight: Tensor, *_: Any, **__: Any) -> Work:
    """Of conv_tbc, whose weights are (width, in channels, out channels)."""
    elements = _elements(out)
    return Work(elements * weight[..., 0].numel(), elements)


def _attention(out: Any, /, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Work:
    """Queries (..., heads, L, d), keys (..., S, d), values (..., S, v): scores, then their weighted sum."""
    (*batch, queries, depth), keys, width = query.shape, key.shape[-2], value.shape[-1]
    rows = math.prod(batch) * queries
    return Work(rows * keys * (depth + width), rows * (keys + width))


def _rnn_layer(out: Any, /, inputs: Tensor, of_input: Tensor, of_state: Tensor, *_: Any, **__: Any) -> Work:
    """One layer in one direction in oneDNN: (T, B, ...) inputs, all gates of a step in one matrix each."""
    steps = inputs.shape[0] * inputs.shape[1]
    return Work(steps * (of_input.numel() + of_state.numel()), steps * (len(of_input) + len(of_state)))


def _quantised_convolution(out: Any, /, _images: Tensor, packed: Any, *_: Any, **__: Any) -> Work:
    weight = packed.unpack()[0]
    return _kernel(out, _images, weight)


_FORMULAS: dict[str, Formula] = {
    **dict.fromkeys(("aten::mv", "aten::dot", "aten::vdot"), _contraction),
    **dict.fromkeys(("aten::_int_mm", "aten::_weight_int8pack_mm", "aten::_dyn_quant_matmul_4bit"), _contraction),
    **dict.fromkeys(("aten::addmv", "aten::_addmm_activation"), _added_contraction),
    **dict.fromkeys((f"quantized::linear{kind}" for kind in ("", "_relu", "_dynamic", "_relu_dynamic")), _contraction),
    **dict.fromkeys(("quantized::linear_dynamic_fp16", "quantized::linear_relu_dynamic_fp16"), _contraction),
    **dict.fromkeys(
        (f"quantized::conv{n}d{kind}" for n in (1, 2, 3) for kind in ("", "_relu", "_dynamic")), _quantised_convolution
    ),
    "aten::mkldnn_linear": _contraction,
    "aten::_sparse_addmm": _added_contraction,
    "aten::addbmm": _addbmm,
    "aten::_grouped_mm": _grouped_mm,
    "aten::addr": _outer,
    "aten::_trilinear": _trilinear,
    "aten::conv_tbc": _kernel_of_time,
    "aten::mkldnn_rnn_layer": _rnn_layer,
    "torchvision::deform_conv2d": _kernel,
    # PyTorch has formulas for those of GPUs, of which only the MACs are right: the scores are activations too.
    **dict.fromkeys(
        (
            "aten::_scaled_dot_product_flash_attention_for_cpu",
            "aten::_scaled_dot_product_flash_attention",
            "aten::_scaled_dot_product_efficient_attention",
            "aten::_scaled_dot_product_cudnn_attention",
            "aten::_scaled_dot_product_fused_attention_overrideable",
            "flex_attention",
        ),
        _attention,
    ),
}  # fmt: skip

_BUILT_IN = dict(flop_registry)
