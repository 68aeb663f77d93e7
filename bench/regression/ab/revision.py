"""How any `ab` times this revision: flags and the name of a network in, a step out.

worker.py may be of another revision than this file, so what it uses here stays as it is: `Revision(flags)`, `device`,
`execution`, `hardware`, `sample_s`, `step`, `synchronise` and `arithmetic`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial

from bench import models
from bench.config import Task
from bench.device import accelerator, execution
from bench.probes.counting.networks import with_own_classes
from bench.probes.steps import inference_step, training_step
from bench.runner.flags import parse
from bench.runner.prepare import prepare
from bench.runner.request import Request, parse_input_size


class Revision:
    """The code of this tree under the flags of one side."""

    def __init__(self, flags: Sequence[str]) -> None:
        """Check everything that can be wrong before a step is built.

        Raises:
            RequestError: there is no such flag, or the device cannot do what is asked.
        """
        request = parse(Request, flags, "python -m bench run")
        self._input_size, self._num_classes = parse_input_size(request.input_size), request.num_classes
        prepared = prepare(replace(request, dry_run=True), ("throughput",), partial(print, file=sys.stderr))
        self._config, self.device = prepared.config, prepared.devices[0]
        self.execution = str(self._config.execution)
        self._chosen = accelerator.choose(self.device)  # where streams, graphs and compiled kernels are made
        self.hardware = "cpu" if self._chosen.is_host else self._chosen.name
        self.sample_s = self._chosen.sizes.paired_sample_s

    def step(self, network: str, what: str) -> tuple[Callable[[], object], int]:
        """A step with fresh weights, `what` being "inference" or "train", and its batch size.

        Raises:
            UnknownModel: there is no such network.
            Unsupported: the network has no such step.
        """
        (spec,) = models.select([network], self._input_size, self._num_classes)
        task = Task(with_own_classes(spec), self._config, device=self.device)
        make = {"train": training_step, "inference": inference_step}[what]
        return make(task, task.batch_size), task.batch_size

    def synchronise(self) -> None:
        """Wait until the device has done all that it was given."""
        self._chosen.synchronise()

    def arithmetic(self) -> AbstractContextManager[None]:
        """PyTorch's switches as the precision wants them."""
        return execution.arithmetic(self._config.execution.precision)
