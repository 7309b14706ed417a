"""deploy(): a network for this device, or with `live` a model that serves for months."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, overload

from tofa_edge.architecture.space import Subnet
from tofa_edge.budget import Budget
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.deployment.deploy import deployed
from tofa_edge.deployment.request import DeployOptions, checked_limits, refuse_former, requested
from tofa_edge.errors import ImageError, LimitError
from tofa_edge.live.options import LiveOptions
from tofa_edge.serving.model import Model

if TYPE_CHECKING:
    from tofa_edge.live.model import LiveModel


@overload
def deploy(
    bundle: str | Path | Bundle,
    *,
    latency_ms: float | None = ...,
    memory_mb: float | None = ...,
    budget: Budget | None = ...,
    subnet: Subnet | None = ...,
    unknown_below: float = ...,
    remember: bool = ...,
    options: DeployOptions = ...,
    live: None = ...,
    **former: object,
) -> Model: ...


@overload
def deploy(
    bundle: str | Path | Bundle,
    *,
    latency_ms: float | None = ...,
    memory_mb: float | None = ...,
    budget: Budget | None = ...,
    subnet: Subnet | None = ...,
    unknown_below: float = ...,
    remember: bool = ...,
    options: DeployOptions = ...,
    live: LiveOptions,
    **former: object,
) -> LiveModel: ...


def deploy(
    bundle: str | Path | Bundle,
    *,
    latency_ms: float | None = None,
    memory_mb: float | None = None,
    budget: Budget | None = None,
    subnet: Subnet | None = None,
    unknown_below: float = 0.0,
    remember: bool = True,
    options: DeployOptions = DeployOptions(),  # noqa: B008 (frozen)
    live: LiveOptions | None = None,
    **former: object,
) -> Model | LiveModel:
    """Cuts a network out of a bundle for this device and returns it, loaded and measured.

    With a budget: the one with the best expected accuracy among the networks measured within it.
    With `subnet`: exactly that one. With neither: the largest.

    Args:
        bundle: a `.tofa` file, or one already opened.
        latency_ms: bounds the p95 of `model(x)` for one uint8 array of the network's input size.
        memory_mb: bounds by how much the process is expected to grow, in MB of 1e6 bytes.
        budget: these and more limits in one; instead of them.
        subnet: the very architecture to build, the same on every device.
        unknown_below: predictions of less probability, 0..1, say that they are not `known`.
        remember: whether to reuse and keep what was chosen here before; never with frames.
        options: which engines may be used, frames of this device's camera, how long to search.
        live: for a model that serves at once or by several networks, and tells what happens.
        former: none; arguments of earlier versions are refused, naming their new place.

    Raises:
        BundleError: the bundle is damaged, or has no photos and too few frames were given.
        BudgetError: no network measured is within the budget. Where a first network serves
            already, that is an event instead, as all that fails later.
        LimitError: a limit is no number in its range, or limits contradict each other.
        BackendError: no engine works here, or the one asked for does not.
        SubnetError: the bundle's space does not contain the subnet.
        ImageError: a calibration frame cannot be read.
        TypeError: an argument is unknown, or has moved to the options.
    """
    refuse_former(former)
    limits = checked_limits(latency_ms, memory_mb, budget, subnet)
    if live is not None:
        _check(live, limits, options)
    request = requested(bundle, limits, subnet, options)
    if live is None:
        return deployed(request, remember, unknown_below)
    from tofa_edge.live.start import live_model  # where it is wanted alone

    return live_model(request, live, remember, unknown_below)


def _check(live: LiveOptions, limits: Budget, options: DeployOptions) -> None:
    """Refuses what contradicts itself before anything is opened."""
    if live.ladder > 1 and limits.latency_ms is None:
        raise LimitError(
            f"wanted a latency_ms with a ladder of {live.ladder} networks, got none: it says when "
            "a faster one serves"
        )
    others = [f for f in options.calibration if not isinstance(f, str | os.PathLike)]
    if others and (live.serve_first or live.ladder > 1):
        raise ImageError(
            f"wanted frames as files with serve_first or a ladder, because another process reads "
            f"them; got {type(others[0]).__name__}: save them, and give their paths"
        )
