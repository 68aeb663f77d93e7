"""Test accuracy at the end of a fixed training budget, what that spent, and how long it would take."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import asdict, replace

import torch
from torch import nn

from bench.config import Task
from bench.data import ImageSet
from bench.data.batches import load_split
from bench.device import accelerator
from bench.device.execution import arithmetic, for_training
from bench.device.nvml import clocks
from bench.metrics import LEVELS, METRICS, Flag
from bench.models import REGISTRY
from bench.probes.counting.layers import layer_products
from bench.probes.counting.networks import fresh_network
from bench.probes.reading import Answer, Measurement, Reading, Unsupported
from bench.probes.steps import in_a_format_that_runs, inference_step, training_step, try_step
from bench.quantity import first_line, joined
from bench.training import randomness
from bench.training.evaluation import Images
from bench.training.loop import Trained, Trainee
from bench.training.recipes import Recipe, recipe_for
from bench.training.schedule import CURRENCIES, budget_images, spent_to_reach
from bench.training.weights import Checkpoint, checkpoint_path, load_weights

# The last network that was trained, with what was chosen and recorded for it, if this process may train it again.
_kept: dict[tuple[object, ...], Trainee] = {}
CHECKPOINT_FORMAT = 1  # raise it with any change to how training goes


def require(task: Task) -> None:
    """Check that the network is trained here.

    Raises:
        Unsupported: the run has no images for networks of this track.
    """
    image_set_for(task)


def measure(task: Task) -> Measurement:
    """Train from fresh weights under `task.budget`, test once at the end; `task.seed` decides all randomness.

    Raises:
        Unsupported: the run has no images for networks of this track, or nothing of the network gets a gradient.
        Diverged: the training loss became infinite or not a number.
    """
    image_set = image_set_for(task)
    with arithmetic(task.config.execution.precision):
        head_note, task, format_note = in_a_format_that_runs(task, _try_steps)
    spec, config = task.spec, task.config
    recipe = recipe_for(spec.family, task.inputs.recipes)
    if recipe.mean and recipe.std:
        image_set = replace(image_set, mean=recipe.mean, std=recipe.std)
    batch_size = config.train_batch_size or recipe.batch_size
    counted = _forward_flops(task)
    alike = (spec.name, recipe, image_set, batch_size, config.execution, config.test_images, task.device)
    kept = _kept.pop(alike, None)
    _kept.clear()
    with arithmetic(config.execution.precision), clocks(task.device) as clock:
        trainee = _trainee(task, recipe, image_set, batch_size, kept)
        checkpoint = _checkpoint(task, recipe, image_set, batch_size, trainee.network)
        trained = trainee.train(task.budget, counted[0], task.seed, checkpoint, clock)
    if _is_trained_again(task):
        _kept[alike] = trainee

    resumed = "" if trained.resumed_at is None else f"interrupted, and resumed after {trained.resumed_at:,} images"
    note = joined(head_note, format_note, checkpoint.note if checkpoint else "", resumed)
    common = Reading(
        0.0,
        batch_size=batch_size,
        cuda_graphs=trained.warm_up.cuda_graphs,
        memory_format=config.execution.memory_format,
        clock_mhz=clock.mhz,
        device=task.device,
    )
    readings = _readings(trained, common, note, counted)
    if not config.execution.compile:
        readings["compile_seconds"] = Unsupported("networks were not compiled (--compile)")
    if clock.throttled:  # what is told in seconds, and all that a budget in seconds buys, is of a slower device
        for metric, answer in readings.items():
            if isinstance(answer, Reading) and "s" in (METRICS[metric].unit, task.budget.kind):
                told = joined(answer.note, clock.throttled)
                readings[metric] = replace(answer, note=told, flags=(*answer.flags, "throttled"))
    return Measurement(
        readings,
        tables={
            "curves": tuple(asdict(point) for point in trained.curve),
            "confusions": tuple(asdict(confusion) for confusion in trained.confusions),
        },
    )


def _readings(
    trained: Trained, common: Reading, note: str, counted: tuple[float, str, tuple[Flag, ...]]
) -> dict[str, Answer]:
    """Accuracy, what was spent, and what was spent when each level was reached; `counted` as by `_forward_flops`."""
    spent, warm_up = trained.spent, trained.warm_up
    flops, flops_note, flops_flags = counted
    readings: dict[str, Answer] = {
        "top1": replace(common, value=trained.top1, trials=trained.tested, note=note),
        "train_seconds": replace(common, value=spent.seconds, note=joined(note, warm_up.note)),
        "train_images": replace(common, value=spent.images),
        "train_epochs": replace(common, value=spent.epochs),
        "train_flops": replace(common, value=spent.flops, note=flops_note, flags=flops_flags),
        "train_loss": replace(common, value=trained.final_loss),
        "compile_seconds": replace(common, value=warm_up.seconds),
    }
    for level in LEVELS:
        reached = spent_to_reach(trained.curve, level / 100)
        for currency in CURRENCIES:
            readings[f"{currency}_to_{level}"] = (
                replace(common, value=reached[currency], flags=flops_flags if currency == "flops" else ())
                if reached
                else Unsupported(f"never reached {level} %")
            )
    if math.isnan(flops):
        readings |= {metric: Unsupported(flops_note) for metric in readings if "flops" in metric}
    return readings


def _trainee(task: Task, recipe: Recipe, image_set: ImageSet, batch_size: int, kept: Trainee | None) -> Trainee:
    """The network with the weights that the task's seed starts from: in the one that is `kept`, or in a new one."""
    randomness.seed(task.seed)
    network = fresh_network(task.spec, len(image_set.classes))
    if task.inputs.initial_weights is not None:
        load_weights(task.inputs.initial_weights, network)
    if kept is not None:
        kept.start_anew(network)
        return kept
    execution, place = task.config.execution, accelerator.named(task.device).place
    images = Images(
        image_set,
        train=load_split(image_set, "train", place),
        test=load_split(image_set, "test", place, limit=task.config.test_images),
        input_size=task.spec.input_size,
        resize=recipe.resize,
    )
    return Trainee(for_training(network, execution, place), recipe, images, batch_size, execution)


def _is_trained_again(task: Task) -> bool:
    """Whether the process may go on with another seed or budget of a network of which that is the same training.

    A user's own may keep more than weights and buffers, and what is compiled is dropped after each task.
    """
    config = task.config
    last = (config.seeds - 1, (config.budget, *config.other_budgets)[-1])
    return (task.seed, task.budget) != last and task.spec.name in REGISTRY and not config.execution.compile


def _forward_flops(task: Task) -> tuple[float, str, tuple[Flag, ...]]:
    """Of one image, with a note and a flag where they are a lower bound; not a number where they cannot be counted."""
    try:
        found = layer_products(task.spec)
    except Exception as error:
        reason = f"the network's FLOPs cannot be counted ({type(error).__name__}: {first_line(error)})"
        if task.budget.kind == "pflop":
            raise Unsupported(f"{reason}: give a budget in epochs, images or seconds") from error
        return math.nan, reason, ()
    return 2.0 * found.macs, found.note if found.flags else "", found.flags


def _try_steps(task: Task) -> str:
    """Notes where the network is trained as it is, though its last layer does not fit the images or the loss."""
    found = try_step(inference_step, task)
    try_step(training_step, task)
    if found is None:
        return ""
    width, classes = found.shape[1], task.spec.num_classes
    notes = [f"the network returns {width} classes, its images have {classes}"] if width > classes else []
    found = found.float().cpu()
    if width > 1 and bool((found >= 0).all()) and torch.allclose(found.sum(1), torch.ones(len(found)), atol=1e-2):
        notes.append("the network returns probabilities, and the loss takes their softmax: let it return logits")
    return "; ".join(notes)


def _checkpoint(
    task: Task, recipe: Recipe, image_set: ImageSet, batch_size: int, network: nn.Module
) -> Checkpoint | None:
    """Where this training keeps its state, known by everything on which that depends; None where nothing is kept."""
    if task.inputs.checkpoints is None:
        return None
    identity = {
        "format": CHECKPOINT_FORMAT,
        "model": task.spec.name,
        "weights": [[name, list(tensor.shape)] for name, tensor in network.state_dict().items()],
        "initial_weights": str(task.inputs.initial_weights),
        "images": image_set.sha256,
        "test_images": task.config.test_images,
        "recipe": recipe.to_json(),
        "batch_size": batch_size,
        "budget": str(task.budget),
        "seed": task.seed,
        "execution": asdict(task.config.execution),
        "device": task.device.partition(":")[0],
        "torch": torch.__version__,
    }
    path = checkpoint_path(task.inputs.checkpoints, task.spec.name, task.seed, str(task.budget))
    return Checkpoint(path, identity, task.config.checkpoint_every_s)


def image_set_for(task: Task) -> ImageSet:
    """The images that networks like the task's are trained on.

    Raises:
        Unsupported: the run has none.
    """
    image_set = task.inputs.image_sets.get(task.spec.track)
    if image_set is None:
        raise Unsupported(
            "networks of the imagenet track are not trained: the suite carries no 224x224 images"
            if task.spec.track == "imagenet"
            else f"--dataset {task.config.dataset} has no images for the {task.spec.track} track"
        )
    return image_set


TIMED_S = 0.5  # of steps, and at least one


def forecast(task: Task) -> Measurement:
    """Time steps of the training's own batch size and multiply by their number; building and testing come on top.

    Raises:
        Unsupported: the network is not trained, or its budget says itself how long that takes.
    """
    image_set = image_set_for(task)
    if task.budget.kind == "s":
        raise Unsupported(f"a budget of {task.budget} takes as long as it says")
    batch_size = task.config.train_batch_size or recipe_for(task.spec.family, task.inputs.recipes).batch_size
    flops = 2 * layer_products(task.spec).macs if task.budget.kind == "pflop" else 0.0
    images = budget_images(task.budget, image_set.train_count, flops)
    synchronise = accelerator.named(task.device).synchronise
    with arithmetic(task.config.execution.precision):
        step = training_step(task, batch_size)
        step()  # to warm up
        seconds: list[float] = []
        while sum(seconds) < TIMED_S:
            synchronise()
            start = time.perf_counter()
            step()
            synchronise()
            seconds.append(time.perf_counter() - start)
    predicted = images / batch_size * statistics.median(seconds)
    return Measurement(
        {"predicted_train_seconds": Reading(predicted, batch_size=batch_size, predicted=True, device=task.device)}
    )
