"""Ed25519 keys: a private one in a PEM file of its owner alone, a public one as 64 letters of hex.

What signs and verifies comes with the extra `trust`, and is imported when it is first needed.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from tofa_edge.errors import TrustError
from tofa_edge.storage.files import one_line, whole_file
from tofa_edge.trust.reading import read_bounded

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner, SSlibKey

PUBLIC = re.compile(r"[0-9a-f]{64}", re.ASCII)
MOST_KEYS = 16
MOST_KEY_BYTES = 4096


def generate_key(private: Path, public: Path) -> str:
    """Makes a key and writes both halves, each file new or not at all.

    Args:
        private: path of the PEM file (PKCS #8, not encrypted), which its owner alone can read.
        public: path of the text file with the public half.

    Returns:
        The public key in hexadecimal.

    Raises:
        TrustError: a file exists or cannot be written, or the extra `trust` is not installed.
    """
    need_extra()
    from securesystemslib.signer import CryptoSigner

    signer = CryptoSigner.generate_ed25519()
    text = str(signer.public_key.keyval["public"])
    try:
        for path in (private, public):
            if path.exists():
                raise FileExistsError(f"{path} exists: choose another name")
        with whole_file(private, private=True, overwrite=False) as stream:
            stream.write(signer.private_bytes)
            stream.flush()
            os.fsync(stream.fileno())  # before the public half, which devices may have by then
        with whole_file(public, overwrite=False) as stream:
            stream.write(f"{text}\n".encode())
    except OSError as error:
        raise TrustError(f"the key was not written: {one_line(error)}") from error
    return text


def read_signer(path: Path) -> CryptoSigner:
    """Returns what signs with the private key in a file.

    Raises:
        TrustError: it cannot be read, is no Ed25519 key, or the extra `trust` is not installed.
    """
    need_extra()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner

    content = read_bounded(path, MOST_KEY_BYTES)
    try:
        key = load_pem_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise TrustError(
            f"{path}: wanted a private key without a password, as keygen writes: {one_line(error)}"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise TrustError(f"{path}: wanted an Ed25519 key, as keygen writes; got another kind")
    return CryptoSigner(key)


def read_public(path: Path) -> str:
    """Returns the public key in a file, in hexadecimal.

    Raises:
        TrustError: it cannot be read or holds no public key.
    """
    text = read_bounded(path, MOST_KEY_BYTES).decode("ascii", "replace").strip()
    checked_keys((text,), 1, str(path))
    return text


def verifying_key(public: str) -> SSlibKey:
    """Returns a `public` key, given in hexadecimal, as what verifies; its id follows from it."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from securesystemslib.signer import SSlibKey

    return SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)))


def checked_keys(keys: tuple[str, ...], threshold: int, where: str) -> None:
    """Checks public keys and how many of them must have signed.

    Args:
        keys: in hexadecimal.
        threshold: how many of them must have signed.
        where: they stand, for the message.

    Raises:
        TrustError: there is none or too many, one is no key or stands twice, or the threshold is
            not within their number.
    """
    if not 1 <= len(keys) <= MOST_KEYS:
        raise TrustError(f"{where}: wanted 1 to {MOST_KEYS} keys, got {len(keys)}")
    for key in keys:
        if not isinstance(key, str) or not PUBLIC.fullmatch(key):
            wanted = "wanted a public key, 64 letters of hexadecimal as keygen writes"
            raise TrustError(f"{where}: {wanted}; got {key!r:.40}")
    if len(set(keys)) != len(keys):
        raise TrustError(f"{where}: a key stands twice, and would count twice; remove one")
    if type(threshold) is not int or not 1 <= threshold <= len(keys):
        raise TrustError(f"{where}: wanted a threshold of 1 to {len(keys)}, got {threshold!r:.20}")


def need_extra() -> None:
    """Checks that what signs and verifies is installed.

    Raises:
        TrustError: it is not.
    """
    try:
        import cryptography  # noqa: F401
        import securesystemslib.dsse  # noqa: F401
    except ImportError as error:
        raise TrustError(
            "signatures want securesystemslib and cryptography: pip install 'tofa-edge[trust]'"
        ) from error
