"""Writing a bundle, complete or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from tofa_edge.architecture.arrays import FloatArray
from tofa_edge.architecture.layers import LOGITS
from tofa_edge.architecture.space import SearchSpace
from tofa_edge.bundle.archive import write_archive
from tofa_edge.bundle.bundle import GoldenCase
from tofa_edge.bundle.costs import check_bounds, costs
from tofa_edge.bundle.finalists import Finalist, ListedFinalist, stored_arrays
from tofa_edge.bundle.manifest import (
    CLASSIFIER,
    FINALISTS,
    GOLDEN,
    GOLDEN_IMAGES,
    MANIFEST,
    PREDICTORS,
    WEIGHTS,
    Manifest,
    Provenance,
    read_manifest,
    sha256,
)
from tofa_edge.network.network import Preprocessing
from tofa_edge.prediction.accuracy import AccuracyPredictor


def stored_precision(arrays: Mapping[str, FloatArray], half: bool) -> dict[str, NDArray[Any]]:
    """Returns arrays as a bundle stores them: float32, or weights in float16 if `half`.

    BatchNorm parameters and statistics, biases and kernel matrices stay float32.
    """
    return {
        name: array.astype(np.float16) if half and name.endswith(".weight") else array
        for name, array in arrays.items()
    }


def write_bundle(
    path: str | Path,
    *,
    space: SearchSpace,
    classes: Sequence[str],
    preprocessing: Preprocessing,
    arrays: Mapping[str, NDArray[Any]],
    golden: Sequence[GoldenCase],
    calibration: Sequence[bytes],
    check: Sequence[tuple[bytes, int]],
    provenance: Provenance,
    temperature: float = 1.0,
    predictor: AccuracyPredictor | None = None,
    finalists: Sequence[Finalist] = (),
) -> None:
    """Writes a bundle, complete or not at all.

    Args:
        path: of the file, by custom ending in `.tofa`.
        classes: names in the order of the logits.
        arrays: the supernet's, as `stored_precision` returns them.
        golden: computed from exactly these arrays.
        calibration: JPEG files in mixed order, unlabelled.
        check: JPEG files and their labels.
        temperature: what logits are divided by for calibrated probabilities.
        predictor: of the accuracy of subnets.
        finalists: subnets that were tested, each once, 128 at most; of these a few should have
            arrays, for the bundle to stay small.

    Raises:
        BundleError: it cannot be written, or `Bundle.open` or every device would refuse it.
    """
    members = _array_members(arrays, golden, predictor)
    if ready_made := stored_arrays(str(path), space, finalists):
        members[FINALISTS] = _tensors(ready_made)
    members |= {f"calibration/{i:05}.jpg": content for i, content in enumerate(calibration)}
    members |= {f"check/{i:05}.jpg": content for i, (content, _) in enumerate(check)}
    labels, subnets = tuple(label for _, label in check), tuple(case.subnet for case in golden)
    hashes = {name: sha256(content) for name, content in members.items()}
    about = space, tuple(classes), preprocessing, provenance
    listed = tuple(ListedFinalist(f.subnet, f.accuracy, bool(f.arrays)) for f in finalists)
    manifest = Manifest(*about, labels, subnets, hashes, temperature, listed)
    sizes = {name: len(content) for name, content in members.items()}
    text = manifest.to_bytes(sizes)
    read_manifest(Path(path), text, sizes)  # what could not be read back is not written
    check_bounds(Path(path), costs(space, subnets, sizes, len(calibration), len(check)))
    write_archive(Path(path), {MANIFEST: text, **members})


def _array_members(
    arrays: Mapping[str, NDArray[Any]],
    golden: Sequence[GoldenCase],
    predictor: AccuracyPredictor | None,
) -> dict[str, bytes]:
    """Returns the members that hold arrays, by name."""
    images = {f"images_{i}": case.images for i, case in enumerate(golden)}
    logits = {f"logits_{i}": case.logits for i, case in enumerate(golden)}
    classifier = {name: arrays[name] for name in arrays if name.startswith(f"{LOGITS}.")}
    members = {
        WEIGHTS: _tensors({k: v for k, v in arrays.items() if k not in classifier}),
        CLASSIFIER: _tensors(classifier),
        GOLDEN: _tensors(logits),
        GOLDEN_IMAGES: _tensors(images),
    }
    if predictor is not None:
        members[PREDICTORS] = safetensors.numpy.save(predictor.to_arrays())
    return members


def _tensors(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    return safetensors.numpy.save({k: np.ascontiguousarray(array) for k, array in arrays.items()})
