"""One training step: forward, loss, backward, optimizer, in the arithmetic that was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bench.config import Execution
from bench.device.execution import autocast
from bench.training.loss import logits, training_loss
from bench.training.recipe import Recipe


class TrainingStep:
    """`step(images, labels)` trains on one batch and returns the loss, still on the device.

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
    ) -> None:
        self.network = network
        self.optimizer = optimizer
        self._recipe = recipe
        self._execution = execution
        self._num_classes = num_classes
        device = next(network.parameters()).device
        self._device = device
        self._scaler = torch.amp.GradScaler(device.type, enabled=execution.precision == "fp16")

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self._execution, self._device):
            output = self.network(images)
        width = logits(output, self._num_classes).shape[1]
        if width < self._num_classes:
            raise ValueError(
                f"the network tells {width} classes apart, its images are of {self._num_classes}: "
                "let its factory take num_classes, or give it images of fewer classes"
            )
        loss = training_loss(output, labels, self._num_classes, self._recipe.label_smoothing)
        self._scaler.scale(loss).backward()
        if self._recipe.clip_norm is not None:
            self._scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self._recipe.clip_norm)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        return loss.detach()

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

    def _parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
