"""Measuring from Python: an object, a factory or a name, in the calling process, without a run folder.

The verbs of the command line do the same for a run: what they check, plan and execute is what is called here. They
measure each network in a fresh process; here the caller's own does it, as an object cannot be sent to another.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import psutil
import torch
from torch import nn

from bench import models
from bench.config import CompileMode, MemoryFormat, Precision, RequestError, Task
from bench.device import accelerator
from bench.device.execution import as_pytorch_starts, settings_kept
from bench.engines import Crash
from bench.metrics import measured_by, probe_named
from bench.models import InputSize, ModelSpec, UnknownModel
from bench.probes.counting.layers import BytesByCall, layer_products, layer_table
from bench.probes.counting.networks import with_own_classes
from bench.probes.counts import saved_per_image
from bench.probes.speed import layer_milliseconds
from bench.quantity import first_line, joined
from bench.records import to_frame
from bench.records.record import Record
from bench.runner.borrowed import Borrowed
from bench.runner.execute import crashed, execute, without_value
from bench.runner.header import described
from bench.runner.plan import plan
from bench.runner.prepare import prepare
from bench.runner.request import Request
from bench.training import randomness

Network = nn.Module | Callable[..., nn.Module] | str  # an object, a class or function that builds one, or a name

HERE = "measured in the calling process"  # in the note of each number that may depend on it, and each of an object
LOOK_S = 0.1  # at what else the processors do
NOT_FRESH = (
    "training starts from fresh weights, which an object does not have: pass the class or function that builds it"
)


def measure(
    network: Network,
    input_size: InputSize | None = None,
    probes: Sequence[str] = ("params", "macs"),
    device: str = "auto",
    batch_size: int | None = None,
    *,
    num_classes: int | None = None,
    name: str | None = None,
    precision: Literal["auto"] | Precision = "auto",
    memory_format: Literal["auto"] | MemoryFormat = "auto",
    compile: bool = False,
    compile_mode: CompileMode = "default",
    rounds: int | None = None,
    fit: str | None = None,
    budget: str = "1ep",
    seeds: int = 1,
    dataset: str = "auto",
    data_dir: str | Path | None = None,
    train_batch_size: int | None = None,
    test_images: int | None = None,
) -> pd.DataFrame:
    """Every number that the probes find of one network: a row each, in the columns of records.jsonl.

    A network that fails is a row with status "failed" (or "oom") and the reason in `note`; what does not apply is a row
    with status "skipped" and the reason. Nothing is written to a run. Numbers are of the calling process: what it has
    loaded, its number of threads and whatever else it does.

    An object (`nn.Module`) is measured with the weights that it has, and is afterwards as it was: weights, buffers,
    modes, hooks, gradients. Probes work on copies of it; with an object that cannot be copied no training step is
    taken. What trains from the start (accuracy) needs a class or function that builds the network.

    Args:
        network: an object, a class or function that returns one (with `num_classes` as an argument if it can be
            chosen), or a name as `--models` takes it, globs among them.
        input_size: (channels, height, width) of one image. Default: that of a named network, else (3, 32, 32).
        probes: names of probes or of metrics, such as "throughput" or "latency_ms".
        device: as --device: "auto", "cpu", "cuda", "cuda:N", "mps", "xpu"; of several, the first.
        batch_size: images in a step that is timed or weighed. Default: that of the preset, by the size of the image.
        num_classes: default: what the network says, or returns.
        name: of the network in the rows. Default: that of its class or function.
        rounds: how often timings are taken. Default: that of the preset (8 on a CPU).
        fit: a memory, such as "16GiB", into which the largest batch is to fit.
        budget, seeds, dataset, data_dir, train_batch_size, test_images: of training, as the flags of `run`; a
            training is begun however long it takes.

    Raises:
        RequestError: an argument is wrong: one line says which and what to do.
    """
    with _in_pythons_words():
        if budget.split() != [budget]:
            raise RequestError(f"budget {budget!r}: write one budget, such as 1ep")
        probes = tuple(dict.fromkeys(map(measured_by, (probes,) if isinstance(probes, str) else probes)))
        request = Request(
            device=device,
            batch_size=batch_size,
            precision=precision,
            memory_format=memory_format,
            compile=compile,
            compile_mode=compile_mode,
            rounds=rounds,
            budget=(budget,),  # a stated one, so that training is not cut short by a forecast
            seeds=seeds,
            dataset=dataset,
            data_dir=None if data_dir is None else Path(data_dir),
            train_batch_size=train_batch_size,
            test_images=test_images,
            fit=fit,
            dry_run=True,  # nothing is kept
        )
        with _specs(network, input_size, num_classes, name) as specs:
            left_out = tuple(each for each in probes if isinstance(network, nn.Module) and probe_named(each).trains)
            prepared = prepare(
                request,
                tuple(each for each in probes if each not in left_out) or ("params",),
                lambda line: print(line, file=sys.stderr),
                given=specs,
            )
            config, device = prepared.config, prepared.devices[0]
            planned = [] if left_out == probes != () else plan(prepared.specs, config, prepared.inputs)
            tasks = [task for task in planned if not task.second_look]
            crowded = _crowded() if accelerator.named(device).is_host and not all(task.static for task in tasks) else ""
            records = [record for task in tasks for record in _executed(task, device, crowded)]
            records += [row for each in left_out for row in without_value(Task(specs[0], config, (each,)), NOT_FRESH)]
        return to_frame(records, map(described, specs))


def layers(network: Network, input_size: InputSize | None = None, *, num_classes: int | None = None) -> pd.DataFrame:
    """Every call of every module, in order: the table of `show`, a row each.

    Columns: layer (its path), operation, output_shape (of one image), params, macs, activations (counts for one image)
    and saved_activation_bytes (per image). Each adds up to the network's own number.

    Args:
        network, input_size, num_classes: as in `measure`; one network.

    Raises:
        RequestError: an argument is wrong, or the network fails.
    """
    with _in_pythons_words(), _specs(network, input_size, num_classes, None) as specs:
        if len(specs) > 1:
            raise RequestError(f"{network!r} is more than one network: name one")
        (spec,) = specs
        try:
            with _undisturbed("cpu"):
                rows, notes = layer_rows(spec)
        except (Exception, SystemExit) as error:  # a user's own network may do anything
            raise RequestError(f"{spec.name} cannot be shown: {type(error).__name__}: {first_line(error)}") from error
        frame = pd.DataFrame(rows)
        frame.attrs["notes"] = notes
        return frame


def registry() -> pd.DataFrame:
    """The networks of the suite: name, family, year, track, input_size, params, macs and paper, as `list --json`."""
    return pd.DataFrame([network_row(spec) for spec in models.REGISTRY.values()])


def build(name: str, num_classes: int | None = None) -> nn.Module:
    """A network by its name, with fresh weights from torch's present random state.

    Args:
        name: as `--models` takes it: "resnet18_cifar", "torchvision:resnet18", "./mine.py:tiny".
        num_classes: default: the network's own.

    Raises:
        RequestError: there is no such network, or the name means several.
    """
    with _in_pythons_words():
        _check_classes(num_classes)
        # The size of the images does not matter to who only builds; a source that does not say it needs some.
        specs = models.select([name], None if name in models.REGISTRY else _size_for(name), num_classes)
        if len(specs) > 1:
            raise RequestError(f"{name!r} is more than one network: name one")
    return specs[0].build(num_classes=num_classes or specs[0].num_classes)


def network_row(spec: ModelSpec) -> dict[str, Any]:
    """The facts of one network that need no measuring."""
    found = layer_products(spec)
    return {
        "name": spec.name,
        "family": spec.family,
        "year": spec.year,
        "track": spec.track,
        "input_size": list(spec.input_size),
        "params": found.params,
        "macs": found.macs,
        "paper": spec.paper,
    }


def layer_rows(spec: ModelSpec, timed: Task | None = None) -> tuple[list[dict[str, Any]], list[str]]:
    """Every call of every module, in order: its output for one image, parameters, MACs and saved bytes per image.

    Also what a reader of them must know, such as that they are a lower bound. Saved bytes are None where no training
    step runs.

    The columns add up to the network's `params`, `macs`, `activations` and `saved_activation_bytes`; and `time_ms`, if
    a task says where and how a forward pass is `timed`, to that pass.
    """
    time_ms = layer_milliseconds(timed) if timed else None
    found = layer_products(spec)
    draws: list[BytesByCall] | None
    try:
        draws, notes = saved_per_image(spec)
    except Exception as error:  # it costs its own column only
        draws, notes = None, [f"saved activations: {type(error).__name__}: {first_line(error)}"]
    return layer_table(found.calls, draws, time_ms), [note for note in dict.fromkeys((found.note, *notes)) if note]


def step_task(spec: ModelSpec, device: str, batch_size: int | None) -> Task:
    """How a run would time the steps of a network; on the first of several devices.

    Raises:
        RequestError: it would not.
    """
    request = Request(device=device, batch_size=batch_size, dry_run=True)
    prepared = prepare(request, ("throughput",), lambda line: print(line, file=sys.stderr), given=[spec])
    return Task(prepared.specs[0], prepared.config, ("throughput",), prepared.inputs, prepared.devices[0])


def _crowded() -> str:
    """What to do where others keep processors busy: threads of this process would wait for each other, many times over.

    GNU's OpenMP lets them spin, unless the environment said otherwise when PyTorch was loaded.
    """
    if torch.get_num_threads() == 1 or {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        return ""
    busy = psutil.cpu_percent(LOOK_S) / 100 * (psutil.cpu_count() or 1)
    return "beside other work: timings need GOMP_SPINCOUNT=10000 where Python starts" if busy > 0.5 else ""


def _executed(task: Task, device: str, crowded: str) -> list[Record]:
    """The rows of one task, worked on here."""
    given = isinstance(task.spec.build, Borrowed)
    with _undisturbed(device):
        outcome = execute(replace(task, with_peak=False), "meta" if task.static else device)
    if outcome.again is not None:
        graph = outcome.again.without_graphs
        broken = f"the capture of a CUDA graph failed ({graph})" if graph else "the device has failed in this process"
        reason = f"{broken}: start a new process"
        return [*outcome.records, *crashed(outcome.again, Crash("failed", reason, 0.0)).records]
    return [
        replace(row, note=joined(row.note, HERE, "" if task.static or row.predicted else crowded))
        if row.value is not None and (given or not probe_named(row.probe).exact)
        else row
        for row in outcome.records
    ]


@contextmanager
def _specs(
    network: Network, input_size: InputSize | None, num_classes: int | None, name: str | None
) -> Iterator[list[ModelSpec]]:
    """The networks that are meant; an object is as it was when the context ends.

    Raises:
        RequestError, UnknownModel: they are none.
    """
    _check_size(input_size)
    _check_classes(num_classes)
    if isinstance(network, str):
        if name is not None:
            raise RequestError(f"name={name!r}: {network!r} has its name already; leave name out")
        yield _named(network, input_size, num_classes)
        return
    if not callable(network):
        what = f"a network is needed, and not a value of type {type(network).__name__}"
        raise RequestError(f"{what}: pass one nn.Module, a class or function that builds one, or a name")
    size = input_size or (3, 32, 32)
    written = type(network) if isinstance(network, nn.Module) else getattr(network, "func", network)
    if name is None:
        name = str(getattr(written, "__name__", type(written).__name__))
        name = f"{written.__module__}:{name}" if name in models.REGISTRY else name
    if name in models.REGISTRY or not name.strip():
        raise RequestError(f"name={name!r}: choose one that no network of the registry has")
    if not isinstance(network, nn.Module):
        with _undisturbed("cpu"):
            spec = with_own_classes(models.from_factory(network, name, size, num_classes))
        yield [spec]
        return
    borrowed = Borrowed(network)
    with borrowed.held():
        spec = replace(models.own_spec(name, network, borrowed, size, num_classes), as_it_is=borrowed.as_it_is)
        with _undisturbed("cpu"):
            spec = with_own_classes(spec)
        yield [spec]


def _named(name: str, input_size: InputSize | None, num_classes: int | None) -> list[ModelSpec]:
    """The networks of a name or glob."""
    specs = models.select([name], input_size if ":" not in name else input_size or _size_for(name), num_classes)
    for spec in specs:
        known = models.REGISTRY.get(spec.name)
        for argument, value, own in (
            ("input_size", input_size, spec.input_size),
            ("num_classes", num_classes, spec.num_classes),
        ):
            if known is not None and value is not None and value != own:
                raise RequestError(f"{argument}={value}: {spec.name} has {own}; leave {argument} out")
    with _undisturbed("cpu"):
        return [with_own_classes(spec) for spec in specs]


def _size_for(name: str) -> InputSize | None:
    """Of images for a network of the user's own that does not say; torchvision and timm do."""
    return None if name.startswith(("torchvision:", "timm:", "hf-hub:")) else (3, 32, 32)


@contextmanager
def _undisturbed(device: str) -> Iterator[None]:
    """The caller's random states, current GPU and PyTorch settings: set for the suite, and put back."""
    at = accelerator.named(device).place
    current = torch.accelerator.device_index(at.index)
    with settings_kept(), randomness.preserved(at), torch.inference_mode(False), current:
        as_pytorch_starts()
        yield


@contextmanager
def _in_pythons_words() -> Iterator[None]:
    """Errors of a request as errors of arguments: `--batch-size 0` is batch_size.

    Raises:
        RequestError: as was raised inside, or for an unknown network.
    """
    try:
        yield
    except (RequestError, UnknownModel) as error:
        words = re.sub(r"--([a-z][a-z-]*)", lambda flag: flag[1].replace("-", "_"), str(error))
        raise RequestError(words) from None


def _check_size(input_size: InputSize | None) -> None:
    whole = isinstance(input_size, tuple | list) and all(type(n) is int and n > 0 for n in input_size)
    if input_size is not None and not (whole and len(input_size) == 3):
        raise RequestError(f"input_size={input_size!r}: write (channels, height, width), such as (3, 32, 32)")


def _check_classes(num_classes: int | None) -> None:
    if num_classes is not None and (type(num_classes) is not int or num_classes <= 0):
        raise RequestError(f"num_classes={num_classes!r}: must be a whole number above zero")
