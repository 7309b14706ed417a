"""From the options of the commands that deploy to a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tofa_edge import Budget, DeployOptions, Model


def limits_of(
    latency_ms: float | None,
    memory_mb: float | None,
    drop_points: float,
    observed: bool,
    check_percent: float | None,
) -> Budget:
    """Returns what is wanted of a network."""
    from tofa_edge import Budget

    return Budget(
        latency_ms=latency_ms,
        memory_mb=memory_mb,
        max_accuracy_drop=drop_points / 100,
        latency="observed" if observed else "own",
        min_check_accuracy=None if check_percent is None else check_percent / 100,
    )


def options_of(frames: str | None, frames_share: float | None, **options: Any) -> DeployOptions:
    """Returns how to choose a network; `frames` are a folder, a file or a pattern."""
    from tofa_edge import DeployOptions
    from tofa_edge.bundle.frames import read_frames

    if frames_share is not None:
        options["frames_share"] = frames_share
    return DeployOptions(calibration=() if frames is None else read_frames(frames), **options)


def deployed(
    bundle: Path,
    limits: Budget,
    subnet: str | None,
    options: DeployOptions,
    remember: bool = True,
    unknown_below: float = 0.0,
) -> Model:
    """Returns the model of a bundle on this device."""
    import tofa_edge

    return tofa_edge.deploy(
        bundle,
        budget=limits,
        subnet=None if subnet is None else tofa_edge.Subnet.from_json(subnet),
        options=options,
        remember=remember,
        unknown_below=unknown_below,
    )
