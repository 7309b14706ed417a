"""Bundles for tests of installing: networks of random weights that are right on their photos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tofa_edge.architecture.zoo import tiny
from tofa_edge.bundle.bundle import Bundle, GoldenCase
from tofa_edge.bundle.write import stored_precision, write_bundle
from tofa_edge.deployment.request import DeployOptions
from tofa_edge.live.deploy import deploy
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.selftest.small_bundle import small_bundle, smooth_photo
from tofa_edge.selftest.specimens import random_arrays

SPACE = tiny()
CLASSES = tuple(f"class {index}" for index in range(SPACE.classes))
BY_REFERENCE = DeployOptions(backend="reference", precision="fp32")
CHECKS = 24


def right_bundle(
    path: Path,
    *,
    seed: int = 0,
    version: int = 0,
    classes: Sequence[str] = CLASSES,
    checks: int = CHECKS,
) -> str:
    """Writes a bundle whose largest network is right on all its check photos; returns its digest.

    Args:
        path: of the file.
        seed: decides weights and photos; two of one seed are equally good.
        version: makes the file another one.
        classes: names.
        checks: how many check photos it carries.
    """
    rng = np.random.default_rng(seed)
    small_bundle(path, seed=seed, calibration_photos=2, check_photos=0)
    cases = Bundle.open(path).golden_cases()
    photos = [smooth_photo(rng) for _ in range(checks)]

    def write(labels: Sequence[int]) -> Bundle:
        write_bundle(
            path,
            space=SPACE,
            classes=classes,
            preprocessing=LITE_PREPROCESSING,
            arrays=stored_precision(random_arrays(SPACE, np.random.default_rng(seed)), False),
            golden=[GoldenCase(case.subnet, case.images, case.logits) for case in cases],
            calibration=[smooth_photo(np.random.default_rng(version)) for _ in range(2)],
            check=list(zip(photos, labels, strict=True)),
            provenance={"version": version},
        )
        return Bundle.open(path)

    bundle = write([0] * checks)
    if checks:
        images, _ = bundle.check_images(SPACE.largest().resolution)
        with deploy(bundle, options=BY_REFERENCE, remember=False) as model:
            bundle = write([each.index for each in model.batch(images)])
    return bundle.digest
