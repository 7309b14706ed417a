"""Formats: what a file is decides, not what it is called; other programs are never started."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tofa_edge.bundle.images import load, prepare
from tofa_edge.errors import ImageError
from tofa_edge.images.formats import SUFFIXES, formats, is_photo, what_it_is
from tofa_edge.images.reading import ALPHA, CENTRE, CMYK, FIRST_FRAME, ROTATED, FormatError, read
from tofa_edge.selftest.small_bundle import smooth_photo

RED, BLUE = (200, 10, 20), (20, 30, 200)
OTHERS = {
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n": "PostScript",
    b"\xc5\xd0\xd3\xc6" + bytes(40): "PostScript",
    b"%PDF-1.7\n": "PDF",
    b"8BPS\0\1": "Photoshop",
    b"\xef\xbb\xbf<!DOCTYPE html><html>404": "a web page",
    b" <svg xmlns='http://www.w3.org/2000/svg'/>": "SVG",
    b"version https://git-lfs.github.com/spec/v1\n": "Git LFS pointer",
    b"\0\0\0\x18ftypmp42": "a film",
    b"PK\x03\x04": "ZIP",
    b"": "empty",
    bytes(900): "nothing but zeros",
    b"hello": "of a kind that nobody here knows",
    b"\x89PNG\r\n\x1a\n": "a damaged PNG",
}


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("content", OTHERS)
@pytest.mark.parametrize("name", ["photo.jpg", "photo.png", "photo.eps", "photo"])
def test_what_is_no_photo_is_named(
    tmp_path: Path, content: bytes, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        pytest.fail("a program was started")

    monkeypatch.setattr("subprocess.Popen", never)
    monkeypatch.setattr("os.system", never)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError) as caught:
        prepare(tmp_path / name, 16)
    assert f"{name}: wanted an image, cannot read it: it is " in str(caught.value)
    assert OTHERS[content] in str(caught.value)
    assert "\n" not in str(caught.value)
    is_other = content and not content.startswith(b"\x89PNG")
    assert isinstance(caught.value, FormatError) == bool(is_other)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "MPO"])
def test_formats_are_read_whatever_they_are_called(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(saved(Image.new("RGB", (40, 40), RED), kind))
    assert np.abs(prepare(path, 8).astype(int) - RED).max() <= 4


def test_avif_is_read_where_pillow_can(tmp_path: Path) -> None:
    if "AVIF" not in formats():
        pytest.skip("this Pillow has no AVIF")
    path = tmp_path / "photo.avif"
    path.write_bytes(saved(Image.new("RGB", (40, 40), RED), "AVIF"))
    assert is_photo(path)
    assert np.abs(prepare(path, 8).astype(int) - RED).max() <= 6


def test_heic_is_read_with_pillow_heif(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "IMG_0001.HEIC"
    formats()
    Image.new("RGB", (64, 64), RED).save(path, "HEIF", quality=95)
    assert heif.is_supported(path)
    assert is_photo(path)
    assert np.abs(prepare(path, 8).astype(int) - RED).max() <= 8


def test_heic_without_pillow_heif_says_what_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    from tofa_edge.images import formats as module

    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for cached in (module.formats, module.reads_heif):
        cached.cache_clear()
    try:
        path = tmp_path / "x.jpg"
        path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
        assert not is_photo(Path("x.heic"))
        with pytest.raises(FormatError, match=r"pip install 'tofa-edge\[heif\]'"):
            load(path)
    finally:
        for cached in (module.formats, module.reads_heif):
            cached.cache_clear()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_is_taken_and_said(tmp_path: Path, kind: str) -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in (RED, BLUE)]
    path = tmp_path / f"x.{kind.lower()}"
    options = {"lossless": True} if kind == "WEBP" else {}
    frames[0].save(path, kind, save_all=True, append_images=frames[1:], **options)
    picture = read(path)
    assert FIRST_FRAME in picture.changes
    assert np.abs(np.asarray(picture.image, int) - RED).max() <= 4


def test_a_photo_with_a_preview_inside_is_no_animation(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    large, preview = Image.new("RGB", (80, 80), RED), Image.new("RGB", (8, 8), BLUE)
    large.save(path, "MPO", save_all=True, append_images=[preview])
    picture = read(path)
    assert picture.changes == ()
    assert picture.image.size == (80, 80)


def test_one_bit_and_palettes_with_alpha(tmp_path: Path) -> None:
    ones = Image.new("1", (40, 40))
    ones.paste(1, (20, 0, 40, 40))
    ones.save(tmp_path / "x.tif", compression="group4")
    made = prepare(tmp_path / "x.tif", 40)
    assert (made[:, :18].max(), made[:, 22:].min()) == (0, 255)
    clear = Image.new("RGB", (40, 40), RED)
    clear.putalpha(Image.linear_gradient("L").resize((40, 40)))
    clear.quantize(16).save(tmp_path / "x.png")
    picture = read(tmp_path / "x.png")
    assert picture.changes == (ALPHA,)
    assert np.abs(np.asarray(picture.image, int)[20, 20] - RED).max() <= 12


def test_opaque_alpha_is_no_change(tmp_path: Path) -> None:
    Image.new("RGBA", (9, 9), (*RED, 255)).save(tmp_path / "x.png")
    assert read(tmp_path / "x.png").changes == ()


def test_changes_are_said(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "x.jpg"
    Image.new("CMYK", (20, 40), (0, 255, 255, 0)).save(path, exif=exif)
    picture = read(path)
    assert picture.changes == (CMYK, ROTATED)
    assert picture.image.size == (40, 20)
    assert np.asarray(picture.image)[..., 0].min() > 200
    Image.new("RGB", (20_000, 1)).save(tmp_path / "line.png")
    assert read(tmp_path / "line.png").changes == (CENTRE,)


def test_a_tiff_is_turned_once(tmp_path: Path) -> None:
    values = np.zeros((20, 40), np.uint16)
    values[:10, :20] = 60_000
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(values).save(tmp_path / "x.tif", exif=exif)
    made = np.asarray(load(tmp_path / "x.tif"))
    assert made.shape == (40, 20, 3)
    assert (made[5, 15, 0], made[5, 5, 0], made[35, 15, 0]) == (60_000 >> 8, 0, 0)


def test_text_chunks_that_are_bombs_are_an_error(tmp_path: Path) -> None:
    chunk = b"zTXtx\0\0" + zlib.compress(bytes(80 * 2**20), 9)
    content = saved(Image.new("RGB", (9, 9)), "PNG")
    extra = struct.pack(">L", len(chunk) - 4) + chunk + struct.pack(">L", zlib.crc32(chunk))
    (tmp_path / "x.png").write_bytes(content[:33] + extra + content[33:])
    with pytest.raises(ImageError, match=r"x\.png: wanted an image, cannot read it"):
        load(tmp_path / "x.png")


def test_libtiff_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 255, (64, 64, 3)).astype(np.uint8))
    content = bytearray(saved(image, "TIFF", compression="tiff_lzw"))
    for place in range(40, len(content) - 300, 97):
        content[place] ^= 0x5A
    (tmp_path / "x.tif").write_bytes(content)
    with pytest.raises(ImageError, match="cannot read it"):
        prepare(tmp_path / "x.tif", 8)
    assert capfd.readouterr().err == ""


def test_a_cut_file_is_an_error(tmp_path: Path) -> None:
    whole = smooth_photo(np.random.default_rng(0))
    (tmp_path / "x.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError, match=r"x\.jpg: wanted an image, cannot read it"):
        load(tmp_path / "x.jpg")


@pytest.mark.parametrize("suffix", [".JPG", ".jpe", ".jfif", ".Jpeg", ".tif", ".WebP"])
def test_names_of_photos(suffix: str) -> None:
    assert is_photo(Path(f"a\n:😀{suffix}"))
    assert suffix.lower() in SUFFIXES


def test_names_of_others() -> None:
    assert not any(is_photo(Path(name)) for name in ("x.eps", "x.txt", "jpg", ".jpg", "x.svg"))
    assert what_it_is(b"II*\0") == "TIFF"
