"""What a run shows: a live bar on a terminal, plain lines elsewhere, and an honest time left."""

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from bench.config import Budget, Task
from bench.models import REGISTRY
from bench.records.record import Record
from bench.runner import progress
from bench.runner.execute import Outcome
from bench.runner.plan import Pace, plan
from bench.runner.progress import Display
from tests.clock import Time
from tests.configs import config
from tests.rows import ok

CONFIG = config("params", "accuracy", budget=Budget(30, "s"), measure_seconds=1.0)
TASKS = plan([REGISTRY["lenet5_cifar"], REGISTRY["resnet20_cifar"]], CONFIG)
OK = ok("lenet5_cifar", "params", 62_006)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    held = Time()
    monkeypatch.setattr(progress.time, "monotonic", held)
    return held


def follow(display: Display, task: Task, clock: Time, seconds: float, *records: Record) -> None:
    display.started(task, "cpu")
    clock.now += seconds
    display.ended(task, Outcome(records))


def test_plain_lines_say_what_was_done_and_what_is_left(clock: Time) -> None:
    out = io.StringIO()
    with Display(TASKS, Pace(CONFIG), Console(file=out, force_terminal=False, width=200)) as display:
        follow(display, TASKS[0], clock, 2.0, OK)
        follow(display, TASKS[1], clock, 2.0, replace(OK, value=None, status="failed", note="RuntimeError: no"))
        follow(display, TASKS[2], clock, 50.0)
        follow(display, TASKS[3], clock, 50.0)
    lines = out.getvalue().splitlines()
    # A training is reckoned at 1.05 times its budget and 0.8 s: 32 s each. Then by what the first of them took,
    # beside 30 s as reckoned: 80 for 62 s.
    assert lines[0] == "[1/4] lenet5_cifar params: parameters 62.0 k (2.0 s), about 65 s left"
    assert lines[1] == "[2/4] resnet20_cifar params: failed: RuntimeError: no (2.0 s), about 65 s left"
    assert lines[2].endswith("(50.0 s), about 41 s left")
    assert lines[3].endswith("done")


def test_trainings_that_may_be_left_out_are_not_reckoned_before_that_is_known(clock: Time) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=False, width=200)
    with Display(TASKS[:2], Pace(CONFIG), console, more_to_come="trainings") as display:
        follow(display, TASKS[0], clock, 2.0, OK)
        follow(display, TASKS[1], clock, 2.0, OK)
        display.expect(TASKS[2:3], Pace(CONFIG))
        follow(display, TASKS[2], clock, 30.0)
    lines = out.getvalue().splitlines()
    assert re.fullmatch(r"\[1/2\] .*, about \S+ s left, then trainings", lines[0])
    assert lines[1].endswith(", then trainings")
    assert lines[2].startswith("[3/3] ")
    assert lines[2].endswith("done")


@pytest.mark.parametrize(
    ("width", "told"),
    [
        (120, "latency 5.92 ms, training throughput 812 images/s, MACs 41.0 M"),
        (95, "latency 5.92 ms, 2 more"),
        (20, "latency 5.92 ms, 2 more"),
    ],
)
def test_a_line_has_as_many_scores_as_fit_each_with_its_unit(clock: Time, width: int, told: str) -> None:
    out = io.StringIO()
    latency = replace(OK, metric="latency_ms", probe="latency", unit="ms", value=5.92)
    rate = replace(OK, metric="train_images_per_s", probe="throughput", unit="images/s", value=812.4)
    macs = replace(OK, metric="macs", probe="macs", value=41e6)
    with Display(TASKS, Pace(CONFIG), Console(file=out, force_terminal=False, width=width)) as display:
        follow(display, TASKS[0], clock, 2.0, latency, rate, macs)
    (line,) = out.getvalue().splitlines()
    assert line == f"[1/4] lenet5_cifar params: {told} (2.0 s), about 65 s left"


def test_what_is_skipped_for_every_network_alike_is_said_once(clock: Time) -> None:
    out = io.StringIO()
    no = replace(OK, value=None, status="skipped", note="needs an NVIDIA GPU")
    with Display(TASKS, Pace(CONFIG), Console(file=out, force_terminal=False, width=200)) as display:
        follow(display, TASKS[0], clock, 2.0, no)
        follow(display, TASKS[1], clock, 2.0, no)
        follow(display, TASKS[2], clock, 50.0, replace(no, note="another reason"))
    lines = out.getvalue().splitlines()
    assert [line.partition(" (")[0] for line in lines] == [
        "[1/4] lenet5_cifar params: skipped: needs an NVIDIA GPU",
        f"[3/4] {TASKS[2].label}: skipped: another reason",
    ]


def test_a_live_line_names_what_is_under_way_within_eighty_columns(clock: Time) -> None:
    out = io.StringIO()
    with Display(TASKS, Pace(CONFIG), Console(file=out, force_terminal=True, width=80)) as display:
        display.started(TASKS[3], "cpu")
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    assert TASKS[3].label[:14] in shown
    assert max(map(len, re.split(r"[\r\n]", shown))) <= 80


def test_a_terminal_gets_one_live_line_and_every_failure(clock: Time) -> None:
    out = io.StringIO()
    with Display(TASKS, Pace(CONFIG), Console(file=out, force_terminal=True, width=120)) as display:
        display.started(TASKS[0], "cpu")
        assert display.time_left() == "about 65 s left"
        clock.now += 1
        display.ended(TASKS[0], Outcome((OK,)))
        follow(display, TASKS[1], clock, 1.0, replace(OK, value=None, status="oom", note="too big [red]"))
    shown = out.getvalue()
    assert "lenet5_cifar params" in shown
    assert "oom: too big [red]" in shown
    assert "parameters 62.0 k" not in shown  # what went well is only counted


def test_nothing_to_do_shows_nothing() -> None:
    out = io.StringIO()
    with Display([], Pace(CONFIG), Console(file=out, force_terminal=True)):
        pass
    assert out.getvalue() == ""
