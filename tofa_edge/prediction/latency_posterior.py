"""From measurements to beliefs: every hypothesis fitted and weighed by its evidence at once.

With k ≤ 15 measurements all matrices are k × k, so hundreds of hypotheses are fitted in a stack.
The sum of costs is not linear in θ; it is linearised where the posterior is highest, found by
Gauss–Newton steps with a line search, and the evidence is Laplace's approximation there (MacKay,
"Information Theory, Inference and Learning Algorithms", 2003, chapters 27 and 28).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tofa_edge.architecture.arrays import DoubleArray, IndexArray
from tofa_edge.prediction.latency_prior import BELIEFS, Hypotheses, ModelInputs

Similarity = tuple[DoubleArray, DoubleArray]
STEPS = 10
STEP_SIZES = (1.0, 0.5, 0.2, 0.05)
OUTLIER_SPREAD = 1.0  # in log units: off by a factor of e


@dataclass(frozen=True, slots=True)
class Posterior:
    """What k measurements leave of H hypotheses."""

    hypotheses: Hypotheses  # as given
    measured: ModelInputs  # the candidates measured, k of them
    weights: DoubleArray  # probability of each hypothesis, (H,)
    speeds: DoubleArray  # θ where the posterior is highest, (H, D + 1)
    cross: DoubleArray  # covariance of θ and the measurements, (H, D + 1, k)
    precision: DoubleArray  # inverse covariance of the measurements, (H, k, k)
    alpha: DoubleArray  # precision times what the prior mean misses, (H, k)
    suspects: DoubleArray  # probability that a measurement is an outlier, (k,)

    def likely(self, most: int) -> IndexArray:
        """Returns the indices of the `most` likeliest hypotheses, (H,), without improbable ones."""
        order = np.argsort(-self.weights, kind="stable")[:most]
        probable: IndexArray = order[self.weights[order] > 2e-3 * self.weights[order[0]]]
        return probable

    def means(self, inputs: ModelInputs, which: IndexArray) -> DoubleArray:
        """Returns log ms of n candidates under the hypotheses `which`, (len(which), n)."""
        assumed, alpha = self.hypotheses.take(which), self.alpha[which].T
        mean: DoubleArray = np.log(inputs.work @ np.exp(self.speeds[which].T))
        mean += inputs.offset[:, assumed.source]
        near, products = _similarity(inputs, self.measured)
        mean += near @ (alpha * assumed.residual**2) + products @ (alpha * assumed.mix**2)
        own = self.measured.centred_prior[:, assumed.source]
        slopes = assumed.slope**2 * (own * alpha).sum(axis=0)
        mean += inputs.centred_prior[:, assumed.source] * slopes
        means: DoubleArray = mean.T
        return means

    def covariance(
        self, inputs: ModelInputs, which: IndexArray, weights: DoubleArray
    ) -> DoubleArray:
        """Returns the covariance of log ms of n candidates, (n, n), over weighted hypotheses."""
        similarity, to_measured = _similarity(inputs, inputs), _similarity(inputs, self.measured)
        total = np.zeros((len(inputs), len(inputs)))
        for at, weight in zip(which, weights, strict=True):
            shares, cross = self._shares_and_cross(inputs, at, to_measured)
            before = shares @ self.hypotheses.covariance[at] @ shares.T
            before += _residual_covariance(self.hypotheses, at, inputs, inputs, similarity)
            total += weight * (before - cross @ self.precision[at] @ cross.T)
        return total

    def variance(self, inputs: ModelInputs, which: IndexArray, weights: DoubleArray) -> DoubleArray:
        """Returns the variance of log ms of n candidates, (n,), over weighted hypotheses."""
        similarity, assumed = _similarity(inputs, self.measured), self.hypotheses
        products, total = (inputs.centred_prior**2).sum(axis=1), np.zeros(len(inputs))
        for at, weight in zip(which, weights, strict=True):
            shares, cross = self._shares_and_cross(inputs, at, similarity)
            before = ((shares @ assumed.covariance[at]) * shares).sum(axis=1)
            before += assumed.mix[at] ** 2 * products + assumed.residual[at] ** 2
            before += (assumed.slope[at] * inputs.centred_prior[:, assumed.source[at]]) ** 2
            explained = ((cross @ self.precision[at]) * cross).sum(axis=1)
            total += weight * (np.maximum(before - explained, 0) + assumed.noise[at] ** 2)
        return total

    def _shares_and_cross(
        self, inputs: ModelInputs, at: int, similarity: Similarity
    ) -> tuple[DoubleArray, DoubleArray]:
        shares = inputs.work * np.exp(self.speeds[at])
        shares /= shares.sum(axis=1, keepdims=True)
        other = _residual_covariance(self.hypotheses, at, inputs, self.measured, similarity)
        return shares, shares @ self.cross[at] + other


def prior(assumed: Hypotheses, nothing: ModelInputs) -> Posterior:
    """Returns the beliefs before any measurement; `nothing` is no candidate."""
    count, dimension = assumed.speeds.shape
    weights = np.exp(assumed.log_weight - assumed.log_weight.max())
    shapes = (count, dimension, 0), (count, 0, 0), (count, 0), (0,)
    empty = (np.zeros(shape) for shape in shapes)
    return Posterior(assumed, nothing, weights / weights.sum(), assumed.speeds, *empty)


def infer(
    assumed: Hypotheses,
    inputs: ModelInputs,
    log_ms: DoubleArray,
    errors: DoubleArray,
) -> Posterior:
    """Returns the beliefs after measurements.

    Where leaving a measurement out makes it improbable under the rest, it is taken for an outlier:
    its error becomes a factor of e, and all is weighed anew. At most (k - 1) // 3 are.
    `log_ms` are latencies, `errors` relative standard errors, (k,) each.
    """
    errors, outliers = errors.copy(), np.zeros(len(inputs))
    most = (len(inputs) - 1) // 3
    for count in range(most + 1):
        posterior = _weigh(assumed, inputs, log_ms, errors)
        suspects = np.where(outliers > 0, 0, posterior.suspects)
        worst = int(np.argmax(suspects))
        if suspects[worst] <= 0.5 or count == most:
            break
        outliers[worst] = suspects[worst]
        errors[worst] = OUTLIER_SPREAD
    return replace(posterior, suspects=np.maximum(outliers, suspects))


def _weigh(
    assumed: Hypotheses,
    inputs: ModelInputs,
    log_ms: DoubleArray,
    errors: DoubleArray,
) -> Posterior:
    base = inputs.offset.T[assumed.source]
    shift = (log_ms - base - np.log(np.exp(assumed.speeds) @ inputs.work.T)).mean(axis=1)
    # without a prior the scale is unknown: start where the measurements are
    centre = assumed.speeds + np.where(assumed.source == 0, shift, 0.0)[:, np.newaxis]
    rest = _residual_covariances(assumed, inputs)
    noise = errors**2 + assumed.noise[:, np.newaxis] ** 2
    rest += noise[:, :, np.newaxis] * np.eye(len(inputs))
    target = log_ms - base
    weights = _most_probable(assumed.covariance, centre, rest, inputs.work, target)
    speeds = centre + _times(assumed.covariance, weights)
    shares, sums = _linearised(inputs.work, speeds)
    missing = target - sums + _times(shares, speeds - centre)
    cross = assumed.covariance @ shares.transpose(0, 2, 1)
    precision = np.linalg.inv(shares @ cross + rest)
    alpha = _times(precision, missing)
    _, logdet = np.linalg.slogdet(precision)
    evidence = 0.5 * logdet - 0.5 * (missing * alpha).sum(axis=1) + assumed.log_weight
    evidence, suspects = _outliers(evidence, precision, alpha)
    return Posterior(assumed, inputs, evidence, speeds, cross, precision, alpha, suspects)


def _outliers(
    evidence: DoubleArray, precision: DoubleArray, alpha: DoubleArray
) -> tuple[DoubleArray, DoubleArray]:
    """Returns the weights of hypotheses (H,), and of each measurement being the one outlier (k,).

    The density of a measurement given the others follows from the full inverse (Rasmussen and
    Williams, 2006, section 5.4.2), so leaving each out costs nothing.
    """
    variance = 1 / np.diagonal(precision, axis1=1, axis2=2)
    misses = alpha * variance
    wide = variance + OUTLIER_SPREAD**2
    gain = 0.5 * (misses**2 / variance - misses**2 / wide + np.log(variance / wide))
    likely = np.log(BELIEFS.outlier / (1 - BELIEFS.outlier)) + gain
    odds = np.concatenate([np.zeros((len(evidence), 1)), likely], axis=1)
    joint = evidence[:, np.newaxis] + odds
    joint = np.exp(joint - joint.max())
    joint /= joint.sum()
    return joint.sum(axis=1), joint[:, 1:].sum(axis=0)


def _most_probable(
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
        cross = covariance @ shares.transpose(0, 2, 1)
        missing = target - sums + _times(shares, moved)
        alpha = np.linalg.solve(shares @ cross + rest, missing[:, :, np.newaxis])[:, :, 0]
        step = _times(shares.transpose(0, 2, 1), alpha) - best
        step_moved = _times(cross, alpha) - moved
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


def _similarity(left: ModelInputs, right: ModelInputs) -> Similarity:
    """A squared-exponential kernel of the points, and the products of the centred priors."""
    squares = (left.point**2).sum(axis=1)[:, np.newaxis] + (right.point**2).sum(axis=1)
    near = np.exp(-0.5 * np.maximum(squares - 2 * left.point @ right.point.T, 0))
    return near, left.centred_prior @ right.centred_prior.T


def _residual_covariance(
    assumed: Hypotheses, at: int, left: ModelInputs, right: ModelInputs, similarity: Similarity
) -> DoubleArray:
    """The covariance of all but the sum of costs: residual, mix of priors, slope of its own."""
    own = assumed.source[at]
    covariance: DoubleArray = (
        assumed.residual[at] ** 2 * similarity[0] + assumed.mix[at] ** 2 * similarity[1]
    )
    covariance += np.outer(
        assumed.slope[at] ** 2 * left.centred_prior[:, own], right.centred_prior[:, own]
    )
    return covariance


def _residual_covariances(assumed: Hypotheses, inputs: ModelInputs) -> DoubleArray:
    """`_residual_covariance` of inputs with themselves, of all hypotheses at once, (H, k, k)."""
    near, products = _similarity(inputs, inputs)
    own = assumed.slope[:, np.newaxis] * inputs.centred_prior.T[assumed.source]
    rest: DoubleArray = np.multiply.outer(assumed.residual**2, near)
    rest += np.multiply.outer(assumed.mix**2, products)
    rest += own[:, :, np.newaxis] * own[:, np.newaxis, :]
    return rest
