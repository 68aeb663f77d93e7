"""Search a family's peak rate and weight decay on training images that are held out; no test image is ever read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from bench.data.batches import Split
from bench.models import ModelSpec
from bench.training.recipes import Recipe

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
