"""One suite for every backend found: it computes what the reference does, and behaves."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tofa_edge import backends, proof
from tofa_edge.backends import Backend, Engine, Session, Target
from tofa_edge.backends.reference import ReferenceSession
from tofa_edge.errors import BackendError
from tofa_edge.layers import LOGITS, BatchStatistics, layers
from tofa_edge.network import LITE_PREPROCESSING, FloatArray, ImageArray, Network, Preprocessing
from tofa_edge.space import SearchSpace, Subnet
from tofa_edge.spaces import efficientnet_lite0, mobilenet_v3, tiny
from tofa_edge.weights import calibration_network, cut, fold

Supernets = Callable[[SearchSpace, int], dict[str, FloatArray]]
TOLERANCES = {"tflite": 1e-3}  # of the largest logit; 1e-4 for all others
SPACES = {
    "tiny": tiny(),
    "mobilenet_v3": dataclasses.replace(mobilenet_v3(), resolutions=(64, 65)),
    "lite0": dataclasses.replace(efficientnet_lite0(), resolutions=(48, 49, 75, 96, 97)),
}
CASES = [(name, seed) for name, count in (("tiny", 12), ("mobilenet_v3", 4), ("lite0", 6))
         for seed in range(count)]  # fmt: skip


@pytest.fixture(params=list(backends.backends()))
def backend(request: pytest.FixtureRequest) -> Backend:
    found = backends.backends()[request.param]
    reason = found.missing()
    if reason is not None:
        pytest.skip(reason)
    return found


def on_cpu(backend: Backend) -> list[Target]:
    return [item for item in backend.targets() if (item.unit, item.precision) == ("cpu", "fp32")]


@pytest.fixture
def engine(backend: Backend) -> Engine:
    if not on_cpu(backend):
        pytest.skip(f"{backend.name} does not run on the CPU: see its own tests")
    return Engine(backend, on_cpu(backend)[-1])


def tolerance(engine: Engine) -> float:
    return TOLERANCES.get(engine.backend.name, 1e-4)


def photos(count: int, size: int, seed: int = 0) -> ImageArray:
    """Smooth coloured noise plus grain."""
    rng = np.random.default_rng(seed)
    coarse = (
        rng.integers(0, 200, (count, 4, 4, 3)).repeat(-(-size // 4), 1).repeat(-(-size // 4), 2)
    )
    grain = rng.integers(0, 56, (count, size, size, 3))
    return (coarse[:, :size, :size] + grain).astype(np.uint8)


def subnet_of(space: SearchSpace, seed: int) -> Subnet:
    """Both ends, then random ones that go through all resolutions."""
    if seed < 2:
        return (space.smallest(), space.largest())[seed]
    subnet = space.sample(np.random.default_rng(seed))
    resolution = space.resolutions[seed % len(space.resolutions)]
    return dataclasses.replace(subnet, resolution=resolution)


def calibrated(supernets: Supernets, space: SearchSpace, subnet: Subnet, seed: int) -> Network:
    """A finished network whose statistics are those of `photos(8, …, seed)`: no value explodes."""
    network = layers(space, subnet)
    arrays = cut(network, supernets(space, seed))
    measuring = calibration_network(network, arrays, LITE_PREPROCESSING)
    statistics = ReferenceSession(measuring).run(photos(8, subnet.resolution, seed))
    return fold(network, {**arrays, **statistics}, LITE_PREPROCESSING)


@pytest.fixture
def small(supernets: Supernets) -> Network:
    return calibrated(supernets, tiny(), tiny().largest(), 0)


def test_protocols_hold(engine: Engine, small: Network) -> None:
    assert isinstance(engine.backend, Backend)
    assert backends.backends()[engine.backend.name] is engine.backend
    session = engine.load(small)
    assert isinstance(session, Session)
    session.close()


def test_targets_are_different_cpus_first(backend: Backend) -> None:
    targets = backend.targets()
    assert len(set(targets)) == len(targets)
    cpus = on_cpu(backend)
    if not cpus:
        pytest.skip(f"{backend.name} does not run on the CPU: see its own tests")
    assert targets[: len(cpus)] == tuple(cpus)
    assert cpus[0].threads == 1


@pytest.mark.parametrize(("name", "seed"), CASES)
def test_random_subnet_equals_the_reference(
    engine: Engine, supernets: Supernets, name: str, seed: int
) -> None:
    space = SPACES[name]
    subnet = subnet_of(space, seed)
    network = calibrated(supernets, space, subnet, seed)
    reference, session = ReferenceSession(network), engine.load(network)
    images = photos(8, subnet.resolution, seed)[:3]
    wanted = reference.run(images)[LOGITS]
    for batch in (1, 3, 1):
        got = session.run(images[:batch])
        assert list(got) == [LOGITS]
        assert got[LOGITS].dtype == np.float32
        assert got[LOGITS].shape == (batch, space.classes)
        error = np.abs(got[LOGITS] - wanted[:batch]).max()
        assert error <= tolerance(engine) * np.abs(wanted).max(), subnet
    session.close()


@pytest.mark.parametrize("index", range(3))
def test_every_cpu_target_equals_the_reference(
    backend: Backend, small: Network, index: int
) -> None:
    targets = on_cpu(backend)
    if index >= len(targets):
        pytest.skip(f"{backend.name} offers {len(targets)} CPU targets here")
    engine = Engine(backend, targets[index])
    images = photos(2, 32)
    wanted = ReferenceSession(small).run(images)[LOGITS]
    session = engine.load(small)
    got = session.run(images)[LOGITS]
    assert session.unit == "cpu"
    assert np.abs(got - wanted).max() <= tolerance(engine) * np.abs(wanted).max()


def test_every_other_target_runs_there_or_is_refused(backend: Backend, small: Network) -> None:
    """What an engine lists need not work here, but then it says so."""
    others = [target for target in backend.targets() if target not in on_cpu(backend)]
    if not others:
        pytest.skip(f"{backend.name} offers nothing but the CPU here")
    images = photos(2, 32)
    wanted = ReferenceSession(small).run(images)[LOGITS]
    for target in others:
        try:
            session = Engine(backend, target).load(small)
        except BackendError:
            continue
        assert session.unit == target.unit
        got = session.run(images)[LOGITS]
        assert proof.difference(got, wanted) <= proof.tolerance(target), target
        session.close()


def test_preprocessing_is_the_networks_own(engine: Engine, small: Network) -> None:
    other = Preprocessing((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
    network = dataclasses.replace(small, preprocessing=other)
    images = photos(2, 32)
    wanted = ReferenceSession(network).run(images)[LOGITS]
    got = engine.load(network).run(images)[LOGITS]
    assert np.abs(got - wanted).max() <= tolerance(engine) * np.abs(wanted).max()
    plain = ReferenceSession(small).run(images)[LOGITS]
    assert np.abs(got - plain).max() > 10 * tolerance(engine) * np.abs(wanted).max()


@pytest.mark.parametrize(
    ("name", "seed"), [("tiny", 1), ("tiny", 4), ("mobilenet_v3", 3), ("lite0", 2), ("lite0", 5)]
)
def test_calibration_statistics_equal_the_reference(
    engine: Engine, supernets: Supernets, name: str, seed: int
) -> None:
    if not engine.backend.calibrates:
        pytest.skip(f"{engine.backend.name} leaves calibration to another engine")
    space = SPACES[name]
    subnet = subnet_of(space, seed)
    network = layers(space, subnet)
    arrays = cut(network, supernets(space, seed))
    measuring = calibration_network(network, arrays, LITE_PREPROCESSING)
    images = photos(64, subnet.resolution, seed)  # fewer would leave channels with one live pixel
    wanted = ReferenceSession(measuring).run(images)
    session = engine.load(measuring)
    got = session.run(images)
    session.close()
    assert list(got.keys() ^ wanted.keys()) == []
    for layer in (layer for layer in measuring.layers if isinstance(layer, BatchStatistics)):
        mean, variance = layer.statistics
        spread = np.sqrt(wanted[variance] + layer.epsilon)  # as it enters the gain
        assert (np.abs(got[mean] - wanted[mean]) / spread).max() <= 1e-4, mean
        assert (np.abs(got[variance] - wanted[variance]) / spread**2).max() <= 1e-4, variance


def test_input_is_kept_and_outputs_are_the_callers(engine: Engine, small: Network) -> None:
    session = engine.load(small)
    images, others = photos(2, 32, 1), photos(2, 32, 2)
    before = images.copy()
    images.flags.writeable = False
    first = session.run(images)[LOGITS]
    kept = first.copy()
    assert np.array_equal(images, before)
    session.run(others)
    assert np.array_equal(first, kept), "a later run overwrites an earlier result"
    first[:] = 0
    assert np.array_equal(session.run(images)[LOGITS], kept)
    session.close()
    assert (first == 0).all()


def test_strided_input_is_read_right(engine: Engine, small: Network) -> None:
    session = engine.load(small)
    images = photos(6, 32)
    wanted = session.run(np.ascontiguousarray(images[::2, :, ::-1]))[LOGITS]
    assert np.array_equal(session.run(images[::2, :, ::-1])[LOGITS], wanted)
    session.close()


def test_four_threads_get_what_one_gets(engine: Engine, small: Network) -> None:
    session = engine.load(small)
    batches = [photos(1 + seed % 2, 32, seed) for seed in range(8)]
    wanted = [session.run(batch)[LOGITS] for batch in batches]

    def work(turn: int) -> bool:
        got = session.run(batches[turn % 8])[LOGITS]
        return bool(np.allclose(got, wanted[turn % 8], rtol=1e-5, atol=1e-5))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(80)))
    session.close()


def test_sessions_do_not_disturb_each_other(
    engine: Engine, small: Network, supernets: Supernets
) -> None:
    other = calibrated(supernets, tiny(), tiny().largest(), 7)
    sessions = [engine.load(small), engine.load(other)]
    images = photos(1, 32)
    wanted = [session.run(images)[LOGITS] for session in sessions]
    assert not np.allclose(wanted[0], wanted[1])
    sessions[1].close()
    assert np.array_equal(sessions[0].run(images)[LOGITS], wanted[0])
    sessions[0].close()


def test_second_close_does_nothing(engine: Engine, small: Network) -> None:
    session = engine.load(small)
    session.close()
    session.close()


def test_closed_session_refuses(engine: Engine, small: Network) -> None:
    session = engine.load(small)
    session.run(photos(1, 32))
    session.close()
    with pytest.raises(BackendError, match="closed"):
        session.run(photos(1, 32))


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 31, 32, 3), np.uint8),
        np.zeros((1, 32, 32, 4), np.uint8),
        np.zeros((32, 32, 3), np.uint8),
        np.zeros((1, 32, 32, 3), np.float32),
    ],
    ids=lambda images: f"{images.dtype}{images.shape}",
)
def test_other_batches_are_refused(engine: Engine, small: Network, images: ImageArray) -> None:
    session = engine.load(small)
    with pytest.raises(BackendError):
        session.run(images)
    session.close()


@pytest.mark.parametrize("garbage", [b"", b"garbage", b"\x00" * 4096, b"\xff" * 4096])
def test_garbage_is_refused(engine: Engine, garbage: bytes) -> None:
    with pytest.raises(BackendError):
        engine.backend.load(garbage, engine.target)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_half_an_artefact_is_refused(engine: Engine, small: Network, share: float) -> None:
    artefact = engine.backend.build(small, engine.target)
    with pytest.raises(BackendError):
        engine.backend.load(artefact[: int(len(artefact) * share)], engine.target)


@pytest.mark.parametrize("target", [Target(precision="int4"), Target(unit="npu")], ids=str)
def test_target_not_offered_is_refused(backend: Backend, small: Network, target: Target) -> None:
    assert target not in backend.targets()
    artefact = backend.build(small, backend.targets()[0])
    with pytest.raises(BackendError, match="no target"):
        backend.load(artefact, target)


def test_artefact_is_the_same_each_time(engine: Engine, small: Network) -> None:
    artefacts = [engine.backend.build(small, engine.target) for _ in range(2)]
    assert artefacts[0] == artefacts[1]
    assert isinstance(artefacts[0], bytes)


def test_unknown_backend_is_refused() -> None:
    with pytest.raises(BackendError, match="no backend 'nothing'"):
        backends.backend("nothing")


def test_reference_comes_last() -> None:
    assert list(backends.working())[-1] == "reference"
