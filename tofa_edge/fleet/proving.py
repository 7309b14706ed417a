"""What happens to an installed bundle: starts are counted, it proves good, or it is given back.

A start counts before anything of the bundle runs, so that one that crashes the process is given up
after `boot_limit` starts.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path

from tofa_edge.bundle.bundle import Bundle
from tofa_edge.errors import InstallError, TofaError, TrustError
from tofa_edge.fleet.slots import InstallState, Slots, refusal_of
from tofa_edge.trust.policy import device_trust, this_device
from tofa_edge.trust.trust import Trust

log = logging.getLogger(__name__)


def count_start(folder: Path) -> str:
    """Counts a start of the service, and returns the digest of the bundle that is active then.

    Where the active bundle has had its starts without proving good, the other one is active
    afterwards.

    Args:
        folder: of the slots.

    Raises:
        InstallError: nothing is installed, or the folder cannot be changed.
    """
    slots = Slots(folder)
    with slots.locked():
        state, active = slots.recovered(), slots.active()
        if active is None or active not in state.slots:
            raise InstallError(f"{folder}: nothing is installed: tofa-edge install")
        slot = state.slots[active]
        if slot.state == "trying" and slot.starts >= state.boot_limit:
            reason = f"it did not prove good within {slot.starts} starts of the service"
            _give_back(slots, state, reason)
        elif slot.state == "trying":
            slots.write(state.with_slot(active, replace(slot, starts=slot.starts + 1)))
        elif slot.state == "good":  # unless that was kept, as where the power was cut before
            _raise_counter(slots.bundle(active), slot.digest)
        found = state.slots.get(slots.active() or "")
        return "" if found is None else found.digest


def mark_good(folder: Path, digest: str) -> bool:
    """Marks the active bundle good, if it is the one of this digest, and returns whether it is.

    From then on a policy refuses bundles of its name with a lower counter.

    Args:
        folder: of the slots.
        digest: of the bundle that proved good.

    Raises:
        InstallError: the folder cannot be changed.
    """
    slots = Slots(folder)
    with slots.locked():
        state, active = slots.recovered(), slots.active()
        if active is None or active not in state.slots or state.slots[active].digest != digest:
            return False
        if state.slots[active].state != "good":
            slots.write(state.with_slot(active, replace(state.slots[active], state="good")))
        _raise_counter(slots.bundle(active), digest)
        return True


def give_back(folder: Path, digest: str, reason: object) -> bool:
    """Returns to the other slot where the active bundle is the one of this digest and unproven.

    Args:
        folder: of the slots.
        digest: of the bundle that failed.
        reason: in words, or an error.

    Returns:
        Whether another bundle is active now.

    Raises:
        InstallError: the folder cannot be changed.
    """
    slots = Slots(folder)
    with slots.locked():
        state, active = slots.recovered(), slots.active()
        slot = state.slots.get(active or "")
        if slot is None or slot.digest != digest or slot.state == "good":
            return False
        return _give_back(slots, state, reason)


def _give_back(slots: Slots, state: InstallState, reason: object) -> bool:
    found = state.slots.get(slots.active() or "")
    digest = "" if found is None else found.digest
    log.warning(f"{slots.folder}: the bundle installed last is given up: {reason}")
    return slots.give_back(state, refusal_of(digest, reason, time.time())) is not None


def _raise_counter(bundle: Path, digest: str) -> None:
    """Keeps the counter of a bundle that proved good, where there is a policy."""
    try:
        device = this_device()
        if device is not None:
            device.saw(device.trust().check(bundle, digest), is_good=True)
    except TrustError as error:
        log.warning(f"the counter is not kept, and older bundles may still be opened: {error}")


def status(folder: Path, trust: Trust | None = None) -> dict[str, object]:
    """Returns what is installed in a folder of slots, as plain values.

    Args:
        folder: of the slots.
        trust: what signatures must say; by default the device's policy.

    Raises:
        InstallError: the folder cannot be read.
    """
    slots = Slots(folder)
    state, active = slots.read(), slots.active()
    found = state.slots.get(active or "")
    refusal = state.refusal
    return {
        "folder": str(folder),
        "slot": active,
        "digest": None if found is None else found.digest,
        "counter": None if found is None else found.counter,
        "state": None if found is None else found.state,
        "starts": None if found is None else found.starts,
        "boot_limit": state.boot_limit,
        "trusted": _trusted(slots, active, trust),
        "slots": {name: slot.digest for name, slot in sorted(state.slots.items())},
        "last_refusal": None
        if refusal is None
        else {"digest": refusal.digest, "reason": refusal.reason, "at_s": refusal.at_s},
    }


def _trusted(slots: Slots, active: str | None, trust: Trust | None) -> str:
    """Returns "yes" where the active bundle's signature is as wanted, or why not."""
    try:
        wanted = trust or device_trust()
        if wanted is None or active is None:
            return "no policy" if active is not None else "nothing is installed"
        Bundle.open(slots.bundle(active), wanted)
    except TofaError as error:
        return str(error)
    return "yes"
