"""The drawn images: the same everywhere, balanced, and not to be classified without seeing shapes."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.data import synthetic

COLOUR = (3, 32, 32)
GREY = (1, 28, 28)


def digest(images: NDArray[np.uint8]) -> str:
    return hashlib.sha256(images.tobytes()).hexdigest()


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (COLOUR, "4481aba892e6151e2409dc3051b07ea8cc58a22a682eb1457cd9d582ac0e64e8"),
        (GREY, "8c3acbdfb5e903446357eaf8d16c7972dd2294f1aa253e9d0b2916ff22b01941"),
    ],
    ids=["colour", "grey"],
)
def test_the_pixels_of_this_version_never_change(shape: tuple[int, int, int], expected: str) -> None:
    assert synthetic.VERSION == 3, "a new version has new constants"
    assert digest(synthetic.draw(np.arange(20), shape, seed=0)) == expected


def test_an_image_depends_on_its_number_and_the_seed_only() -> None:
    together = synthetic.draw(np.arange(300), COLOUR, 0)  # more than one chunk
    np.testing.assert_array_equal(synthetic.draw(np.array([299, 3]), COLOUR, 0), together[[299, 3]])
    assert len(np.unique(together.reshape(300, -1), axis=0)) == 300
    assert not np.array_equal(synthetic.draw(np.array([3]), COLOUR, 1), together[[3]])


def test_splits_are_balanced_interleaved_and_disjoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "TRAIN_COUNT", 40)
    monkeypatch.setattr(synthetic, "TEST_COUNT", 20)
    for track, shape, name in (("cifar", COLOUR, "synthetic"), ("mnist", GREY, "synthetic-mnist")):
        decoded = synthetic.source(track).decode()  # type: ignore[arg-type]
        assert decoded.name == name
        assert decoded.train.images.shape == (40, *shape)
        assert decoded.test.images.shape == (20, *shape)
        assert decoded.train.labels.tolist() == [*range(10)] * 4
        assert decoded.test.labels.tolist() == [*range(10)] * 2
        every = np.concatenate((decoded.train.images, decoded.test.images)).reshape(60, -1)
        assert len(np.unique(every, axis=0)) == 60
    assert synthetic.TRAIN_COUNT % 10 == synthetic.TEST_COUNT % 10 == 0


@pytest.mark.parametrize("shape", synthetic.OUTLINES)
def test_every_shape_has_the_same_area_and_is_its_own_mirror_image(shape: str) -> None:
    axis = np.linspace(-2, 2, 801)
    u, v = np.meshgrid(axis, axis)
    distance = synthetic.OUTLINES[shape](u, v)
    cell = (axis[1] - axis[0]) ** 2
    assert (distance < 0).sum() * cell == pytest.approx(np.pi, rel=0.01)
    np.testing.assert_allclose(distance, synthetic.OUTLINES[shape](u, -v), atol=1e-12)


def _colour_histogram(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    code = np.zeros((len(images), *images.shape[2:]), np.int64)
    for channel in range(images.shape[1]):
        code = 4 * code + images[:, channel] // 64
    return np.stack([np.bincount(one.ravel(), minlength=64) for one in code]) / code[0].size


def _moments(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.concatenate((images.mean((2, 3)), images.std((2, 3))), axis=1)


def _pixels(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    return images[:, :, ::2, ::2].reshape(len(images), -1).astype(np.float64)


def test_colour_brightness_and_pixels_tell_little_of_the_class() -> None:
    count, training = 2000, 1500
    images, labels = synthetic.draw(np.arange(count), COLOUR, 0), synthetic.labels_of(np.arange(count))
    for features, most in ((_colour_histogram, 0.3), (_moments, 0.3), (_pixels, 0.55)):
        x = features(images)
        x = (x - x[:training].mean(0)) / (x[:training].std(0) + 1e-9)
        x = np.column_stack((x, np.ones(count)))
        normal = x[:training].T @ x[:training] + 10 * np.eye(x.shape[1])  # ridge regression on one-hot labels
        weights = np.linalg.solve(normal, x[:training].T @ np.eye(10)[labels[:training]])
        accuracy = ((x[training:] @ weights).argmax(1) == labels[training:]).mean()
        assert accuracy < most, features.__name__  # chance is 0.1
