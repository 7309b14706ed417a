"""How an engine is judged by golden cases."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.architecture.layers import LOGITS
from tofa_edge.backends.protocol import Engine, Target
from tofa_edge.backends.reference import Reference, ReferenceSession
from tofa_edge.network.network import Network
from tofa_edge.selftest.golden import Case, judge, specimen_images
from tofa_edge.selftest.specimens import specimen


class OffSession(ReferenceSession):
    def __init__(self, network: Network, share: float) -> None:
        super().__init__(network)
        self.share = np.float32(share)

    def run(self, batch: ImageArray) -> dict[str, FloatArray]:
        return {LOGITS: super().run(batch)[LOGITS] + self.share}


class Off(Reference):
    """Computes logits that are off by a share of the largest."""

    def __init__(self, share: float) -> None:
        self.share = share

    def load(self, artefact: bytes, target: Target) -> Any:
        return OffSession(Network.from_bytes(artefact), self.share)


def case() -> Case:
    """Returns a case whose largest logit is 1, while the first image's are nearly 0."""
    network, images = specimen(), specimen_images(32, 2)
    arrays, bias = dict(network.arrays), f"{LOGITS}.bias"
    arrays[bias] = arrays[bias] - ReferenceSession(network).run(images)[LOGITS][0]
    largest = np.abs(ReferenceSession(replace(network, arrays=arrays)).run(images)[LOGITS]).max()
    for name in (bias, f"{LOGITS}.weight"):
        arrays[name] = arrays[name] / largest
    network = replace(network, arrays=arrays)
    return Case(network, images, {LOGITS: ReferenceSession(network).run(images)[LOGITS]})


def test_an_error_is_a_share_of_the_largest_logit_of_the_case() -> None:
    assert judge(Engine(Off(0.9e-3), Target()), [case()]) is None
    judgement = judge(Engine(Off(1.1e-3), Target()), [case()])
    assert judgement is not None
    assert judgement[0] == "wrong numbers"
