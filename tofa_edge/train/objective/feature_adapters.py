"""Linear layers from a supernet's features to its teachers', used in pretraining and thrown away.

Features of networks that were trained apart mean the same things in other coordinates. A linear
layer finds them (Romero et al., "FitNets", ICLR 2015), so that a student may learn from the
features of several teachers at once and keep its own. All features are standardised by channel
first: else a few channels of large values would decide how alike two images are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tofa_edge.errors import TrainingError
from tofa_edge.train.objective.standardisation import centre_and_deviation

RIDGE = 0.3  # on the diagonal, over the mean squared length of a row


@dataclass(frozen=True, eq=False)
class Scale:
    """How features are standardised: by the mean of a channel, then its deviation.

    Attributes:
        mean: float32, (channels,).
        deviation: float32, (channels,).
    """

    mean: Tensor
    deviation: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Returns features, (N, channels), standardised."""
        return (features - self.mean) / self.deviation


@dataclass(eq=False)
class Adapters:
    """The layers, one for each teacher, and how features are standardised.

    Attributes:
        own: of the supernet's features.
        scales: of the teachers' features, by name.
        layers: from standardised features of the supernet to those of a teacher, by name.
    """

    own: Scale
    scales: dict[str, Scale]
    layers: dict[str, nn.Linear]

    @classmethod
    def fitted(cls, start: str, features: Mapping[str, Tensor]) -> Adapters:
        """Returns adapters that begin where the features of some images are met best.

        Args:
            start: name of the network that the supernet starts from: its features are met as they
                are.
            features: of the start and of other networks, by name, float32, (N, channels).
        """
        scales = {name: Scale(*centre_and_deviation(each)) for name, each in features.items()}
        own, made = scales[start], {}
        seen = own(features[start])
        for name, each in features.items():
            same = torch.eye(seen.shape[1], device=seen.device)
            weight = same if name == start else _ridge(seen, scales[name](each))
            layer = nn.Linear(seen.shape[1], len(weight), device=weight.device)
            with torch.no_grad():
                layer.weight.copy_(weight)
                layer.bias.zero_()
            made[name] = layer
        return cls(own, scales, made)

    def only(self, names: Sequence[str]) -> Adapters:
        """Returns those of the teachers of some `names`."""
        scales = {name: self.scales[name] for name in names}
        return Adapters(self.own, scales, {name: self.layers[name] for name in names})

    def standard(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns teachers' `features`, by name, float32, (N, channels), standardised."""
        return {name: self.scales[name](each) for name, each in features.items()}

    def distance(self, pooled: Tensor, taught: Mapping[str, Tensor]) -> Tensor:
        """Returns how far a subnet's features are from its teachers': 1 − cosine, 0..2, (N,).

        Args:
            pooled: the subnet's, float32, (N, channels).
            taught: the teachers', standardised, by name, float32, (N, channels).
        """
        seen = self.own(pooled)
        angles = [
            1 - F.cosine_similarity(self.layers[name](seen), each, dim=1)
            for name, each in taught.items()
        ]
        return torch.stack(angles).mean(dim=0)

    def parameters(self) -> dict[str, nn.Parameter]:
        """Returns the layers' parameters by name."""
        return {
            f"{name}.{role}": parameter
            for name, layer in self.layers.items()
            for role, parameter in layer.named_parameters()
        }

    def state(self) -> dict[str, Tensor]:
        """Returns everything by name, for a checkpoint."""
        scales = {"own": self.own, **self.scales}
        kept: dict[str, Tensor] = {name: each.detach() for name, each in self.parameters().items()}
        for name, scale in scales.items():
            kept |= {f"{name}.mean": scale.mean, f"{name}.deviation": scale.deviation}
        return kept

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Takes what `state` returned.

        Raises:
            TrainingError: an array is missing or has another shape.
        """
        with torch.no_grad():
            for name, value in self.state().items():
                found = state.get(name)
                if found is None or found.shape != value.shape:
                    raise TrainingError(f"the checkpoint's adapters do not fit: {name}")
                value.copy_(found)


def _ridge(inputs: Tensor, outputs: Tensor) -> Tensor:
    """Returns the weight, (outputs, inputs), by which rows of inputs give those of outputs best.

    Ridge regression by the matrix of the rows' products: there are fewer rows than channels.
    """
    products = inputs @ inputs.T
    products.diagonal().add_(RIDGE * products.diagonal().mean())
    weight: Tensor = outputs.T @ torch.linalg.solve(products, inputs)
    return weight
