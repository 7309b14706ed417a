"""Bundles are opened only where their signature says what is wanted, before anything is parsed."""

from __future__ import annotations

import builtins
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.trust.signing import DAY_S, SIGNED_S, Keys, signed
from tofa_edge.bundle import bundle as bundle_module
from tofa_edge.bundle.archive import Archive
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.errors import BundleError, TrustError
from tofa_edge.selftest.small_bundle import small_bundle
from tofa_edge.trust.envelope import read_envelope
from tofa_edge.trust.sign import add_signatures
from tofa_edge.trust.trust import Trust, envelope_path


def test_a_signed_bundle_is_opened_and_whole(bundle: Path, keys: Keys) -> None:
    signed(bundle, keys.of("first"))
    Bundle.open(bundle, Trust(keys.publics("first"))).verify()


@pytest.mark.parametrize(
    ("about", "trust", "reason"),
    [
        ({"counter": 4}, {"least_counter": 5}, "older than allowed: its counter is 4, and 5"),
        ({"counter": 4}, {"counters": {"parts": 9}}, "its counter is 4, and 9 is the least"),
        ({"expires_s": SIGNED_S + DAY_S}, {}, "expired 2025-06-16"),
        ({"channel": "test"}, {"channel": "stable"}, "signed for the channel 'test'"),
        ({"name": "other"}, {"name": "parts"}, "signed for the name 'other'"),
    ],
)
def test_what_is_not_wanted_is_refused(
    bundle: Path, keys: Keys, about: dict[str, Any], trust: dict[str, Any], reason: str
) -> None:
    signed(bundle, keys.of("first"), **about)
    wanted = Trust(keys.publics("first"), **trust)
    with pytest.raises(TrustError, match=reason):
        Bundle.open(bundle, wanted)
    fitting = {"counter": 9, "expires_s": None, "channel": "stable", "name": "parts"}
    signed(bundle, keys.of("first"), **fitting)
    assert Bundle.open(bundle, wanted).classes


def test_nothing_is_parsed_or_read_before_the_signature_is_right(
    bundle: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed(bundle, keys.of("second"))
    read: list[str] = []
    whole = Archive.read

    def reading(self: Archive, name: str, most_bytes: int) -> bytes:
        read.append(name)
        return whole(self, name, most_bytes)

    def parsed(*_: object) -> None:
        raise AssertionError("the manifest was parsed")

    monkeypatch.setattr(Archive, "read", reading)
    monkeypatch.setattr(bundle_module, "read_manifest", parsed)
    with pytest.raises(TrustError, match="signatures of 1 of 1 trusted keys"):
        Bundle.open(bundle, Trust(keys.publics("first")))
    assert read == ["manifest.json"]
    with pytest.raises(AssertionError, match="was parsed"):
        Bundle.open(bundle, Trust(keys.publics("second")))


def test_a_threshold_counts_different_keys(bundle: Path, keys: Keys) -> None:
    trust = Trust(keys.publics("first", "second", "third"), threshold=2)
    digest = signed(bundle, keys.of("first", "first")).digest
    with pytest.raises(TrustError, match="signatures of 2 of 3"):
        Bundle.open(bundle, trust)
    with pytest.raises(TrustError, match="is of another bundle"):
        add_signatures(envelope_path(bundle), "0" * 64, keys.of("third"))
    assert add_signatures(envelope_path(bundle), digest, keys.of("third")).counter == 5
    assert Bundle.open(bundle, trust).classes
    with pytest.raises(TrustError, match="stands twice"):
        Trust(keys.publics("first", "first"), threshold=2)


def test_an_envelope_of_another_bundle_is_refused(tmp_path: Path, bundle: Path, keys: Keys) -> None:
    other = tmp_path / "other.tofa"
    small_bundle(other, seed=1, calibration_photos=2, check_photos=2)
    signed(other, keys.of("first"))
    shutil.copy(envelope_path(other), envelope_path(bundle))
    with pytest.raises(TrustError, match="it is of another bundle"):
        Bundle.open(bundle, Trust(keys.publics("first")))


@pytest.mark.parametrize(
    "change",
    [
        lambda value: {**value, "payloadType": "application/vnd.tofa-edge.deny+json"},
        lambda value: {**value, "more": 1},
        lambda value: {**value, "signatures": []},
        lambda value: {**value, "signatures": value["signatures"] * 2},
        lambda value: {**value, "signatures": value["signatures"] * 40},
        lambda value: {**value, "payload": value["payload"][4:]},
        lambda value: {**value, "payload": 3},
        lambda value: [value],
    ],
)
def test_a_changed_envelope_is_refused(
    bundle: Path, keys: Keys, change: Callable[[Any], Any]
) -> None:
    signed(bundle, keys.of("first"))
    place = envelope_path(bundle)
    place.write_text(json.dumps(change(json.loads(place.read_text()))))
    with pytest.raises(TrustError, match=r"\A[^\n]+\Z"):
        Bundle.open(bundle, Trust(keys.publics("first")))


@pytest.mark.parametrize("what", ["missing", "pipe", "folder", "large", "deep", "twice"])
def test_an_envelope_that_is_none_is_refused(bundle: Path, keys: Keys, what: str) -> None:
    signed(bundle, keys.of("first"))
    place = envelope_path(bundle)
    text = place.read_text()
    place.unlink()
    if what == "pipe":
        os.mkfifo(place)
    elif what == "folder":
        place.mkdir()
    elif what != "missing":
        twice = text.replace('"payloadType"', '"payload": "", "payloadType"', 1)
        contents = {"large": " " * 2**20 + text, "deep": "[" * 60_000, "twice": twice}
        place.write_text(contents[what])
    with pytest.raises(TrustError):
        Bundle.open(bundle, Trust(keys.publics("first")))


def test_a_clock_that_was_never_set_does_not_extend_a_bundle(bundle: Path, keys: Keys) -> None:
    expires = SIGNED_S + DAY_S
    signed(bundle, keys.of("first"), expires_s=expires)
    digest, public = Bundle.open(bundle).digest, keys.publics("first")
    assert Trust(public).check(bundle, digest, now_s=12.0).counter == 5, "in 1970, nothing seen"
    with pytest.raises(TrustError, match="by the newest signed time seen"):
        Trust(public, newest_s=expires + 1.0).check(bundle, digest, now_s=12.0)
    with pytest.raises(TrustError, match="by the clock"):
        Trust(public).check(bundle, digest, now_s=expires)
    assert Trust(public, newest_s=SIGNED_S).check(bundle, digest, now_s=expires - 1)


def test_an_engine_computes_the_bundle_that_was_checked(tmp_path: Path, bundle: Path) -> None:
    opened = Bundle.open(bundle)
    other = tmp_path / "other.tofa"
    small_bundle(other, seed=1, calibration_photos=2, check_photos=2)
    with bundle.open("r+b") as file:  # in place, so that the descriptor reads it
        file.truncate(0)
        file.write(other.read_bytes())
    with pytest.raises(BundleError, match="overwritten while it was in use"):
        Bundle.from_descriptor(opened.descriptor, bundle, opened.digest)
    assert Bundle.from_descriptor(opened.descriptor, bundle).digest != opened.digest


def test_a_link_leads_to_the_envelope_beside_what_it_points_to(
    tmp_path: Path, bundle: Path, keys: Keys
) -> None:
    signed(bundle, keys.of("first"))
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "active"
    link.symlink_to(bundle)
    opened = Bundle.open(link, Trust(keys.publics("first")))
    assert opened.path == link


def test_what_is_signed_is_what_dsse_says(bundle: Path, keys: Keys) -> None:
    """The signature is over the pre-authentication encoding, checked without our own code."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    signed(bundle, keys.of("first"))
    found = read_envelope(envelope_path(bundle).read_bytes(), "it")
    kind, payload = found.kind.encode(), found.payload
    encoded = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    (signature,) = found.signatures.values()
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(keys.public["first"]))
    public.verify(signature, encoded)


def test_without_the_extra_one_sentence_says_what_to_install(
    bundle: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed(bundle, keys.of("first"))
    whole = builtins.__import__

    def without(name: str, *rest: Any, **options: Any) -> Any:
        if name.startswith(("securesystemslib", "cryptography")):
            raise ImportError(name)
        return whole(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(TrustError, match=r"pip install 'tofa-edge\[trust\]'"):
        Bundle.open(bundle, Trust(keys.publics("first")))
    assert Bundle.open(bundle).classes, "unsigned, without a policy"


def test_opening_without_a_policy_imports_no_extra(bundle: Path) -> None:
    code = (
        "import sys; from tofa_edge.bundle.bundle import Bundle; Bundle.open(sys.argv[1]); "
        "assert not {'securesystemslib', 'cryptography'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(bundle)], check=True)
