"""Training as the project's documents write it, against training as this suite does it, on the same CPU.

Their way: torchvision's transforms image by image, a `DataLoader` with two workers, batches of 128, contiguous fp32.
Both take turns, in random order within a pair; the ratio of each pair counts.

Run with `python -m pytest -m perf tests/perf/test_training_speed.py -s`; takes about five minutes on two quiet cores.
"""

import itertools
import math
import multiprocessing
import random
import statistics
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from bench.config import Execution
from bench.data import synthetic
from bench.data.batches import Preparation, Split, TrainingBatches
from bench.data.image_set import ImageSet
from bench.device.accelerator import OF_HOST
from bench.device.execution import for_training, memory_format
from bench.engines.isolation import keep_freed_memory
from bench.models import REGISTRY
from bench.stats import mean_interval
from bench.training.recipes import recipe_for
from bench.training.step import TrainingStep, make_optimizer

pytestmark = pytest.mark.perf

CPU = torch.device("cpu")
BATCH = 128
WORKERS = 2
READY = 2 * WORKERS  # batches that the workers keep in store: taken before the clock starts
OURS = Execution(memory_format="channels_last")  # what a run takes on a CPU
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
SHARE_OF_STEP = 0.03  # that making a batch may take

Turn = Callable[[int], float]  # so many steps, in seconds


class Pictures(Dataset[tuple[Tensor, int]]):
    """What torchvision's CIFAR10 does with its arrays: one image at a time, through Pillow."""

    def __init__(self, split: Split) -> None:
        from torchvision import transforms

        self._pixels = split.images.permute(0, 2, 3, 1).contiguous().numpy()
        self._labels = split.labels.tolist()
        self._transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        return self._transform(Image.fromarray(self._pixels[index])), self._labels[index]


def synthetic_split() -> Split:
    decoded = synthetic.source("cifar").decode()
    return Split(torch.from_numpy(decoded.train.images), torch.from_numpy(decoded.train.labels))


@pytest.fixture(scope="module")
def split() -> Split:
    return synthetic_split()


def their_batches(split: Split) -> Iterator[tuple[Tensor, Tensor]]:
    loader: DataLoader[Any] = DataLoader(
        Pictures(split), BATCH, shuffle=True, num_workers=WORKERS, drop_last=True, persistent_workers=True
    )
    while True:
        yield from loader


def our_batches(split: Split) -> TrainingBatches:
    image_set = ImageSet("", "", "", synthetic.CLASSES, (3, 32, 32), 1, 1, MEAN, STD, "")
    generator = torch.Generator().manual_seed(0)
    prepare = Preparation(image_set, (3, 32, 32), split.images.device, memory_format(OURS))
    return TrainingBatches(split, prepare, BATCH, generator, OF_HOST.prepared_bytes)


def their_training(name: str, split: Split) -> Turn:
    torch.manual_seed(0)
    network = REGISTRY[name].build(num_classes=10).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4)
    criterion = nn.CrossEntropyLoss()
    batches = their_batches(split)

    def turn(steps: int) -> float:
        start = math.nan
        for number, (images, labels) in enumerate(itertools.islice(batches, READY + steps)):
            if number == READY:
                start = time.perf_counter()
            optimizer.zero_grad()
            loss = criterion(network(images), labels)
            loss.backward()
            optimizer.step()
            loss.item()
        return time.perf_counter() - start

    return turn


class Worker:
    """Ours in a process of its own that is set up as a run sets up its workers; it sleeps while it is not its turn."""

    def __init__(self, name: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        context.Process(target=_serve, args=(name, theirs), daemon=True).start()

    def __call__(self, steps: int) -> float:
        self._connection.send(steps)
        seconds: float = self._connection.recv()
        return seconds


def _serve(name: str, connection: Connection) -> None:
    keep_freed_memory()
    step = training_step_of(name)
    batches = our_batches(synthetic_split())
    while True:
        steps = connection.recv()
        step(*next(batches))
        start = time.perf_counter()
        for images, labels in itertools.islice(batches, steps):
            step(images, labels)
        connection.send(time.perf_counter() - start)


def training_step_of(name: str) -> TrainingStep:
    torch.manual_seed(0)
    spec = REGISTRY[name]
    network = for_training(spec.build(num_classes=10), OURS, CPU)
    recipe = recipe_for(spec.family)
    return TrainingStep(network, make_optimizer(recipe, network.parameters(), 1e-3), recipe, OURS, 10)


def ratios(theirs: Turn, ours: Turn, steps: tuple[int, int], pairs: int) -> list[float]:
    """Their seconds per step over ours, pair by pair."""
    found = []
    theirs(1)
    ours(1)
    for pair in range(pairs):
        seconds = {}
        for who in random.Random(pair).sample(("theirs", "ours"), 2):
            time.sleep(1)  # until the workers have filled their store and rest
            turn, count = (theirs, steps[0]) if who == "theirs" else (ours, steps[1])
            seconds[who] = turn(count) / count
        found.append(seconds["theirs"] / seconds["ours"])
    return found


def told(what: str, found: list[float], capsys: pytest.CaptureFixture[str]) -> float:
    """Print the geometric mean with its interval; returns the mean."""
    logarithms = [math.log(ratio) for ratio in found]
    mean, (low, high) = statistics.fmean(logarithms), mean_interval(logarithms)
    with capsys.disabled():
        print(f"\n{what}: {math.exp(mean):.2f}x, 95 % {math.exp(low):.2f} to {math.exp(high):.2f}, {len(found)} pairs")
    return math.exp(mean)


@pytest.mark.parametrize(
    ("name", "at_least", "steps", "pairs"),
    [("lenet5_cifar", 3.0, 20, 10), ("resnet20_cifar", 1.2, 6, 8), ("resnet18_cifar", 1.0, 2, 6)],
)
def test_training_is_faster_than_the_documents(
    name: str, at_least: float, steps: int, pairs: int, split: Split, capsys: pytest.CaptureFixture[str]
) -> None:
    found = ratios(their_training(name, split), Worker(name), (steps, steps), pairs)
    assert told(f"{name}: images/s of ours over theirs", found, capsys) >= at_least


def test_the_input_pipeline_is_faster_than_the_documents(split: Split, capsys: pytest.CaptureFixture[str]) -> None:
    def making(batches: Iterator[tuple[Tensor, Tensor]], ready: int) -> Turn:
        def turn(count: int) -> float:
            for _ in itertools.islice(batches, ready):
                pass
            start = time.perf_counter()
            for _ in itertools.islice(batches, count):
                pass
            return time.perf_counter() - start

        return turn

    found = ratios(making(their_batches(split), READY), making(our_batches(split), 1), (20, 200), pairs=8)
    assert told("input pipeline: batches/s of ours over theirs", found, capsys) >= 5


@pytest.mark.parametrize(
    "name", ["lenet5_cifar", "alexnet_cifar", "resnet20_cifar", "squeezenet_cifar", "vgg11_bn_cifar"]
)
def test_making_batches_is_a_small_share_of_a_step(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Making a batch costs every network the same, so the cheapest networks of the suite are here."""
    with multiprocessing.get_context("spawn").Pool(1) as worker:
        share = worker.apply(share_of_making, (name,))
    with capsys.disabled():
        print(f"\n{name}: making a batch takes {share:.2%} of a training step")
    assert share < SHARE_OF_STEP


def share_of_making(name: str) -> float:
    """Of the time of a training step, in a process that is set up as a worker."""
    keep_freed_memory()
    batches, step = our_batches(synthetic_split()), training_step_of(name)
    images, labels = next(batches)
    step(images, labels)
    shares = []
    for _ in range(9):
        start = time.perf_counter()
        for _ in itertools.islice(batches, 200):
            pass
        making = (time.perf_counter() - start) / 200
        start = time.perf_counter()
        for _ in range(4):
            step(images, labels)
        shares.append(making / ((time.perf_counter() - start) / 4))
    return statistics.median(shares)
