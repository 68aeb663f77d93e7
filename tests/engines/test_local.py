"""Worker processes that crash, hang, or leave something behind."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.engines.local import Crash, LocalEngine


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
    return job.name, device, os.getpid()


def run(
    jobs: Sequence[Job], log: Path, devices: Sequence[str] = ("cpu",), timeout_s: float | None = None
) -> dict[str, tuple[str, str, int] | Crash]:
    engine: LocalEngine[Job, tuple[str, str, int]] = LocalEngine(devices, execute, log / "workers.log")
    return {job.name: outcome for job, outcome in engine.run(jobs, timeout_s, lambda job, device: None)}


def pid(outcome: tuple[str, str, int] | Crash) -> int:
    assert not isinstance(outcome, Crash)
    return outcome[2]


def gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_group_shares_a_process_and_another_gets_its_own(tmp_path: Path) -> None:
    done = run([Job("1"), Job("2"), Job("3", group="b")], tmp_path)
    assert pid(done["1"]) == pid(done["2"]) != pid(done["3"])
    assert os.getpid() not in {pid(outcome) for outcome in done.values()}


@pytest.mark.parametrize(
    ("name", "words"),
    [("exit", "exit status 3; last words: disk on fire"), ("segfault", "SIGSEGV"), ("killed", "SIGKILL")],
)
def test_a_crash_becomes_one_outcome_and_the_rest_goes_on(tmp_path: Path, name: str, words: str) -> None:
    done = run([Job("before"), Job(name), Job("after")], tmp_path)
    crash = done[name]
    assert isinstance(crash, Crash)
    assert crash.kind == "failed"
    assert words in crash.reason
    assert pid(done["before"]) != pid(done["after"])


def test_a_hanging_task_is_stopped(tmp_path: Path) -> None:
    start = time.monotonic()
    done = run([Job("slow", seconds=60), Job("after")], tmp_path, timeout_s=2.0)
    crash = done["slow"]
    assert isinstance(crash, Crash)
    assert crash.kind == "timeout"
    assert pid(done["after"])
    assert time.monotonic() - start < 30


def test_every_device_works_at_the_same_time(tmp_path: Path) -> None:
    done = run([Job(str(n), group=str(n), seconds=0.3) for n in range(4)], tmp_path, devices=("one", "two"))
    assert {outcome[1] for outcome in done.values() if not isinstance(outcome, Crash)} == {"one", "two"}


def test_no_process_remains(tmp_path: Path) -> None:
    done = run([Job("1"), Job("2", group="b")], tmp_path)
    assert all(gone(pid(outcome)) for outcome in done.values())


def test_no_process_remains_when_the_caller_stops_early(tmp_path: Path) -> None:
    engine: LocalEngine[Job, tuple[str, str, int]] = LocalEngine(("cpu",), execute, tmp_path / "workers.log")
    outcomes = engine.run([Job("1"), Job("2", seconds=60)], None, lambda job, device: None)
    _, first = next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]
    assert gone(pid(first))


def test_an_idle_worker_ends_when_the_main_process_is_killed(tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import sys, time
        sys.path.insert(0, {str(Path(__file__).parents[2])!r})
        from pathlib import Path
        from bench.engines.local import LocalEngine
        from tests.engines.test_local import Job, execute
        if __name__ == "__main__":
            engine = LocalEngine(("cpu",), execute, Path({str(tmp_path)!r}) / "workers.log")
            for job, outcome in engine.run([Job("1"), Job("2", seconds=2)], None, lambda job, device: None):
                print(outcome[2], flush=True)
                time.sleep(60)
    """)
    (tmp_path / "main.py").write_text(script)
    main = subprocess.Popen([sys.executable, str(tmp_path / "main.py")], stdout=subprocess.PIPE, text=True)
    assert main.stdout is not None
    worker = int(main.stdout.readline())
    main.kill()
    main.wait()
    main.stdout.close()
    deadline = time.monotonic() + 20
    while not gone(worker) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert gone(worker)
