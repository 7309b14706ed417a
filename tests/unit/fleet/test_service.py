"""A service follows the active bundle: no frame is lost, and what does not prove good gives way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.fleet.conftest import BY_REFERENCE
from tests.unit.fleet.making import BY_REFERENCE as DEPLOYING
from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.architecture.layers import LOGITS
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.errors import BackendError, TofaError
from tofa_edge.fleet.install import install
from tofa_edge.fleet.proving import mark_good, status
from tofa_edge.fleet.service import InstalledModel, Watchdog, serve
from tofa_edge.live.deploy import deploy
from tofa_edge.serving.model import Model

IMAGE = np.zeros((32, 32, 3), np.uint8)
SOON = Watchdog(predictions=5, seconds=0.0)


def wait_for(held: Callable[[], object]) -> None:
    until = time.monotonic() + 60
    while not held():
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.02)


@pytest.fixture
def proved(folder: Path) -> str:
    """Marks the first bundle good, and returns its digest."""
    digest = Bundle.open(folder / "active").digest
    assert mark_good(folder, digest)
    return digest


def test_a_reload_loses_no_frame_and_proves_the_new_one_good(
    folder: Path, proved: str, bundles: dict[str, Path]
) -> None:
    with serve(folder, watchdog=SOON, follow_s=None, options=DEPLOYING) as model:
        served: list[str] = []
        stop = threading.Event()

        def predict() -> None:
            while not stop.is_set():
                served.append(model(IMAGE).label)

        threads = [threading.Thread(target=predict) for _ in range(3)]
        for thread in threads:
            thread.start()
        wait_for(lambda: len(served) > 20)
        assert not model.reload(), "nothing else is active"
        before = model.model
        installed = install(bundles["second"], folder, BY_REFERENCE)
        assert model.reload()
        count = len(served)
        wait_for(lambda: len(served) > count + 20)
        stop.set()
        for thread in threads:
            thread.join()
        assert model.digest == installed.digest != proved
        with pytest.raises(BackendError, match="closed"):
            before(IMAGE)
        wait_for(lambda: status(folder)["state"] == "good")
        assert [each.number for each in model.stream([IMAGE] * 7)] == list(range(7))
    with pytest.raises(BackendError, match="closed"):
        model(IMAGE)


def test_a_thread_follows_by_itself(folder: Path, proved: str, bundles: dict[str, Path]) -> None:
    with serve(folder, follow_s=0.05, options=DEPLOYING) as model:
        assert model.digest == proved
        second = install(bundles["second"], folder, BY_REFERENCE).digest
        wait_for(lambda: model.digest == second)
        assert status(folder)["starts"] == 1
        assert len(model.batch([IMAGE] * 3)) == 3
        assert model.stats().count == 0
        assert "chosen" in model.explain()


class _Broken:
    """A session whose numbers are none."""

    unit = "cpu"

    def __init__(self, classes: int) -> None:
        self._classes = classes

    def run(self, batch: ImageArray) -> dict[str, FloatArray]:
        return {LOGITS: np.full((len(batch), self._classes), np.nan, np.float32)}

    def close(self) -> None:
        pass


def broken(path: Path) -> Model:
    """Deploys a bundle with a network that predicts no numbers."""
    with deploy(path, options=DEPLOYING) as whole:
        session: Any = _Broken(len(whole.classes))
        return Model(session, whole.subnet, whole.engine, whole.classes, whole.explanation)


def unless(digest: str, other: Callable[[Path], Model]) -> Callable[[Path], Model]:
    """Deploys bundles as they are, and what has another digest in another way."""

    def deployed(path: Path) -> Model:
        if Bundle.open(path).digest == digest:
            return deploy(path, options=DEPLOYING)
        return other(path)

    return deployed


def test_predictions_that_are_no_numbers_bring_the_old_one_back(
    folder: Path, proved: str, bundles: dict[str, Path]
) -> None:
    install(bundles["second"], folder, BY_REFERENCE)
    with InstalledModel(folder, unless(proved, broken), Watchdog(), None) as model:
        assert model.digest != proved
        assert not np.isfinite(model(IMAGE).logits).any()
        wait_for(lambda: model.digest == proved)
        assert np.isfinite(model(IMAGE).logits).all()
    told: Any = status(folder)
    assert "no finite number" in told["last_refusal"]["reason"]


def test_a_bundle_that_cannot_be_deployed_gives_way_at_once(
    folder: Path, proved: str, bundles: dict[str, Path]
) -> None:
    def fails(path: Path) -> Model:
        raise BackendError(f"{path}: no engine takes it")

    with InstalledModel(folder, unless(proved, fails), Watchdog(), None) as model:
        second = install(bundles["second"], folder, BY_REFERENCE).digest
        assert not model.reload()
        assert model.digest == proved
        told: Any = status(folder)
        assert told["last_refusal"] == {**told["last_refusal"], "digest": second}
        assert "no engine takes it" in told["last_refusal"]["reason"]


def test_where_there_is_nothing_to_return_to_the_error_is_raised(folder: Path) -> None:
    def fails(path: Path) -> Model:
        raise BackendError("no engine takes it")

    with pytest.raises(TofaError, match="no engine takes it"):
        InstalledModel(folder, fails, Watchdog(), None)
    with serve(folder, watchdog=SOON, follow_s=None, options=DEPLOYING) as model:
        for _ in range(5):
            model(IMAGE)
        wait_for(lambda: status(folder)["state"] == "good")
