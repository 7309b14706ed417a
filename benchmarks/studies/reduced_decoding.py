"""What decoding large JPEGs at a fraction of their size changes, and how much faster it is.

    python -m tofa_edge.benchmarks.studies.reduced_decoding

Photos are saved as JPEG and prepared twice: decoded at half of their size, with so many pixels
(a ratio) for each that the network wants, and whole. Counted is how often the prediction is
another: of a linear probe on solar cells (elpv, two classes, on each half of the photos by a probe
of the other half), and of EfficientNet-Lite0 itself on random windows of real photos (of the
packages scikit-learn and foolbox; 1,000 classes, and few windows show one of them). All come from
photos of about the same size, so the input is the smaller, the higher the ratio. For comparison,
an eighth of the values of an image are changed by 1: what rounding otherwise does. For speed, a
photo of 12 million pixels is prepared on one thread, by the ratio in use and decoded at other
fractions.
"""

from __future__ import annotations

import importlib.util
import io
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tofa_edge.architecture.arrays import IndexArray
from tofa_edge.architecture.zoo import efficientnet_lite0
from tofa_edge.benchmarks.studies.command import RESULTS, options, store
from tofa_edge.bundle.images import load, prepare, stack
from tofa_edge.images.reading import DETAIL
from tofa_edge.train.data.named_sets import elpv
from tofa_edge.train.data.photos import UNLABELLED
from tofa_edge.train.objective.linear_probe import fit_linear_probe
from tofa_edge.train.objective.teachers import TeacherOutputs, run_teacher

FOLDERS = (("sklearn", "datasets/images"), ("foolbox", "data"))
LEAST_SIDE = 400
WINDOW_SIDE, CELL_SIDE = 384, 288  # pixels: 2 × ratio × input
RATIOS = (3, 4, 6, 8)  # pixels that are decoded for each of the network's input, a side
ROUNDED = 0.125  # of an image's values that are changed by 1
FRACTIONS = (1, 2, 4)  # of a side, that a large photo is decoded at
QUALITY = 90
LARGE, LARGE_SIZE, REPEATS = (4000, 3000), 224, 20
KINDS = ("reduced", "whole", "rounded")
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
    windows = [_window(photos[index], WINDOW_SIDE, rng) for index in chosen]
    classes, raw, labels = elpv()
    picked = rng.permutation(np.flatnonzero(labels >= 0))[: given.cells]
    cells = [_jpeg(Image.fromarray(image)) for image in raw[picked]]
    result = {
        "windows": given.windows,
        "cells": given.cells,
        "ratios": {
            str(ratio): {
                **_windows(windows, ratio, rng),
                **_cells(cells, labels[picked], len(classes), ratio, rng),
            }
            for ratio in RATIOS
        },
        "in_use": DETAIL,
        "megapixels": LARGE[0] * LARGE[1] / 1e6,
        "size": LARGE_SIZE,
        **_speed(photos[0], rng),
    }
    store(given.out, result)


def _windows(windows: Sequence[bytes], ratio: int, rng: np.random.Generator) -> dict[str, float]:
    """Returns how many windows of photos a pretrained network names otherwise."""
    size = WINDOW_SIDE // (2 * ratio)
    guesses = [outputs.logits.argmax(1) for outputs in _outputs(windows, size, ratio, rng)]
    return {
        "windows_input": size,
        "windows_changed_share": _share(guesses[0] != guesses[1]),
        "windows_changed_share_by_rounding": _share(guesses[2] != guesses[1]),
    }


def _cells(
    cells: Sequence[bytes], truth: IndexArray, classes: int, ratio: int, rng: np.random.Generator
) -> dict[str, float]:
    """Returns how many solar cells a probe names otherwise, and how many it names right."""
    size = CELL_SIDE // (2 * ratio)
    outputs = dict(zip(KINDS, _outputs(cells, size, ratio, rng), strict=True))
    half = np.arange(len(truth)) % 2
    predicted = {name: np.zeros_like(truth) for name in KINDS}
    for fitted in (0, 1):
        known = np.where(half == fitted, truth, UNLABELLED)
        probe = fit_linear_probe(outputs["whole"].features.clone(), known, classes, 0)
        for name in KINDS:
            guesses = probe.probabilities(outputs[name].features).argmax(1).numpy()
            predicted[name][half != fitted] = guesses[half != fitted]
    changed = {n: float((predicted[n] != predicted["whole"]).mean()) for n in KINDS}
    return {
        "cells_input": size,
        "cells_changed_share": changed["reduced"],
        "cells_changed_share_by_rounding": changed["rounded"],
        "cells_right_reduced": float((predicted["reduced"] == truth).mean()),
        "cells_right_whole": float((predicted["whole"] == truth).mean()),
    }


def _outputs(
    contents: Sequence[bytes], size: int, ratio: int, rng: np.random.Generator
) -> list[TeacherOutputs]:
    """Returns what a network computes of JPEGs, decoded at half, whole, and rounded otherwise."""
    reduced = stack([prepare(_decoded(each, ratio * size), size) for each in contents], size)
    whole = stack([prepare(_decoded(each), size) for each in contents], size)
    step = (rng.random(whole.shape) < ROUNDED) * rng.choice([-1, 1], whole.shape)
    rounded = np.clip(whole + step, 0, 255).astype(np.uint8)
    resolutions = efficientnet_lite0().resolutions
    resolution = min(each for each in resolutions if each >= 2 * size)
    device = torch.device("cpu")
    return [
        run_teacher("lite0", images, device, resolution=resolution)
        for images in (reduced, whole, rounded)
    ]


def _decoded(content: bytes, least: int | None = None) -> Image.Image:
    """Returns the image of a JPEG, at a fraction that leaves a side `least` pixels."""
    image = Image.open(io.BytesIO(content))
    if least is not None:
        image.draft(None, (least, least))
    return image.convert("RGB")


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


def _window(photo: Image.Image, side: int, rng: np.random.Generator) -> bytes:
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
        content = path.read_bytes()
        per_second = {"per_second": _rate(lambda: prepare(path, LARGE_SIZE))}
        for part in FRACTIONS:
            least = min(LARGE) // part

            def prepared(least: int = least) -> None:
                prepare(_decoded(content, least), LARGE_SIZE)

            per_second[f"per_second_at_1/{part}"] = _rate(prepared)
    return per_second


def _rate(task: Callable[[], object]) -> float:
    """Returns how often a task can be done in a second of processor time."""
    begun = time.process_time()
    for _ in range(REPEATS):
        task()
    return REPEATS / (time.process_time() - begun)


if __name__ == "__main__":
    main()
