"""Remembers what a device chose, so that its second start is warm.

A decision holds under the same bundle, device, budget and versions: the key is a hash of all of
them. The engine's artefact lies beside it. Nothing here may fail a deployment: what cannot be
written is not remembered, what cannot be read or was touched is decided anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass, replace

from tofa_edge.backends.protocol import Target
from tofa_edge.storage.cache import CacheFolder
from tofa_edge.storage.plain import from_plain, to_plain

MOST_REMEMBERED = 20
MOST_BYTES = 256 * 2**20
CACHE = CacheFolder("decisions", MOST_REMEMBERED, MOST_REMEMBERED * MOST_BYTES, MOST_BYTES)


@dataclass(frozen=True, slots=True)
class Decision:
    """What was chosen."""

    subnet: str  # as JSON
    backend: str  # name of the engine
    target: Target  # of it
    accuracy: float  # expected, 0..1, or its stand-in
    predicts_accuracy: bool  # whether the bundle has an accuracy predictor
    explanation: tuple[str, ...]  # how it was chosen, in lines
    artefact_sha256: str = ""  # of the engine's artefact, hexadecimal


def recall(key: str) -> tuple[Decision, bytes] | None:
    """Returns a remembered decision with its artefact, or None."""
    fields, artefact = CACHE.read(f"{key}.json"), CACHE.read(f"{key}.artefact")
    with contextlib.suppress(ValueError, RecursionError):
        decision = from_plain(Decision, json.loads(fields or b""))
        if hashlib.sha256(artefact or b"").hexdigest() == decision.artefact_sha256:
            return decision, artefact or b""
    return None


def remember(key: str, decision: Decision, artefact: bytes) -> None:
    """Keeps a decision and its artefact, and drops the least recently used beyond 20."""
    lines = ("".join(c if c.isprintable() else " " for c in ln) for ln in decision.explanation)
    digest = hashlib.sha256(artefact).hexdigest()
    sealed = replace(decision, explanation=tuple(lines), artefact_sha256=digest)
    if CACHE.write(f"{key}.artefact", artefact):
        CACHE.write(f"{key}.json", json.dumps(to_plain(sealed)).encode())


def forget(key: str) -> None:
    """Drops a decision, if it is there."""
    CACHE.forget(key)
