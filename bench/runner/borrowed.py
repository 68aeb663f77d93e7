"""A network that somebody has built already: measured, and given back as it was.

Probes build their network again and again, and change what they build: its device, its type, its mode, its weights.
So they get copies. Where there can be none they get the object itself, and all that they may have changed is put back.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from bench.quantity import first_line


class Borrowed:
    """Builds networks that are equal to an object, weights included, wherever PyTorch's default device is.

    `as_it_is` is empty if these are copies; else it says why each is the object itself. The object is held only
    within `held`: what a probe remembers of a network does not keep it in memory.
    """

    def __init__(self, network: nn.Module) -> None:
        self.described = type(network)
        self._network: nn.Module | None = network
        self._state = _State(network)
        self.as_it_is = _why_not_copied(network)

    def __call__(self, num_classes: int) -> nn.Module:
        """The number of classes is the object's own, whatever is asked."""
        if self._network is None:
            raise RuntimeError("the object was given back")
        device = torch.empty(0).device
        if not self.as_it_is:
            return _copied(self._network, device)
        if device.type == "meta":
            raise RuntimeError(self.as_it_is)
        self._state.put_back()
        return self._network.to(device)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Whatever happens inside, the object is afterwards as it was when it was borrowed."""
        try:
            yield
        finally:
            self._state.put_back()
            self._network, self._state = None, _State(nn.Module())


class _State:
    """All of a network that a measurement may change: attributes, hooks, modes, weights, buffers and gradients."""

    def __init__(self, network: nn.Module) -> None:
        self._attributes = [(module, dict(vars(module))) for module in network.modules()]
        self._tables = [
            (table, dict(table))
            for _, attributes in self._attributes
            for table in attributes.values()
            if isinstance(table, dict)
        ]
        tensors = {id(tensor): tensor for tensor in _tensors(network) if not is_lazy(tensor)}
        self._tensors = [
            (each, each.data, each.detach().clone(), each.requires_grad, each.grad if each.is_leaf else None)
            for each in tensors.values()
        ]

    def put_back(self) -> None:
        """In place, so that whoever holds a parameter or a module of the network still holds it."""
        for module, attributes in self._attributes:
            vars(module).clear()
            vars(module).update(attributes)
        for table, items in self._tables:
            table.clear()
            table.update(items)
        for tensor, data, values, requires_grad, grad in self._tensors:
            tensor.data = data
            tensor.data.copy_(values)
            if tensor.is_leaf:
                tensor.requires_grad_(requires_grad)
                tensor.grad = grad


def _tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]


def _copied(network: nn.Module, device: torch.device) -> nn.Module:
    """A deep copy on a device; on the meta device, of shapes only. What is shared in the network is shared in the copy.

    `Module.to` would part tied weights on the way to the meta device.
    """
    twins: dict[int, object] = {}
    for tensor in _tensors(network):
        if type(tensor) is nn.Parameter:
            twins[id(tensor)] = nn.Parameter(_moved(tensor, device), tensor.requires_grad)
        elif type(tensor) is Tensor:
            twins[id(tensor)] = _moved(tensor, device)
    return copy.deepcopy(network, twins)


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type == "meta":
        return torch.empty_like(tensor.detach(), device=device)
    return tensor.detach().to(device, copy=True)


def _why_not_copied(network: nn.Module) -> str:
    """Empty if a deep copy is another network of the same weights."""
    try:
        twin = _copied(network, torch.device("cpu"))
        shapes = [[(name, each.shape) for name, each in one.state_dict().items()] for one in (network, twin)]
    except Exception as error:  # whatever an object's own __deepcopy__ does
        return f"the object cannot be copied ({type(error).__name__}: {first_line(error)})"
    own = {id(tensor) for tensor in _tensors(network)}
    if any(id(tensor) in own for tensor in _tensors(twin)):
        return "the object cannot be copied (its copy shares weights with it)"
    return "" if shapes[0] == shapes[1] else "the object cannot be copied (its copy has other weights)"
