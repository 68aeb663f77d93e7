"""The two steps that are timed, weighed and metered: a forward pass, and a training step as training runs it.

Both work on one batch that stays on the device. Images are random: no operation here runs faster on one image than on
another.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bench.config import Task
from bench.device.execution import for_inference, for_training, inference_dtype, memory_format
from bench.device.graphs import captured
from bench.probes.reading import Unsupported
from bench.training.loss import logits
from bench.training.optimizer import make_optimizer
from bench.training.recipes import recipe_for
from bench.training.step import TrainingStep

Step = Callable[[], Tensor]  # returns logits, or the loss
MakeStep = Callable[[Task, int], Step]  # (task, batch size)


def inference_step(task: Task, batch_size: int) -> Step:
    """A forward pass in eval mode; weights and images are of the type that is computed in."""
    spec, execution, device = task.spec, task.config.execution, torch.device(task.device)
    torch.manual_seed(task.seed)
    network = for_inference(spec.build(num_classes=spec.num_classes), execution, device)
    images = torch.randn(batch_size, *spec.input_size, device=device, dtype=inference_dtype(execution))
    images = images.to(memory_format=memory_format(execution))

    @torch.inference_mode()
    def forward() -> Tensor:
        return logits(network(images), spec.num_classes)

    return captured(forward) if execution.cuda_graphs else forward


def training_step(task: Task, batch_size: int) -> Step:
    """Forward, loss, backward and the recipe's optimizer.

    Raises:
        Unsupported: the network has nothing to train.
    """
    spec, execution, device = task.spec, task.config.execution, torch.device(task.device)
    torch.manual_seed(task.seed)
    network = for_training(spec.build(num_classes=spec.num_classes), execution, device)
    trainable = [p for p in network.parameters() if p.requires_grad]
    if not trainable:
        raise Unsupported("there is nothing to train: the network has no trainable parameters")
    recipe = recipe_for(spec.family, task.inputs.recipes)
    # A rate this small leaves the weights where they are: random labels for seconds on end would drive some networks
    # to infinity, and arithmetic on infinities can take another time.
    optimizer = make_optimizer(recipe, trainable, rate=1e-8)
    step = TrainingStep(network, optimizer, recipe, execution, spec.num_classes)
    images = torch.randn(batch_size, *spec.input_size, device=device).to(memory_format=memory_format(execution))
    labels = torch.randint(spec.num_classes, (batch_size,), device=device)
    if execution.cuda_graphs:
        replay = captured(step, images, labels)
        return lambda: replay(images, labels)
    return lambda: step(images, labels)


def check_finite(output: Tensor) -> None:
    """A network that computes nonsense is broken, however fast.

    Raises:
        ValueError: the output is infinite or not a number.
    """
    if not bool(torch.isfinite(output).all()):
        raise ValueError("the network's output is infinite or not a number (fp16 ends at 65,504; bf16 does not)")
