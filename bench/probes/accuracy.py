"""Test accuracy at the end of a fixed training budget, and what the training spent in every currency."""

from __future__ import annotations

from dataclasses import asdict, replace

import torch

from bench.config import Config
from bench.data.batches import load_split
from bench.execution import arithmetic, for_training
from bench.probes.macs import forward_macs
from bench.probes.reading import Measurement, Reading, Unsupported
from bench.training.loop import Images, train
from bench.training.recipes import recipe_for
from models.spec import ModelSpec


def measure(spec: ModelSpec, config: Config) -> Measurement:
    """Train from fresh weights under `config.budget`, test once at the end; `config.seed` decides all randomness.

    Raises:
        Unsupported: the run has no images for networks of this track.
        Diverged: the training loss became infinite or not a number.
    """
    image_set = config.image_sets.get(spec.track)
    if image_set is None:
        raise Unsupported(
            "networks of the imagenet track are not trained: the suite carries no 224x224 images"
            if spec.track == "imagenet"
            else f"--dataset {config.dataset} has no images for the {spec.track} track"
        )
    device = torch.device(config.device)
    images = Images(
        image_set,
        train=load_split(image_set, "train", device),
        test=load_split(image_set, "test", device, limit=config.test_images),
        input_size=spec.input_size,
    )
    recipe = recipe_for(spec.family)
    batch_size = config.train_batch_size or recipe.batch_size
    flops = 2 * forward_macs(spec)
    torch.manual_seed(config.seed)
    network = for_training(spec.build(num_classes=len(image_set.classes)), config.execution, device)
    with arithmetic(config.execution.precision):
        outcome = train(network, recipe, config.budget, images, batch_size, flops, config.seed, config.execution)

    spent = outcome.spent
    common = Reading(0.0, batch_size=batch_size, device=config.device)
    readings = {
        "top1": replace(common, value=outcome.top1, trials=outcome.tested),
        "train_seconds": replace(common, value=spent.seconds),
        "train_images": replace(common, value=spent.images),
        "train_epochs": replace(common, value=spent.epochs),
        "train_flops": replace(common, value=spent.flops),
        "train_loss": replace(common, value=outcome.final_loss),
    }
    return Measurement(readings, curve=tuple(asdict(point) for point in outcome.curve))
