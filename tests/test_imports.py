"""The direction of imports, read from the code: the half that reports never needs the half that measures."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def imports_of(path: Path) -> set[str]:
    """Modules that a file imports when it is imported itself: not inside functions, not for type checking only."""

    def walk(nodes: list[ast.stmt]) -> set[str]:
        found: set[str] = set()
        for node in nodes:
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module or ""}
            elif isinstance(node, ast.If):
                checking = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
                found |= set() if checking else walk(node.body + node.orelse)
            elif isinstance(node, ast.Try | ast.With | ast.ClassDef):
                found |= walk(node.body)
        return found

    return walk(ast.parse(path.read_text(encoding="utf-8")).body)


def module_file(name: str) -> Path | None:
    base = ROOT / Path(*name.split("."))
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.exists():
            return candidate
    return None


def reachable(path: Path) -> set[str]:
    """Everything that importing a file brings in, packages on the way included."""
    seen: set[str] = set()
    waiting = [path]
    while waiting:
        for name in imports_of(waiting.pop()) - seen:
            seen.add(name)
            parts = name.split(".")
            files = {module_file(".".join(parts[: n + 1])) for n in range(len(parts))}
            if parts[0] in ("bench", "models"):
                waiting += [file for file in files if file]
    return seen


def test_models_never_import_bench() -> None:
    for path in (ROOT / "models").glob("*.py"):
        assert not any(name.startswith("bench") for name in reachable(path)), path.name


LIGHT = [
    "bench/cli.py",
    "bench/config.py",
    "bench/presets.py",
    "bench/request.py",
    "bench/metrics.py",
    "bench/record.py",
    "bench/run_folder.py",
    "bench/stats.py",
    "bench/verdict.py",
    "bench/sequential.py",
    "bench/change_points.py",
    "bench/compare.py",
    "bench/history.py",
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "bench" / "commands").glob("*.py")),
    "bench/data/image_set.py",
    "bench/structure/description.py",
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "bench" / "render").glob("*.py")),
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "bench" / "render" / "charts").glob("*.py")),
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "bench" / "render" / "diagram").glob("*.py")),
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "bench" / "render" / "claims").glob("*.py")),
]


@pytest.mark.parametrize("name", LIGHT)
def test_what_reports_needs_no_torch(name: str) -> None:
    heavy = {n for n in reachable(ROOT / name) if n.split(".")[0] in ("torch", "torchvision", "fvcore")}
    assert not heavy


ALLOWED = {  # room -> the rooms of bench that it may import
    "bench/config.py": set(),
    "bench/presets.py": {"config", "metrics"},
    "bench/request.py": {"config", "metrics", "presets", "training"},
    "bench/metrics.py": set(),
    "bench/strict_json.py": set(),
    "bench/durable.py": set(),
    "bench/record.py": {"strict_json"},
    "bench/run_folder.py": {"durable", "record", "strict_json"},
    "bench/resume.py": {"config", "request", "run_folder", "strict_json"},
    "bench/nvml.py": set(),
    "bench/energy_counter.py": set(),
    "bench/environment.py": {"nvml"},
    "bench/vendor_peaks.py": {"config"},
    "bench/limits.py": {"config", "execution", "timing", "vendor_peaks"},
    "bench/session.py": {"config", "engines", "environment", "limits", "run_folder"},
    "bench/timing.py": {"stats"},
    "bench/execution.py": {"config"},
    "bench/graphs.py": set(),
    "bench/device_clock.py": set(),
    "bench/out_of_memory.py": set(),
    "bench/stats.py": set(),
    "bench/verdict.py": {"config", "stats"},
    "bench/sequential.py": {"stats"},
    "bench/change_points.py": set(),
    "bench/compare.py": {"metrics", "record", "run_folder", "stats", "verdict"},
    "bench/history.py": {"change_points", "compare", "metrics", "record", "run_folder", "stats"},
    "bench/ab": {"ab", "config", "sequential", "stats", "verdict"},
    "bench/engines": {"data", "engines"},
    "bench/interrupts.py": set(),
    "bench/data": {"config", "data"},
    "bench/tensorboard.py": {"config"},
    "bench/training": {"config", "data", "execution", "durable", "graphs", "run_folder", "training"},
    "bench/probes": {
        "config",
        "data",
        "device_clock",
        "energy_counter",
        "execution",
        "graphs",
        "metrics",
        "nvml",
        "out_of_memory",
        "probes",
        "stats",
        "timing",
        "training",
    },
    "bench/structure": {"probes", "structure"},
    "bench/render": {"compare", "metrics", "record", "render", "run_folder", "stats", "structure", "verdict"},
    "bench/render/charts": {"compare", "history", "metrics", "render", "run_folder", "verdict"},
    "bench/render/diagram": {"render", "structure"},
    "bench/render/claims": {"metrics", "render", "stats"},
}


@pytest.mark.parametrize("room", ALLOWED)
def test_each_room_imports_only_what_the_design_allows(room: str) -> None:
    files = [ROOT / room] if room.endswith(".py") else sorted((ROOT / room).glob("*.py"))
    assert files
    for file in files:
        used = {name.split(".")[1] for name in imports_of(file) if name.startswith("bench.")}
        assert used <= ALLOWED[room], file.name
