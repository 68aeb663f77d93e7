"""Decoded once, read back exactly, and decoded again after any damage."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.config import RequestError
from bench.data import ImageSet, cache
from bench.data.image_set import Decoded, Labelled, Source, file_identity
from tests.data import fakes


class Counted:
    """A source that counts how often it is decoded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.decoded = 0
        self.said: list[str] = []
        self.images = fakes.random_images(20, (3, 8, 6))
        self.source = Source("a test", ("one",), self.decode)

    def decode(self) -> Decoded:
        self.decoded += 1
        labels = fakes.interleaved(20)
        return Decoded("test", ("a", "b"), False, Labelled(self.images, labels), Labelled(self.images[:4], labels[:4]))

    def load(self) -> ImageSet:
        return cache.load_or_decode(self.source, self.folder, self.said.append)


@pytest.fixture
def counted(tmp_path: Path) -> Counted:
    return Counted(tmp_path / "deep" / "cache")


def test_a_second_load_reads_the_same_from_the_cache(counted: Counted) -> None:
    first, second = counted.load(), counted.load()
    assert first == second
    assert counted.decoded == 1
    assert (first.name, first.classes, first.shape, first.mirror_ok) == ("test", ("a", "b"), (3, 8, 6), False)
    assert (first.train_count, first.test_count, first.source) == (20, 4, "a test")
    np.testing.assert_array_equal(np.load(Path(first.folder) / "train_images.npy"), counted.images)
    assert [path.name for path in counted.folder.iterdir()] == [Path(first.folder).name]


def test_mean_and_std_are_those_of_the_training_pixels(counted: Counted) -> None:
    image_set = counted.load()
    scaled = counted.images / 255
    np.testing.assert_allclose(image_set.mean, scaled.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(image_set.std, scaled.std((0, 2, 3)), rtol=1e-12)


def test_a_channel_of_one_value_is_not_divided_by_zero(counted: Counted) -> None:
    counted.images[:, 1] = 51
    assert counted.load().std[1] == 1.0


def test_the_sum_tells_arrays_apart_and_not_their_place(counted: Counted, tmp_path: Path) -> None:
    original = counted.load().sha256
    assert replace(counted.load()).sha256 == original
    counted.folder = tmp_path / "elsewhere"
    assert counted.load().sha256 == original
    counted.source = replace(counted.source, identity=("two",))
    counted.images[3, 0, 0, 0] ^= 1
    assert counted.load().sha256 != original


def test_another_identity_or_format_is_another_entry(counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {counted.load().folder}
    counted.source = replace(counted.source, identity=("two",))
    folders.add(counted.load().folder)
    monkeypatch.setattr(cache, "FORMAT", cache.FORMAT + 1)
    folders.add(counted.load().folder)
    assert len(folders) == counted.decoded == 3


def _flip_a_bit(entry: Path) -> None:
    path = entry / "train_images.npy"
    data = bytearray(path.read_bytes())
    data[-1000] ^= 4
    path.write_bytes(data)


def _truncate(entry: Path) -> None:
    path = entry / "test_labels.npy"
    path.write_bytes(path.read_bytes()[:-8])


def _lose(name: str) -> object:
    return lambda entry: (entry / name).unlink()


def _empty_header(entry: Path) -> None:
    (entry / "image_set.json").write_text("")


def _lacking_header(entry: Path) -> None:
    path = entry / "image_set.json"
    header = json.loads(path.read_text())
    del header["mean"]
    path.write_text(json.dumps(header))


def _header_of_another_kind(entry: Path) -> None:
    (entry / "image_set.json").write_text("[1, 2]")


@pytest.mark.parametrize(
    "damage",
    [
        _flip_a_bit,
        _truncate,
        _lose("image_set.json"),
        _lose("train_labels.npy"),
        _empty_header,
        _lacking_header,
        _header_of_another_kind,
    ],
)
def test_a_damaged_entry_is_decoded_again_and_said(counted: Counted, damage: object) -> None:
    first = counted.load()
    assert callable(damage)
    damage(Path(first.folder))
    assert counted.load() == first
    assert counted.decoded == 2
    assert any("are damaged" in line for line in counted.said)
    assert counted.load() == first
    assert counted.decoded == 2
    assert [path.name for path in counted.folder.iterdir()] == [Path(first.folder).name]


def test_a_bit_that_flips_while_a_run_goes_on_is_not_trained_on(counted: Counted) -> None:
    image_set = counted.load()
    np.testing.assert_array_equal(cache.read_array(image_set, "train_images"), counted.images)
    _flip_a_bit(Path(image_set.folder))
    with pytest.raises(cache.DamagedImages, match=r"train_images\.npy has changed since the run began"):
        cache.read_array(image_set, "train_images")
    (Path(image_set.folder) / "train_labels.npy").unlink()
    with pytest.raises(cache.DamagedImages, match=r"train_labels\.npy cannot be read"):
        cache.read_array(image_set, "train_labels")


def test_a_data_set_of_another_machine_is_fetched_once(counted: Counted, tmp_path: Path) -> None:
    there = counted.load()
    fetched: list[str] = []

    def fetch(name: str) -> NDArray[np.generic]:
        fetched.append(name)
        return cache.read_array(there, name)

    assert cache.install(there, fetch, tmp_path / "unused") == there  # a disk that both see
    assert not fetched
    elsewhere = replace(there, folder="/nowhere")
    here = cache.install(elsewhere, fetch, tmp_path / "node")
    assert fetched == list(cache.ARRAYS)
    assert replace(here, folder=there.folder) == there
    np.testing.assert_array_equal(cache.read_array(here, "train_images"), counted.images)
    assert cache.install(elsewhere, fetch, tmp_path / "node") == here
    assert fetched == list(cache.ARRAYS)
    with pytest.raises(cache.DamagedImages, match="did not arrive"):
        cache.install(elsewhere, lambda name: fetch(name)[::-1], tmp_path / "third")


def test_an_interrupted_decoding_leaves_nothing(counted: Counted) -> None:
    def interrupted() -> Decoded:
        raise KeyboardInterrupt

    counted.source = replace(counted.source, decode=interrupted)
    with pytest.raises(KeyboardInterrupt):
        counted.load()
    assert not any(counted.folder.iterdir())


def test_what_a_killed_process_left_behind_is_cleared_away(counted: Counted) -> None:
    old, new = counted.folder / "abc.1.building", counted.folder / "abc.2.building"
    for folder in (old, new):
        folder.mkdir(parents=True)
    os.utime(old, (0, 0))
    counted.load()
    assert not old.exists()
    assert new.exists()


def test_of_two_runs_that_decode_at_once_the_first_entry_stays(counted: Counted) -> None:
    def overtaken() -> Decoded:
        other = cache.load_or_decode(replace(counted.source, decode=counted.decode), counted.folder, print)
        marks.append(Path(other.folder).stat().st_ino)
        return counted.decode()

    marks: list[int] = []
    counted.source = replace(counted.source, decode=overtaken)
    assert Path(counted.load().folder).stat().st_ino == marks[0]
    assert len(list(counted.folder.iterdir())) == 1


def test_a_full_disk_is_an_error_that_names_the_cache(counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(RequestError, match=r"cache .* cannot be written: No space left on device"):
        counted.load()
    assert not any(counted.folder.iterdir())


def test_a_changed_file_has_another_identity(tmp_path: Path) -> None:
    path = tmp_path / "images"
    path.write_bytes(b"one")
    before = file_identity([path])
    assert file_identity([path]) == before
    path.write_bytes(b"three")
    assert file_identity([path]) != before
