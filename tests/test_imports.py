"""The direction of imports, read from the code: the half that reports never needs the half that measures."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@cache
def imports_of(path: Path) -> set[str]:
    """Modules that a file imports when it is imported itself: not inside functions, not for type checking only."""

    def walk(nodes: list[ast.stmt]) -> set[str]:
        found: set[str] = set()
        for node in nodes:
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                module = f"bench.models.{node.module or ''}".rstrip(".") if node.level else node.module or ""
                found |= {f"{module}.{alias.name}" for alias in node.names} | {module}
            elif isinstance(node, ast.If):
                checking = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
                found |= set() if checking else walk(node.body + node.orelse)
            elif isinstance(node, ast.Try | ast.With | ast.ClassDef):
                found |= walk(node.body)
        return found

    return walk(ast.parse(path.read_text(encoding="utf-8")).body)


@cache
def module_file(name: str) -> Path | None:
    base = ROOT / Path(*(name.removeprefix("bench.") if name.startswith("bench.models") else name).split("."))
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
            if parts[0] == "bench":
                waiting += [file for file in files if file]
    return seen


FLOW = (  # a room uses only rooms further down
    "__main__",
    "cli",
    "render",
    "regression",
    "runner",
    "structure",
    "probes",
    "engines",
    "training",
    "device",
    "data",
    "records",
    "stats",
    "config",
    "quantity",
    "metrics",
    "models",
)
RENDER = (
    ("report", "page"),
    ("claims", "charts", "findings"),
    ("tables", "diagram"),
    ("results",),
)  # inside it


def rooms() -> list[str]:
    """All in bench/, and models/ beside it."""
    inside = (path.stem for path in (ROOT / "bench").iterdir() if path.stem not in ("__init__", "__pycache__"))
    return sorted((*inside, "models"))


def files_of(room: Path) -> list[Path]:
    if room.name == "models":
        room = ROOT / "models"
    return sorted(room.rglob("*.py")) if room.is_dir() else [room.with_suffix(".py")]


@pytest.mark.parametrize("room", FLOW)
def test_the_name_models_is_left_to_the_users_own_project(room: str) -> None:
    for file in files_of(ROOT / "bench" / room):
        assert not re.search(r"^\s*(from|import) models\b", file.read_text(encoding="utf-8"), re.MULTILINE), file


def test_every_room_has_its_place_in_the_flow() -> None:
    assert rooms() == sorted(FLOW)


@pytest.mark.parametrize("room", FLOW)
def test_a_room_uses_only_rooms_below_it(room: str) -> None:
    below = FLOW[FLOW.index(room) :]
    for file in files_of(ROOT / "bench" / room):
        used = {name.split(".")[1] for name in imports_of(file) if name.startswith("bench.")}
        assert used <= set(below), file


@pytest.mark.parametrize("level", range(len(RENDER)))
def test_inside_render_too(level: int) -> None:
    allowed = {room for rooms in RENDER[level:] for room in rooms}
    for room in RENDER[level]:
        for file in files_of(ROOT / "bench" / "render" / room):
            used = {name.split(".")[2] for name in imports_of(file) if name.startswith("bench.render.")}
            assert used <= allowed, file


LIGHT = [
    *(ROOT / "bench" / name for name in ("config.py", "metrics.py", "quantity.py", "data/image_set.py")),
    ROOT / "bench" / "structure" / "__init__.py",
    *(file for room in ("cli", "records", "stats", "render") for file in files_of(ROOT / "bench" / room)),
    *(ROOT / "bench" / "regression" / name for name in ("__init__.py", "compare.py", "history.py")),
]


@pytest.mark.parametrize("file", LIGHT, ids=lambda file: str(file.relative_to(ROOT)))
def test_what_reports_needs_no_torch(file: Path) -> None:
    heavy = {name for name in reachable(file) if name.split(".")[0] in ("torch", "torchvision", "fvcore")}
    assert not heavy
