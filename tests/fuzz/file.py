"""Damage to the file and to its zip: what copying, failing storage and attackers do."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from functools import lru_cache

import numpy as np

from tests.fuzz.crafted import END, Damage, DamagedFile, Entry, Sample, build_zip, entries, pick

EVIL_NAMES = (
    "../manifest.json", "../../../../etc/passwd", "/etc/passwd", "check/../../x.jpg", "..", ".",
    "", "/", "C:\\windows\\x.jpg", "check\\00000.jpg", "check/00000.jpg\0.txt", "check/00000.jpg/",
    "ＣＨＥＣＫ/0.jpg", "check/０.jpg", "\u202egpj.x", "naïve.json", "CHECK/00000.JPG", "~/x.jpg",
    "check//00000.jpg", "./check/00000.jpg", "a" * 101 + ".jpg", "check/" + "a" * 60_000 + ".jpg",
    "check/00000.jpg ", "check/\n.jpg", "\x1b[2J.jpg", "CON.txt", "%2e%2e/x.jpg", "check/0.jpg:x",
)  # fmt: skip
METHODS = (1, 6, 8, 9, 12, 14, 93, 95, 97, 99, 0xFFFF)
SIZES = (0, 1, 21, 22, 30, 46, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
ZEROS = 64 * 2**20


def _region(content: bytes, rng: np.random.Generator) -> int:
    """Returns an offset: anywhere, or as often near the start or in the directory at the end."""
    total = len(content)
    low, high = pick(rng, ((0, total), (0, min(total, 400)), (max(0, total - 1500), total)))
    return int(rng.integers(low, high))


def bit_flip(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Flips one bit."""
    return _flipped(sample, rng, 1)


def bit_flips(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Flips 2 to 64 bits."""
    return _flipped(sample, rng, int(rng.integers(2, 65)))


def _flipped(sample: Sample, rng: np.random.Generator, count: int) -> DamagedFile:
    damaged = bytearray(sample.content)
    for _ in range(count):
        damaged[_region(sample.content, rng)] ^= 1 << int(rng.integers(8))
    return DamagedFile(bytes(damaged), f"{count} bits flipped")


def overwrite(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Overwrites a run of bytes with zeros, ones or noise."""
    start, length = _region(sample.content, rng), int(2 ** rng.uniform(0, 13))
    run = pick(rng, (bytes(length), b"\xff" * length, rng.bytes(length)))
    damaged = (sample.content[:start] + run + sample.content[start + length :])[
        : len(sample.content)
    ]
    return DamagedFile(damaged, f"{length} bytes overwritten at {start}")


def truncate(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Keeps the start or the end of the file only."""
    cut = pick(rng, (_region(sample.content, rng), int(rng.integers(0, 64))))
    kept = pick(rng, (sample.content[:cut], sample.content[cut + 1 :]))
    return DamagedFile(kept, f"cut at {cut}, {len(kept)} bytes kept")


def insert(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Inserts bytes anywhere, in front and behind included."""
    total = len(sample.content)
    at = pick(rng, (0, total, _region(sample.content, rng), total - END.size))
    added = rng.bytes(int(2 ** rng.uniform(0, 12)))
    return DamagedFile(
        sample.content[:at] + added + sample.content[at:], f"{len(added)} bytes at {at}"
    )


def delete(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Takes out bytes anywhere."""
    at, length = _region(sample.content, rng), int(2 ** rng.uniform(0, 12))
    kept = sample.content[:at] + sample.content[at + length :]
    return DamagedFile(kept, f"{length} bytes taken out at {at}")


def swap_blocks(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Swaps two blocks, as a file system does that mixes up its sectors."""
    size = pick(rng, (16, 512, 4096))
    blocks = [sample.content[i : i + size] for i in range(0, len(sample.content), size)]
    one, other = (int(rng.integers(len(blocks))) for _ in range(2))
    blocks[one], blocks[other] = blocks[other], blocks[one]
    return DamagedFile(b"".join(blocks), f"blocks {one} and {other} of {size} bytes swapped")


def member_missing(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Leaves a member out, or only out of the directory."""
    items = entries(sample.members)
    lost, hidden = int(rng.integers(len(items))), bool(rng.integers(2))
    name = items[lost].name.decode()
    if hidden:
        items[lost].hidden = True
    else:
        del items[lost]
    return DamagedFile(build_zip(items), f"{name} missing, {hidden=}")


def member_added(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Adds members that the manifest does not list, or empties the whole zip."""
    if rng.random() < 0.1:
        return DamagedFile(build_zip([]), "no members at all")
    names = ("check/99999.jpg", "calibration/99999.jpg", "x.py", "weights.pickle", "setup/x.cfg")
    items = entries(sample.members)
    name = pick(rng, names)
    items.insert(int(rng.integers(len(items) + 1)), Entry(name.encode(), rng.bytes(50)))
    return DamagedFile(build_zip(items), f"{name} added")


def member_doubled(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Stores a name twice, with the same or other content."""
    items = entries(sample.members)
    twin = pick(rng, items)
    data = pick(rng, (twin.data, b"", rng.bytes(len(twin.data))))
    items.insert(int(rng.integers(len(items) + 1)), Entry(twin.name, data))
    return DamagedFile(build_zip(items), f"{twin.name.decode()} twice, same={data == twin.data}")


def member_renamed(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Renames a member in the directory, before its data, or in both."""
    items = entries(sample.members)
    item = pick(rng, items)
    name, where = pick(rng, EVIL_NAMES), int(rng.integers(3))
    old, raw = item.name, name.encode()
    item.name, item.local_name = ((raw, raw), (raw, old), (old, raw))[where]
    item.flags = pick(rng, (0, 0x800))
    return DamagedFile(build_zip(items), f"{old.decode()} renamed {name[:40]!r}, {where=}")


def member_swapped(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Gives two members each other's content, with the right CRCs."""
    items = entries(sample.members)
    one, other = pick(rng, items), pick(rng, items)
    one.data, other.data = other.data, one.data
    return DamagedFile(build_zip(items), f"content of {one.name!r} and {other.name!r} swapped")


@lru_cache(maxsize=1)
def _deflated_zeros() -> tuple[bytes, int]:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(bytes(ZEROS)) + packer.flush(), zlib.crc32(bytes(ZEROS))


def compressed(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Compresses a member, truthfully, or as a bomb that claims any size, or nested."""
    items = entries(sample.members)
    item, shape = pick(rng, items), int(rng.integers(4))
    size = len(item.data)
    if shape == 0:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        item.data, item.crc = packer.compress(item.data) + packer.flush(), zlib.crc32(item.data)
        item.method, item.sizes = 8, (len(item.data), size)
    elif shape == 1:
        item.data, item.crc = _deflated_zeros()
        claimed = pick(rng, (*SIZES, size, len(item.data), ZEROS))
        item.method, item.sizes = pick(rng, (0, 8, 8)), (len(item.data), claimed)
    elif shape == 2:
        item.method = pick(rng, METHODS)
    else:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as nested:
            nested.writestr(zipfile.ZipInfo("manifest.json"), bytes(2**20), zipfile.ZIP_DEFLATED)
        item.data = stream.getvalue()
    item.local_sizes = item.sizes
    return DamagedFile(build_zip(items), f"{item.name.decode()} compressed, {shape=} {item.sizes}")


def flagged(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Sets general purpose flags: encrypted, strongly encrypted, masked, streamed, any."""
    items = entries(sample.members)
    item = pick(rng, items)
    item.flags = pick(rng, (1, 0x41, 0x2001, 8, 0x20, 0x800, int(rng.integers(1, 0x10000))))
    return DamagedFile(build_zip(items), f"{item.name.decode()} has flags {item.flags:#x}")


def lying_sizes(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Lies about sizes, CRC or offset, in the directory or before the data."""
    items = entries(sample.members)
    item, field = pick(rng, items), int(rng.integers(5))
    size = len(item.data)
    lie = pick(rng, (*SIZES, max(0, size - 1), size + 1, int(rng.integers(0, 2 * size + 2))))
    if field == 0:
        item.sizes = pick(rng, ((lie, lie), (size, lie), (lie, size)))
    elif field == 1:
        item.local_sizes = pick(rng, ((lie, lie), (size, lie), (lie, size)))
    elif field == 2:
        item.crc = lie
    elif field == 3:
        item.offset = lie
    else:
        item.sizes = item.local_sizes = (lie, lie)
    return DamagedFile(build_zip(items), f"{item.name.decode()}: {field=} says {lie}, {size=}")


def overlapping(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Makes members share their bytes (Fifield, "A better zip bomb", WOOT 2019)."""
    items = entries(sample.members)
    one, other = (int(rng.integers(len(items))) for _ in range(2))
    offsets = [sum(len(item.local()) for item in items[:index]) for index in range(len(items))]
    if rng.integers(2):
        items[one].offset, items[one].data = offsets[other], items[other].data
    else:  # the one member quotes the header and the data of the next
        quoted = b"".join(item.local() for item in items[one + 1 :])
        total = len(items[one].data) + len(quoted)
        items[one].sizes = items[one].local_sizes = (total, total)
        items[one].crc = zlib.crc32(items[one].data + quoted)
    return DamagedFile(build_zip(items), f"members {one} and {other} overlap")


def end_record(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Lies in the end record: disks, counts, size, offset, comment."""
    body, end = sample.content[: -END.size], list(END.unpack(sample.content[-END.size :]))
    for _ in range(int(rng.integers(1, 4))):
        field = int(rng.integers(1, 8))
        wide = field in (5, 6)
        near = int(end[field]) + int(rng.integers(-50, 50))
        lie = pick(rng, (*SIZES, near, int(rng.integers(0, 2**32))))
        end[field] = lie % (2**32 if wide else 2**16)
    comment = bytes(end[7] if end[7] < 2000 and rng.integers(2) else 0)
    return DamagedFile(body + END.pack(*end) + comment, f"end record {end[1:]}")


def zip64(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Adds a zip64 end record, which zip readers believe more than the plain one."""
    items = entries(sample.members)
    directory = b"".join(item.central(0) for item in items)
    offset = sum(len(item.local()) for item in items)
    numbers = (0, 1, len(items), 2**32, 2**40, 2**62, 2**63 - 1, 2**64 - 1)
    size = pick(rng, (len(directory), *numbers))
    where = pick(rng, (offset, *numbers))
    count = pick(rng, (len(items), *numbers))
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, where)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, offset + len(directory), 1)
    content = build_zip(items, record + locator)
    if rng.integers(2):  # the plain record is as honest as it can be beside the other
        end = END.unpack(content[-END.size :])
        content = content[: -END.size] + END.pack(*end[:5], len(directory), *end[6:])
    return DamagedFile(content, f"zip64 end record: {count=} {size=} {where=}")


def extras(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Adds extra fields and comments, among them zip64 sizes and another Unicode name."""
    items = entries(sample.members)
    item = pick(rng, items)
    name = pick(rng, EVIL_NAMES).encode()[:200]
    unicode_path = struct.pack("<BL", 1, zlib.crc32(item.name)) + name
    field = pick(
        rng,
        (
            struct.pack("<2H3Q", 1, 24, *(pick(rng, (*SIZES, 2**40, 2**64 - 1)) for _ in range(3))),
            struct.pack("<2H", 0x7075, len(unicode_path)) + unicode_path,
            struct.pack("<2H", 0x5455, 60_000),
            rng.bytes(int(rng.integers(1, 40))),
        ),
    )
    where = int(rng.integers(4))
    item.extra = field if where in (0, 2) else b""
    item.local_extra = field if where in (1, 2) else b""
    item.comment = rng.bytes(int(rng.integers(1, 3000))) if where == 3 else b""
    if where in (0, 2) and rng.integers(2):
        item.sizes, item.offset = (0xFFFFFFFF, 0xFFFFFFFF), 0xFFFFFFFF
    return DamagedFile(build_zip(items), f"{item.name.decode()} has extra fields, {where=}")


@lru_cache(maxsize=4)
def _flood(count: int, distinct: bool) -> bytes:
    name = b"a/%05d.b" if distinct else b"a.b"
    return build_zip([Entry(name % index if distinct else name, b"") for index in range(count)])


def directory_flood(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Fills the directory of an otherwise empty zip, and lies about its number of entries."""
    count, distinct = pick(rng, ((19_000, True), (60_000, False), (30_000, True), (200, True)))
    content = _flood(count, distinct)
    end = list(END.unpack(content[-END.size :]))
    end[3] = end[4] = pick(rng, (count & 0xFFFF, 1, 15, 20_000, 20_001, 65_535))
    return DamagedFile(
        content[: -END.size] + END.pack(*end), f"{count} members, said to be {end[4]}"
    )


DAMAGES: dict[str, Damage] = {
    damage.__name__: damage
    for damage in (
        bit_flip, bit_flips, overwrite, truncate, insert, delete, swap_blocks, member_missing,
        member_added, member_doubled, member_renamed, member_swapped, compressed, flagged,
        lying_sizes, overlapping, end_record, zip64, extras, directory_flood,
    )
}  # fmt: skip
