"""What several backends need: versions, checks of what they are given, targets of the CPU."""

from __future__ import annotations

import os

import numpy as np

from tofa_edge.architecture.arrays import ImageArray
from tofa_edge.backends.protocol import Target
from tofa_edge.errors import BackendError
from tofa_edge.network.network import Network


def package_version(*packages: str) -> str:
    """Returns "name version" of the first package that is installed, "unknown" without one.

    Args:
        *packages: names of distributions, the likeliest first.
    """
    from importlib.metadata import PackageNotFoundError, version  # slow to import

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
