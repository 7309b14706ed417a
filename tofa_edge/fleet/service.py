"""serve(): the active bundle's network, which is watched until it proved good, and replaced in use.

    with tofa_edge.fleet.service.serve("/var/lib/tofa-edge/parts", latency_ms=20) as model:
        prediction = model("photo.jpg")

Where a bundle fails before it has proved good, the one before it serves again.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tofa_edge.architecture.arrays import ImageArray
from tofa_edge.bundle.images import ImageSource
from tofa_edge.errors import BackendError, TofaError
from tofa_edge.fleet.proving import count_start, give_back, mark_good
from tofa_edge.fleet.slots import Slots
from tofa_edge.live.deploy import deploy
from tofa_edge.serving.model import Model, Statistics
from tofa_edge.serving.prediction import Prediction
from tofa_edge.serving.stream import Stream

log = logging.getLogger(__name__)

FOLLOW_S = 5.0
THREAD = "tofa-edge-follow"


@dataclass(frozen=True, slots=True)
class Watchdog:
    """When a bundle that was installed has proved good.

    Attributes:
        predictions: of finite numbers, at least.
        seconds: since the first of them, at least.
    """

    predictions: int = 100
    seconds: float = 60.0


class _Network:
    """A deployed bundle that is closed when it is replaced and nobody predicts with it any more."""

    def __init__(self, model: Model, digest: str, trial: _Trial | None) -> None:
        self.model, self.digest, self.trial = model, digest, trial
        self.users, self.retired = 0, False


class _Trial:
    """Counts the predictions of a bundle that has not proved good yet."""

    def __init__(self, watchdog: Watchdog) -> None:
        self._watchdog, self._lock = watchdog, threading.Lock()
        self._count, self._first_s = 0, 0.0
        self._ended = False

    def count(self, finite: bool) -> str:
        """Counts a prediction; returns "good" or "failed" once, when that is decided."""
        with self._lock:
            if self._ended:
                return ""
            if not finite:
                self._ended = True
                return "failed"
            self._count += 1
            now = time.monotonic()
            self._first_s = self._first_s or now
            waited = now - self._first_s >= self._watchdog.seconds
            self._ended = waited and self._count >= self._watchdog.predictions
            return "good" if self._ended else ""


class InstalledModel:
    """The network of the active bundle; `reload` changes it between two predictions.

    Made by `serve`. Safe to call from several threads.

    Args:
        folder: of the slots.
        deployed: deploys the active bundle.
        watchdog: when a bundle has proved good.
        follow_s: how often a thread looks for another active bundle; None for never.
    """

    def __init__(
        self,
        folder: Path,
        deployed: Callable[[Path], Model],
        watchdog: Watchdog,
        follow_s: float | None,
    ) -> None:
        self._folder, self._deployed, self._watchdog = folder, deployed, watchdog
        self._lock, self._changing = threading.Lock(), threading.Lock()
        self._stop = threading.Event()
        self._network = self._started()
        if follow_s is not None:
            thread = threading.Thread(target=self._follow, args=(follow_s,), name=THREAD)
            thread.daemon = True
            thread.start()

    @property
    def digest(self) -> str:
        """Of the bundle that serves."""
        return self._network.digest

    @property
    def model(self) -> Model:
        """The network that serves now; it may be closed after the next reload."""
        return self._network.model

    def __call__(self, image: ImageSource) -> Prediction:
        """Predicts one `image`; see `Model`."""
        with self._in_use() as network:
            prediction = network.model(image)
        self._watch(network, [prediction])
        return prediction

    def batch(self, images: Sequence[ImageSource] | ImageArray) -> list[Prediction]:
        """Predicts several images in one run; see `Model.batch`.

        Args:
            images: each as for a single call, or one uint8 array (N, height, width, 3).
        """
        with self._in_use() as network:
            predictions = network.model.batch(images)
        self._watch(network, predictions)
        return predictions

    def stream(
        self, frames: Iterable[ImageSource], *, latest: bool | None = None, skip_bad: bool = False
    ) -> Stream:
        """Predicts `frames` as they come, also across a reload; see `Model.stream`.

        Args:
            frames: each as for a single call.
            latest: whether a newer frame replaces the one that still waits.
            skip_bad: whether frames that are no image are skipped.
        """
        return Stream(self, frames, latest, skip_bad)

    def stats(self) -> Statistics:
        """Returns how long the calls of the network that serves now took."""
        return self._network.model.stats()

    def explain(self) -> str:
        """Returns how the network that serves now was chosen."""
        return self._network.model.explain()

    def reload(self) -> bool:
        """Takes over to the active bundle where another one serves; returns whether it did.

        Predictions go on meanwhile; those that run end with the network that they began with.

        Raises:
            TofaError: the active bundle cannot be deployed, and there is none to return to; the
                network that serves goes on.
        """
        with self._changing:
            slots = Slots(self._folder)
            active, state = slots.active(), slots.read()
            found = state.slots.get(active or "")
            if self._stop.is_set() or found is None or found.digest == self._network.digest:
                return False
            network = self._started()
            if network.digest == self._network.digest:  # the new one was given up
                network.model.close()
                return False
            with self._lock:
                old, self._network = self._network, network
                old.retired = True
                unused = not old.users
            if unused:
                old.model.close()
            log.info(f"{self._folder}: {network.digest} serves")
            return True

    def close(self) -> None:
        """Frees the network; later calls raise BackendError. A second close does nothing."""
        self._stop.set()
        with self._changing, self._lock:
            self._network.retired = True
            unused = not self._network.users
        if unused:
            self._network.model.close()

    def __enter__(self) -> InstalledModel:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _started(self) -> _Network:
        """Counts a start and deploys what is active; where that fails, what was before it."""
        while True:
            digest = count_start(self._folder)
            slots = Slots(self._folder)
            try:
                model = self._deployed(slots.link)
            except TofaError as error:
                if not give_back(self._folder, digest, error):
                    raise
                continue
            state = slots.read().slots.get(slots.active() or "")
            trying = state is not None and state.state == "trying"
            return _Network(model, digest, _Trial(self._watchdog) if trying else None)

    @contextlib.contextmanager
    def _in_use(self) -> Iterator[_Network]:
        with self._lock:
            network = self._network
            if network.retired:
                raise BackendError("this model is closed; serve it again")
            network.users += 1
        try:
            yield network
        finally:
            with self._lock:
                network.users -= 1
                unused = network.retired and not network.users
            if unused:
                network.model.close()

    def _watch(self, network: _Network, predictions: Sequence[Prediction]) -> None:
        if network.trial is None:
            return
        finite = [bool(np.isfinite(each.logits).all()) for each in predictions]
        decided = {network.trial.count(each) for each in finite}
        if "failed" in decided:
            self._told(lambda: self._failed(network))
        elif "good" in decided:
            self._told(lambda: mark_good(self._folder, network.digest))

    def _failed(self, network: _Network) -> None:
        reason = "it predicted what is no finite number"
        if give_back(self._folder, network.digest, reason):
            self.reload()

    def _told(self, act: Callable[[], object]) -> None:
        """Does what a trial has decided, in a thread: a prediction need not wait for the disk."""

        def run() -> None:
            try:
                act()
            except TofaError as error:
                log.warning(f"{self._folder}: {error}")

        threading.Thread(target=run, name=THREAD, daemon=True).start()

    def _follow(self, seconds: float) -> None:
        while not self._stop.wait(seconds):
            try:
                self.reload()
            except TofaError as error:
                log.warning(f"{self._folder}: {error}")


def serve(
    folder: str | Path,
    *,
    watchdog: Watchdog = Watchdog(),
    follow_s: float | None = FOLLOW_S,
    **deploying: Any,
) -> InstalledModel:
    """Deploys the active bundle of a folder of slots, and returns a model that follows it.

    Args:
        folder: of the slots, as `tofa-edge install` fills it.
        watchdog: when a bundle that was installed has proved good.
        follow_s: how often a thread looks for another active bundle; None for never.
        deploying: further arguments of `deploy`, such as `latency_ms`.

    Raises:
        InstallError: nothing is installed, or the folder cannot be changed.
        TofaError: as `deploy` does, where there is no bundle to return to.
    """
    return InstalledModel(Path(folder), lambda path: deploy(path, **deploying), watchdog, follow_s)
