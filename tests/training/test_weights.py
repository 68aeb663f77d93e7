"""Weights to start from are those of the file; a training that is broken off and goes on ends as one that was not."""

import hashlib
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.config import Budget, Execution, RequestError
from bench.device.execution import for_training
from bench.records import run_folder
from bench.training.experiments import Weights
from bench.training.loop import Trained, Trainee
from bench.training.recipes import Recipe
from bench.training.schedule import CurveRecorder
from bench.training.step import TrainingStep
from bench.training.weights import Checkpoint, checkpoint_path, initial_weights, load_weights
from tests.data import fakes
from tests.own_network import own_spec
from tests.training.toy import CPU, drawing, images, network


class Small(nn.Module):
    """A body and a last layer, as torchvision's ResNet has `fc`."""

    def __init__(self, num_classes: int, width: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width))
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(x).mean((2, 3)))


SPEC = own_spec(Small, (3, 32, 32))


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


SGD = Recipe("sgd", 0.1, 1e-4, 16, "a test", nesterov=True)
ADAM = Recipe("adam", 1e-2, 0.0, 16, "a test", clip_norm=1.0)
ADAMW = Recipe("adamw", 1e-2, 0.05, 16, "a test", label_smoothing=0.1)
EXECUTION = Execution(memory_format="channels_last")


class Killed(Exception):
    """In place of a signal."""


def checkpoint(tmp_path: Path, **identity: Any) -> Checkpoint:
    return Checkpoint(tmp_path / "checkpoints" / "toy.pt", {"recipe": "a", **identity}, every_s=0)


def run(
    recipe: Recipe, budget: str, keep: Checkpoint | None = None, seed: int = 3, device: torch.device = CPU
) -> tuple[nn.Module, Trained]:
    network = for_training(drawing(seed), EXECUTION, device)
    return network, Trainee(network, recipe, images(device), 24, EXECUTION).train(Budget.parse(budget), 1e3, seed, keep)


def broken_off(monkeypatch: pytest.MonkeyPatch, recipe: Recipe, budget: str, keep: Checkpoint, after: int) -> None:
    """Train until the given step, which never ends."""
    step, taken = TrainingStep.__call__, 0

    def dies(self: TrainingStep, x: Tensor, labels: Tensor) -> Tensor:
        nonlocal taken
        taken += 1
        if taken > after:
            raise Killed
        return step(self, x, labels)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingStep, "__call__", dies)
        with pytest.raises(Killed):
            run(recipe, budget, keep)


def weights(network: nn.Module) -> list[Tensor]:
    return list(network.state_dict().values())


@pytest.mark.parametrize(
    ("recipe", "budget", "after"),
    [
        (SGD, "6ep", 9),
        (SGD, "0.4kimg", 12),
        (ADAM, "0.4kimg", 3),
        (ADAMW, "0.0000000012pflop", 14),  # 400 images
    ],
    ids=lambda value: getattr(value, "optimizer", value),
)
def test_it_ends_as_if_nothing_had_happened(
    recipe: Recipe, budget: str, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, expected = run(recipe, budget)
    broken_off(monkeypatch, recipe, budget, checkpoint(tmp_path), after)
    keep = checkpoint(tmp_path)
    resumed, outcome = run(recipe, budget, keep)
    assert outcome.resumed_at is not None
    assert 0 < outcome.resumed_at < outcome.spent.images
    assert all(map(torch.equal, weights(whole), weights(resumed)))
    assert outcome.top1 == expected.top1
    assert outcome.final_loss == expected.final_loss
    assert [(p.images, p.train_loss, p.test_top1) for p in outcome.curve] == [
        (p.images, p.train_loss, p.test_top1) for p in expected.curve
    ]
    assert keep.note == ""


def test_the_seconds_before_the_interruption_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken_off(monkeypatch, SGD, "1s", checkpoint(tmp_path), after=8)
    state = checkpoint(tmp_path).load()
    assert state is not None
    _, outcome = run(SGD, "1s", checkpoint(tmp_path))
    assert state["meter"]["seconds"] > 0
    assert outcome.spent.seconds == pytest.approx(1, abs=0.3)
    assert outcome.spent.images > state["meter"]["images"]


@pytest.mark.parametrize("damage", ["cut", "bit", "empty"])
def test_a_damaged_checkpoint_is_said_and_not_used(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_off(monkeypatch, SGD, "6ep", checkpoint(tmp_path), after=9)
    path = tmp_path / "checkpoints" / "toy.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes({"cut": bytes(content[: len(content) // 2]), "bit": bytes(content), "empty": b""}[damage])
    keep = checkpoint(tmp_path)
    _, outcome = run(SGD, "6ep", keep)
    assert outcome.resumed_at is None
    assert keep.note == "its checkpoint is damaged: trained from the start"


def test_a_checkpoint_of_another_training_is_said_and_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken_off(monkeypatch, SGD, "6ep", checkpoint(tmp_path), after=9)
    other = checkpoint(tmp_path, recipe="b")
    assert other.load() is None
    assert other.note == "its checkpoint is of another training: trained from the start"


def test_nothing_but_tensors_and_plain_values_is_read(tmp_path: Path) -> None:
    """A file that asks for code to be run is refused, even with the right digest."""
    keep = checkpoint(tmp_path)
    keep.write({"function": print})
    with pytest.raises(Exception, match="Weights only load failed"):
        keep.load()


def test_it_is_written_no_more_often_than_asked(tmp_path: Path) -> None:
    now = 100.0
    keep = Checkpoint(tmp_path / "a.pt", {}, every_s=30, clock=lambda: now)
    now = 129.0
    assert not keep.due()
    now = 130.0
    assert keep.due()
    keep.write({})
    assert not keep.due()


def test_a_disk_that_cannot_be_written_does_not_end_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_folder.os, "fsync", full)
    keep = checkpoint(tmp_path)
    _, outcome = run(SGD, "2ep", keep)
    assert outcome.spent.epochs == pytest.approx(2, abs=0.4)
    assert keep.note == "no checkpoint could be written (No space left on device)"
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_any_name_of_a_network_is_a_file_in_the_folder(tmp_path: Path) -> None:
    path = checkpoint_path(tmp_path, "../timm:a/b", 2, "10ep")
    assert path.parent == tmp_path
    assert path.name.endswith("-seed2-10ep.pt")


@pytest.mark.gpu
@pytest.mark.parametrize("graphs", [None, False])
def test_it_goes_on_on_a_gpu(graphs: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a graph, everything must be put back where the graph looks for it."""
    device = torch.device("cuda:0")
    execution = Execution("bf16", "channels_last", cuda_graphs=graphs)

    def trained(keep: Checkpoint | None) -> Trained:
        net = for_training(network(3), execution, device)
        return Trainee(net, SGD, images(device), 16, execution).train(Budget.parse("12ep"), 1e3, 3, keep)

    whole = trained(None)
    note, count = CurveRecorder.note, 0

    def dies(self: CurveRecorder, loss: Tensor, fraction: float, batch_size: int) -> bool:
        nonlocal count
        count += 1
        if count > 20:
            raise Killed
        return note(self, loss, fraction, batch_size)

    with monkeypatch.context() as patch:
        patch.setattr(CurveRecorder, "note", dies)
        with pytest.raises(Killed):
            trained(checkpoint(tmp_path))
    resumed = trained(checkpoint(tmp_path))
    assert resumed.resumed_at is not None
    assert resumed.warm_up.cuda_graphs == (graphs is None)
    assert resumed.final_loss == pytest.approx(whole.final_loss, rel=0.05, abs=0.01)
