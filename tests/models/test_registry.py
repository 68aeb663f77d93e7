"""The registry says what exists: unique names, tracks in names, a source per figure, no way into bench."""

from __future__ import annotations

import ast
import re
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from torch import nn

import models
from models import REGISTRY, ModelSpec, UnknownModel, register, select

SPEC = ModelSpec(
    name="tiny_cifar",
    family="Tiny",
    year=2024,
    paper="Nobody 2024",
    track="cifar",
    input_size=(3, 32, 32),
    num_classes=10,
    build=partial(nn.Linear, 3),
)


def module_of(spec: ModelSpec) -> str:
    """Name of the file that builds the network; a partial of StagedNet itself would belong to no paper."""
    target = spec.build.func if isinstance(spec.build, partial) else spec.build
    return str(target.__module__)


def test_register_refuses_a_second_network_of_the_same_name() -> None:
    with pytest.raises(ValueError, match="two networks are named 'tiny_cifar'"):
        register([SPEC, SPEC])


@pytest.mark.parametrize(
    ("name", "track"), [("tiny", "cifar"), ("tiny_mnist", "cifar"), ("tinycifar", "cifar"), ("tiny", "mnist")]
)
def test_register_refuses_a_name_without_its_track(name: str, track: models.Track) -> None:
    with pytest.raises(ValueError, match=f"must end in _{track}"):
        register([replace(SPEC, name=name, track=track)])


def test_register_keeps_the_order_and_wants_no_suffix_at_224() -> None:
    specs = [replace(SPEC, name="z", track="imagenet"), SPEC, replace(SPEC, name="a", track="imagenet")]
    assert list(register(specs).values()) == specs


def test_registry_is_in_the_order_of_years() -> None:
    years = [spec.year or 0 for spec in REGISTRY.values()]
    assert min(years) == 1998
    assert years == sorted(years)


def test_globs_find_each_network_once_and_in_registry_order() -> None:
    chosen = [spec.name for spec in select(["resnet56_cifar", "resnet*_cifar", "resnet18"])]
    assert chosen == [n for n in REGISTRY if n == "resnet18" or re.fullmatch(r"resnet\d+_cifar", n)]
    assert len(chosen) == 11  # resnet18; 20, 32, 44, 56, 110; 18, 34, 50, 101, 152 with the 3x3 stem


@pytest.mark.parametrize("track", ["cifar", "mnist"])
def test_the_suffix_glob_is_the_track(track: str) -> None:
    assert {spec.name for spec in select([f"*_{track}"])} == {
        spec.name for spec in REGISTRY.values() if spec.track == track
    }


def test_selecting_nothing_gives_nothing() -> None:
    assert select([]) == []


def test_an_unknown_name_names_the_nearest() -> None:
    with pytest.raises(UnknownModel, match=r"'resnt50'; nearest: .*\bresnet50\b"):
        select(["resnet18", "resnt50"])


def test_the_beginning_of_a_name_names_those_that_go_on_with_it() -> None:
    with pytest.raises(UnknownModel, match=r"'lenet5'; nearest: lenet5_mnist, lenet5_cifar"):
        select(["lenet5"])


def test_a_glob_without_match_is_unknown() -> None:
    with pytest.raises(UnknownModel, match=r"no network is named 'qqqqqqqq\*'; `python -m bench list`"):
        select(["qqqqqqqq*"])


def test_names_are_case_sensitive() -> None:
    with pytest.raises(UnknownModel, match="nearest: "):
        select(["ResNet50"])


@pytest.mark.parametrize("spec", REGISTRY.values(), ids=REGISTRY)
def test_every_network_says_where_it_comes_from(spec: ModelSpec) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*", spec.name)
    assert spec.paper
    assert spec.params is not None
    assert spec.params_source
    assert all(difference.endswith(".") for difference in spec.differences)
    year_of_paper = re.search(r"^[^,]* (\d{4})\b", spec.paper)  # "He et al. 2015, arXiv:..."
    if year_of_paper:
        assert int(year_of_paper[1]) == spec.year
    channels, height, width = spec.input_size
    assert height == width
    if spec.track == "imagenet":
        assert (channels, height, spec.num_classes) == (3, 224, 1000)
    elif spec.track == "cifar":
        assert (channels, height, spec.num_classes) == (3, 32, 10)
    else:
        assert channels == 1
        assert height in (28, 32)
        assert spec.num_classes == 10


def test_one_file_is_one_paper_and_a_family_has_one_file() -> None:
    files = {(module_of(spec), spec.family, spec.year) for spec in REGISTRY.values()}
    modules, families, _ = zip(*files, strict=True)
    assert len(set(families)) == len(files)
    assert len({(module, year) for module, _, year in files}) == len(set(modules))
    assert set(modules) == {  # every file of a paper is registered
        f"models.{path.stem}"
        for path in Path(models.__path__[0]).glob("*.py")
        if path.stem not in ("__init__", "spec", "layers", "elsewhere")
    }


def test_differences_come_from_the_file_the_class_and_the_parts() -> None:
    (bottleneck,) = REGISTRY["resnet50"].differences
    assert "3x3 convolution" in bottleneck
    assert REGISTRY["resnet18"].differences == ()  # has no bottleneck
    stem, again = REGISTRY["resnet50_cifar"].differences
    assert "7x7 stem" in stem
    assert again == bottleneck


def test_models_never_import_bench() -> None:
    """Nor each other by the folder's name: in bench it goes by another."""
    for path in sorted(Path(models.__path__[0]).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            outside: list[str] = []
            if isinstance(node, ast.Import):
                outside = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level:
                assert node.level == 1, f"{path.name} looks outside its folder"
                assert node.module in ("spec", "layers") or path.stem == "__init__", f"{path.name}: {node.module}"
            elif isinstance(node, ast.ImportFrom):
                outside = [node.module or ""]
            for name in outside:
                allowed = {"torch"} | ({"torchvision"} if path.stem == "elsewhere" else set())
                assert name.partition(".")[0] in allowed | sys.stdlib_module_names, f"{path.name} imports {name}"
