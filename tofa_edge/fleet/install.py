"""install(): a new bundle takes over as a transaction, or everything stays as it was.

signature and hashes → idle slot, synced → a trial beside the service → what is known of it → one
rename. Until the rename the device is as before; after it the bundle is tried by the service, which
marks it good or gives it back (`service`).
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tofa_edge.budget import Budget
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.device.machine import available_memory_bytes
from tofa_edge.errors import BundleError, InstallError
from tofa_edge.fleet.delivery import Delivered, delivered, drop_delivery
from tofa_edge.fleet.revoked import forget_bundles
from tofa_edge.fleet.slots import InstallState, Slots, SlotState, refusal_of
from tofa_edge.fleet.trial import TrialLimits, TrialOrder, needed_bytes, run_trial
from tofa_edge.storage.durable import write_durably
from tofa_edge.trust.policy import device_trust
from tofa_edge.trust.reading import read_bounded
from tofa_edge.trust.statements import BundleStatement
from tofa_edge.trust.trust import MOST_BYTES, Trust, envelope_path

log = logging.getLogger(__name__)

CHUNK = 2**20
SPARE_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class InstallOptions:
    """How a bundle is tried before it takes over.

    Attributes:
        budget: that its network must keep here; that of the service.
        backend: engine; None for the best. As the service has it, so that it finds the choice.
        threads: None for the best number.
        precision: None for the best.
        frames: files of canary frames of this device's camera.
        gate: whether it is refused where it is less accurate than the active one.
        new_classes: whether other classes than those of the active bundle are wanted.
        boot_limit: starts of the service that it gets to prove good.
        replace_unproven: first return to the good bundle where the one installed last has not
            proved good.
        limits: of the trial.
    """

    budget: Budget = field(default_factory=Budget)
    backend: str | None = None
    threads: int | None = None
    precision: str | None = None
    frames: Sequence[Path] = ()
    gate: bool = True
    new_classes: bool = False
    boot_limit: int = 3
    replace_unproven: bool = False
    limits: TrialLimits = field(default_factory=TrialLimits)


@dataclass(frozen=True, slots=True)
class Installed:
    """A bundle that took over.

    Attributes:
        digest: of it.
        slot: that it is in.
        counter: that its signature has; None without one.
        network: that was chosen for it.
        notes: what was judged by what.
    """

    digest: str
    slot: str
    counter: int | None
    network: str
    notes: tuple[str, ...] = ()


def install(
    bundle: Path,
    folder: Path,
    options: InstallOptions = InstallOptions(),
    trust: Trust | None = None,
) -> Installed:
    """Installs a bundle into a folder of slots, after a trial beside the service.

    Args:
        bundle: path of the new one, its envelope beside it where it must be signed.
        folder: of the slots; made where it is not there.
        options: how it is tried.
        trust: what its signature must say; by default the device's policy, if there is one.

    Raises:
        BundleError: the bundle is damaged or hostile.
        TrustError: it is not signed as wanted, expired, older or revoked.
        InstallError: its trial failed, there is no room, or the folder cannot take it.
    """
    slots = Slots(folder)
    with slots.installing():
        digest = ""
        try:
            opened, statement = _opened(bundle, trust or device_trust())
            digest = opened.digest
            return _installed(slots, opened, statement, options)
        except (BundleError, InstallError) as error:
            _keep_refusal(slots, digest, error)
            raise


def install_delivered(
    place: str,
    folder: Path,
    options: InstallOptions = InstallOptions(),
    trust: Trust | None = None,
) -> tuple[Installed, Delivered]:
    """Installs a bundle of which only what the device does not have travels; see `delivery`.

    Args:
        place: path or URL of its manifest, as `publish` writes it.
        folder: of the slots; made where it is not there.
        options: how it is tried.
        trust: what its signature must say; by default the device's policy.

    Returns:
        The bundle that took over, and what had to travel.

    Raises:
        InstallError: there is no policy, something cannot be fetched, or as `install` does.
        BundleError: as `install` does.
    """
    slots, wanted = Slots(folder), trust or device_trust()
    if wanted is None:
        raise InstallError(
            "a bundle in parts wants a policy that says whose signature counts (docs/trust.md)"
        )
    with slots.installing():
        try:
            put_together = delivered(place, slots, wanted)
        except (BundleError, InstallError) as error:
            _keep_refusal(slots, "", error)
            raise
    installed = install(put_together.bundle, folder, options, trust)
    drop_delivery(slots)
    return installed, put_together


def _keep_refusal(slots: Slots, digest: str, error: Exception) -> None:
    """Keeps why a bundle is refused, and drops what its trial has remembered."""
    with slots.locked():
        known = slots.read()
        slots.write(replace(known, refusal=refusal_of(digest, error, time.time())))
    if digest and digest not in {each.digest for each in known.slots.values()}:
        forget_bundles(frozenset([digest]))


def _installed(
    slots: Slots, opened: Bundle, statement: BundleStatement | None, options: InstallOptions
) -> Installed:
    counter = None if statement is None else statement.counter
    with slots.locked():
        state, active, idle = _settled(slots, options), slots.active(), slots.idle()
        _check_newer(state.slots.get(active or ""), opened, counter)
        slots.write(state.with_slot(idle, None))  # nobody returns to it from now on
    _copy(opened, slots, idle)
    trusted = Bundle.open(slots.bundle(idle))  # by the policy, as the service will
    if trusted.digest != opened.digest:
        raise InstallError(f"{slots.bundle(idle)}: the disk gave back something else; check it")
    _say_memory(trusted, active is not None)
    report = run_trial(_order(slots, trusted.digest, options), options.limits)
    if report.refusal:
        raise InstallError(f"{opened.path} is refused: {report.refusal}")
    with slots.locked():
        if slots.active() != active:
            raise InstallError(f"{slots.folder}: another bundle became active; install it again")
        state = replace(slots.read(), boot_limit=options.boot_limit)
        slots.write(state.with_slot(idle, SlotState(opened.digest, counter=counter)))
        slots.activate(idle)
    return Installed(opened.digest, idle, counter, report.network, report.notes)


def _settled(slots: Slots, options: InstallOptions) -> InstallState:
    """Returns the state once the idle slot is free to be written."""
    state, active = slots.recovered(), slots.active()
    if active is None or state.slots.get(slots.idle()) is None:
        return state
    if active in state.slots and state.slots[active].state == "trying":
        if not options.replace_unproven:
            raise InstallError(
                f"{slots.folder}: the bundle installed last has not proved good yet, and the other "
                "slot holds what to return to; run the service, or --replace-unproven"
            )
        reason = "replaced before it proved good"
        slots.give_back(state, refusal_of(state.slots[active].digest, reason, time.time()))
        return slots.read()
    return state


def _opened(bundle: Path, trust: Trust | None) -> tuple[Bundle, BundleStatement | None]:
    opened = Bundle.open(bundle, trust)
    return opened, None if trust is None else trust.check(bundle, opened.digest)


def _check_newer(active: SlotState | None, opened: Bundle, counter: int | None) -> None:
    if active is None or active.state == "refused":
        return
    if active.digest == opened.digest:
        raise InstallError(f"{opened.path}: this bundle is active already")
    if counter is not None and active.counter is not None and counter <= active.counter:
        raise InstallError(
            f"{opened.path}: older than the active one: its counter is {counter}, and the active "
            f"one's {active.counter}; sign a newer one"
        )


def _copy(opened: Bundle, slots: Slots, name: str) -> None:
    """Copies a bundle and its envelope into a slot, and waits for the disk."""
    size = os.fstat(opened.descriptor).st_size
    with slots.changing():
        free = shutil.disk_usage(slots.folder).free
        if free < size + SPARE_BYTES:
            raise InstallError(
                f"{slots.folder}: wanted {(size + SPARE_BYTES) / 1e6:.0f} MB of room, "
                f"{free / 1e6:.0f} MB are free; remove something"
            )
        beside = envelope_path(opened.path)  # in the slot itself where that is installed again
        envelope = read_bounded(beside, MOST_BYTES) if beside.is_file() else None
        slots.envelope(name).unlink(missing_ok=True)
        write_durably(slots.bundle(name), _parts(opened, size))  # waits for the name removed, too
        if envelope is not None:
            write_durably(slots.envelope(name), [envelope])


def _parts(opened: Bundle, size: int) -> Iterator[bytes]:
    """Yields the file of an opened bundle, from the descriptor that was checked."""
    for at in range(0, size, CHUNK):
        yield os.pread(opened.descriptor, min(CHUNK, size - at), at)


def _say_memory(bundle: Bundle, beside_another: bool) -> None:
    """Says before a trial what it may take, beside the service that runs."""
    needed = needed_bytes(bundle) * (2 if beside_another else 1)
    available = available_memory_bytes()
    has = "unknown" if available is None else f"{available / 1e6:.0f} MB"
    log.info(f"the trial takes up to {needed / 1e6:.0f} MB beside the service; available: {has}")
    if available is not None and needed > available:
        raise InstallError(
            f"the trial takes up to {needed / 1e6:.0f} MB beside the service, and {has} are "
            "available; stop other programs, or train a smaller space"
        )


def _order(slots: Slots, digest: str, options: InstallOptions) -> TrialOrder:
    active, idle = slots.active(), slots.idle()
    frames = tuple(str(Path(path).absolute()) for path in options.frames)
    return TrialOrder(
        str(slots.bundle(idle).absolute()),
        digest,
        None if active is None else str(slots.bundle(active).absolute()),
        options.budget,
        options.backend,
        options.threads,
        options.precision,
        frames,
        options.gate,
        options.new_classes,
    )
