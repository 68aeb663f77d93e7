"""run.json is read back as it was written, and those of older runs too."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench.config import Budget, Execution, MemorySize
from bench.records.run_folder import Run, RunError
from bench.records.run_json import Forced, Model, RunHeader, Session, header_of
from bench.runner.request import Request, resolve

ROOT = Path(__file__).resolve().parents[2]
CONFIG, _ = resolve(Request(budget=("1ep", "60s"), fit="16GiB", test_images=100), (), "cpu")
HEADER = RunHeader(
    name="a",
    command=("bench", "all"),
    config=CONFIG,
    models=(Model("resnet20_cifar", "ResNet", 2015, input_size=(3, 32, 32)),),
    sessions=(Session("2026-01-31T12:00:00+00:00", {"cpu_mhz": 2000}),),
    forced=(Forced("2026-02-01T12:00:00+00:00", ("seeds 1 (now 2)",)),),
)


def test_a_header_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    Run.create(tmp_path, "a", HEADER)
    assert Run.open(tmp_path, "a").header == HEADER


def test_what_is_asked_is_told_by_name_and_the_fixed_part_of_it_apart() -> None:
    settings, fixed = HEADER.settings(), CONFIG.settings(fixed=True)
    assert (settings["budget"], settings["other_budgets"], settings["fit"]) == ("1ep", ["60s"], "16GiB")
    assert list(fixed) == [
        *("batch_size", "train_batch_size", "test_images", "measure_seconds"),
        *("precision", "memory_format", "compile", "cuda_graphs", "compile_mode", "fit"),
    ]
    assert set(settings) - set(fixed) == {"preset", "budget", "seeds", "rounds", "other_budgets", "weights"}


def test_a_run_of_the_first_version_opens_with_all_that_it_says() -> None:
    stored = Run.open(ROOT / "results", "quick-cpu")
    raw = json.loads((stored.folder / "run.json").read_text())
    header = header_of(
        {
            "preset": "quick",
            "budget": "12s",
            "other_budgets": ["1ep"],
            "seeds": 1,
            "rounds": 5,
            "fit": "16GiB",
            "batch_size": {"cifar": 16},
            "train_batch_size": 32,
            "test_images": 1000,
            "measure_seconds": 0.25,
            "precision": "bf16",
            "memory_format": "channels_last",
            "compile": False,
            "cuda_graphs": None,
            "tune": 20,
            "conditions": [{"started": "2026-01-31", "before": {"cpu_mhz": 2000}}],
        }
    )
    assert header.config is not None
    assert (header.config.budget, header.config.other_budgets) == (Budget(12, "s"), (Budget(1, "ep"),))
    assert header.config.execution == Execution("bf16", "channels_last", False, None)
    assert header.config.fit == MemorySize(16, "GiB")
    assert (header.config.rounds, header.config.test_images) == (5, 1000)
    assert header.sessions == (Session("2026-01-31", {"cpu_mhz": 2000}),)
    assert stored.header.config is not None
    assert [model.name for model in stored.header.models] == [model["name"] for model in raw["models"]]
    assert stored.header.environment == raw["environment"]


def test_fields_of_a_newer_version_are_ignored() -> None:
    content = {**json.loads(HEADER.to_json()), "weather": "rain"}
    content["models"][0]["colour"] = "blue"
    assert header_of(content) == HEADER


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"models": [{"name": 3}]}, "$.models[0].name"),
        ({"start": True}, "$.start"),
        ({"config": {**json.loads(HEADER.to_json())["config"], "seeds": "two"}}, "$.config.seeds"),
        ({"environment": []}, "$.environment"),
    ],
)
def test_damage_is_named_with_its_file_and_place(tmp_path: Path, change: dict[str, object], words: str) -> None:
    run = Run.create(tmp_path, "a", HEADER)
    (run.folder / "run.json").write_text(json.dumps({**json.loads(HEADER.to_json()), **change}))
    with pytest.raises(RunError) as refused:
        Run.open(tmp_path, "a")
    assert "run.json" in str(refused.value)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_budget_that_is_none_is_refused_in_an_old_run_too() -> None:
    with pytest.raises(ValueError, match="budget 'soon'"):
        header_of({"budget": "soon"})


def test_the_device_is_empty_where_it_is_not_known() -> None:
    assert RunHeader().device == ""
    assert replace(HEADER, environment={"device": "a CPU"}).device == "a CPU"
