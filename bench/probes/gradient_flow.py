"""Why depth works: the norm of the gradient at every depth, for plain networks and their residual twins.

The weights' gradients show three things that are easily taken for one.

- Vanishing: a saturating activation multiplies the gradient by less than one in every layer (Glorot & Bengio 2010,
  section 3), and so do initial weights that are too small, whatever the activation (He et al. 2015, arXiv:1502.01852,
  section 2.2). Batch norm rescales every layer and hides both, so these variants are without it.
- With ReLU and He's initial weights the norms stay in one range at any depth, shortcuts or not. Shortcuts without
  batch norm add up instead: activations, loss and gradients grow with every block (Zhang et al. 2019, arXiv:1901.09321,
  section 2).
- With batch norm, as the papers build them, nothing vanishes: He et al. 2015 (arXiv:1512.03385, section 4.1) say so of
  their plain networks and conclude that their degradation has another cause. What the norms show there is growth
  towards the input, exponential in a plain network (Yang et al. 2019, arXiv:1902.08129) and slow in a residual one.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bench.config import Task
from bench.data.batches import Preparation, TrainingBatches, load_split
from bench.device import accelerator
from bench.device.accelerator import Device
from bench.device.execution import arithmetic
from bench.models import REGISTRY, ModelSpec
from bench.probes.reading import Measurement, Reading, Unsupported
from bench.training.step import training_loss

Activation = Literal["sigmoid", "tanh", "relu"]
Initialisation = Literal["he", "small_normal"]

_ACTIVATIONS: dict[Activation, type[nn.Module]] = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}
SMALL_STD = 0.01  # of all layers: Krizhevsky et al. 2012, section 5; He et al. 2015, arXiv:1502.01852, section 2.2


@dataclass(frozen=True)
class Variant:
    """What is changed in a network of ReLUs and batch norm, and what is left."""

    activation: Activation
    initialisation: Initialisation
    batch_norm: bool


VARIANTS = (
    *(
        Variant(activation, initialisation, batch_norm=False)
        for initialisation in ("he", "small_normal")
        for activation in ("sigmoid", "tanh", "relu")
    ),
    Variant("relu", "he", batch_norm=True),
    Variant("relu", "small_normal", batch_norm=True),
)
REPORTED = {
    "gradient_norm_ratio": Variant("relu", "he", batch_norm=False),
    "gradient_norm_ratio_sigmoid": Variant("sigmoid", "he", batch_norm=False),
    "gradient_norm_ratio_batch_norm": Variant("relu", "he", batch_norm=True),
}

DRAWS = 3  # of initial weights, each with a batch of its own; also the steps behind a point during training
BATCH_SIZE = 16
# Small and the same for all: the variants differ in what reaches a layer, not in how well they were tuned.
RATE, MOMENTUM, CLIP_NORM = 0.01, 0.9, 1.0

Norms = list[float]  # of each convolution's weight gradient, from the input to the output


def require(task: Task) -> None:
    """Check that there is something to compare.

    Raises:
        Unsupported: the network has no twin that differs in its shortcuts alone.
    """
    if twin_of(task.spec) is None:
        raise Unsupported("compares networks that differ in their shortcuts alone, such as plain20 and resnet20_cifar")


def measure(task: Task) -> Measurement:
    """Gradient norms at initialisation, half-way through a short training and at its end, for each of `VARIANTS`.

    The metrics are the first convolution's norm over the last's at initialisation, a sample per draw of weights; the
    curve has every convolution and point. Always in fp32: a norm of exactly 0 has left its range.

    Raises:
        Unsupported: the network has no twin that differs in its shortcuts alone.
    """
    require(task)
    device = accelerator.named(task.device)
    torch.manual_seed(task.seed)
    curve: list[dict[str, Any]] = []
    ratios: dict[Variant, list[float]] = {}
    image_set = task.inputs.image_sets.get(task.spec.track)
    remarks = [f"on {image_set.name if image_set else 'random'} images"]
    with arithmetic("fp32"):
        for variant in VARIANTS:
            points = _points(task, variant, device)
            ratios[variant] = [norms[0] / norms[-1] if norms[-1] else math.nan for norms in points[0]]
            for step, several in points.items():
                for depth, norms in enumerate(zip(*several, strict=True), start=1):
                    row = {**asdict(variant), "step": step, "depth": depth, "gradient_norm": statistics.median(norms)}
                    curve.append(row)
            if max(points) < device.sizes.gradient_steps:
                words = f"{variant.activation}, {variant.initialisation}{', batch norm' if variant.batch_norm else ''}"
                remarks.append(f"training of {words} diverged")
    readings = {
        metric: Reading(
            statistics.median(ratios[variant]),
            samples=tuple(ratios[variant]),
            note="; ".join(remarks),
            batch_size=BATCH_SIZE,
            device=task.device,
        )
        for metric, variant in REPORTED.items()
    }
    return Measurement(readings, {"curves": tuple(curve)})


def twin_of(spec: ModelSpec) -> ModelSpec | None:
    """The plain network to a residual one of the cifar track, and the other way round, if the registry has it."""
    if spec.track != "cifar" or spec.family not in ("Plain", "ResNet") or spec.name not in REGISTRY:
        return None
    other = {"plain": "resnet", "resnet": "plain"}
    kind = "plain" if spec.family == "Plain" else "resnet"
    twin = REGISTRY.get(spec.name.replace(kind, other[kind], 1))
    return twin and replace(twin, num_classes=spec.num_classes)


def gradient_norms(network: nn.Module, images: Tensor, labels: Tensor, num_classes: int) -> Norms:
    """Of each convolution's weight, in the order of the modules; the gradients of this batch stay in the network.

    As shares of its largest: the square of a small number would be zero, and not every device has larger ones.
    """
    network.zero_grad(set_to_none=True)
    training_loss(network(images), labels, num_classes).backward()
    weights = [module.weight for module in network.modules() if isinstance(module, nn.Conv2d)]
    grads = [weight.grad for weight in weights if weight.grad is not None]
    largest = torch.stack([grad.abs().max() for grad in grads]).clamp_min(torch.finfo(torch.float32).tiny)
    norms = torch.stack([(grad / scale).norm() for grad, scale in zip(grads, largest, strict=True)])
    return (norms.cpu().double() * largest.cpu().double()).tolist()


def _points(task: Task, variant: Variant, device: Device) -> Mapping[int, list[Norms]]:
    """Step -> the norms of several batches: draws of weights at step 0, then the last steps up to each point.

    A training that overflows ends early and has no point after that.
    """
    network = task.spec.build(num_classes=task.spec.num_classes)
    change(network, variant)
    network.to(device.place).train()
    batches = _batches(task, device)
    points: dict[int, list[Norms]] = {0: []}
    for images, labels in itertools.islice(batches, DRAWS):
        initialise(network, variant.initialisation)
        points[0].append(gradient_norms(network, images, labels, task.spec.num_classes))
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE, momentum=MOMENTUM)
    steps = device.sizes.gradient_steps
    recent: list[Norms] = []
    for step, (images, labels) in enumerate(itertools.islice(batches, steps), start=1):
        recent = [*recent, gradient_norms(network, images, labels, task.spec.num_classes)][-DRAWS:]
        total = nn.utils.clip_grad_norm_(network.parameters(), CLIP_NORM)
        if not torch.isfinite(total):
            return points
        optimizer.step()
        if step in (steps // 2, steps):
            points[step] = recent
    return points


def _batches(task: Task, device: Device) -> Iterator[tuple[Tensor, Tensor]]:
    """The same for every variant: of the run's training images, or of random ones where the run has none."""
    spec = task.spec
    generator = torch.Generator(device.place).manual_seed(task.seed)
    image_set = task.inputs.image_sets.get(spec.track)
    if image_set is not None:
        split = load_split(image_set, "train", device.place, limit=100 * len(image_set.classes))
        prepare = Preparation(image_set, spec.input_size, device.place)
        at_once = device.sizes.prepared_bytes
        yield from TrainingBatches(split, prepare, BATCH_SIZE, generator, at_once, by_runs=device.is_host)
    while True:
        images = torch.randn(BATCH_SIZE, *spec.input_size, generator=generator, device=device.place)
        yield images, torch.randint(spec.num_classes, (BATCH_SIZE,), generator=generator, device=device.place)


def change(network: nn.Module, variant: Variant) -> None:
    """Turn a network into a variant of itself, with fresh weights from torch's random state.

    Activations and norms are found as modules, so a network that calls `torch.relu` keeps that. Weights of
    convolutions and linear layers are normal: with variance 2 / fan-in for "he" (arXiv:1502.01852, equation 10),
    with a standard deviation of 0.01 for "small_normal"; biases are zero.
    """
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.ReLU):
                setattr(parent, name, _ACTIVATIONS[variant.activation]())
            elif isinstance(child, nn.BatchNorm2d) and not variant.batch_norm:
                setattr(parent, name, nn.Identity())
    initialise(network, variant.initialisation)


def initialise(network: nn.Module, initialisation: Initialisation) -> None:
    """Draw the weights of convolutions and linear layers anew; the affine part of a norm stays."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            if initialisation == "he":
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            else:
                nn.init.normal_(module.weight, std=SMALL_STD)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
