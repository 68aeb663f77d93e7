"""The meta device's casts against PyTorch's own of CUDA, which fake tensors take without a GPU."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from bench.config import PRESETS
from bench.models import REGISTRY
from bench.probes.counting.replay import Autocast

# The blocks of these are those of resnet20 and densenet40, fewer or more of them.
ALIKE = ("plain", "densenet_bc")
NETWORKS = [name for name in PRESETS["quick"].models if not name.startswith(ALIKE)]
# In training, where auxiliary heads are; but for these, which have none and then look at what they draw: there is no
# number in a fake tensor. In eval mode all their blocks and paths compute.
DRAW = ("stochastic", "fractal")


class Products(TorchDispatchMode):
    """Every operator of a pass that computes, with the type of what comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, torch.dtype]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        first = result[0] if isinstance(result, tuple) else result
        name = func.overloadpacket.__name__
        if isinstance(first, torch.Tensor) and name != "_to_copy" and not func.is_view:
            self.found.append((name, first.dtype))
        return result


def products(network: Callable[..., object], images: torch.Tensor, autocast: Any) -> list[tuple[str, torch.dtype]]:
    products = Products()
    with torch.no_grad(), products, autocast:
        network(images)
    return products.found


@pytest.mark.parametrize("name", NETWORKS)
def test_every_operator_computes_in_the_type_that_cuda_gives_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = REGISTRY[name]
    # One operator on a GPU and three elsewhere, none of which changes a type.
    monkeypatch.setattr(F, "dropout", lambda images, *_, **__: images)
    with torch.device("meta"):
        network = spec.build(num_classes=spec.num_classes).train(not name.startswith(DRAW))
    ours = products(network, torch.empty(2, *spec.input_size, device="meta"), Autocast(torch.bfloat16, "cuda"))
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    shapes = {key: (tensor.shape, tensor.dtype) for key, tensor in network.state_dict().items()}
    with FakeTensorMode():
        state = {key: torch.empty(shape, dtype=dtype, device="cuda:0") for key, (shape, dtype) in shapes.items()}
        images = torch.empty(2, *spec.input_size, device="cuda:0")
        theirs = products(partial(functional_call, network, state), images, torch.autocast("cuda", torch.bfloat16))
    assert ours == theirs
    assert {dtype for _, dtype in ours} >= {torch.bfloat16}
