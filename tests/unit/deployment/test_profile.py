"""Profiles made on this device, and what later deployments take from them."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tofa_edge
from tofa_edge.architecture.cost import macs
from tofa_edge.architecture.encodings import distinct, encoded
from tofa_edge.architecture.layers import layers
from tofa_edge.architecture.sampling import sample
from tofa_edge.architecture.space import Subnet
from tofa_edge.architecture.zoo import efficientnet_lite0, tiny, whole
from tofa_edge.backends.protocol import INTEGERS
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.deployment import profile as profiling
from tofa_edge.deployment.local_device import LocalDevice
from tofa_edge.deployment.profile import (
    keep,
    known_forecasts,
    known_profiles,
    profile,
    promising,
)
from tofa_edge.device.machine import Fingerprint, fingerprint
from tofa_edge.device_profiles.profile import MEASURED, Profile, Ranked, load
from tofa_edge.errors import ProfileError
from tofa_edge.measurement.stopwatch import Latency
from tofa_edge.selftest.records import passing_engines

pytestmark = pytest.mark.usefixtures("known_engines")

SPACE = tiny()


def slow(subnet: Subnet) -> float:
    return 0.3 + macs(layers(SPACE, subnet)) / 1e5


@pytest.fixture
def made(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Profile:
    """A profile of a device whose latencies are known exactly."""

    def latency(device: LocalDevice, subnet: Subnet, engine: object) -> Latency:
        time = slow(subnet)
        return Latency(time, time, 1.1 * time, 1.2 * time, 30, 0.01)

    monkeypatch.setattr(LocalDevice, "time_stored", latency)
    return profile(Bundle.open(tiny_bundle), 30, "reference")


def test_profile_holds_what_was_measured(made: Profile) -> None:
    assert (made.provenance, made.space) == (MEASURED, "tiny")
    (target,) = made.targets
    assert (target.engine, target.threads) == ("reference", 1)
    assert 20 <= len(target.measurements) <= 30
    for found in target.measurements:
        assert found.p50_ms == pytest.approx(slow(Subnet.from_json(found.subnet or "")), rel=1e-3)
        assert found.mmacs
    assert made.software
    assert "tofa-edge" in made.software


def test_real_profile_of_this_machine(tiny_bundle: Path, tmp_path: Path) -> None:
    found = profile(Bundle.open(tiny_bundle), 3, "onnxruntime", 1)
    keep(found, tmp_path / "here.json")
    assert load(tmp_path / "here.json") == found
    assert all(0 < m.p50_ms < 1000 for m in found.targets[0].measurements)


class Signalling(logging.Handler):
    """Sends this process a SIGTERM when ten subnets are measured."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("10 of "):
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def interrupted() -> Iterator[None]:
    handler, logger = Signalling(), logging.getLogger("tofa_edge")
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)


@pytest.mark.usefixtures("interrupted")
def test_an_interrupted_profile_has_what_was_measured(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    bundle = Bundle.open(tiny_bundle)
    found = profile(bundle, 40, "onnxruntime", 1)
    assert {len(target.measurements) for target in found.targets} == {10}
    (said,) = lines
    assert said.startswith("interrupted: the profile has 10 of ")
    monkeypatch.setattr(profiling, "LEAST_SUBNETS", 20)
    with pytest.raises(KeyboardInterrupt):  # too few to be of use
        profile(bundle, 40, "onnxruntime", 1)


def test_profile_replaces_only_what_it_may(made: Profile, tmp_path: Path) -> None:
    (tmp_path / "notes.json").write_text("mine")
    with pytest.raises(ProfileError, match=r"notes.json exists: choose another name, or --force"):
        keep(made, tmp_path / "notes.json")
    assert (tmp_path / "notes.json").read_text() == "mine"
    here, there = keep(made)[0], tmp_path / "notes.json"
    assert keep(made, there, overwrite=True, first=True) == [there]
    assert load(there) == load(here)


def test_next_deployment_knows_it(made: Profile) -> None:
    (engine,) = passing_engines(name="reference")
    assert known_forecasts(SPACE, engine, fingerprint(), []) == []
    keep(made)
    assert made in known_profiles()
    (forecast,) = known_forecasts(SPACE, engine, fingerprint(), known_profiles())
    unseen = distinct(SPACE, sample(SPACE, np.random.default_rng(7), 50))
    wanted = [slow(SPACE.decode(genes)) for genes in unseen]
    assert np.abs(forecast.median_ms(unseen) / wanted - 1).mean() < 0.02


def test_bundle_of_fewer_resolutions_knows_it_too(made: Profile) -> None:
    (engine,) = passing_engines(name="reference")
    smaller = replace(SPACE, resolutions=SPACE.resolutions[:2], classes=3)
    assert whole(smaller) == replace(SPACE, classes=3)
    (forecast,) = known_forecasts(smaller, engine, fingerprint(), [made])
    largest = encoded(forecast.space, [smaller.largest()])
    assert forecast.median_ms(largest)[0] == pytest.approx(slow(smaller.largest()), rel=0.1)
    assert known_forecasts(efficientnet_lite0(), engine, fingerprint(), [made]) == []


def test_other_machines_are_no_prior(made: Profile) -> None:
    (engine,) = passing_engines(name="reference")
    other = replace(fingerprint(), board="Other Board", processors={"Cortex-A53": 4})
    assert known_forecasts(SPACE, engine, other, [made]) == []


def test_damaged_profile_does_not_stop_a_deployment(
    tiny_bundle: Path, made: Profile, own_cache: Path
) -> None:
    keep(made)
    (path,) = profiling.CACHE.path.glob("*.json")
    assert path.is_relative_to(own_cache)
    path.write_text("{")
    tofa_edge.deploy(
        tiny_bundle, latency_ms=100, options=tofa_edge.DeployOptions(backend="reference")
    ).close()


def test_ranking_says_what_was_measured(tiny_bundle: Path, tmp_path: Path) -> None:
    found = profile(Bundle.open(tiny_bundle), 6)
    keep(found, tmp_path / "here.json")
    assert load(tmp_path / "here.json").ranking == found.ranking
    targets = {str(target): target for target in found.targets}
    assert {rank.target for rank in found.ranking} == set(targets)
    assert [rank.slower for rank in found.ranking] == sorted(r.slower for r in found.ranking)
    for rank in found.ranking:
        integer = targets[rank.target].precision in INTEGERS
        alike = [t for t in targets.values() if (t.precision in INTEGERS) == integer]
        best = np.min([[m.p50_ms for m in t.measurements] for t in alike], axis=0)
        times = np.array([m.p50_ms for m in targets[rank.target].measurements])
        assert rank.slower == pytest.approx(np.median(times / best), abs=1e-3)
        assert rank.fastest_share == pytest.approx(np.mean(times == best), abs=1e-3)


def test_engine_known_to_be_hopeless_here_is_not_timed(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    offered = passing_engines()
    assert len(offered) > 1
    slow, *others = offered
    ranking = (*(Ranked(str(e), 1.0, 0.5) for e in others), Ranked(str(slow), 3.0, 0.0))
    here = replace(profile(bundle, 2, "reference"), ranking=ranking)
    assert promising(offered, bundle.space, [here]) == others
    sometimes = replace(here, ranking=(*ranking[:-1], Ranked(str(slow), 3.0, 0.1)))
    elsewhere = replace(here, fingerprint=Fingerprint(board="another"))
    older = replace(here, software={"onnxruntime": "1.0"})
    for other in (sometimes, elsewhere, older):
        assert promising(offered, bundle.space, [other]) == offered
    keep(here)
    with tofa_edge.deploy(tiny_bundle) as model:
        timed = {screened.engine for screened in model.explanation.screened}
    assert timed == {str(engine) for engine in others if not engine.target.is_coarse}
