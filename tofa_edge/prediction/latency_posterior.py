"""From measurements to beliefs: every hypothesis fitted and weighed by its evidence at once.

With k ≤ 15 measurements all matrices are k × k, so hundreds of hypotheses are fitted in a stack.
The sum of costs is not linear in θ; it is linearised where the posterior is highest, found by
Gauss–Newton steps with a line search, and the evidence is Laplace's approximation there (MacKay,
"Information Theory, Inference and Learning Algorithms", 2003, chapters 27 and 28).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tofa_edge.architecture.arrays import DoubleArray, IndexArray
from tofa_edge.prediction.latency_prior import Hypotheses, Rows

Alike = tuple[DoubleArray, DoubleArray]
STEPS = 10
STEP_SIZES = (1.0, 0.5, 0.2, 0.05)
OUTLIER_SPREAD = 1.0  # in log units: off by a factor of e


@dataclass(frozen=True, slots=True)
class Posterior:
    """What k measurements leave of H hypotheses.

    Attributes:
        hypotheses: as given.
        rows: those measured, k of them.
        weights: probability of each hypothesis, (H,).
        speeds: θ where the posterior is highest, (H, D + 1).
        reach: covariance of θ and the measurements, (H, D + 1, k).
        precision: inverse covariance of the measurements, (H, k, k).
        pull: precision times what the prior mean misses, (H, k).
        suspects: probability that a measurement is an outlier, (k,).
    """

    hypotheses: Hypotheses
    rows: Rows
    weights: DoubleArray
    speeds: DoubleArray
    reach: DoubleArray
    precision: DoubleArray
    pull: DoubleArray
    suspects: DoubleArray

    def likely(self, most: int) -> IndexArray:
        """Returns the indices of the `most` likeliest hypotheses, (H,), without improbable ones."""
        order = np.argsort(-self.weights, kind="stable")[:most]
        probable: IndexArray = order[self.weights[order] > 2e-3 * self.weights[order[0]]]
        return probable

    def means(self, rows: Rows, which: IndexArray) -> DoubleArray:
        """Returns log ms of n candidates under some hypotheses, (len(which), n).

        Args:
            which: indices of hypotheses, (H,).
        """
        assumed, pull = self.hypotheses.take(which), self.pull[which].T
        mean: DoubleArray = np.log(rows.work @ np.exp(self.speeds[which].T))
        mean += rows.base[:, assumed.source]
        near, tilted = _alike(rows, self.rows)
        mean += near @ (pull * assumed.residual**2) + tilted @ (pull * assumed.mix**2)
        own = self.rows.tilt[:, assumed.source]
        mean += rows.tilt[:, assumed.source] * (assumed.slope**2 * (own * pull).sum(axis=0))
        means: DoubleArray = mean.T
        return means

    def covariance(self, rows: Rows, which: IndexArray, weights: DoubleArray) -> DoubleArray:
        """Returns the covariance of log ms of n candidates, averaged over hypotheses, (n, n).

        Args:
            which: indices of hypotheses, (H,).
            weights: of these hypotheses, (H,).
        """
        alike, alike_measured = _alike(rows, rows), _alike(rows, self.rows)
        total = np.zeros((len(rows), len(rows)))
        for at, weight in zip(which, weights, strict=True):
            shares, cross = self._shares_and_cross(rows, at, alike_measured)
            before = shares @ self.hypotheses.covariance[at] @ shares.T
            before += _other(self.hypotheses, at, rows, rows, alike)
            total += weight * (before - cross @ self.precision[at] @ cross.T)
        return total

    def variance(self, rows: Rows, which: IndexArray, weights: DoubleArray) -> DoubleArray:
        """Returns the variance of log ms of n candidates, averaged over hypotheses, (n,).

        Args:
            which: indices of hypotheses, (H,).
            weights: of these hypotheses, (H,).
        """
        alike, assumed = _alike(rows, self.rows), self.hypotheses
        tilted, total = (rows.tilt**2).sum(axis=1), np.zeros(len(rows))
        for at, weight in zip(which, weights, strict=True):
            shares, cross = self._shares_and_cross(rows, at, alike)
            before = ((shares @ assumed.covariance[at]) * shares).sum(axis=1)
            before += assumed.mix[at] ** 2 * tilted + assumed.residual[at] ** 2
            before += (assumed.slope[at] * rows.tilt[:, assumed.source[at]]) ** 2
            explained = ((cross @ self.precision[at]) * cross).sum(axis=1)
            total += weight * (np.maximum(before - explained, 0) + assumed.noise[at] ** 2)
        return total

    def _shares_and_cross(
        self, rows: Rows, at: int, alike: Alike
    ) -> tuple[DoubleArray, DoubleArray]:
        shares = rows.work * np.exp(self.speeds[at])
        shares /= shares.sum(axis=1, keepdims=True)
        other = _other(self.hypotheses, at, rows, self.rows, alike)
        return shares, shares @ self.reach[at] + other


def prior(assumed: Hypotheses, nothing: Rows) -> Posterior:
    """Returns the beliefs before any measurement; `nothing` has no rows."""
    count, dimension = assumed.speeds.shape
    weights = np.exp(assumed.log_weight - assumed.log_weight.max())
    return Posterior(
        assumed,
        nothing,
        weights / weights.sum(),
        assumed.speeds,
        np.zeros((count, dimension, 0)),
        np.zeros((count, 0, 0)),
        np.zeros((count, 0)),
        np.zeros(0),
    )


def infer(
    assumed: Hypotheses, rows: Rows, log_ms: DoubleArray, errors: DoubleArray, outlier: float
) -> Posterior:
    """Returns the beliefs after measurements.

    Where leaving a measurement out makes it improbable under the rest, it is taken for an outlier:
    its error becomes a factor of e, and all is weighed anew. At most (k - 1) // 3 are.

    Args:
        log_ms: their latencies, (k,).
        errors: relative standard errors, (k,).
    """
    errors, suspects = errors.copy(), np.zeros(len(rows))
    most = (len(rows) - 1) // 3
    for caught in range(most + 1):
        found = _weigh(assumed, rows, log_ms, errors, outlier)
        open_to_doubt = np.where(suspects > 0, 0, found.suspects)
        worst = int(np.argmax(open_to_doubt))
        if open_to_doubt[worst] <= 0.5 or caught == most:
            break
        suspects[worst] = open_to_doubt[worst]
        errors[worst] = OUTLIER_SPREAD
    fields = {name: getattr(found, name) for name in found.__dataclass_fields__}
    return Posterior(**{**fields, "suspects": np.maximum(suspects, open_to_doubt)})


def _weigh(
    assumed: Hypotheses, rows: Rows, log_ms: DoubleArray, errors: DoubleArray, outlier: float
) -> Posterior:
    base = rows.base.T[assumed.source]
    shift = (log_ms - base - np.log(np.exp(assumed.speeds) @ rows.work.T)).mean(axis=1)
    # without a prior the scale is unknown: start where the measurements are
    centre = assumed.speeds + np.where(assumed.source == 0, shift, 0.0)[:, np.newaxis]
    rest = _rest(assumed, rows)
    noise = errors**2 + assumed.noise[:, np.newaxis] ** 2
    rest += noise[:, :, np.newaxis] * np.eye(len(rows))
    target = log_ms - base
    weights = _climb(assumed.covariance, centre, rest, rows.work, target)
    speeds = centre + _times(assumed.covariance, weights)
    shares, sums = _linearised(rows.work, speeds)
    missing = target - sums + _times(shares, speeds - centre)
    reach = assumed.covariance @ shares.transpose(0, 2, 1)
    precision = np.linalg.inv(shares @ reach + rest)
    pull = _times(precision, missing)
    _, logdet = np.linalg.slogdet(precision)
    evidence = 0.5 * logdet - 0.5 * (missing * pull).sum(axis=1) + assumed.log_weight
    evidence, suspects = _doubt(evidence, precision, pull, outlier)
    return Posterior(assumed, rows, evidence, speeds, reach, precision, pull, suspects)


def _doubt(
    evidence: DoubleArray, precision: DoubleArray, pull: DoubleArray, outlier: float
) -> tuple[DoubleArray, DoubleArray]:
    """Returns the weights of hypotheses (H,), and of each measurement being the one outlier (k,).

    The density of a measurement given the others follows from the full inverse (Rasmussen and
    Williams, 2006, section 5.4.2), so leaving each out costs nothing.
    """
    variance = 1 / np.diagonal(precision, axis1=1, axis2=2)
    misses = pull * variance
    wide = variance + OUTLIER_SPREAD**2
    gain = 0.5 * (misses**2 / variance - misses**2 / wide + np.log(variance / wide))
    odds = np.concatenate(
        [np.zeros((len(evidence), 1)), np.log(outlier / (1 - outlier)) + gain], axis=1
    )
    joint = evidence[:, np.newaxis] + odds
    joint = np.exp(joint - joint.max())
    joint /= joint.sum()
    return joint.sum(axis=1), joint[:, 1:].sum(axis=0)


def _climb(
    covariance: DoubleArray,
    centre: DoubleArray,
    rest: DoubleArray,
    work: DoubleArray,
    target: DoubleArray,
) -> DoubleArray:
    """Returns u (H, D + 1) with θ = centre + covariance · u where the posterior is highest."""
    certainty: DoubleArray = np.linalg.inv(rest).astype(np.float64, copy=False)

    def cost(u: DoubleArray, moved: DoubleArray) -> DoubleArray:
        parts = np.exp(np.clip(centre + moved, -50, 50))
        missed = target - np.log(parts @ work.T)
        fit = (missed * _times(certainty, missed)).sum(axis=1)
        total: DoubleArray = (u * moved).sum(axis=1) + fit
        return total

    best = moved = np.zeros_like(centre)  # moved: covariance · best
    lowest = cost(best, moved)
    for _ in range(STEPS):
        shares, sums = _linearised(work, centre + moved)
        reach = covariance @ shares.transpose(0, 2, 1)
        missing = target - sums + _times(shares, moved)
        pull = np.linalg.solve(shares @ reach + rest, missing[:, :, np.newaxis])[:, :, 0]
        step = _times(shares.transpose(0, 2, 1), pull) - best
        step_moved = _times(reach, pull) - moved
        before, start, start_moved = lowest, best, moved
        for size in STEP_SIZES:
            tried, tried_moved = start + size * step, start_moved + size * step_moved
            value = cost(tried, tried_moved)
            better = (value < lowest)[:, np.newaxis]
            best, moved = np.where(better, tried, best), np.where(better, tried_moved, moved)
            lowest = np.minimum(value, lowest)
        if (before - lowest).max() < 1e-3:
            break
    return best


def _times(matrices: DoubleArray, vectors: DoubleArray) -> DoubleArray:
    """Returns each matrix (H, a, b) times its vector (H, b), (H, a)."""
    products: DoubleArray = (matrices @ vectors[:, :, np.newaxis])[:, :, 0]
    return products


def _linearised(work: DoubleArray, speeds: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """Returns d log t / dθ (H, k, D + 1), which are the shares of the costs, and log t (H, k)."""
    parts = work * np.exp(np.clip(speeds, -50, 50))[:, np.newaxis, :]
    total = parts.sum(axis=2, keepdims=True)
    return parts / total, np.log(total[:, :, 0])


def _alike(left: Rows, right: Rows) -> Alike:
    """How alike candidates are: a squared-exponential kernel of shapes, the product of tilts."""
    squares = (left.shape**2).sum(axis=1)[:, np.newaxis] + (right.shape**2).sum(axis=1)
    near = np.exp(-0.5 * np.maximum(squares - 2 * left.shape @ right.shape.T, 0))
    return near, left.tilt @ right.tilt.T


def _other(assumed: Hypotheses, at: int, left: Rows, right: Rows, alike: Alike) -> DoubleArray:
    """The covariance of what is not a sum of costs: residual, mix of priors, slope of its own."""
    own = assumed.source[at]
    covariance: DoubleArray = assumed.residual[at] ** 2 * alike[0] + assumed.mix[at] ** 2 * alike[1]
    covariance += np.outer(assumed.slope[at] ** 2 * left.tilt[:, own], right.tilt[:, own])
    return covariance


def _rest(assumed: Hypotheses, rows: Rows) -> DoubleArray:
    """`_other` of the rows with themselves, for all hypotheses at once, (H, k, k)."""
    near, tilted = _alike(rows, rows)
    own = assumed.slope[:, np.newaxis] * rows.tilt.T[assumed.source]
    rest: DoubleArray = np.multiply.outer(assumed.residual**2, near)
    rest += np.multiply.outer(assumed.mix**2, tilted)
    rest += own[:, :, np.newaxis] * own[:, np.newaxis, :]
    return rest
