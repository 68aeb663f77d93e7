"""Better recipes than the defaults: tried on one network of each family, every training in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any

import msgspec
import torch

from bench.config import Config, Inputs, RequestError
from bench.data import ImageSet
from bench.data.batches import load_split
from bench.device import accelerator
from bench.device.execution import arithmetic, for_training
from bench.engines import Crash, Executor, Stop
from bench.models import ModelSpec
from bench.probes.counting.layers import layer_products
from bench.training.evaluation import Images
from bench.training.loop import train
from bench.training.recipes import Recipe, recipe_for
from bench.training.schedule import Diverged
from bench.training.tuning import Trial, best_of, held_out, search


@dataclass(frozen=True)
class TrialTask:
    """One training with one recipe, tested on the training images that are held out; no test image is read."""

    spec: ModelSpec
    recipe: Recipe
    config: Config
    image_set: ImageSet
    seed: int  # which images are held out, and all randomness of training

    @property
    def batch_size(self) -> int:
        return self.config.train_batch_size or self.recipe.batch_size

    @property
    def group(self) -> str:
        return f"{self.spec.name} with {self.recipe}"  # a process of its own


def execute_trial(task: TrialTask, device: str) -> Trial:
    """Train and test once.

    Raises:
        Exception: whatever the network raises.
        ValueError: a class has fewer than ten training images.
    """
    spec, config, recipe, seed = task.spec, task.config, task.recipe, task.seed
    at = accelerator.choose(device).place
    kept, out = held_out(load_split(task.image_set, "train", at), seed, config.test_images)
    images = Images(task.image_set, kept, out, spec.input_size)
    torch.manual_seed(seed)
    network = for_training(spec.build(num_classes=len(task.image_set.classes)), config.execution, at)
    flops = 2 * layer_products(spec).macs
    with arithmetic(config.execution.precision):
        try:
            outcome = train(
                network, recipe, config.budget, images, task.batch_size, flops, seed, config.execution, None
            )
        except Diverged as reason:
            return Trial(recipe.peak_rate, recipe.weight_decay, None, note=str(reason))
    return Trial(recipe.peak_rate, recipe.weight_decay, outcome.top1, outcome.tested)


def tune(
    default: TrialTask,
    count: int,
    before: object,
    executor: Executor[TrialTask, Trial],
    on_end: Callable[[int, Trial], object],
    stop: Stop,
) -> Iterator[dict[str, Any]]:
    """The family's entry of recipes.json after each of `count` trials of which one has come to its end.

    `before` is the entry that an earlier, interrupted search left: its trials are not trained again.

    Raises:
        KeyboardInterrupt: `stop` was requested.
        RequestError: `before` was found under other conditions, or is damaged.
    """
    known = {(trial.peak_rate, trial.weight_decay): trial for trial in _trials(default, before)}

    def attempt(recipe: Recipe) -> Trial:
        if trial := known.get((recipe.peak_rate, recipe.weight_decay)):
            return trial
        task = replace(default, recipe=recipe)
        engine = executor.engine(execute_trial, needs_device=True, tasks=1)
        with closing(engine.run([task], default.config.task_timeout_s, lambda task, device: None, stop)) as ended:
            for _, outcome in ended:
                if isinstance(outcome, Crash):
                    return Trial(recipe.peak_rate, recipe.weight_decay, None, note=outcome.reason)
                return outcome
        raise KeyboardInterrupt

    trials: list[Trial] = []
    for trial in search(default.recipe, count, default.seed, attempt):
        trials.append(trial)
        on_end(len(trials), trial)
        if best := best_of(trials):
            yield _entry(default, best, trials)


def first_trial(spec: ModelSpec, config: Config, inputs: Inputs, seed: int) -> TrialTask:
    """The family's default recipe, from which a search starts."""
    return TrialTask(spec, recipe_for(spec.family), config, inputs.image_sets[spec.track], seed)


def conditions(task: TrialTask) -> dict[str, Any]:
    """What trials must share to be compared."""
    return {
        "model": task.spec.name,
        "dataset": task.image_set.name,
        "images": task.image_set.sha256,
        "budget": str(task.config.budget),
        "batch_size": task.batch_size,
        "execution": str(task.config.execution),
        "seed": task.seed,
    }


def _entry(default: TrialTask, best: Trial, trials: list[Trial]) -> dict[str, Any]:
    today, shared = date.today().isoformat(), conditions(default)
    found = replace(
        default.recipe,
        name="tuned",
        peak_rate=best.peak_rate,
        weight_decay=best.weight_decay,
        source="tuned on {model}, {dataset}, {budget}, {today}, seed {seed}".format(today=today, **shared),
    )
    return {
        "recipe": found.to_json(),
        **shared,
        "date": today,
        "held_out_images": best.tested,
        "held_out_top1": best.top1,
        "trials": [asdict(trial) for trial in trials],
    }


def _trials(default: TrialTask, before: object) -> list[Trial]:
    """Those of an entry that an earlier search left.

    Raises:
        RequestError: it was made under other conditions, or is damaged.
    """
    if before is None:
        return []
    before = before if isinstance(before, Mapping) else {}
    for name, value in conditions(default).items():
        if before.get(name) != value:
            raise RequestError(
                f"recipes.json has a recipe of {default.spec.family} that was found otherwise "
                f"({name}: {before.get(name)}, now {value}): choose another --out"
            )
    try:
        return msgspec.convert(before.get("trials"), list[Trial])
    except msgspec.ValidationError as error:
        raise RequestError(f"recipes.json: the trials of {default.spec.family} are damaged: {error}") from None
