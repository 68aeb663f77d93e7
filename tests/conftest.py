"""What holds for every test: GPU tests run wherever there is a GPU, and results are never written to the checkout."""

import gc
import os
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings

from bench.engines.isolation import spin_briefly
from tests.device.nvml_library import driver

__all__ = ["driver"]  # a fixture of the tests of several rooms

spin_briefly()  # as workers do: tests stay fast beside anything else that runs


# The suite tries the same few cases every time; --hypothesis-profile=full tries many, and others each time.
settings.register_profile("few", max_examples=40, deadline=None, derandomize=True, database=None)
settings.register_profile("full", max_examples=2500, deadline=None, database=None)
settings.load_profile("few")


WORDS_OF_THE_PARSER = "instantiated NoneType Unrecognized helptext Missing STR {None} Traceback"


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What is said of a wrong request: one line on stderr in nobody's words but ours, with exit status 2."""

    def refused(*words: str) -> str:
        from bench.cli.main import main

        capsys.readouterr()  # of what was asked before
        assert main(words) == 2
        said = capsys.readouterr()
        lines = [line for line in said.err.splitlines() if not line.startswith(("preparing ", "images: "))]
        assert (said.out, len(lines)) == ("", 1), said
        assert not any(word in lines[0] for word in WORDS_OF_THE_PARSER.split()), lines[0]
        return lines[0]

    return refused


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks of a run are done here: to start workers takes most of the time of a small one, and has its own tests."""
    from bench.engines import Crash

    def run(
        machine: Any, execute: Any, tasks: Any, timeout_s: Any = None, on_start: Any = None, *_: Any, **needs: bool
    ) -> Iterator[Any]:
        device = machine.devices[0] if needs.get("needs_device", True) else "meta"
        for task in tasks:
            if on_start is not None:
                on_start(task, device)
            try:  # as on its way to a worker and back
                outcome = pickle.loads(pickle.dumps(execute(pickle.loads(pickle.dumps(task)), device)))
            except Exception as error:
                outcome = Crash("failed", str(error), 0.0)
            yield task, outcome

    monkeypatch.setattr("bench.engines.local.LocalMachine.run", run)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Of `-n auto`: a worker for each processor, but no more than eight, as each may take 2 GB."""
    return min(os.cpu_count() or 1, 8)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    needy = [item for item in items if item.get_closest_marker("gpu")]
    if not needy:
        return
    import torch  # only here: the tests of the report run without torch

    if not torch.cuda.is_available():
        for item in needy:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def pytest_collection_finish() -> None:
    """Let the collector leave alone what is loaded by now: it takes 0.2 s to look through, and tests ask it often."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)  # pytest-benchmark reads its options in the same hook
def pytest_configure(config: pytest.Config) -> None:
    marks = config.getoption("-m")
    if "perf" in marks and "not perf" not in marks:
        from tests.perf import baselines  # needs torch, which the tests of the report do without

        config.pluginmanager.register(baselines)
        baselines.use_storage_of_this_device(config)
    else:
        # Before torch is imported, and for each process that a test starts: beside anything else that runs, two threads
        # of a small network wait for each other six times as long as one computes.
        os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Here, because pytest reads options of no other conftest before it parses the command line."""
    parser.addoption("--renew-golden", action="store_true", help="write tests/golden/counts.json anew, on purpose")
    parser.addoption(
        "--networks",
        default="",
        metavar="NAMES",
        help="names or globs, with commas, of the networks of tests/perf; default: those of the quick preset",
    )
