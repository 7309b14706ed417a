"""Accuracy predictor: expected accuracy of any subnet, with uncertainty, from a few hundred tested.

A Gaussian process (Rasmussen and Williams, 2006, sections 2.2 and 5.4.1) on the choices of an
architecture: the resolution, for each stage its width, depth, mean kernel and mean expand ratio,
and the logarithm of its MACs. Its covariance is a line plus smooth deviations from it; their sizes
are those of the largest marginal likelihood. The host fits it, the device only multiplies matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tofa_edge.architecture.arrays import DoubleArray, FloatArray
from tofa_edge.architecture.encodings import Encodings
from tofa_edge.architecture.space import SearchSpace
from tofa_edge.architecture.tables import tables
from tofa_edge.errors import BundleError
from tofa_edge.measurement.order_statistics import kendall_tau

LENGTHS = (2.0, 4.0, 8.0)  # in standard deviations of a column, times the root of their number / 4
LINES = (0.0, 1.0, 4.0)  # variances over that of the accuracies
SMOOTH = (0.1, 0.4, 1.6)
NOISES = (0.003, 0.01, 0.03, 0.1, 0.3)
FOLDS = 10
FITS = FOLDS + 1  # and one on all
USUAL_DROP = 0.005  # in 8-bit integers, where nothing was measured
CHUNK = 8192
MOST = 1e6
BOUNDS = {  # of what is read: within them, no prediction is not a number
    "inputs": (-1e4, 1e4), "weights": (-MOST, MOST), "factor": (-MOST, MOST),
    "centre": (-1e4, 1e4), "scale": (1e-10, 1e4), "level": (0.0, 1.0), "size": (0.0, 1.0),
    "quality": (-1.0, 1.0), "rounding": (-1.0, 1.0),
}  # fmt: skip
SETTINGS = ((0.01, 1e3), (0.0, 1e3), (0.0, 1e3), (0.0, 1e3))  # length, line, smooth part, noise


@dataclass(frozen=True, eq=False)
class AccuracyPredictor:
    """Predicts the accuracy of subnets of one space.

    Attributes:
        inputs: standardised features of the subnets it learned from, (M, D).
        weights: what each adds, (M,).
        factor: inverse Cholesky factor of their covariance, (M, M).
        centre: mean of the features, (D,).
        scale: standard deviation of the features, (D,).
        level: mean accuracy, 0..1, (1,).
        size: standard deviation of the accuracies, (1,).
        settings: length, variance of the line, of the smooth part, and of the noise, (4,).
        quality: cross-validated mean absolute error, 0..1, and Kendall's τ, (2,).
        rounding: mean loss of accuracy in 8-bit integers over a sample of subnets, 0..1, and its
            standard error, (2,).
    """

    inputs: DoubleArray
    weights: DoubleArray
    factor: DoubleArray
    centre: DoubleArray
    scale: DoubleArray
    level: DoubleArray
    size: DoubleArray
    settings: DoubleArray
    quality: DoubleArray
    rounding: DoubleArray = field(default_factory=lambda: np.array([USUAL_DROP, USUAL_DROP]))

    @property
    def integer_drop(self) -> float:
        """By how much accuracy is expected to be lower in 8-bit integers, 0..1."""
        return max(0.0, float(self.rounding[0]))

    @property
    def error(self) -> float:
        """The mean absolute error that cross-validation found, 0..1."""
        return float(self.quality[0])

    @property
    def tau(self) -> float:
        """The Kendall's τ that cross-validation found."""
        return float(self.quality[1])

    def expected(self, space: SearchSpace, encodings: Encodings) -> DoubleArray:
        """Returns the accuracies expected of encodings, (N, genes), 0..1, (N,)."""
        parts = [self._covariance(part) @ self.weights for part in self._parts(space, encodings)]
        expected = self.level + self.size * np.concatenate(parts)
        limited: DoubleArray = np.clip(expected, 0.0, 1.0)
        return limited

    def deviation(self, space: SearchSpace, encodings: Encodings) -> DoubleArray:
        """Returns the standard deviation of `expected`, 0..1, (N,)."""
        deviations = []
        for part in self._parts(space, encodings):
            explained = (self._covariance(part) @ self.factor.T) ** 2
            _, line, smooth, _ = self.settings
            own = line * (part**2).sum(axis=1) / part.shape[1] + smooth
            deviations.append(np.sqrt(np.maximum(own - explained.sum(axis=1), 1e-9)))
        deviation: DoubleArray = self.size * np.concatenate(deviations)
        return deviation

    def to_arrays(self) -> dict[str, FloatArray]:
        """Returns it as float32 arrays, readable by `from_arrays`."""
        return {item.name: getattr(self, item.name).astype(np.float32) for item in fields(self)}

    @staticmethod
    def from_arrays(arrays: Mapping[str, NDArray[Any]], space: SearchSpace) -> AccuracyPredictor:
        """Reads the `arrays`, float32, that `to_arrays` returned of a predictor for a space.

        Raises:
            BundleError: an array is missing, of another shape, not finite, or beyond what fitting
                makes; the message names it.
        """
        inputs = arrays.get("inputs", np.zeros((0, 0)))
        count, columns = inputs.shape if inputs.ndim == 2 else (0, 0)
        if columns != feature_count(space):
            raise BundleError(f"the accuracy predictor does not fit the space {space.name!r}")
        shapes = {
            "inputs": (count, columns), "weights": (count,), "factor": (count, count),
            "centre": (columns,), "scale": (columns,), "level": (1,), "size": (1,),
            "settings": (4,), "quality": (2,),
        }  # fmt: skip
        if "rounding" in arrays:  # bundles of earlier versions have none
            shapes["rounding"] = (2,)
        for name, shape in shapes.items():
            if name not in arrays or arrays[name].shape != shape or not count:
                raise BundleError(f"the accuracy predictor lacks {name} of shape {shape}")
        checked = {name: _within_bounds(name, arrays[name]) for name in shapes}
        return AccuracyPredictor(**checked)

    def _parts(self, space: SearchSpace, encodings: Encodings) -> list[DoubleArray]:
        inputs = (architecture_features(space, encodings) - self.centre) / self.scale
        return np.array_split(inputs, max(1, -(-len(inputs) // CHUNK)))

    def _covariance(self, inputs: DoubleArray) -> DoubleArray:
        return _covariance(inputs, self.inputs, self.settings)


def _within_bounds(name: str, array: NDArray[Any]) -> DoubleArray:
    """Returns an array as float64 if all its numbers are among those that a fit may have."""
    if array.dtype.kind != "f" or not np.isfinite(array).all():
        raise BundleError(f"the accuracy predictor's {name} is not finite")
    numbers = array.astype(np.float64)
    low, high = np.array(SETTINGS).T if name == "settings" else BOUNDS[name]
    wrong = numbers[(numbers < low) | (numbers > high)]
    if wrong.size:
        raise BundleError(
            f"the accuracy predictor's {name} holds {wrong[0]:.3g}, which no fit makes; train again"
        )
    return numbers


def feature_count(space: SearchSpace) -> int:
    """Returns how many columns `architecture_features` has."""
    return 2 + 4 * len(space.stages)


def architecture_features(space: SearchSpace, encodings: Encodings) -> DoubleArray:
    """Returns the features of encodings (N, genes), float64, (N, 2 + 4 · stages)."""
    take = iter(np.asarray(encodings).T)
    columns: list[Any] = [np.log(np.array(space.resolutions))[next(take)]]
    for stage in space.stages:
        width, depth = next(take), np.array(stage.depths)[next(take)]
        columns += [np.log(np.array(stage.widths))[width], depth]
        kernels, expands = np.array(stage.kernels), np.array(stage.expands)
        sums: list[Any] = [0.0, 0.0]
        for number in range(stage.depths[-1]):
            present = depth > number
            sums[0] = sums[0] + present * kernels[next(take)]
            sums[1] = sums[1] + present * expands[next(take)]
        columns += [total / depth for total in sums]
    columns.append(np.log(tables(space).costs(encodings).macs))
    stacked: DoubleArray = np.stack(columns, axis=1).astype(np.float64)
    return stacked


def fit_accuracy(
    space: SearchSpace,
    encodings: Encodings,
    accuracies: DoubleArray,
    on_fit: Callable[[], None] = lambda: None,
) -> AccuracyPredictor:
    """Fits a predictor to tested subnets, and cross-validates it ten-fold.

    `encodings` are theirs, (M, genes), in mixed order; `accuracies` 0..1, (M,). `on_fit` is called
    after each of the `FITS`.
    """
    features = architecture_features(space, encodings)
    targets = np.asarray(accuracies, np.float64)
    predicted = np.empty(len(targets))
    for fold in range(FOLDS):
        held = np.arange(len(targets)) % FOLDS == fold
        fit = _fit(features[~held], targets[~held])
        inputs = (features[held] - fit.centre) / fit.scale
        scaled = float(fit.size[0]) * fit._covariance(inputs) @ fit.weights
        predicted[held] = float(fit.level[0]) + scaled
        on_fit()
    error = float(np.abs(predicted - targets).mean())
    quality = np.array([error, kendall_tau(predicted, targets)])
    predictor = replace(_fit(features, targets), quality=quality)
    on_fit()
    return predictor


def _fit(features: DoubleArray, targets: DoubleArray) -> AccuracyPredictor:
    centre, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    inputs = (features - centre) / scale
    level, size = float(targets.mean()), float(max(targets.std(), 1e-6))
    values = (targets - level) / size
    best: tuple[float, DoubleArray, DoubleArray] | None = None
    for choice in product(LENGTHS, LINES, SMOOTH, NOISES):
        settings = np.array(choice)
        covariance = _covariance(inputs, inputs, settings) + choice[3] * np.eye(len(inputs))
        lower = np.asarray(np.linalg.cholesky(covariance), np.float64)
        white = np.linalg.solve(lower, values)
        evidence = -0.5 * float(white @ white) - float(np.log(np.diag(lower)).sum())
        if best is None or evidence > best[0]:
            best = (evidence, settings, lower)
    assert best is not None
    _, settings, lower = best
    factor = np.asarray(np.linalg.inv(lower), np.float64)
    weights = factor.T @ (factor @ values)
    levels = np.array([level]), np.array([size])
    unknown = np.full(2, np.nan)
    return AccuracyPredictor(inputs, weights, factor, centre, scale, *levels, settings, unknown)


def _covariance(first: DoubleArray, second: DoubleArray, settings: DoubleArray) -> DoubleArray:
    length, line, smooth, _ = settings
    columns = first.shape[1]
    inner = first @ second.T
    squares = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1) - 2 * inner
    span = length * length * columns / 4
    covariance: DoubleArray = line * inner / columns + smooth * np.exp(-squares / (2 * span))
    return covariance
