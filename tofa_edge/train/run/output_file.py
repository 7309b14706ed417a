"""The bundle that a training writes: one training for each, and nothing is replaced unasked."""

from __future__ import annotations

import contextlib
import itertools
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from tofa_edge.errors import BundleError, TrainingError
from tofa_edge.storage.files import check_place, printable, rename_new
from tofa_edge.storage.locks import exclusive

MOST_NOTE = 100  # letters of what a lock's holder wrote


@contextlib.contextmanager
def trained_file(out: Path, overwrite: bool, first: bool = True) -> Iterator[Path]:
    """Yields the name under which a bundle is to be written; it is renamed when the block ends.

    A lock beside the checkpoint is held meanwhile; the system frees it when its process ends,
    however that happens. After an error, what has been written stays under its own name.

    Args:
        out: the name that the bundle shall have.
        overwrite: whether it may replace a file.
        first: whether this process writes; of several that train together, one does.

    Raises:
        TrainingError: another training writes the same bundle.
        BundleError: the bundle cannot be written there or would replace a file, at the beginning or
            at the end; then it is kept under the other name.
    """
    if not first:
        check_place(out, overwrite, BundleError)
        yield out
        return
    lock = out.with_name(f"{out.name}.checkpoint.lock")
    note = f"process {os.getpid()} on {platform.node()}"
    with exclusive(lock, seconds=0.0, note=note) as held:
        if held == "busy":
            raise TrainingError(
                f"{out}: {_holder(lock)} trains this bundle: wait for it, or choose another name"
            )
        check_place(out, overwrite, BundleError)
        own = _free_name(out)
        yield own
        _settle(own, out, overwrite)


def _settle(own: Path, out: Path, overwrite: bool) -> None:
    try:
        if overwrite:
            own.replace(out)
        else:
            rename_new(own, out)
    except OSError as error:
        raise BundleError(
            f"{out}: {error.strerror or error}; the trained bundle is whole, and kept as {own}"
        ) from error


def _free_name(out: Path) -> Path:
    numbers = itertools.chain([""], (f"-{number}" for number in itertools.count(2)))
    names = (out.with_name(f"{out.name}.trained{number}") for number in numbers)
    return next(name for name in names if not os.path.lexists(name))


def _holder(lock: Path) -> str:
    """Returns who holds a lock, as its holder wrote it."""
    with contextlib.suppress(OSError, UnicodeDecodeError), lock.open(encoding="utf-8") as file:
        return printable(file.read(MOST_NOTE), MOST_NOTE) or "another process"
    return "another process"
