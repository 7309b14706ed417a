"""A bundle in parts, its manifest and each other member: taken apart and put together."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tofa_edge.bundle.archive import Archive, write_archive
from tofa_edge.bundle.bundle import MOST_MANIFEST_BYTES
from tofa_edge.bundle.manifest import MANIFEST, read_manifest, sha256
from tofa_edge.errors import BundleError

HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)  # it becomes the name of a file


@dataclass(frozen=True, slots=True)
class PartList:
    """What a manifest lists.

    Attributes:
        digest: of the manifest, which is that of the bundle.
        hashes: SHA-256 of each other member by its name, in the file's order.
        sizes: of the same members, in bytes.
    """

    digest: str
    hashes: Mapping[str, str]
    sizes: Mapping[str, int]


def part_list(path: Path, manifest: bytes) -> PartList:
    """Returns what a `manifest`, whose signature should be checked before, lists.

    Args:
        path: of the bundle or manifest, for messages.
        manifest: the bytes of `manifest.json`.

    Raises:
        BundleError: it is no manifest, or its bundle would be refused.
    """
    sizes: dict[str, int] = {}
    with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
        listed = json.loads(manifest)["members"]
        sizes = {str(name): int(entry["size"]) for name, entry in listed.items()}
    hashes = read_manifest(path, manifest, sizes).hashes
    if not all(HASH.fullmatch(each) for each in hashes.values()):
        raise BundleError(f"{path}: its manifest has a hash that is none; refused")
    return PartList(sha256(manifest), hashes, sizes)


def manifest_of(path: Path) -> bytes:
    """Returns the manifest in a bundle, not checked in any way.

    Args:
        path: of the bundle.

    Raises:
        BundleError: the file is no archive as bundles are.
    """
    return Archive.open(path).read(MANIFEST, MOST_MANIFEST_BYTES)


def whole_parts(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yields hash and content of each member of a bundle, whatever its manifest says.

    Args:
        path: of the bundle; members that are damaged are left out.
    """
    with contextlib.suppress(BundleError):
        archive = Archive.open(path)
        for name, size in archive.sizes.items():
            with contextlib.suppress(BundleError):
                content = archive.read(name, size)
                yield sha256(content), content


def put_together(path: Path, manifest: bytes, members: Mapping[str, bytes]) -> None:
    """Writes a bundle of its parts; it is the one they were taken from, byte for byte.

    Args:
        path: of the bundle to write.
        manifest: the bytes of `manifest.json`.
        members: the others by name, in the manifest's order.

    Raises:
        BundleError: it cannot be written.
    """
    write_archive(path, {MANIFEST: manifest, **members})


def hash_of(content: bytes) -> str:
    """Returns the hash that `content` has in a manifest: SHA-256 in hexadecimal."""
    return sha256(content)
