"""One process of this machine measures at a time, whoever's it is."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from tofa_edge.storage.locks import Flock, free_lock, open_lock, take_lock

Turn = Literal["alone", "busy", "unknown"]

SECONDS = 20.0
NAME = "tofa-edge-measuring.lock"
READABLE = 0o644  # to all users: who can read it can lock it


@contextlib.contextmanager
def measuring_turn(
    seconds: float = SECONDS, deadline: float = float("inf"), flock: Flock | None = None
) -> Iterator[Turn]:
    """Waits until no other process measures; none does so inside that waits for its turn, too.

    Args:
        seconds: to wait at most.
        deadline: by `time.monotonic`, after which nobody waits either.
        flock: takes a lock as `fcntl.flock` does, which is the default.

    Yields:
        "alone"; "busy" when another process, perhaps another user's, still measures; "unknown"
        where nobody can tell, as the file system has no locks or the file is closed to us.
    """
    until, file = min(time.monotonic() + seconds, deadline), None
    with contextlib.suppress(OSError):  # there may be no folder for it
        file = open_lock(Path(tempfile.gettempdir()) / NAME, READABLE)
    try:
        held = "unknown" if file is None else take_lock(file, until, flock)
        yield "alone" if held == "held" else held
    finally:
        if file is not None:
            free_lock(file, flock)
