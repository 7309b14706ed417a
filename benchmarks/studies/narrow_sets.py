"""What 8-bit integers cost on small, narrow data sets, trained with the default settings.

`python -m tofa_edge.benchmarks.studies.narrow_sets --zip cifar10-jpeg.zip --resolutions 64 128`
trains a bundle of each set from at most 1,500 photos, 10 labels a class, and classifies 600 others
in fp32 and with every engine that computes in int8 here. On such data most channels that the
classifier reads hardly ever fire. Bundles are kept in the work folder: started again, only what is
missing is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from tofa_edge.architecture.arrays import ImageArray, IndexArray
from tofa_edge.architecture.space import Subnet
from tofa_edge.benchmarks.studies.command import RESULTS, Row, options, store
from tofa_edge.benchmarks.studies.study_data import Labelled, read_data
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cutting.accuracy_drop import logits_of
from tofa_edge.cutting.cutter import Cutter
from tofa_edge.cutting.ranges import ready
from tofa_edge.selftest.calibrating import calibrating_engine
from tofa_edge.selftest.records import passing_engines
from tofa_edge.train.config import TrainingConfig
from tofa_edge.train.data.named_sets import digits, elpv, fashion_mnist
from tofa_edge.train.data.photos import resized
from tofa_edge.train.trainer import train

LABELS = 10  # a class
PHOTOS, TEST_PHOTOS = 1500, 600


def main() -> None:
    sets = {"nargs": "+", "choices": SETS, "default": list(SETS)}
    out, work = RESULTS / "narrow_sets.json", Path("narrow")
    given = options(__doc__, zip=Path, sets=sets, resolutions=[64, 128], work=work, out=out)
    rows = []
    for name in given.sets:
        photos, (images, labels) = _divided(*SETS[name](given.zip))
        folder = given.work / name
        _write_photos(folder, *photos)
        for resolution in given.resolutions:
            bundle = given.work / f"{name}-{resolution}.tofa"
            if not bundle.exists():
                config = TrainingConfig(labels_per_class=LABELS, resolution=resolution)
                train(folder, bundle, config)
            row = {"set": name, "resolution": resolution, **tested(bundle, images, labels)}
            print(row, flush=True)
            rows.append(row)
    store(given.out, {"labels_per_class": LABELS, "rows": rows})


def tested(bundle: Path, images: ImageArray, labels: IndexArray) -> Row:
    """Returns the accuracy of the largest and the middle subnet by engine and precision.

    Args:
        images: not trained on, uint8, (N, S, S, 3).
        labels: class indices, (N,).
    """
    opened = Bundle.open(bundle)
    cutter, exact = Cutter(opened), calibrating_engine(opened)
    subnets: dict[str, Subnet] = {
        "largest": opened.space.largest(),
        "middle": opened.space.middle(),
    }
    accuracies: Row = {}
    for name, subnet in subnets.items():
        network = cutter.network(subnet, exact)
        seen = resized(images, subnet.resolution)
        logits = {"fp32": logits_of(network, exact, seen)}
        for engine in passing_engines(opened):
            if engine.target.precision == "int8" and engine.target.threads == 1:
                calibration = cutter.images(subnet.resolution)
                integers = ready(network, engine.target, calibration, exact)
                logits[f"{engine.backend.name} int8"] = logits_of(integers, engine, seen)
        accuracies[name] = {
            by: round(100 * float((rows.argmax(axis=1) == labels).mean()), 2)
            for by, rows in logits.items()
        }
    return accuracies


def _divided(images: ImageArray, labels: IndexArray) -> tuple[Labelled, Labelled]:
    """Returns photos to train on and others to test with, by a fixed draw."""
    order = np.random.default_rng(0).permutation(len(labels))
    test, photos = np.split(order, [min(TEST_PHOTOS, len(order) // 3)])
    photos = photos[:PHOTOS]
    return (images[photos], labels[photos]), (images[test], labels[test])


def _write_photos(folder: Path, images: ImageArray, labels: IndexArray) -> None:
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / f"class {label}" / f"{number:04}.png"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)


def _digits(_: Path | None) -> Labelled:
    grey, labels = digits()[1:]
    return resized(grey, 32), labels


def _solar_cells(_: Path | None) -> Labelled:
    grey, labels = elpv()[1:]
    known = labels >= 0
    return resized(grey[known], 160), labels[known]


def _fashion(*classes: int) -> Callable[[Path | None], Labelled]:
    def read(_: Path | None) -> Labelled:
        grey, labels = fashion_mnist()[1:]
        return _of(resized(grey[:20_000], 32), labels[:20_000], classes)

    return read


def _cats_and_dogs(path: Path | None) -> Labelled:
    if path is None:
        raise SystemExit("cats and dogs are in cifar10-jpeg.zip: give --zip")
    data = read_data(path)
    return _of(data.images, data.labels, (3, 5))


def _of(images: ImageArray, labels: IndexArray, classes: tuple[int, ...]) -> Labelled:
    """Returns the images of some classes, numbered from 0."""
    chosen = np.isin(labels, classes)
    return images[chosen], np.searchsorted(classes, labels[chosen])


SETS: Mapping[str, Callable[[Path | None], Labelled]] = {
    "digits": _digits,
    "solar cells": _solar_cells,
    "shirts": _fashion(0, 6),
    "shoes": _fashion(7, 9),
    "cats and dogs": _cats_and_dogs,
}


if __name__ == "__main__":
    main()
