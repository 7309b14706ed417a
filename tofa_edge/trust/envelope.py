"""DSSE envelopes: a payload, what kind it is of, and signatures of both.

The payload is parsed only after enough signatures are right: see
https://github.com/secure-systems-lab/dsse/blob/master/protocol.md.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tofa_edge.errors import TrustError
from tofa_edge.storage.files import one_line
from tofa_edge.trust.keys import MOST_KEYS, need_extra, verifying_key
from tofa_edge.trust.reading import strict_json

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

MOST_ENVELOPE_BYTES = 4 * 2**20  # a deny-list of 20,000 bundles takes less
FIELDS = {"payload", "payloadType", "signatures"}
SIGNATURE_FIELDS = {"keyid", "sig"}


@dataclass(frozen=True, slots=True)
class SignedPayload:
    """An envelope that is well-formed; nothing in it is believed yet.

    Attributes:
        kind: of the payload, a media type.
        payload: that was signed.
        signatures: by the id of the key.
    """

    kind: str
    payload: bytes
    signatures: dict[str, bytes]

    def to_bytes(self) -> bytes:
        """Returns it as JSON, as DSSE writes it."""
        signatures = [
            {"keyid": keyid, "sig": base64.b64encode(signature).decode()}
            for keyid, signature in sorted(self.signatures.items())
        ]
        value = {
            "payload": base64.b64encode(self.payload).decode(),
            "payloadType": self.kind,
            "signatures": signatures,
        }
        return json.dumps(value, indent=1).encode() + b"\n"


def read_envelope(content: bytes, where: str) -> SignedPayload:
    """Returns an envelope, well-formed and not yet verified.

    Args:
        content: of its file.
        where: it is from, for the message.

    Raises:
        TrustError: it is none.
    """
    try:
        return _parsed(strict_json(content))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise TrustError(
            f"{where}: no DSSE envelope as tofa-edge writes it ({one_line(error)}): sign it again"
        ) from error


def _parsed(value: Any) -> SignedPayload:
    if not isinstance(value, dict) or value.keys() != FIELDS:
        raise ValueError(f"wanted the fields {', '.join(sorted(FIELDS))}")
    listed, kind = value["signatures"], value["payloadType"]
    if not isinstance(kind, str) or not isinstance(listed, list) or len(listed) > MOST_KEYS:
        raise ValueError(f"wanted a list of at most {MOST_KEYS} signatures")
    signatures: dict[str, bytes] = {}
    for item in listed:
        if not isinstance(item, dict) or item.keys() != SIGNATURE_FIELDS:
            raise ValueError("wanted keyid and sig of each signature")
        keyid = item["keyid"]
        if not isinstance(keyid, str) or keyid in signatures:
            raise ValueError("wanted one signature of each key")
        signatures[keyid] = _decoded(item["sig"])
    return SignedPayload(kind, _decoded(value["payload"]), signatures)


def _decoded(text: object) -> bytes:
    if not isinstance(text, str):
        raise ValueError("wanted base64")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"wanted base64: {error}") from error


def verified(
    signed: SignedPayload, kind: str, keys: Sequence[str], threshold: int, where: str
) -> bytes:
    """Returns the payload of an envelope after enough of the keys were found to have signed it.

    Args:
        signed: the envelope.
        kind: that the payload must be of.
        keys: public ones, in hexadecimal, each once.
        threshold: how many of them must have signed.
        where: it is from, for the message.

    Raises:
        TrustError: it is of another kind, too few of the keys have signed it, or the extra `trust`
            is not installed.
    """
    need_extra()
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import Signature

    if signed.kind != kind:
        raise TrustError(f"{where}: wanted {kind}, this is {one_line(signed.kind)}; refused")
    signatures = {k: Signature(k, each.hex()) for k, each in signed.signatures.items()}
    envelope = Envelope(signed.payload, signed.kind, signatures)
    try:
        envelope.verify([verifying_key(key) for key in keys], threshold)
    except (VerificationError, ValueError) as error:
        raise TrustError(
            f"{where}: wanted the signatures of {threshold} of {len(keys)} trusted keys, and fewer "
            "are right: get it from who signs for this device"
        ) from error
    return signed.payload


def signed_by(
    kind: str,
    payload: bytes,
    signers: Sequence[CryptoSigner],
    existing: SignedPayload | None = None,
) -> SignedPayload:
    """Returns a payload with the signatures of `signers`, beside those of an `existing` envelope.

    Args:
        kind: of the payload.
        payload: to sign.
        signers: each signs once.
        existing: an envelope of the same payload.
    """
    from securesystemslib.dsse import Envelope

    envelope = Envelope(payload, kind, {})
    for signer in signers:
        envelope.sign(signer)
    new = {keyid: bytes.fromhex(each.signature) for keyid, each in envelope.signatures.items()}
    return SignedPayload(kind, payload, {**(existing.signatures if existing else {}), **new})
