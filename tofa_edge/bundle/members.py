"""The members of an opened bundle, each read and its hash checked when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from tofa_edge.bundle.archive import Archive
from tofa_edge.bundle.manifest import sha256
from tofa_edge.errors import BundleError
from tofa_edge.storage.files import one_line

MOST_HEADER_BYTES = 2**20


@dataclass(frozen=True, eq=False, slots=True)
class CheckedMembers:
    """What an archive holds beside the manifest.

    Attributes:
        archive: open.
        hashes: SHA-256 by name, in hexadecimal, as the manifest has them.
    """

    archive: Archive
    hashes: Mapping[str, str]

    def __contains__(self, name: str) -> bool:
        return name in self.hashes

    def photos(self, kind: str) -> list[str]:
        """Returns the names of the photos of a `kind`, "calibration" or "check", in order."""
        return sorted(name for name in self.hashes if name.startswith(f"{kind}/"))

    def read_each(self, names: Sequence[str], most_bytes: int) -> Iterator[bytes]:
        """Yields the content of each member named, of `most_bytes` at most.

        Raises:
            BundleError: one is missing, larger, or damaged.
        """
        contents = self.archive.read_each(names, most_bytes)
        for name, content in zip(names, contents, strict=True):
            if sha256(content) != self.hashes[name]:
                path = self.archive.path
                raise BundleError(f"{path}: {name} is damaged; copy the bundle again")
            yield content

    def tensors(self, name: str, most_bytes: int) -> dict[str, NDArray[Any]]:
        """Returns the arrays of a member, by name; `most_bytes` without their header.

        Raises:
            BundleError: it is missing, larger, or damaged.
        """
        path = self.archive.path
        (content,) = self.read_each([name], most_bytes + MOST_HEADER_BYTES)
        if int.from_bytes(content[:8], "little") > MOST_HEADER_BYTES:
            raise BundleError(f"{path}: the header of {name} is too long; refused")
        try:
            return dict(safetensors.numpy.load(content))
        except (safetensors.SafetensorError, KeyError, ValueError, TypeError) as error:
            raise BundleError(f"{path}: {name} is damaged: {one_line(error)}") from error

    def joined(
        self, main: str, apart: str, prefix: str, most_bytes: int
    ) -> dict[str, NDArray[Any]]:
        """Returns the arrays of two members, or of the first where there is no second.

        Args:
            main: the member of all other arrays.
            apart: the member of those whose names begin with the prefix; missing up to schema 2.
            prefix: of names.
            most_bytes: of each, without its header.

        Raises:
            BundleError: one is missing, larger, or damaged, or an array is in the wrong one.
        """
        arrays = self.tensors(main, most_bytes)
        if apart not in self:
            return arrays
        others = self.tensors(apart, most_bytes)
        wrong = [name for name in arrays if name.startswith(prefix)]
        wrong += [name for name in others if not name.startswith(prefix)]
        if wrong:
            path = self.archive.path
            raise BundleError(f"{path}: array {one_line(min(wrong))} is in the wrong member")
        return arrays | others
