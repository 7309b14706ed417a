"""Finalists: the subnets that were tested on the host, and what a bundle holds ready-made for them.

Some have arrays, by the names of their own network's layers, in three groups, each whole or absent:

- "statistics": BatchNorm means and variances of the subnet, `<layer>.mean` and `<layer>.variance`
  of every layer that has BatchNorm. The largest subnet has none: its own are the supernet's.
- "classifier": one of its own, `logits.weight` and `logits.bias`.
- "features": mean and standard deviation of each channel that the classifier reads, over the
  training photos, `features.mean` and `features.deviation`, (channels,).

A bundle stores those of finalist i as `i.<name>`, and all means in one array `i.mean`, all
variances in `i.variance`, in the order of the layers: a thousand small arrays are slow to check.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tofa_edge.architecture.layers import Convolution, Linear, layers, parameter_shapes
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.bundle.numbers import checked
from tofa_edge.errors import BundleError
from tofa_edge.storage.files import one_line

MOST_FINALISTS = 128
STATISTICS = ("mean", "variance")
FEATURES_MEAN, FEATURES_DEVIATION = "features.mean", "features.deviation"

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class Finalist:
    """A subnet that was tested on the host.

    Attributes:
        subnet: of the bundle's space.
        accuracy: as it was measured there, 0..1.
        arrays: ready-made, by name, in the shapes of `array_shapes`: one of its groups or more.
            Float32; to be written, also float16. None where it has none.
    """

    subnet: Subnet
    accuracy: float
    arrays: Mapping[str, NDArray[Any]] | None = None


@dataclass(frozen=True, slots=True)
class ListedFinalist:
    """What the manifest says of a finalist: as `Finalist`, but only whether it has arrays."""

    subnet: Subnet
    accuracy: float
    has_arrays: bool


def array_shapes(space: SearchSpace, subnet: Subnet) -> dict[str, Shapes]:
    """Returns the arrays that a finalist may have: by group, names and shapes.

    Raises:
        SubnetError: the space does not contain the subnet.
    """
    network = layers(space, subnet)
    classifier = network[-1]
    assert isinstance(classifier, Linear)
    channels = (classifier.in_features,)
    normalised = [e for e in network if isinstance(e, Convolution) and e.normalised]
    return {
        "statistics": {
            f"{layer.name}.{role}": (layer.out_channels,)
            for layer in ([] if subnet == space.largest() else normalised)
            for role in STATISTICS
        },
        "classifier": dict(parameter_shapes(classifier)),
        "features": {FEATURES_MEAN: channels, FEATURES_DEVIATION: channels},
    }


def stored_arrays(
    path: str, space: SearchSpace, finalists: Sequence[Finalist]
) -> dict[str, NDArray[Any]]:
    """Returns the arrays of all finalists as the bundle at a `path` stores them.

    Raises:
        BundleError: a finalist's are incomplete, unknown or of another shape, or numbers that no
            network can compute with; the message names finalist and array.
        SubnetError: the space does not contain a subnet.
    """
    stored: dict[str, NDArray[Any]] = {}
    for index, finalist in enumerate(finalists):
        arrays = dict(finalist.arrays or {})
        if not arrays:
            continue
        where, groups = f"{path}: finalist {index}", array_shapes(space, finalist.subnet)
        _check_whole(where, arrays, groups)
        shapes = _all(groups)
        for name, array in arrays.items():
            checked(where, name, array, shapes[name])
        for role, names in _by_role(groups["statistics"]).items():
            if names.keys() <= arrays.keys():
                parts = [arrays.pop(name).astype(np.float32, copy=False) for name in names]
                stored[f"{index}.{role}"] = np.concatenate(parts)
        stored |= {f"{index}.{name}": array for name, array in arrays.items()}
    return stored


def restored(
    path: str,
    space: SearchSpace,
    listed: Sequence[ListedFinalist],
    stored: Mapping[str, NDArray[Any]],
) -> tuple[Finalist, ...]:
    """Returns the finalists of the bundle at a `path` from what it lists and has `stored`.

    Arrays are float32, BatchNorm statistics as views.

    Raises:
        BundleError: an array is missing, unknown or of another shape, or holds numbers that no
            network can compute with; the message names finalist and array.
    """
    owners = {str(index) for index, each in enumerate(listed) if each.has_arrays}
    stray = [name for name in stored if name.partition(".")[0] not in owners]
    if stray:
        raise BundleError(f"{path}: array {one_line(min(stray))} is no finalist's")
    return tuple(_restored(path, space, i, each, stored) for i, each in enumerate(listed))


def _restored(
    path: str,
    space: SearchSpace,
    index: int,
    listed: ListedFinalist,
    stored: Mapping[str, NDArray[Any]],
) -> Finalist:
    if not listed.has_arrays:
        return Finalist(listed.subnet, listed.accuracy)
    where, start = f"{path}: finalist {index}", f"{index}."
    own = {name.removeprefix(start): stored[name] for name in stored if name.startswith(start)}
    if not own:
        raise BundleError(f"{where} has no arrays, and the manifest says that it has")
    groups = array_shapes(space, listed.subnet)
    roles = _by_role(groups["statistics"])
    joined: Shapes = {role: (sum(n for (n,) in names.values()),) for role, names in roles.items()}
    whole = {**groups, "statistics": joined}
    _check_whole(where, own, whole)
    shapes = _all(whole)
    arrays = {name: checked(where, name, array, shapes[name]) for name, array in own.items()}
    for role, names in roles.items():
        if role in arrays:
            ends = np.cumsum([size for (size,) in names.values()])
            arrays |= zip(names, np.split(arrays.pop(role), ends[:-1]), strict=True)
    return Finalist(listed.subnet, listed.accuracy, arrays)


def _all(groups: Mapping[str, Shapes]) -> Shapes:
    return {name: shape for shapes in groups.values() for name, shape in shapes.items()}


def _by_role(statistics: Shapes) -> dict[str, Shapes]:
    """Returns the means and the variances among `statistics`, in the order of the layers."""
    roles = STATISTICS if statistics else ()
    return {role: {k: v for k, v in statistics.items() if k.endswith(f".{role}")} for role in roles}


def _check_whole(where: str, arrays: Mapping[str, Any], groups: Mapping[str, Shapes]) -> None:
    """Checks that `arrays` are groups, each whole or absent."""
    unknown = arrays.keys() - _all(groups).keys()
    if unknown:
        raise BundleError(f"{where} has an array that is unknown: {one_line(min(unknown))}")
    for group, shapes in groups.items():
        missing = [name for name in shapes if name not in arrays]
        if missing and len(missing) < len(shapes):
            raise BundleError(f"{where} lacks {missing[0]}, a part of its {group}")
