"""Networks that are not of the registry: torchvision's, timm's and a user's own."""

import importlib.util
import pickle
import sys
from pathlib import Path

import pytest
import torch

from bench.models import REGISTRY, ModelSpec, UnknownModel, select

OWN = """
from torch import nn
from bench.models import ModelSpec

class Tiny(nn.Module):
    def __init__(self, num_classes=7):
        super().__init__()
        self.fc = nn.Linear(3, num_classes)

    def forward(self, x):
        return self.fc(x.mean((2, 3)))

def fixed():
    return Tiny(5)

def not_a_network(num_classes):
    return 5

def scaled(width, num_classes=7):
    return Tiny(width * num_classes)

def passed_on(**kwargs):
    return Tiny(**kwargs)

def nothing_passed_on(width=5, **kwargs):
    return nn.Linear(3, width, **kwargs)

INSTANCE = Tiny()
NUMBER = 5
SPEC = ModelSpec("tiny_cifar", "Tiny", 2026, "own", "cifar", (3, 32, 32), 10, Tiny, params=40)
"""


METHOD = """
from torch import nn

class Net(nn.Linear):
    @classmethod
    def small(cls, num_classes=5):
        return cls(3, num_classes)
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A user's module, importable, under a name of its own per test."""
    name = f"own_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_a_factory_becomes_a_spec_like_any_other(own: str) -> None:
    (spec,) = select([f"{own}:Tiny"], input_size=(3, 32, 32))
    assert (spec.name, spec.track, spec.num_classes, spec.year) == (f"{own}:Tiny", "cifar", 7, None)
    network = pickle.loads(pickle.dumps(spec)).build(num_classes=10)
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_a_factory_without_num_classes_keeps_its_own(own: str) -> None:
    (spec,) = select([f"{own}:fixed"], input_size=(3, 32, 32), num_classes=5)
    assert spec.build(num_classes=5)(torch.zeros(1, 3, 8, 8)).shape == (1, 5)


def test_a_factory_that_passes_its_arguments_on_is_told_the_classes_too(own: str) -> None:
    for classes, count in ((None, 4 * 10), (3, 4 * 3)):
        (spec,) = select([f"{own}:passed_on"], input_size=(3, 32, 32), num_classes=classes)
        assert params(spec) == count
    assert params(select([f"{own}:nothing_passed_on(bias=False)"], input_size=(3, 32, 32))[0]) == 15


def test_a_spec_is_taken_as_it_is(own: str) -> None:
    (spec,) = select([f"{own}:SPEC"])
    assert (spec.name, spec.params) == ("tiny_cifar", 40)


def test_own_networks_come_after_the_registrys(own: str) -> None:
    names = [spec.name for spec in select([f"{own}:Tiny", "resnet20_cifar"], input_size=(3, 32, 32))]
    assert names == ["resnet20_cifar", f"{own}:Tiny"]


@pytest.mark.parametrize(
    ("size", "track"),
    [((3, 32, 32), "cifar"), ((1, 28, 28), "mnist"), ((1, 32, 32), "mnist"), ((3, 96, 96), "imagenet")],
)
def test_the_track_is_that_of_the_images(own: str, size: tuple[int, int, int], track: str) -> None:
    (spec,) = select([f"{own}:Tiny"], input_size=size)
    assert spec.track == track


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("{own}:Tiny", "--input-size"),
        ("{own}:nothing", "has no attribute 'nothing'"),
        ("no_such_module:x", "No module named 'no_such_module'"),
        (":x", "write package.module:factory"),
        ("{own}:INSTANCE", "is a network that is built already: name a class, or a function that builds the network"),
        ("{own}:NUMBER", "is int: name a class, or a function"),
        ("{own}:scaled", "missing a required argument: 'width'; --model-kwargs key=value gives arguments"),
        ("{own}:Tiny(depth=3)", "unexpected keyword argument 'depth'"),
        ("{own}:Tiny(3)", "write arguments as key=value"),
        ("{own}:Tiny(**x)", "write arguments as key=value"),
        ("{own}:scaled(width=true)", "values are numbers, True, False, None, or texts"),
        ("{own}:Tiny(num_classes=3)", "--num-classes says how many classes"),
        ("{own}:scaled(width=3,width=4)", "an argument is given twice"),
        ("{own}", r"'(\w+)': write \1:factory"),
        ("{own}.Tiny", r"'(\w+)\.Tiny': write \1:Tiny"),
        ("./mine.py", r"'./mine\.py': write \./mine\.py:factory"),
        ("bench.nets:Tiny", "ModuleNotFoundError.*; bench is the suite's own .*, write ./bench/nets.py:Tiny"),
        ("./nothing.py:Tiny", "FileNotFoundError.*; write package.module:factory, .* or ./file.py:factory"),
        ("torchvision:resnet18(depth=3)", "unexpected keyword argument 'depth'"),
        ("torchvision:resnet18(norm_layer=batch)", "torchvision:resnet18: TypeError: "),
        ("torchvision:vit_b_16", "square images"),
        ("torchvision:resnet19", "nearest: resnet18"),
    ],
)
def test_what_cannot_be_found_is_said(own: str, word: str, words: str) -> None:
    with pytest.raises(UnknownModel, match=words):
        select([word.format(own=own)], input_size=(3, 32, 48) if "vit" in word else None)


def test_the_program_itself_is_no_package_of_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)  # as where the console script was started
    with pytest.raises(UnknownModel, match="no network is named '__main__'"):
        select(["__main__"])


def test_torchvision_takes_colour_images() -> None:
    with pytest.raises(UnknownModel, match="takes colour images: write --input-size 3x28x28"):
        select(["torchvision:resnet18"], input_size=(1, 28, 28))


@pytest.mark.parametrize("wrong", ["act_layer='re lu'", "layers=3"])
def test_an_argument_that_timm_does_not_take_is_one_line(wrong: str) -> None:
    pytest.importorskip("timm")
    with pytest.raises(UnknownModel, match=r"timm:resnet18: \w+Error: "):
        select([f"timm:resnet18({wrong})"])


def params(spec: ModelSpec) -> int:
    return sum(parameter.numel() for parameter in spec.build(num_classes=spec.num_classes).parameters())


def test_arguments_of_a_factory_make_another_network(own: str) -> None:
    wide, wider = select([f"{own}:scaled(width=2)", f"{own}:scaled( width = 3 )"], input_size=(3, 32, 32))
    assert [spec.name for spec in (wide, wider)] == [f"{own}:scaled(width=2)", f"{own}:scaled(width=3)"]
    assert [params(pickle.loads(pickle.dumps(spec))) for spec in (wide, wider)] == [4 * 14, 4 * 21]


@pytest.mark.parametrize("form", ["./{name}.py:Tiny", "{name}.py:Tiny", "{folder}/{name}.py:Tiny"])
def test_a_path_works_as_well_as_a_module(own: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.chdir(tmp_path)
    word = form.format(name=own, folder=tmp_path)
    (spec,) = select([word], input_size=(3, 32, 32))
    assert (spec.name, spec.family, params(spec)) == (word, own, 28)
    monkeypatch.chdir("/")
    assert params(pickle.loads(pickle.dumps(spec))) == 28  # wherever the process is that builds it


def test_a_file_may_have_the_name_of_another_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("json", "models", "bench", "torch"):
        Path(f"{name}.py").write_text(OWN)
        (spec,) = select([f"./{name}.py:SPEC"])
        assert (spec.name, params(spec)) == ("tiny_cifar", 40)


@pytest.mark.parametrize("initial", [None, "from .net import Net\n"])
@pytest.mark.parametrize("form", ["project/deep/net.py", "project/deep"])
def test_a_file_may_import_what_is_beside_it_relatively(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, initial: str | None, form: str
) -> None:
    monkeypatch.chdir(tmp_path)
    deep = tmp_path / "project" / "deep"
    deep.mkdir(parents=True)
    (deep / "net.py").write_text("from . import blocks\nfrom .blocks import Tiny as Net\n")
    (deep / "blocks.py").write_text(OWN if initial is None else "from ..parts import *\n")
    (deep.parent / "parts.py").write_text(OWN)
    if initial is not None:
        (deep.parent / "__init__.py").touch()
        (deep / "__init__.py").write_text(initial)
    elif form.endswith("deep"):
        with pytest.raises(UnknownModel, match="FileNotFoundError"):
            select([f"./{form}:Net"])
        return
    (spec,) = select([f"./{form}:Net"], input_size=(3, 32, 32))
    assert params(pickle.loads(pickle.dumps(spec))) == 28


@pytest.mark.parametrize("where", ["__init__(self, num_classes=2)", "forward(self, x)"])
def test_what_is_beside_a_file_is_found_when_the_network_is_built_and_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    name = f"beside_{tmp_path.name}"
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / f"{name}.py").write_text(OWN)
    call = "super().__init__()" if "init" in where else "return x"
    (tmp_path / "nets" / "late.py").write_text(
        f"from torch import nn\nclass Late(nn.Identity):\n    def {where}:\n        import {name}\n        {call}\n"
    )
    monkeypatch.setattr("sys.path", [*sys.path])
    (spec,) = select([f"{tmp_path}/nets/late.py:Late"], input_size=(3, 32, 32))
    assert spec.build(num_classes=2)(torch.zeros(1)) is not None


@pytest.mark.parametrize("file", ["net.py", "net.PY", "net"])
def test_a_method_builds_a_network_and_a_file_may_end_in_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / file).write_text(METHOD)
    (spec,) = select([f"~/{file}:Net.small"], input_size=(3, 32, 32))
    assert params(pickle.loads(pickle.dumps(spec))) == 20


def test_what_a_module_sets_for_the_whole_process_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    setting = "import torch\ntorch.set_default_dtype(torch.float64)\ntorch.set_grad_enabled(False)\n"
    Path("sets.py").write_text(setting + OWN)
    (spec,) = select(["./sets.py:Tiny"], input_size=(3, 32, 32))
    assert (torch.get_default_dtype(), torch.is_grad_enabled()) == (torch.float32, True)
    assert spec.build(num_classes=2)(torch.ones(1, 3, 8, 8)).requires_grad


def test_a_module_that_fails_once_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("late.py").write_text("import no_such_module")
    with pytest.raises(UnknownModel, match=r"\./late\.py:Tiny: ModuleNotFoundError"):
        select(["./late.py:Tiny"])
    Path("late.py").write_text(OWN)
    assert params(select(["./late.py:Tiny"], input_size=(3, 32, 32))[0]) == 28


def test_differences_of_an_own_spec_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text('"""Mine.\n\nDiffers from the paper: it is tiny.\n"""\n' + OWN)
    assert select(["mine.py:SPEC"])[0].differences == ("Differs from the paper: it is tiny.",)


def test_what_is_no_network_is_said(own: str) -> None:
    (spec,) = select([f"{own}:not_a_network"], input_size=(3, 32, 32))
    with pytest.raises(TypeError, match=r"returned int, not a torch\.nn\.Module"):
        spec.build(num_classes=3)


def test_torchvision_by_name() -> None:
    (spec,) = select(["torchvision:resnet18"])
    assert (spec.input_size, spec.num_classes, spec.track) == ((3, 224, 224), 1000, "imagenet")
    with torch.device("meta"):
        network = spec.build(num_classes=1000)
    assert sum(p.numel() for p in network.parameters()) == REGISTRY["resnet18"].params
    (small,) = select(["torchvision:resnet18"], input_size=(3, 32, 32), num_classes=10)
    assert (small.track, small.num_classes) == ("cifar", 10)


@pytest.mark.skipif(importlib.util.find_spec("timm") is not None, reason="timm is installed")
def test_timm_absent_says_how_to_add_it() -> None:
    with pytest.raises(UnknownModel, match="pip install timm"):
        select(["timm:convnext_tiny"])


def test_timm_by_name() -> None:
    pytest.importorskip("timm")
    (spec,) = select(["timm:resnet18"], num_classes=10)
    assert spec.input_size == (3, 224, 224)
    with pytest.raises(UnknownModel, match="nearest: resnet"):
        select(["timm:resnet19x"])
    with pytest.raises(UnknownModel, match=r"no 'resnet18\.nothing'; with a tag it has .*resnet18\.a1_in1k"):
        select(["timm:resnet18.nothing"])


@pytest.mark.parametrize(
    ("word", "size", "classes", "count"),
    [
        ("timm:vit_tiny_patch16_224", (3, 224, 224), 1000, 5_717_416),
        ("timm:vit_tiny_patch16_224", (3, 32, 32), 10, 5_526_346 - 192 * (197 - 5)),  # a position for each patch
        ("timm:vit_tiny_patch16_224(img_size=32)", None, 10, 5_526_346 - 192 * (197 - 5)),
        ("timm:vit_base_patch16_224.augreg_in21k", None, None, 102_595_923),
        ("timm:resnet18(drop_path_rate=0.1)", (3, 32, 32), 10, 11_181_642),
        ("timm:resnet18", (1, 28, 28), 10, 11_181_642 - 2 * 64 * 49),  # told its channels
        ("torchvision:vit_b_16", (3, 32, 32), 10, 85_806_346 - 768 * (197 - 5)),
        ("timm:resnet18(in_chans=1)", None, 10, 11_181_642 - 2 * 64 * 49),
        ("torchvision:vit_b_16(image_size=32)", None, 10, 85_806_346 - 768 * (197 - 5)),
        ("torchvision:vit_b_16", (3, 224, 224), 1000, 86_567_656),
    ],
)
def test_networks_are_told_size_and_classes(
    word: str, size: tuple[int, int, int] | None, classes: int | None, count: int
) -> None:
    if word.startswith("timm:"):
        pytest.importorskip("timm")
    (spec,) = select([word], input_size=size, num_classes=classes)
    with torch.device("meta"):
        network = pickle.loads(pickle.dumps(spec)).build(num_classes=spec.num_classes)
        assert network(torch.zeros(2, *spec.input_size)).shape == (2, spec.num_classes)
    assert sum(parameter.numel() for parameter in network.parameters()) == count


def test_the_hub_without_a_network_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # the variable is read at import
    for word in ("hf-hub:someone/some_network", "timm:hf-hub:someone/some_network"):
        with pytest.raises(UnknownModel, match="the hub cannot be asked what network this is"):
            select([word])
