"""One side of `ab`, run as a script by that side's Python: builds and times steps of its own revision when asked.

    python worker.py SUITE FOLDER TREE FLAG ...

One JSON object a line each way. Answers go to standard output; whatever else the code prints goes to standard error.
Between questions the process sleeps. It imports `bench` from SUITE, which may be an older or newer revision than this
file, so it touches as little of it as can time a step: `bench.regression.ab.revision`, and of revisions that lack it,
what `_Older` names. Networks `package.module:factory` come from FOLDER; they must lie in TREE, unless that is empty.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import math
import os
import runpy
import signal
import sys
import time
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

WARM_UP_S = 0.3  # the first time a step is built; later ones find libraries and caches ready
WARM_UP_STEPS = 2


class Refused(Exception):
    """This side cannot do what is asked; the message is one line for the user."""


class Project:
    """The project as this side has it, configured by this side's flags."""

    def __init__(self, suite: Path, folder: Path, tree: Path | None, flags: list[str]) -> None:
        self._tree = tree
        sys.path[0] = str(suite)  # instead of this file's folder
        # An editable install would fill in from its own checkout whatever this revision lacks.
        sys.meta_path[:] = [finder for finder in sys.meta_path if "classic_bench" not in finder.__module__]
        try:
            self._revision = _revision(flags)
        except ImportError as error:
            raise Refused(
                f"it cannot time its own steps ({error}): it lacks a package, or it is older than bench/probes/steps.py"
            ) from error
        strays = [
            name for name in sys.modules if name.split(".")[0] in self._revision.packages and not _is_from(name, suite)
        ]
        if strays:
            raise Refused(f"its Python takes {strays[0]} from elsewhere than {suite}: uninstall classic-bench there")
        if folder != suite:
            places = (folder, *((tree, tree / "src") if tree else ()))  # before whatever is installed of that project
            sys.path[:1] = [str(place) for place in dict.fromkeys(places) if place.is_dir()]
        self._step: Callable[[], object] | None = None
        self._warm: set[tuple[str, str]] = set()  # networks and steps that have been built before
        self._processors = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []

    def facts(self) -> dict[str, Any]:
        """What a reader must know of this side."""
        torch = importlib.import_module("torch")
        return {
            "device": self._revision.hardware,
            "torch": torch.__version__,
            "python": sys.version.split()[0],
            "threads": torch.get_num_threads(),
            "execution": self._revision.execution,
            "sample_s": self._revision.sample_s,
        }

    def build(self, network: str, what: str, where: float | None) -> dict[str, Any]:
        """Make a step with fresh weights in fresh memory and run it until it is warm; says how long that took.

        `where`, from 0 to 1, is the processor for both sides. Left where it woke up first, a process of one thread
        beside a busy neighbour would be taken for a slower side.
        """
        start = time.perf_counter()
        self._step = None
        gc.collect()
        if where is not None and self._processors:
            os.sched_setaffinity(0, {self._processors[int(where * len(self._processors))]})
        self._step, batch_size = self._revision.step(network, what)
        module = network.partition(":")[0]
        if self._tree and module in sys.modules and not _is_from(module, self._tree):
            raise Refused(f"its Python takes {module} from {sys.modules[module].__file__}, not from {self._tree}")
        first = (network, what) not in self._warm
        self._warm.add((network, what))
        warm = time.perf_counter()
        step_s, done = math.inf, 0
        while done < WARM_UP_STEPS or (first and time.perf_counter() - warm < WARM_UP_S):
            step_s, done = min(step_s, self._timed(1)), done + 1
        return {"batch_size": batch_size, "seconds": time.perf_counter() - start, "step_seconds": step_s}

    def sample(self, steps: int) -> dict[str, Any]:
        """Seconds of one step, as the mean over `steps`."""
        self._timed(1)  # what the other side left in the caches is not this side's to pay for
        return {"seconds": self._timed(steps)}

    def _timed(self, steps: int) -> float:
        if self._step is None:
            raise Refused("nothing is built")
        self._revision.synchronise()
        start = time.perf_counter()
        for _ in range(steps):
            self._step()
        self._revision.synchronise()
        return (time.perf_counter() - start) / steps

    def arithmetic(self) -> contextlib.AbstractContextManager[None]:
        arithmetic: contextlib.AbstractContextManager[None] = self._revision.arithmetic()
        return arithmetic


def _revision(flags: list[str]) -> Any:
    """What times the steps of the tree that is first on the path.

    Raises:
        ImportError: nothing here can.
    """
    if not Path(sys.path[0], "bench", "runner", "flags.py").is_file():
        sys.modules["tyro"] = _tyro()
    try:
        revision = importlib.import_module("bench.regression.ab.revision").Revision(flags)
    except ModuleNotFoundError as error:
        if not "bench.regression.ab.revision".startswith(error.name or "?"):
            raise
        return _Older(flags)
    revision.packages = ("bench",)
    if not hasattr(revision, "hardware"):  # it is older than the room `device` as it is now
        _choose(revision, importlib.import_module("bench.device.execution"))
    return revision


def _choose(revision: Any, execution: Any) -> None:
    """Let a revision that does not do so work on its own GPU alone, and say what that is."""
    on_gpu = revision.device != "cpu"
    if hasattr(execution, "choose"):
        execution.choose(revision.device)
    cuda = importlib.import_module("torch").cuda
    revision.hardware = cuda.get_device_name(revision.device) if on_gpu else "cpu"
    revision.sample_s = 0.01 if on_gpu else 0.001


def _tyro() -> types.ModuleType:
    """The package that read the flags of revisions before bench/runner/flags.py, as far as they use it."""

    class Conf:
        def __getattr__(self, name: str) -> Conf:
            return self

        def __getitem__(self, kind: object) -> object:
            return kind

        def __call__(self, **_: object) -> None:
            """`arg` says how --help shows a flag."""

    def cli(form: type, args: list[str]) -> object:
        return _of_this_revision("runner", "flags.py")["parse"](form, args, "python -m bench run")

    tyro = types.ModuleType("tyro")
    vars(tyro).update(conf=Conf(), cli=cli)
    return tyro


class _Older:
    """The same of revisions before there was bench/regression/ab/revision.py."""

    def __init__(self, flags: list[str]) -> None:
        flags_of = _imported("bench.runner.request", "bench.request")  # first: what cannot be timed fails here at once
        self._models = _imported("bench.models", "models")
        self._execution = _imported("bench.device.execution", "bench.execution")
        self._steps, self._torch = _imported("bench.probes.steps"), _imported("torch")
        self.packages = ("bench", self._models.__name__.split(".")[0])
        request = _imported("tyro").cli(flags_of.Request, args=flags)
        self._input_size, self._num_classes = flags_of.parse_input_size(request.input_size), request.num_classes
        self.device = request.device
        if self.device in ("auto", "cuda"):
            self.device = "cuda:0" if self._torch.cuda.is_available() else "cpu"
        config, _ = flags_of.resolve(request, (), self.device.partition(":")[0])
        self._execution.check(config.execution, [self.device])
        self._config = config.__class__(**{**vars(config), "device": self.device})
        self.execution = str(config.execution)
        _choose(self, self._execution)

    def step(self, network: str, what: str) -> tuple[Callable[[], object], int]:
        (spec,) = self._models.select([network], self._input_size, self._num_classes)
        make = {"train": self._steps.training_step, "inference": self._steps.inference_step}[what]
        batch_size = self._config.batch_size[spec.track]
        return make(spec, self._config, batch_size), batch_size

    def synchronise(self) -> None:
        self._execution.synchronise(self._torch.device(self.device))

    def arithmetic(self) -> Any:
        return self._execution.arithmetic(self._config.execution.precision)


def _imported(*names: str) -> Any:
    """Import a module of this side's revision, under the first of these names that it has there.

    Raises:
        ImportError: it has none, or cannot be imported.
    """
    for name in names[:-1]:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if not name.startswith(error.name or "?"):
                raise
    return importlib.import_module(names[-1])


def _is_from(module: str, tree: Path) -> bool:
    file = getattr(sys.modules[module], "__file__", None)
    return file is None or Path(file).is_relative_to(tree)


def keep_freed_memory() -> None:
    """Keep freed memory as a run's workers do, in every revision.

    Where the system maps memory for each tensor anew, one process is up to a tenth slower than another of the same
    code for as long as both live.
    """
    _of_this_revision("engines", "isolation.py")["keep_freed_memory"]()


def _of_this_revision(room: str, file: str) -> dict[str, Any]:
    return runpy.run_path(str(Path(__file__).resolve().parents[2] / room / file))


def serve(suite: str, folder: str, tree: str, *flags: str) -> None:
    """Answer until standard input ends."""
    keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the main process decides
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # the code of a side may print

    def answer(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    try:
        side = Project(Path(suite), Path(folder), Path(tree) if tree else None, list(flags))
    except Exception as error:
        answer({"refused": _told(error)})
        return
    answer(side.facts())
    with side.arithmetic():
        for line in sys.stdin:
            question = json.loads(line)
            try:
                if question.pop("do") == "build":
                    answer(side.build(**question))
                else:
                    answer(side.sample(**question))
            except Exception as error:  # a network may do anything; the other comparisons go on
                traceback.print_exc()
                answer({"failed": _told(error)})


def _told(error: Exception) -> str:
    kind, told = type(error).__name__, ("Refused", "RequestError", "Unsupported", "UnknownModel")
    return str(error) if kind in told else f"{kind}: {str(error).strip() or 'no message'}"


if __name__ == "__main__":
    serve(*sys.argv[1:])
