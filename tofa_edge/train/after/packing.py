"""From a trained supernet to a bundle: photos, golden cases, provenance."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tofa_edge._version import __version__
from tofa_edge.architecture.arrays import FloatArray, ImageArray, IndexArray
from tofa_edge.architecture.layers import LOGITS
from tofa_edge.architecture.space import Subnet
from tofa_edge.bundle.bundle import GoldenCase
from tofa_edge.bundle.finalists import Finalist
from tofa_edge.bundle.images import encode
from tofa_edge.bundle.manifest import MOST_NAME, printable
from tofa_edge.bundle.write import stored_precision, write_bundle
from tofa_edge.cutting.dead_inputs import has_outsized_weights, without_dead_inputs
from tofa_edge.prediction.accuracy import AccuracyPredictor
from tofa_edge.train.config import PACKING, OnStep, TrainingConfig, counter, silent
from tofa_edge.train.objective.linear_probe import subnet_features
from tofa_edge.train.supernet.supernet import Supernet

GOLDEN_BATCH = 4
GOLDEN_RANDOM_SUBNETS = 2


@dataclass(frozen=True, eq=False)
class Contents:
    """What a bundle carries beside the supernet.

    Attributes:
        classes: names, in the order of the logits.
        calibration: unlabelled photos, in mixed order, uint8, (N, S, S, 3).
        check: labelled photos, uint8, (M, S, S, 3).
        check_labels: class indices, (M,).
        temperature: that logits are divided by, for calibrated probabilities.
        predictor: of the accuracy of subnets.
        finalists: subnets that were tested.
    """

    classes: Sequence[str]
    calibration: ImageArray
    check: ImageArray | None = None
    check_labels: IndexArray | None = None
    temperature: float = 1.0
    predictor: AccuracyPredictor | None = None
    finalists: Sequence[Finalist] = ()


def pack(
    out: Path,
    config: TrainingConfig,
    supernet: Supernet,
    contents: Contents,
    provenance: Mapping[str, str | int | float | bool | None],
    on_step: OnStep = silent,
) -> None:
    """Writes the bundle of a supernet.

    Golden cases are computed by torch from the weights as they are stored, so the supernet holds
    these afterwards.

    Args:
        out: the path of the bundle.
        config: of the training.
        supernet: whose weights are stored.
        contents: photos and what was measured.
        provenance: where it comes from, by name.
        on_step: called after each of the four steps.

    Raises:
        BundleError: it cannot be written.
    """
    count = counter(PACKING, 4, on_step)
    stored = stored_precision(_packed(supernet, contents), config.half_precision)
    supernet.load_arrays({name: array.astype(np.float32) for name, array in stored.items()})
    golden = golden_cases(supernet, config.seed)
    count()
    write_bundle(
        out,
        space=supernet.space,
        preprocessing=supernet.preprocessing,
        arrays=stored,
        golden=golden,
        provenance={**_origin(config), **provenance},
        **_members(contents, count),
    )
    count()


def _members(contents: Contents, count: Callable[[], None]) -> dict[str, Any]:
    """Returns the contents as `write_bundle` takes them, photos encoded; counts the two kinds."""
    calibration = [_encoded(image) for image in contents.calibration]
    count()
    check: list[tuple[bytes, int]] = []
    if contents.check is not None and contents.check_labels is not None:
        photos = [_encoded(image) for image in contents.check]
        check = list(zip(photos, contents.check_labels.tolist(), strict=True))
    count()
    return {
        "classes": contents.classes,
        "calibration": calibration,
        "check": check,
        "temperature": contents.temperature,
        "predictor": contents.predictor,
        "finalists": contents.finalists,
    }


def _origin(config: TrainingConfig) -> dict[str, str | int]:
    """Returns what made a bundle, when, and from what."""
    made = {"made_by": f"tofa-edge {__version__}", "made_on": datetime.date.today().isoformat()}
    return {**made, "start": _name(config.pretrained or config.start), "seed": config.seed}


def _name(start: str) -> str:
    """Returns the name of a start without its folder, as a bundle may hold it."""
    name = Path(start).name[:MOST_NAME]
    return "".join(letter if printable(letter) else "?" for letter in name)


def _packed(supernet: Supernet, contents: Contents) -> dict[str, FloatArray]:
    """Returns the arrays to store, the classifier without weights on channels that never fire."""
    arrays = supernet.to_arrays()
    weight, bias = arrays[f"{LOGITS}.weight"], arrays[f"{LOGITS}.bias"]
    if has_outsized_weights(weight) and len(contents.calibration):
        seen = subnet_features(supernet, supernet.space.largest(), contents.calibration, "stored")
        weight, bias = without_dead_inputs(weight, bias, seen.cpu().numpy())
    return {**arrays, f"{LOGITS}.weight": weight, f"{LOGITS}.bias": bias}


def _encoded(image: ImageArray) -> bytes:
    return encode(Image.fromarray(image), len(image))


def golden_cases(supernet: Supernet, seed: int) -> list[GoldenCase]:
    """Returns what the smallest, the largest and two random subnets compute of random pixels."""
    rng = np.random.default_rng(seed)
    space = supernet.space
    subnets = [space.smallest(), space.largest()]
    subnets += [space.sample(rng) for _ in range(GOLDEN_RANDOM_SUBNETS)]
    return [_golden_case(supernet, subnet, rng) for subnet in subnets]


def _golden_case(supernet: Supernet, subnet: Subnet, rng: np.random.Generator) -> GoldenCase:
    shape = (GOLDEN_BATCH, subnet.resolution, subnet.resolution, 3)
    images = rng.integers(0, 256, shape, dtype=np.uint8)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    with torch.no_grad():
        (logits,) = supernet(pixels, subnet, statistics="stored")
    numbers: FloatArray = logits.float().numpy()
    return GoldenCase(subnet, images, numbers)
