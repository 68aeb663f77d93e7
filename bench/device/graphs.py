"""A step recorded once as a CUDA graph and replayed: the host asks once for what were thousands of launches."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

WARM_UP_STEPS = 3  # libraries set themselves up, and gradients exist, before anything is recorded


def captured(step: Callable[..., Tensor], *inputs: Tensor) -> Callable[..., Tensor]:
    """`step(*inputs)` as a graph: the same function of tensors of the same shapes.

    `step` must not look at numbers on the host. It runs a few times for real before it is recorded. What the replay
    returns is overwritten by the next replay.

    Raises:
        RuntimeError: the step does something that a graph cannot hold.
    """
    own = [tensor.clone() for tensor in inputs]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP_STEPS):
            step(*own)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = step(*own)

    def replay(*inputs: Tensor) -> Tensor:
        for place, tensor in zip(own, inputs, strict=True):
            place.copy_(tensor)
        graph.replay()
        return output

    return replay
