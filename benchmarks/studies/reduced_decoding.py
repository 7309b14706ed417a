"""What decoding large JPEGs at a fraction of their size changes, and how much faster it is.

    python -m tofa_edge.benchmarks.studies.reduced_decoding

Square windows of real photos (of the packages scikit-learn and foolbox), four times as wide as the
network's input or more, are saved as JPEG and prepared twice: as `prepare` does, and from the whole
photo. How often a pretrained network then names another class is counted. For speed, a photo of 12
million pixels is prepared on one thread.
"""

from __future__ import annotations

import importlib.util
import io
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tofa_edge.architecture.arrays import ImageArray
from tofa_edge.benchmarks.studies.command import RESULTS, options, store
from tofa_edge.bundle.images import load, prepare, stack
from tofa_edge.train.objective.teachers import run_teacher

FOLDERS = (("sklearn", "datasets/images"), ("foolbox", "data"))
LEAST_SIDE = 400
SIZES = (96,)  # of the network's input, in pixels
QUALITY = 90
LARGE, LARGE_SIZE, REPEATS = (4000, 3000), 224, 20
NOISE = 6.0  # grey levels: an enlarged photo alone would be a small file


def main() -> None:
    """Measures and stores."""
    out = RESULTS / "reduced_decoding.json"
    given = options(__doc__, windows=(1000, "of photos"), seed=0, out=out)
    rng = np.random.default_rng(given.seed)
    photos = _photos()
    changed = {str(size): _changed(photos, size, given.windows, rng) for size in SIZES}
    result = {
        "photos": len(photos),
        "windows": given.windows,
        "changed_share": changed,
        "megapixels": LARGE[0] * LARGE[1] / 1e6,
        "size": LARGE_SIZE,
        **_speed(photos[0], rng),
    }
    store(given.out, result)


def _photos() -> list[Image.Image]:
    found = []
    for package, folder in FOLDERS:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise SystemExit(f"this study needs {package}: pip install {package}")
        found += [load(path) for path in sorted((Path(spec.origin).parent / folder).glob("*.jpg"))]
    return [photo for photo in found if min(photo.size) >= LEAST_SIDE]


def _changed(photos: list[Image.Image], size: int, windows: int, rng: np.random.Generator) -> float:
    """Returns the share of windows of which the network names another class."""
    reduced: list[ImageArray] = []
    whole: list[ImageArray] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "window.jpg"
        for _ in range(windows):
            path.write_bytes(_window(photos[int(rng.integers(len(photos)))], 4 * size, rng))
            reduced.append(prepare(path, size))
            whole.append(prepare(load(path), size))
    device = torch.device("cpu")
    named = [
        run_teacher("lite0", stack(images, size), device).logits.argmax(1)
        for images in (reduced, whole)
    ]
    return float((named[0] != named[1]).float().mean())


def _window(photo: Image.Image, least: int, rng: np.random.Generator) -> bytes:
    side = int(rng.integers(least, min(photo.size) + 1))
    left, top = (int(rng.integers(length - side + 1)) for length in photo.size)
    stream = io.BytesIO()
    window = photo.crop((left, top, left + side, top + side))
    window.save(stream, "JPEG", quality=QUALITY)
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
