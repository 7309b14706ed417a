"""Label spreading: probabilities, averaged with those of the nearest neighbours.

A linear probe fitted to a few labels is wrong about whole regions of feature space whose images
resemble labelled ones only by way of others. Spreading its predictions over a graph of nearest
neighbours corrects that, and its overconfidence (Zhou et al., "Learning with Local and Global
Consistency", NeurIPS 2003; on deep features: Iscen et al., CVPR 2019).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from tofa_edge.architecture.arrays import IndexArray
from tofa_edge.train.objective.features import Features, split
from tofa_edge.train.objective.standardisation import centre_and_deviation

NEIGHBOURS = 10  # of each image
SHARPNESS = 3  # the power of a cosine that makes a weight
SPREAD = 0.7  # what neighbours count in an image's probabilities
ROUNDS = 15  # .7 ** 15 is half a percent
BLOCK = 20_000  # images that may be neighbours: cost and memory stay linear in their number
ROWS = 1000  # of similarities at once


@dataclass(frozen=True, eq=False)
class Neighbours:
    """A graph of similar images.

    Attributes:
        weights: symmetric, normalised by degree, float32, sparse, (N, N).
    """

    weights: Tensor

    @classmethod
    def of(cls, features: Tensor | Features) -> Neighbours:
        """Returns the graph of images by the cosine between their features.

        Args:
            features: float32, (N, channels), in mixed order: of more than 20,000, parts have their
                own graphs.
        """
        mean, deviation = centre_and_deviation(features)
        features = Features.of(features)
        pairs, values = [], []
        for part in split(features, BLOCK):
            standard = (features.rows(part) - mean).div_(deviation)
            places, near = _nearest(F.normalize(standard, dim=1, out=standard))
            pairs.append(places + part.start)
            values.append(near)
        one_way = _sparse(torch.cat(pairs, dim=1), torch.cat(values), len(features))
        both = (one_way + one_way.t()).coalesce()
        degrees = torch.sparse.sum(both, dim=1).to_dense().clamp(min=1e-12)
        scale = degrees.rsqrt()[both.indices()].prod(dim=0)
        return cls(_sparse(both.indices(), both.values() * scale, len(features)).coalesce())

    def smooth(self, probabilities: Tensor) -> Tensor:
        """Returns probabilities, averaged with those of the neighbours.

        Args:
            probabilities: float32, (N, classes).
        """
        spread = probabilities
        for _ in range(ROUNDS):
            spread = SPREAD * (self.weights @ spread) + (1 - SPREAD) * probabilities
        return spread / spread.sum(dim=1, keepdim=True)


def spread(predicted: Tensor, labels: IndexArray, neighbours: Neighbours) -> Tensor:
    """Returns predictions, corrected by labels, spread over neighbours, float32, (N, classes).

    Args:
        predicted: probabilities, float32, (N, classes).
        labels: class indices, int64, −1 where unlabelled, (N,).
        neighbours: of the images.
    """
    known = torch.from_numpy(labels).to(predicted.device)
    one_hot = F.one_hot(known.clamp(min=0), predicted.shape[1]).to(predicted)
    return neighbours.smooth(torch.where((known >= 0)[:, None], one_hot, predicted))


def _nearest(block: Tensor) -> tuple[Tensor, Tensor]:
    """Returns pairs of images of a block, (2, P), and their weights, (P,)."""
    count = min(NEIGHBOURS, len(block) - 1)
    nearest = []
    for first in range(0, len(block), ROWS):
        cosines = block[first : first + ROWS] @ block.T
        cosines.diagonal(first).fill_(-1.0)  # nobody is a neighbour of its own
        nearest.append(cosines.topk(count, dim=1))
    others = torch.cat([best.indices for best in nearest]).flatten()
    own = torch.arange(len(block), device=block.device).repeat_interleave(count)
    values = torch.cat([best.values for best in nearest]).flatten()
    return torch.stack([own, others]), values.clamp(min=0) ** SHARPNESS


def _sparse(places: Tensor, values: Tensor, size: int) -> Tensor:
    return torch.sparse_coo_tensor(places, values, (size, size), check_invariants=False)
