"""Whether nearly equal photos share a role, and whether others are taken for it.

`python -m tofa_edge.benchmarks.studies.near_duplicates cifar10-jpeg.zip` takes 350 photos of each
set, makes 150 copies of some of them (saved again at quality 60, halved and enlarged, 5 % cropped,
10 % brighter, moved by 2 pixels), and deals all 500 as `train` does. It counts copies in another
role than their photo, and the photos of a set in a group with another photo of it. `--examples`
keeps pictures of such groups: some of these sets do hold one photo twice.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tofa_edge.architecture.arrays import ImageArray, IndexArray
from tofa_edge.benchmarks.studies.command import RESULTS, Row, options, store
from tofa_edge.benchmarks.studies.study_data import Labelled
from tofa_edge.benchmarks.studies.zip_photos import names_of, read_photos
from tofa_edge.train.data.grouping import split
from tofa_edge.train.data.likeness.near_duplicates import near_duplicates
from tofa_edge.train.data.named_sets import elpv, fashion_mnist
from tofa_edge.train.data.photos import resized
from tofa_edge.train.trainer import PARTS

PHOTOS, COPIES = 500, 0.3
DRAWS = 1
QUALITY, CROP, BRIGHTER, SHIFT = 60, 0.05, 1.1, 2
SHOWN, SHOWN_SIZE = 40, 128  # groups in a picture, and the size of their photos in pixels

Make = Callable[[Image.Image, np.random.Generator], Image.Image]


def saved_again(image: Image.Image, _: np.random.Generator) -> Image.Image:
    """Returns the image as a JPEG of quality 60 has it."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=QUALITY)
    with Image.open(stream) as saved:
        copy: Image.Image = saved.copy()
    return copy


def halved(image: Image.Image, _: np.random.Generator) -> Image.Image:
    half = image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC)
    return half.resize(image.size, Image.Resampling.BICUBIC)


def cropped(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Returns the image without 5 % of each side, at the size it had."""
    width, height = ((1 - CROP) * side for side in image.size)
    left, top = rng.random() * (image.width - width), rng.random() * (image.height - height)
    box = (left, top, left + width, top + height)
    return image.resize(image.size, Image.Resampling.BICUBIC, box)


def brighter(image: Image.Image, _: np.random.Generator) -> Image.Image:
    return image.point(lambda value: min(255, round(BRIGHTER * value)))


def moved(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Returns the image, moved two pixels in one of eight directions; the edge is repeated."""
    ways = [(x, y) for x in (-SHIFT, 0, SHIFT) for y in (-SHIFT, 0, SHIFT) if x or y]
    right, down = ways[rng.integers(len(ways))]
    padded = np.pad(np.asarray(image), ((SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="edge")
    rows, columns = slice(SHIFT + down, None), slice(SHIFT + right, None)
    return Image.fromarray(padded[rows, columns][: image.height, : image.width])


MADE: dict[str, Make] = {
    f"saved at quality {QUALITY}": saved_again,
    "halved and enlarged": halved,
    f"{CROP:.0%} cropped": cropped,
    "10 % brighter": brighter,
    f"moved by {SHIFT} px": moved,
}


def main() -> None:
    names = ["cifar10-jpeg", "fashion-mnist", "elpv"]
    out = RESULTS / "near_duplicates.json"
    given = options(
        __doc__, "zip", sets=names, photos=(PHOTOS, "of them 30 % copies"), draws=DRAWS,
        resolution=128, examples=(Path, "folder for pictures of groups"), out=out,
    )  # fmt: skip
    rows = []
    for name in given.sets:
        images, labels = _read(name, given.zip)
        for draw in range(given.draws):
            row = _studied(images, labels, given.photos, draw, given.resolution, given.examples)
            rows.append({"set": name, "draw": draw, **row})
            print(rows[-1], flush=True)
    store(given.out, {"copies": COPIES, "resolution": given.resolution, "rows": rows})


def _read(name: str, path: Path) -> Labelled:
    if name == "elpv":
        return elpv()[1:]
    if name == "fashion-mnist":
        return fashion_mnist()[1:]
    photos, classes = zip(*read_photos(path, names_of(path, "train")), strict=True)
    labels = np.unique(classes, return_inverse=True)[1]
    return np.stack([np.asarray(photo) for photo in photos]), labels.astype(np.int64)


def _studied(
    images: ImageArray,
    labels: IndexArray,
    photos: int,
    draw: int,
    resolution: int,
    examples: Path | None,
) -> Row:
    """Returns what became of photos drawn from a set, and of copies of some of them."""
    rng = np.random.default_rng(draw)
    copies = round(COPIES * photos)
    known = np.flatnonzero(labels >= 0)
    drawn = rng.permutation(known)[: photos - copies]
    sources = rng.permutation(len(drawn))[:copies]
    originals = [Image.fromarray(images[index]).convert("RGB") for index in drawn]
    kinds = np.arange(copies) % len(MADE)
    makers = list(MADE.values())
    made = [makers[k](originals[s], rng) for k, s in zip(kinds, sources, strict=True)]
    every = np.concatenate([resized(_square([image]), resolution) for image in [*originals, *made]])
    groups = near_duplicates(every)
    own = groups[: len(drawn)]
    if examples is not None:
        _show(every[: len(drawn)], own, examples / f"{draw}-{len(images)}.png")
    given = np.concatenate([labels[drawn], labels[drawn][sources]])
    found = groups[len(drawn) :] == own[sources]
    in_two = _in_two_roles(given, groups, len(drawn), sources, draw)
    alike = (np.bincount(groups, _own_weights(len(groups), len(drawn)))[own] > 1).mean()
    return {
        "photos": len(drawn),
        "copies": copies,
        "copies in two roles": float(in_two.mean()),
        "copies found": {name: float(found[kinds == k].mean()) for k, name in enumerate(MADE)},
        "photos grouped with others": float(alike),
    }


def _own_weights(count: int, own: int) -> ImageArray:
    """Returns 1 for the first of `count` photos, which are no copies, and 0 for the others."""
    return (np.arange(count) < own).astype(np.uint8)


def _square(images: list[Image.Image]) -> ImageArray:
    return np.stack([np.asarray(image) for image in images])


def _in_two_roles(
    labels: IndexArray, groups: IndexArray, own: int, sources: IndexArray, seed: int
) -> NDArray[np.bool_]:
    """Returns whether copies were dealt to another role than the photo they are made of.

    A copy that is left out is in no role.
    """
    role = np.full(len(labels), -1)
    for number, chosen in enumerate(split(labels, PARTS, seed, groups=groups).values()):
        role[chosen] = number
    copy, photo = role[own:], role[:own][sources]
    in_two: NDArray[np.bool_] = (copy >= 0) & (photo >= 0) & (copy != photo)
    return in_two


def _show(images: ImageArray, groups: IndexArray, path: Path) -> None:
    """Writes a picture of two photos of each group, for a look at whether they are the same."""
    several = np.flatnonzero(np.bincount(groups) > 1)[:SHOWN]
    if not len(several):
        return
    pairs = [np.flatnonzero(groups == group)[:2] for group in several]
    rows = [np.hstack(list(resized(images[pair], SHOWN_SIZE))) for pair in pairs]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.vstack(rows)).save(path)


if __name__ == "__main__":
    main()
