"""Copies, crops and bursts share a group; other photos do not."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from tofa_edge.architecture.arrays import ImageArray
from tofa_edge.train.data.likeness.near_duplicates import near_duplicates
from tofa_edge.train.data.likeness.registration import inverse, placed, register
from tofa_edge.train.data.likeness.thumbnails import normalised, thumbnails

COUNT, SIDE = 60, 96


def scenes(count: int, seed: int, side: int = SIDE) -> ImageArray:
    """Returns images with the spectrum of photos: detail falls with its frequency."""
    rng = np.random.default_rng(seed)
    steps = np.fft.fftfreq(side, 1 / side)
    falling = 1 / np.maximum(np.hypot(steps[:, None], steps), 1)[..., None] ** 1.2
    spectra = np.fft.fft2(rng.normal(size=(count, side, side, 3)), axes=(1, 2)) * falling
    colours = np.fft.ifft2(spectra, axes=(1, 2)).real
    shades = colours.mean(axis=3, keepdims=True) * 3 + 0.3 * colours
    spread = shades.std(axis=(1, 2, 3), keepdims=True)
    images: ImageArray = np.clip(127 + 45 * shades / spread, 0, 255).astype(np.uint8)
    return images


def resaved(image: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=60)
    return Image.open(stream)


def halved(image: Image.Image) -> Image.Image:
    return image.resize((SIDE // 2, SIDE // 2)).resize((SIDE, SIDE))


def cropped(image: Image.Image) -> Image.Image:
    return image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, (1, 4, SIDE - 4, SIDE - 1))


def brighter(image: Image.Image) -> Image.Image:
    return image.point(lambda value: min(255, round(1.1 * value)))


def shifted(image: Image.Image) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, (1, 0, 2, 0, 1, -2))


MAKERS = (resaved, halved, cropped, brighter, shifted)


@pytest.fixture(scope="module")
def photos() -> ImageArray:
    return scenes(COUNT, 0)


@pytest.fixture(scope="module")
def made(photos: ImageArray) -> ImageArray:
    copies = [make(Image.fromarray(photos[n])) for n, make in enumerate(MAKERS)]
    return np.stack([np.asarray(copy.convert("RGB")) for copy in copies])


def test_other_photos_stay_apart(photos: ImageArray) -> None:
    assert near_duplicates(photos).tolist() == list(range(COUNT))


def test_what_is_made_of_a_photo_joins_it(photos: ImageArray, made: ImageArray) -> None:
    groups = near_duplicates(np.concatenate([photos, made]))
    assert groups.tolist() == [*range(COUNT), *range(len(MAKERS))]


def test_order_does_not_matter(photos: ImageArray, made: ImageArray) -> None:
    groups = near_duplicates(np.concatenate([made[::-1], photos]))
    count = len(MAKERS)
    assert groups[:count].tolist() == list(range(count))
    assert groups[count : 2 * count].tolist() == list(range(count))[::-1]
    assert len(np.unique(groups)) == COUNT


def test_photos_that_share_all_but_a_detail_stay_apart() -> None:
    """As solar cells do: their correlation is above .9."""
    common = scenes(1, 1).astype(np.float64)
    own = scenes(COUNT, 2).astype(np.float64)
    alike = np.clip(0.8 * common + 0.2 * own, 0, 255).astype(np.uint8)
    small = normalised(thumbnails(alike, 32)).reshape(COUNT, -1)
    assert np.min(small @ small.T) > 0.8
    assert near_duplicates(alike).tolist() == list(range(COUNT))
    groups = near_duplicates(np.concatenate([alike, alike[:3]]))
    assert groups.tolist() == [*range(COUNT), 0, 1, 2]


def test_a_chain_of_likenesses_does_not_join_its_ends(photos: ImageArray) -> None:
    """Forty steps from one photo to another, each nearly equal to the next."""
    first, last = photos[0].astype(np.float64), photos[1].astype(np.float64)
    steps = [first + (last - first) * step / 39 for step in range(40)]
    groups = near_duplicates(np.concatenate([photos[2:], np.stack(steps).astype(np.uint8)]))[-40:]
    assert groups[0] == groups[1], "neighbours are"
    assert groups[0] != groups[-1]
    assert np.bincount(groups).max() <= 30


def test_a_burst_is_one_group(photos: ImageArray) -> None:
    rng = np.random.default_rng(0)
    wide = np.pad(photos[0], ((4, 4), (4, 4), (0, 0)), mode="reflect")
    places = rng.integers(0, 5, (15, 2))
    frames = [
        wide[y : y + SIDE, x : x + SIDE] + rng.integers(0, 4, (SIDE, SIDE, 3)) for y, x in places
    ]
    burst = np.clip(frames, 0, 255).astype(np.uint8)
    groups = near_duplicates(np.concatenate([photos[1:], burst]))
    assert len(set(groups[-15:])) == 1
    assert len(np.unique(groups)) == COUNT


def test_flat_photos_are_compared_whole() -> None:
    flat = np.full((4, 32, 32, 3), 90, np.uint8)
    flat[1] += 1
    flat[3, 0, 0] += 1
    assert near_duplicates(flat).tolist() == [0, 1, 0, 2]


def test_another_colour_is_another_photo(photos: ImageArray) -> None:
    tinted = (photos[:1] * np.array([1.0, 0.6, 0.6])).astype(np.uint8)
    groups = near_duplicates(np.concatenate([photos, tinted]))
    assert groups[-1] == COUNT


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_photos(count: int) -> None:
    assert near_duplicates(scenes(count, 3)).tolist() == list(range(count))


def test_registration_finds_shift_and_scale(photos: ImageArray) -> None:
    small = normalised(thumbnails(photos[:8], 32))
    true = np.tile(np.array([[0.05, 0.04, -0.03]], np.float32), (8, 1))
    moved, _ = placed(small, true)
    found = register(moved, small, np.zeros((8, 3), np.float32), 12)
    np.testing.assert_allclose(found, true, atol=5e-3)
    back = inverse(true)
    np.testing.assert_allclose(inverse(back), true, atol=1e-6)
