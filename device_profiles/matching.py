"""Which profiles apply to a device: pooling those of one device, ranking those of others."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tofa_edge.device.machine import Fingerprint
from tofa_edge.device_profiles.profile import MEASURED, MeasuredTarget, Profile
from tofa_edge.errors import ProfileError

# What makers add to a board's name without making it another board.
REVISION = re.compile(
    r"\s+(Rev\s+[\d.]+|Engineering Reference|Developer Kit|Super)(?=\s|$)", re.IGNORECASE
)
OTHER_ARCHITECTURE = 4  # the distance from which a profile tells nothing about a device


@dataclass(frozen=True, slots=True)
class Match:
    """A profile and how far its device is from ours.

    Attributes:
        profile: of another device, or of this one.
        distance: 0 for this very board with these cores and clocks; below 1 for the same board,
            below 2 for the same processor, below 3 for the same instructions, below 4 for the same
            architecture.
        reason: the same in words.
    """

    profile: Profile
    distance: float
    reason: str


def nearest(fingerprint: Fingerprint, profiles: Iterable[Profile]) -> list[Match]:
    """Returns all profiles, the nearest first, our own measurements before published figures."""
    matches = []
    for profile in profiles:
        rank, reason = _kinship(fingerprint, profile.fingerprint)
        differences = list(_differences(fingerprint, profile.fingerprint))
        total = sum(distance for distance, _ in differences)
        words = [reason, *(words for _, words in differences if words)]
        matches.append(Match(profile, rank + total / (1 + total), ", ".join(words)))
    return sorted(
        matches, key=lambda m: (m.distance, m.profile.provenance != MEASURED, m.profile.name)
    )


def board_family(fingerprint: Fingerprint) -> str | None:
    """Returns the board's name without its revision: "Raspberry Pi 4 Model B"."""
    return REVISION.sub("", fingerprint.board).strip() if fingerprint.board else None


def _kinship(ours: Fingerprint, theirs: Fingerprint) -> tuple[int, str]:
    board, designs = board_family(ours), sorted(ours.processors or ())
    same_designs = designs == sorted(theirs.processors or ())
    unknown_designs = not ours.processors or not theirs.processors
    if board and board == board_family(theirs) and (same_designs or unknown_designs):
        return 0, f"the same board ({board})"  # the name alone may be that of a virtual machine
    if designs and same_designs:
        return 1, f"the same processor ({', '.join(designs)})"
    same_architecture = ours.architecture and ours.architecture == theirs.architecture
    if same_architecture and ours.features and set(ours.features) == set(theirs.features or ()):
        return 2, f"the same instructions ({', '.join(ours.features)})"
    if same_architecture:
        return 3, f"the same architecture ({ours.architecture})"
    return OTHER_ARCHITECTURE, f"another architecture ({theirs.architecture or 'unknown'})"


def _differences(ours: Fingerprint, theirs: Fingerprint) -> Iterator[tuple[float, str]]:
    """Yields the distance, in doublings, and the words for what differs or is unknown."""
    for what, mine, other in (
        ("MHz", ours.maximum_clock_mhz, theirs.maximum_clock_mhz),
        ("usable cores", ours.usable_cores, theirs.usable_cores),
    ):
        if mine and other and min(mine, other) > 0:
            doublings = abs(math.log2(other / mine))
            yield doublings, "" if doublings == 0 else f"{other:g} {what} instead of {mine:g}"
        elif mine or other:
            yield 0.5, ""


def merge(profiles: Iterable[Profile]) -> Profile:
    """Returns one profile with all measurements of one device.

    The newest come first, also within a target; of the same date those given first. Name,
    fingerprint, software and state are those of the newest. A measurement given twice stands once.
    """
    ordered = sorted(profiles, key=lambda profile: profile.date, reverse=True)
    if not ordered:
        raise ProfileError("wanted at least one profile to pool, got none")
    newest = ordered[0]
    for profile in ordered[1:]:
        _check_same_device(newest, profile)
    pooled: dict[str, MeasuredTarget] = {}
    for target in (target for profile in ordered for target in profile.targets):
        known = pooled.get(str(target), dataclasses.replace(target, measurements=()))
        measurements = dict.fromkeys((*known.measurements, *target.measurements))
        pooled[str(target)] = dataclasses.replace(known, measurements=tuple(measurements))
    return dataclasses.replace(
        newest,
        targets=tuple(pooled.values()),
        source=_joined(profile.source for profile in ordered),
        licence=_joined(profile.licence for profile in ordered),
        notes=tuple(dict.fromkeys(note for profile in ordered for note in profile.notes)),
    )


def _check_same_device(one: Profile, other: Profile) -> None:
    for what, mine, theirs in (
        ("provenance", one.provenance, other.provenance),
        ("board", board_family(one.fingerprint), board_family(other.fingerprint)),
        *(
            (name, getattr(one.fingerprint, name), getattr(other.fingerprint, name))
            for name in ("architecture", "userland_bits", "processors", "maximum_clock_mhz")
        ),
        ("usable cores", one.fingerprint.usable_cores, other.fingerprint.usable_cores),
    ):
        if mine != theirs:
            raise ProfileError(
                f"refused to pool {one.name} with {other.name}: {what} is {mine or 'unknown'} and "
                f"{theirs or 'unknown'}; give profiles of one device and one provenance"
            )


def _joined(texts: Iterable[str | None]) -> str | None:
    return "; ".join(dict.fromkeys(text for text in texts if text)) or None
