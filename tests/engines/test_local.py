"""Worker processes that crash, hang, or leave something behind."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from bench.engines import Crash, isolation, local
from bench.engines.local import LocalMachine


@dataclass(frozen=True)
class Job:
    name: str
    group: str = "a"
    seconds: float = 0.0


def execute(job: Job, device: str) -> tuple[str, str, int]:
    """What a worker does for a test."""
    time.sleep(job.seconds)
    if job.name == "exit":
        print("disk on fire", file=sys.stderr, flush=True)
        os._exit(3)
    if job.name == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if job.name == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if job.name == "talks":
        print("to be parsed by a script")
        for _ in range(20):
            sys.stderr.write("x" * (1 << 20))
        print("\nthe end")
    if job.name == "hungry":
        hoard = []
        while True:
            hoard.append(bytearray(1 << 24))
    if job.name == "parent":
        return job.name, device, subprocess.Popen(["sleep", "1000"]).pid
    if job.name == "parent of a daemon":
        return job.name, device, subprocess.Popen(["sleep", "1000"], start_new_session=True).pid
    return job.name, device, os.getpid()


def run(
    jobs: Sequence[Job],
    log: Path,
    devices: Sequence[str] = ("cpu",),
    timeout_s: float | None = None,
    memory_limit: int | None = None,
) -> dict[str, tuple[str, str, int] | Crash]:
    machine = LocalMachine(devices, log / "workers.log", memory_limit=memory_limit)
    return {job.name: outcome for job, outcome in machine.run(execute, jobs, timeout_s)}


def nothing(job: Job, device: str) -> dict[str, str]:
    """What a worker returns that has found nothing."""
    return {}


def pid(outcome: tuple[str, str, int] | Crash) -> int:
    assert not isinstance(outcome, Crash)
    return outcome[2]


def gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


def eventually_gone(process: int) -> bool:
    deadline = time.monotonic() + 10
    while not gone(process) and time.monotonic() < deadline:
        time.sleep(0.05)
    return gone(process)


def test_a_group_shares_a_process_and_another_gets_its_own(tmp_path: Path) -> None:
    done = run([Job("1"), Job("2"), Job("3", group="b")], tmp_path)
    assert pid(done["1"]) == pid(done["2"]) != pid(done["3"])
    assert os.getpid() not in {pid(outcome) for outcome in done.values()}


@dataclass(frozen=True)
class Result:
    """What a worker returns of a job in whose process others may have been at work before."""

    pid: int
    failed: bool


_done: list[str] = []  # in a worker


def succeed_alone(job: Job, device: str) -> Result:
    """Job 2 fails in a process in which another has run; "sick" fails anywhere, and "dies" takes its process down."""
    first = not _done
    _done.append(job.name)
    if job.name == "dies" and not first:
        os._exit(3)
    return Result(os.getpid(), failed=job.name == "sick" or (job.name == "2" and not first))


@pytest.mark.parametrize("fails", ["2", "dies", "sick"])
def test_what_fails_after_others_is_tried_once_more_in_a_process_of_its_own(tmp_path: Path, fails: str) -> None:
    machine = LocalMachine(("cpu",), tmp_path / "workers.log")
    started: list[str] = []
    jobs = [Job("1"), Job(fails), Job("3"), Job("4")]
    outcomes = machine.run(succeed_alone, jobs, None, lambda job, device: started.append(job.name))
    done = {job.name: outcome for job, outcome in outcomes}
    assert started == ["1", fails, fails, "3", "4"]
    assert not any(isinstance(outcome, Crash) for outcome in done.values())
    found = {name: outcome for name, outcome in done.items() if isinstance(outcome, Result)}
    assert {name for name, outcome in found.items() if outcome.failed} == ({"sick"} if fails == "sick" else set())
    assert found["1"].pid != found[fails].pid
    assert (found["3"].pid == found[fails].pid) is (fails != "sick")  # a process that failed is not used again
    assert found["3"].pid == found["4"].pid


def test_a_group_stays_at_the_device_that_has_its_process(tmp_path: Path) -> None:
    jobs = [Job(f"{group}{n}", group=group, seconds=0.05) for group in "ab" for n in range(4)]
    done = run(jobs, tmp_path, devices=("one", "two"))
    # Two; three where one device had done all of its group and helped the other. Taken in turn it would be four.
    assert len({pid(outcome) for outcome in done.values()}) <= 3


def test_an_empty_result_is_a_result(tmp_path: Path) -> None:
    machine = LocalMachine(("cpu",), tmp_path / "workers.log")
    assert [outcome for _, outcome in machine.run(nothing, [Job("1"), Job("2")])] == [{}, {}]


def environment(job: Job, device: str) -> dict[str, str]:
    return dict(os.environ)


def test_a_worker_has_the_environment_of_its_moment_and_not_of_the_first_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    for changed in ("first", "second"):
        monkeypatch.setenv("BENCH_TEST", changed)
        machine = LocalMachine(("cpu",), tmp_path / "workers.log")
        seen += [outcome for _, outcome in machine.run(environment, [Job("1")])]
    assert [outcome["BENCH_TEST"] for outcome in seen if isinstance(outcome, dict)] == ["first", "second"]


@pytest.mark.parametrize(
    ("name", "words"),
    [("exit", "exit status 3; last output: disk on fire"), ("segfault", "SIGSEGV"), ("killed", "SIGKILL")],
)
def test_a_crash_becomes_one_outcome_and_the_rest_goes_on(tmp_path: Path, name: str, words: str) -> None:
    done = run([Job("before"), Job(name), Job("after")], tmp_path)
    crash = done[name]
    assert isinstance(crash, Crash)
    assert crash.kind == "failed"
    assert words in crash.reason
    assert pid(done["before"]) != pid(done["after"])


def test_a_time_limit_may_be_longer_than_the_system_waits_at_once(tmp_path: Path) -> None:
    done = run([Job("quick")], tmp_path, timeout_s=1e8)
    assert not isinstance(done["quick"], Crash)


def test_a_hanging_task_is_stopped(tmp_path: Path) -> None:
    start = time.monotonic()
    done = run([Job("slow", seconds=60), Job("after")], tmp_path, timeout_s=6.0)
    crash = done["slow"]
    assert isinstance(crash, Crash)
    assert crash.kind == "timeout"
    assert pid(done["after"])
    assert time.monotonic() - start < 30


def test_a_process_that_outlasts_its_end_is_left_behind_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As one that hangs in a GPU's driver."""
    pids: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(local, "_DIES_WITHIN_S", 0.1)
        patch.setattr(isolation, "kill_with_descendants", pids.append)
        patch.setattr(BaseProcess, "kill", lambda process: None)
        found = run([Job("hangs", seconds=100), Job("next", "b")], tmp_path, timeout_s=6.0)
    for pid in pids:
        isolation.kill_with_descendants(pid)
    hung = found["hangs"]
    assert isinstance(hung, Crash)
    said = re.search(r"process (\d+) was killed and does not end: it may still hold cpu", hung.reason)
    assert said is not None
    assert said[0] in capsys.readouterr().err
    assert not isinstance(found["next"], Crash)
    assert not any(process.pid == int(said[1]) for process in multiprocessing.active_children())


def test_every_device_works_at_the_same_time(tmp_path: Path) -> None:
    done = run([Job(str(n), group=str(n), seconds=0.3) for n in range(4)], tmp_path, devices=("one", "two"))
    assert {outcome[1] for outcome in done.values() if not isinstance(outcome, Crash)} == {"one", "two"}


def test_no_process_remains(tmp_path: Path) -> None:
    done = run([Job("1"), Job("2", group="b")], tmp_path)
    assert all(gone(pid(outcome)) for outcome in done.values())


def test_no_process_remains_when_the_caller_stops_early(tmp_path: Path) -> None:
    machine = LocalMachine(("cpu",), tmp_path / "workers.log")
    outcomes = machine.run(execute, [Job("1"), Job("2", seconds=60)])
    _, first = next(outcomes)
    outcomes.close()
    assert gone(pid(first))


def test_what_a_task_prints_goes_to_the_log_which_keeps_the_end_of_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    done = run([Job("talks"), Job("1")], tmp_path)
    assert pid(done["talks"])
    assert capfd.readouterr().out == ""
    log = (tmp_path / "workers.log").read_text()
    assert log.startswith("--- a\n[")
    assert log.endswith("x\nthe end\n")
    assert len(log) < 70_000


def test_the_output_in_a_reason_is_that_of_the_worker_that_died(tmp_path: Path) -> None:
    done = run([Job("exit"), Job("segfault", group="b")], tmp_path, devices=("one", "two"))
    reasons = {name: crash.reason for name, crash in done.items() if isinstance(crash, Crash)}
    assert "disk on fire" in reasons["exit"]
    assert "disk on fire" not in reasons["segfault"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits what a process may write to")
def test_a_task_that_takes_memory_without_end_fails_alone(tmp_path: Path) -> None:
    done = run([Job("hungry"), Job("after")], tmp_path, memory_limit=200 << 20)
    crash = done["hungry"]
    assert isinstance(crash, Crash)
    assert "MemoryError" in crash.reason
    assert pid(done["after"])


@dataclass
class Request:
    """A request to stop, made when the test says so."""

    requested: bool = False

    def __post_init__(self) -> None:
        self.wake, self.ring = os.pipe()

    def fileno(self) -> int:
        return self.wake

    def make(self) -> None:
        self.requested = True
        os.write(self.ring, b"!")


def test_a_request_to_stop_abandons_what_is_under_way(tmp_path: Path) -> None:
    machine = LocalMachine(("cpu",), tmp_path / "workers.log")
    request = Request()
    start = time.monotonic()
    jobs = [Job("1"), Job("2", seconds=60), Job("3")]
    outcomes = machine.run(execute, jobs, None, lambda job, _: request.make() if job.name == "2" else None, request)
    assert [job.name for job, _ in outcomes] == ["1"]
    assert time.monotonic() - start < 30


def test_what_a_task_has_started_ends_with_its_worker(tmp_path: Path) -> None:
    done = run([Job("parent")], tmp_path)
    assert eventually_gone(pid(done["parent"]))


def test_a_run_outlives_its_fork_server(tmp_path: Path) -> None:
    from multiprocessing.forkserver import _forkserver

    def kill(job: Job, device: str) -> None:
        if job.name == "slow":
            os.kill(_forkserver._forkserver_pid, signal.SIGKILL)  # type: ignore[attr-defined]

    machine = LocalMachine(("cpu",), tmp_path / "workers.log")
    done = {
        job.name: outcome
        for job, outcome in machine.run(execute, [Job("1"), Job("slow", seconds=60), Job("3")], None, kill)
    }
    assert isinstance(done["slow"], Crash)
    assert pid(done["1"])
    assert pid(done["3"])


# A main process whose worker has started a process and now spins, without ever letting another thread of it run.
MAIN = """
import ctypes, os, subprocess, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from bench.engines.local import LocalMachine
from tests.engines.test_local import Job

def execute(job, device):
    child = subprocess.Popen(["sleep", "1000"], start_new_session={daemon}, stdout=subprocess.DEVNULL)
    Path({folder!r}, "pids").write_text(f"{{os.getppid()}} {{os.getpid()}} {{child.pid}}\\n")
    ctypes.PyDLL(None).sleep(1000)

if __name__ == "__main__":
    machine = LocalMachine(("cpu",), Path({folder!r}) / "workers.log")
    list(machine.run(execute, [Job("1")]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels do not tell a group that a pipe lost its writer")
@pytest.mark.parametrize(
    ("victims", "daemon"), [(("main",), False), (("main", "worker"), True), (("worker", "main"), False)]
)
def test_no_process_remains_when_the_main_process_is_killed(
    tmp_path: Path, victims: tuple[str, ...], daemon: bool
) -> None:
    root = str(Path(__file__).parents[2])
    (tmp_path / "main.py").write_text(MAIN.format(root=root, folder=str(tmp_path), daemon=daemon))
    main = subprocess.Popen([sys.executable, str(tmp_path / "main.py")])
    pids = tmp_path / "pids"
    deadline = time.monotonic() + 120
    while not (pids.exists() and pids.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    server, worker, child = map(int, pids.read_text().split())
    for victim in victims:
        os.kill({"main": main.pid, "worker": worker}[victim], signal.SIGKILL)
    main.wait()
    assert [
        name
        for name, process in (("worker", worker), ("child", child), ("server", server))
        if not eventually_gone(process)
    ] == []
