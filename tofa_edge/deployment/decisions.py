"""Remembers what a device chose, so that its second start is warm.

A decision holds under the same bundle, device, budget and versions: the key is a hash of all of
them. The engine's artefact lies beside it. Nothing here may fail a deployment: what cannot be
written is not remembered, what cannot be read or was touched is decided anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import asdict, dataclass

from tofa_edge.architecture.space import Subnet
from tofa_edge.storage.cache import cache_folder, intruders, least_used, mark_used, write_whole

MOST_REMEMBERED = 20
MOST_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Decision:
    """What was chosen.

    Attributes:
        subnet: as JSON.
        backend: name of the engine.
        unit: of its target.
        precision: of its target.
        threads: of its target.
        p50_ms: the median latency when it was chosen.
        p95_ms: the 95th percentile.
        accuracy: expected, 0..1, or its stand-in.
        predicts_accuracy: whether the bundle has an accuracy predictor.
        explanation: how it was chosen, as text.
        artefact_sha256: of the engine's artefact, hexadecimal.
    """

    subnet: str
    backend: str
    unit: str
    precision: str
    threads: int
    p50_ms: float
    p95_ms: float
    accuracy: float
    predicts_accuracy: bool
    explanation: str
    artefact_sha256: str = ""

    @property
    def architecture(self) -> Subnet:
        """The subnet."""
        return Subnet.from_json(self.subnet)


def recall(key: str) -> tuple[Decision, bytes] | None:
    """Returns a remembered decision with its artefact, or None."""
    with contextlib.suppress(OSError, ValueError, TypeError, RuntimeError):
        folder = cache_folder()
        if intruders(folder.lstat()):  # an artefact may be machine code
            return None
        written, artefact = folder / f"{key}.json", folder / f"{key}.artefact"
        if max(path.stat().st_size for path in (written, artefact)) > MOST_BYTES:
            return None
        decision = Decision(**json.loads(written.read_text()))
        content = artefact.read_bytes()
        if hashlib.sha256(content).hexdigest() == decision.artefact_sha256:
            mark_used(written)
            return decision, content
    return None


def remember(key: str, decision: Decision, artefact: bytes) -> None:
    """Keeps a decision and its artefact, and drops the least recently used beyond 20."""
    digest = hashlib.sha256(artefact).hexdigest()
    fields = {**asdict(decision), "artefact_sha256": digest}
    with contextlib.suppress(OSError, RuntimeError):
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(folder / f"{key}.artefact", artefact)
        write_whole(folder / f"{key}.json", json.dumps(fields).encode())
        for path in least_used(folder, MOST_REMEMBERED, but=folder / f"{key}.json"):
            forget(path.stem)


def forget(key: str) -> None:
    """Drops a decision, if it is there."""
    with contextlib.suppress(OSError, RuntimeError):
        for ending in ("json", "artefact"):
            (cache_folder() / f"{key}.{ending}").unlink(missing_ok=True)
