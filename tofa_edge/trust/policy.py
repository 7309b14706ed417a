"""The policy of a device: which bundles its commands open, and what it has accepted since.

The policy is a file that the owner of the device writes and no command changes. What came after it,
keys that follow, a deny-list, counters of bundles that proved good, lies in a folder that it names.
Each file there is replaced as a whole, and signatures are checked each time that it is read.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import TypeVar

from tofa_edge.errors import TrustError
from tofa_edge.storage.durable import write_durably
from tofa_edge.storage.files import one_line
from tofa_edge.storage.locks import exclusive
from tofa_edge.storage.plain import from_plain, to_plain
from tofa_edge.trust.envelope import MOST_ENVELOPE_BYTES, read_envelope, verified
from tofa_edge.trust.keys import PUBLIC, checked_keys
from tofa_edge.trust.reading import read_bounded, strict_json
from tofa_edge.trust.statements import BundleStatement, DenyList, KeyStatement, read_statement
from tofa_edge.trust.trust import Trust

SYSTEM = Path("/etc/tofa-edge/trust.json")
VARIABLE = "TOFA_EDGE_TRUST"  # of the environment: names a policy where the system has none
STATE = "/var/lib/tofa-edge/trust"
MOST_BYTES = 64 * 2**10
DENIED, SEEN = "denied.dsse", "seen.json"
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Policy:
    """What a policy file says.

    Attributes:
        keys: public ones in hexadecimal, that count until others follow them.
        threshold: how many of them must have signed.
        name: that bundles must be of; None for any.
        channel: that bundles must be for; None for any.
        least_counter: bundles of a lower one are refused.
        state: folder of what was accepted since; its whole path.
        schema: of the file.
    """

    keys: tuple[str, ...]
    threshold: int = 1
    name: str | None = None
    channel: str | None = None
    least_counter: int = 0
    state: str = STATE
    schema: int = 1


@dataclass(frozen=True, slots=True)
class Seen:
    """What a device has seen signed.

    Attributes:
        newest_s: the newest time, in seconds since 1970.
        counters: of the newest bundle of each name that proved good.
    """

    newest_s: float = 0.0
    counters: dict[str, int] = field(default_factory=dict)


def policy_path() -> Path | None:
    """Returns where the policy is; the system's, or else what the environment names; or None.

    Raises:
        TrustError: nobody can tell whether the system has one.
    """
    try:
        SYSTEM.lstat()
        return SYSTEM
    except (FileNotFoundError, NotADirectoryError):
        named = os.environ.get(VARIABLE, "").strip()
        return Path(named) if named else None
    except OSError as error:
        raise TrustError(f"{SYSTEM}: cannot be read: {error.strerror}") from error


def read_policy(path: Path) -> Policy:
    """Returns the policy in a file.

    Raises:
        TrustError: it cannot be read, others may write to it, or it is none.
    """
    policy = _read(Policy, read_bounded(path, MOST_BYTES, owned=True), path)
    checked_keys(policy.keys, policy.threshold, str(path))
    if policy.schema != 1:
        raise TrustError(f"{path}: schema {policy.schema} is not 1: pip install -U tofa-edge")
    if not Path(policy.state).is_absolute():  # or each command would look beside where it is run
        raise TrustError(f"{path}: wanted the whole path of a folder as state: {policy.state!r}")
    return policy


def trust_of(path: Path) -> Trust:
    """Returns the trust that a file describes: a policy, or a public key alone.

    Raises:
        TrustError: it cannot be read, or is neither.
    """
    text = read_bounded(path, MOST_BYTES).decode("utf-8", "replace").strip()
    if PUBLIC.fullmatch(text):
        return Trust((text,))
    return DeviceTrust(read_policy(path)).trust()


def this_device() -> DeviceTrust | None:
    """Returns this device's policy with what it has accepted since; None where it has no policy.

    Raises:
        TrustError: there is a policy, and it cannot be read.
    """
    path = policy_path()
    return None if path is None else DeviceTrust(read_policy(path))


def device_trust() -> Trust | None:
    """Returns what this device demands of every bundle; None where it has no policy.

    Raises:
        TrustError: there is a policy, and it or what was accepted since cannot be read.
    """
    device = this_device()
    return None if device is None else device.trust()


@dataclass(frozen=True, slots=True)
class DeviceTrust:
    """A device's policy with what it has accepted since."""

    policy: Policy

    @property
    def folder(self) -> Path:
        """Where what was accepted lies."""
        return Path(self.policy.state)

    def trust(self) -> Trust:
        """Returns what a bundle's signature must say now.

        Raises:
            TrustError: a file that was accepted is damaged, or is not signed as it must be; or
                everybody may add and remove such files.
        """
        self._check_folder()
        policy, seen, denied = self.policy, self.seen(), self.deny_list()
        newest = self.generations()[-1]
        return Trust(
            newest.keys, newest.threshold, policy.least_counter, policy.name, policy.channel,
            seen.counters, frozenset(denied.digests if denied else ()), seen.newest_s,
        )  # fmt: skip

    def generations(self) -> list[KeyStatement]:
        """Returns the keys of the policy and those that followed, each signed by those before."""
        found = [KeyStatement(self.policy.keys, self.policy.threshold, 0, 0)]
        for number in count(1):
            content = self._stored(_keys_name(number))
            if content is None:
                return found
            found.append(_following(found[-1], content, str(self.folder / _keys_name(number))))
        raise AssertionError("unreachable")

    def deny_list(self) -> DenyList | None:
        """Returns the deny-list in force; None for none."""
        content = self._stored(DENIED)
        if content is None:
            return None
        where, signed = str(self.folder / DENIED), read_envelope(content, DENIED)
        *former, last = self.generations()
        for keys in reversed(former):  # that it may have been accepted under
            with contextlib.suppress(TrustError):
                payload = verified(signed, DenyList.KIND, keys.keys, keys.threshold, where)
                return read_statement(DenyList, payload, where)
        payload = verified(signed, DenyList.KIND, last.keys, last.threshold, where)
        return read_statement(DenyList, payload, where)

    def seen(self) -> Seen:
        """Returns what was seen signed."""
        content = self._stored(SEEN)
        return Seen() if content is None else _read(Seen, content, self.folder / SEEN)

    def accept(self, path: Path) -> KeyStatement | DenyList:
        """Accepts new keys or a new deny-list, signed by enough of the keys that count now.

        Args:
            path: of the envelope.

        Raises:
            TrustError: it is neither, is not signed as it must be, is not newer than what was
                accepted, or cannot be kept.
        """
        content = read_bounded(path, MOST_ENVELOPE_BYTES)
        signed = read_envelope(content, str(path))
        with self._locked():
            last = self.generations()[-1]
            if signed.kind == KeyStatement.KIND:
                keys = _following(last, content, str(path))
                self._keep(_keys_name(keys.counter), content)
                self._saw(keys.signed_s)
                return keys
            payload = verified(signed, DenyList.KIND, last.keys, last.threshold, str(path))
            denied, before = read_statement(DenyList, payload, str(path)), self.deny_list()
            if before is not None and denied.counter <= before.counter and denied != before:
                raise TrustError(
                    f"{path}: a deny-list of counter {denied.counter}, and {before.counter} was "
                    "accepted before; get the newest"
                )
            self._keep(DENIED, content)
            self._saw(denied.signed_s)
            return denied

    def saw(self, statement: BundleStatement, is_good: bool) -> None:
        """Keeps the time of a bundle's `statement`, and its counter if it proved good (`is_good`).

        Raises:
            TrustError: it cannot be kept.
        """
        with self._locked():
            self._saw(statement.signed_s, statement if is_good else None)

    def _saw(self, signed_s: float, good: BundleStatement | None = None) -> None:
        before = self.seen()
        after = replace(before, newest_s=max(before.newest_s, float(signed_s)))
        if good is not None:
            counter = max(good.counter, before.counters.get(good.name, 0))
            after = replace(after, counters={**before.counters, good.name: counter})
        if after != before:
            self._keep(SEEN, json.dumps(to_plain(after)).encode())

    def _check_folder(self) -> None:
        with contextlib.suppress(OSError):  # where it is not there, nothing was accepted
            if self.folder.stat().st_mode & stat.S_IWOTH:
                raise TrustError(
                    f"{self.folder}: everybody may write to it, so it proves nothing; chown and "
                    "chmod"
                )

    def _stored(self, name: str) -> bytes | None:
        path = self.folder / name
        try:
            path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise TrustError(f"{path}: cannot be read: {error.strerror}") from error
        return read_bounded(path, MOST_ENVELOPE_BYTES)

    def _keep(self, name: str, content: bytes) -> None:
        try:
            write_durably(self.folder / name, [content])
        except OSError as error:
            raise TrustError(f"{self.folder}: cannot be written: {error.strerror}") from error

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.folder.mkdir(mode=0o755, parents=True, exist_ok=True)  # whatever the umask
        except OSError as error:
            raise TrustError(f"{self.folder}: cannot be made: {error.strerror}") from error
        with exclusive(self.folder / ".lock") as held:
            if held == "busy":
                raise TrustError(f"{self.folder}: another process changes it; try again")
            yield


def _keys_name(number: int) -> str:
    return f"keys-{number:04}.dsse"


def _following(before: KeyStatement, content: bytes, where: str) -> KeyStatement:
    """Returns the keys that follow others, which have signed that they do."""
    signed = read_envelope(content, where)
    payload = verified(signed, KeyStatement.KIND, before.keys, before.threshold, where)
    statement = read_statement(KeyStatement, payload, where)
    if statement.counter != before.counter + 1:
        raise TrustError(
            f"{where}: keys of counter {statement.counter}, and {before.counter + 1} is the next; "
            "accept each statement, in order"
        )
    return statement


def _read(kind: type[Value], content: bytes, path: Path) -> Value:
    try:
        return from_plain(kind, strict_json(content))
    except (ValueError, RecursionError) as error:
        raise TrustError(
            f"{path}: it is damaged or no file of its kind: {one_line(error)}"
        ) from error
