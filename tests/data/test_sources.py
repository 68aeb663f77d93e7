"""Where images come from: every place in its turn, damage never passed over, and the reason always stated."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from torchvision import datasets

from bench.config import RequestError
from bench.data import found, official, parquet, tracks_of
from bench.data.image_set import Labelled
from tests.data import fakes

# --- official CIFAR-10 -------------------------------------------------------------------------------------


@pytest.mark.parametrize("below", ["", "cifar10"])
def test_the_official_folder_is_read(disk: fakes.Disk, monkeypatch: pytest.MonkeyPatch, below: str) -> None:
    train, test = fakes.write_official_cifar10(disk.data / below, monkeypatch)
    fakes.write_parquet_pair(disk.data / "cifar10", kind="JPEG")  # a worse copy beside it
    image_set = disk.prepare("auto")
    fakes.assert_holds(image_set, train, test)
    assert (image_set.name, image_set.classes, image_set.mirror_ok) == ("cifar10", official.CIFAR10.classes, True)
    assert image_set.source == f"the official folder {disk.data / below / official.FOLDER}"


@pytest.mark.parametrize("below", ["", "cifar10"])
def test_the_official_archive_is_read_and_nothing_is_left_beside_it(
    disk: fakes.Disk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, below: str
) -> None:
    train, test = fakes.write_cifar10_archive(tmp_path / official.ARCHIVE, monkeypatch)
    (disk.data / below).mkdir(exist_ok=True)
    (tmp_path / official.ARCHIVE).rename(disk.data / below / official.ARCHIVE)
    fakes.assert_holds(disk.prepare("cifar10"), train, test)
    assert [path.name for path in (disk.data / below).iterdir()] == [official.ARCHIVE]


class _Harm:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
def test_a_pickle_with_another_md5_is_never_loaded(
    disk: fakes.Disk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    fakes.write_official_cifar10(disk.data, monkeypatch)
    (disk.data / official.FOLDER / name).write_bytes(pickle.dumps(_Harm(tmp_path / "harm")))
    with pytest.raises(RequestError, match=rf"{name} is damaged .*MD5"):
        disk.prepare("auto")
    assert not (tmp_path / "harm").exists()


def test_a_missing_batch_is_an_error_and_no_reason_to_look_further(
    disk: fakes.Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes.write_official_cifar10(disk.data, monkeypatch)
    fakes.write_parquet_pair(disk.data / "cifar10")
    (disk.data / official.FOLDER / "data_batch_5").unlink()
    with pytest.raises(RequestError, match="data_batch_5 cannot be read: No such file"):
        disk.prepare("auto")


def test_a_damaged_archive_is_an_error_and_no_reason_to_look_further(disk: fakes.Disk) -> None:
    (disk.data / official.ARCHIVE).write_bytes(b"half of it")
    fakes.write_parquet_pair(disk.data / "cifar10")
    with pytest.raises(RequestError, match=rf"{official.ARCHIVE} is damaged .* remove it"):
        disk.prepare("auto")


# --- Parquet -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("below", ["", "cifar10"])
def test_lossless_parquet_is_read_exactly(disk: fakes.Disk, below: str) -> None:
    train, test = fakes.write_parquet_pair(disk.data / below)
    image_set = disk.prepare("cifar10")
    fakes.assert_holds(image_set, train, test)
    assert image_set.name == "cifar10-subset"  # 20 and 10 images are not the official 50,000 and 10,000
    assert image_set.source == (f"the Parquet files in {disk.data / below}; no official CIFAR-10 in {disk.data}")


def test_the_name_tells_jpeg_and_a_subset(disk: fakes.Disk) -> None:
    train, _ = fakes.write_parquet_pair(disk.data / "cifar10", kind="JPEG")
    image_set = disk.prepare("auto")
    assert image_set.name == "cifar10-jpeg-subset"
    decoded = np.load(Path(image_set.folder) / "train_images.npy")
    assert not np.array_equal(decoded, train)
    source = parquet.find(disk.data, replace(official.CIFAR10, counts=(20, 10)))
    assert source is not None
    assert source.decode().name == "cifar10-jpeg"
    whole = (Labelled(np.empty(0, np.uint8), np.empty(count, np.int64)) for count in (50_000, 10_000))
    assert official.CIFAR10.decoded(*whole).name == "cifar10"


def test_parts_are_joined_in_order(disk: fakes.Disk) -> None:
    train, test = fakes.write_parquet_pair(disk.data / "cifar10")
    (disk.data / "cifar10" / "train-00000-of-00001.parquet").unlink()
    for part, rows in enumerate((slice(0, 10), slice(10, 20))):
        path = disk.data / "cifar10" / f"train-0000{part}-of-00002.parquet"
        fakes.write_parquet(path, train[rows], fakes.interleaved(20)[rows])
    fakes.assert_holds(disk.prepare("cifar10"), train, test)
    path.unlink()
    with pytest.raises(RequestError, match="has 1 of the 2 parts"):
        disk.prepare("cifar10")


def test_images_of_another_size_directly_in_the_folder_are_another_data_set(disk: fakes.Disk) -> None:
    train, test = fakes.write_parquet_pair(disk.data, (1, 28, 28))
    assert disk.prepare("auto", "cifar").name == "synthetic"
    fakes.assert_holds(disk.prepare("auto", "mnist"), train, test)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0xFF  # in the images
    path.write_bytes(data)


def _without_labels(path: Path) -> None:
    pq.write_table(pq.read_table(path).drop_columns("label"), path)


def _without_images(path: Path) -> None:
    pq.write_table(pq.read_table(path).rename_columns(["pixels", "label"]), path)


def _labels(values: list[int | None]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        table = pq.read_table(path)
        pq.write_table(table.set_column(1, "label", pa.array(values * (len(table) // len(values)))), path)

    return write


def _larger_images(path: Path) -> None:
    images = fakes.random_images(20, (3, 40, 33))
    images[:2, :, :32, :32] = 0
    fakes.write_parquet(path, images, fakes.interleaved(20))


def _no_images(path: Path) -> None:
    pq.write_table(pq.read_table(path).slice(0, 0), path)


DAMAGE = {
    "truncated": (_truncate, r"train-00000-of-00001\.parquet is damaged or not Parquet"),
    "byte": (_flip_a_byte, r"train-00000-of-00001\.parquet"),
    "labels missing": (_without_labels, r"train-.* has no integer column label; it has img"),
    "images missing": (_without_images, r"train-.* has no column img or image .* it has pixels, label"),
    "label above": (_labels([0, 10]), r"train-.*: labels run from 0 to 10, not from 0 to 9"),
    "label below": (_labels([-1, 5]), r"train-.*: labels run from -1 to 5, not from 0 to 9"),
    "label null": (_labels([3, None]), r"train-.*: an image or a label is missing"),
    "size": (_larger_images, r"train-.*: image \d+ is 33x40 pixels, not 32x32"),
    "empty": (_no_images, r"train-.* holds no images"),
    "split missing": (Path.unlink, r"has no train-\*\.parquet"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_parquet_is_an_error_that_names_the_file(disk: fakes.Disk, kind: str) -> None:
    damage, message = DAMAGE[kind]
    fakes.write_parquet_pair(disk.data / "cifar10")
    damage(disk.data / "cifar10" / "train-00000-of-00001.parquet")
    with pytest.raises(RequestError, match=message) as caught:
        disk.prepare("auto")
    assert "\n" not in str(caught.value)
    assert not any(disk.cache.glob("*"))


def test_an_image_that_cannot_be_decoded_is_named(disk: fakes.Disk) -> None:
    fakes.write_parquet_pair(disk.data / "cifar10")
    path = disk.data / "cifar10" / "test-00000-of-00001.parquet"
    cells = pq.read_table(path).to_pydict()
    cells["img"][7]["bytes"] = cells["img"][7]["bytes"][:60]
    pq.write_table(pa.table(cells), path)
    with pytest.raises(RequestError, match=r"test-00000-of-00001\.parquet: image 7 cannot be decoded"):
        disk.prepare("auto")


# --- MNIST -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compressed", [False, True])
def test_the_official_digits_are_read(disk: fakes.Disk, monkeypatch: pytest.MonkeyPatch, compressed: bool) -> None:
    train, test = fakes.write_official_mnist(disk.data / official.RAW, monkeypatch, compressed)
    monkeypatch.setattr(official, "MNIST", replace(official.MNIST, counts=(20, 10)))
    image_set = disk.prepare("auto", "mnist")
    fakes.assert_holds(image_set, train, test)
    assert (image_set.name, image_set.mirror_ok) == ("mnist", False)
    assert image_set.source == f"the official files in {disk.data / official.RAW}"


def test_a_damaged_digit_file_is_an_error(disk: fakes.Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.write_official_mnist(disk.data / official.RAW, monkeypatch)
    _truncate(disk.data / official.RAW / "train-images-idx3-ubyte")
    with pytest.raises(RequestError, match="train-images-idx3-ubyte is damaged"):
        disk.prepare("auto", "mnist")


def test_a_flipped_bit_in_the_plain_digits_is_found(disk: fakes.Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.write_official_mnist(disk.data / official.RAW, monkeypatch)
    path = disk.data / official.RAW / "t10k-images-idx3-ubyte"
    data = bytearray(path.read_bytes())
    monkeypatch.setitem(official.PLAIN_MD5S, path.name, hashlib.md5(data).hexdigest())
    monkeypatch.setattr(official, "OFFICIAL_BYTES", {len(data)})
    disk.prepare("auto", "mnist")
    data[500] ^= 1
    path.write_bytes(data)
    with pytest.raises(RequestError, match="t10k-images-idx3-ubyte is damaged"):
        disk.prepare("auto", "mnist")


def test_digit_labels_that_do_not_fit_are_an_error(disk: fakes.Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.write_official_mnist(disk.data / official.RAW, monkeypatch)
    path = disk.data / official.RAW / "t10k-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1] + b"\x0a")
    with pytest.raises(RequestError, match="t10k-labels-idx1-ubyte does not fit"):
        disk.prepare("auto", "mnist")


def test_an_interrupted_download_of_digits_is_completed(
    disk: fakes.Disk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    train, test = fakes.write_official_mnist(tmp_path / "served", monkeypatch, compressed=True)
    with fakes.server(tmp_path / "served") as served:
        monkeypatch.setattr(datasets.MNIST, "mirrors", [fakes.refused_url(), served.url])  # the second mirror has it
        (disk.data / official.RAW).mkdir(parents=True)
        first = "train-images-idx3-ubyte.gz"
        (disk.data / official.RAW / first).write_bytes((tmp_path / "served" / first).read_bytes())
        fakes.assert_holds(disk.prepare("auto", "mnist"), train, test)
    assert sorted(served.requests) == sorted(f"/{name}.gz" for name in official.PLAIN_MD5S if f"{name}.gz" != first)


# --- download ----------------------------------------------------------------------------------------------


def test_the_archive_is_downloaded_once(disk: fakes.Disk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    train, test = fakes.write_cifar10_archive(tmp_path / official.ARCHIVE, monkeypatch)
    with fakes.server(tmp_path) as served:
        monkeypatch.setattr(datasets.CIFAR10, "url", served.url + official.ARCHIVE)
        first = disk.prepare("auto")
        assert disk.prepare("auto") == first
    fakes.assert_holds(first, train, test)
    assert first.source == f"the official archive {disk.data / official.ARCHIVE}"
    assert served.requests == [f"/{official.ARCHIVE}"]
    assert disk.said[0].startswith(f"downloading {official.ARCHIVE} from 127.0.0.1")
    assert any(line.startswith(f"downloading {official.ARCHIVE}: 100 % of") for line in disk.said)


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("half", "the connection closed before the end"),
        ("altered", "what 127.0.0.1 sent is damaged"),
        ("silent", "timed out"),
    ],
)
def test_a_failed_download_leaves_nothing_and_is_the_reason_for_synthetic_images(
    disk: fakes.Disk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, behaviour: fakes.Behaviour, reason: str
) -> None:
    fakes.write_cifar10_archive(tmp_path / official.ARCHIVE, monkeypatch)
    monkeypatch.setattr("bench.data.download.TIMEOUT_S", 0.3)
    with fakes.server(tmp_path, behaviour) as served:
        monkeypatch.setattr(datasets.CIFAR10, "url", served.url + official.ARCHIVE)
        image_set = disk.prepare("auto")
        assert image_set.name == "synthetic"
        assert f"no official CIFAR-10 in {disk.data}, nor Parquet files; download failed: " in image_set.source
        assert image_set.source.endswith("; --dataset cifar10 makes this an error")
        assert disk.said[-2].startswith(f"synthetic images in place of CIFAR-10: no official CIFAR-10 in {disk.data}")
        assert reason in image_set.source
        with pytest.raises(RequestError, match=reason):
            disk.prepare("cifar10")
    assert not any(disk.data.iterdir())


def test_a_download_that_breaks_off_is_tried_once_more(
    disk: fakes.Disk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    train, test = fakes.write_cifar10_archive(tmp_path / official.ARCHIVE, monkeypatch)
    with fakes.server(tmp_path, "interrupted") as served:
        monkeypatch.setattr(datasets.CIFAR10, "url", served.url + official.ARCHIVE)
        fakes.assert_holds(disk.prepare("auto"), train, test)
    assert served.requests == [f"/{official.ARCHIVE}"] * 2
    assert any(line.startswith(f"downloading {official.ARCHIVE} once more") for line in disk.said)


def test_a_refused_connection_and_a_missing_file_are_reasons(
    disk: fakes.Disk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "Connection refused" in disk.prepare("auto").source
    with fakes.server(tmp_path) as served:
        monkeypatch.setattr(datasets.CIFAR10, "url", served.url + official.ARCHIVE)
        assert "HTTP status 404" in disk.prepare("auto").source


def test_a_slow_name_lookup_is_given_up(disk: fakes.Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def slow(*args: object, **options: object) -> list[object]:
        release.wait(10)
        return []

    monkeypatch.setattr("bench.data.download.socket.getaddrinfo", slow)
    monkeypatch.setattr("bench.data.download.TIMEOUT_S", 0.05)
    try:
        assert "127.0.0.1: no answer within 0.05 s" in disk.prepare("auto").source
    finally:
        release.set()


def test_an_unwritable_data_folder_matters_only_to_a_named_data_set(disk: fakes.Disk) -> None:
    disk.data.rmdir()
    disk.data.write_text("a file")
    assert "cannot be written" in disk.prepare("auto").source
    with pytest.raises(RequestError, match=r"cannot be written .*--data-dir"):
        disk.prepare("cifar10")


def test_an_unwritable_cache_is_an_error_before_any_work(disk: fakes.Disk) -> None:
    disk.cache.write_text("a file")
    with pytest.raises(RequestError, match=r"cannot be written.*--cache-dir"):
        disk.prepare("synthetic")
    assert not disk.said


def test_synthetic_digits_stand_in_for_mnist(disk: fakes.Disk) -> None:
    image_set = disk.prepare("auto", "mnist")
    assert (image_set.name, image_set.shape) == ("synthetic-mnist", (1, 28, 28))
    assert "no official MNIST" in image_set.source
    assert replace(disk.prepare("synthetic", "mnist"), source="") == replace(image_set, source="")


# --- names -------------------------------------------------------------------------------------------------


def test_tracks_of(tmp_path: Path) -> None:
    assert tracks_of("cifar10") == ("cifar",)
    assert tracks_of("mnist") == ("mnist",)
    assert tracks_of("auto") == tracks_of("synthetic") == tracks_of(str(tmp_path)) == ("cifar", "mnist")


def test_a_wrong_name_is_an_error_with_the_nearest(disk: fakes.Disk) -> None:
    with pytest.raises(RequestError, match=r"'cifar-10'; nearest: cifar10.*any folder with train/<class>/"):
        tracks_of("cifar-10")
    with pytest.raises(RequestError, match="there is no such folder"):
        tracks_of("./nowhere")
    with pytest.raises(RequestError, match="cifar10 has no images for the mnist track"):
        disk.prepare("cifar10", "mnist")
    with pytest.raises(RequestError, match="no images for the imagenet track"):
        disk.prepare("auto", "imagenet")


def test_found_lists_kind_and_path(disk: fakes.Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(disk.data) == []
    assert found(disk.data / "absent") == []
    fakes.write_official_cifar10(disk.data, monkeypatch)
    fakes.write_parquet_pair(disk.data / "cifar10")
    fakes.write_parquet_pair(disk.data / "mnist", (1, 28, 28))
    (disk.data / "mnist" / "test-00000-of-00001.parquet").unlink()
    assert found(disk.data) == [
        f"cifar10: the official folder {disk.data / official.FOLDER}",
        f"cifar10: the Parquet files in {disk.data / 'cifar10'}",
        f"mnist: damaged: {disk.data / 'mnist'} has no test-*.parquet though the other split is there: add it",
    ]
    (disk.data / "cifar10" / "train-00000-of-00001.parquet").unlink()
    assert [line.split("/")[0] for line in found(disk.data)] == [
        "cifar10: the official folder ",
        "cifar10: damaged: ",
        "mnist: damaged: ",
    ]


def test_preparing_images_imports_no_torch(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from bench.data import found, synthetic; "
        "import numpy; synthetic.draw(numpy.arange(2), (1, 28, 28), 0); found(Path()); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
