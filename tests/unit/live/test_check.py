"""check(): a network whose numbers changed is taken out, and another serves."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import numpy as np
import pytest

import tofa_edge
from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.architecture.layers import LOGITS
from tofa_edge.architecture.zoo import tiny
from tofa_edge.backends.protocol import Engine, Session, Target
from tofa_edge.backends.reference import Reference, ReferenceSession
from tofa_edge.budget import Budget
from tofa_edge.deployment.deploy import key_of
from tofa_edge.deployment.remember import recall, remember
from tofa_edge.deployment.request import DeployOptions, requested
from tofa_edge.errors import BackendError
from tofa_edge.live.events import EventLog
from tofa_edge.live.model import LiveModel
from tofa_edge.live.options import LiveOptions
from tofa_edge.live.rungs import Rung, rung_of
from tofa_edge.selftest.golden import specimen_images
from tofa_edge.selftest.small_bundle import small_bundle, small_finalists
from tofa_edge.selftest.specimens import specimen
from tofa_edge.serving.explanation import Explanation
from tofa_edge.serving.model import Model

QUICK = DeployOptions(backend="reference", max_seconds=0.0)
IMAGE = specimen_images(32, 1)[0]


class Spoiled:
    """A session whose numbers can be spoiled, as by a chip that is too hot, or that can fail."""

    unit = "cpu"

    def __init__(self, session: Session) -> None:
        self.session, self.noise, self.fails = session, 0.0, False

    def run(self, batch: ImageArray) -> dict[str, FloatArray]:
        if self.fails:
            raise BackendError("the device is gone")
        logits = self.session.run(batch)[LOGITS].copy()
        logits[:, 0] += np.float32(self.noise)
        return {LOGITS: logits}

    def close(self) -> None:
        self.session.close()


def rung(own_ms: float) -> tuple[Rung, Spoiled]:
    session = Spoiled(ReferenceSession(specimen()))
    explanation, engine = Explanation(Path("x"), Budget()), Engine(Reference(), Target())
    model = Model(session, tiny().largest(), engine, tuple("abcdefghij"), explanation)
    return rung_of(model, 0.5, own_ms), session


@pytest.mark.parametrize("fails", [True, False])
def test_what_fails_is_taken_out_and_the_next_serves(fails: bool) -> None:
    (slow, spoiled), (fast, _) = rung(9.0), rung(1.0)
    with LiveModel(slow, EventLog()) as model:
        model.take(fast)
        assert [each.fault for each in model.check()] == ["", ""]
        assert [event.kind for event in model.events] == ["serving", "ready"]
        spoiled.fails, spoiled.noise = fails, 1e3
        first, second = model.check()
        assert ("gone" if fails else "of the largest logit off") in first.fault
        assert not second.fault
        kinds = [event.kind for event in model.events]
        assert kinds[2:] == ["check failed", "switched"]
        assert len(model.stats().rungs) == 1
        assert np.array_equal(model(IMAGE).logits, fast.model(IMAGE).logits)
    with pytest.raises(BackendError, match="closed"):
        model.check()


def test_what_fails_and_took_over_during_the_check_is_taken_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (slow, _), (fast, spoiled) = rung(9.0), rung(1.0)
    with LiveModel(slow, EventLog()) as model:
        model.take(fast)
        spoiled.noise, run = 1e3, spoiled.run

        def run_and_serve(batch: ImageArray) -> dict[str, FloatArray]:
            model.serve(fast, "the governor's step")
            return run(batch)

        monkeypatch.setattr(spoiled, "run", run_and_serve)
        assert [bool(each.fault) for each in model.check()] == [False, True]
        assert [each.network for each in model.stats().rungs] == [str(slow)]
        assert np.array_equal(model(IMAGE).logits, slow.model(IMAGE).logits)


def test_rounding_that_differs_is_no_fault() -> None:
    only, spoiled = rung(9.0)
    assert only.logits is not None
    spoiled.noise = 1e-4 * float(np.abs(only.logits).max())
    with LiveModel(only, EventLog()) as model:
        (found,) = model.check()
        assert 0 < found.difference < 1e-3
        assert not found.fault


def test_where_all_fail_a_first_network_serves_again_and_another_is_chosen(tmp_path: Path) -> None:
    small_bundle(tmp_path / "b.tofa", calibration_photos=24, finalists=small_finalists())
    live = LiveOptions()
    with tofa_edge.deploy(tmp_path / "b.tofa", latency_ms=1000, options=QUICK, live=live) as model:
        chosen = model.subnet
        wrong = Spoiled(model._ladder.current.model._session)  # type: ignore[arg-type]
        wrong.noise = 1e4
        model._ladder.current.model._session = wrong
        (found,) = model.check()
        assert "of the largest logit off" in found.fault
        assert model.subnet == tiny().smallest()
        assert [rung.chosen for rung in model.stats().rungs] == [False]
        assert abs(model(IMAGE).logits).max() < 1e4
        end = time.monotonic() + 120
        while model.events[-1].kind not in ("switched", "not chosen") or model.subnet != chosen:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert model.stats().rungs[0].chosen


def test_a_remembered_network_that_computes_other_numbers_is_chosen_again(tmp_path: Path) -> None:
    small_bundle(tmp_path / "b.tofa", calibration_photos=24, finalists=small_finalists())
    where = tmp_path / "b.tofa"
    tofa_edge.deploy(where, latency_ms=1000, options=QUICK).close()
    key = key_of(requested(where, Budget(latency_ms=1000), None, QUICK), remember=True)
    found = recall(key or "")
    assert found is not None
    decision, artefact = found
    assert len(decision.logits) == tiny().classes
    with tofa_edge.deploy(where, latency_ms=1000, options=QUICK) as model:
        assert model.explanation.remembered
    moved = tuple(each + 100.0 for each in decision.logits)
    assert not remember(key or "", dataclasses.replace(decision, logits=moved), artefact)
    with tofa_edge.deploy(where, latency_ms=1000, options=QUICK) as model:
        assert not model.explanation.remembered
        assert "off since it was chosen" in model.explain()
