"""The networks that a model holds ready, and which of them serves: changed between two predictions.

A network that is taken out is closed when the last prediction that uses it has ended. What one
computed when it was loaded is kept, so that it can be checked at any time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tofa_edge.architecture.arrays import FloatArray
from tofa_edge.deployment.verify import specimen_logits
from tofa_edge.errors import BackendError
from tofa_edge.selftest.golden import difference, tolerance
from tofa_edge.serving.model import Model


@dataclass(frozen=True, eq=False, slots=True)
class Rung:
    """A network that can serve.

    Attributes:
        model: loaded; closed by the ladder that holds it.
        accuracy: expected, 0..1; None where nothing tells.
        own_ms: its own latency as the budget counts it, measured here; None where not measured.
        chosen: whether it was chosen and measured within the budget.
        logits: of one specimen image, float32, (classes,), as it was loaded; None where not kept.
    """

    model: Model
    accuracy: float | None = None
    own_ms: float | None = None
    chosen: bool = True
    logits: FloatArray | None = None

    def __str__(self) -> str:
        return f"{self.model.subnet} on {self.model.engine}"


def rung_of(
    model: Model, accuracy: float | None = None, own_ms: float | None = None, chosen: bool = True
) -> Rung:
    """Returns a network whose numbers were just found right, with what it computes.

    Args:
        model: loaded.
        accuracy: expected, 0..1; None where nothing tells.
        own_ms: as measured here; None where it was not.
        chosen: whether it was chosen and measured within the budget.

    Raises:
        BackendError: the engine fails.
    """
    return Rung(model, accuracy, own_ms, chosen, specimen_logits(model))


@dataclass(frozen=True, slots=True)
class RungCheck:
    """What a check found.

    Attributes:
        network: subnet and engine.
        difference: of its logits from those it had when loaded, over the largest; infinite where
            it failed.
        fault: what is wrong, in words; empty where nothing is.
    """

    network: str
    difference: float
    fault: str = ""


def checked_rung(rung: Rung) -> RungCheck:
    """Returns what a network computes now, against what it computed when it was loaded."""
    if rung.logits is None:
        return RungCheck(str(rung), 0.0)
    try:
        now = specimen_logits(rung.model)
    except BackendError as error:
        return RungCheck(str(rung), float("inf"), str(error))
    wrong = difference(now, rung.logits)
    if wrong <= tolerance(rung.model.engine.target):
        return RungCheck(str(rung), wrong)
    return RungCheck(str(rung), wrong, f"{wrong:.1e} of the largest logit off since it was loaded")


class Ladder:
    """Networks in the order of their latency, the slowest first, of which one serves.

    Safe to use from several threads. Whoever holds it closes it; it closes the networks.

    Args:
        first: the network that serves first.
    """

    def __init__(self, first: Rung) -> None:
        self._lock = threading.Lock()
        self._rungs: tuple[Rung, ...] = (first,)
        self._current = first
        self._uses = {first: 0}  # also of networks that are taken out and still predict
        self._closed = False

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """The networks held ready, the slowest first."""
        return self._rungs

    @property
    def current(self) -> Rung:
        """The network that serves."""
        return self._current

    @contextmanager
    def in_use(self) -> Iterator[Rung]:
        """Yields the network that serves, which stays loaded meanwhile.

        Raises:
            BackendError: the ladder is closed.
        """
        with self._lock:
            if self._closed:
                raise BackendError("this model is closed; deploy it again")
            rung = self._current
            self._uses[rung] += 1
        try:
            yield rung
        finally:
            with self._lock:
                self._uses[rung] -= 1
                unused = self._unused()
            _close(unused)

    def add(self, rung: Rung) -> bool:
        """Adds a network, which does not serve yet; where the ladder is closed, closes it.

        Args:
            rung: its latency decides on its place.

        Returns whether it was added.
        """
        with self._lock:
            added = not self._closed
            if added:
                ordered = sorted((*self._rungs, rung), key=lambda each: -(each.own_ms or 0.0))
                self._rungs = tuple(ordered)
                self._uses[rung] = 0
        if not added:
            rung.model.close()
        return added

    def serve(self, rung: Rung) -> bool:
        """Lets a network serve from the next prediction on; returns whether that is a change.

        Args:
            rung: one of the ladder's.
        """
        with self._lock:
            changes = rung in self._rungs and rung is not self._current
            if changes:
                self._current = rung
        return changes

    def remove(self, rung: Rung) -> None:
        """Takes out a network that does not serve; it is closed once it is not in use.

        Args:
            rung: not the one that serves.
        """
        with self._lock:
            if rung is not self._current:
                self._rungs = tuple(each for each in self._rungs if each is not rung)
            unused = self._unused()
        _close(unused)

    def close(self) -> None:
        """Closes every network, those in use at the end of their predictions."""
        with self._lock:
            self._closed, self._rungs = True, ()
            unused = self._unused()
        _close(unused)

    def _unused(self) -> list[Rung]:
        """Forgets and returns what nobody uses any more and the ladder does not hold."""
        unused = [r for r, uses in self._uses.items() if not uses and r not in self._rungs]
        for rung in unused:
            del self._uses[rung]
        return unused


def _close(rungs: list[Rung]) -> None:
    for rung in rungs:
        rung.model.close()
