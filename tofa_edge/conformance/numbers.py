"""Does an engine compute the right numbers? Every network is compared with the reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.architecture.layers import LOGITS, BatchStatistics, layers
from tofa_edge.backends.protocol import Session
from tofa_edge.backends.reference import ReferenceSession
from tofa_edge.conformance.subject import Fault, Inapplicable, Subject, expect
from tofa_edge.errors import BackendError
from tofa_edge.network.network import LITE_PREPROCESSING, Network, Preprocessing
from tofa_edge.network.slicing import calibration_network, cut
from tofa_edge.selftest.golden import difference, tolerance
from tofa_edge.selftest.specimens import (
    calibrated,
    photos,
    random_supernet,
    spaces,
    specimen,
    varied_subnet,
)

FULL = {"tiny": 30, "mobilenet_v3": 10, "lite0": 12}  # subnets of each space
QUICK = {"tiny": 8, "mobilenet_v3": 3, "lite0": 4}
SLOW = {"tiny": 4, "mobilenet_v3": 2, "lite0": 2}
MEASURING = (("tiny", 1), ("tiny", 4), ("mobilenet_v3", 3), ("lite0", 2), ("lite0", 5))
MEASURED_PHOTOS = 64  # fewer would leave channels with one live pixel
UNEVEN = Preprocessing((60.0, 120.0, 180.0), (40.0, 70.0, 100.0))


def subnets_equal_the_reference(subject: Subject) -> str:
    """Kernels, widths, depths, odd sizes, gates, every activation; batches of 1, 3 and 1 again."""
    worst, counts = 0.0, SLOW if subject.slow else QUICK if subject.quick else FULL
    for what, network, images in _networks(counts):
        wanted = ReferenceSession(network).run(images)[LOGITS]
        with subject.session(network) as session:
            for batch in (1, 3, 1):
                wrong = _wrong(session, images[:batch], wanted[:batch])
                expect(
                    wrong <= subject.allowed(),
                    f"batch {batch}: {wrong:.1e} of the largest logit off on {what}",
                )
                worst = max(worst, wrong)
    return f"{sum(counts.values())} subnets, {worst:.1e} of the largest logit off at most"


def every_target_equals_the_reference(subject: Subject) -> str:
    """Each target that works here."""
    network = specimen()
    for target in subject.targets:
        try:
            subject.compare(network, photos(2, network.input_size), target)
        except (Fault, BackendError) as error:
            raise Fault(f"{target}: {error}") from error
    return ", ".join(map(str, subject.targets))


def preprocessing_is_the_networks_own(subject: Subject) -> str:
    """Means and deviations that differ from channel to channel."""
    network = replace(specimen(), preprocessing=UNEVEN)
    wrong = subject.compare(network, photos(2, network.input_size))
    return f"{wrong:.1e} of the largest logit off"


def calibration_statistics_equal_the_reference(subject: Subject) -> str:
    """Means and variances of every BatchNorm, over a batch of 64."""
    worst = 0.0
    for name, seed in MEASURING:
        measuring, images = _measuring(name, seed)
        if not subject.backend.calibrates:
            try:
                subject.backend.build(measuring, subject.target)
            except BackendError as error:
                raise Inapplicable(f"it does not calibrate, and says so: {error}") from error
        with subject.session(measuring) as session:
            got = session.run(images)
        wrong = _statistics_difference(measuring, got, images)
        expect(
            wrong <= tolerance(subject.target) / 10,
            f"{wrong:.1e} of a channel's spread off on {name} {seed}",
        )
        worst = max(worst, wrong)
    return f"{len(MEASURING)} networks, {worst:.1e} of a channel's spread off at most"


def _networks(counts: dict[str, int]) -> Iterator[tuple[str, Network, ImageArray]]:
    for name, space in spaces().items():
        supernet = random_supernet(space, 0)
        for seed in range(counts[name]):
            subnet = varied_subnet(space, seed)
            images = photos(3, subnet.resolution, seed)
            network = calibrated(space, subnet, supernet, seed)
            yield f"{name}: {subnet.to_json()}", network, images


def _wrong(session: Session, images: ImageArray, wanted: FloatArray) -> float:
    got = session.run(images)
    expect(list(got) == [LOGITS], f"wanted the output {LOGITS!r}, got {list(got)}")
    logits = got[LOGITS]
    expect(logits.dtype == np.float32, f"wanted float32, got {logits.dtype}")
    expect(logits.shape == wanted.shape, f"wanted shape {wanted.shape}, got {logits.shape}")
    return difference(logits, wanted)


def _measuring(name: str, seed: int) -> tuple[Network, ImageArray]:
    space = spaces()[name]
    subnet = varied_subnet(space, seed)
    network = layers(space, subnet)
    arrays = cut(network, random_supernet(space, seed))
    images = photos(MEASURED_PHOTOS, subnet.resolution, seed)
    return calibration_network(network, arrays, LITE_PREPROCESSING), images


def _statistics_difference(
    measuring: Network, got: dict[str, FloatArray], images: ImageArray
) -> float:
    wanted = ReferenceSession(measuring).run(images)
    other = sorted(got.keys() ^ wanted.keys())
    expect(not other, f"outputs missing or not asked for: {', '.join(other[:3])}")
    worst = 0.0
    for layer in (layer for layer in measuring.layers if isinstance(layer, BatchStatistics)):
        mean, variance = layer.statistics
        spread = np.sqrt(wanted[variance] + layer.epsilon)  # as it enters the gain
        for name, scale in ((mean, spread), (variance, spread**2)):
            wanted_shape, shape = wanted[name].shape, got[name].shape
            expect(shape == wanted_shape, f"{name}: wanted shape {wanted_shape}, got {shape}")
            wrong = np.abs(got[name] - wanted[name]) / scale
            worst = max(worst, float(wrong.max()) if np.isfinite(wrong).all() else float("inf"))
    return worst
