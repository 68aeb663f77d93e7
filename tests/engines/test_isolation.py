"""Pages that the system clears for tensors that come and go: counted by the system itself, in a fresh process."""

import platform
import subprocess
import sys

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
