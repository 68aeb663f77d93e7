"""The best of some recipes for a family, by accuracy on training images that are held out."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import date

import torch

from bench.config import Config
from bench.data.batches import load_split
from bench.device.execution import arithmetic, for_training
from bench.models import ModelSpec
from bench.probes.accuracy import image_set_for
from bench.probes.macs import forward_macs
from bench.probes.reading import Measurement, Reading
from bench.training.images import Images
from bench.training.loop import train
from bench.training.recipe import Recipe
from bench.training.recipes import recipe_for
from bench.training.tuning import best_of, held_out, search


def measure(spec: ModelSpec, config: Config) -> Measurement:
    """Train with `config.tuning_trials` recipes under `config.budget`; the best one goes with the measurement.

    No test image is read. `config.seed` decides which images are held out, and all randomness of search and training.

    Raises:
        Unsupported: the run has no images for networks of this track.
        Diverged: every recipe diverged.
    """
    image_set = image_set_for(spec, config)
    device = torch.device(config.device)
    train_split, held_out_split = held_out(load_split(image_set, "train", device), config.seed, config.test_images)
    images = Images(image_set, train_split, held_out_split, spec.input_size)
    default = recipe_for(spec.family)
    batch_size = config.train_batch_size or default.batch_size
    flops = 2 * forward_macs(spec)

    def accuracy(recipe: Recipe) -> float:
        torch.manual_seed(config.seed)
        network = for_training(spec.build(num_classes=len(image_set.classes)), config.execution, device)
        return train(network, recipe, config.budget, images, batch_size, flops, config.seed, config.execution).top1

    with arithmetic(config.execution.precision):
        trials = search(default, config.tuning_trials, config.seed, accuracy)
    best, top1 = best_of(trials)
    today = date.today().isoformat()
    found = replace(
        default,
        name="tuned",
        peak_rate=best.peak_rate,
        weight_decay=best.weight_decay,
        source=f"tuned on {spec.name}, {image_set.name}, {config.budget}, {today}, seed {config.seed}",
    )
    reading = Reading(
        top1,
        trials=len(held_out_split.labels),
        note=f"the best of {len(trials)} recipes: {found}; {_of_default(trials[0].top1)}",
        batch_size=batch_size,
        device=config.device,
    )
    entry = {
        "recipe": found.to_json(),
        "model": spec.name,
        "dataset": image_set.name,
        "budget": str(config.budget),
        "batch_size": batch_size,
        "seed": config.seed,
        "date": today,
        "held_out_images": len(held_out_split.labels),
        "held_out_top1": top1,
        "trials": [asdict(trial) for trial in trials],
    }
    return Measurement({"tuned_top1": reading}, tuned=entry)


def _of_default(top1: float | None) -> str:
    return "the default recipe diverged" if top1 is None else f"the default recipe reached {top1:.4f}"
