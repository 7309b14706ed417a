"""RandAugment: each operation against Pillow's, and what a batch is given."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from tofa_edge.train.data.augment import strong, weak
from tofa_edge.train.data.rand_augment import POOL, apply, rand_augment

SIZE = 32
PILLOW: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "identity": lambda photo, _: photo,
    "autocontrast": lambda photo, _: ImageOps.autocontrast(photo),
    "equalize": lambda photo, _: ImageOps.equalize(photo),
    "solarize": lambda photo, magnitude: ImageOps.solarize(photo, round(255 * magnitude)),
    "posterize": lambda photo, magnitude: ImageOps.posterize(photo, min(8, int(4 + 5 * magnitude))),
    "color": lambda photo, magnitude: ImageEnhance.Color(photo).enhance(0.1 + 1.8 * magnitude),
    "contrast": lambda photo, magnitude: ImageEnhance.Contrast(photo).enhance(
        0.1 + 1.8 * magnitude
    ),
    "brightness": lambda photo, magnitude: ImageEnhance.Brightness(photo).enhance(
        0.1 + 1.8 * magnitude
    ),
    "sharpness": lambda photo, magnitude: ImageEnhance.Sharpness(photo).enhance(
        0.1 + 1.8 * magnitude
    ),
    "rotate": lambda photo, magnitude: _moved(photo, _rotation(30 * (2 * magnitude - 1))),
    "shear x": lambda photo, magnitude: _moved(photo, [[1, 0.6 * magnitude - 0.3], [0, 1]]),
    "shear y": lambda photo, magnitude: _moved(photo, [[1, 0], [0.6 * magnitude - 0.3, 1]]),
    "translate x": lambda photo, magnitude: _moved(
        photo, np.eye(2), (SIZE * (0.6 * magnitude - 0.3), 0)
    ),
    "translate y": lambda photo, magnitude: _moved(
        photo, np.eye(2), (0, SIZE * (0.6 * magnitude - 0.3))
    ),
}


def _rotation(degrees: float) -> list[list[float]]:
    angle = math.radians(degrees)
    return [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]


def _moved(photo: Image.Image, matrix: object, shift: tuple[float, float] = (0, 0)) -> Image.Image:
    """Returns a photo whose pixels are found about its centre by a matrix, then shifted."""
    turned = np.asarray(matrix, float)
    centre = np.full(2, SIZE / 2)
    (a, b), (d, e) = turned
    c, f = centre - turned @ centre + np.asarray(shift)
    return photo.transform(
        photo.size, Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BILINEAR,
        fillcolor=(128, 128, 128),
    )  # fmt: skip


def photo() -> Image.Image:
    """Returns a smooth photo without extreme values, no two channels alike."""
    across, down = np.meshgrid(np.linspace(0, 1, SIZE), np.linspace(0, 1, SIZE))
    channels = [60 + 120 * across * down, 40 + 150 * down, 200 - 90 * across]
    return Image.fromarray(np.stack(channels, axis=-1).round().astype(np.uint8))


def as_tensor(photo: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize("name", POOL)
def test_operations_are_those_of_pillow(name: str) -> None:
    for magnitude in (0.07, 0.5, 0.93):
        made = apply(
            as_tensor(photo()), torch.tensor([POOL.index(name)]), torch.tensor([magnitude])
        )
        expected = as_tensor(PILLOW[name](photo(), magnitude))
        inner = (slice(None), slice(None), slice(2, -2), slice(2, -2))
        off = (made - expected)[inner].abs() * 255
        assert float(off.quantile(0.95)) < 2.5, (magnitude, float(off.max()))


def test_every_image_has_operations_of_its_own() -> None:
    """One in 196 stays as it is; a solarised or moved one is far from it."""
    images = as_tensor(photo()).repeat(400, 1, 1, 1)
    made = rand_augment(images, torch.Generator().manual_seed(0))
    assert made.shape == images.shape
    assert made.min() >= 0
    assert made.max() <= 1
    assert len({image.numpy().tobytes() for image in made}) > 300
    unchanged = (made == images).flatten(1).all(dim=1).float().mean()
    assert 0 < unchanged < 0.1


def test_order_of_images_is_kept() -> None:
    images = torch.rand(len(POOL), 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    chosen, magnitudes = torch.arange(len(POOL)).flip(0), torch.linspace(0, 1, len(POOL))
    made = apply(images, chosen, magnitudes)
    for number in range(len(POOL)):
        part = slice(number, number + 1)
        alone = apply(images[part], chosen[part], magnitudes[part])
        torch.testing.assert_close(made[part], alone)


def test_generator_alone_decides() -> None:
    images = (255 * as_tensor(photo())).to(torch.uint8).repeat(16, 1, 1, 1)
    before = torch.get_rng_state()
    made = [strong(images, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_nothing_is_flipped_if_so_wished() -> None:
    ramp = torch.arange(24.0).expand(200, 3, 24, 24)
    made = weak(ramp, torch.Generator().manual_seed(0), flips=False)
    assert (made[:, 0, 12, 0] < made[:, 0, 12, -1]).all()
    flipped = weak(ramp, torch.Generator().manual_seed(0))
    same = (flipped == made).flatten(1).all(dim=1).float().mean()
    assert 0.4 < same < 0.6, "crops stay the same"
