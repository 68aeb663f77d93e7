"""Every generator that a network may draw from without being handed one: torch's, Python's and numpy's own.

numpy advises against its module-level functions, but a network may use them.
"""

from __future__ import annotations

import pickle
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.device import accelerator
from bench.quantity import first_line

_HOST = torch.device("cpu")


def seed(number: int) -> None:
    """Start all of them anew, those of every GPU too."""
    torch.manual_seed(number)
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002


def state(device: torch.device) -> dict[str, Any]:
    """Of all of them, as tensors and plain values."""
    numpy: Any = np.random.get_state(legacy=False)  # noqa: NPY002
    kept = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy_key": torch.from_numpy(numpy["state"]["key"].astype(np.int64)),
        "numpy_rest": (numpy["state"]["pos"], numpy["has_gauss"], float(numpy["gauss"])),
    }
    own = accelerator.of(device).rng_state()
    return kept if own is None else {**kept, "device": own}


def restore(kept: Mapping[str, Any], device: torch.device) -> None:
    """Draw on as from when `state` was taken."""
    torch.set_rng_state(kept["torch"])
    random.setstate(kept["python"])
    position, has_gauss, gauss = kept["numpy_rest"]
    key = kept["numpy_key"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", key, position, has_gauss, gauss))  # noqa: NPY002
    if "device" in kept:
        accelerator.of(device).set_rng_state(kept["device"])


@contextmanager
def preserved(device: torch.device) -> Iterator[None]:
    """Whatever is drawn inside leaves no trace."""
    before = state(device)
    try:
        yield
    finally:
        restore(before, device)


def draws_on_the_host(action: Callable[[], object]) -> bool:
    """Whether `action` draws a random number anywhere but on a GPU."""
    before = state(_HOST)
    action()
    return drawn_since(before)


class _Asked(TorchDispatchMode):
    """Every operator that is called, with its numbers and the shapes of its tensors."""

    supports_higher_order_operators = True  # such as torch.cond and flex_attention, as one

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        values = (each.shape if isinstance(each, torch.Tensor) else each for each in tree_leaves((args, kwargs)))
        self.calls.append((func, *(each for each in values if isinstance(each, int | float | str | torch.Size))))
        return func(*args, **(kwargs or {}))


def decides_on_the_host(step: Callable[[], object]) -> bool:
    """Whether a step that has run before asks for other operators or other numbers each time.

    So it does where a network draws from a generator of its own, or counts its steps.
    """
    asked = []
    for _ in range(2):
        with _Asked() as seen:
            step()
        asked.append(seen.calls)
    return asked[0] != asked[1]


def why_not_repeated(warm_up: Callable[[], object], step: Callable[[], object], compiled: bool) -> str:
    """Why a graph, which repeats what one step did, would not be the step; empty where it is.

    `warm_up` takes the first steps. Of what is compiled the operators are not watched.
    """
    if draws_on_the_host(warm_up):  # a graph would repeat one draw for ever
        return "the network draws random numbers on the host"
    try:
        if not compiled and decides_on_the_host(step):
            return "the network decides on the host what a step does"
    except Exception as error:  # it has run before: some operators do not run while others are watched
        return f"its step cannot be watched ({type(error).__name__}: {first_line(error)})"
    return ""


def of_its_own(network: nn.Module) -> dict[int, bytes]:
    """Generators that modules of the network hold, or the files that they are written in, by identity: their state."""
    kinds = random.Random, np.random.Generator, np.random.RandomState, torch.Generator
    modules = list(network.modules())
    files = {type(module).__module__ for module in modules}
    holders = [*modules, *(sys.modules[name] for name in files if name in sys.modules)]
    values = [value for holder in holders for value in vars(holder).values()]
    return {id(value): pickle.dumps(value) for value in values if isinstance(value, kinds)}


def drawn_since(before: Mapping[str, Any]) -> bool:
    """Whether anything but a GPU has drawn since `before` was the state of the host's generators."""
    after = state(_HOST)
    return any(
        not torch.equal(before[name], value) if isinstance(value, torch.Tensor) else before[name] != value
        for name, value in after.items()
    )
