"""Images: every mode and orientation becomes upright 8-bit RGB, everything else an ImageError."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.fuzz import images as fuzz_images
from tofa_edge.bundle.images import decode, encode, load, prepare, stack
from tofa_edge.errors import ImageError
from tofa_edge.images import reading as file_reading
from tofa_edge.selftest.small_bundle import smooth_photo

RED, GREEN, BLUE = (200, 10, 20), (10, 200, 30), (20, 30, 200)


def quadrants(width: int = 40, height: int = 40) -> Image.Image:
    """Red and green above, blue and black below: any turn or flip shows."""
    image = Image.new("RGB", (width, height))
    half = (width // 2, height // 2)
    for colour, corner in ((RED, (0, 0)), (GREEN, (half[0], 0)), (BLUE, (0, half[1]))):
        image.paste(colour, (*corner, corner[0] + half[0], corner[1] + half[1]))
    return image


def corners(array: NDArray[Any]) -> list[str]:
    """Names the colours of the four quadrants, in reading order."""
    quarter = len(array) // 4
    found = [array[y, x] for y in (quarter, -quarter) for x in (quarter, -quarter)]
    return ["dark" if max(c) < 90 else "rgb"[int(np.argmax(c))] for c in found]


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def test_an_array_of_the_right_size_is_returned_without_a_copy() -> None:
    array = np.zeros((32, 32, 3), np.uint8)
    assert prepare(array, 32) is array


@pytest.mark.parametrize("shape", [(40, 40, 3), (32, 50, 3), (40, 40), (1, 1, 3), (3, 300)])
def test_arrays_of_other_sizes_are_fitted(shape: tuple[int, ...]) -> None:
    array = np.full(shape, 77, np.uint8)
    array.flags.writeable = False
    made = prepare(array, 32)
    assert made.shape == (32, 32, 3)
    assert made.dtype == np.uint8
    assert np.all(made == 77)


def test_views_are_fitted() -> None:
    array = np.asarray(quadrants())[:, :, ::-1]
    assert corners(prepare(array, 16)) == ["b", "g", "r", "dark"]
    assert corners(prepare(array[::-1], 16)) == ["r", "dark", "b", "g"]


@pytest.mark.parametrize(
    "source",
    [
        np.zeros((32, 32, 3), np.float32), np.zeros((32, 32, 3), np.int64), np.zeros(5, np.uint8),
        np.zeros((32, 32, 4), np.uint8), np.zeros((3, 32, 32), np.uint8), np.zeros((32, 32), bool),
        np.zeros((0, 32, 3), np.uint8), np.zeros((1, 1, 1, 1), np.uint8), np.array("x"),
    ],
)  # fmt: skip
def test_wrong_arrays(source: Any) -> None:
    with pytest.raises(ImageError, match=r"wanted .* got an array"):
        prepare(source, 32)


@pytest.mark.parametrize("source", [None, 3, b"bytes", [1, 2], object()])
def test_wrong_types(source: Any) -> None:
    with pytest.raises(ImageError, match=f"wanted a path.*got {type(source).__name__}"):
        prepare(source, 32)


def test_wide_and_high_images_are_cropped_to_the_centre() -> None:
    for size in ((120, 40), (40, 120)):
        image = Image.new("RGB", size, BLUE)
        left, top = (size[0] - 40) // 2, (size[1] - 40) // 2
        image.paste(quadrants(), (left, top))
        assert np.array_equal(prepare(image, 40), np.asarray(quadrants()))
        assert corners(prepare(image, 20)) == ["r", "g", "b", "dark"]


def test_grey_is_repeated() -> None:
    made = prepare(quadrants().convert("L"), 20)
    assert np.array_equal(made[..., 0], made[..., 2])
    assert len(np.unique(made)) > 3


def test_transparency_is_dropped() -> None:
    image = quadrants()
    clear = image.copy()
    clear.putalpha(Image.linear_gradient("L").resize(image.size))
    assert np.array_equal(prepare(clear, 40), np.asarray(image))
    grey = Image.merge("LA", (image.convert("L"), clear.getchannel("A")))
    assert np.array_equal(prepare(grey, 40)[..., 0], np.asarray(image.convert("L")))


@pytest.mark.parametrize("transparency", [None, 0, bytes(range(0, 256, 16))])
def test_palettes(tmp_path: Path, transparency: int | bytes | None) -> None:
    options = {} if transparency is None else {"transparency": transparency}
    (tmp_path / "x.png").write_bytes(saved(quadrants().quantize(16), "PNG", **options))
    assert corners(prepare(tmp_path / "x.png", 20)) == ["r", "g", "b", "dark"]


def test_one_transparent_colour(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(saved(quadrants(), "PNG", transparency=RED))
    assert np.array_equal(prepare(tmp_path / "x.png", 40), np.asarray(quadrants()))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_become_eight(tmp_path: Path, kind: str) -> None:
    deep = np.arange(0, 65536, 64, dtype=np.uint16).reshape(32, 32)
    path = tmp_path / f"x.{kind.lower()}"
    path.write_bytes(saved(Image.fromarray(deep), kind))
    made = prepare(path, 32)
    assert np.array_equal(made, np.repeat((deep >> 8).astype(np.uint8)[..., None], 3, axis=2))


def test_sixteen_bit_modes_in_memory() -> None:
    deep = np.full((8, 8), 0x7FFF, np.uint16)
    for image in (Image.fromarray(deep), Image.fromarray(deep.astype(np.int32))):
        assert np.all(prepare(image, 8) == 0x7F)
    for value in (-5, 2**16):
        with pytest.raises(ImageError, match="image: wanted values of"):
            prepare(Image.fromarray(np.full((8, 8), value, np.int32)), 8)


def test_fractions_become_all_of_eight_bits(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    Image.fromarray(values).save(tmp_path / "x.tiff")
    Image.fromarray(255 * values).save(tmp_path / "y.tiff")
    wanted = np.rint(255 * values)
    assert np.array_equal(np.asarray(load(tmp_path / "x.tiff"))[..., 0], wanted)
    assert np.abs(np.asarray(load(tmp_path / "y.tiff"))[..., 0] - wanted).max() <= 1
    values[3, 3] = np.nan
    Image.fromarray(values).save(tmp_path / "z.tiff")
    with pytest.raises(ImageError, match=r"z\.tiff: wanted values of 0 or more, got nan"):
        load(tmp_path / "z.tiff")


def test_cmyk_jpeg(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(saved(quadrants().convert("CMYK"), "JPEG", quality=95))
    assert corners(prepare(tmp_path / "x.jpg", 20)) == ["r", "g", "b", "dark"]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    made = prepare(Image.new(mode, (9, 7)), 5)
    assert made.shape == (5, 5, 3)
    assert made.dtype == np.uint8


@pytest.mark.parametrize("grey16", [False, True])
@pytest.mark.parametrize("orientation", range(10))
def test_exif_orientation(tmp_path: Path, orientation: int, grey16: bool) -> None:
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    upright = quadrants()
    stored = upright.transpose(turns[orientation]) if orientation in turns else upright
    if grey16:
        stored = Image.fromarray(np.asarray(stored.convert("L")).astype(np.uint16) << 8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "x.png"
    path.write_bytes(saved(stored, "PNG", exif=exif))
    wanted = np.asarray(upright.convert("L").convert("RGB") if grey16 else upright)
    assert np.array_equal(prepare(path, 40), wanted)
    with Image.open(path) as opened:
        assert np.array_equal(prepare(opened, 40), wanted)


@pytest.mark.parametrize("content", [None, b"", b"text", b"\x89PNG\r\n\x1a\n", smooth_photo(
    np.random.default_rng(0))[:300]])  # fmt: skip
def test_unreadable_files(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.jpg"
    if content is not None:
        path.write_bytes(content)
    for source in (path, str(path)):
        with pytest.raises(ImageError, match=r"x\.jpg: wanted an image, cannot read it"):
            prepare(source, 32)
    with pytest.raises(ImageError, match="wanted an image"):
        load(tmp_path)


def test_truncated_image_that_is_already_open() -> None:
    image = Image.open(io.BytesIO(smooth_photo(np.random.default_rng(0))[:-200]))
    with pytest.raises(ImageError, match="image: wanted an image, cannot read it"):
        prepare(image, 32)
    with pytest.raises(ImageError, match="got 0×5"):
        prepare(Image.new("RGB", (0, 5)), 32)


def test_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.png"
    for index in (0, 1, 2):
        path.write_bytes(fuzz_images.bombs()[index])
        with pytest.raises(ImageError, match=r"x\.png: wanted"):
            load(path)
    monkeypatch.setattr(file_reading, "MOST_PIXELS", 99)
    with pytest.raises(ImageError, match="wanted 1 to 99 pixels, got 10×10"):
        prepare(Image.new("RGB", (10, 10)), 10)


def test_decode() -> None:
    photo = smooth_photo(np.random.default_rng(0))
    with Image.open(io.BytesIO(photo)) as image:
        assert np.array_equal(decode(photo, 40, "x"), np.asarray(image))
    assert decode(photo, 16, "x").shape == (16, 16, 3)
    grey = saved(quadrants().convert("L"), "JPEG")
    assert decode(grey, 16, "x").shape == (16, 16, 3)
    for content in (b"", saved(quadrants(), "PNG"), saved(quadrants(), "GIF")):
        with pytest.raises(ImageError, match=r"^a/b\.jpg: wanted a JPEG, got something else$"):
            decode(content, 16, "a/b.jpg")
    with pytest.raises(ImageError, match=r"a/b\.jpg: wanted an image"):
        decode(photo[:-100], 16, "a/b.jpg")
    large = saved(Image.new("L", (2048, 2049)), "JPEG", quality=1)
    with pytest.raises(ImageError, match="pixels, got 2048×2049"):
        decode(large, 16, "x")


def test_ordinary_progressive_photos_have_few_scans() -> None:
    photo = smooth_photo(np.random.default_rng(0), 200, progressive=True, quality=95)
    assert photo.count(file_reading.START_OF_SCAN) > 5
    assert decode(photo, 16, "x").shape == (16, 16, 3)
    last = photo.rindex(file_reading.START_OF_SCAN)
    with pytest.raises(ImageError, match="over 32 scans"):
        decode(photo[:last] + photo[last:-2] * 40 + photo[-2:], 16, "x")


def test_encode_then_decode() -> None:
    image = quadrants(120, 80)
    content = encode(image, 64)
    with Image.open(io.BytesIO(content)) as small:
        assert (small.format, small.size) == ("JPEG", (64, 64))
    difference = decode(content, 64, "x").astype(int) - prepare(image, 64)
    assert np.abs(difference).mean() < 3
    with Image.open(io.BytesIO(encode(image, 1000))) as never_enlarged:
        assert never_enlarged.size == (80, 80)


def test_stack() -> None:
    assert stack([], 8).shape == (0, 8, 8, 3)
    assert stack([np.zeros((8, 8, 3), np.uint8)] * 2, 8).shape == (2, 8, 8, 3)
