"""Trust: what a bundle's signature must say for the bundle to be opened."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from tofa_edge.errors import TrustError
from tofa_edge.trust.envelope import read_envelope, verified
from tofa_edge.trust.keys import checked_keys
from tofa_edge.trust.reading import read_bounded
from tofa_edge.trust.statements import BundleStatement, read_statement

SUFFIX = ".dsse"
MOST_BYTES = 64 * 2**10


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose signatures count, and what they must say of a bundle.

    Attributes:
        keys: public ones in hexadecimal, as `tofa-edge keygen` writes them.
        threshold: how many of them must have signed.
        least_counter: bundles of a lower counter are refused.
        name: that the bundle must be of; None for any.
        channel: that the bundle must be for; None for any.
        counters: the least counter of bundles of a name, where it is more than `least_counter`.
        denied: digests of bundles that are revoked.
        newest_s: the newest time that was seen signed, in seconds since 1970. Where the clock is
            behind it, as on a board without a battery, it counts instead of the clock.

    Raises:
        TrustError: on construction, when a key is none or the threshold is out of its range.
    """

    keys: tuple[str, ...]
    threshold: int = 1
    least_counter: int = 0
    name: str | None = None
    channel: str | None = None
    counters: Mapping[str, int] = field(default_factory=dict)
    denied: frozenset[str] = frozenset()
    newest_s: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", tuple(self.keys))
        checked_keys(self.keys, self.threshold, "trust")

    def check(self, path: Path, digest: str, now_s: float | None = None) -> BundleStatement:
        """Returns what the envelope beside a bundle says of it.

        Args:
            path: of the bundle.
            digest: of what was opened there.
            now_s: the time in seconds since 1970; by default the clock's.

        Raises:
            TrustError: there is no envelope, too few trusted keys have signed it, or it is of
                another bundle; or the bundle is revoked, older, expired or for something else.
        """
        place = envelope_path(path)
        if not os.path.lexists(place):
            raise TrustError(
                f"{path}: not signed: there is no {place.name} beside it; copy that, too, or sign "
                "it (tofa-edge sign)"
            )
        return self.check_envelope(path, digest, read_bounded(place, MOST_BYTES), now_s)

    def check_envelope(
        self, path: Path, digest: str, content: bytes, now_s: float | None = None
    ) -> BundleStatement:
        """Does the same with the content of an envelope, wherever it was.

        Args:
            path: of the bundle, for messages.
            digest: of what was opened there.
            content: of the envelope's file.
            now_s: the time in seconds since 1970; by default the clock's.

        Raises:
            TrustError: as `check` does.
        """
        if digest in self.denied:
            raise TrustError(f"{path}: revoked by a signed deny-list; install another bundle")
        where = f"the signature of {path}"
        signed = read_envelope(content, where)
        payload = verified(signed, BundleStatement.KIND, self.keys, self.threshold, where)
        statement = read_statement(BundleStatement, payload, where)
        if statement.digest != digest:
            raise TrustError(f"{where}: it is of another bundle; copy both files again")
        self._check_purpose(path, statement)
        least = max(self.least_counter, self.counters.get(statement.name, 0))
        if statement.counter < least:
            raise TrustError(
                f"{path}: older than allowed: its counter is {statement.counter}, and {least} is "
                "the least; install a newer one"
            )
        self._check_time(path, statement, time.time() if now_s is None else now_s)
        return statement

    def _check_purpose(self, path: Path, statement: BundleStatement) -> None:
        for what, wanted, came in (
            ("name", self.name, statement.name),
            ("channel", self.channel, statement.channel),
        ):
            if wanted is not None and wanted != came:
                raise TrustError(
                    f"{path}: signed for the {what} {came!r}, and this device takes {wanted!r}"
                )

    def _check_time(self, path: Path, statement: BundleStatement, now_s: float) -> None:
        time_s = max(now_s, self.newest_s)
        if statement.expires_s is not None and time_s >= statement.expires_s:
            by = "the clock" if now_s >= self.newest_s else "the newest signed time seen"
            raise TrustError(
                f"{path}: expired {date_of(statement.expires_s)}, and by {by} it is "
                f"{date_of(time_s)}; sign it again"
            )


def envelope_path(path: Path) -> Path:
    """Returns where the envelope of the bundle at a `path` lies: beside the file itself.

    A link is followed, so that the envelope is that of what the link points to.
    """
    real = Path(os.path.realpath(path))
    return real.with_name(real.name + SUFFIX)


def date_of(seconds: float) -> str:
    """Returns a time in `seconds` since 1970 as people read it, in UTC."""
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, ValueError, OSError):
        return f"{seconds:g} s after 1970"
