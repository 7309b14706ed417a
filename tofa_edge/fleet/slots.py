"""Where a device keeps its bundles: two slots, a link to the active one, and what is known of both.

    FOLDER/a.tofa, b.tofa         the slots, each with its envelope, `a.tofa.dsse`
    FOLDER/active -> a.tofa       what `deploy("FOLDER/active")` opens
    FOLDER/state.json             which slot proved good, which is tried, and why one was refused

The link alone says which slot is active, so renaming it is the one step that changes that.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from tofa_edge.errors import InstallError
from tofa_edge.storage.durable import point_durably, sync_folder, write_durably
from tofa_edge.storage.files import one_line, printable
from tofa_edge.storage.locks import exclusive
from tofa_edge.storage.plain import from_plain, to_plain
from tofa_edge.trust.trust import SUFFIX

SLOTS = ("a", "b")
ACTIVE, STATE = "active", "state.json"
LOCK, INSTALLING = ".lock", ".installing.lock"
MOST_STATE_BYTES = 64 * 2**10
MOST_REASON = 1000
WAIT_S = 30.0


@dataclass(frozen=True, slots=True)
class SlotState:
    """What is known of the bundle in a slot.

    Attributes:
        digest: of the bundle.
        state: "trying" from the installation until it proved good; "refused" once it was given up.
        counter: that its signature has; None where it has none.
        starts: of the service, with this bundle, before it proved good.
    """

    digest: str
    state: Literal["trying", "good", "refused"] = "trying"
    counter: int | None = None
    starts: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """The bundle that was refused or given up last, and why.

    Attributes:
        digest: of it; empty where it could not be opened.
        reason: in words.
        at_s: when, in seconds since 1970 by the device's clock.
    """

    digest: str
    reason: str
    at_s: float


@dataclass(frozen=True, slots=True)
class InstallState:
    """What a folder of slots holds.

    Attributes:
        slots: by name, those that hold a bundle.
        refusal: the last one.
        boot_limit: starts of the service that a bundle gets to prove good.
        schema: of the file.
    """

    slots: Mapping[str, SlotState] = field(default_factory=dict)
    refusal: Refusal | None = None
    boot_limit: int = 3
    schema: int = 1

    def with_slot(self, name: str, slot: SlotState | None) -> InstallState:
        """Returns the same with another bundle, or none, in the slot of a `name`."""
        others = {key: each for key, each in self.slots.items() if key != name}
        return replace(self, slots=others if slot is None else {**others, name: slot})


@dataclass(frozen=True, slots=True)
class Slots:
    """A folder of slots. Who changes it holds its lock.

    Attributes:
        folder: where they are.
    """

    folder: Path

    @property
    def link(self) -> Path:
        """The link to the active slot's bundle."""
        return self.folder / ACTIVE

    def bundle(self, name: str) -> Path:
        """Returns where the bundle of the slot of a `name` is."""
        return self.folder / f"{name}.tofa"

    def envelope(self, name: str) -> Path:
        """Returns where the envelope of the slot of a `name` is."""
        return self.folder / f"{name}.tofa{SUFFIX}"

    def active(self) -> str | None:
        """Returns the name of the active slot; None before anything is installed.

        Raises:
            InstallError: what is called `active` is no link of ours.
        """
        try:
            target = os.readlink(self.link)  # noqa: PTH115 (as text)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InstallError(f"{self.link}: no link to a slot: {error.strerror}") from error
        for name in SLOTS:
            if target == self.bundle(name).name:
                return name
        raise InstallError(f"{self.link}: points to {one_line(target)}, which is no slot")

    def idle(self) -> str:
        """Returns the name of the slot that a new bundle goes to."""
        return SLOTS[1] if self.active() == SLOTS[0] else SLOTS[0]

    def read(self) -> InstallState:
        """Returns what is known of the slots.

        Raises:
            InstallError: the file that says so is damaged.
        """
        path = self.folder / STATE
        try:
            with path.open("rb") as file:
                content = file.read(MOST_STATE_BYTES)
        except FileNotFoundError:
            return InstallState()
        except OSError as error:
            raise InstallError(f"{path}: cannot be read: {error.strerror}") from error
        try:
            return from_plain(InstallState, json.loads(content))
        except (ValueError, RecursionError) as error:
            raise InstallError(
                f"{path}: damaged ({one_line(error)}); remove it, and install again"
            ) from error

    def write(self, state: InstallState) -> None:
        """Keeps what is known of the slots; returns when the disk has it.

        Raises:
            InstallError: it cannot be written.
        """
        with self.changing():
            write_durably(self.folder / STATE, [json.dumps(to_plain(state)).encode()])

    def activate(self, name: str) -> None:
        """Makes the slot of a `name` the active one, in one step.

        Raises:
            InstallError: the link cannot be made.
        """
        with self.changing():
            point_durably(self.link, self.bundle(name).name)

    def give_back(self, state: InstallState, refusal: Refusal) -> str | None:
        """Returns to the other slot, and keeps why; see `recovered` for a power cut in between.

        Args:
            state: as it was read.
            refusal: of the active bundle.

        Returns:
            The slot that is active from now on; None where there is no good one to return to.

        Raises:
            InstallError: nothing can be written.
        """
        active, other = self.active(), self.idle()
        found = state.slots.get(other)
        if active is None or found is None or found.state != "good":
            self.write(replace(state, refusal=refusal))
            return None
        given_up = replace(state.slots[active], state="refused")
        self.write(replace(state.with_slot(active, given_up), refusal=refusal))
        self.activate(other)
        return other

    def recovered(self) -> InstallState:
        """Returns what is known of the slots after finishing what a power cut interrupted.

        Raises:
            InstallError: it cannot be read or written.
        """
        state, active = self.read(), self.active()
        if active is not None and active in state.slots:
            other = self.idle()
            given_up = state.slots[active].state == "refused"
            if given_up and other in state.slots and state.slots[other].state == "good":
                self.activate(other)
        return state

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Makes an `InstallError` of a disk that refuses inside."""
        try:
            yield
        except OSError as error:
            reason = error.strerror or one_line(error)
            raise InstallError(f"{self.folder}: cannot be changed: {reason}") from error

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the lock of what is known inside, for a short change; makes the folder.

        Raises:
            InstallError: another process holds it for long, or the folder cannot be made.
        """
        with self._held(LOCK, WAIT_S, "another process changes it; try again later"):
            yield

    @contextlib.contextmanager
    def installing(self) -> Iterator[None]:
        """Holds the lock of those who install inside; services start and prove good meanwhile.

        Raises:
            InstallError: another process installs, or the folder cannot be made.
        """
        with self._held(INSTALLING, 0.0, "another process installs here; wait until it is done"):
            yield

    @contextlib.contextmanager
    def _held(self, name: str, seconds: float, busy: str) -> Iterator[None]:
        with self.changing():
            if not self.folder.is_dir():
                self.folder.mkdir(parents=True, exist_ok=True)
                sync_folder(self.folder.parent)
        with exclusive(self.folder / name, seconds) as held:
            if held == "busy":
                raise InstallError(f"{self.folder}: {busy}")
            yield


def refusal_of(digest: str, reason: object, at_s: float) -> Refusal:
    """Returns a refusal with a reason that can be kept.

    Args:
        digest: of the bundle; empty where it is not known.
        reason: in words, or an error.
        at_s: when, in seconds since 1970.
    """
    return Refusal(digest, printable(str(reason), MOST_REASON), at_s)
