"""`tune`: better recipes than the defaults, found on training images that are held out."""

from __future__ import annotations

import importlib.util
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from bench.cli import INTERRUPTED, OK, PROG, SOME_FAILED, refuse_for_registry, say, with_suffix
from bench.config import PRESETS, RequestError
from bench.runner.flags import Argument, Word
from bench.runner.request import Request, Setup

if TYPE_CHECKING:
    from bench.models import ModelSpec
    from bench.runner.tune import Trial


@dataclass(frozen=True)
class Tune(Setup):
    """Try recipes for each family on training images that are held out, and write the best for `--recipes`. The default
    recipe is the first trial, and the family's smallest network is trained. No test image is read."""

    budget: Word = None
    """Training budget of each trial: 10ep, 200kimg, 60s or 2pflop. Default: that of the preset."""
    trials: Annotated[int, Argument("N")] = 20
    """How many recipes to try for each family."""
    seed: int = 0
    """Which images are held out, which recipes are tried, and all randomness of training."""
    out: Path = Path("recipes.json")
    """The file to write. If it exists, other families in it stay, and an interrupted search is resumed."""


def run(request: Tune, arguments: Sequence[str]) -> int:
    if importlib.util.find_spec("optuna") is None:
        raise RequestError("tune needs Optuna, which is not installed: pip install 'optuna>=4,<5'")
    if request.trials <= 0:
        raise RequestError(f"--trials {request.trials}: must be above zero")
    from bench.engines import Interrupts
    from bench.engines.local import LocalMachine
    from bench.quantity import quantity
    from bench.render.tables import aligned
    from bench.runner.execute import PRELOAD
    from bench.runner.prepare import prepare
    from bench.runner.tune import TrialTask, smallest_of_families, tune
    from bench.training import recipes

    with_suffix("--out", request.out, ".json")
    refuse_for_registry(request.models or PRESETS["quick"].models, request.input_size, request.num_classes)
    shared = {field.name: getattr(request, field.name) for field in fields(Setup)}
    budget = (request.budget,) if request.budget else ()
    folder = request.out.absolute().parent  # is found to be writable before anything is trained
    prepared = prepare(Request(**shared, budget=budget, results_dir=folder), ("accuracy",), say)
    config, inputs = prepared.config, prepared.inputs
    specs = smallest_of_families([spec for spec in prepared.specs if spec.track in inputs.image_sets])
    if not specs:
        raise RequestError("nothing to tune: there are no images for any of these networks")
    found: dict[str, Any] = recipes.recipe_entries(request.out, "--out") if request.out.exists() else {}
    memory_limit = None if request.task_memory_gib is None else int(request.task_memory_gib * 2**30)
    executor = LocalMachine(prepared.devices, Path(os.devnull), PRELOAD, memory_limit)
    rows = []
    with Interrupts() as interrupts:
        for spec in specs:
            recipe = recipes.recipe_for(spec.family)  # from which the search starts
            default = TrialTask(spec, recipe, config, inputs.image_sets[spec.track], request.seed)
            row = {"family": spec.family, "network": spec.name, "recipe": "no trial came to its end"}

            def show(number: int, trial: Trial, of: ModelSpec = spec, row: dict[str, str] = row) -> None:
                result = trial.note if trial.top1 is None else quantity(trial.top1, "fraction")
                row.setdefault("default", "failed" if trial.top1 is None else result)
                tried = f"rate {trial.peak_rate:g}, weight decay {trial.weight_decay:g}"
                say(f"{of.family} [{number}/{request.trials}] {tried}: {result}")

            before = found.get(spec.family)
            try:
                for entry in tune(default, request.trials, before, executor, show, interrupts):
                    found[spec.family] = entry
                    recipes.write_recipes(request.out, found)
                    best = entry["recipe"]
                    row["best"] = quantity(entry["held_out_top1"], "fraction")
                    row["recipe"] = f"rate {best['peak_rate']:g}, weight decay {best['weight_decay']:g}"
            except KeyboardInterrupt:
                say(f"\ninterrupted; every trial that ended is kept. To go on:\n  {PROG} {shlex.join(arguments)}")
                return INTERRUPTED
            rows.append(row)
    columns = ("family", "network", "default", "best", "recipe")
    print(aligned([{column: row.get(column, "") for column in columns} for row in rows]))
    images = " and ".join(dict.fromkeys(inputs.image_sets[spec.track].name for spec in specs))
    print(f"Accuracies are on {images} training images that were held out; the best of several trials looks too good.")
    if all("best" in row for row in rows):
        print(f"to train with them: {PROG} all --recipes {request.out}")
        return OK
    return SOME_FAILED
