"""A stored zip that is read strictly and written whole or not at all.

Only what `write_archive` writes is accepted: no compression (so a member is never larger than the
file), no encryption, no doubled, overlapping or oddly named members, nothing before, between or
behind. Nothing is ever extracted to a path. The file is opened once: what was checked is what is
read, wherever its name points by then. The CRC-32 is checked with every read.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import weakref
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tofa_edge.errors import BundleError
from tofa_edge.storage.files import one_line, whole_file

MOST_MEMBERS = 20_000
MOST_BYTES = 2**31
MOST_DIRECTORY_BYTES = 4 * 2**20
MOST_NAME_BYTES = 100
NAME = re.compile(r"[a-z0-9_]+(/[a-z0-9_]+)?\.[a-z]+", re.ASCII)
LOCAL = struct.Struct("<4s5H3L2H")  # local file header, APPNOTE.TXT section 4.3.7
CENTRAL = struct.Struct("<4s6H3L5H2L")  # entry of the central directory, section 4.3.12
END = struct.Struct("<4s4H2LH")  # end of the central directory, section 4.3.16
ZIP64_LOCATOR_BYTES = 20
UTF8_NAME = 0x800  # flag
VERSION = 20  # of the format, that a reader needs at most (section 4.4.3)
READING = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
AGAIN = "copy it again"
KINDS = {
    stat.S_IFIFO: "pipe", stat.S_IFDIR: "folder", stat.S_IFCHR: "device", stat.S_IFBLK: "device",
    stat.S_IFSOCK: "socket",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    size: int  # of the content, in bytes
    crc: int
    at: int  # offset of its local header


@dataclass(frozen=True, eq=False)
class Archive:
    """The members of a stored zip, read from one descriptor that is held until this is dropped."""

    path: Path  # that was opened, for messages
    sizes: Mapping[str, int]  # of the members in bytes, by name, in the file's order
    descriptor: int  # of the open file; nobody else moves in it, nobody else closes it
    _members: Mapping[str, _Member]

    @staticmethod
    def open(path: Path) -> Archive:
        """Opens a file, and reads and checks its directory.

        Raises:
            BundleError: it cannot be read, is no regular file, or no archive as written here.
        """
        try:
            descriptor = os.open(path, READING)
        except (OSError, ValueError) as error:  # a NUL in the path
            raise _unreadable(path, error) from error
        return _opened(path, descriptor)

    @staticmethod
    def from_descriptor(descriptor: int, path: Path) -> Archive:
        """Does the same with a file that is open already; its descriptor stays the caller's."""
        try:
            own = os.dup(descriptor)
        except (OSError, OverflowError) as error:
            raise _unreadable(path, error) from error
        return _opened(path, own)

    def read(self, name: str, most_bytes: int) -> bytes:
        """Returns the content of a member."""
        member = self._members.get(name)
        if member is None:
            raise BundleError(f"{self.path}: wanted member {name}, it is missing")
        if member.size > most_bytes:
            raise BundleError(f"{self.path}: {name} has {member.size} bytes, over {most_bytes}")
        start = LOCAL.size + len(name)
        whole = _read(self.path, self.descriptor, start + member.size, member.at)
        magic, _, flags, method, *_, crc, _, size, length, extra = LOCAL.unpack_from(whole)
        told = (magic, flags & ~UTF8_NAME, method, size, length, extra)
        content = whole[start:]
        if told != (b"PK\3\4", 0, 0, member.size, len(name), 0) or (
            whole[LOCAL.size : start] != name.encode()
        ):
            raise BundleError(
                f"{self.path}: not a whole bundle ({name} is not where it says); {AGAIN}"
            )
        if not crc == member.crc == zlib.crc32(content):
            raise BundleError(f"{self.path}: not a whole bundle (bad CRC-32 of {name}); {AGAIN}")
        return content

    def read_each(self, names: Sequence[str], most_bytes: int) -> Iterator[bytes]:
        """Yields the content of each member named."""
        for name in names:
            yield self.read(name, most_bytes)


def _unreadable(path: Path, error: Exception) -> BundleError:
    reason = getattr(error, "strerror", None) or one_line(error)
    return BundleError(f"{path}: cannot be read: {reason}")


def _opened(path: Path, descriptor: int) -> Archive:
    """Takes a descriptor over: it is closed with the archive, or after an error."""
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = KINDS.get(stat.S_IFMT(status.st_mode), "something else")
            raise BundleError(f"{path}: cannot be read: wanted a .tofa file, this is a {kind}")
        count, size, offset = _check_end(path, descriptor, status.st_size)
        listed = _listed(path, _read(path, descriptor, size, offset))
        if len(listed) != count:
            raise BundleError(f"{path}: {count} members announced, {len(listed)} listed")
        members = _check_members(path, listed, offset)
        sizes = {name: member.size for name, member in members.items()}
        archive = Archive(path, sizes, descriptor, members)
    except BaseException:
        os.close(descriptor)
        raise
    weakref.finalize(archive, os.close, descriptor).atexit = False
    return archive


def _read(path: Path, descriptor: int, count: int, offset: int) -> bytes:
    """Returns `count` bytes at an `offset`; the descriptor's own position is not used."""
    parts: list[bytes] = []
    while count:
        try:
            part = os.pread(descriptor, count, offset)
        except OSError as error:
            raise _unreadable(path, error) from error
        if not part:
            raise BundleError(f"{path}: not a whole bundle (it ended early); {AGAIN}")
        parts.append(part)
        count, offset = count - len(part), offset + len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _check_end(path: Path, descriptor: int, total: int) -> tuple[int, int, int]:
    """Checks the end record of a file of `total` bytes.

    Returns:
        How many members there are, and the size and offset of the directory.
    """
    if not END.size <= total <= MOST_BYTES:
        raise BundleError(f"{path}: {total} bytes cannot be a bundle; {AGAIN}")
    tail = min(total, END.size + ZIP64_LOCATOR_BYTES)
    last = _read(path, descriptor, tail, total - tail)
    magic, disk, start, here, count, size, offset, comment = END.unpack(last[-END.size :])
    whole = magic == b"PK\5\6" and not (disk or start or comment) and here == count
    whole = whole and not last.startswith(b"PK\6\7")  # other readers would believe zip64 instead
    if not whole or offset + size + END.size != total:
        raise BundleError(f"{path}: its end is missing or it is no bundle; {AGAIN}")
    if count > MOST_MEMBERS or size > MOST_DIRECTORY_BYTES:
        raise BundleError(f"{path}: {count} members are over {MOST_MEMBERS}; refused")
    return int(count), int(size), int(offset)


def _listed(path: Path, directory: bytes) -> list[_Member]:
    """Returns the members of a directory."""
    members, at = [], 0
    while at < len(directory):
        if directory[at : at + 4] != b"PK\1\2" or at + CENTRAL.size > len(directory):
            raise BundleError(f"{path}: not a whole bundle (its directory is damaged); {AGAIN}")
        fields = CENTRAL.unpack_from(directory, at)
        version, flags, method = fields[2:5]
        crc, packed, size, length, extra, comment = fields[7:13]
        at += CENTRAL.size
        name = directory[at : at + length].decode("utf-8", "replace")
        at += length + extra + comment
        if not NAME.fullmatch(name) or length > MOST_NAME_BYTES:
            raise BundleError(f"{path}: refused a member named {name[:60]!r}")
        if method != zipfile.ZIP_STORED or flags & ~UTF8_NAME:
            raise BundleError(f"{path}: member {name} is compressed or encrypted; refused")
        if version > VERSION:
            raise BundleError(f"{path}: member {name} is of a later zip format; refused")
        if extra or comment:
            raise BundleError(f"{path}: member {name} has extra fields or a comment; refused")
        if size != packed:
            raise BundleError(f"{path}: the sizes of {name} disagree; {AGAIN}")
        members.append(_Member(name, size, crc, fields[16]))
    return members


def _check_members(path: Path, listed: list[_Member], total: int) -> dict[str, _Member]:
    """Checks that the members listed fill the file from its start to `total`, in one order."""
    members: dict[str, _Member] = {}
    end = 0
    for member in sorted(listed, key=lambda member: member.at):
        name = member.name
        if name in members:
            raise BundleError(f"{path}: member {name} stands twice; refused")
        if member.at != end:
            raise BundleError(f"{path}: the sizes of {name} disagree; {AGAIN}")
        end += LOCAL.size + len(name) + member.size
        members[name] = member
    if end != total:
        raise BundleError(f"{path}: its members do not fill it; {AGAIN}")
    return members


def write_archive(path: Path, members: Mapping[str, bytes]) -> None:
    """Writes a stored zip under a temporary name and renames it when it is complete.

    Time stamps are fixed, so that the same members make the same file.
    """
    if len(members) > MOST_MEMBERS:
        raise BundleError(f"{path}: {len(members)} members are over {MOST_MEMBERS}; not written")
    try:
        with (
            whole_file(path) as stream,
            zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED, allowZip64=False) as archive,
        ):
            for name, content in members.items():
                archive.writestr(zipfile.ZipInfo(name), content)
    except (OSError, ValueError, zipfile.LargeZipFile) as error:
        reason = getattr(error, "strerror", None) or error
        raise BundleError(f"{path}: cannot be written: {reason}") from error
