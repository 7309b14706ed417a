"""What decoding large JPEGs at a fraction of their size changes, and how much faster it is.

    python -m tofa_edge.benchmarks.studies.reduced_decoding

Photos are saved as JPEG, six times as wide as the network's input or more, and prepared twice: as
`prepare` does, and from the whole photo. Counted is how often the prediction is another: of a
linear probe on solar cells (elpv, two classes, on each half of the photos by a probe of the other
half), and of EfficientNet-Lite0 itself on random windows of real photos (of the packages
scikit-learn and foolbox; 1,000 classes, and few windows show one of them). For speed, a photo of 12
million pixels is prepared on one thread.
"""

from __future__ import annotations

import importlib.util
import io
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tofa_edge.architecture.arrays import ImageArray
from tofa_edge.benchmarks.studies.command import RESULTS, options, store
from tofa_edge.bundle.images import load, prepare, stack
from tofa_edge.images.reading import DETAIL
from tofa_edge.train.data.named_sets import elpv
from tofa_edge.train.data.photos import UNLABELLED
from tofa_edge.train.objective.linear_probe import fit_linear_probe
from tofa_edge.train.objective.teachers import TeacherOutputs, run_teacher

FOLDERS = (("sklearn", "datasets/images"), ("foolbox", "data"))
LEAST_SIDE = 400
WINDOW_INPUT, CELL_INPUT = 64, 48  # pixels of the network's input
LEAST = 2 * DETAIL  # times the input: from there on, a photo is reduced
QUALITY = 90
LARGE, LARGE_SIZE, REPEATS = (4000, 3000), 224, 20
NOISE = 6.0  # grey levels: an enlarged photo alone would be a small file


def main() -> None:
    """Measures and stores."""
    out = RESULTS / "reduced_decoding.json"
    given = options(
        __doc__, windows=(500, "of photos"), cells=(1312, "photos of cells"), seed=0, out=out
    )
    rng = np.random.default_rng(given.seed)
    photos = _photos()
    chosen = rng.integers(len(photos), size=given.windows)
    windows = [_window(photos[index], LEAST * WINDOW_INPUT, rng) for index in chosen]
    reduced, whole = _outputs(windows, WINDOW_INPUT)
    result = {
        "windows": given.windows,
        "windows_changed_share": _share(reduced.logits.argmax(1) != whole.logits.argmax(1)),
        "cells": given.cells,
        **_cells(given.cells, rng),
        "megapixels": LARGE[0] * LARGE[1] / 1e6,
        "size": LARGE_SIZE,
        **_speed(photos[0], rng),
    }
    store(given.out, result)


def _cells(count: int, rng: np.random.Generator) -> dict[str, float]:
    """Returns how many solar cells a probe names otherwise, and how many it names right."""
    classes, raw, labels = elpv()
    chosen = rng.permutation(np.flatnonzero(labels >= 0))[:count]
    images, truth = raw[chosen], labels[chosen]
    reduced, whole = _outputs([_jpeg(Image.fromarray(image)) for image in images], CELL_INPUT)
    half = np.arange(len(chosen)) % 2
    predicted = {"reduced": np.zeros_like(truth), "whole": np.zeros_like(truth)}
    for fitted in (0, 1):
        known = np.where(half == fitted, truth, UNLABELLED)
        probe = fit_linear_probe(whole.features.clone(), known, len(classes), 0)
        for name, outputs in (("reduced", reduced), ("whole", whole)):
            guesses = probe.probabilities(outputs.features).argmax(1).numpy()
            predicted[name][half != fitted] = guesses[half != fitted]
    right = {f"cells_right_{name}": float((p == truth).mean()) for name, p in predicted.items()}
    changed = float((predicted["reduced"] != predicted["whole"]).mean())
    return {"cells_changed_share": changed, **right}


def _outputs(contents: Sequence[bytes], size: int) -> tuple[TeacherOutputs, TeacherOutputs]:
    """Returns what a network computes of JPEGs, decoded at a fraction of their size, and whole."""
    reduced: list[ImageArray] = []
    whole: list[ImageArray] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.jpg"
        for content in contents:
            path.write_bytes(content)
            reduced.append(prepare(path, size))
            whole.append(prepare(load(path), size))
    device = torch.device("cpu")
    first, second = (
        run_teacher("lite0", stack(each, size), device, resolution=2 * size)
        for each in (reduced, whole)
    )
    return first, second


def _share(changed: torch.Tensor) -> float:
    return float(changed.float().mean())


def _photos() -> list[Image.Image]:
    found = []
    for package, folder in FOLDERS:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise SystemExit(f"this study needs {package}: pip install {package}")
        found += [load(path) for path in sorted((Path(spec.origin).parent / folder).glob("*.jpg"))]
    return [photo for photo in found if min(photo.size) >= LEAST_SIDE]


def _window(photo: Image.Image, least: int, rng: np.random.Generator) -> bytes:
    side = int(rng.integers(least, min(photo.size) + 1))
    left, top = (int(rng.integers(length - side + 1)) for length in photo.size)
    return _jpeg(photo.crop((left, top, left + side, top + side)))


def _jpeg(photo: Image.Image) -> bytes:
    stream = io.BytesIO()
    photo.save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()


def _speed(photo: Image.Image, rng: np.random.Generator) -> dict[str, float]:
    enlarged = np.asarray(photo.resize(LARGE, Image.Resampling.BICUBIC)).astype(np.float32)
    enlarged += rng.normal(0, NOISE, enlarged.shape).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.jpg"
        Image.fromarray(np.clip(enlarged, 0, 255).astype(np.uint8)).save(path, quality=QUALITY)
        begun = time.process_time()
        for _ in range(REPEATS):
            prepare(path, LARGE_SIZE)
        reduced = time.process_time()
        for _ in range(3):
            prepare(load(path), LARGE_SIZE)
        whole = time.process_time()
    return {
        "per_second": REPEATS / (reduced - begun),
        "per_second_whole": 3 / (whole - reduced),
    }


if __name__ == "__main__":
    main()
