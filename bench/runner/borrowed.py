"""An object that is measured from Python: copies of it for the probes, and the object itself as it was."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from bench.probes.counting.networks import State, outermost_scripts, tensors_of
from bench.probes.reading import Unsupported
from bench.quantity import first_line


class Borrowed:
    """Builds networks that are equal to an object, weights included, wherever PyTorch's default device is.

    Probes build their network again and again, and change what they build: its device, its type, its mode, its weights.
    So they get copies. Where there can be none they get the object itself, and what they may have changed is put back.
    `as_it_is` is empty if these are copies; else it says why each is the object itself. The object is held only
    within `held`: what a probe remembers of a network does not keep it in memory.
    """

    def __init__(self, network: nn.Module) -> None:
        self.described = type(network)
        self._network: nn.Module | None = network
        self._state = State(network)
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
        self._network.to(device)
        return self._network

    @contextmanager
    def held(self) -> Iterator[None]:
        """Whatever happens inside, the object is afterwards as it was when it was borrowed."""
        try:
            yield
        finally:
            self._state.put_back()
            self._network, self._state = None, State(nn.Module())


def _copied(network: nn.Module, device: torch.device) -> nn.Module:
    """A deep copy on a device; on the meta device, of shapes only. What is shared in the network is shared in the copy.

    `Module.to` would part tied weights on the way to the meta device.
    """
    twins: dict[int, object] = {id(each): _loaded(each, device) for each in outermost_scripts(network)}
    for tensor in tensors_of(network):
        if is_lazy(tensor):
            made: Any = type(tensor)
            twins[id(tensor)] = made(tensor.requires_grad, device=device, dtype=tensor.dtype)
        elif type(tensor) is nn.Parameter:
            twins[id(tensor)] = nn.Parameter(_moved(tensor, device), tensor.requires_grad)
        elif type(tensor) is Tensor:
            twins[id(tensor)] = _moved(tensor, device)
    return copy.deepcopy(network, twins)


def _loaded(script: torch.jit.ScriptModule, device: torch.device) -> nn.Module:
    """A copy of what is TorchScript, by way of its file: its deep copy has results for parameters, and cannot train."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PyTorch advises against TorchScript, but its users have it
        loaded: nn.Module = torch.jit.load(io.BytesIO(script.save_to_buffer()), map_location=device)
    return loaded


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    if tensor.is_meta and device.type != "meta":
        raise Unsupported(
            "the object is on the meta device and has no weights: pass the class or function that builds it"
        )
    if device.type == "meta":
        return torch.empty_like(tensor.detach(), device=device)
    return tensor.detach().to(device, copy=True)


def _why_not_copied(network: nn.Module) -> str:
    """Empty if a deep copy is another network of the same weights."""
    own = tensors_of(network)
    try:
        twin = _copied(network, torch.device("meta" if any(tensor.is_meta for tensor in own) else "cpu"))
        shapes = [
            [(name, None if is_lazy(each) else each.shape) for name, each in one.state_dict().items()]
            for one in (network, twin)
        ]
    except Exception as error:  # whatever an object's own __deepcopy__ does
        return f"the object cannot be copied ({type(error).__name__}: {first_line(error)})"
    if {id(tensor) for tensor in own} & {id(tensor) for tensor in tensors_of(twin)}:
        return "the object cannot be copied (its copy shares weights with it)"
    return "" if shapes[0] == shapes[1] else "the object cannot be copied (its copy has other weights)"
