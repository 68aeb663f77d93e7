"""Better recipes than the defaults: tried on one network of each family, every training in a process of its own.

Peak rate and weight decay are searched on training images that are held out; no test image is ever read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any

import msgspec
import torch

from bench.config import Config, RequestError
from bench.data import ImageSet
from bench.data.batches import Split, load_split
from bench.device import accelerator
from bench.device.execution import CaptureFailed, arithmetic, failed_capture, for_training
from bench.engines import Crash, Executor, Stop
from bench.models import ModelSpec
from bench.probes.counting.layers import layer_products
from bench.training.evaluation import Images
from bench.training.loop import Trainee
from bench.training.recipes import Recipe
from bench.training.schedule import Diverged

HELD_OUT = 0.1  # of the training images of every class
SPAN = 10.0  # rates and decays up to so many times smaller and larger than the default's are tried
DECAY_WITHOUT_DEFAULT = (1e-6, 1e-3)  # where the default recipe has no weight decay to search around


@dataclass(frozen=True)
class Trial:
    """One recipe that was tried; `top1` is None where its training did not come to its end, and `note` says why."""

    peak_rate: float
    weight_decay: float
    top1: float | None  # on the images held out
    tested: int = 0  # images
    note: str = ""


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


def execute_trial(task: TrialTask, device: str) -> Trial | TrialTask:
    """Train and test once. Where the step could not be recorded as a graph: the same without one, for a fresh process.

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
            trainee = Trainee(network, recipe, images, task.batch_size, config.execution)
            outcome = trainee.train(config.budget, flops, seed)
        except Diverged as reason:
            return Trial(recipe.peak_rate, recipe.weight_decay, None, note=str(reason))
        except (CaptureFailed, Exception):
            if not failed_capture():
                raise
            return replace(task, config=replace(config, execution=replace(config.execution, cuda_graphs=False)))
    return Trial(recipe.peak_rate, recipe.weight_decay, outcome.top1, outcome.tested)


def tune(
    default: TrialTask,
    count: int,
    before: object,
    executor: Executor,
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
        nonlocal default
        if trial := known.get((recipe.peak_rate, recipe.weight_decay)):
            return trial
        tasks = [replace(default, recipe=recipe)]
        with closing(executor.run(execute_trial, tasks, default.config.task_timeout_s, stop=stop)) as ended:
            outcome = next((outcome for _, outcome in ended), None)
        if outcome is None:
            raise KeyboardInterrupt
        if isinstance(outcome, Crash):
            return Trial(recipe.peak_rate, recipe.weight_decay, None, note=outcome.reason)
        if isinstance(outcome, TrialTask):  # nor will later trials be graphs
            default = replace(default, config=outcome.config)
            return attempt(recipe)
        return outcome

    trials: list[Trial] = []
    for trial in search(default.recipe, count, default.seed, attempt):
        trials.append(trial)
        on_end(len(trials), trial)
        if best := best_of(trials):
            yield _entry(default, best, trials)


def conditions_of(task: TrialTask) -> dict[str, Any]:
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
    today, shared = date.today().isoformat(), conditions_of(default)
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
    """Those of an entry that an earlier search left."""
    if before is None:
        return []
    before = before if isinstance(before, Mapping) else {}
    for name, value in conditions_of(default).items():
        if before.get(name) != value:
            raise RequestError(
                f"recipes.json has a recipe of {default.spec.family} that was found otherwise "
                f"({name}: {before.get(name)}, now {value}): choose another --out"
            )
    try:
        return msgspec.convert(before.get("trials"), list[Trial])
    except msgspec.ValidationError as error:
        raise RequestError(f"recipes.json: the trials of {default.spec.family} are damaged: {error}") from None


def search(default: Recipe, count: int, seed: int, attempt: Callable[[Recipe], Trial]) -> Iterator[Trial]:
    """`count` trials as they end: the default recipe, then what a tree-structured Parzen estimator proposes.

    `attempt` trains with a recipe; a trial without an accuracy is pruned. Rates and decays are drawn on a logarithmic
    scale (Akiba et al. 2019, arXiv:1907.10902; Bergstra et al. 2011, NIPS). The same seed and the same accuracies give
    the same trials.
    """
    import optuna  # an extra, and slow to import

    yield attempt(default)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    ranges: dict[str, optuna.distributions.BaseDistribution] = {
        name: optuna.distributions.FloatDistribution(low, high, log=True)
        for name, (low, high) in {
            "peak_rate": _around(default.peak_rate),
            "weight_decay": _around(default.weight_decay) if default.weight_decay else DECAY_WITHOUT_DEFAULT,
        }.items()
    }
    for _ in range(count - 1):
        proposal = study.ask(ranges)
        # Three digits: what is written down for people is what was tried.
        rate, decay = (float(f"{proposal.params[name]:.3g}") for name in ("peak_rate", "weight_decay"))
        tried = attempt(replace(default, peak_rate=rate, weight_decay=decay))
        if tried.top1 is None:
            study.tell(proposal, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(proposal, tried.top1)
        yield tried


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The most accurate trial, the first of equals; None where no training came to its end."""
    finished = [trial for trial in trials if trial.top1 is not None]
    return max(finished, key=lambda trial: trial.top1 or 0.0, default=None)


def smallest_of_families(specs: Sequence[ModelSpec]) -> list[ModelSpec]:
    """The network of each family that recipes are tried on: fewest parameters, of the cifar track if there is one."""
    families: dict[str, list[ModelSpec]] = {}
    for spec in specs:
        families.setdefault(spec.family, []).append(spec)

    def size(spec: ModelSpec) -> tuple[bool, float]:
        return spec.track != "cifar", math.inf if spec.params is None else spec.params

    return [min(members, key=size) for members in families.values()]


def held_out(split: Split, seed: int, limit: int | None = None) -> tuple[Split, Split]:
    """Training images without a tenth of every class, and that tenth: drawn by `seed`, each in the order of the split.

    With `limit`, at most about so many are held out to be tested on; what is trained on is the same.

    Raises:
        ValueError: a class has fewer than ten images.
    """
    labels = split.labels.cpu()
    generator = torch.Generator().manual_seed(seed)
    kept, out = [], []
    classes = labels.unique().tolist()
    for label in classes:
        rows = (labels == label).nonzero().flatten()
        rows = rows[torch.randperm(len(rows), generator=generator)]
        count = int(HELD_OUT * len(rows))
        if count < 1:
            raise ValueError(f"class {label} has {len(rows)} training images: too few to hold a tenth of them out")
        kept.append(rows[count:])
        out.append(rows[: min(count, max(1, limit // len(classes)) if limit else count)])

    def part(rows: list[torch.Tensor]) -> Split:
        index = torch.cat(rows).sort().values.to(split.labels.device)
        return Split(split.images[index], split.labels[index])

    return part(kept), part(out)


def _around(value: float) -> tuple[float, float]:
    return value / SPAN, value * SPAN
