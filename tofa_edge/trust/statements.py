"""What is signed: that a bundle may run, which keys count from now on, what is revoked."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import ClassVar, TypeAlias, TypeVar

from tofa_edge.errors import TrustError
from tofa_edge.storage.files import one_line
from tofa_edge.storage.plain import from_plain, to_plain
from tofa_edge.trust.keys import checked_keys
from tofa_edge.trust.reading import strict_json

DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
MOST_NUMBER = 2**53  # every reader of JSON takes it exactly


@dataclass(frozen=True, slots=True)
class BundleStatement:
    """That a bundle may run.

    Attributes:
        KIND: of the payload.
        name: of the product; bundles of one name follow each other.
        digest: SHA-256 of the bundle's manifest in hexadecimal, which has the hash of all else.
        counter: grows with each release of the name.
        channel: that it is for, such as "stable" or "test".
        signed_s: when it was signed, in seconds since 1970.
        expires_s: from when on it may not be opened any more; None for never.
    """

    KIND: ClassVar[str] = "application/vnd.tofa-edge.bundle+json"
    name: str
    digest: str
    counter: int
    channel: str
    signed_s: int
    expires_s: int | None = None

    def check(self) -> None:
        """Raises `ValueError` where a field is out of its range."""
        if not DIGEST.fullmatch(self.digest):
            raise ValueError("wanted a SHA-256 as digest")
        for text in (self.name, self.channel):
            if not NAME.fullmatch(text):
                raise ValueError(f"wanted letters, digits, '.', '_', '-' as a name, got {text!r}")
        expires_s = self.signed_s if self.expires_s is None else self.expires_s
        _check_numbers(self.counter, self.signed_s, expires_s)


@dataclass(frozen=True, slots=True)
class KeyStatement:
    """Which keys count from now on; signed by enough of those that counted until now.

    Attributes:
        KIND: of the payload.
        keys: public ones in hexadecimal.
        threshold: how many of them must sign.
        counter: of the statements of one chain, 1 for the first.
        signed_s: when it was signed, in seconds since 1970.
    """

    KIND: ClassVar[str] = "application/vnd.tofa-edge.keys+json"
    keys: tuple[str, ...]
    threshold: int
    counter: int
    signed_s: int

    def check(self) -> None:
        """Raises `ValueError` where a field is out of its range."""
        _check_numbers(self.counter, self.signed_s)
        try:
            checked_keys(self.keys, self.threshold, "the statement")
        except TrustError as error:
            raise ValueError(str(error)) from error


@dataclass(frozen=True, slots=True)
class DenyList:
    """Which bundles may not be opened any more; each list replaces the one before.

    Attributes:
        KIND: of the payload.
        digests: of them.
        counter: grows with each list.
        signed_s: when it was signed, in seconds since 1970.
    """

    KIND: ClassVar[str] = "application/vnd.tofa-edge.deny+json"
    digests: tuple[str, ...]
    counter: int
    signed_s: int

    def check(self) -> None:
        """Raises `ValueError` where a field is out of its range."""
        _check_numbers(self.counter, self.signed_s)
        if not all(DIGEST.fullmatch(digest) for digest in self.digests):
            raise ValueError("wanted a SHA-256 for each bundle")


Statement: TypeAlias = BundleStatement | KeyStatement | DenyList
AnyStatement = TypeVar("AnyStatement", BundleStatement, KeyStatement, DenyList)


def payload_of(statement: Statement) -> bytes:
    """Returns a statement as the payload to sign.

    Raises:
        TrustError: a field is out of its range.
    """
    try:
        statement.check()
    except ValueError as error:
        raise TrustError(f"this cannot be signed: {one_line(error)}") from error
    return json.dumps(to_plain(statement), sort_keys=True, separators=(",", ":")).encode()


def read_statement(kind: type[AnyStatement], payload: bytes, where: str) -> AnyStatement:
    """Returns the statement of a `kind` in a payload whose signatures are right.

    Args:
        kind: of the statement.
        payload: that was signed.
        where: it is from, for the message.

    Raises:
        TrustError: it says something else than such a statement.
    """
    try:
        statement = from_plain(kind, strict_json(payload))
        statement.check()
    except (ValueError, RecursionError) as error:
        raise TrustError(f"{where}: signed, and no statement: {one_line(error)}") from error
    return statement


def _check_numbers(*numbers: int) -> None:
    if not all(0 <= number <= MOST_NUMBER for number in numbers):
        raise ValueError(f"wanted counters and times of 0 to {MOST_NUMBER}")
