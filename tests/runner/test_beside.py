"""What run.json tells of the machine around the tasks: conditions of every start, limits once."""

import os
from pathlib import Path

import pytest

from bench.device import environment
from bench.device.peaks import LimitsTask
from bench.engines.local import LocalMachine
from bench.records.run_folder import Run
from bench.records.run_json import RunHeader
from bench.runner import beside
from bench.runner.beside import conditions_kept, keep_faster_limits, keep_limits


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path, "a", RunHeader(name="a"))


def stored(run: Run) -> RunHeader:
    return Run.open(run.folder.parent, run.name).header


def test_every_start_of_a_run_adds_its_conditions(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    states = iter({"load_average_1min": float(n)} for n in range(4))
    monkeypatch.setattr(environment, "conditions", lambda devices, idle=False: next(states))
    for _ in range(2):
        with run.claimed(), conditions_kept(run, ["cpu"]):
            pass
    first, second = stored(run).sessions
    assert (first.before, first.after) == ({"load_average_1min": 0.0}, {"load_average_1min": 1.0})
    assert (second.before, second.after) == ({"load_average_1min": 2.0}, {"load_average_1min": 3.0})
    assert first.started <= first.ended <= second.started
    assert stored(run).name == "a"


def interrupted(run: Run) -> None:
    with run.claimed(), conditions_kept(run, ["cpu"]):
        (under_way,) = stored(run).sessions
        assert (under_way.ended, under_way.after) == ("", {})
        raise KeyboardInterrupt


def test_conditions_before_are_there_while_it_works_and_those_after_also_if_it_is_interrupted(run: Run) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted(run)
    (ended,) = stored(run).sessions
    assert ended.started
    assert ended.ended
    assert ended.before
    assert ended.after


def answers(task: LimitsTask, device: str) -> dict:
    return {"precision": task.precision, "peak_flops_per_s": 1e12, "process": os.getpid()}


def dies(task: LimitsTask, device: str) -> dict:
    os.abort()


def place(run: Run) -> LocalMachine:
    return LocalMachine(("cpu",), run.folder / "workers.log", preload=("bench.device.peaks",))


def test_limits_are_measured_elsewhere_again_if_that_failed_and_never_more_than_once(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run.claimed():
        monkeypatch.setattr(beside, "measure_limits", dies)
        keep_limits(run, place(run), ["cpu"], "bf16")
        failed = stored(run).limits["cpu"]
        assert failed["precision"] == "bf16"
        assert "SIGABRT" in failed["reason"]

        monkeypatch.setattr(beside, "measure_limits", answers)
        keep_limits(run, place(run), ["cpu"], "bf16")
        measured = stored(run).limits["cpu"]
        assert measured["peak_flops_per_s"] == 1e12
        assert measured["process"] != os.getpid()
        assert "reason" not in measured

        monkeypatch.setattr(beside, "measure_limits", dies)
        keep_limits(run, place(run), ["cpu"], "bf16")
        assert stored(run).limits["cpu"] == measured


def test_a_later_round_replaces_the_limits_that_were_measured_in_a_slow_minute(run: Run) -> None:
    def limits(peak: float, bandwidth: float, name: str) -> dict:
        rates = {"peak_flops_per_s": peak, "peak": name, "peak_samples": [peak], "vendor_source": "a data sheet"}
        return rates | {"bandwidth_bytes_per_s": bandwidth, "bandwidth": name, "bandwidth_samples": [bandwidth]}

    with run.claimed():
        keep_faster_limits(run, {"cpu": {"precision": "fp32", "reason": "stopped"} | limits(1e11, 1e10, "first")})
        keep_faster_limits(run, {"cpu": limits(3e11, 0.5e10, "second")})
        keep_faster_limits(run, {"cpu": limits(2e11, 2e10, "third")})
        keep_faster_limits(run, {})
    kept = stored(run).limits["cpu"]
    assert (kept["peak_flops_per_s"], kept["peak"], kept["peak_samples"]) == (3e11, "second", [3e11])
    assert (kept["bandwidth_bytes_per_s"], kept["bandwidth"]) == (2e10, "third")
    assert kept["precision"] == "fp32"
