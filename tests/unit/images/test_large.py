"""Large JPEGs are reduced while they are decoded; what would cost without bound is refused."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tofa_edge.bundle.images import load, prepare
from tofa_edge.errors import ImageError
from tofa_edge.images import reading
from tofa_edge.images.reading import REDUCED, SizeError, read
from tofa_edge.selftest.small_bundle import smooth_photo


def claiming(photo: bytes, width: int, height: int) -> bytes:
    """A JPEG whose header says that it is larger."""
    at = next(photo.index(kind) for kind in (b"\xff\xc0", b"\xff\xc2") if kind in photo) + 5
    return photo[:at] + struct.pack(">2H", height, width) + photo[at + 4 :]


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_large_photos_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setattr(reading, "MOST_PIXELS", 300_000)
    Image.new(mode, (1200, 800), 77 if mode == "L" else None).save(tmp_path / "x.jpg")
    assert prepare(tmp_path / "x.jpg", 64).shape == (64, 64, 3)
    picture = read(tmp_path / "x.jpg")
    assert REDUCED in picture.changes
    assert 75_000 <= picture.image.width * picture.image.height <= 300_000
    assert load(tmp_path / "x.jpg").size == picture.image.size


def test_more_pixels_than_pillow_allows(tmp_path: Path) -> None:
    """Phones make photos of 200 million pixels; Pillow refuses to open them."""
    Image.new("L", (16_320, 12_240), 90).save(tmp_path / "x.jpg", quality=50)
    assert np.abs(prepare(tmp_path / "x.jpg", 64).astype(int) - 90).max() <= 2


def test_reduced_photos_are_nearly_the_same(tmp_path: Path) -> None:
    photo = smooth_photo(np.random.default_rng(1), 900, quality=95)
    (tmp_path / "x.jpg").write_bytes(photo)
    (tmp_path / "half.jpg").write_bytes(photo)
    with Image.open(io.BytesIO(photo)) as whole:
        wanted = prepare(whole.convert("RGB"), 64).astype(int)
    assert np.abs(prepare(tmp_path / "x.jpg", 64) - wanted).mean() < 0.5


def test_photos_are_decoded_at_three_times_the_size_or_more(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(smooth_photo(np.random.default_rng(1), 900))
    assert [min(read(tmp_path / "x.jpg", size).image.size) for size in (300, 150, 75, 37, 20)] == [
        900, 450, 225, 113, 113,
    ]  # fmt: skip
    assert read(tmp_path / "x.jpg").image.width == 900


def test_what_costs_without_bound_is_refused(tmp_path: Path) -> None:
    plain = smooth_photo(np.random.default_rng(0))
    several = smooth_photo(np.random.default_rng(0), progressive=True)
    cases = {
        claiming(plain, 65_500, 65_500): "wanted up to 512000000 pixels of a JPEG",
        claiming(several, 9_000, 9_000): "64000000 pixels of a progressive JPEG",
    }
    for content, message in cases.items():
        (tmp_path / "x.jpg").write_bytes(content)
        with pytest.raises(SizeError, match=message):
            prepare(tmp_path / "x.jpg", 64)
    last = several.rindex(reading.START_OF_SCAN)
    (tmp_path / "x.jpg").write_bytes(several[:last] + several[last:-2] * 120 + several[-2:])
    with pytest.raises(ImageError, match="over 100 scans"):
        prepare(tmp_path / "x.jpg", 64)


def test_large_images_of_other_formats_are_refused_by_name(tmp_path: Path) -> None:
    Image.new("1", (9_000, 9_000)).save(tmp_path / "x.png")
    with pytest.raises(SizeError, match=r"x\.png: wanted 1 to 64000000 pixels, got 9000×9000"):
        prepare(tmp_path / "x.png", 64)
