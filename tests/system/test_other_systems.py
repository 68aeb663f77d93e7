"""Systems people have: without fork, fcntl and resource, as Windows is, and with outputs of any encoding."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli.main import main

ROOT = Path(__file__).resolve().parents[2]

# Of every process of the run, before anything else: what Windows has not, though this system's own libraries need it.
SITE = """
import builtins
from multiprocessing import reduction

ours, imported = ("bench", "models"), builtins.__import__

def refuse(name, globals=None, *rest, **more):
    if name in ("fcntl", "resource") and str((globals or {}).get("__name__")).split(".")[0] in ours:
        raise ModuleNotFoundError(f"No module named {name!r}")
    return imported(name, globals, *rest, **more)

builtins.__import__ = refuse
reduction.HAVE_SEND_HANDLE = False  # no fork server
"""
VERBS = """
import sys
from bench.cli.main import main

folders = ["--results-dir", sys.argv[1] + "/results", "--reports-dir", sys.argv[1] + "/reports"]
run = ["--models", sys.argv[1] + "/mine.py:tiny", "--input-size", "8", "--preset", "backbones", "--rounds", "1"]
run += ["--run", "here", *folders]
words = [["list", "--track", "mnist"], ["show", "lenet5_mnist"], ["all", *run], ["run", "--probes", "params", *run]]
if __name__ == "__main__":
    print([main(each) for each in words])
"""
MINE = (
    "from torch import nn\ndef tiny(num_classes=10): return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))\n"
)


def test_every_verb_works_without_fork_fcntl_and_resource_and_in_ascii(tmp_path: Path) -> None:
    for name, text in (("sitecustomize.py", SITE), ("verbs.py", VERBS), ("mine.py", MINE)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(tmp_path / "verbs.py"), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        encoding="ascii",
        cwd=tmp_path,
        check=False,
        timeout=300,
    )
    assert done.stdout.splitlines()[-1:] == ["[0, 0, 0, 0]"], done.stdout + done.stderr
    assert "3 x 8 x 8 input - 10 classes" in done.stdout
    assert (tmp_path / "reports" / "here" / "index.html").exists()
    lines = (tmp_path / "results" / "here" / "records.jsonl").read_text(encoding="utf-8").splitlines()
    status = {row["metric"]: row["status"] for row in map(json.loads, lines)}
    assert [status[each] for each in ("params", "latency_ms", "predicted_inference_bytes")] == ["ok"] * 3


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("ascii", "3 x 8 +- 2 -> u (a) (b), naive ?"), ("cp1252", "3 × 8 ± 2 -> µ † ‡, naïve ?"), ("utf-8", "")],
)
def test_a_character_that_an_output_lacks_is_replaced_by_what_reads_alike(
    monkeypatch: pytest.MonkeyPatch, encoding: str, shown: str
) -> None:
    output = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", output)
    assert main(["--help"]) == 0
    output.truncate(0)
    said = "3 × 8 ± 2 → µ † ‡, naïve 網"
    output.seek(0)
    print(said, end="", flush=True)
    assert output.buffer.getvalue().decode(encoding) == (shown or said)


BUFFERED = {**os.environ, "PYTHONUNBUFFERED": ""}  # what is printed is written at the end


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="has no device that is always full")
def test_an_output_that_is_full_is_said_in_one_line() -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "bench", "--version"]
        pipe = subprocess.PIPE
        done = subprocess.run(command, cwd=ROOT, env=BUFFERED, stdout=full, stderr=pipe, text=True, check=False)
    line = "bench: no space left for standard output: make some, then repeat the command\n"
    assert (done.returncode, done.stderr) == (2, line)


@pytest.mark.skipif(os.name == "nt", reason="has no bash")
def test_a_reader_who_has_seen_enough_is_no_error() -> None:
    script = 'set -o pipefail; "$0" -m bench --help | true'
    command = ["bash", "-c", script, sys.executable]
    done = subprocess.run(command, cwd=ROOT, env=BUFFERED, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
