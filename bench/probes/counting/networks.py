"""A network to be counted: on the meta device where it can live there, else on real tensors on the CPU.

On the meta device every operator has a shape and no data, so a pass costs next to nothing; attention there is the one
fused kernel that keeps no scores, as CPUs and GPUs compute it. A network that decides by numbers, or keeps tensors that
nothing moves, cannot run there; it is counted as it runs on the CPU.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import lru_cache, partial
from itertools import chain
from textwrap import shorten
from threading import Thread, get_ident
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_map

from bench.device.accelerator import KernelKind
from bench.device.execution import as_written, settings_kept
from bench.models import ModelSpec, is_known
from bench.probes.counting.operators import Mode
from bench.probes.reading import Unsupported
from bench.quantity import first_line
from bench.training import randomness
from bench.training.step import logits

META, CPU = torch.device("meta"), torch.device("cpu")
_ATEN = torch.ops.aten

Result = TypeVar("Result")

_needs_data: dict[ModelSpec, str] = {}  # networks that cannot run on the meta device, and what happened there


def counted(spec: ModelSpec, work: Callable[[nn.Module], Result]) -> tuple[Result, str]:
    """`work` on a network with fresh weights, and a note: empty, or that and why it ran on the CPU.

    `work` finds the device by `device_of` and leaves the network behind: the next one is built again.

    Raises:
        Exception: what the network raises on the CPU, if it does so there as well.
    """
    reason = spec.as_it_is or _needs_data.get(spec, "")
    if not reason:
        try:
            network = build_on_meta(spec)
            with as_written(), in_one_thread(), _OnTheCPUAlone():
                return work(network), ""
        except Unsupported:
            raise
        except Exception as error:  # there is no end to the ways in which networks fail without data
            reason = shorten(f"{type(error).__name__}: {first_line(error)}", 160, placeholder=" ...")
    network = build(spec)
    with as_written(), in_one_thread():
        result = work(network)
    if not spec.as_it_is:
        _needs_data[spec] = reason  # only now is it known that the network itself is not at fault
    note = "counted on the CPU with random images, for the path taken there: the network does not run without data"
    return result, f"{note} ({reason})"


class _OnTheCPUAlone(TorchFunctionMode):
    """Ends a pass without data at what a CPU does in a way of its own."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _NOT_WITHOUT_DATA and any(
            isinstance(arg, Tensor) and arg.is_meta for arg in (*args, *kwargs.values())
        ):
            raise TypeError(f"a CPU computes {func.__name__} with a kernel of its own, which keeps other tensors")
        return func(*args, **kwargs)


_NOT_WITHOUT_DATA = {
    *(torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu),
    *(F.embedding_bag, torch.embedding_bag),
    *(torch.quantile, Tensor.quantile, torch.nanquantile, Tensor.nanquantile),
    getattr(F, "linear_cross_entropy", None),  # of later versions of PyTorch
}


def build(spec: ModelSpec) -> nn.Module:
    """The network on the CPU in fp32, always with the same weights; complex and integer ones as they are."""
    with seeded(0):
        network = fresh_network(spec, spec.num_classes)
        network.float()
    return network


def build_on_meta(spec: ModelSpec) -> nn.Module:
    """The network with shapes and no data.

    Raises:
        Exception: whatever it raises itself.
    """
    with seeded(0):
        grows(spec)  # which builds it with data first, and for a reason
        network = _with_every_layer(_without_data(spec), spec)
        network.float()
    return network


def fresh_network(spec: ModelSpec, num_classes: int) -> nn.Module:
    """The network with weights from the present random state and every layer in place.

    What its constructor switches, such as TF32, is not how it is measured.
    """
    with settings_kept():
        return _with_every_layer(spec.build(num_classes=num_classes), spec)


def require_training_mode(network: nn.Module) -> None:
    """Check that it has one.

    Raises:
        Unsupported: it is a program of torch.export.
    """
    if any(kind.__module__ == "torch.export._unlift" for kind in type(network).__mro__):
        raise Unsupported("a program of torch.export has no training mode: it stays in that of its export")


def with_own_classes(spec: ModelSpec) -> ModelSpec:
    """With as many classes as the network returns, where nobody says; one that fails says so where it is measured.

    One that returns another number than it was asked for fails wherever it is built.
    """
    for make in (build, build_on_meta) if spec.guessed_classes or spec.asked_classes else ():
        with suppress(Exception, SystemExit), torch.no_grad():
            network = make(spec)
            network.eval()
            output = network(images_for(network, 2, spec.input_size))
            found = logits(output, spec.num_classes).shape[1]
            if spec.asked_classes and found != spec.num_classes:
                return replace(spec, build=partial(_of_other_classes, found))
            return replace(spec, num_classes=found, guessed_classes=False)
    return spec


def _of_other_classes(found: int, num_classes: int) -> nn.Module:
    raise ValueError(
        f"the network returns {found} classes where {num_classes} are asked for: let its factory take num_classes, "
        "or ask for no number"
    )


def _without_data(spec: ModelSpec) -> nn.Module:
    try:
        with META, Shortcuts():
            return spec.build(num_classes=spec.num_classes)
    except Exception:
        # Its constructor looks at numbers, which do not exist there: build it with data, then drop them.
        return _dropped(spec.build(num_classes=spec.num_classes))


def _dropped(network: nn.Module) -> nn.Module:
    """The network on the meta device. Layers that share a parameter go on doing so, which `Module.to` breaks there.

    Raises:
        ValueError: it has sparse tensors, which would lose how many values they have.
    """
    if other := {str(tensor.layout) for tensor in tensors_of(network)} - {"torch.strided"}:
        raise ValueError(f"it has tensors of the layout {', '.join(other)}")
    owners: dict[nn.Parameter, str] = {}
    shared = []
    for name, parameter in network.named_parameters(remove_duplicate=False):
        if (first := owners.setdefault(parameter, name)) != name:
            shared.append((name, first))
    network.to(META)
    for name, first in shared:
        path, _, leaf = name.rpartition(".")
        setattr(network.get_submodule(path), leaf, network.get_parameter(first))
    return network


def _with_every_layer(network: nn.Module, spec: ModelSpec) -> nn.Module:
    """Itself, after a pass if that is where its layers are made or find out their sizes."""
    if _unsized(network) or grows(spec):
        _pass(network, spec)
    if _unsized(network):  # an auxiliary head, perhaps
        kept = {buffer: buffer.clone() for buffer in network.buffers() if not is_lazy(buffer)}
        _pass(network, spec, training=True)
        for buffer, before in kept.items():
            buffer.copy_(before)
    if parts := _unsized(network):
        raise Unsupported(f"lazy layers that do not run, so that no pass finds out their sizes: {', '.join(parts)}")
    return network


def _unsized(network: nn.Module) -> list[str]:
    return [
        path
        for path, module in network.named_modules()
        if any(map(is_lazy, (*module.parameters(recurse=False), *module.buffers(recurse=False))))
    ]


@lru_cache(maxsize=64)
def grows(spec: ModelSpec) -> bool:
    """Whether the network makes layers in its first pass; none of the registry, torchvision or timm does."""
    if is_known(spec.name) or spec.as_it_is:
        return False
    # With data first: what its module keeps for good, such as a cached table, is then none without data, on which every
    # pass to come would fail, the user's own among them.
    for make in (lambda spec: spec.build(num_classes=spec.num_classes), _without_data):
        with suppress(Exception), seeded(0):  # a network that fails says so where it is measured
            network = make(spec)
            before = set(network.parameters())
            failed = False
            try:
                _pass(network, spec)
            except (Exception, SystemExit):
                failed = True
            if (grown := set(network.parameters()) != before) or not failed:
                return grown
    return False


def _pass(network: nn.Module, spec: ModelSpec, training: bool = False) -> None:
    """One pass of two images that trains nothing, in fp32 as the images are."""
    before = network.training
    with torch.no_grad(), Shortcuts(), open_attention(), as_written():
        network.float()
        network.train(training)
        network(images_for(network, 2, spec.input_size))
    network.train(before)


def device_of(network: nn.Module) -> torch.device:
    """Where its weights are; the CPU where it has none."""
    places = [tensor.device for tensor in tensors_of(network)]
    return META if META in places else places[0] if places else CPU


def images_for(network: nn.Module, batch_size: int, input_size: tuple[int, int, int]) -> Tensor:
    """(batch_size, *input_size), random where there is data."""
    device = device_of(network)
    return (torch.empty if device == META else torch.randn)(batch_size, *input_size, device=device)


@contextmanager
def hooked(modules: Iterable[nn.Module], enter: Callable[..., None], leave: Callable[..., None]) -> Iterator[None]:
    """While entered, a pass of each calls `enter(module, args, kwargs)` and `leave(module, args, kwargs, output)`."""
    with ExitStack() as handles:
        for module in modules:
            handles.enter_context(module.register_forward_pre_hook(enter, with_kwargs=True))
            handles.enter_context(module.register_forward_hook(leave, with_kwargs=True))
        yield


class State:
    """All of a network that a pass may change: attributes, what they hold, hooks, modes, weights and gradients."""

    def __init__(self, network: nn.Module) -> None:
        # Classes too: lazy layers and their parameters change theirs in the first pass.
        self._attributes = [(module, type(module), dict(vars(module))) for module in network.modules()]
        values = [value for *_, attributes in self._attributes for value in attributes.values()]
        self._tables = [(table, dict(table)) for table in values if isinstance(table, dict)]
        self._lists = [(items, list(items)) for items in values if isinstance(items, list)]
        tensors = {id(tensor): tensor for tensor in tensors_of(network)}
        unsized: list[Any] = [each for each in tensors.values() if is_lazy(each)]
        self._unsized = [(each, type(each), each.data) for each in unsized]
        self._tensors = [
            (each, each.data, each.detach().clone(), each.requires_grad, each.grad if each.is_leaf else None)
            for each in tensors.values()
            if not is_lazy(each) and not each.is_inference()  # which nobody can write to
        ]

    def put_back(self) -> None:
        """In place, so that what holds a parameter or a module of the network still does."""
        for module, kind, attributes in self._attributes:
            if type(module) is not kind:
                module.__class__ = kind
            vars(module).clear()
            vars(module).update(attributes)
        for table, entries in self._tables:
            table.clear()
            table.update(entries)
        for items, before in self._lists:
            items[:] = before
        for tensor, lazy, data in self._unsized:
            if type(tensor) is not lazy:
                tensor.data, tensor.__class__ = data, lazy
        for tensor, data, values, requires_grad, grad in self._tensors:
            tensor.data = data
            if not (tensor.layout == torch.strided and 0 in tensor.stride()):  # PyTorch writes to no expanded tensor
                tensor.data.copy_(values)
            if tensor.is_leaf:
                tensor.requires_grad_(requires_grad)
                tensor.grad = grad


def tensors_of(network: nn.Module) -> list[Tensor]:
    """Its parameters and buffers, whatever methods of its own of these names return, such as an optimizer's groups."""
    return [*nn.Module.parameters(network), *nn.Module.buffers(network)]


def outermost_scripts(network: nn.Module) -> Iterator[torch.jit.ScriptModule]:
    """What of the network is TorchScript."""
    if isinstance(network, torch.jit.ScriptModule):
        yield network
    else:
        yield from chain.from_iterable(map(outermost_scripts, network.children()))


class Shortcuts(Mode):
    """Answers the kinds of operation whose shapes PyTorch works out slowly, in Python, and nobody asks for values.

    Without this, batch norm and random initial weights take nine tenths of the time of a pass on the meta device, the
    first addition imports PyTorch's compiler, and gradients of convolutions lose the memory format that a real kernel
    keeps. Real tensors pass untouched.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        answer = _ANSWERS.get(func)
        if answer is not None and not kwargs and any(getattr(arg, "is_meta", False) for arg in args[:2]):
            known = answer(*args)
            if known is not None:
                return known
        return func(*args, **(kwargs or {}))


# What an operator returns of tensors without data, laid out as a kernel does it; None where that takes more than this.


def _layout(tensor: Tensor) -> torch.memory_format:
    """That of what a kernel makes of a tensor: channels last where its strides are, as PyTorch's C++ looks at them."""
    sizes, strides, least = tensor.shape, tensor.stride(), 0
    if len(sizes) not in (4, 5) or not strides[1]:
        return torch.contiguous_format
    for dim in (1, *range(len(sizes) - 1, 1, -1), 0):
        if not sizes[dim] or strides[dim] < least or (dim == 0 and least == strides[1]):
            return torch.contiguous_format
        least = strides[dim] * sizes[dim]
    return torch.channels_last if len(sizes) == 4 else torch.channels_last_3d


def _as_it_is(images: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(images, memory_format=_layout(images))


def _convolved(images: Tensor, weight: Tensor, *rest: Any) -> Tensor:
    out: Tensor = _ATEN.convolution.default(images, weight, *rest)
    row = images.dim() == 3  # computed as an image of one
    made, *read = (each.unsqueeze(2) if row else each for each in (out, images.contiguous() if row else images, weight))
    last = {*map(_layout, read)} - {torch.contiguous_format}
    if last and images.dtype != torch.float64:
        made = torch.empty_like(made, memory_format=last.pop())
    return made.squeeze(2) if row else made


def _normalised(
    images: Tensor, weight: Tensor | None, _bias: object, _mean: object, _var: object, training: bool, *_: Any
) -> Any:
    # The mean and deviation per channel, which training keeps for the backward pass.
    statistics = (images if weight is None else weight).new_empty(images.shape[1] if training else 0)
    layouts = (torch.contiguous_format, torch.channels_last, torch.channels_last_3d)[: max(1, images.dim() - 2)]
    known = (each for each in layouts if images.is_contiguous(memory_format=each))
    out = torch.empty_like(images, memory_format=next(known, None) or _layout(images))
    return out, statistics, torch.empty_like(statistics)


def _normalised_by_groups(images: Tensor, weight: Tensor | None, _bias: object, *sizes: Any) -> Any:
    statistics = (images if weight is None else weight).new_empty(sizes[0], sizes[3])
    return _as_it_is(images), statistics, torch.empty_like(statistics)


def _normalised_by_rows(images: Tensor, shape: list[int], weight: Tensor | None, *rest: Any) -> Any:
    if images.dtype not in (torch.float16, torch.bfloat16):
        return None
    out, *statistics = _ATEN.native_layer_norm.default(images, shape, weight, *rest)
    return out, *(each.to((images if weight is None else weight).dtype) for each in statistics)


def _gradients(gradient: Tensor, images: Tensor, weight: Tensor, *rest: Any) -> Any:
    of_images, of_weight, of_bias = rest[-1]  # which are wanted
    bias = gradient.new_empty(gradient.shape[1]) if of_bias else None
    return torch.empty_like(images) if of_images else None, torch.empty_like(weight) if of_weight else None, bias


def _of_two_alike(one: Tensor, other: Any) -> Tensor | None:
    layouts = [
        (type(each), each.is_meta, each.dtype, each.shape, each.stride())
        for each in (one, other)
        if isinstance(each, Tensor)
    ]
    alike = len(layouts) == 2 and layouts[0] == layouts[1] and one.is_floating_point() and 0 not in one.stride()
    return torch.empty_like(one) if alike else None


def _mean(values: Tensor, dims: list[int] | None, keepdim: bool = False) -> Tensor | None:
    if not (dims and values.dim() and values.is_contiguous()):
        return None
    averaged = {dim % values.dim() for dim in dims}
    sizes = ((dim, 1 if dim in averaged else size) for dim, size in enumerate(values.shape))
    return values.new_empty([size for dim, size in sizes if keepdim or dim not in averaged])


def _added_product(bias: Tensor, left: Tensor, right: Tensor) -> Tensor | None:
    fits = bias.shape == right.shape[1:] and left.shape[1] == right.shape[0]
    return left.new_empty(left.shape[0], right.shape[1]) if fits else None


def _loss(values: Tensor, labels: Tensor, weight: Tensor | None, reduction: int, ignored: int) -> Any:
    plain = weight is None and reduction == 1 and labels.shape == values.shape[:1]
    return (values.new_empty(()), values.new_empty(())) if plain else None


def _resized(operator: Any, values: Tensor, *rest: Any) -> Tensor:
    """In the memory of a copy of the input, where that is larger."""
    out: Tensor = operator(values, *rest)
    size = out.numel()
    return out if size >= values.numel() else values.new_empty(values.numel())[:size].view(out.shape)


def _scattered(values: Tensor, *_: Any) -> Tensor:
    """A copy of all of the memory in which the values lie."""
    copy = values.new_empty(values.untyped_storage().nbytes() // values.element_size())
    return copy.as_strided(values.shape, values.stride(), values.storage_offset())


def _contiguous(operator: Any, *args: Any) -> Any:
    """Whatever the layout of the input."""
    return tree_map(partial(torch.empty_like, memory_format=torch.contiguous_format), operator(*args))


def _only_contiguous(*args: Any) -> None:
    """What they make of others, a CPU lays out in a way of its own."""
    if any(isinstance(arg, Tensor) and not arg.is_contiguous() for arg in args):
        raise TypeError("how a CPU lays out what an operator makes of a transposed tensor shows on a CPU only")


_ANSWERS: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys((_ATEN.native_batch_norm.default, _ATEN._native_batch_norm_legit.default), _normalised),
    _ATEN.convolution.default: _convolved,
    _ATEN.convolution_backward.default: _gradients,
    _ATEN.add.Tensor: _of_two_alike,
    _ATEN.mul.Tensor: _of_two_alike,
    _ATEN.mean.dim: _mean,
    _ATEN.addmm.default: _added_product,
    _ATEN._log_softmax.default: lambda values, dim, to_float: None if to_float else values.new_empty(values.shape),
    _ATEN.nll_loss_forward.default: _loss,
    _ATEN.pow.Scalar: partial(_contiguous, _ATEN.pow.Scalar),
    **dict.fromkeys((_ATEN.normal_.default, _ATEN.uniform_.default), lambda values, *_: values),
    **{
        operator.default: partial(_resized, operator.default)
        for operator in (
            *(_ATEN.im2col, _ATEN.col2im),
            *(_ATEN.mse_loss, _ATEN.smooth_l1_loss, _ATEN.soft_margin_loss, _ATEN.binary_cross_entropy),
        )
    },
    **{
        operator.default: _scattered for operator in (_ATEN.diagonal_scatter, _ATEN.select_scatter, _ATEN.slice_scatter)
    },
}

_OF_A_CPU: dict[Any, Callable[..., Any]] = {
    _ATEN.native_group_norm.default: _normalised_by_groups,
    _ATEN.native_layer_norm.default: _normalised_by_rows,
    **dict.fromkeys((_ATEN.channel_shuffle.default, _ATEN.native_channel_shuffle.default), _as_it_is),
    _ATEN.roll.default: lambda values, shifts, dims=(): _as_it_is(values) if dims else None,
    _ATEN.log_sigmoid_forward.default: partial(_contiguous, _ATEN.log_sigmoid_forward.default),
    _ATEN.rrelu_with_noise.default: partial(_contiguous, _ATEN.rrelu_with_noise.default),
    **dict.fromkeys((_ATEN.copysign.Tensor, _ATEN.ldexp.Tensor), _only_contiguous),
    **{
        operator.default: _only_contiguous
        for operator in (
            *(_ATEN.angle, _ATEN.logaddexp, _ATEN.max_unpool2d, _ATEN.nll_loss2d_forward),
            *(_ATEN.floor_divide, _ATEN.heaviside, _ATEN.logical_and, _ATEN.logical_or, _ATEN.logical_xor),
        )
    },
}


def _on_a_cpu(answer: Callable[..., Any], values: Tensor, *rest: Any) -> Any:
    return answer(values, *rest) if torch._meta_registrations.device_hint(values) == "cpu" else None


_ANSWERS |= {operator: partial(_on_a_cpu, answer) for operator, answer in _OF_A_CPU.items()}


@contextmanager
def open_attention() -> Iterator[None]:
    """Keep attention from where no counter sees it.

    nn.MultiheadAttention has a fused eval path, one opaque operation; flex_attention compiles itself at each call.
    """
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    flex: Any = sys.modules.get("torch.nn.attention.flex_attention")
    if flex is not None:
        flex._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG = True
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
        if flex is not None:
            flex._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG = False


@contextmanager
def in_one_thread() -> Iterator[None]:
    """Do here what the network gives to a pool of threads: nobody sees what is computed in another one.

    Raises:
        RuntimeError: it starts threads in another way.
    """
    here, submit, start = get_ident(), ThreadPoolExecutor.submit, Thread.start

    def done(pool: ThreadPoolExecutor, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if get_ident() != here:
            return submit(pool, function, *args, **kwargs)
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future

    def refused(thread: Thread) -> None:
        if get_ident() == here:
            raise RuntimeError("the network starts threads of its own, and nobody sees what they compute")
        start(thread)

    ThreadPoolExecutor.submit, Thread.start = done, refused  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        ThreadPoolExecutor.submit, Thread.start = submit, start  # type: ignore[method-assign]


@contextmanager
def seeded(seed: int) -> Iterator[Callable[[], bool]]:
    """Seed every generator of the host; yields whether anything was drawn since, and puts them back."""
    with randomness.preserved(CPU):
        randomness.seed(seed)
        before = randomness.state(CPU)
        yield lambda: randomness.drawn_since(before)


_PLAIN = F.scaled_dot_product_attention


@contextmanager
def imitated(device: KernelKind) -> Iterator[Callable[[], bool]]:
    """While entered, the meta device takes the kernels of `device` for attention, and lays out what it makes as that.

    PyTorch's own Python functions, in which no mode sees a call, find attention under its name; all others meet the
    mode. Yields whether it was fused since.
    """
    taken = False

    def attention(*args: Any, **kwargs: Any) -> Tensor:
        nonlocal taken
        fused = _attention(device, *args, **kwargs)
        taken = taken or fused is not None
        return _PLAIN(*args, **kwargs) if fused is None else fused

    formulas: Any = torch._meta_registrations
    before, hint = F.scaled_dot_product_attention, formulas.device_hint
    if before is _PLAIN:
        F.scaled_dot_product_attention = attention
    formulas.device_hint = lambda tensor: device if tensor.is_meta else hint(tensor)
    try:
        with _Fused(attention):
            yield lambda: taken
    finally:
        F.scaled_dot_product_attention, formulas.device_hint = before, hint


class _Fused(TorchFunctionMode):
    def __init__(self, attention: Any) -> None:
        super().__init__()
        self._attention = attention

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.is_autocast_enabled("cpu") and any(isinstance(arg, Tensor) and arg.is_meta for arg in args):
            raise TypeError("the network's own autocast casts nothing that has no data")
        return (self._attention if func is _PLAIN else func)(*args, **(kwargs or {}))


def _attention(
    device: KernelKind,
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

    None where the device would not take it. A CPU says so itself; a GPU's kernels also drop out and learn masks.
    """
    on_gpu = device == "cuda"
    limits = (None, 0.0) if on_gpu else (attn_mask, dropout_p)
    if not query.is_meta or (on_gpu and enable_gqa):
        return None
    if not _fuses(query, key, value, *limits, is_causal, scale=scale, enable_gqa=enable_gqa):
        return None
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill_(attn_mask.logical_not(), -torch.inf)
    several = [tensor.unsqueeze(0) if query.dim() == 3 else tensor for tensor in (query, key, value)]
    if attn_mask is not None and query.dim() == attn_mask.dim() == 3:
        attn_mask = attn_mask.unsqueeze(0)
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    out: Tensor = kernel(*several, is_causal=is_causal, attn_mask=attn_mask, scale=scale)[0]
    return out.squeeze(0) if query.dim() == 3 else out


def _fuses(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *rest: Any, **more: Any) -> bool:
    """Whether a CPU would take its fused kernel for tensors like these."""

    def like(tensor: Tensor) -> Tensor:
        """On the CPU, of two images at most, and never written to."""
        images = tensor.shape[:1] if tensor.dim() < 4 else (min(tensor.shape[0], 2),)
        shape, dtype = (*images, *tensor.shape[1:]), tensor.dtype
        return torch.empty_strided(shape, tensor.stride(), dtype=dtype, device=CPU, requires_grad=tensor.requires_grad)

    with _disable_current_modes():  # nobody shall count them
        like_mask = None if mask is None else like(mask)
        choice = torch._fused_sdp_choice(like(query), like(key), like(value), like_mask, *rest, **more)
    return bool(choice == SDPBackend.FLASH_ATTENTION.value)
