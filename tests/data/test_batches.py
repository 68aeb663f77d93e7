"""Batches against a loop over single images, against torchvision's transforms, and against themselves."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from bench.data import ImageSet
from bench.data.batches import Preparation, Split, TrainingBatches, load_split
from bench.device import accelerator
from tests.data import fakes

CPU = torch.device("cpu")
DEVICES = [
    pytest.param(CPU, id="cpu"),
    pytest.param(
        torch.device("cuda"),
        id="cuda",
        marks=pytest.mark.gpu,
    ),
]


def image_set_of(folder: Path, labels: np.ndarray, shape: tuple[int, int, int], mirror_ok: bool = True) -> ImageSet:
    for split in ("train", "test"):
        np.save(folder / f"{split}_images.npy", fakes.random_images(len(labels), shape))
        np.save(folder / f"{split}_labels.npy", labels)
    return ImageSet(
        name="test",
        folder=str(folder),
        source="",
        classes=tuple("abcdefghij"[: labels.max() + 1]),
        shape=shape,
        train_count=len(labels),
        test_count=len(labels),
        mean=(0.49, 0.48, 0.44)[: shape[0]],
        std=(0.25, 0.24, 0.26)[: shape[0]],
        sha256="",
        mirror_ok=mirror_ok,
    )


@pytest.fixture
def colour(tmp_path: Path) -> ImageSet:
    return image_set_of(tmp_path, fakes.interleaved(50), (3, 32, 32))


@pytest.fixture
def grey(tmp_path: Path) -> ImageSet:
    return image_set_of(tmp_path, fakes.interleaved(50), (1, 28, 28), mirror_ok=False)


def seeded(device: torch.device, seed: int = 5) -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


def normalise(images: Tensor, image_set: ImageSet, input_size: tuple[int, int, int], **options: Any) -> Tensor:
    return Preparation(image_set, input_size, images.device, **options)(images)


def training_batches(
    split: Split,
    image_set: ImageSet,
    input_size: tuple[int, int, int],
    batch_size: int,
    generator: torch.Generator,
    crop_padding: int = 4,
    flip: bool = True,
    memory_format: torch.memory_format = torch.contiguous_format,
    by_runs: bool | None = None,
) -> TrainingBatches:
    prepare = Preparation(image_set, input_size, split.images.device, memory_format)
    by_runs, at_once = split.images.is_cpu if by_runs is None else by_runs, accelerator.OF_HOST.prepared_bytes
    return TrainingBatches(split, prepare, batch_size, generator, at_once, crop_padding, flip, by_runs)


# --- splits ------------------------------------------------------------------------------------------------


def test_a_split_is_the_stored_arrays(colour: ImageSet) -> None:
    split = load_split(colour, "train", CPU)
    assert split.images.dtype == torch.uint8
    assert split.labels.dtype == torch.int64
    np.testing.assert_array_equal(split.images, np.load(Path(colour.folder) / "train_images.npy"))
    np.testing.assert_array_equal(split.labels, np.load(Path(colour.folder) / "train_labels.npy"))


def test_a_limit_takes_the_first_images_of_every_class_in_order(tmp_path: Path) -> None:
    labels = np.array([2, 0, 0, 1, 0, 2, 1, 1, 2, 0])
    image_set = image_set_of(tmp_path, labels, (1, 4, 4))
    split = load_split(image_set, "test", CPU, limit=7)
    rows = [0, 1, 2, 3, 5, 6]  # two of each class, in place
    np.testing.assert_array_equal(split.labels, labels[rows])
    np.testing.assert_array_equal(split.images, np.load(tmp_path / "test_images.npy")[rows])


def test_the_smallest_class_bounds_a_limit(tmp_path: Path) -> None:
    image_set = image_set_of(tmp_path, np.array([0] * 8 + [1] * 2), (1, 4, 4))
    assert load_split(image_set, "test", CPU, limit=9).labels.bincount().tolist() == [2, 2]
    assert len(load_split(image_set, "test", CPU, limit=10).labels) == 10


def test_a_limit_below_one_image_per_class_is_an_error(colour: ImageSet) -> None:
    with pytest.raises(ValueError, match="a limit of 9 images leaves none"):
        load_split(colour, "test", CPU, limit=9)


@pytest.mark.parametrize(
    ("labels", "classes", "complaint"),
    [
        ([0, 1, 2, 1], 2, "test, train images: label 2 is out of range: there are 2 classes, from 0"),
        ([0, 1, -1, 1], 2, "test, train images: label -1 is out of range: there are 2 classes, from 0"),
        ([0, 2, 2, 0], 3, "test, train images: no image of class 'b'"),
    ],
)
def test_labels_that_cannot_be_are_named(tmp_path: Path, labels: list[int], classes: int, complaint: str) -> None:
    image_set = replace(image_set_of(tmp_path, np.array(labels), (1, 4, 4)), classes=tuple("abc"[:classes]))
    with pytest.raises(ValueError, match=f"^{re.escape(complaint)}$"):
        load_split(image_set, "train", CPU)


def test_images_of_another_size_are_named(tmp_path: Path) -> None:
    image_set = replace(image_set_of(tmp_path, np.array([0, 1]), (1, 4, 5)), shape=(1, 4, 4))
    complaint = r"^test, train images: uint8 \(2, 1, 4, 5\) does not fit 2 labels and 1x4x4 pixels$"
    with pytest.raises(ValueError, match=complaint):
        load_split(image_set, "train", CPU)


# --- normalisation -----------------------------------------------------------------------------------------


def test_normalise_agrees_with_torchvision(colour: ImageSet) -> None:
    images = load_split(colour, "train", CPU).images
    transform = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(colour.mean), list(colour.std))])
    torch.testing.assert_close(normalise(images, colour, (3, 32, 32)), transform(images), rtol=0, atol=1e-6)


def test_larger_inputs_are_centred_on_normalised_black(grey: ImageSet) -> None:
    images = load_split(grey, "train", CPU).images
    padded = normalise(images, grey, (1, 32, 32))
    assert padded.shape == (50, 1, 32, 32)
    torch.testing.assert_close(padded[:, :, 2:30, 2:30], normalise(images, grey, (1, 28, 28)))
    border = torch.ones(32, 32, dtype=torch.bool)
    border[2:30, 2:30] = False
    black = torch.full((50, 1, int(border.sum())), -grey.mean[0] / grey.std[0])
    torch.testing.assert_close(padded[:, :, border], black)
    odd = normalise(images, grey, (1, 29, 31))
    torch.testing.assert_close(odd[:, :, :28, 1:29], normalise(images, grey, (1, 28, 28)))


def test_the_memory_format_is_the_one_asked_for(colour: ImageSet) -> None:
    images = load_split(colour, "train", CPU).images
    made = normalise(images, colour, (3, 32, 32), memory_format=torch.channels_last)
    assert made.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(made, normalise(images, colour, (3, 32, 32)))


@pytest.mark.parametrize("input_size", [(1, 32, 32), (3, 31, 32), (3, 32, 28)])
def test_what_would_need_a_resize_or_other_channels_is_an_error(
    colour: ImageSet, input_size: tuple[int, int, int]
) -> None:
    split = load_split(colour, "train", CPU)
    with pytest.raises(ValueError, match=r"the network takes .*, test is 3x32x32: channels must agree"):
        normalise(split.images, colour, input_size)


# --- training batches --------------------------------------------------------------------------------------


def one_by_one(
    split: Split, image_set: ImageSet, batch_size: int, generator: torch.Generator, padding: int, flip: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """The same random draws, applied to each image alone with numpy's padding, slicing and reversal."""
    device, count = split.labels.device, len(split.labels)
    images: list[np.ndarray] = []
    rows: list[int] = []
    while True:
        order = torch.randperm(count, generator=generator, device=device).tolist()
        down, right, mirrored = (
            torch.randint(high, (count,), generator=generator, device=device).tolist()
            for high in (2 * padding + 1, 2 * padding + 1, 2)
        )
        for row, top, left, turned in zip(order, down, right, mirrored, strict=True):
            image = split.images[row].cpu().numpy()
            _, height, width = image.shape
            padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)))
            cropped = padded[:, top : top + height, left : left + width]
            images.append(cropped[:, :, ::-1].copy() if turned and flip else cropped)
            rows.append(row)
            if len(rows) == batch_size:
                made = torch.from_numpy(np.stack(images)).to(device)
                yield normalise(made, image_set, image_set.shape), split.labels[rows]
                images, rows = [], []


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("padding", "flip"), [(4, True), (4, False), (0, True), (0, False), (2, True)])
def test_crops_and_flips_equal_those_of_single_images(
    colour: ImageSet, device: torch.device, padding: int, flip: bool
) -> None:
    split = load_split(colour, "train", device)
    batches = training_batches(split, colour, (3, 32, 32), 16, seeded(device), padding, flip)
    expected = one_by_one(split, colour, 16, seeded(device), padding, flip)
    for (x, labels), (wanted, wanted_labels) in itertools.islice(zip(batches, expected, strict=False), 8):
        assert torch.equal(x, wanted)
        assert torch.equal(labels, wanted_labels)


def test_a_data_set_that_mirroring_would_change_is_never_flipped(grey: ImageSet) -> None:
    split = load_split(grey, "train", CPU)
    asked = training_batches(split, grey, (1, 28, 28), 50, seeded(CPU), flip=True)
    plain = training_batches(split, grey, (1, 28, 28), 50, seeded(CPU), flip=False)
    assert torch.equal(next(asked)[0], next(plain)[0])


def test_crops_reach_every_offset_and_about_half_are_flipped(tmp_path: Path) -> None:
    image_set = image_set_of(tmp_path, fakes.interleaved(2000), (1, 8, 8))
    split = load_split(image_set, "train", CPU)
    split.images.zero_()
    split.images[:, :, 3, 2] = 255  # one white pixel tells where a crop was taken and whether it was flipped
    x, _ = next(training_batches(split, image_set, (1, 8, 8), 2000, seeded(CPU), crop_padding=2))
    assert bool((x > 0).flatten(1).any(1).all())
    position = (x > 0).flatten(1).float().argmax(1)
    rows, columns = position // 8, position % 8
    assert sorted(rows.unique().tolist()) == [1, 2, 3, 4, 5]
    assert sorted(columns.unique().tolist()) == [0, 1, 2, 3, 4, 5, 6, 7]  # 2 +- 2, and 7 minus that
    assert 700 < int((columns >= 5).sum()) + int((columns == 4).sum() / 2) < 1300


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("batch_size", [8, 50, 64, 120])
def test_every_image_comes_once_per_pass_in_full_batches(tmp_path: Path, device: torch.device, batch_size: int) -> None:
    image_set = image_set_of(tmp_path, np.arange(50) % 10, (1, 4, 4))
    numbered = Split(load_split(image_set, "train", device).images, torch.arange(50, device=device))
    batches = training_batches(numbered, image_set, (1, 4, 4), batch_size, seeded(device))
    taken = [labels for _, labels in itertools.islice(batches, -(-200 // batch_size))]
    assert all(len(labels) == batch_size for labels in taken)
    passes = torch.cat(taken)[:200].view(4, 50)
    assert torch.equal(passes.sort(1).values, torch.arange(50, device=device).expand(4, 50))
    assert len({tuple(order) for order in passes.tolist()}) == 4  # a new order each pass


@pytest.mark.parametrize("device", DEVICES)
def test_the_seed_decides_every_bit(colour: ImageSet, device: torch.device) -> None:
    split = load_split(colour, "train", device)

    def first_batches(seed: int) -> Tensor:
        batches = training_batches(split, colour, (3, 32, 32), 16, seeded(device, seed))
        return torch.stack([x for x, _ in itertools.islice(batches, 6)])

    assert torch.equal(first_batches(1), first_batches(1))
    assert not torch.equal(first_batches(1), first_batches(2))


def test_torchs_own_random_state_is_untouched(colour: ImageSet) -> None:
    before = torch.random.get_rng_state()
    next(training_batches(load_split(colour, "train", CPU), colour, (3, 32, 32), 16, seeded(CPU)))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_batch_size_below_one_is_an_error(colour: ImageSet) -> None:
    with pytest.raises(ValueError, match="batch size 0"):
        next(training_batches(load_split(colour, "train", CPU), colour, (3, 32, 32), 0, seeded(CPU)))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("taken", [0, 3, 5, 9])
def test_batches_go_on_from_their_state(colour: ImageSet, device: torch.device, taken: int) -> None:
    """Also in the middle of a pass, and of what was made ahead."""
    split = load_split(colour, "train", device)

    def batches(seed: int) -> TrainingBatches:
        return training_batches(split, colour, (3, 32, 32), 16, seeded(device, seed))

    first, second = batches(1), batches(2)
    next(second)
    for _ in range(taken):
        next(first)
    second.resume(first.state())
    for _ in range(12):
        (x, labels), (expected, expected_labels) = next(second), next(first)
        assert torch.equal(x, expected)
        assert torch.equal(labels, expected_labels)


@pytest.mark.parametrize(("images", "size"), [("colour", (3, 32, 32)), ("grey", (1, 32, 32))])
def test_neither_the_memory_format_nor_the_way_of_copying_changes_a_number(
    images: str, size: tuple[int, int, int], request: pytest.FixtureRequest
) -> None:
    image_set = request.getfixturevalue(images)
    split = load_split(image_set, "train", CPU)
    plain, *others = (
        next(training_batches(split, image_set, size, 50, seeded(CPU), memory_format=laid_out, by_runs=by_runs))[0]
        for by_runs in (True, False)
        for laid_out in (torch.contiguous_format, torch.channels_last)
    )
    for other, laid_out in zip(
        others, (torch.channels_last, torch.contiguous_format, torch.channels_last), strict=True
    ):
        assert torch.equal(plain, other)
        assert other.is_contiguous(memory_format=laid_out)


@pytest.mark.gpu
def test_training_batches_never_wait_for_the_device(colour: ImageSet) -> None:
    device = torch.device("cuda")
    batches = training_batches(load_split(colour, "train", device), colour, (3, 32, 32), 16, seeded(device))
    next(batches)
    with accelerator.named("cuda:0").waiting_is_an_error():
        for _ in range(8):  # past the end of a pass
            next(batches)
