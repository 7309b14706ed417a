"""Engines in integers against what the reference rounds, on networks of every kind."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import psutil
import pytest

from tofa_edge import backends
from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.architecture.layers import LOGITS, Convolution
from tofa_edge.backends.protocol import Engine, Session, Target
from tofa_edge.backends.reference import ReferenceSession
from tofa_edge.cutting.ranges import observe, ready
from tofa_edge.network.integers import quantised
from tofa_edge.network.network import Network, Preprocessing
from tofa_edge.selftest.golden import difference, tolerance
from tofa_edge.selftest.specimens import (
    calibrated,
    photos,
    random_supernet,
    spaces,
    specimen,
    varied_subnet,
)

REFERENCE = Engine(backends.backend("reference"), Target())
CASES = [("tiny", seed) for seed in range(8)]
CASES += [(name, seed) for name in ("mobilenet_v3", "lite0") for seed in range(2)]
UNEVEN = Preprocessing((60.0, 120.0, 180.0), (40.0, 70.0, 100.0))
PHOTOS = 3
LOADS = {"openvino": 30}  # it compiles for a tenth of a second; 200 for all others
MOST_GROWTH = 0.05
MOST_SIZE = 0.35  # of the artefact in fp32: a quarter, and what describes the integers


def offered() -> list[tuple[str, str]]:
    """Which engines compute in which integers on this CPU."""
    return [
        (name, target.precision)
        for name, backend in backends.working().items()
        for target in backend.targets()
        if target.is_integer and (target.unit, target.threads) == ("cpu", 1)
    ]


@pytest.fixture(params=offered(), ids=" ".join)
def engine(request: pytest.FixtureRequest) -> Engine:
    name, precision = request.param
    return Engine(backends.backend(name), Target(precision=precision))


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def case(request: pytest.FixtureRequest) -> tuple[Network, ImageArray, Network]:
    """A network, its photos, and the network with its quantisation."""
    name, seed = request.param
    space = spaces()[name]
    network = calibrated(space, varied_subnet(space, seed), random_supernet(space, seed), seed)
    images = photos(PHOTOS, network.input_size, seed)
    return network, images, ready(network, Target(precision="int8"), images, REFERENCE)


@contextmanager
def loaded(engine: Engine, network: Network) -> Iterator[Session]:
    session = engine.load(network)
    try:
        yield session
    finally:
        session.close()


def agrees(engine: Engine, exact: Network, rounded: Network, images: ImageArray) -> FloatArray:
    """Compares an engine with the reference, one image and several; returns its logits."""
    wanted = ReferenceSession(rounded).run(images)[LOGITS]
    rounding = difference(wanted, ReferenceSession(exact).run(images)[LOGITS])
    with loaded(engine, rounded) as session:
        assert session.unit == "cpu"
        for count in (len(images), 1, len(images)):
            found = session.run(images[:count])[LOGITS]
            wrong = difference(found, wanted[:count])
            assert wrong <= tolerance(engine.target, rounding), f"{count} images, {rounding:.1e}"
    return found


def test_it_computes_what_the_reference_rounds(
    engine: Engine, case: tuple[Network, ImageArray, Network]
) -> None:
    network, images, rounded = case
    found = agrees(engine, network, rounded, images)
    exact = ReferenceSession(network).run(images)[LOGITS]
    assert difference(found, exact) > 1e-4, "it computes in float"


@pytest.mark.parametrize("preprocessing", [UNEVEN, replace(UNEVEN, mean=(127.5,) * 3)])
def test_pixels_that_are_no_integers_are_normalised(
    engine: Engine, preprocessing: Preprocessing
) -> None:
    network = replace(specimen(3), preprocessing=preprocessing)
    images = photos(PHOTOS, network.input_size)
    rounded = ready(network, engine.target, images, REFERENCE)
    agrees(engine, network, rounded, images)


def test_layers_that_are_kept_stay_in_float(engine: Engine) -> None:
    network = specimen(1)
    images = photos(PHOTOS, network.input_size)
    seen = observe(network, images, REFERENCE)
    kept = [[network.layers[0].name], [layer.name for layer in network.layers]]
    kept += [[layer.name for layer in network.layers if isinstance(layer, Convolution)][1::2]]
    sizes = []
    for names in ([], *kept):
        rounded = quantised(network, seen, kept=names)
        agrees(engine, network, rounded, images)
        sizes.append(len(engine.backend.build(rounded, engine.target)))
    assert sizes[0] < sizes[1] < sizes[3] < sizes[2], "weights of layers that are kept are wider"


def test_many_threads_compute_the_same(engine: Engine) -> None:
    targets = [
        target
        for target in engine.backend.targets()
        if (target.unit, target.precision) == ("cpu", engine.target.precision)
    ]
    network = specimen(2)
    images = photos(PHOTOS, network.input_size)
    rounded = ready(network, engine.target, images, REFERENCE)
    for target in targets:
        agrees(replace(engine, target=target), network, rounded, images)


def test_artefact_is_small(engine: Engine) -> None:
    space = spaces()["lite0"]
    network = calibrated(space, varied_subnet(space, 0), random_supernet(space, 0))
    rounded = ready(network, engine.target, photos(1, network.input_size), REFERENCE)
    single = len(engine.backend.build(network, Target()))
    assert len(engine.backend.build(rounded, engine.target)) <= MOST_SIZE * single


def test_memory_stays_level(engine: Engine) -> None:
    network = specimen()
    images = photos(1, network.input_size)
    rounded = ready(network, engine.target, images, REFERENCE)
    artefact = engine.backend.build(rounded, engine.target)

    def held(loads: int) -> int:
        for _ in range(loads):
            session = engine.backend.load(artefact, engine.target)
            session.run(images)
            session.close()
        gc.collect()
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's: what was freed goes back
        if trim is not None:
            trim(0)
        return int(psutil.Process().memory_info().rss)

    loads = LOADS.get(engine.backend.name, 200)
    before = held(loads // 4)
    assert held(loads) <= before * (1 + MOST_GROWTH)
