"""Finalists are deployed from bundles without photos, by what the host made ready."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import tofa_edge
from tofa_edge.architecture.zoo import tiny
from tofa_edge.backends.protocol import Engine, Target
from tofa_edge.backends.reference import Reference
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cutting.cutter import Cutter
from tofa_edge.deployment.build import calibrated_shortly
from tofa_edge.deployment.export import export
from tofa_edge.errors import BundleError
from tofa_edge.selftest.small_bundle import small_bundle, small_finalists

pytestmark = pytest.mark.usefixtures("known_engines")
SPACE = tiny()
SMALLEST, MIDDLE = SPACE.smallest(), SPACE.middle()
OTHER = replace(SPACE.smallest(), resolution=SPACE.resolutions[-1])
ENGINE = Engine(Reference(), Target())


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A bundle without photos whose smallest and middle subnets are ready."""
    path = tmp_path / "bare.tofa"
    small_bundle(path, calibration_photos=0, check_photos=0, finalists=small_finalists())
    return path


def test_a_finalist_deploys_without_photos(bare: Path) -> None:
    with tofa_edge.deploy(bare, subnet=SMALLEST) as model:
        assert model.subnet == SMALLEST
        told = f"BatchNorm statistics of {SMALLEST}: ready-made in the bundle, as the host tested"
        assert told in model.explain()
        assert "with a classifier of its own" in model.explain()
    with tofa_edge.deploy(bare, subnet=SMALLEST) as model:
        assert "remembered" in model.explain()
        assert told in model.explain()


def test_others_do_not(bare: Path) -> None:
    known = {finalist.subnet for finalist in small_finalists()}
    assert OTHER not in known
    with pytest.raises(BundleError, match="calibration wants 16 images"):
        tofa_edge.deploy(bare, subnet=OTHER)


def test_integers_still_need_photos(bare: Path) -> None:
    options = tofa_edge.DeployOptions(precision="int8")
    with pytest.raises(BundleError, match="calibration wants 16 images"):
        tofa_edge.deploy(bare, subnet=MIDDLE, options=options)


def test_a_finalist_is_exported_without_photos(bare: Path, tmp_path: Path) -> None:
    made = export(bare, tmp_path / "x.onnx", subnet=MIDDLE)
    assert made.subnet == MIDDLE
    assert made.difference is not None
    assert made.difference < 1e-4


def test_latency_is_learned_from_subnets_that_are_not_ready(bare: Path) -> None:
    """Without photos they are timed with stored statistics: that takes as long."""
    cutter = Cutter(Bundle.open(bare))
    assert not cutter.can_cut(OTHER)
    made = calibrated_shortly(cutter, OTHER, ENGINE, ENGINE)
    assert made.digest == cutter.stored_network(OTHER).digest
    ready = calibrated_shortly(cutter, MIDDLE, ENGINE, ENGINE)
    assert ready.digest == cutter.network(MIDDLE, ENGINE).digest
