"""What calibrating with frames of the device's own camera brings, and what it costs.

    python -m tofa_edge.benchmarks.studies.frames parts.tofa photos.zip

Accuracy of three subnets on test photos of the zip (`<set>/test/<class>/<name>.jpg`), calibrated by
the bundle's photos, and by frames from training photos of the zip (`<set>/train/…`), with the guard
(at most a quarter of what calibrates are frames) and without. Where the camera differs from the
training photos, frames and test photos differ alike.
"""

from __future__ import annotations

import argparse
import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from tofa_edge.architecture.arrays import ImageArray, IndexArray
from tofa_edge.architecture.layers import LOGITS
from tofa_edge.architecture.space import Subnet
from tofa_edge.backends.protocol import Engine
from tofa_edge.benchmarks.studies.provenance import made
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.bundle.images import prepare, stack
from tofa_edge.cutting.cutter import CALIBRATION_IMAGES, FRAMES_SHARE, Cutter
from tofa_edge.selftest.records import calibrating_engine

SHARES = {"guarded": FRAMES_SHARE, "unguarded": 1.0}
BATCH = 50
NOISE = 4.0  # grey levels, of a camera that stands still
STILL_SIZE = (256, 256)  # of its frames
LIGHT = 0.1  # by which its light varies
FEW_SCENES = (1, 4, 16)
CLASSES_ALONE = 3

Frames = list[ImageArray]
Camera = Callable[[Image.Image], Image.Image]


def _darker(photo: Image.Image) -> Image.Image:
    return photo.point(lambda level: round(0.45 * level))


def _blurred(photo: Image.Image) -> Image.Image:
    return photo.filter(ImageFilter.GaussianBlur(photo.width / 32))


def _cast(photo: Image.Image) -> Image.Image:
    red, green, blue = photo.split()
    return Image.merge("RGB", (red, green.point(lambda v: 0.8 * v), blue.point(lambda v: 0.5 * v)))


CAMERAS: Mapping[str, Camera] = {
    "same camera": lambda photo: photo,
    "darker": _darker,
    "blurred": _blurred,
    "colour cast": _cast,
}


@dataclass(frozen=True, eq=False)
class StudyPhotos:
    """Labelled photos as they are stored, in an order that the seed decides.

    Attributes:
        images: RGB.
        labels: class indices, (N,).
    """

    images: list[Image.Image]
    labels: IndexArray

    def seen_by(self, camera: Camera) -> Frames:
        """Returns what a camera would have made of them, uint8, (height, width, 3) each."""
        return [np.asarray(camera(image)) for image in self.images]


def main() -> None:
    """Measures and writes a JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("zip", type=Path)
    parser.add_argument("--photos", type=int, default=1000, help="to test with")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/frames.json"))
    options = parser.parse_args()
    bundle = Bundle.open(options.bundle)
    rng = np.random.default_rng(options.seed)
    tested = read_photos(options.zip, "test", bundle.classes, options.photos, rng)
    pool = read_photos(options.zip, "train", bundle.classes, 10 * CALIBRATION_IMAGES, rng)
    space, engine = bundle.space, calibrating_engine(bundle)
    subnets = {
        "middle": space.middle(),
        "smallest": space.smallest(),
        "random": space.sample(rng),
    }
    rows: list[dict[str, Any]] = []
    for camera, seen in CAMERAS.items():
        images = tested.seen_by(seen)
        own = _accuracies(bundle, subnets, engine, (), 0.0, images, tested.labels)
        rows.append({"camera": camera, "frames": "none", "accuracy": own})
        print(json.dumps(rows[-1]), flush=True)
        for name, frames in _frame_sets(pool, seen, camera, bundle.classes, rng):
            for guard, share in SHARES.items():
                found = _accuracies(bundle, subnets, engine, frames, share, images, tested.labels)
                row = {"camera": camera, "frames": name, "guard": guard, "accuracy": found}
                rows.append({**row, "gain": round(found["mean"] - own["mean"], 4)})
                print(json.dumps(rows[-1]), flush=True)
    found_all = {
        "made": made(),
        "bundle": bundle.digest,
        "test_photos": len(tested.labels),
        "engine": str(engine),
        "seed": options.seed,
        "subnets": {name: str(subnet) for name, subnet in subnets.items()},
        "rows": rows,
    }
    options.out.write_text(json.dumps(found_all, indent=1))


def read_photos(
    path: Path, role: str, classes: tuple[str, ...], most: int, rng: np.random.Generator
) -> StudyPhotos:
    """Returns photos of a zip, drawn from all classes."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in sorted(archive.namelist()) if name.endswith(".jpg")]
        names = [name for name in names if name.split("/")[-3] == role]
        chosen = [names[index] for index in rng.permutation(len(names))[:most]]
        images = [Image.open(io.BytesIO(archive.read(name))).convert("RGB") for name in chosen]
    labels = np.array([classes.index(name.split("/")[-2]) for name in chosen], np.int64)
    return StudyPhotos(images, labels)


def _frame_sets(
    pool: StudyPhotos, seen: Camera, camera: str, classes: tuple[str, ...], rng: np.random.Generator
) -> Iterator[tuple[str, Frames]]:
    """Yields what a camera may have taken: all classes, one of them, a few scenes many times."""
    frames = pool.seen_by(seen)
    yield "all classes", frames[:CALIBRATION_IMAGES]
    for label in range(CLASSES_ALONE if camera == "same camera" else 1):
        alone = [frames[index] for index in np.flatnonzero(pool.labels == label)]
        yield f"one class: {classes[label]}", alone[:CALIBRATION_IMAGES]
    if camera == "same camera":
        for scenes in FEW_SCENES:
            repeated = [frames[index % scenes] for index in range(CALIBRATION_IMAGES)]
            yield f"{CALIBRATION_IMAGES} frames, scenes: {scenes}", list(_still(repeated, rng))


def _still(frames: Frames, rng: np.random.Generator) -> Iterator[ImageArray]:
    """Yields the frames in a camera's resolution, under noise and varying light."""
    for frame in frames:
        large = np.asarray(Image.fromarray(frame).resize(STILL_SIZE, Image.Resampling.BICUBIC))
        light = 1 + LIGHT * rng.uniform(-1, 1)
        noisy = large * light + NOISE * rng.standard_normal(large.shape)
        yield np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def _accuracies(
    bundle: Bundle,
    subnets: Mapping[str, Subnet],
    engine: Engine,
    frames: Frames | tuple[()],
    share: float,
    images: Frames,
    labels: IndexArray,
) -> dict[str, float]:
    """Returns the share of test photos that each subnet gets right, and the mean of these."""
    cutter, found = Cutter(bundle, frames, share), {}
    for name, subnet in subnets.items():
        size, crop = subnet.resolution, bundle.preprocessing.crop
        batch = stack([prepare(image, size, crop) for image in images], size)
        session = engine.load(cutter.network(subnet, engine))
        try:
            parts = [session.run(batch[i : i + BATCH])[LOGITS] for i in range(0, len(batch), BATCH)]
        finally:
            session.close()
        found[name] = round(float((np.concatenate(parts).argmax(1) == labels).mean()), 4)
    return {**found, "mean": round(float(np.mean(list(found.values()))), 4)}


if __name__ == "__main__":
    main()
