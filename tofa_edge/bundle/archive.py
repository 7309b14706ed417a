"""A stored zip that is read strictly and written whole or not at all.

Only what `write_archive` writes is accepted: no compression (so a member is never larger than the
file), no encryption, no doubled, overlapping or oddly named members, nothing before, between or
behind. Nothing is ever extracted to a path. zipfile's CRC-32 is checked with every read.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import struct
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
NAME = re.compile(r"[a-z0-9_]+(/[a-z0-9_]+)?\.[a-z]+", re.ASCII)
END = struct.Struct("<4s4H2LH")  # end of central directory, APPNOTE.TXT section 4.3.16
LOCAL_HEADER_BYTES = 30
ZIP64_LOCATOR_BYTES = 20
DAMAGE = (
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error, EOFError, KeyError,
    NotImplementedError, RuntimeError, ValueError, OverflowError, UnicodeError,
)  # fmt: skip


@dataclass(frozen=True)
class Archive:
    """The members of a stored zip; the file is opened anew for each read."""

    path: Path  # of the file
    sizes: Mapping[str, int]  # of the members in bytes, by name, in the file's order

    @staticmethod
    def open(path: Path) -> Archive:
        """Reads and checks the directory of a file."""
        with _reading(path) as stream:
            count, offset = _check_end(path, stream)
            with zipfile.ZipFile(stream) as archive:
                members = archive.infolist()
            if len(members) != count:
                raise BundleError(f"{path}: {count} members announced, {len(members)} listed")
            return Archive(path, _check_members(path, members, offset))

    def read(self, name: str, most_bytes: int) -> bytes:
        """Returns the content of a member."""
        return next(self.read_each([name], most_bytes))

    def read_each(self, names: Sequence[str], most_bytes: int) -> Iterator[bytes]:
        """Yields the content of each member named, opening the file once."""
        with _reading(self.path) as stream, zipfile.ZipFile(stream) as archive:
            for name in names:
                size = self.sizes.get(name)
                if size is None:
                    raise BundleError(f"{self.path}: wanted member {name}, it is missing")
                if size > most_bytes:
                    raise BundleError(f"{self.path}: {name} has {size} bytes, over {most_bytes}")
                yield archive.read(name)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[io.BufferedReader]:
    try:
        with path.open("rb") as stream:
            yield stream
    except DAMAGE as error:
        raise BundleError(
            f"{path}: not a whole bundle ({one_line(error)}); copy it again"
        ) from error
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror or error}") from error


def _check_end(path: Path, stream: io.BufferedReader) -> tuple[int, int]:
    """Checks the end record before zipfile trusts it.

    Returns:
        How many members there are, and the offset of the directory.
    """
    total = stream.seek(0, os.SEEK_END)
    if not END.size <= total <= MOST_BYTES:
        raise BundleError(f"{path}: {total} bytes cannot be a bundle; copy it again")
    stream.seek(max(0, total - END.size - ZIP64_LOCATOR_BYTES))
    before = stream.read(total - END.size - stream.tell())
    magic, disk, start, here, count, size, offset, comment = END.unpack(stream.read(END.size))
    whole = magic == b"PK\5\6" and not (disk or start or comment) and here == count
    whole = whole and not before.startswith(b"PK\6\7")  # zipfile would believe zip64 instead
    if not whole or offset + size + END.size != total:
        raise BundleError(f"{path}: its end is missing or it is no bundle; copy it again")
    if count > MOST_MEMBERS or size > MOST_DIRECTORY_BYTES:
        raise BundleError(f"{path}: {count} members are over {MOST_MEMBERS}; refused")
    stream.seek(0)
    return int(count), int(offset)


def _check_members(path: Path, members: list[zipfile.ZipInfo], total: int) -> dict[str, int]:
    sizes: dict[str, int] = {}
    end = 0
    for member in sorted(members, key=lambda member: member.header_offset):
        name = member.orig_filename  # zipfile ends the other at a NUL
        if not NAME.fullmatch(name) or len(name) > 100:
            raise BundleError(f"{path}: refused a member named {name[:60]!r}")
        if name in sizes:
            raise BundleError(f"{path}: member {name} stands twice; refused")
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & ~0x800:
            raise BundleError(f"{path}: member {name} is compressed or encrypted; refused")
        if member.extra or member.comment:
            raise BundleError(f"{path}: member {name} has extra fields or a comment; refused")
        if member.file_size != member.compress_size or member.header_offset != end:
            raise BundleError(f"{path}: the sizes of {name} disagree; copy it again")
        end += LOCAL_HEADER_BYTES + len(name) + member.file_size
        sizes[name] = member.file_size
    if end != total:
        raise BundleError(f"{path}: its members do not fill it; copy it again")
    return sizes


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
