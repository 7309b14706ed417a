"""What the fuzzer's modules share: the bundle to damage, one damaged file, zips of any content."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

MANIFEST = "manifest.json"
LOCAL = struct.Struct("<4s5H3L2H")  # local file header, APPNOTE.TXT section 4.3.7
CENTRAL = struct.Struct("<4s6H3L5H2L")  # entry of the central directory, section 4.3.12
END = struct.Struct("<4s4H2LH")  # end of the central directory, section 4.3.16
FIRST_OF_1980 = 0x21

Item = TypeVar("Item")


@dataclass(frozen=True)
class Sample:
    """The whole bundle that is damaged.

    Attributes:
        content: of the file.
        members: content by name, in the file's order.
    """

    content: bytes
    members: Mapping[str, bytes]

    @staticmethod
    def of(content: bytes) -> Sample:
        """Returns the sample of a file's content."""
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return Sample(content, {name: archive.read(name) for name in archive.namelist()})

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All members but the manifest."""
        return tuple(name for name in self.members if name != MANIFEST)

    def manifest(self) -> dict[str, Any]:
        """Returns the manifest, parsed anew so that it may be changed."""
        parsed: dict[str, Any] = json.loads(self.members[MANIFEST])
        return parsed


@dataclass(frozen=True)
class DamagedFile:
    """One damaged file.

    Attributes:
        content: of the file.
        what: says what was done to it, for people.
        harmless: whether it may be accepted although its members differ from the sample's. Where
            it is false, acceptance is right only if all members are byte-identical.
    """

    content: bytes
    what: str
    harmless: bool = False


Damage = Callable[[Sample, np.random.Generator], DamagedFile]


def pick(rng: np.random.Generator, items: Sequence[Item]) -> Item:
    """Returns one of some items."""
    return items[int(rng.integers(len(items)))]


@dataclass
class Entry:
    """One member of a zip, with a field for every lie; None stands for the truth.

    Attributes:
        name: raw bytes.
        data: as stored.
        method: of compression.
        flags: general purpose bits.
        crc: in both headers.
        sizes: compressed and plain, in the central directory.
        local_sizes: compressed and plain, before the data.
        local_name: before the data.
        offset: of the local header.
        local_extra: extra field before the data.
        extra: extra field in the central directory.
        comment: in the central directory.
        hidden: whether the central directory leaves it out.
        version: of the format that a reader needs, in the central directory.
    """

    name: bytes
    data: bytes
    method: int = 0
    flags: int = 0
    crc: int | None = None
    sizes: tuple[int, int] | None = None
    local_sizes: tuple[int, int] | None = None
    local_name: bytes | None = None
    offset: int | None = None
    local_extra: bytes = b""
    extra: bytes = b""
    comment: bytes = b""
    hidden: bool = False
    version: int = 20

    def local(self) -> bytes:
        """Returns the local header and the data."""
        name = self.name if self.local_name is None else self.local_name
        sizes = self.local_sizes or (len(self.data), len(self.data))
        fixed = (20, self.flags, self.method, 0, FIRST_OF_1980, self._crc(), *sizes)
        lengths = (len(name), len(self.local_extra))
        return LOCAL.pack(b"PK\3\4", *fixed, *lengths) + name + self.local_extra + self.data

    def central(self, offset: int) -> bytes:
        """Returns the entry of the central directory for a local header at `offset`."""
        sizes = self.sizes or (len(self.data), len(self.data))
        fixed = (20, self.version, self.flags, self.method, 0, FIRST_OF_1980, self._crc(), *sizes)
        lengths = (len(self.name), len(self.extra), len(self.comment))
        where = offset if self.offset is None else self.offset
        header = CENTRAL.pack(b"PK\1\2", *fixed, *lengths, 0, 0, 0o600 << 16, where)
        return header + self.name + self.extra + self.comment

    def _crc(self) -> int:
        return zlib.crc32(self.data) if self.crc is None else self.crc


def entries(members: Mapping[str, bytes]) -> list[Entry]:
    """Returns truthful entries for some members."""
    return [Entry(name.encode(), data) for name, data in members.items()]


def build_zip(items: Sequence[Entry], before_end: bytes = b"") -> bytes:
    """Returns a zip of entries; `before_end` is counted as a part of the central directory."""
    stream, directory, count = io.BytesIO(), io.BytesIO(), 0
    for item in items:
        if not item.hidden:
            directory.write(item.central(stream.tell()))
            count += 1
        stream.write(item.local())
    offset = stream.tell()
    listed = directory.getvalue() + before_end
    end = END.pack(b"PK\5\6", 0, 0, count & 0xFFFF, count & 0xFFFF, len(listed), offset, 0)
    return stream.getvalue() + listed + end


def member_list(members: Mapping[str, bytes]) -> dict[str, dict[str, Any]]:
    """Returns the manifest's list of members with true hashes and sizes."""
    return {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        for name, data in members.items()
        if name != MANIFEST
    }


def seal(members: Mapping[str, bytes], manifest: Mapping[str, Any]) -> bytes:
    """Returns a bundle of hostile members whose sizes, CRCs and hashes are all in order."""
    text = json.dumps({**manifest, "members": member_list(members)}).encode()
    return with_manifest(members, text)


def with_manifest(members: Mapping[str, bytes], text: bytes) -> bytes:
    """Returns a bundle whose manifest is any bytes."""
    return build_zip(
        entries({MANIFEST: text, **{k: v for k, v in members.items() if k != MANIFEST}})
    )


def replaced(sample: Sample, name: str, data: bytes) -> bytes:
    """Returns the sample with one member's content replaced and everything else fitting it."""
    return seal({**sample.members, name: data}, sample.manifest())


def manifest_case(
    sample: Sample, manifest: Mapping[str, Any], what: str, harmless: bool = False
) -> DamagedFile:
    """Returns the sample with another manifest, packed as it is."""
    text = json.dumps(manifest).encode()
    return DamagedFile(with_manifest(sample.members, text), what[:200], harmless)
