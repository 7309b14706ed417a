"""Remembers what a device chose, so that its second start is warm.

A decision holds under the same bundle, device, budget and versions: the key is a hash of all of
them. The engine's artefact lies beside it. Nothing here may fail a deployment: what cannot be
written is not remembered, what cannot be read or was touched is decided anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tofa_edge.space import Subnet

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


def decision_key(facts: Mapping[str, Any]) -> str:
    """Returns the name of a decision: a hash of everything that it depends on.

    Args:
        facts: plain JSON values.
    """
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def cache_folder() -> Path:
    """Returns where decisions are kept: `$XDG_CACHE_HOME/tofa-edge`, by default in `~/.cache`.

    Without a home directory that is a place where nothing can be, so that nothing is remembered.
    """
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        base = os.devnull
    return Path(base) / "tofa-edge" / "decisions"


def recall(key: str) -> tuple[Decision, bytes] | None:
    """Returns a remembered decision with its artefact, or None.

    Args:
        key: the hash of what it depends on.
    """
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
    """Keeps a decision and its artefact, and drops the least recently used beyond 20.

    Args:
        key: the hash of what it depends on.
        decision: to keep.
        artefact: the engine's file.
    """
    digest = hashlib.sha256(artefact).hexdigest()
    fields = {**asdict(decision), "artefact_sha256": digest}
    with contextlib.suppress(OSError, RuntimeError):
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(folder / f"{key}.artefact", artefact)
        write_whole(folder / f"{key}.json", json.dumps(fields).encode())
        for path in least_used(folder, MOST_REMEMBERED, but=folder / f"{key}.json"):
            forget(path.stem)


def mark_used(path: Path) -> None:
    """Puts off when a file of the cache is dropped: the least recently used goes first."""
    with contextlib.suppress(OSError):  # read it may be all the same
        os.utime(path)


def least_used(folder: Path, most: int, but: Path) -> list[Path]:
    """Returns the JSON files of a folder to drop, so that no more than `most` stay.

    Args:
        folder: of the cache.
        most: to keep.
        but: that was just written, and stays: where the clock jumped back, others look newer.

    Raises:
        OSError: it cannot be read.
    """
    others = [path for path in folder.glob("*.json") if path != but]
    return sorted(others, key=lambda path: -path.stat().st_mtime)[most - 1 :]


def intruders(status: os.stat_result) -> str | None:
    """Returns who else could have written to a file or folder, or None.

    Args:
        status: of the file or folder, as `os.stat` returns it.
    """
    if hasattr(os, "geteuid") and status.st_uid != os.geteuid():
        return f"it belongs to user {status.st_uid}"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "others may write to it"
    return None


def forget(key: str) -> None:
    """Drops a decision, if it is there.

    Args:
        key: the hash of what it depends on.
    """
    with contextlib.suppress(OSError, RuntimeError):
        for ending in ("json", "artefact"):
            (cache_folder() / f"{key}.{ending}").unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file of the cache under another name first: readers never see half of it.

    Args:
        path: of the file.
        content: all of it.

    Raises:
        OSError: it cannot be written.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
