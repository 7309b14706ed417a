"""A pool of photos from packages: what counts as a photo, what is alike, and the table."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from tofa_edge.architecture.arrays import ImageArray
from tofa_edge.benchmarks.studies import photo_pool
from tofa_edge.benchmarks.studies.photo_judging import (
    CandidatePhoto,
    distinct,
    drawn,
    judged,
    pasted,
)
from tofa_edge.benchmarks.studies.photo_pool import licences, markdown


def scene(seed: int, size: tuple[int, int] = (300, 240)) -> Image.Image:
    """Soft shapes with a sensor's noise: what a photo is to the judge."""
    rng = np.random.default_rng(seed)
    shapes = Image.fromarray(rng.integers(0, 255, (4, 5, 3)).astype(np.uint8))
    pixels = np.asarray(shapes.resize(size, Image.Resampling.BICUBIC)).astype(float)
    return Image.fromarray((pixels + rng.normal(0, 4, pixels.shape)).clip(0, 255).astype(np.uint8))


def drawing() -> Image.Image:
    image = Image.new("RGB", (300, 240), "white")
    ImageDraw.Draw(image).ellipse((40, 40, 200, 180), fill="red")
    return image


def cut_out(seed: int) -> Image.Image:
    image = scene(seed).convert("RGBA")
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).ellipse((60, 40, 240, 200), fill=255)
    image.putalpha(mask)
    return image


def content(image: Image.Image, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, quality=95)
    return stream.getvalue()


def test_photos_are_told_from_drawings() -> None:
    found = judged("x.png", content(scene(0)))
    assert isinstance(found, CandidatePhoto)
    assert not found.is_cut_out
    assert judged("x.png", content(drawing())) == "drawn"
    grey = Image.linear_gradient("L").resize((300, 240), Image.Resampling.BICUBIC).convert("RGB")
    assert drawn(grey.filter(ImageFilter.GaussianBlur(9))) in ("drawn", "without detail")
    assert judged("x.png", content(scene(0).resize((80, 60)))) == "small"
    assert judged("x.png", content(scene(0, (1200, 200)))) == "narrow"
    assert judged("wall_norm.png", content(scene(0))) == "by name"
    assert judged("x.png", b"no picture") == "unreadable"


def test_cut_outs_are_cropped_and_pasted() -> None:
    found = judged("x.png", content(cut_out(1)))
    assert isinstance(found, CandidatePhoto)
    assert found.is_cut_out
    assert found.image.size == (181, 161)
    ground = scene(2)
    made = pasted(found.image, ground, np.random.default_rng(0))
    assert made.shape[0] == made.shape[1] >= 192
    other = pasted(found.image, Image.new("RGB", (300, 240)), np.random.default_rng(0))
    covered = (made == other).all(axis=2)
    assert 0.1 < covered.mean() < 0.8, "the cut-out hides the ground, and no more"


def test_of_near_equal_pictures_the_first_stays() -> None:
    pictures = [scene(0), scene(1), scene(0).resize((600, 480)), scene(2)]
    found = [judged("x.png", content(each)) for each in pictures]
    thumbnails = [each.thumbnail for each in found if isinstance(each, CandidatePhoto)]
    assert distinct(np.stack(thumbnails)).tolist() == [0, 1, 3]


def test_licences_are_read() -> None:
    text = "Files: *\nLicense: CC-BY-SA-4.0\n words\n\nFiles: a\nLicense: GPL-2+\nLicense: GPL-2+\n"
    assert licences(text) == ["CC-BY-SA-4.0", "GPL-2+"]
    assert licences("This package is in the public domain.") == ["public domain"]
    assert licences("License-Expression: BSD-3-Clause\n") == ["BSD-3-Clause"]


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="wants dpkg-deb")
def test_a_pool_is_made_of_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    debs, out = tmp_path / "debs", tmp_path / "pool"
    debs.mkdir()
    with zipfile.ZipFile(tmp_path / "inner.pk3", "w") as archive:
        archive.writestr("textures/wall.png", content(scene(3)))
    build(debs, "scenes", {
        "usr/share/a.jpg": content(scene(0), "JPEG"), "usr/share/b.png": content(scene(1)),
        "usr/share/b-again.png": content(scene(1).resize((400, 320))),
        "usr/share/drawn.png": content(drawing()) + bytes(9000),
        "usr/share/cut.png": content(cut_out(2)), "usr/share/more.pk3":
        (tmp_path / "inner.pk3").read_bytes(),
        "usr/share/more.rcc": b"qres" + content(scene(4), "WEBP") + b"end",
        "usr/share/doc/scenes/copyright": b"License: CC0-1.0\n",
    })  # fmt: skip
    build(debs, "words", {"usr/share/x.txt": b"none"})
    words = ["photo_pool", "--out", out, "--debs", debs, "--debian", "scenes", "words", "--pypi"]
    monkeypatch.setattr(sys, "argv", [str(word) for word in words])
    photo_pool.main()
    table = json.loads((out / "sources.json").read_text())
    (row,) = table["sources"]
    assert (row["package"], row["version"], row["licences"]) == ("scenes", "1.2", ["CC0-1.0"])
    assert (row["photos"], row["cut_outs"], table["pasted"], table["photos"]) == (4, 1, 2, 6)
    assert (row["left_out"]["drawn"], row["left_out"]["like another"]) == (1, 1)
    assert table["packages_without_photos"] == ["words"]
    assert (out / "licences" / "scenes.txt").read_text() == "License: CC0-1.0\n"
    assert "| scenes | Debian | 1.2 | 4 | 1 | CC0-1.0 |" in markdown(table)
    sizes = {path.name: path.stat().st_mtime_ns for path in (out / "packages").glob("*")}
    shutil.rmtree(debs)
    photo_pool.main()
    assert sizes == {path.name: path.stat().st_mtime_ns for path in (out / "packages").glob("*")}
    assert {load(path).shape[2] for path in (out / "photos").glob("*.jpg")} == {3}


def load(path: Path) -> ImageArray:
    return np.asarray(Image.open(path))


def build(debs: Path, name: str, files: dict[str, bytes]) -> None:
    root = debs.parent / name
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(text)
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN" / "control").write_text(
        f"Package: {name}\nVersion: 1.2\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n"
    )
    command = ["dpkg-deb", "--root-owner-group", "-b", str(root), str(debs / f"{name}_1.2_all.deb")]
    subprocess.run(command, check=True, capture_output=True)
