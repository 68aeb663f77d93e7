"""What README, CONTRIBUTING and docs/ tell people to type works: every command, every flag, every workflow."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from bench.cli.main import VERBS, main
from bench.models import REGISTRY, select
from bench.render.findings.pick import parse_limits
from bench.runner.flags import parse
from bench.runner.request import Request, parse_input_size, resolve
from tests.own_repository import NET, commit
from tests.regression.test_compare import store, whole_run
from tests.rows import ok

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))
OTHERS = ("cd", "git", "mypy", "pip", "python3", "ray", "ruff", "uv", ".venv/bin/pip")
LONG = (("list", "--json"),)  # counts every network
READ_ONLY = ("list", "show", "pick", "report", "compare", "history", "doctor")  # seconds; all others measure


def typed(page: str) -> Iterator[list[str]]:
    """The words of each command of a page, without what pages show of shells: comments, settings, `uv run`."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL)).replace("\\\n", " ")
    inline = re.findall(r"`((?:uv run -m|python -m|pip install|uv pip) [^`]+)`", text)
    for line in (*blocks.splitlines(), *inline):
        words = shlex.split(line, comments=True)
        while words:
            command = list(takewhile(lambda word: word != "&&", words))
            words = words[len(command) + 1 :]
            command = [word for word in command if not re.match(r"[A-Z_]+=", word)]
            if command[:2] == ["uv", "run"]:
                command[:2] = ["python"] * (command[2] == "-m")
            if command[0].endswith("bin/python"):
                command[0] = "python"
            yield command


COMMANDS = sorted({tuple(command) for page in PAGES for command in typed(page)})
SUITE = [words[3:] for words in COMMANDS if words[:3] == ("python", "-m", "bench") and "..." not in words]
TESTS = [words[3:] for words in COMMANDS if words[:3] == ("python", "-m", "pytest")]


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a reader: README's network in mine.py, a package of the same, and runs of all names that occur."""
    (own,) = re.findall(r"```python\n(# mine\.py.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "mine.py").write_text(own)
    (tmp_path / "mypackage").mkdir()
    (tmp_path / "mypackage" / "models.py").write_text(own.replace("def tiny", "def Net"))
    for seed, name in enumerate(("before", "run-a", "BASE", "RUN")):
        store(tmp_path / "results", name, whole_run(seed))
    for seed, name in enumerate(("after", "run-b", "NEW"), 4):
        store(tmp_path / "results", name, whole_run(seed, resnet20_cifar=70.0))
    published = {"name": "resnet18", "track": "imagenet", "published_top1": 0.7, "published_source": "a paper"}
    counted = [ok("resnet18", "latency_ms", 20.0), ok("resnet18", "params", 9e6)]
    store(tmp_path / "results", "mine", counted, models=[published])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def checked(words: tuple[str, ...]) -> Any:
    """The request, once every flag, network, metric and number in it was found to exist."""
    verb, rest = words[0], list(words[1:])
    request: Any = parse(VERBS[verb][0], rest, verb)
    names = list(getattr(request, "models", ()))
    if isinstance(request, Request):
        names = list(resolve(request, getattr(request, "probes", ()), "cuda")[1])
    if verb == "show":
        names = [request.model]
    if verb == "ab":
        names += [name for name in (request.base, request.new) if name in REGISTRY]
        request.shares()
    if verb == "pick":
        assert parse_limits(request.max, request.min)
    assert not names or select(names, parse_input_size(getattr(request, "input_size", None)))
    return request


@pytest.mark.parametrize("words", SUITE, ids=" ".join)
def test_every_flag_and_network_of_a_command_exists(words: tuple[str, ...], reader: Path) -> None:
    assert checked(words)


@pytest.mark.parametrize(
    "words",
    [pytest.param(w, marks=[pytest.mark.perf] * (w in LONG), id=" ".join(w)) for w in SUITE if w[0] in READ_ONLY],
)
def test_what_measures_nothing_runs(words: tuple[str, ...], reader: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == (0 if "--fail-on" not in words else 3)
    assert capsys.readouterr().out


@pytest.mark.perf
@pytest.mark.parametrize("words", [words for words in SUITE if words[0] in ("all", "run")], ids=" ".join)
def test_what_measures_for_long_says_what_it_would_do(words: tuple[str, ...], reader: Path) -> None:
    if "cuda" in words or "ray" in words:
        pytest.skip("needs a GPU or a cluster")
    shutil.rmtree(reader / "results")  # a run of that name would be resumed
    assert main([*words, *(() if "--dry-run" in words else ("--dry-run",))]) == 0


@pytest.mark.parametrize("words", TESTS, ids=" ".join)
def test_every_path_and_flag_of_a_test_run_exists(words: tuple[str, ...], request: pytest.FixtureRequest) -> None:
    parser: Any = request.config._parser
    known, unknown = parser.parse_known_and_unknown_args(list(words))
    assert not unknown
    assert all((ROOT / path).exists() for path in known.file_or_dir)


def test_every_other_command_is_known_and_every_extra_exists() -> None:
    others = {words for words in COMMANDS if words[0] != "python"}
    assert {words[0] for words in others} <= set(OTHERS)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    named = {extra for words in others for word in words for extra in re.findall(r"^\.\[(\w+)\]$", word)}
    assert named == {"dev", "ray"} <= {*project["project"]["optional-dependencies"]}
    assert project["dependency-groups"] == {"dev": ["classic-bench[dev]"]}  # said once


def workflow(name: str) -> Any:
    return pytest.importorskip("yaml").safe_load((ROOT / ".github" / "workflows" / name).read_text(encoding="utf-8"))


def test_the_page_shows_the_job_in_full() -> None:
    job = (ROOT / ".github" / "workflows" / "speed.yml").read_text(encoding="utf-8")
    assert f"```yaml\n{job}```" in (ROOT / "docs" / "regressions.md").read_text(encoding="utf-8")


def run_job(folder: Path, base: str, path: Path, **changes: str) -> tuple[int, str]:
    """Run the steps of speed.yml in a repository as GitHub would, but for the set-up; its status and its comment.

    `path` comes first among the places of programs: `gh` is one that keeps what it is given.
    """
    content = workflow("speed.yml")
    (path / "gh").write_text('#!/bin/sh\nwhile [ "$1" != --body-file ]; do shift; done\ncp "$2" comment.md\n')
    (path / "gh").chmod(0o755)
    outputs, summary = folder / "outputs", folder / "summary"
    env = {**os.environ, "PATH": f"{path}{os.pathsep}{os.environ['PATH']}", "GITHUB_OUTPUT": str(outputs)}
    env |= {"GITHUB_STEP_SUMMARY": str(summary), **content["env"], **changes, "BASE": base, "PULL_REQUEST": "1"}
    for step in content["jobs"]["speed"]["steps"]:
        if "run" not in step or step["name"].startswith("Install"):
            continue
        said = outputs.read_text(encoding="utf-8") if outputs.exists() else ""
        env["STATUS"] = said.strip().rpartition("=")[2]
        done = subprocess.run(["bash", "-e", "-o", "pipefail", "-c", step["run"]], cwd=folder, env=env)
        if done.returncode:
            break
    comment = folder / "comment.md"
    return done.returncode, comment.read_text(encoding="utf-8") if comment.exists() else ""


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(("status", "comment"), [(0, "a table\n"), (3, "a table\n"), (4, "a table\n"), (2, "")])
def test_the_job_comments_first_and_then_fails_as_the_comparison_did(status: int, comment: str, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    wrote = "echo 'a table' > speed.md\n" if comment else ""
    (programs / "classic-bench").write_text(f'#!/bin/sh\necho "$@" > arguments\n{wrote}exit {status}\n')
    (programs / "classic-bench").chmod(0o755)
    assert run_job(tmp_path, "abc", programs) == (status, comment)
    arguments = (tmp_path / "arguments").read_text().split()
    assert checked(tuple(arguments)).fail_on == "2%"
    assert arguments[:3] == ["ab", "abc", "HEAD"]


@pytest.mark.perf
@pytest.mark.parametrize(("products", "statuses"), [(80, (0,)), (84, (3,))], ids=["unchanged", "5 % slower"])
def test_three_commands_until_a_red_cross(
    products: int, statuses: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The steps on a repository of one's own, measured in earnest: minutes on a busy machine."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    programs, own = tmp_path / "bin", tmp_path / "own"
    programs.mkdir()
    own.mkdir()
    (programs / "classic-bench").write_text(
        f"#!{sys.executable}\nimport sys\nsys.path[0] = {str(ROOT)!r}\n"
        "from bench.cli.main import main\nsys.exit(main())\n"
    )
    (programs / "classic-bench").chmod(0o755)
    commit(own, *({"mine.py": NET.format(products=number, width=96)} for number in (80, products)))
    flags = "--input-size 8 --num-classes 4 --what inference --device cpu"
    status, comment = run_job(own, "HEAD~1", programs, NETWORKS="mine:Net", FLAGS=flags)
    print(f"status {status}\n{comment}")
    assert status in statuses
    assert "| mine:Net | inference |" in comment


@pytest.mark.perf
def test_the_benchmarks_are_written_as_github_action_benchmark_takes_them(tmp_path: Path) -> None:
    """Of `tool: pytest` it reads fullname, and stats.ops, stddev, mean and rounds, of each of `benchmarks`."""
    (job,) = workflow("benchmarks.yml")["jobs"].values()
    (measure,) = (step["run"] for step in job["steps"] if step.get("name") == "Measure")
    (action,) = (step["with"] for step in job["steps"] if "benchmark" in step.get("uses", ""))
    words = [*shlex.split(measure), "--networks", "lenet5_mnist"]
    file = tmp_path / action["output-file-path"]
    words[words.index(action["output-file-path"])] = str(file)
    subprocess.run([sys.executable, *words[1:]], cwd=ROOT, check=True)
    found = json.loads(file.read_text(encoding="utf-8"))["benchmarks"]
    assert len(found) == 3
    for benchmark in found:
        assert benchmark["fullname"].startswith("tests/perf/test_networks.py::")
        assert all(benchmark["stats"][name] >= 0 for name in ("ops", "stddev", "mean", "rounds"))
