"""A device's policy: keys that follow keys, deny-lists, counters, and files that prove nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.unit.trust.signing import DAY_S, SIGNED_S, Keys, signed
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.errors import TrustError
from tofa_edge.trust.policy import (
    VARIABLE,
    DeviceTrust,
    Policy,
    device_trust,
    read_policy,
    trust_of,
)
from tofa_edge.trust.sign import write_signed
from tofa_edge.trust.statements import DenyList, KeyStatement


@pytest.fixture
def policy(tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A policy that trusts the first key, named by the environment."""
    path = tmp_path / "trust.json"
    path.write_text(
        json.dumps({"keys": keys.publics("first"), "state": str(tmp_path / "state" / "trust")})
    )
    path.chmod(0o644)
    monkeypatch.setenv(VARIABLE, str(path))
    return path


def device(policy: Path) -> DeviceTrust:
    return DeviceTrust(read_policy(policy))


def rotated(path: Path, keys: Keys, by: str, to: str, counter: int) -> Path:
    statement = KeyStatement(keys.publics(to), 1, counter, SIGNED_S)
    write_signed(path, statement, keys.of(by))
    return path


def denied(path: Path, keys: Keys, by: str, counter: int, *digests: str, at_s: int = 0) -> Path:
    write_signed(path, DenyList(digests, counter, at_s or SIGNED_S), keys.of(by))
    return path


@pytest.mark.usefixtures("policy")
def test_every_opening_follows_the_policy(bundle: Path, keys: Keys) -> None:
    with pytest.raises(TrustError, match="not signed"):
        Bundle.open(bundle)
    signed(bundle, keys.of("first"))
    assert Bundle.open(bundle).classes
    signed(bundle, keys.of("second"))
    with pytest.raises(TrustError, match="trusted keys"):
        Bundle.open(bundle)


def test_keys_follow_keys_in_order(tmp_path: Path, bundle: Path, keys: Keys, policy: Path) -> None:
    second = rotated(tmp_path / "1", keys, "first", "second", 1)
    third = rotated(tmp_path / "2", keys, "second", "third", 2)
    with pytest.raises(TrustError, match="trusted keys"):
        device(policy).accept(third)
    device(policy).accept(second)
    with pytest.raises(TrustError, match="trusted keys"):
        device(policy).accept(rotated(tmp_path / "old", keys, "first", "first", 2))
    with pytest.raises(TrustError, match="and 2 is the next"):
        device(policy).accept(rotated(tmp_path / "gap", keys, "second", "third", 3))
    device(policy).accept(third)
    signed(bundle, keys.of("first", "second"))
    with pytest.raises(TrustError, match="trusted keys"):
        Bundle.open(bundle)
    signed(bundle, keys.of("third"))
    assert Bundle.open(bundle).classes


def test_a_revoked_bundle_is_refused_and_the_list_cannot_be_replayed(
    tmp_path: Path, bundle: Path, keys: Keys, policy: Path
) -> None:
    signed(bundle, keys.of("first"))
    digest = Bundle.open(bundle).digest
    empty = denied(tmp_path / "1", keys, "first", 1)
    device(policy).accept(empty)
    assert Bundle.open(bundle).classes
    device(policy).accept(denied(tmp_path / "2", keys, "first", 2, digest))
    with pytest.raises(TrustError, match="revoked by a signed deny-list"):
        Bundle.open(bundle)
    with pytest.raises(TrustError, match="counter 1, and 2 was accepted before"):
        device(policy).accept(empty)
    with pytest.raises(TrustError, match="counter 2, and 2 was accepted before"):
        device(policy).accept(denied(tmp_path / "same", keys, "first", 2))
    with pytest.raises(TrustError, match="trusted keys"):
        device(policy).accept(denied(tmp_path / "forged", keys, "second", 3))
    device(policy).accept(tmp_path / "2")  # the same again changes nothing
    device(policy).accept(rotated(tmp_path / "follow", keys, "first", "second", 1))
    signed(bundle, keys.of("second"))
    with pytest.raises(TrustError, match="revoked"):
        Bundle.open(bundle)
    with pytest.raises(TrustError, match="trusted keys"):
        device(policy).accept(denied(tmp_path / "former", keys, "first", 3))


def test_counters_of_good_bundles_and_signed_times_are_kept(
    tmp_path: Path, bundle: Path, keys: Keys, policy: Path
) -> None:
    newer = signed(bundle, keys.of("first"), counter=7)
    device(policy).saw(newer, is_good=False)
    older = signed(bundle, keys.of("first"), counter=6)
    assert Bundle.open(bundle).classes, "the newer one has not proved good"
    device(policy).saw(newer, is_good=True)
    device(policy).saw(older, is_good=True)
    with pytest.raises(TrustError, match="its counter is 6, and 7 is the least"):
        Bundle.open(bundle)
    late = SIGNED_S + 100 * 365 * DAY_S
    device(policy).accept(denied(tmp_path / "late", keys, "first", 1, at_s=late))
    signed(bundle, keys.of("first"), counter=8, expires_s=late)
    with pytest.raises(TrustError, match="by the newest signed time seen it is 2125"):
        Bundle.open(bundle)


@pytest.mark.parametrize("name", ["keys-0001.dsse", "denied.dsse", "seen.json"])
def test_what_was_accepted_and_is_damaged_opens_nothing(
    tmp_path: Path, bundle: Path, keys: Keys, policy: Path, name: str
) -> None:
    statement = signed(bundle, keys.of("first"))
    device(policy).accept(denied(tmp_path / "1", keys, "first", 1))
    device(policy).accept(rotated(tmp_path / "2", keys, "first", "first", 1))
    device(policy).saw(statement, is_good=True)
    assert Bundle.open(bundle).classes
    stored = device(policy).folder / name
    stored.write_bytes(stored.read_bytes()[:-40])
    with pytest.raises(TrustError, match=name):
        Bundle.open(bundle)


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [
        ("{}", 0o644, "lacks the field 'keys'"),
        ("not JSON", 0o644, "damaged or no file of its kind"),
        ('{"keys": []}', 0o644, "wanted 1 to 16 keys"),
        ('{"keys": ["KEY"], "threshold": 2}', 0o644, "threshold of 1 to 1"),
        ('{"keys": ["KEY"], "schema": 2}', 0o644, "schema 2 is not 1"),
        ('{"keys": ["KEY"], "chanel": "x"}', 0o644, "no field 'chanel'"),
        ('{"keys": ["KEY"]}', 0o666, "others may write to it"),
        ('{"keys": ["KEY"], "state": "trust"}', 0o644, "whole path of a folder as state: 'trust'"),
        ('{"keys": ["KEY"], "state": ""}', 0o644, "whole path of a folder as state"),
    ],
)
def test_a_policy_that_is_wrong_opens_nothing(
    bundle: Path, keys: Keys, policy: Path, content: str, mode: int, reason: str
) -> None:
    signed(bundle, keys.of("first"))
    policy.write_text(content.replace("KEY", keys.public["first"]))
    policy.chmod(mode)
    with pytest.raises(TrustError, match=reason):
        Bundle.open(bundle)


def test_the_environment_names_a_policy_only_where_the_system_has_none(
    tmp_path: Path, keys: Keys, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = tmp_path / "system.json"
    system.write_text(json.dumps({"keys": keys.publics("second"), "state": str(tmp_path / "s")}))
    system.chmod(0o600)
    found = device_trust()
    assert found is not None
    assert found.keys == keys.publics("first")
    monkeypatch.setattr("tofa_edge.trust.policy.SYSTEM", system)
    found = device_trust()
    assert found is not None
    assert found.keys == keys.publics("second")
    policy.unlink()
    monkeypatch.setattr("tofa_edge.trust.policy.SYSTEM", tmp_path / "none")
    with pytest.raises(TrustError, match="cannot be read"):
        device_trust()
    monkeypatch.delenv(VARIABLE)
    assert device_trust() is None


def test_a_public_key_alone_is_a_trust(keys: Keys, policy: Path) -> None:
    assert trust_of(keys.private["second"].with_suffix(".pub")).keys == keys.publics("second")
    assert trust_of(policy).keys == keys.publics("first")
    assert Policy(keys.publics("first")).state.startswith("/var/lib/")


def test_a_policy_that_is_exchanged_while_it_is_read_is_judged_as_it_was(
    tmp_path: Path, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = tmp_path / "good.json"
    policy.rename(good)
    policy.write_bytes(good.read_bytes())
    policy.chmod(0o666)
    opened = os.open

    def exchanging(path: Any, *rest: Any, **options: Any) -> int:
        descriptor = opened(path, *rest, **options)
        if Path(path) == policy:
            policy.unlink()
            policy.symlink_to(good)
        return descriptor

    monkeypatch.setattr(os, "open", exchanging)
    with pytest.raises(TrustError, match="others may write to it"):
        read_policy(policy)


def test_where_everybody_may_remove_what_was_accepted_nothing_is_opened(
    tmp_path: Path, bundle: Path, keys: Keys, policy: Path
) -> None:
    signed(bundle, keys.of("first"))
    before = os.umask(0)
    try:
        device(policy).accept(denied(tmp_path / "1", keys, "first", 1))
    finally:
        os.umask(before)
    assert Bundle.open(bundle).classes, "the folder was made for its owner, whatever the umask"
    device(policy).folder.chmod(0o777)
    with pytest.raises(TrustError, match="everybody may write to it"):
        Bundle.open(bundle)
