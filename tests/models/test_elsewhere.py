"""Networks that are not of the registry: torchvision's, timm's and a user's own."""

import importlib.util
import pickle
from pathlib import Path

import pytest
import torch

from models import REGISTRY, UnknownModel, select

OWN = """
from torch import nn
from models import ModelSpec

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

SPEC = ModelSpec("tiny_cifar", "Tiny", 2026, "own", "cifar", (3, 32, 32), 10, Tiny, params=40)
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
        ("torchvision:resnet19", "nearest: resnet18"),
    ],
)
def test_what_cannot_be_found_is_said(own: str, word: str, words: str) -> None:
    with pytest.raises(UnknownModel, match=words):
        select([word.format(own=own)])


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
