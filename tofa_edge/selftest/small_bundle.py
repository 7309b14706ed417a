"""A small bundle made from a seed: random weights, noise for photos, no torch."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tofa_edge.architecture.arrays import FloatArray
from tofa_edge.architecture.layers import LOGITS, layers
from tofa_edge.architecture.space import Subnet
from tofa_edge.architecture.zoo import tiny
from tofa_edge.backends.reference import ReferenceSession
from tofa_edge.bundle.bundle import GoldenCase
from tofa_edge.bundle.finalists import Finalist, array_shapes
from tofa_edge.bundle.write import stored_precision, write_bundle
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.network.slicing import cut, fold
from tofa_edge.prediction.accuracy import AccuracyPredictor
from tofa_edge.selftest.specimens import random_arrays

PHOTO_SIZE = 40
CALIBRATION_PHOTOS, CHECK_PHOTOS = 8, 4


def small_bundle(
    path: Path,
    *,
    seed: int = 0,
    half: bool = False,
    calibration_photos: int = CALIBRATION_PHOTOS,
    check_photos: int = CHECK_PHOTOS,
    predictor: AccuracyPredictor | None = None,
    finalists: Sequence[Finalist] = (),
) -> dict[str, NDArray[Any]]:
    """Writes a bundle of the space `tiny` and returns the arrays that it stores.

    Args:
        seed: decides weights, photos and golden cases.
        half: whether the weights are stored in float16.
        calibration_photos: how many it carries; under 16 only the largest subnet can be deployed.
        check_photos: how many it carries.
        predictor: of accuracy, that it carries besides.
        finalists: that it lists.
    """
    rng, space = np.random.default_rng(seed), tiny()
    stored = stored_precision(random_arrays(space, rng), half)
    arrays = {name: array.astype(np.float32) for name, array in stored.items()}
    subnets = (space.smallest(), space.largest(), space.sample(rng))
    write_bundle(
        path,
        space=space,
        classes=[f"class {index}" for index in range(space.classes)],
        preprocessing=LITE_PREPROCESSING,
        arrays=stored,
        golden=[_golden(subnet, arrays, rng) for subnet in subnets],
        calibration=[smooth_photo(rng) for _ in range(calibration_photos)],
        check=[(smooth_photo(rng), index % space.classes) for index in range(check_photos)],
        provenance={"made_by": "small_bundle", "seed": seed, "accuracy": 0.1, "note": None},
        predictor=predictor,
        finalists=finalists,
    )
    return stored


def small_finalists(seed: int = 0) -> tuple[Finalist, ...]:
    """Returns finalists of the space `tiny`: with random arrays of all kinds, some, and none."""
    rng, space = np.random.default_rng(seed), tiny()
    subnets = (space.smallest(), space.largest(), space.middle(), space.sample(rng))
    kinds = ("statistics", "classifier", "features"), ("classifier",), ("statistics",), ()
    return tuple(
        Finalist(subnet, accuracy, _ready_made(subnet, wanted, rng) or None)
        for subnet, wanted, accuracy in zip(subnets, kinds, (0.5, 0.75, 0.625, 1.0), strict=True)
    )


def _ready_made(
    subnet: Subnet, kinds: Sequence[str], rng: np.random.Generator
) -> dict[str, NDArray[Any]]:
    groups = array_shapes(tiny(), subnet)
    return {
        name: rng.uniform(0.5, 1.5, shape).astype(np.float32)
        for kind in kinds
        for name, shape in groups[kind].items()
    }


def smooth_photo(rng: np.random.Generator, size: int = PHOTO_SIZE, **options: Any) -> bytes:
    """Returns a JPEG of smooth coloured noise of a `size`; `options` go to Pillow's encoder."""
    noise = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    stream = io.BytesIO()
    noise.resize((size, size), Image.Resampling.BICUBIC).save(stream, "JPEG", **options)
    return stream.getvalue()


def _golden(
    subnet: Subnet, arrays: Mapping[str, FloatArray], rng: np.random.Generator
) -> GoldenCase:
    network = layers(tiny(), subnet)
    shape = (2, subnet.resolution, subnet.resolution, 3)
    images = rng.integers(0, 256, shape, dtype=np.uint8)
    session = ReferenceSession(fold(network, cut(network, arrays), LITE_PREPROCESSING))
    return GoldenCase(subnet, images, session.run(images)[LOGITS])
