"""One training step: forward, loss, backward, and the optimizer that a recipe names, in the arithmetic asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, assert_never

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.config import Execution
from bench.device import accelerator
from bench.device.execution import autocast
from bench.training.recipes import Recipe

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
    logits: floating-point, of this shape, and no field `aux...` of a named tuple. Logits that stand alone may be those
    of another number of classes.

    Raises:
        ValueError: there are none, or there is more than one candidate.
    """
    named = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if named is not None:
        output = named
    elif isinstance(output, tuple | list):
        names = getattr(output, "_fields", [""] * len(output))
        main = [item for name, item in zip(names, output, strict=True) if not name.startswith("aux")]
        candidates = [item for item in main if _are_logits(item) and item.shape[1] == num_classes]
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
    if isinstance(item, Mapping):
        return f"{type(item).__name__} with {', '.join(f'{key}: {_described(value)}' for key, value in item.items())}"
    return type(item).__name__


def make_optimizer(recipe: Recipe, parameters: Iterable[nn.Parameter], rate: float) -> torch.optim.Optimizer:
    """The recipe's optimizer. AdamW decays only matrices and kernels, as ViT's recipes do; SGD decays everything.

    One kernel updates all weights, on a CPU too, where a step of VGG-11 is a tenth shorter for it. Where steps can
    be recorded the rate is a tensor on the device, so that a graph sees it change.
    """
    trainable = [p for p in parameters if p.requires_grad]
    fused = all(p.is_floating_point() for p in trainable)  # not complex
    recorded = bool(trainable) and accelerator.of(trainable[0].device).captures
    lr: float | Tensor = torch.tensor(rate, device=trainable[0].device) if recorded else rate
    if recipe.optimizer == "sgd":
        sgd = torch.optim.SGD(
            trainable,
            lr=lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.nesterov,
            fused=fused,
        )
        if recipe.momentum:
            # The kernel takes all momenta or none, and a network that leaves blocks out would have some. From zero,
            # the first step is the same.
            for parameter in trainable:
                sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return sgd
    if recipe.optimizer == "adam":
        return torch.optim.Adam(trainable, lr=lr, weight_decay=recipe.weight_decay, fused=fused, capturable=recorded)
    if recipe.optimizer == "adamw":
        groups = [
            {"params": [p for p in trainable if p.dim() > 1], "weight_decay": recipe.weight_decay},
            {"params": [p for p in trainable if p.dim() <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=lr, fused=fused, capturable=recorded)
    assert_never(recipe.optimizer)


class TrainingStep:
    """`step(images, labels)` trains on one batch and returns the loss, still on the device.

    `passed` is called with the name of each part that has been asked for: "forward" (the loss included), "backward" or
    "optimizer", which comes twice, as it also drops the gradients of the step before.

    The network is where `for_training` put it: fp32 weights, of which the forward pass sees bf16 or fp16 casts.
    fp16 gradients are scaled, or small ones would vanish (Micikevicius et al. 2017, arXiv:1710.03740, section 3.2).

    Raises:
        ValueError: the network returns no logits, or too few of them.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        recipe: Recipe,
        execution: Execution,
        num_classes: int,
        passed: Callable[[str], object] | None = None,
    ) -> None:
        self.network = network
        self.optimizer = optimizer
        self._recipe = recipe
        self._execution = execution
        self._num_classes = num_classes
        self._passed = passed or (lambda _: None)
        device = next(network.parameters()).device
        self._device = device
        self._scaler = torch.amp.GradScaler(device.type, enabled=execution.precision == "fp16")
        self._scaler_at_first = self._scaler.state_dict()
        if not accelerator.of(device).unscales:  # then the scaler does, which has to wait for the device
            optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        self._passed("optimizer")
        output = self._output(images)
        width = logits(output, self._num_classes).shape[1]
        if width < self._num_classes:
            raise ValueError(
                f"the network returns {width} classes, its images have {self._num_classes}: "
                "let its factory take num_classes, or give it images of fewer classes"
            )
        loss = training_loss(output, labels, self._num_classes, self._recipe.label_smoothing)
        self._passed("forward")
        self._scaler.scale(loss).backward()
        self._passed("backward")
        if self._recipe.clip_norm is not None:
            self._scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self._recipe.clip_norm)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self._passed("optimizer")
        return loss.detach()

    def logits(self, images: Tensor) -> Tensor:
        """Those of a forward pass as a step takes it."""
        return logits(self._output(images), self._num_classes)

    def _output(self, images: Tensor) -> Any:
        with autocast(self._execution, self._device):
            return self.network(images)

    def set_rate(self, rate: float) -> None:
        """The learning rate of the steps that follow, those of a recorded graph among them."""
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def state(self) -> dict[str, Any]:
        """All that a step changes, as it is: copy it to keep it."""
        return {
            "network": dict(self.network.state_dict()),
            "optimizer": [dict(self.optimizer.state[parameter]) for parameter in self._parameters()],
            "scaler": self._scaler.state_dict(),
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Put everything back to a `state`, in place: a recorded graph knows only the places.

        What an optimizer has begun to keep since then starts at zero, as it did.
        """
        self.network.load_state_dict(state["network"])
        for parameter, before in zip(self._parameters(), state["optimizer"], strict=True):
            now = self.optimizer.state[parameter]
            for name, value in before.items():
                if name in now:
                    now[name].copy_(value)
                else:
                    now[name] = value.to(parameter.device)
            for name in now.keys() - before.keys():
                now[name].zero_()
        self._scaler.load_state_dict(state["scaler"])
        self.optimizer.zero_grad(set_to_none=True)

    def start_anew(self, fresh: nn.Module) -> None:
        """Put everything to where the first step finds it, with the weights and buffers of `fresh`, in place."""
        nothing_kept: list[dict[str, Any]] = [{} for _ in self._parameters()]
        self.resume({"network": fresh.state_dict(), "optimizer": nothing_kept, "scaler": self._scaler_at_first})

    def _parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
