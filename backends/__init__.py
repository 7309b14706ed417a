"""What an engine must offer, and how engines are found.

A backend is one small file: it builds a `Network` into a native artefact, loads the artefact into a
session, and runs batches. Backends are found through the entry-point group `tofa_edge.backends`;
the ones that come with the package go through the same door as anybody else's.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, entry_points, version
from typing import Protocol, runtime_checkable

import numpy as np

from tofa_edge.errors import BackendError
from tofa_edge.network import FloatArray, ImageArray, Network

ENTRY_POINTS = "tofa_edge.backends"
INTEGERS = ("int8", "dynamic")  # precisions


@dataclass(frozen=True, slots=True)
class Target:
    """Where and how an engine runs: the unit ("cpu"), the precision ("fp32"), and its threads.

    Precisions are "fp32", "fp16", "int8" (weights and values in 8 bits, their ranges known before),
    and "dynamic" (weights in 8 bits; values are rounded as they come).

    Attributes:
        unit: such as "cpu" or "gpu".
        precision: "fp32", "fp16", "int8" or "dynamic".
        threads: of the processor.
    """

    unit: str = "cpu"
    precision: str = "fp32"
    threads: int = 1

    def __str__(self) -> str:
        return f"{self.unit} {self.precision} {self.threads}t"

    @property
    def is_integer(self) -> bool:
        """Whether a network needs its quantisation to be built for it."""
        return self.precision in INTEGERS


@runtime_checkable
class Session(Protocol):
    """A loaded network. Safe to call from several threads; not after `close`, nor after a fork.

    Attributes:
        unit: where the engine says that the network runs ("cpu", "gpu", …), asked of the engine
            after loading: an engine may fall back to the CPU and say nothing else.
    """

    unit: str

    def run(self, batch: ImageArray) -> dict[str, FloatArray]:
        """Runs a batch of images, uint8, (N, S, S, 3), and returns the network's outputs by name.

        The arrays returned belong to the caller. `batch` is not written to.

        Raises:
            BackendError: the session is closed, the batch has another type or shape, or the
                engine fails.
        """
        ...

    def close(self) -> None:
        """Frees the engine's memory; a second call does nothing."""
        ...


@runtime_checkable
class Backend(Protocol):
    """An engine. Its package is imported inside the methods, never at the top of the module.

    It may have a method `remarks() -> tuple[str, ...]`: what `doctor` says of its packages besides.

    Attributes:
        name: of its entry point.
        calibrates: whether it expresses the layer `BatchStatistics`. Where it does not, another
            engine estimates BatchNorm statistics, and this one is given folded networks alone.
    """

    name: str
    calibrates: bool

    def missing(self) -> str | None:
        """Returns None where the engine can run here, else why not and what to do about it."""
        ...

    def version(self) -> str:
        """Returns the version of the engine's package, for caches and reports."""
        ...

    def targets(self) -> tuple[Target, ...]:
        """Returns the targets it offers on this machine; empty where it is missing."""
        ...

    def build(self, network: Network, target: Target) -> bytes:
        """Returns the native artefact of a network: a file's content, cacheable.

        Args:
            network: with its quantisation where the target is one in integers.
            target: one of its own.

        Raises:
            BackendError: the engine cannot express the network.
        """
        ...

    def load(self, artefact: bytes, target: Target) -> Session:
        """Returns a session for an artefact that `build` made for the same target.

        Args:
            artefact: what `build` returned, perhaps in another process of the same versions.
            target: the one it was built for.

        Raises:
            BackendError: the engine is missing, refuses the artefact, or would run it elsewhere
                than on the target.
        """
        ...


@dataclass(frozen=True, slots=True)
class Engine:
    """A backend on one of its targets: what a network is loaded into."""

    backend: Backend
    target: Target

    def __str__(self) -> str:
        return f"{self.backend.name} {self.target}"

    def load(self, network: Network) -> Session:
        """Builds and loads a network.

        Raises:
            BackendError: the engine is missing or refuses it.
        """
        return self.backend.load(self.backend.build(network, self.target), self.target)


def package_version(*packages: str) -> str:
    """Returns "name version" of the first package that is installed, "unknown" without one.

    Args:
        *packages: names of distributions, the likeliest first.
    """
    for package in packages:
        try:
            return f"{package} {version(package)}"
        except PackageNotFoundError:
            continue
    return "unknown"


def check_target(name: str, target: Target, precisions: tuple[str, ...] = ("fp32",)) -> None:
    """Checks a target for a backend that runs on the CPU alone.

    Args:
        name: of the backend, for the message.
        target: what is wanted.
        precisions: those the backend computes in.

    Raises:
        BackendError: it is another one.
    """
    if target.unit != "cpu" or target.precision not in precisions:
        raise BackendError(f"{name}: no target {target}; it offers cpu {' or '.join(precisions)}")


def check_quantised(name: str, network: Network, target: Target) -> None:
    """Checks that a network says how it is computed in integers where a target wants that.

    Args:
        name: of the backend, for the message.
        network: to build.
        target: what it is built for.

    Raises:
        BackendError: it does not.
    """
    if target.is_integer and network.quantisation is None:
        raise BackendError(f"{name}: {target} wants a network with its quantisation")


def check_batch(batch: ImageArray, size: int) -> None:
    """Checks what a session is given.

    Args:
        batch: what the session was given.
        size: of the network's input, in pixels.

    Raises:
        BackendError: it is not a uint8 array (N, size, size, 3), N ≥ 1.
    """
    if batch.dtype != np.uint8 or batch.shape[1:] != (size, size, 3) or not len(batch):
        raise BackendError(
            f"wanted a uint8 batch (N, {size}, {size}, 3), got {batch.dtype} {batch.shape}"
        )


def cpu_targets(*precisions: str) -> tuple[Target, ...]:
    """Returns CPU targets with 1, 2 and 4 threads, up to the cores this process may use.

    Args:
        precisions: by default fp32 alone; all threads of the first come first.
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


@contextlib.contextmanager
def engine_logs(tell: Callable[[str], None]) -> Iterator[None]:
    """Passes on what engines log meanwhile: some build for minutes.

    Args:
        tell: called with a line of text.
    """

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            tell(record.getMessage())

    logger, lines = logging.getLogger("tofa_edge"), Lines()
    before = logger.level
    logger.addHandler(lines)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(lines)
        logger.setLevel(before)


@lru_cache(maxsize=1)
def backends() -> dict[str, Backend]:
    """Returns every backend found, by name, whether or not its engine is installed.

    Raises:
        BackendError: none is found, which means that the package itself is not installed.
    """
    found: dict[str, Backend] = {}
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        found[point.name] = point.load()()
    if not found:
        raise BackendError("no backend found: install the package (pip install tofa-edge)")
    return found


def backend(name: str) -> Backend:
    """Returns the backend of that name.

    Args:
        name: of its entry point.

    Raises:
        BackendError: there is none of that name, or its engine cannot run here.
    """
    found = backends()
    if name not in found:
        raise BackendError(f"no backend {name!r}; there are {', '.join(found)}")
    reason = found[name].missing()
    if reason:
        raise BackendError(f"backend {name} cannot run here: {reason}")
    return found[name]


def working() -> dict[str, Backend]:
    """Returns the backends whose engine is installed, the reference last: it is slow.

    Whether they run is another question: `tofa_edge.probing` answers it.
    """
    able = {name: item for name, item in backends().items() if item.missing() is None}
    return dict(sorted(able.items(), key=lambda pair: pair[0] == "reference"))
