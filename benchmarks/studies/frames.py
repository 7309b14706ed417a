"""What calibrating with frames of the device's own camera brings, and what it costs.

    python -m tofa_edge.benchmarks.studies.frames parts.tofa photos.zip

Accuracy of three subnets on test photos of the zip (`<set>/test/<class>/<name>.jpg`), calibrated by
the bundle's photos, and by frames from training photos of the zip (`<set>/train/…`), with the guard
(at most a quarter of what calibrates are frames) and without. Where the camera differs from the
training photos, frames and test photos differ alike.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from tofa_edge.architecture.arrays import ImageArray, IndexArray
from tofa_edge.architecture.space import Subnet
from tofa_edge.backends.protocol import Engine
from tofa_edge.benchmarks.studies.command import RESULTS, options, store
from tofa_edge.benchmarks.studies.zip_photos import names_of, read_photos
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.bundle.images import prepare, stack
from tofa_edge.cutting.accuracy_drop import logits_of
from tofa_edge.cutting.cutter import CALIBRATION_IMAGES, FRAMES_SHARE, Cutter
from tofa_edge.selftest.calibrating import calibrating_engine

SHARES = {"guarded": FRAMES_SHARE, "unguarded": 1.0}
NOISE = 4.0  # grey levels, of a camera that stands still
STILL_SIZE = (256, 256)  # of its frames
LIGHT = 0.1  # by which its light varies

Photos = tuple[list[Image.Image], IndexArray]  # RGB, and class indices
Frames = Sequence[ImageArray]  # uint8, (height, width, 3) each
Camera = Callable[[Image.Image], Image.Image]


def _cast(photo: Image.Image) -> Image.Image:
    red, green, blue = photo.split()
    return Image.merge("RGB", (red, green.point(lambda v: 0.8 * v), blue.point(lambda v: 0.5 * v)))


CAMERAS: Mapping[str, Camera] = {
    "same camera": lambda photo: photo,
    "darker": lambda photo: photo.point(lambda level: round(0.45 * level)),
    "blurred": lambda photo: photo.filter(ImageFilter.GaussianBlur(photo.width / 32)),
    "colour cast": _cast,
}


def main() -> None:
    out = RESULTS / "frames.json"
    given = options(__doc__, "bundle", "zip", photos=(1000, "to test with"), seed=0, out=out)
    bundle = Bundle.open(given.bundle)
    rng = np.random.default_rng(given.seed)
    photos, labels = _photos(given.zip, "test", bundle.classes, given.photos, rng)
    pool = _photos(given.zip, "train", bundle.classes, 10 * CALIBRATION_IMAGES, rng)
    space, engine = bundle.space, calibrating_engine(bundle)
    subnets = {"middle": space.middle(), "smallest": space.smallest(), "random": space.sample(rng)}
    rows: list[dict[str, Any]] = []
    for camera, effect in CAMERAS.items():
        tested = (_frames(photos, effect), labels)
        base = _accuracies(bundle, subnets, engine, (), 0.0, tested)
        rows.append({"camera": camera, "frames": "none", "accuracy": base})
        print(json.dumps(rows[-1]), flush=True)
        for name, frames in _frame_sets(pool, camera, bundle.classes, rng):
            for guard, share in SHARES.items():
                accuracy = _accuracies(bundle, subnets, engine, frames, share, tested)
                row = {"camera": camera, "frames": name, "guard": guard, "accuracy": accuracy}
                rows.append({**row, "gain": round(accuracy["mean"] - base["mean"], 4)})
                print(json.dumps(rows[-1]), flush=True)
    result = {
        "bundle": bundle.digest,
        "test_photos": len(labels),
        "engine": str(engine),
        "seed": given.seed,
        "subnets": {name: str(subnet) for name, subnet in subnets.items()},
        "rows": rows,
    }
    store(given.out, result)


def _photos(
    path: Path, role: str, classes: Sequence[str], most: int, rng: np.random.Generator
) -> Photos:
    """Returns photos of a zip, drawn from all classes."""
    names = names_of(path, role)
    chosen = [names[index] for index in rng.permutation(len(names))[:most]]
    photos, labels = zip(*read_photos(path, chosen), strict=True)
    return list(photos), np.array([classes.index(label) for label in labels], np.int64)


def _frames(photos: Sequence[Image.Image], effect: Camera) -> Frames:
    return [np.asarray(effect(photo)) for photo in photos]


def _frame_sets(
    pool: Photos, camera: str, classes: Sequence[str], rng: np.random.Generator
) -> Iterator[tuple[str, Frames]]:
    """Yields what a camera may have taken: all classes, one of them, a few scenes many times."""
    frames = _frames(pool[0], CAMERAS[camera])
    yield "all classes", frames[:CALIBRATION_IMAGES]
    for label in range(3 if camera == "same camera" else 1):
        alone = [frames[index] for index in np.flatnonzero(pool[1] == label).tolist()]
        yield f"one class: {classes[label]}", alone[:CALIBRATION_IMAGES]
    if camera == "same camera":
        for scenes in (1, 4, 16):
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
    frames: Frames,
    share: float,
    tested: tuple[Frames, IndexArray],
) -> dict[str, float]:
    """Returns the share of test photos that each subnet gets right, and the mean of these."""
    cutter, accuracies = Cutter(bundle, frames, share), {}
    for name, subnet in subnets.items():
        size, crop = subnet.resolution, bundle.preprocessing.crop
        images = stack([prepare(image, size, crop) for image in tested[0]], size)
        logits = logits_of(cutter.network(subnet, engine), engine, images)
        accuracies[name] = round(float((logits.argmax(1) == tested[1]).mean()), 4)
    return {**accuracies, "mean": round(float(np.mean(list(accuracies.values()))), 4)}


if __name__ == "__main__":
    main()
