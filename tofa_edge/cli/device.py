"""The commands that choose a network on this device: deploy, profile."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tofa_edge.cli import app as shared
from tofa_edge.cli.app import BundlePath, Json, app
from tofa_edge.cli.deploying import deployed, limits_of, options_of
from tofa_edge.cli.output import ReportedExit, print_json, print_lines
from tofa_edge.interruption import SIGNALLED, interruption

if TYPE_CHECKING:
    from tofa_edge import Model


@app.command()
def deploy(
    bundle: BundlePath,
    latency_ms: shared.LatencyMs = None,
    memory_mb: shared.MemoryMb = None,
    subnet: shared.SubnetJson = None,
    backend: shared.BackendName = None,
    threads: shared.Threads = None,
    precision: shared.Precision = None,
    max_accuracy_drop: shared.MaxDrop = 1.0,
    observed: shared.Observed = False,
    min_check_accuracy: shared.MinCheckAccuracy = None,
    max_seconds: Annotated[
        float | None,
        typer.Option(min=0, help="Stop measuring after about this time; the choice is worse."),
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Choose again, ignoring the remembered choice.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random candidates.")] = 0,
    frames: shared.Frames = None,
    frames_share: shared.FramesShare = None,
    as_json: Json = False,
) -> None:
    """Chooses, cuts and measures a network on this device, and explains the choice."""
    limits = limits_of(latency_ms, memory_mb, max_accuracy_drop, observed, min_check_accuracy)
    engine = {"backend": backend, "threads": threads, "precision": precision}
    options = options_of(frames, frames_share, **engine, max_seconds=max_seconds, seed=seed)
    with deployed(bundle, limits, subnet, options, remember=not no_cache) as model:
        if as_json:
            print_json(_as_json(model))
        else:
            print_lines([model.explain(), f"the same again: --subnet '{model.subnet.to_json()}'"])


@app.command()
def profile(
    bundle: BundlePath,
    out_path: Annotated[
        Path | None,
        typer.Option("--out", help="Also write the profile here, for other devices of this kind."),
    ] = None,
    subnets: Annotated[int, typer.Option(min=1, help="Subnets to measure on each engine.")] = 40,
    backend: shared.BackendName = None,
    threads: shared.Threads = None,
    force: shared.Force = False,
    as_json: Json = False,
) -> None:
    """Measures this device once, so that later deployments on it predict latency better.

    Ctrl-C, SIGTERM and SIGHUP (a lost connection) end it; from eight subnets on, it keeps them.
    """
    from tofa_edge.bundle.bundle import Bundle
    from tofa_edge.deployment import profile as profiling
    from tofa_edge.device_profiles.profile import to_json
    from tofa_edge.errors import ProfileError
    from tofa_edge.storage.files import check_place

    if out_path is not None:
        check_place(out_path, force, ProfileError)
    with interruption() as asked:
        device_profile = profiling.profile(Bundle.open(bundle), subnets, backend, threads)
        paths = profiling.keep(device_profile, out_path, force, first=asked.number is not None)
        if as_json:
            print_json(json.loads(to_json(device_profile)))
        else:
            print_lines(f"wrote {path}" for path in paths)
    if asked.number is not None:
        raise ReportedExit(SIGNALLED + asked.number)


def _as_json(model: Model) -> dict[str, object]:
    explanation = dataclasses.asdict(model.explanation)
    if not model.explanation.predicts_accuracy:  # then subnets are ordered by something else
        chosen = [explanation["chosen"]] if explanation["chosen"] else []
        for row in (*explanation["measured"], *explanation["finished"], *chosen):
            row["accuracy"] = None
    return {
        **explanation,
        "bundle": str(model.explanation.bundle),
        "subnet": model.subnet.to_json(),
        "input_size": model.input_size,
    }
