"""Tiny data sets in every layout that the suite reads, and a server on 127.0.0.1 that sends files well or badly."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import socket
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image
from torchvision import datasets

from bench.config import Track
from bench.data import ImageSet, official, prepare, synthetic

Pixels = NDArray[np.uint8]
Behaviour = Literal["whole", "half", "interrupted", "altered", "silent"]


class Disk:
    """A data folder and a cache of one test, and what was said."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.cache = folder / "cache"
        self.said: list[str] = []
        self.data.mkdir()

    def prepare(self, dataset: str, track: Track = "cifar") -> ImageSet:
        return prepare(dataset, track, self.data, self.cache, self.said.append)


def assert_holds(image_set: ImageSet, train: Pixels, test: Pixels) -> None:
    """The data set holds these images, of classes 0, 1, ... 9, 0, 1, ..."""
    folder = Path(image_set.folder)
    for split, images in (("train", train), ("test", test)):
        np.testing.assert_array_equal(np.load(folder / f"{split}_images.npy"), images)
        np.testing.assert_array_equal(np.load(folder / f"{split}_labels.npy"), interleaved(len(images)))
    assert (image_set.train_count, image_set.test_count) == (len(train), len(test))
    assert image_set.shape == train.shape[1:]


def random_images(count: int, shape: tuple[int, int, int], seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def interleaved(count: int) -> NDArray[np.int64]:
    return np.arange(count, dtype=np.int64) % 10


def encoded(image: Pixels, kind: Literal["PNG", "JPEG"] = "PNG") -> bytes:
    """(C, H, W) -> file contents."""
    pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def write_image_folder(folder: Path, classes: int = 10) -> Path:
    """40 training and 20 test images of noise in folders of classes."""
    for split, count in (("train", 40), ("test", 20)):
        for number, image in enumerate(random_images(count, (3, 32, 32))):
            path = folder / split / f"class{number % classes}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(image))
    return folder


def write_parquet(
    path: Path,
    images: Pixels,
    labels: NDArray[np.int64],
    kind: Literal["PNG", "JPEG"] = "PNG",
    column: str = "img",
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [{"bytes": encoded(image, kind), "path": None} for image in images]
    struct = pa.array(cells, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    pq.write_table(pa.table({column: struct, "label": pa.array(labels)}), path)


def write_parquet_pair(
    folder: Path, shape: tuple[int, int, int] = (3, 32, 32), kind: Literal["PNG", "JPEG"] = "PNG"
) -> tuple[Pixels, Pixels]:
    """20 training and 10 test images."""
    train, test = random_images(20, shape), random_images(10, shape, seed=1)
    write_parquet(folder / "train-00000-of-00001.parquet", train, interleaved(20), kind)
    write_parquet(folder / "test-00000-of-00001.parquet", test, interleaved(10), kind)
    return train, test


class _PickleOf2009(pickle.Pickler):
    """Writes a dtype as the official files do: its flags as integers, which numpy 2.4 deprecates."""

    def reducer_override(self, obj: Any) -> Any:
        return (np.dtype, (obj.str, 0, 1)) if isinstance(obj, np.dtype) else NotImplemented


def write_official_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Pixels, Pixels]:
    """The official folder with 5 x 4 training and 10 test images, and the published checksums made to fit."""
    train, test = random_images(20, (3, 32, 32)), random_images(10, (3, 32, 32), seed=1)
    folder = root / official.FOLDER
    folder.mkdir(parents=True)

    def write(name: str, content: dict[str, Any]) -> list[str]:
        buffer = BytesIO()
        _PickleOf2009(buffer, protocol=2).dump(content)
        (folder / name).write_bytes(buffer.getvalue())
        return [name, hashlib.md5(buffer.getvalue()).hexdigest()]

    def batch(images: Pixels, labels: NDArray[np.int64]) -> dict[str, Any]:
        return {"data": images.reshape(len(images), -1), "labels": labels.tolist()}

    labels = interleaved(20)
    batches = [write(f"data_batch_{i + 1}", batch(train[4 * i :][:4], labels[4 * i :][:4])) for i in range(5)]
    monkeypatch.setattr(datasets.CIFAR10, "train_list", batches)
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [write("test_batch", batch(test, interleaved(10)))])
    name, md5 = write("batches.meta", {"label_names": list(official.CIFAR10.classes)})
    monkeypatch.setattr(datasets.CIFAR10, "meta", {"filename": name, "key": "label_names", "md5": md5})
    return train, test


def write_cifar10_archive(path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Pixels, Pixels]:
    """The same as an archive."""
    made = path.parent / "made"
    train, test = write_official_cifar10(made, monkeypatch)
    with tarfile.open(path, "w:gz") as archive:
        archive.add(made / official.FOLDER, official.FOLDER)
    for file in (made / official.FOLDER).iterdir():
        file.unlink()
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", hashlib.md5(path.read_bytes()).hexdigest())
    return train, test


def write_official_mnist(raw: Path, monkeypatch: pytest.MonkeyPatch, compressed: bool = False) -> tuple[Pixels, Pixels]:
    """20 training and 10 test digits, and the published checksums made to fit."""
    train, test = random_images(20, (1, 28, 28)), random_images(10, (1, 28, 28), seed=1)
    raw.mkdir(parents=True)
    arrays: tuple[NDArray[Any], ...] = (train[:, 0], interleaved(20), test[:, 0], interleaved(10))
    resources = []
    for name, array in zip(official.PLAIN_MD5S, arrays, strict=True):
        header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
        data = header + array.astype(np.uint8).tobytes()
        packed = gzip.compress(data)
        (raw / (f"{name}.gz" if compressed else name)).write_bytes(packed if compressed else data)
        resources.append((f"{name}.gz", hashlib.md5(packed).hexdigest()))
    monkeypatch.setattr(datasets.MNIST, "resources", resources)
    return train, test


def few_synthetic_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "TRAIN_COUNT", 20)
    monkeypatch.setattr(synthetic, "TEST_COUNT", 10)


def refused_url() -> str:
    """An address on which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/"


class Served:
    """What a server was asked for, and the address of its root."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[str] = []


@contextmanager
def server(folder: Path, behaviour: Behaviour = "whole") -> Iterator[Served]:
    """Files of a folder: whole, cut in the middle (once, or whenever asked), with one byte changed, or never sent."""
    release = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.requests.append(self.path)
            path = folder / self.path.lstrip("/")
            if not path.is_file():
                self.send_error(404)
                return
            data = path.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if behaviour == "silent":
                release.wait(10)
            elif behaviour == "half" or (behaviour == "interrupted" and len(served.requests) == 1):
                self.wfile.write(data[: len(data) // 2])
            elif behaviour == "altered":
                self.wfile.write(bytes([data[0] ^ 1]) + data[1:])
            else:
                self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        served = Served(f"http://127.0.0.1:{http.server_address[1]}/")
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield served
        finally:
            release.set()
            http.shutdown()
            thread.join()
