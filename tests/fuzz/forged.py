"""What must be refused: envelopes forged, replayed or damaged, and statements for a device."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.unit.trust.signing import DAY_S, SIGNED_S, Keys, statement_of
from tofa_edge.selftest.small_bundle import small_bundle
from tofa_edge.trust.envelope import SignedPayload, signed_by
from tofa_edge.trust.keys import read_signer
from tofa_edge.trust.policy import DeviceTrust, Policy
from tofa_edge.trust.statements import DenyList, KeyStatement, Statement, payload_of
from tofa_edge.trust.trust import Trust

COUNTER = 5
NOW_S = SIGNED_S + 10 * DAY_S
Rng = np.random.Generator


@dataclass
class Place:
    """A bundle, keys that are trusted and not, and a device that has accepted something."""

    folder: Path
    keys: Keys
    bundle: Path
    other: Path
    device: DeviceTrust
    signers: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def made(folder: Path) -> Place:
        keys = Keys.made(folder / "keys", "one", "two", "three", "stranger")
        bundle, other = folder / "parts.tofa", folder / "other.tofa"
        for seed, path in enumerate((bundle, other)):
            small_bundle(path, seed=seed, calibration_photos=2, check_photos=2)
        policy = Policy(keys.publics("one", "two", "three"), 2, state=str(folder / "state"))
        place = Place(folder, keys, bundle, other, DeviceTrust(policy))
        place.signers = {name: read_signer(path) for name, path in keys.private.items()}
        accepted = folder / "accepted.dsse"
        accepted.write_bytes(place.envelope(DenyList((), COUNTER, SIGNED_S)).to_bytes())
        place.device.accept(accepted)
        return place

    def envelope(self, statement: Statement, *names: str, kind: str = "") -> SignedPayload:
        """Returns a statement signed by keys of these names; by default by enough of them."""
        signers = [self.signers[name] for name in names or ("one", "two")]
        return signed_by(kind or statement.KIND, payload_of(statement), signers)

    def trust(self) -> Trust:
        return replace(self.device.trust(), least_counter=COUNTER, channel="stable", name="parts")


def forged_signers(place: Place, rng: Rng) -> bytes:
    """Signed by too few, by a stranger, or by one under the name of another."""
    good = place.envelope(statement_of(place.bundle))
    bad = place.envelope(statement_of(place.bundle), "one", "stranger")
    ids, strangers = list(good.signatures), list(bad.signatures.values())
    choices = (
        place.envelope(statement_of(place.bundle), "one"),
        bad,
        replace(good, signatures={}),
        replace(good, signatures=dict(zip(ids, reversed(good.signatures.values()), strict=True))),
        replace(good, signatures=dict(zip(ids, strangers, strict=True))),
        replace(good, signatures={ids[0]: good.signatures[ids[0]], ids[1]: bytes(64)}),
        replace(good, signatures={**{ids[0]: good.signatures[ids[0]]}, "x": strangers[0]}),
    )
    return choices[int(rng.integers(len(choices)))].to_bytes()


def not_wanted(place: Place, rng: Rng) -> bytes:
    """Signed rightly, and replayed, expired, of another name, channel or bundle, or no bundle's."""
    number = int(rng.integers(1, 1000))
    own = statement_of(place.bundle)
    choices: tuple[Callable[[], SignedPayload], ...] = (
        lambda: place.envelope(replace(own, counter=int(rng.integers(0, COUNTER)))),
        lambda: place.envelope(replace(own, expires_s=NOW_S - number)),
        lambda: place.envelope(replace(own, channel=f"test{number}")),
        lambda: place.envelope(replace(own, name=f"other{number}")),
        lambda: place.envelope(statement_of(place.other)),
        lambda: place.envelope(replace(own, digest=rng.bytes(32).hex())),
        lambda: place.envelope(DenyList((own.digest,), number, SIGNED_S)),
        lambda: place.envelope(DenyList((own.digest,), number, SIGNED_S), kind=own.KIND),
        lambda: place.envelope(own, kind=DenyList.KIND),
    )
    return choices[int(rng.integers(len(choices)))]().to_bytes()


def changed_payload(place: Place, rng: Rng) -> bytes:
    """Says something else than what was signed."""
    good = place.envelope(statement_of(place.bundle, counter=COUNTER - 1))
    payload = json.loads(good.payload)
    payload["counter"] = COUNTER + int(rng.integers(100))
    return replace(good, payload=json.dumps(payload).encode()).to_bytes()


def damaged(place: Place, rng: Rng) -> bytes:
    """A whole envelope with bits flipped, bytes cut out or doubled, or cut short."""
    content = bytearray(place.envelope(statement_of(place.bundle)).to_bytes())
    how, at = int(rng.integers(4)), int(rng.integers(len(content) - 40))
    if how == 0:
        for _ in range(int(rng.integers(1, 4))):
            content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    elif how == 1:
        del content[at : at + int(rng.integers(1, 40))]
    elif how == 2:
        content[at:at] = content[at : at + int(rng.integers(1, 40))]
    else:
        del content[at:]
    return bytes(content)


def reshaped(place: Place, rng: Rng) -> bytes:
    """Well-formed JSON that is no envelope, or one with odd values."""
    value = json.loads(place.envelope(statement_of(place.bundle)).to_bytes())
    odd: tuple[Any, ...] = (
        None,
        1,
        -1,
        1e300,
        "",
        "\0",
        [],
        {},
        [[]],
        "A" * 5000,
        "\N{SNOWMAN}",
        True,
    )
    name = list(value)[int(rng.integers(len(value)))]
    item = odd[int(rng.integers(len(odd)))]
    how = int(rng.integers(4))
    if how == 0:
        value[name] = item
    elif how == 1:
        del value[name]
    elif how == 2:
        value[f"more{int(rng.integers(100))}"] = item
    else:
        value["signatures"][0][["keyid", "sig"][int(rng.integers(2))]] = item
    return json.dumps(value).encode()


BUNDLE_CASES: dict[str, Callable[[Place, Rng], bytes]] = {
    "forged signers": forged_signers,
    "signed, not wanted": not_wanted,
    "changed payload": changed_payload,
    "damaged envelope": damaged,
    "reshaped envelope": reshaped,
}


def statement_case(place: Place, rng: Rng) -> bytes:
    """A deny-list or keys that a device must not accept."""
    digest, counter = rng.bytes(32).hex(), int(rng.integers(0, COUNTER + 1))
    keys = place.keys.publics("stranger")
    newer = DenyList((digest,), COUNTER + 1 + int(rng.integers(100)), SIGNED_S)
    choices: tuple[Callable[[], SignedPayload], ...] = (
        lambda: place.envelope(DenyList((digest,), counter, SIGNED_S)),  # replayed
        lambda: place.envelope(newer, "one"),
        lambda: place.envelope(newer, "one", "stranger"),
        lambda: place.envelope(newer, kind=KeyStatement.KIND),
        lambda: place.envelope(KeyStatement(keys, 1, 1, SIGNED_S), "stranger", "one"),
        lambda: place.envelope(KeyStatement(keys, 1, 2 + counter, SIGNED_S)),
        lambda: place.envelope(KeyStatement(keys, 1, 1, SIGNED_S), kind=DenyList.KIND),
        lambda: place.envelope(statement_of(place.bundle)),
    )
    return choices[int(rng.integers(len(choices)))]().to_bytes()
