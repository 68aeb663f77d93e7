"""From what a network returns to its logits, and to the number that training lowers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional as F

AUXILIARY_WEIGHT = 0.3  # of each auxiliary head (Szegedy et al. 2014, section 5)


def training_loss(output: Any, labels: Tensor, num_classes: int, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy of the logits, plus that of auxiliary heads where the network names them.

    Auxiliary heads are the fields `aux...` of a named tuple, as torchvision's GoogLeNet and Inception return them.

    Raises:
        ValueError: `logits` finds none in `output`.
    """
    named = [getattr(output, name) for name in getattr(output, "_fields", ()) if name.startswith("aux")]
    main, *auxiliary = (logits(head, num_classes) for head in (output, *(head for head in named if head is not None)))
    loss = F.cross_entropy(main.float(), labels, label_smoothing=label_smoothing)  # half precision ends at the logits
    for head in auxiliary:
        loss = loss + AUXILIARY_WEIGHT * F.cross_entropy(head.float(), labels, label_smoothing=label_smoothing)
    return loss


def logits(output: Any, num_classes: int) -> Tensor:
    """The logits (B, num_classes) in what a network returns.

    It returns them alone, as `logits` of a mapping or an object, or as the only item of a tuple or list that can be
    logits: floating-point and of this shape. Logits that stand alone may be those of another number of classes.

    Raises:
        ValueError: there are none, or there is more than one candidate.
    """
    named = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if named is not None:
        output = named
    elif isinstance(output, tuple | list):
        candidates = [item for item in output if _are_logits(item) and item.shape[1] == num_classes]
        if len(candidates) != 1:
            items = ", ".join(map(_described, output))
            found = "several of which" if candidates else "none of which"
            raise ValueError(
                f"the network returns ({items}), {found} can be logits of shape (B, {num_classes}): return them alone, "
                "or under the name logits"
            )
        return candidates[0]
    if not _are_logits(output):
        raise ValueError(f"the network returns {_described(output)}; expected logits of shape (B, {num_classes})")
    return output


def _are_logits(item: Any) -> bool:
    return isinstance(item, Tensor) and item.dim() == 2 and item.is_floating_point()


def _described(item: Any) -> str:
    if isinstance(item, Tensor):
        return f"{str(item.dtype).removeprefix('torch.')} {tuple(item.shape)}"
    return type(item).__name__
