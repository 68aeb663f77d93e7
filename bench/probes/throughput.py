"""Images per second: inference, and the training step exactly as training runs it."""

from __future__ import annotations

import statistics

import torch

from bench.config import Config
from bench.precision import arithmetic
from bench.probes.reading import Measurement, Reading, Unsupported
from bench.timing import steady_samples
from bench.training.loop import synchronise, train_step
from bench.training.recipes import make_optimizer, recipe_for
from models.spec import ModelSpec


def measure(spec: ModelSpec, config: Config) -> Measurement:
    """Synchronised forward passes (eval mode) and training steps on one batch that stays on the device.

    The batch size is the same for every network of a track. Images are random: none of the operations timed here
    runs faster on one image than on another.
    """
    device = torch.device(config.device)
    batch_size = config.batch_size[spec.track]
    torch.manual_seed(config.seed)
    network = spec.build(num_classes=spec.num_classes).to(device)
    images = torch.randn(batch_size, *spec.input_size, device=device)
    labels = torch.randint(spec.num_classes, (batch_size,), device=device)
    recipe = recipe_for(spec.family)
    trainable = [p for p in network.parameters() if p.requires_grad]
    # A rate this small leaves the weights where they are: random labels for seconds on end would drive some networks
    # to infinity, and arithmetic on infinities can take another time.
    optimizer = make_optimizer(recipe, trainable, rate=1e-8) if trainable else None

    def infer() -> None:
        with torch.inference_mode():
            network(images)

    def train() -> None:
        assert optimizer is not None
        train_step(network, optimizer, images, labels, recipe)

    readings: dict[str, Reading | Unsupported] = {}
    with arithmetic(config.precision):
        for metric, step, training in (
            ("inference_images_per_s", infer, False),
            ("train_images_per_s", train, True),
        ):
            if training and optimizer is None:
                readings[metric] = Unsupported("there is nothing to train: the network has no trainable parameters")
                continue
            network.train(training)
            timing = steady_samples(step, lambda: synchronise(device), config.measure_seconds)
            rates = tuple(batch_size / seconds for seconds in timing.seconds)
            readings[metric] = Reading(
                value=statistics.median(rates),
                samples=rates,
                batch_size=batch_size,
                device=config.device,
                note="" if timing.steady else "not steady: step times still moved by over 5 % when sampling began",
            )
    return Measurement(readings)
