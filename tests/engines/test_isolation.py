"""What a worker does to itself, on systems that can and on one that cannot; page faults are counted by the system."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

COUNT = """
import resource, sys
from bench.engines.isolation import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
import numpy
def use():  # two at a time, as a layer's input and output
    before, after = numpy.empty(1 << 24, numpy.uint8), numpy.empty(1 << 25, numpy.uint8)
    before.fill(1)
    after.fill(1)
use()
start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_memory_is_cleared_once_and_not_for_every_tensor() -> None:
    def faults(how: str) -> int:
        command = [sys.executable, "-c", COUNT, how]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        return int(done.stdout)

    kept, usual = faults("kept"), faults("usual")
    assert kept < 100
    assert usual > 100 * max(kept, 1)


WITHOUT = """
import sys
from pathlib import Path
sys.modules["fcntl"] = sys.modules["resource"] = None
from bench.engines.local import LocalMachine
from tests.engines.test_local import Job, execute
machine = LocalMachine(("cpu",), Path(sys.argv[1]), memory_limit=1 << 30)
if __name__ == "__main__":
    for job, outcome in machine.run(execute, [Job("1"), Job("exit"), Job("2")]):
        print(job.name, getattr(outcome, "reason", "ok"))
"""


def test_workers_run_on_a_system_without_fcntl_and_resource(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(WITHOUT)
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, str(tmp_path / "main.py"), str(tmp_path / "workers.log")],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    said = "1 ok\nexit its process ended with exit status 3; last output: disk on fire\n2 ok\n"
    assert (done.stdout, done.returncode) == (said, 0), done.stderr
