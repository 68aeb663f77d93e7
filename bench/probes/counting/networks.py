"""A network to be counted: on the meta device where it can live there, else on real tensors on the CPU.

On the meta device every operator has a shape and no data, so a pass costs next to nothing; attention there is the one
fused kernel that keeps no scores, as CPUs and GPUs compute it. A network that decides by numbers, or keeps tensors that
nothing moves, cannot run there; it is counted as it runs on the CPU.
"""

from __future__ import annotations

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
from torch.nn.parameter import is_lazy

from bench.device.execution import as_written, settings_kept
from bench.models import ModelSpec, is_known
from bench.probes.counting.imitation import OnTheCPUAlone, Shortcuts, open_attention
from bench.probes.reading import Unsupported
from bench.quantity import first_line
from bench.training import randomness
from bench.training.step import logits

META, CPU = torch.device("meta"), torch.device("cpu")

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
            with as_written(), in_one_thread(), OnTheCPUAlone():
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
            ended = False
            with suppress(Exception, SystemExit):
                _pass(network, spec)
                ended = True
            if (grown := set(network.parameters()) != before) or ended:
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
