"""What was asked for, as one checked value: the first that goes through a deployment."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from tofa_edge.architecture.space import Subnet
from tofa_edge.budget import Budget
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.bundle.costs import bearable
from tofa_edge.bundle.images import ImageSource
from tofa_edge.cutting.cutter import FRAMES_SHARE
from tofa_edge.device.machine import available_memory_bytes
from tofa_edge.errors import ImageError, LimitError, SubnetError


@dataclass(frozen=True, eq=False, slots=True)
class DeployOptions:
    """Which engines may be used, frames of this device's camera, and how long to search.

    Attributes:
        backend: an engine's name; by default the fastest one here that computes correctly.
        threads: by default the fastest number here.
        precision: "fp32", "fp16", "bf16", "int8" or "dynamic"; by default whatever serves the
            budget best, and float where there is none. What integers cost is measured on the
            bundle's photos; `Budget.max_accuracy_drop` bounds it.
        calibration: frames of this device's own camera, of as many different scenes as there are.
            Of those that look alike one counts.
        frames_share: at most so much of the 256 images that calibrate, 0..1, are frames, unless
            the bundle has too few photos. Give 1 where the camera differs much from the training
            photos and the frames show every class about as often as it will come.
        max_seconds: to measure at most, about; with less, the prediction is worse and so the
            network may be smaller than it could be. It is measured within the budget all the same.
        seed: of the search.
        python: that tests the engines, where this process runs in a frozen application or another
            program that embeds Python; by default `tofa_edge.selftest.interpreter` finds one.

    Raises:
        LimitError: on construction, when a number is out of its range.
        ImageError: on construction, when the share of frames is.
    """

    backend: str | None = None
    threads: int | None = None
    precision: str | None = None
    calibration: Sequence[ImageSource] = ()
    frames_share: float = FRAMES_SHARE
    max_seconds: float | None = None
    seed: int = 0
    python: str | None = None

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise LimitError(f"wanted a seed of 0 or more, got {self.seed}")
        if self.max_seconds is not None and not self.max_seconds >= 0:
            raise LimitError(f"wanted max_seconds as a number from 0 on, got {self.max_seconds}")
        if not 0 <= self.frames_share <= 1:
            raise ImageError(f"wanted a share of frames from 0 to 1, got {self.frames_share}")


@dataclass(frozen=True, eq=False, slots=True)
class Request:
    """What a deployment has to deliver.

    Attributes:
        bundle: opened.
        budget: of the network.
        subnet: the very architecture; None where the budget decides.
        options: how to choose it.
        until: when measuring must end, by `time.monotonic`.
    """

    bundle: Bundle
    budget: Budget
    subnet: Subnet | None
    options: DeployOptions
    until: float

    @property
    def fixed(self) -> Subnet | None:
        """The subnet to deliver whatever is measured; without a budget the largest."""
        if self.subnet is not None:
            return self.subnet
        return self.bundle.space.largest() if self.budget.is_free else None

    @property
    def tested(self) -> dict[Subnet, float]:
        """The accuracies of the subnets that were tested on the host; empty where none were."""
        return {each.subnet: each.accuracy for each in self.bundle.listed_finalists}


def requested(
    bundle: str | Path | Bundle, budget: Budget, subnet: Subnet | None, options: DeployOptions
) -> Request:
    """Opens a bundle and returns what is asked of it.

    Args:
        bundle: a file, or one already opened.
        budget: of the network.
        subnet: the very architecture; None where the budget decides.
        options: how to choose it.

    Raises:
        BundleError: it is damaged, or costs more than there is memory.
        SubnetError: its space does not contain the subnet.
    """
    bundle = opened(bundle)
    if subnet is not None:
        bundle.space.validate(subnet)
    seconds = float("inf") if options.max_seconds is None else options.max_seconds
    return Request(bundle, budget, subnet, options, time.monotonic() + seconds)


def opened(bundle: str | Path | Bundle) -> Bundle:
    """Returns a bundle, open, that this device can bear.

    Raises:
        BundleError: it is damaged, or costs more than there is memory.
    """
    found = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    bearable(found, available_memory_bytes())
    return found


def checked_limits(
    latency_ms: float | None,
    memory_mb: float | None,
    budget: Budget | None,
    subnet: Subnet | None,
) -> Budget:
    """Returns the limits as one budget; a subnet takes none.

    Args:
        latency_ms: bounds the p95.
        memory_mb: bounds the growth of the process.
        budget: these and more limits, instead of them.
        subnet: the very architecture.

    Raises:
        SubnetError: that is no subnet.
        LimitError: a limit is no number in its range, or limits contradict each other.
    """
    if subnet is not None and not isinstance(subnet, Subnet):
        raise SubnetError(f"wanted a Subnet, got {subnet!r}: Subnet.from_json reads printed ones")
    if budget is not None and not (latency_ms is None and memory_mb is None):
        raise LimitError("wanted either budget, or latency_ms and memory_mb; got both")
    limits = budget or Budget(latency_ms=latency_ms, memory_mb=memory_mb)
    if subnet is not None and not limits.is_free:
        raise LimitError(f"wanted a budget or a subnet, got {limits} and {subnet}")
    return limits


def refuse_former(former: Mapping[str, object]) -> None:
    """Refuses keyword arguments of earlier versions, and unknown ones.

    Args:
        former: those given, by name.

    Raises:
        TypeError: as Python does for a wrong argument; it names the new place.
    """
    if not former:
        return
    moved = [name for name in former if name in {field.name for field in fields(DeployOptions)}]
    if moved:
        given = ", ".join(f"{name}=…" for name in moved)
        raise TypeError(
            f"deploy() takes {', '.join(moved)} in its options: "
            f"deploy(bundle, options=DeployOptions({given}))"
        )
    raise TypeError(f"deploy() got an unexpected keyword argument {next(iter(former))!r}")
