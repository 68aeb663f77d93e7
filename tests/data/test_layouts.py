"""Every layout in which copies of CIFAR-10 and MNIST lie about is found; what is found and not taken is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.config import RequestError, Track
from bench.data import found, official
from tests.data import fakes

HUB = {  # what leaves them so, and {} for "train" or "test"
    "a repository's files": "{}-00000-of-00001.parquet",
    "a snapshot of the repository": "plain_text/{}-00000-of-00001.parquet",
    "the hub's own conversion": "plain_text/{}/0000.parquet",
    "the conversion of a set without configurations": "default/{}/0000.parquet",
    "a set with a data folder": "data/{}-00000-of-00001.parquet",
    "Dataset.to_parquet": "{}.parquet",
}


def write_split_files(folder: Path, pattern: str, shape: tuple[int, int, int]) -> tuple[fakes.Pixels, fakes.Pixels]:
    train, test = fakes.random_images(20, shape), fakes.random_images(10, shape, seed=1)
    for split, images in (("train", train), ("test", test)):
        fakes.write_parquet(folder / pattern.format(split), images, fakes.interleaved(len(images)))
    return train, test


@pytest.mark.parametrize(
    "below", ["", "cifar10", "datasets--uoft-cs--cifar10/snapshots/0b2714987fa478483af9968de7c934580d0bb9a2"]
)
@pytest.mark.parametrize("layout", HUB)
def test_every_layout_of_the_hub_is_found(disk: fakes.Disk, layout: str, below: str) -> None:
    train, test = write_split_files(disk.data / below, HUB[layout], (3, 32, 32))
    hidden = (disk.data / below / HUB[layout].format("train")).with_name("._0000.parquet")
    hidden.write_bytes(b"left over by a file manager")
    fakes.assert_holds(disk.prepare("cifar10"), train, test)
    (line,) = found(disk.data)
    assert line.startswith(f"cifar10: the Parquet files in {disk.data / below}")


@pytest.mark.parametrize("below", ["", "mnist"])
@pytest.mark.parametrize("layout", HUB)
def test_those_of_digits_too(disk: fakes.Disk, layout: str, below: str) -> None:
    train, test = write_split_files(disk.data / below, HUB[layout].replace("plain_text", "mnist"), (1, 28, 28))
    fakes.assert_holds(disk.prepare("mnist", "mnist"), train, test)
    assert disk.prepare("auto", "cifar").name == "synthetic"


def test_several_shards_of_a_conversion_are_joined_and_none_may_lack(disk: fakes.Disk) -> None:
    train, test = write_split_files(disk.data, "plain_text/{}/0001.parquet", (3, 32, 32))
    shards = disk.data / "plain_text"
    (shards / "test" / "0001.parquet").rename(shards / "test" / "0000.parquet")
    with pytest.raises(RequestError, match=r"plain_text/train has no 0000\.parquet: add it"):
        disk.prepare("cifar10")
    first = fakes.random_images(10, (3, 32, 32), seed=2)
    fakes.write_parquet(shards / "train" / "0000.parquet", first, fakes.interleaved(10))
    fakes.assert_holds(disk.prepare("cifar10"), np.concatenate([first, train]), test)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("below", ["", "MNIST/raw", "mnist", "mnist/raw", "mnist/MNIST/raw", "raw"])
def test_the_files_of_digits_are_found_wherever_they_were_unpacked(
    disk: fakes.Disk, monkeypatch: pytest.MonkeyPatch, below: str, compressed: bool
) -> None:
    folder = disk.data / below
    train, test = fakes.write_official_mnist(folder / "new", monkeypatch, compressed)
    for path in (folder / "new").iterdir():
        path.rename(folder / path.name)
    image_set = disk.prepare("mnist", "mnist")
    fakes.assert_holds(image_set, train, test)
    assert image_set.source == f"the official files in {folder}"


@pytest.mark.parametrize(
    ("track", "names", "told"),
    [
        ("cifar", ["cifar-100-python.tar.gz"], "cifar-100-python.tar.gz, not CIFAR-10 (32x32, train and test)"),
        ("cifar", ["a/b/train.arrow", "a/cifar10.zip"], "a/b/train.arrow, a/cifar10.zip, not CIFAR-10 "),
        ("cifar", [f"cifar-10-batches-bin/data_batch_{n}.bin" for n in range(1, 6)], "_2.bin, cifar-10-batches-bin/"),
        (
            "cifar",
            [f"pictures/{n}.png" for n in range(9)],
            "2.png and 6 more (class folders: --dataset FOLDER), ",
        ),
        ("cifar", ["cifar10/train/cat/1.png"], "cifar10/train/cat/1.png (class folders: --dataset FOLDER), "),
        ("mnist", ["mnist.npz", "cifar-10-python.tar"], "MNIST; mnist.npz, not MNIST (28x28, train and test)"),
    ],
)
def test_synthetic_images_come_with_the_files_that_were_not_taken(
    disk: fakes.Disk, track: Track, names: list[str], told: str
) -> None:
    for name in (*names, ".DS_Store", "._x.png", "weights/resnet18.pth"):
        (disk.data / name).parent.mkdir(parents=True, exist_ok=True)
        (disk.data / name).write_bytes(b"")
    source = disk.prepare("auto", track).source
    assert told.replace("MNIST; ", "") in source
    assert "in a layout that is read; download failed: " in source
    assert "._x" not in source
    assert any("synthetic images in place of " in line and "makes this an error" in line for line in disk.said)
    name = official.MNIST.name if track == "mnist" else official.CIFAR10.name
    with pytest.raises(RequestError, match="in a layout that is read; download failed"):
        disk.prepare(name, track)


@pytest.mark.parametrize("name", ["train.parquet", "data/test.parquet"])
def test_parquet_files_of_something_else_are_named_and_not_taken(disk: fakes.Disk, name: str) -> None:
    (disk.data / "data").mkdir()
    pq.write_table(pa.table({"price": [1.5, 2.0]}), disk.data / name)
    assert f"{name}, not CIFAR-10" in disk.prepare("auto").source
    with pytest.raises(RequestError, match=f"{name}, not CIFAR-10"):
        disk.prepare("cifar10")
    (disk.data / "cifar10").mkdir()  # but this folder says what it holds
    (disk.data / name).rename(disk.data / "cifar10" / "train.parquet")
    pq.write_table(pa.table({"price": [1.5]}), disk.data / "cifar10" / "test.parquet")
    with pytest.raises(RequestError, match=r"train\.parquet has no column img or image .*; it has price"):
        disk.prepare("auto")
