"""The commands that replace a device's bundle: install and status."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tofa_edge.cli import app as shared
from tofa_edge.cli.app import BundlePath, Json, app
from tofa_edge.cli.output import print_json, print_lines

if TYPE_CHECKING:
    from tofa_edge.fleet.install import Installed

Folder = Annotated[
    Path, typer.Option("--into", metavar="FOLDER", help="The slots; active is the link in it.")
]
Manifest = Annotated[
    str | None, typer.Option(metavar="PLACE", help="Path or URL of a manifest that publish wrote.")
]
CanaryFrames = Annotated[
    str | None, typer.Option(metavar="FOLDER", help="Canary frames of this device's camera.")
]
NoGate = Annotated[bool, typer.Option("--no-gate", help="Take it however accurate it is.")]
NewClasses = Annotated[
    bool, typer.Option("--new-classes", help="Other classes than the active one's are meant.")
]
BootLimit = Annotated[
    int, typer.Option(min=1, help="Starts of the service that it gets to prove good.")
]
ReplaceUnproven = Annotated[
    bool, typer.Option("--replace-unproven", help="Give up what has not proved good yet.")
]
TrialMemoryMb = Annotated[
    float | None, typer.Option(min=1, help="Of the trial; default: most that is available.")
]
TrialSeconds = Annotated[float, typer.Option(min=1, help="Of the trial.")]
SLOTS = Path("/var/lib/tofa-edge/bundle")


@app.command()
def install(
    bundle: Annotated[Path | None, typer.Argument(metavar="[BUNDLE]", help="A .tofa file.")] = None,
    from_manifest: Manifest = None,
    folder: Folder = SLOTS,
    latency_ms: shared.LatencyMs = None,
    memory_mb: shared.MemoryMb = None,
    backend: shared.BackendName = None,
    threads: shared.Threads = None,
    precision: shared.Precision = None,
    frames: CanaryFrames = None,
    no_gate: NoGate = False,
    new_classes: NewClasses = False,
    boot_limit: BootLimit = 3,
    replace_unproven: ReplaceUnproven = False,
    trial_memory_mb: TrialMemoryMb = None,
    trial_seconds: TrialSeconds = 1800,
    as_json: Json = False,
) -> None:
    """Replaces the device's bundle after a trial beside the service, or changes nothing.

    Signature and hashes, engines on the golden cases, latency within the budget, and accuracy
    against the active bundle on its check photos. Give the budget and engine of the service.
    With --from-manifest instead of BUNDLE, only what the active bundle does not have travels.
    """
    if (bundle is None) == (from_manifest is None):
        raise typer.BadParameter("wanted either BUNDLE or --from-manifest")
    from tofa_edge.bundle.frames import read_frames
    from tofa_edge.cli.deploying import limits_of
    from tofa_edge.fleet.install import InstallOptions, install_delivered
    from tofa_edge.fleet.install import install as install_bundle
    from tofa_edge.fleet.trial import TrialLimits

    most = None if trial_memory_mb is None else int(1e6 * trial_memory_mb)
    options = InstallOptions(
        limits_of(latency_ms, memory_mb, 1.0, False, None),
        backend,
        threads,
        precision,
        () if frames is None else read_frames(frames),
        gate=not no_gate,
        new_classes=new_classes,
        boot_limit=boot_limit,
        replace_unproven=replace_unproven,
        limits=TrialLimits(most, trial_seconds),
    )
    if bundle is not None:
        installed, delivered = install_bundle(bundle, folder, options), None
    else:
        installed, delivered = install_delivered(from_manifest or "", folder, options)
    if as_json:
        travelled = None if delivered is None else delivered.arrived_bytes
        print_json({**dataclasses.asdict(installed), "arrived_bytes": travelled})
    else:
        _say(installed)


def _say(installed: Installed) -> None:
    print_lines([f"installed {installed.digest} in slot {installed.slot}: {installed.network}"])
    print_lines(installed.notes)
    print_lines(["the service takes over to it, and marks it good or returns to the one before"])


@app.command()
def publish(
    bundle: BundlePath,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="To serve or to carry.")],
) -> None:
    """Takes a signed bundle apart, so that devices fetch only what they do not have.

    Anybody may serve FOLDER, or carry it: devices check every part against the signature.
    """
    from tofa_edge.fleet.delivery import ENDING
    from tofa_edge.fleet.delivery import publish as publish_bundle

    new = publish_bundle(bundle, folder)
    print_lines([f"wrote {folder / f'{bundle.stem}{ENDING}'}: {new} members are new"])


@app.command()
def status(folder: Folder = SLOTS, as_json: Json = False) -> None:
    """Shows what is installed: digest, counter, slot, and what was refused last and why."""
    from tofa_edge.fleet.proving import status as status_of

    found = status_of(folder)
    if as_json:
        print_json(found)
        return
    for key, value in found.items():
        if value is not None:
            print_lines([f"{key.replace('_', ' ')}: {value}"])
