"""Small updates: of a new bundle, only members that the device does not have travel.

    FOLDER/parts.manifest.json, parts.manifest.json.dsse    of the bundle, with its envelope
    FOLDER/members/<sha256>                                 each member, under its hash

Anybody may serve such a folder, on a USB stick or by plain HTTP: the signature is of the manifest,
and what arrives must have the hashes that stand in it. What has arrived stays until the bundle is
complete, so that a transfer that broke goes on.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO

from tofa_edge.bundle.bundle import MOST_MANIFEST_BYTES, Bundle
from tofa_edge.bundle.parts import hash_of, manifest_of, part_list, put_together, whole_parts
from tofa_edge.errors import InstallError
from tofa_edge.fleet.slots import Slots
from tofa_edge.storage.durable import write_durably
from tofa_edge.storage.files import one_line, sweep
from tofa_edge.trust.trust import MOST_BYTES, SUFFIX, Trust, envelope_path

log = logging.getLogger(__name__)

ENDING = ".manifest.json"
MEMBERS, ARRIVED, DELIVERED = "members", ".arrived", "delivered.tofa"
WEB = ("http://", "https://")
TIMEOUT_S = 30.0
TRIES, MOST_TRIES = 3, 100  # in a row that bring nothing; of one member
CHUNK = 64 * 2**10


@dataclass(frozen=True, slots=True)
class Delivered:
    """A bundle put together from what the device had and what arrived.

    Attributes:
        bundle: its path; the envelope lies beside it.
        kept_bytes: of members that the device had already.
        arrived_bytes: of all that had to travel, manifest and envelope included.
    """

    bundle: Path
    kept_bytes: int
    arrived_bytes: int


def publish(bundle: Path, folder: Path) -> int:
    """Takes a signed bundle apart into a folder that devices fetch from.

    Args:
        bundle: its path; the envelope lies beside it.
        folder: made where it is not there; members of other bundles stay.

    Returns:
        How many members were new to the folder.

    Raises:
        BundleError: the bundle is damaged.
        InstallError: it is not signed, or the folder cannot be written.
    """
    opened, beside, new = Bundle.open(bundle), envelope_path(bundle), 0
    if not beside.is_file():
        raise InstallError(f"{bundle}: wanted its envelope {beside.name} beside it: tofa-edge sign")
    content, parts = manifest_of(bundle), dict(whole_parts(bundle))
    if hash_of(content) != opened.digest:
        raise InstallError(f"{bundle}: was overwritten meanwhile; publish it again")
    try:
        (folder / MEMBERS).mkdir(parents=True, exist_ok=True)
        for name, digest in part_list(bundle, content).hashes.items():
            if digest not in parts:
                raise InstallError(f"{bundle}: {name} is damaged; copy the bundle again")
            member = parts[digest]
            place = folder / MEMBERS / digest
            if not place.is_file() or place.stat().st_size != len(member):
                write_durably(place, [member])
                new += 1
        name = f"{bundle.stem}{ENDING}"
        write_durably(folder / f"{name}{SUFFIX}", [beside.read_bytes()])
        write_durably(folder / name, [content])  # last: what it lists is there
    except OSError as error:
        raise InstallError(f"{folder}: cannot be written: {one_line(error)}") from error
    return new


def delivered(place: str, slots: Slots, trust: Trust) -> Delivered:
    """Puts a bundle together from its manifest, the active bundle, and what has to travel.

    Args:
        place: path or URL of the manifest.
        slots: where the active bundle is, and what arrives is kept.
        trust: what the signature of the manifest must say.

    Raises:
        TrustError: the manifest is not signed as wanted.
        BundleError: it is none.
        InstallError: something cannot be fetched, or has another hash than is signed.
    """
    arrived = slots.folder / ARRIVED
    with slots.changing():
        arrived.mkdir(parents=True, exist_ok=True)
    sweep(slots.folder, DELIVERED)  # what a killed one left
    content = _fetched(place, MOST_MANIFEST_BYTES)
    envelope = _fetched(place + SUFFIX, MOST_BYTES)
    trust.check_envelope(Path(place), hash_of(content), envelope)
    listed = part_list(Path(place), content)
    had, members, travelled = _had(slots), dict[str, bytes](), len(content) + len(envelope)
    for name, digest in listed.hashes.items():
        found = had.get(digest) or _arrived(arrived / digest, digest)
        if found is None:
            source = f"{place.rpartition('/')[0] or '.'}/{MEMBERS}/{digest}"
            found = _member(source, arrived / digest, digest, listed.sizes[name])
        travelled += 0 if digest in had else len(found)
        members[name] = found
    bundle = slots.folder / DELIVERED
    put_together(bundle, content, members)
    with slots.changing():
        write_durably(envelope_path(bundle), [envelope])
    kept = sum(len(found) for name, found in members.items() if listed.hashes[name] in had)
    log.info(f"{travelled} bytes travelled, {kept} bytes were here already")
    return Delivered(bundle, kept, travelled)


def drop_delivery(slots: Slots) -> None:
    """Removes what `delivered` left in the folder of `slots`, once it is of no more use."""
    shutil.rmtree(slots.folder / ARRIVED, ignore_errors=True)
    bundle = slots.folder / DELIVERED
    for path in (bundle, envelope_path(bundle)):
        with contextlib.suppress(OSError):
            path.unlink()


def _had(slots: Slots) -> dict[str, bytes]:
    """Returns the members of the active bundle by their hashes, as far as they are whole."""
    active = slots.active()
    return {} if active is None else dict(whole_parts(slots.bundle(active)))


def _arrived(path: Path, digest: str) -> bytes | None:
    """Returns a member that has arrived before, whole."""
    with contextlib.suppress(OSError):
        content = path.read_bytes()
        if hash_of(content) == digest:
            return content
    return None


def _member(source: str, path: Path, digest: str, size: int) -> bytes:
    """Fetches a member, going on where a transfer broke; a wrong one is dropped."""
    reason, in_vain, most = "", 0, 0
    for _ in range(MOST_TRIES):
        try:
            _continue(source, path, size)
        except (OSError, HTTPException, ValueError) as error:  # redirected to what is no URL
            reason = one_line(getattr(error, "reason", None) or error)
        else:
            content = _arrived(path, digest)
            if content is not None:
                return content
            reason = "what arrived has another hash than is signed"
            path.unlink()
        here = path.stat().st_size if path.is_file() else 0
        in_vain, most = 0 if here > most else in_vain + 1, max(here, most)
        if in_vain == TRIES:
            break
    raise InstallError(f"{source}: cannot be fetched: {reason}; try again, and it goes on")


def _continue(source: str, path: Path, size: int) -> None:
    """Appends to a file what is missing of it, `size` bytes in all."""
    begin = path.stat().st_size if path.is_file() else 0
    if begin >= size:
        path.unlink()
        begin = 0
    with _opened(source, begin) as (stream, at), path.open("r+b" if begin else "wb") as file:
        file.seek(at)
        file.truncate()
        left = size - at
        while left and (part := stream.read(min(CHUNK, left))):
            file.write(part)
            left -= len(part)
    if left:
        raise OSError(f"it ended {left} bytes early")


def _fetched(place: str, most_bytes: int) -> bytes:
    """Returns a small file, from a path or a URL."""
    try:
        with _opened(place, 0) as (stream, _):
            content = stream.read(most_bytes + 1)
    except (OSError, HTTPException, ValueError) as error:
        reason = one_line(getattr(error, "reason", None) or error)
        raise InstallError(f"{place}: cannot be fetched: {reason}") from error
    if len(content) > most_bytes:
        raise InstallError(f"{place}: over {most_bytes} bytes; refused")
    return content


@contextlib.contextmanager
def _opened(place: str, begin: int) -> Iterator[tuple[IO[bytes], int]]:
    """Yields a stream of a file or URL and where it begins: at `begin`, or at 0."""
    if not place.startswith(WEB):
        path = Path(place)
        if not path.is_file():  # a pipe would wait
            raise FileNotFoundError("there is no such file")
        with path.open("rb") as file:
            file.seek(begin)
            yield file, begin
        return
    asked = {"Range": f"bytes={begin}-"} if begin else {}
    request = urllib.request.Request(place, headers=asked)  # noqa: S310 (of WEB)
    opener = urllib.request.build_opener(_OnlyWeb)
    with opener.open(request, timeout=TIMEOUT_S) as response:
        yield response, begin if begin and response.status == 206 else 0


class _OnlyWeb(urllib.request.HTTPRedirectHandler):
    """Follows redirections to the web alone."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        """Returns the request to follow; raises for any other place."""
        if not newurl.startswith(WEB):
            raise urllib.error.URLError(f"redirected to {one_line(newurl)}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
