"""A bundle in the making: every field may be changed before it is packed, with true hashes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from tests.fuzz.crafted import MANIFEST, seal
from tofa_edge.architecture.arrays import ImageArray
from tofa_edge.architecture.cost import macs
from tofa_edge.architecture.layers import LOGITS, layers, supernet_shapes
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.architecture.zoo import tiny
from tofa_edge.backends.reference import ReferenceSession
from tofa_edge.bundle.bundle import GoldenCase
from tofa_edge.bundle.manifest import (
    CLASSIFIER,
    FINALISTS,
    GOLDEN,
    GOLDEN_IMAGES,
    PREDICTORS,
    WEIGHTS,
    Manifest,
)
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.network.slicing import cut, fold
from tofa_edge.prediction.accuracy import feature_count
from tofa_edge.selftest.small_bundle import smooth_photo

CALIBRATION_PHOTOS, CHECK_PHOTOS, LEARNED = 20, 4, 40
MOST_PARAMETERS = 30_000_000  # a file stays small: what is large is what it asks for
MOST_GOLDEN_MACS = 200_000_000  # that are computed here; beyond, golden logits are zero

Arrays = dict[str, NDArray[Any]]


@dataclass
class Draft:
    """What a bundle is packed from.

    Attributes:
        space: of all subnets.
        arrays: the supernet's.
        golden: cases.
        predictor: arrays of the accuracy predictor; empty for none.
        calibration: photos.
        check: photos.
        labels: of the check photos.
        finalists: as the manifest lists them.
        ready_made: arrays of finalists, as they are stored; empty for none.
        fields: of the manifest, in place of the right ones.
    """

    space: SearchSpace
    arrays: Arrays = field(default_factory=dict)
    golden: list[GoldenCase] = field(default_factory=list)
    predictor: Arrays = field(default_factory=dict)
    calibration: list[bytes] = field(default_factory=list)
    check: list[bytes] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    finalists: list[dict[str, Any]] = field(default_factory=list)
    ready_made: Arrays = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)

    def packed(self) -> bytes:
        """Returns the file; its sizes and hashes agree, whatever it holds."""
        images = {f"images_{index}": case.images for index, case in enumerate(self.golden)}
        logits = {f"logits_{index}": case.logits for index, case in enumerate(self.golden)}
        last = {name: array for name, array in self.arrays.items() if name.startswith(LOGITS)}
        members = {
            WEIGHTS: _saved({k: array for k, array in self.arrays.items() if k not in last}),
            CLASSIFIER: _saved(last),
            GOLDEN: _saved(logits),
            GOLDEN_IMAGES: _saved(images),
        }
        if self.predictor:
            members[PREDICTORS] = _saved(self.predictor)
        if self.ready_made:
            members[FINALISTS] = _saved(self.ready_made)
        members |= {f"calibration/{n:05}.jpg": photo for n, photo in enumerate(self.calibration)}
        members |= {f"check/{n:05}.jpg": photo for n, photo in enumerate(self.check)}
        manifest = Manifest(
            self.space,
            tuple(f"class {index}" for index in range(self.space.classes)),
            LITE_PREPROCESSING,
            {"made_by": "a fuzzer"},
            tuple(self.labels),
            tuple(case.subnet for case in self.golden),
            {},
        )
        listed = {**json.loads(manifest.to_bytes({})), "finalists": self.finalists}
        return seal({MANIFEST: b"", **members}, listed | self.fields)


Mutation = Callable[[Draft, np.random.Generator], str]
"""Changes a draft, and returns in words what it did."""


def fill_arrays(draft: Draft, rng: np.random.Generator) -> None:
    """Adds usual weights, an accuracy predictor and photos to a draft that has a space alone."""
    shapes = supernet_shapes(draft.space)
    total = sum(int(np.prod(shape)) for shape in shapes.values())
    assert total <= MOST_PARAMETERS, f"{draft.space.name}: {total} parameters make a large file"
    noise = rng.standard_normal(65_537).astype(np.float32)  # tiled: quick for any number
    for name, shape in shapes.items():
        array = np.resize(noise, shape)
        if name.endswith((".scale", ".variance")):
            array = 1 + np.float32(0.2) * np.abs(array)
        elif name.endswith(".weight"):
            array = array * np.float32(np.sqrt(2 / max(1, int(np.prod(shape[1:])))))
        draft.arrays[name] = array
    draft.predictor = usual_predictor(draft.space, rng)
    draft.calibration = [smooth_photo(rng) for _ in range(CALIBRATION_PHOTOS)]
    draft.check = [smooth_photo(rng) for _ in range(CHECK_PHOTOS)]
    draft.labels = [index % draft.space.classes for index in range(CHECK_PHOTOS)]


def usual_predictor(space: SearchSpace, rng: np.random.Generator, count: int = LEARNED) -> Arrays:
    """Returns arrays of an accuracy predictor that learned from `count` subnets, made up."""
    columns = feature_count(space)
    values = {
        "inputs": rng.standard_normal((count, columns)),
        "weights": 0.1 * rng.standard_normal(count),
        "factor": np.eye(count),
        "centre": np.ones(columns),
        "scale": np.ones(columns),
        "level": np.array([0.7]),
        "size": np.array([0.05]),
        "settings": np.array([4.0, 1.0, 0.4, 0.1]),
        "quality": np.array([0.01, 0.9]),
    }
    return {name: value.astype(np.float32) for name, value in values.items()}


def fill_golden(draft: Draft, rng: np.random.Generator) -> None:
    """Adds golden cases, true ones where they are quick to compute."""
    for subnet in (draft.space.smallest(), draft.space.largest()):
        if not draft.golden or macs(layers(draft.space, subnet)) <= MOST_GOLDEN_MACS:
            shape = (1, subnet.resolution, subnet.resolution, 3)
            images = rng.integers(0, 256, shape, dtype=np.uint8)
            draft.golden.append(true_case(draft, subnet, images))


def true_case(draft: Draft, subnet: Subnet, images: ImageArray) -> GoldenCase:
    """Returns a golden case of images, uint8, (N, S, S, 3); zero where that takes too long."""
    logits = np.zeros((len(images), draft.space.classes), np.float32)
    network = layers(draft.space, subnet)
    if macs(network) <= MOST_GOLDEN_MACS:
        with np.errstate(all="ignore"):
            arrays = {name: array.astype(np.float32) for name, array in draft.arrays.items()}
            finished = fold(network, cut(network, arrays), LITE_PREPROCESSING)
            logits = ReferenceSession(finished).run(images)[LOGITS]
    return GoldenCase(subnet, images, np.nan_to_num(logits))


def new_draft() -> Draft:
    """Returns a draft of the small space, not filled yet."""
    return Draft(tiny())


def _saved(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    saved: bytes = safetensors.numpy.save(
        {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    )
    return saved
