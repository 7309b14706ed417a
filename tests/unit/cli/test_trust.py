"""The commands of signatures, from a key on the host to a device that refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tofa_edge.bundle.bundle import Bundle
from tofa_edge.selftest.small_bundle import small_bundle
from tofa_edge.trust import policy


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if policy.SYSTEM.exists():
        pytest.skip("this machine has a policy of its own")
    monkeypatch.delenv(policy.VARIABLE, raising=False)
    small_bundle(tmp_path / "parts.tofa", calibration_photos=2, check_photos=2)
    return tmp_path


def cli(folder: Path, *words: object, code: int = 0) -> str:
    command = [sys.executable, "-m", "tofa_edge", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def test_from_a_key_to_a_refusal(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    public = cli(place, "keygen", "fleet").split()[-1]
    assert (place / "fleet.key").stat().st_mode & 0o077 == 0
    assert "exists" in cli(place, "keygen", "fleet", code=1)
    about = ("--name", "parts", "--counter", "1")
    cli(place, "sign", "parts.tofa", "--key", "fleet.key", *about)
    assert "exists" in cli(place, "sign", "parts.tofa", "--key", "fleet.key", *about, code=1)
    (place / "trust.json").write_text(
        json.dumps({"keys": [public], "name": "parts", "state": str(place / "state")})
    )
    (place / "trust.json").chmod(0o644)
    digest = Bundle.open(place / "parts.tofa").digest
    monkeypatch.setenv(policy.VARIABLE, str(place / "trust.json"))
    assert digest in cli(place, "inspect", "parts.tofa")
    deny = ("--key", "fleet.key", "--digest", digest, "--counter", "1")
    cli(place, "revoke", "deny.dsse", *deny)
    assert "1 bundles are revoked" in cli(place, "accept", "deny.dsse")
    for command in ("inspect", "deploy", "verify"):
        assert "revoked" in cli(place, command, "parts.tofa", code=1)


def test_two_keys_sign_one_after_the_other(place: Path) -> None:
    for name in ("one", "two"):
        cli(place, "keygen", name)
    keys = [(place / f"{name}.pub").read_text().strip() for name in ("one", "two")]
    (place / "both.json").write_text(json.dumps({"keys": keys, "threshold": 2}))
    (place / "both.json").chmod(0o644)
    cli(place, "sign", "parts.tofa", "--key", "one.key", "--name", "parts", "--counter", "1")
    wanted = ("verify", "parts.tofa", "--trust", "both.json")
    assert "signatures of 2 of 2" in cli(place, *wanted, code=1)
    told = cli(place, "sign", "parts.tofa", "--key", "two.key", "--add")
    assert "signed: parts, counter 1, channel stable" in told, "who signs sees what"
    assert "signature: as wanted" in cli(place, *wanted)


def test_what_is_typed_wrong_is_said(place: Path) -> None:
    cli(place, "keygen", "fleet")
    signing = ("sign", "parts.tofa", "--key", "fleet.key")
    assert "--name and --counter" in cli(place, *signing, code=2)
    dated = (*signing, "--name", "parts", "--counter", "1", "--expires", "soon")
    assert "2027-12-31" in cli(place, *dated, code=2)
    no_key = ("sign", "parts.tofa", "--key", "fleet.pub", "--name", "p", "--counter", "1")
    assert "wanted a private key" in cli(place, *no_key, code=1)
    assert "has no policy" in cli(place, "accept", "parts.tofa", code=1)
