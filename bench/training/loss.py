"""From what a network returns to the number that training lowers."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

AUXILIARY_WEIGHT = 0.3  # of each auxiliary head (Szegedy et al. 2014, section 5)


def training_loss(output: Any, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy, plus that of auxiliary heads where the network has them.

    `output`: logits (B, num_classes), or a tuple of the main and the auxiliary ones.

    Raises:
        ValueError: `output` is neither.
    """
    main, *auxiliary = (head.float() for head in _heads(output))  # half precision ends at the logits
    loss = F.cross_entropy(main, labels, label_smoothing=label_smoothing)
    for head in auxiliary:
        loss = loss + AUXILIARY_WEIGHT * F.cross_entropy(head, labels, label_smoothing=label_smoothing)
    return loss


def logits(output: Any) -> Tensor:
    """The main logits (B, num_classes) of a network that may also return auxiliary ones.

    Raises:
        ValueError: the network returns something else.
    """
    return _heads(output)[0]


def _heads(output: Any) -> tuple[Tensor, ...]:
    heads = output if isinstance(output, tuple) else (output,)
    if not heads or not all(isinstance(head, Tensor) and head.dim() == 2 for head in heads):
        kind = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(f"the network returns {kind}; expected logits of shape (B, num_classes)")
    return heads
