"""Finalists: the subnets that were tested on the host, and what a bundle holds ready-made for them.

Some have arrays, by the names of their own network's layers, in three groups, each whole or absent:

- BatchNorm statistics, `<layer>.mean` and `<layer>.variance` of every layer with BatchNorm, in the
  shapes of the subnet. The largest subnet has none: its own stand among the weights.
- a classifier of its own, `logits.weight` and `logits.bias`.
- mean and standard deviation of each channel that the classifier reads, over the training photos,
  `features.mean` and `features.deviation`, (channels,).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from tofa_edge.architecture.arrays import FloatArray
from tofa_edge.architecture.layers import LOGITS, Convolution, Linear, layers, parameter_shapes
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.bundle.numbers import checked
from tofa_edge.errors import BundleError

MOST_FINALISTS = 128
FEATURES_MEAN, FEATURES_DEVIATION = "features.mean", "features.deviation"

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class Finalist:
    """A subnet that was tested on the host.

    Attributes:
        subnet: of the bundle's space.
        accuracy: as it was measured there, 0..1.
        arrays: ready-made, float32 (weights perhaps float16 until they are read back), by name; at
            least one of the groups that `array_shapes` names. None where it has none.
    """

    subnet: Subnet
    accuracy: float
    arrays: Mapping[str, FloatArray] | None = None


def array_shapes(space: SearchSpace, subnet: Subnet) -> dict[str, Shapes]:
    """Returns the arrays that a finalist may have: by group, names and shapes.

    The groups are "statistics" (empty for the largest subnet), "classifier" and "features".

    Raises:
        SubnetError: the space does not contain the subnet.
    """
    network = layers(space, subnet)
    classifier = network[-1]
    assert isinstance(classifier, Linear)
    normalised = [e for e in network if isinstance(e, Convolution) and e.normalised]
    statistics: Shapes = {
        f"{layer.name}.{role}": (layer.out_channels,)
        for layer in normalised
        for role in ("mean", "variance")
    }
    channels = (classifier.in_features,)
    return {
        "statistics": {} if subnet == space.largest() else statistics,
        "classifier": dict(parameter_shapes(classifier)),
        "features": {FEATURES_MEAN: channels, FEATURES_DEVIATION: channels},
    }


def checked_arrays(
    where: str, space: SearchSpace, subnet: Subnet, arrays: Mapping[str, NDArray[Any]]
) -> dict[str, FloatArray]:
    """Returns a finalist's arrays in float32.

    Args:
        where: the bundle and the finalist, for messages.
        space: that contains the subnet.
        subnet: the finalist's.
        arrays: as they are stored, by name.

    Raises:
        BundleError: a group is incomplete, or an array is unknown, of another shape, not finite, or
            so large that networks overflow; the message names it.
    """
    groups = array_shapes(space, subnet)
    known = {name: shape for shapes in groups.values() for name, shape in shapes.items()}
    if unknown := sorted(arrays.keys() - known.keys()):
        raise BundleError(f"{where}: {unknown[0][:60]!r} is no array of its network")
    for group, shapes in groups.items():
        missing = sorted(shapes.keys() - arrays.keys())
        if missing and len(missing) < len(shapes):
            raise BundleError(f"{where}: {missing[0]} is missing: its {group} must be whole")
    if not arrays:
        raise BundleError(f"{where}: wanted arrays, as the manifest says, got none")
    return {name: checked(where, name, array, known[name]) for name, array in arrays.items()}


def has_classifier(arrays: Mapping[str, FloatArray] | None) -> bool:
    """Returns whether a finalist's `arrays` hold a classifier of its own."""
    return arrays is not None and f"{LOGITS}.weight" in arrays
