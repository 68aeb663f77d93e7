"""Images brought to the size that a network takes, against torchvision's own."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from bench.data.batches import Preparation
from bench.data.image_set import ImageSet

CPU = torch.device("cpu")
AS_BYTES = ImageSet("noise", "", "", ("a",), (3, 32, 32), 1, 1, (0.0,) * 3, (1.0,) * 3, "")


@pytest.fixture
def images() -> torch.Tensor:
    """Noise is the hardest to interpolate; a real image is smoother."""
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8))


@pytest.mark.parametrize("size", [(224, 224), (40, 24), (16, 16)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_it_is_torchvisions_resize(
    images: torch.Tensor, size: tuple[int, int], memory_format: torch.memory_format
) -> None:
    prepare = Preparation(AS_BYTES, (3, *size), CPU, memory_format=memory_format, resize=True)
    made = prepare(images) * 255
    assert made.is_contiguous(memory_format=memory_format)
    expected = v2.Resize(size, antialias=True)(images)
    assert (made.round() - expected.float()).abs().max() <= 1  # torchvision may compute in whole numbers
    assert (made - made.round()).abs().max() < 1e-3


def test_it_is_what_a_loader_of_pictures_makes(images: torch.Tensor) -> None:
    made = Preparation(AS_BYTES, (3, 224, 224), CPU, resize=True)(images) * 255
    for image, result in zip(images, made, strict=True):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        expected = torch.from_numpy(np.array(v2.Resize((224, 224))(picture))).permute(2, 0, 1)
        difference = (result.round() - expected.float()).abs()
        assert difference.max() <= 1  # Pillow rounds after each of the two directions
        assert (difference > 0).float().mean() < 0.2


def test_the_right_size_is_left_alone(images: torch.Tensor) -> None:
    resized = Preparation(AS_BYTES, (3, 32, 32), CPU, resize=True)(images)
    assert torch.equal(resized, Preparation(AS_BYTES, (3, 32, 32), CPU)(images))
