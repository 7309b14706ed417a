"""What several backends need: versions, checks of what they are given, targets of the CPU."""

from __future__ import annotations

import importlib
import os
import threading
from abc import ABC, abstractmethod
from importlib.util import find_spec
from typing import Any

import numpy as np

from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.backends.protocol import Target
from tofa_edge.errors import BackendError
from tofa_edge.network.network import Network


def missing_packages(*packages: str, install: str) -> str | None:
    """Returns which modules are not installed and the command to `install` them, or None.

    It imports none of the `packages`.
    """
    absent = [package for package in packages if find_spec(package) is None]
    return f"no package {' and '.join(absent)}: {install}" if absent else None


def import_engine(package: str, install: str) -> Any:
    """Imports the module `package` of an engine.

    Raises:
        BackendError: the import fails; the message gives the command to `install` it.
    """
    try:
        return importlib.import_module(package)
    except Exception as error:  # a broken wheel raises anything, from ImportError to SystemError
        raise BackendError(f"{package}: import failed ({error}); {install}") from error


def package_version(*packages: str) -> str:
    """Returns "name version" of the first distribution that is installed, "unknown" without one.

    The likeliest of the `packages` comes first.
    """
    from importlib.metadata import PackageNotFoundError, version  # slow to import

    for package in packages:
        try:
            return f"{package} {version(package)}"
        except PackageNotFoundError:
            continue
    return "unknown"


def check_target(name: str, target: Target, precisions: tuple[str, ...] = ("fp32",)) -> None:
    """Checks a target for the backend `name`, which runs on the CPU alone, in these `precisions`.

    Raises:
        BackendError: it is another one.
    """
    if target.unit != "cpu" or target.precision not in precisions:
        raise BackendError(f"{name}: no target {target}; it offers cpu {' or '.join(precisions)}")


def check_quantised(name: str, network: Network, target: Target) -> None:
    """Checks that a network for a target in integers says how it is computed in them.

    Raises:
        BackendError: it does not; the message begins with the backend's `name`.
    """
    if target.is_integer and network.quantisation is None:
        raise BackendError(f"{name}: {target} wants a network with its quantisation")


def check_batch(batch: ImageArray, size: int) -> None:
    """Checks what a session is given.

    Raises:
        BackendError: `batch` is not a uint8 array (N, size, size, 3), N ≥ 1, of `size` pixels.
    """
    if batch.dtype != np.uint8 or batch.shape[1:] != (size, size, 3) or not len(batch):
        raise BackendError(
            f"wanted a uint8 batch (N, {size}, {size}, 3), got {batch.dtype} {batch.shape}"
        )


class SerialSession(ABC):
    """A session for engines that run one batch at a time: its callers, and `close`, take turns.

    An engine's own session says in `_run` how a batch is run, and in `_free` what to let go of.

    Args:
        name: of the backend, for messages.
        size: of the network's input, in pixels.
        unit: where the engine says that the network runs.
    """

    def __init__(self, name: str, size: int, unit: str) -> None:
        self.unit = unit
        self._name, self._size, self._closed = name, size, False
        self._lock = threading.Lock()

    def run(self, batch: ImageArray) -> dict[str, FloatArray]:
        """See `Session.run`."""
        check_batch(batch, self._size)
        with self._lock:
            if self._closed:
                raise BackendError(f"{self._name}: this session is closed")
            try:
                return self._run(batch)
            except BackendError:
                raise
            except Exception as error:
                raise BackendError(f"{self._name} failed: {error}") from error

    def close(self) -> None:
        """See `Session.close`."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._free()

    @abstractmethod
    def _run(self, batch: ImageArray) -> dict[str, FloatArray]:
        """Runs a batch that has been checked; what it raises becomes a BackendError."""

    @abstractmethod
    def _free(self) -> None:
        """Lets go of the engine's objects; called once."""


def cpu_targets(*precisions: str) -> tuple[Target, ...]:
    """Returns CPU targets with 1, 2 and 4 threads, up to the cores this process may use.

    `precisions` are fp32 alone by default; all threads of the first come first.
    """
    return tuple(
        Target(precision=precision, threads=threads)
        for precision in precisions or ("fp32",)
        for threads in (1, 2, 4)
        if threads <= usable_cores()
    )


def usable_cores() -> int:
    """Returns how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
