"""Backends with a fault of their own, to see that the suite finds it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.backends.protocol import Target
from tofa_edge.backends.reference import Reference, ReferenceSession
from tofa_edge.conformance.subject import Subject
from tofa_edge.conformance.suite import Check, check


class Wrapped:
    """A session that does one thing differently."""

    unit = "cpu"

    def __init__(self, session: ReferenceSession, backend: Any) -> None:
        self.session, self.backend = session, backend

    def run(self, batch: ImageArray) -> dict[str, FloatArray]:
        return self.session.run(batch)

    def close(self) -> None:
        self.session.close()


class Faulty(Reference):
    """The reference with sessions of another kind."""

    sessions: type[Wrapped] = Wrapped

    def load(self, artefact: bytes, target: Target) -> Any:
        return self.sessions(super().load(artefact, target), self)


@pytest.fixture
def examined() -> Callable[..., Check]:
    """Puts the reference through a check, with methods of the backend or its sessions replaced."""

    def examine(name: str, fault: dict[str, dict[str, Any]]) -> Check:
        backend = type("OtherBackend", (Faulty,), fault.get("backend", {}))()
        backend.sessions = type("OtherSession", (Wrapped,), fault.get("session", {}))
        return check(name, Subject(backend, quick=True, loads=60))

    return examine
