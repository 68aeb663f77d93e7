"""Weights to start from: given as a file, found, or downloaded from a server of our own."""

import hashlib
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.config import RequestError
from bench.models import ModelSpec
from bench.training.experiments import Weights
from bench.training.weights import initial_weights, load_weights
from tests.data import fakes


class Small(nn.Module):
    """A body and a last layer, as torchvision's ResNet has `fc`."""

    def __init__(self, num_classes: int, width: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width))
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(x).mean((2, 3)))


SPEC = ModelSpec("small", "Small", None, "", "cifar", (3, 32, 32), 10, Small)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """The weights of the same network for 1000 classes."""
    torch.manual_seed(3)
    path = tmp_path / "weights.pth"
    torch.save(Small(1000).state_dict(), path)
    return path


def published(path: Path, url: str) -> Weights:
    return Weights(url, hashlib.sha256(path.read_bytes()).hexdigest())


def silent(_line: str) -> None:
    pass


def prepare(word: str | None, folder: Path, weights: Weights | None = None) -> Path | None:
    return initial_weights(word, weights or Weights("http://127.0.0.1:9/none.pth", "0" * 64), SPEC, folder, silent)


def test_everything_but_the_last_layer_is_loaded(trained: Path) -> None:
    torch.manual_seed(4)
    network = Small(10)
    fresh = network.fc.weight.clone()
    load_weights(trained, network)
    saved = torch.load(trained, weights_only=True)
    for name, tensor in network.body.state_dict().items():
        assert torch.equal(tensor, saved[f"body.{name}"]), name
    assert torch.equal(network.fc.weight, fresh)


def test_random_needs_no_file_and_a_file_needs_no_network(trained: Path, tmp_path: Path) -> None:
    assert prepare("random", tmp_path) is None
    assert prepare(str(trained), tmp_path) == trained


def renamed(state: dict[str, Any]) -> None:
    state["head.weight"] = state.pop("body.0.weight")


def reshaped(state: dict[str, Any]) -> None:
    state["body.0.weight"] = torch.zeros(5, 3, 3, 3)


def added(state: dict[str, Any]) -> None:
    state["body.2.weight"] = torch.zeros(1)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (renamed, r"body\.0\.weight is missing"),
        (reshaped, r"body\.0\.weight is of shape \(5, 3, 3, 3\), not \(4, 3, 3, 3\)"),
        (added, r"has no body\.2\.weight"),
    ],
)
def test_weights_of_another_network_are_named(
    trained: Path, tmp_path: Path, damage: Callable[[dict[str, Any]], None], words: str
) -> None:
    state = torch.load(trained, weights_only=True)
    damage(state)
    torch.save(state, trained)
    with pytest.raises(RequestError, match=f"another network: .*{words}"):
        prepare(str(trained), tmp_path)


class Intruder:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.witness,)


def test_a_file_that_would_run_code_is_refused_unrun(tmp_path: Path) -> None:
    path, witness = tmp_path / "weights.pth", tmp_path / "was here"
    torch.save({"body": Intruder(witness)}, path)
    with pytest.raises(RequestError, match="more than weights"):
        prepare(str(path), tmp_path)
    path.write_bytes(pickle.dumps(Intruder(witness)))
    with pytest.raises(RequestError):
        prepare(str(path), tmp_path)
    assert not witness.exists()


@pytest.mark.parametrize("write", [partial(Path.write_bytes, data=b"PK\x03\x04 and then nothing"), Path.mkdir])
def test_what_is_no_file_of_weights_is_one_line(tmp_path: Path, write: Callable[[Path], object]) -> None:
    write(tmp_path / "weights.pth")
    with pytest.raises(RequestError) as caught:
        prepare(str(tmp_path / "weights.pth"), tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(RequestError, match="no such file"):
        prepare(str(tmp_path / "nowhere.pth"), tmp_path)


def test_a_tensor_alone_is_no_state_dict(tmp_path: Path) -> None:
    torch.save(torch.zeros(3), tmp_path / "weights.pth")
    with pytest.raises(RequestError, match="state_dict"):
        prepare(str(tmp_path / "weights.pth"), tmp_path)


def test_published_weights_are_downloaded_once_and_checked(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "small.pth").write_bytes(trained.read_bytes())
    with fakes.server(tmp_path / "served") as served:
        weights = published(trained, f"{served.url}small.pth")
        first = prepare(None, tmp_path / "data", weights)
        assert first == tmp_path / "data" / "weights" / weights.file
        assert first.read_bytes() == trained.read_bytes()
        assert prepare(None, tmp_path / "data", weights) == first
    assert served.requests == ["/small.pth"]


def test_weights_that_arrive_or_lie_damaged_are_refused(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "small.pth").write_bytes(trained.read_bytes()[:-1] + b"?")
    with fakes.server(tmp_path / "served") as served:
        weights = published(trained, f"{served.url}small.pth")
        with pytest.raises(RequestError, match="SHA-256"):
            prepare(None, tmp_path / "data", weights)
    path = tmp_path / "data" / "weights" / weights.file
    assert not path.exists()
    path.write_bytes(b"something else")
    with pytest.raises(RequestError, match=r"SHA-256 .* remove it"):
        prepare(None, tmp_path / "data", weights)


def test_without_a_network_it_says_what_to_do(tmp_path: Path) -> None:
    weights = Weights(f"{fakes.refused_url()}small.pth", "0" * 64)
    with pytest.raises(RequestError, match=r"download failed: .*--weights FILE or --weights random") as caught:
        prepare(None, tmp_path, weights)
    assert "\n" not in str(caught.value)
