"""A folder of one's own: which files are images, what becomes of the others, and what pixels are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from bench.config import RequestError
from bench.data import ImageSet, official
from tests.data import fakes


def write_class_folders(folder: Path) -> None:
    for split, count in (("train", 3), ("test", 2)):
        for label, name in enumerate(("cat", "dog")):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                image = np.full((3, 50, 70), 60 + 90 * label + i, np.uint8)
                (folder / split / name / f"{i}.png").write_bytes(fakes.encoded(image))


def test_class_folders_become_images_of_the_track(disk: fakes.Disk, tmp_path: Path) -> None:
    write_class_folders(tmp_path / "pets")
    (tmp_path / "pets" / "train" / ".hidden").mkdir()
    (tmp_path / "pets" / "train" / "cat" / "notes.txt").write_text("not an image")
    colour, grey = disk.prepare(f"{tmp_path}/pets", "cifar"), disk.prepare(f"{tmp_path}/pets", "mnist")
    assert (colour.name, colour.classes, colour.shape) == ("folder-pets", ("cat", "dog"), (3, 32, 32))
    assert (grey.shape, grey.train_count, grey.test_count) == ((1, 28, 28), 6, 4)
    assert "resized to 32x32 (bilinear" in colour.source
    assert "converted to grey" in grey.source
    for image_set in (colour, grey):
        images = np.load(Path(image_set.folder) / "train_images.npy")
        assert images[:, 0, 0, 0].tolist() == [60, 61, 62, 150, 151, 152]
        assert np.load(Path(image_set.folder) / "train_labels.npy").tolist() == [0, 0, 0, 1, 1, 1]


def test_a_changed_folder_is_read_again(disk: fakes.Disk, tmp_path: Path) -> None:
    write_class_folders(tmp_path / "pets")
    before = disk.prepare(f"{tmp_path}/pets")
    (tmp_path / "pets" / "test" / "dog" / "new.jpg").write_bytes(
        fakes.encoded(fakes.random_images(1, (3, 20, 20))[0], "JPEG")
    )
    after = disk.prepare(f"{tmp_path}/pets")
    assert (before.test_count, after.test_count) == (4, 5)


def test_a_folder_without_the_layout_is_an_error_that_states_it(disk: fakes.Disk, tmp_path: Path) -> None:
    pets = tmp_path / "pets"
    pets.mkdir()
    expected = r"expected train/<class>/ and test/<class>/ with images \(\.png"
    with pytest.raises(RequestError, match=rf"no readable folder train/: {expected}"):
        disk.prepare(str(pets))
    write_class_folders(pets)
    (pets / "train" / "bird").mkdir()
    with pytest.raises(RequestError, match=rf"no images in train/bird/ \(it is empty\): {expected}"):
        disk.prepare(str(pets))
    (pets / "train" / "bird" / "0.png").write_bytes(b"not a PNG")
    with pytest.raises(RequestError, match="same class folders; only one has bird"):
        disk.prepare(str(pets))
    (pets / "test" / "bird").mkdir()
    (pets / "test" / "bird" / "0.png").write_bytes(b"not a PNG")
    with pytest.raises(RequestError, match=r"train/bird/0\.png cannot be decoded"):
        disk.prepare(str(pets))


Save = Callable[[Path, fakes.Pixels], object]  # (path without a suffix, image (C, H, W))


def write_noise(folder: Path, save: Save, classes: int = 2, channels: int = 3) -> fakes.Pixels:
    """Three training images and one test image of each class, 32x32; returns the training images, class by class."""
    made: list[fakes.Pixels] = []
    for split, count in (("train", 3), ("test", 1)):
        for label in range(classes):
            (folder / split / f"class{label}").mkdir(parents=True)
            images = fakes.random_images(count, (channels, 32, 32), seed=10 * label + count)
            made.extend(images if split == "train" else [])
            for number, image in enumerate(images):
                save(folder / split / f"class{label}" / f"{number:03}", image)
    return np.stack(made)


def png(path: Path, image: fakes.Pixels) -> None:
    path.with_suffix(".png").write_bytes(fakes.encoded(image))


def training_images(image_set: ImageSet) -> fakes.Pixels:
    images: fakes.Pixels = np.load(Path(image_set.folder) / "train_images.npy")
    return images


def deep(suffix: str, byte_order: str) -> Save:
    """16-bit grey, where 0 to 255 become 0 to 65,535."""

    def save(path: Path, image: fakes.Pixels) -> None:
        pixels = (image[0].astype(np.uint16) * 257).astype(f"{byte_order}u2")
        Image.fromarray(pixels).save(path.with_suffix(suffix))

    return save


@pytest.mark.parametrize(("suffix", "byte_order"), [(".png", "<"), (".tif", "<"), (".tiff", ">")])
def test_16_bits_are_scaled_to_8(disk: fakes.Disk, tmp_path: Path, suffix: str, byte_order: str) -> None:
    grey = write_noise(tmp_path / "deep", deep(suffix, byte_order), channels=1)
    found = training_images(disk.prepare(f"{tmp_path}/deep"))
    np.testing.assert_array_equal(found, np.repeat(grey, 3, axis=1))


def test_12_bits_of_a_tiff_are_scaled_to_8(disk: fakes.Disk, tmp_path: Path) -> None:
    """Two bytes hold 4,096 levels: scaled as if they were 65,536, every image would be black."""

    def save(path: Path, image: fakes.Pixels) -> None:
        packed = np.unpackbits(image[0].astype(">u2").view(np.uint8).reshape(-1, 2), axis=1)[:, 4:]
        packed = np.roll(packed, -4, axis=1)  # 16 times as much
        tags = [(256, 32), (257, 32), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 32), (279, 1536)]
        data = np.packbits(packed).tobytes()
        directory = len(tags).to_bytes(2, "little")
        for tag, value in tags:
            directory += b"".join(n.to_bytes(size, "little") for n, size in ((tag, 2), (4, 2), (1, 4), (value, 4)))
        start = (8 + len(data)).to_bytes(4, "little")
        path.with_suffix(".tif").write_bytes(b"II*\0" + start + data + directory + bytes(4))

    grey = write_noise(tmp_path / "deep", save, channels=1)
    np.testing.assert_array_equal(training_images(disk.prepare(f"{tmp_path}/deep")), np.repeat(grey, 3, axis=1))


def test_pixels_without_a_range_are_refused(disk: fakes.Disk, tmp_path: Path) -> None:
    def save(path: Path, image: fakes.Pixels) -> None:
        Image.fromarray(image[0].astype(np.float32)).save(path.with_suffix(".tif"))

    write_noise(tmp_path / "floats", save)
    with pytest.raises(RequestError, match=r"class0/000\.tif cannot be decoded: .*save it with 8 or 16 bits"):
        disk.prepare(f"{tmp_path}/floats")


def test_webp_is_read_beside_png(disk: fakes.Disk, tmp_path: Path) -> None:
    def save(path: Path, image: fakes.Pixels) -> None:
        if int(path.name) % 2:
            Image.fromarray(image.transpose(1, 2, 0)).save(path.with_suffix(".webp"), lossless=True)
        else:
            png(path, image)

    images = write_noise(tmp_path / "mixed", save)
    np.testing.assert_array_equal(training_images(disk.prepare(f"{tmp_path}/mixed")), images)
    assert not any("skipped" in line for line in disk.said)


def test_what_is_no_image_is_skipped_counted_and_said(disk: fakes.Disk, tmp_path: Path) -> None:
    folder = tmp_path / "mac"
    images = write_noise(folder, png)
    for path in [*folder.rglob("*.png")]:
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(80))
    for name in ("train/.DS_Store", "train/class0/.DS_Store", "test/class1/Thumbs.db", "train/class1/notes.txt"):
        (folder / name).write_bytes(b"no image")
    (folder / "train" / ".ipynb_checkpoints").mkdir()
    (folder / "train" / "class0" / ".hidden").mkdir()
    (folder / "train" / "class0" / ".hidden" / "7.png").write_bytes(b"no image")
    image_set = disk.prepare(str(folder))
    np.testing.assert_array_equal(training_images(image_set), images)
    told = (
        "skipped 1 of other kinds (train/class1/notes.txt) and 13 hidden or left over by a file manager "
        "(test/class0/._000.png, test/class1/._000.png, test/class1/Thumbs.db, ...)"
    )
    assert image_set.source.endswith(f"; {told}")
    assert f"{folder}: {told}" in disk.said
    before = len(disk.said)
    disk.prepare(str(folder))  # from the cache
    assert disk.said[before:] == [f"{folder}: {told}"]


def test_a_photograph_is_turned_as_its_camera_noted(disk: fakes.Disk, tmp_path: Path) -> None:
    def save(path: Path, image: fakes.Pixels) -> None:
        turned = Image.Exif()
        turned[0x0112] = 6  # the top is on the right
        Image.fromarray(np.rot90(image.transpose(1, 2, 0)).copy()).save(path.with_suffix(".png"), exif=turned)

    images = write_noise(tmp_path / "phone", save)
    np.testing.assert_array_equal(training_images(disk.prepare(f"{tmp_path}/phone")), images)


def test_portable_pixmaps_are_read(disk: fakes.Disk, tmp_path: Path) -> None:
    def save(path: Path, image: fakes.Pixels) -> None:
        Image.fromarray(image.transpose(1, 2, 0)).save(path.with_suffix(".ppm"))

    images = write_noise(tmp_path / "signs", save)
    np.testing.assert_array_equal(training_images(disk.prepare(f"{tmp_path}/signs")), images)


def test_folders_that_are_not_read_are_said(disk: fakes.Disk, tmp_path: Path) -> None:
    folder = tmp_path / "pets"
    write_noise(folder, png)
    (folder / "val").mkdir()
    (folder / "train" / "class0" / "back").symlink_to(folder / "train")
    assert disk.prepare(str(folder)).source.endswith("; skipped 2 of other kinds (train/class0/back, val)")
    (folder / "test").rename(folder / "valid")
    with pytest.raises(RequestError, match=r"no readable folder test/ but train/, val/, valid/: expected train/"):
        disk.prepare(str(folder))


def test_only_leftovers_are_no_images(disk: fakes.Disk, tmp_path: Path) -> None:
    write_noise(tmp_path / "mac", lambda path, image: path.with_name(f"._{path.name}.png").write_bytes(b"no image"))
    with pytest.raises(RequestError, match=r"no images in train/class0/ \(skipped 6 hidden or left over .*\._000\.png"):
        disk.prepare(f"{tmp_path}/mac")


def test_folders_within_a_class_are_read_as_torchvision_reads_them(disk: fakes.Disk, tmp_path: Path) -> None:
    def save(path: Path, image: fakes.Pixels) -> None:
        below = path.parent / ("more" if path.name == "001" else "")
        below.mkdir(exist_ok=True)
        png(below / path.name.upper(), image)

    write_noise(tmp_path / "nested", save, classes=12)  # class10 comes before class2
    theirs = ImageFolder(tmp_path / "nested" / "train")
    image_set = disk.prepare(f"{tmp_path}/nested")
    assert list(image_set.classes) == theirs.classes
    labels = np.load(Path(image_set.folder) / "train_labels.npy").tolist()
    assert labels == theirs.targets
    ours = {(label, image.tobytes()) for label, image in zip(labels, training_images(image_set), strict=True)}
    assert ours == {(label, np.asarray(image).transpose(2, 0, 1).tobytes()) for image, label in theirs}


def test_a_folder_a_parquet_file_and_the_archive_of_the_same_images_agree(
    disk: fakes.Disk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    train, test = fakes.write_official_cifar10(disk.data, monkeypatch)
    names = official.CIFAR10.classes
    for split, images in (("train", train), ("test", test)):
        fakes.write_parquet(tmp_path / "hub" / f"{split}.parquet", images, fakes.interleaved(len(images)))
        for number, image in enumerate(images):
            folder = tmp_path / "mine" / split / names[number % 10]
            folder.mkdir(parents=True, exist_ok=True)
            png(folder / f"{number:03}", image)
    archive, mine = disk.prepare("cifar10"), disk.prepare(f"{tmp_path}/mine")
    disk.data = tmp_path / "hub"
    hub = disk.prepare("cifar10")
    fakes.assert_holds(archive, train, test)
    fakes.assert_holds(hub, train, test)
    assert archive.sha256 == hub.sha256
    assert mine.classes == archive.classes
    by_class = np.argsort(fakes.interleaved(20), kind="stable")  # a folder gives its images class by class
    np.testing.assert_array_equal(training_images(mine), train[by_class])
    np.testing.assert_array_equal(np.load(Path(mine.folder) / "train_labels.npy"), fakes.interleaved(20)[by_class])
