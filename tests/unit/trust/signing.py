"""Signs for tests, with keys made for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tofa_edge.bundle.archive import Archive
from tofa_edge.bundle.manifest import MANIFEST, sha256
from tofa_edge.trust.keys import generate_key
from tofa_edge.trust.sign import write_signed
from tofa_edge.trust.statements import BundleStatement
from tofa_edge.trust.trust import envelope_path

SIGNED_S = 1_750_000_000
DAY_S = 86_400


@dataclass(frozen=True)
class Keys:
    """Pairs of keys by name: paths of private ones, and public ones in hexadecimal."""

    private: dict[str, Path]
    public: dict[str, str]

    @staticmethod
    def made(folder: Path, *names: str) -> Keys:
        folder.mkdir()
        private = {name: folder / f"{name}.key" for name in names}
        public = {name: generate_key(private[name], folder / f"{name}.pub") for name in names}
        return Keys(private, public)

    def of(self, *names: str) -> list[Path]:
        return [self.private[name] for name in names]

    def publics(self, *names: str) -> tuple[str, ...]:
        return tuple(self.public[name] for name in names)


def statement_of(
    bundle: Path,
    *,
    name: str = "parts",
    counter: int = 5,
    channel: str = "stable",
    signed_s: int = SIGNED_S,
    expires_s: int | None = None,
) -> BundleStatement:
    content = Archive.open(bundle).read(MANIFEST, 2**20)  # whatever a policy says
    digest = sha256(content)
    return BundleStatement(name, digest, counter, channel, signed_s, expires_s)


def signed(bundle: Path, keys: list[Path], **about: object) -> BundleStatement:
    """Writes the envelope beside a bundle."""
    statement = statement_of(bundle, **about)  # type: ignore[arg-type]
    write_signed(envelope_path(bundle), statement, keys, overwrite=True)
    return statement
