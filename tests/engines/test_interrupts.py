"""The first signal is a request to stop that can be waited for; the second ends the process."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.engines import INTERRUPTED, Interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_waits_until_it_is_asked_for(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Interrupts() as interrupts:
        assert not select.select([interrupts], [], [], 0)[0]
        os.kill(os.getpid(), number)
        assert select.select([interrupts], [], [], 0)[0]
        asked = interrupts.requested
    assert asked
    assert signal.getsignal(number) is before


def test_the_second_signal_ends_the_process_at_once() -> None:
    script = (
        "import os, signal\n"
        "from bench.engines import Interrupts\n"
        "with Interrupts():\n"
        "    for _ in range(2): os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('still here')\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (INTERRUPTED, "")
    assert "stopped; everything measured so far is kept" in done.stderr
