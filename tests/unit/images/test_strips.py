"""Large images are reduced strip by strip, to what a smaller one would have given."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tofa_edge.bundle.images import prepare
from tofa_edge.errors import ImageError
from tofa_edge.images import reading, strips

WANTED = 24
SHOWN = 25 * reading.DETAIL  # the largest size that divides the image's


@pytest.fixture
def picture() -> Image.Image:
    small = np.random.default_rng(0).integers(0, 256, (9, 12, 4), dtype=np.uint8)
    return Image.fromarray(small, "RGBA").resize((400, 300), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "L", "P", "CMYK", "1"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_strips_give_the_same_picture(
    picture: Image.Image, mode: str, orientation: int, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    path, exif = tmp_path / "x.tif", Image.Exif()
    exif[strips.ORIENTATION] = orientation
    picture.convert(mode).save(path, exif=exif)
    whole, told = prepare(path, WANTED), reading.read(path, WANTED).changes
    monkeypatch.setattr(reading, "MOST_WHOLE_PIXELS", 10_000)
    monkeypatch.setattr(strips, "STRIP_PIXELS", 5_000)
    reduced = reading.read(path, WANTED)
    assert min(reduced.image.size) == max(reduced.image.size) == SHOWN
    assert reduced.changes == told
    difference = np.abs(prepare(path, WANTED).astype(int) - whole)
    assert difference.mean() < 2
    assert np.percentile(difference, 99) < 12


def test_palettes_keep_their_transparency(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.png"
    image = Image.new("P", (400, 300), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    image.save(path, transparency=1)
    monkeypatch.setattr(reading, "MOST_WHOLE_PIXELS", 10_000)
    picture = reading.read(path, WANTED)
    assert picture.changes == (reading.ALPHA,)
    np.testing.assert_array_equal(np.unique(np.asarray(picture.image)), [50, 100, 200])


def test_a_pipe_is_refused_without_being_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.jpg")
    with pytest.raises(ImageError, match=r"x\.jpg: wanted an image, got something else"):
        prepare(tmp_path / "x.jpg", WANTED)
