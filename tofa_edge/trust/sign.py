"""Signing on the host: statements about bundles, keys that follow keys, deny-lists."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tofa_edge.errors import TrustError
from tofa_edge.storage.files import one_line, whole_file
from tofa_edge.trust.envelope import MOST_ENVELOPE_BYTES, SignedPayload, read_envelope, signed_by
from tofa_edge.trust.keys import need_extra, read_signer
from tofa_edge.trust.reading import read_bounded
from tofa_edge.trust.statements import (
    BundleStatement,
    DenyList,
    Statement,
    payload_of,
    read_statement,
)


def write_signed(
    path: Path, statement: Statement, keys: Sequence[Path], overwrite: bool = False
) -> None:
    """Writes an envelope: a statement signed by private keys, whole or not at all.

    Args:
        path: of the envelope.
        statement: to sign.
        keys: paths of private keys.
        overwrite: whether an envelope of that name may be replaced.

    Raises:
        TrustError: a key cannot be read, the statement is out of its ranges, or the file exists or
            cannot be written.
    """
    need_extra()
    signers = [read_signer(key) for key in keys]
    if not signers:
        raise TrustError("wanted at least one private key to sign with: --key")
    _write(path, signed_by(statement.KIND, payload_of(statement), signers), overwrite)


def add_signatures(path: Path, digest: str, keys: Sequence[Path]) -> BundleStatement:
    """Adds signatures to the envelope of a bundle; what it says stays.

    The signatures that it has are not checked: who signs must agree with what is returned.

    Args:
        path: of the envelope, which is replaced.
        digest: of the bundle.
        keys: paths of private keys.

    Returns:
        What was signed.

    Raises:
        TrustError: the envelope or a key cannot be read, it is not of this bundle, or it cannot be
            written.
    """
    need_extra()
    signers = [read_signer(key) for key in keys]
    found = _of_kind(path, BundleStatement.KIND)
    statement = read_statement(BundleStatement, found.payload, str(path))
    if statement.digest != digest:
        raise TrustError(f"{path} is of another bundle: sign this one without --add")
    _write(path, signed_by(found.kind, found.payload, signers, found), overwrite=True)
    return statement


def listed(path: Path) -> DenyList:
    """Returns a deny-list, without a check of its signatures, to make the next one of it.

    Raises:
        TrustError: it cannot be read, or is none.
    """
    found = _of_kind(path, DenyList.KIND)
    return read_statement(DenyList, found.payload, str(path))


def _of_kind(path: Path, kind: str) -> SignedPayload:
    found = read_envelope(read_bounded(path, MOST_ENVELOPE_BYTES), str(path))
    if found.kind != kind:
        raise TrustError(f"{path}: wanted {kind}, this is {one_line(found.kind)}")
    return found


def _write(path: Path, signed: SignedPayload, overwrite: bool) -> None:
    if os.path.lexists(path) and not overwrite:
        raise TrustError(f"{path} exists: choose another name, or --force")
    try:
        with whole_file(path, overwrite=overwrite) as stream:
            stream.write(signed.to_bytes())
    except OSError as error:
        raise TrustError(f"{path}: cannot be written: {one_line(error)}") from error
