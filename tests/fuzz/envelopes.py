"""Forged, replayed, expired and mixed-up envelopes, deny-lists and bundles: all must be refused.

    python -m tests.fuzz.envelopes --cases 10000 --seed 0

Each case is refused with one line within a second, and before the manifest is parsed; statements
for a device leave what it had accepted as it was. A case that is byte for byte what was signed, as
where a base64 letter has a twin, is drawn again.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fuzz.forged import BUNDLE_CASES, NOW_S, Place, Rng, statement_case
from tests.fuzz.numbered import numbers_and_seed
from tests.unit.trust.signing import statement_of
from tofa_edge.bundle import bundle as bundle_module
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.errors import BundleError, TrustError
from tofa_edge.trust.envelope import read_envelope
from tofa_edge.trust.trust import envelope_path

MOST_SECONDS = 1.0


@dataclass(frozen=True)
class Outcome:
    """What became of a case: why it was refused, or what was wrong."""

    kind: str
    fault: str
    seconds: float


def _same_signed(place: Place, content: bytes) -> bool:
    """Whether changed bytes still are an envelope of the same signatures and payload."""
    good = place.envelope(statement_of(place.bundle))
    try:
        found = read_envelope(content, "it")
    except TrustError:
        return False
    return found == good


def bundle_case(place: Place, kind: str, rng: Rng) -> Outcome:
    """Opens a bundle beside an envelope that must be refused."""
    content = BUNDLE_CASES[kind](place, rng)
    while _same_signed(place, content):
        content = BUNDLE_CASES[kind](place, rng)
    envelope_path(place.bundle).write_bytes(content)
    parsed: list[bool] = []
    whole = getattr(bundle_module, "read_manifest")  # noqa: B009 (it is imported there)

    def parse(*what: Any) -> Any:
        parsed.append(True)
        return whole(*what)

    begun = time.perf_counter()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bundle_module, "read_manifest", parse)
            Bundle.open(place.bundle, replace(place.trust(), newest_s=NOW_S))
        fault = "opened"
    except TrustError as error:
        fault = "" if str(error).isprintable() else f"not one line: {error!s:.200}"
    except Exception as error:
        fault = f"{type(error).__name__}: {error}"
    fault = fault or ("the manifest was parsed" if parsed else "")
    return _judged(kind, fault, time.perf_counter() - begun)


def accepted_case(place: Place, rng: Rng) -> Outcome:
    """Has a device accept what it must not."""
    path = place.folder / "statement.dsse"
    path.write_bytes(statement_case(place, rng))
    before, begun = place.device.trust(), time.perf_counter()
    try:
        place.device.accept(path)
        fault = "accepted"
    except TrustError as error:
        fault = "" if str(error).isprintable() else f"not one line: {error!s:.200}"
    except Exception as error:
        fault = f"{type(error).__name__}: {error}"
    seconds = time.perf_counter() - begun
    if place.device.trust() != before:
        fault = fault or "changed what was accepted"
    return _judged("statement for a device", fault, seconds)


def mixed_bundle_case(place: Place, rng: Rng) -> Outcome:
    """Reads all of a bundle that was changed after it was signed."""
    path = place.folder / "mixed.tofa"
    content, kind = bytearray(place.bundle.read_bytes()), "changed bundle"
    other = place.other.read_bytes()
    at = int(rng.integers(len(content) - 600))
    size = min(int(rng.integers(1, 600)), len(other) - at)
    content[at : at + size] = other[at : at + size]
    path.write_bytes(bytes(content))
    envelope = place.envelope(statement_of(place.bundle))
    envelope_path(path).write_bytes(envelope.to_bytes())
    begun, fault = time.perf_counter(), ""
    try:
        opened = Bundle.open(path, replace(place.trust(), newest_s=0.0))
        whole = Bundle.open(place.bundle, None)
        for name, size in opened.member_sizes.items():
            if name == "manifest.json":
                continue
            wanted, got = (
                b"".join(each._members.read_each([name], size)) for each in (whole, opened)
            )
            if wanted != got:
                fault = f"{name} was read, and is not what was signed"
    except BundleError as error:
        fault = "" if str(error).isprintable() else f"not one line: {error!s:.200}"
    except Exception as error:
        fault = f"{type(error).__name__}: {error}"
    return _judged(kind, fault, time.perf_counter() - begun)


def _judged(kind: str, fault: str, seconds: float) -> Outcome:
    slow = f"took {seconds:.2f} s" if seconds > MOST_SECONDS else ""
    return Outcome(kind, fault or slow, seconds)


def case(place: Place, seed: int, number: int) -> Outcome:
    """Returns what became of the case of a number."""
    rng = np.random.default_rng([seed, number])
    kinds = [*BUNDLE_CASES, "statement", "bundle"]
    kind = kinds[number % len(kinds)]
    if kind == "statement":
        return accepted_case(place, rng)
    return mixed_bundle_case(place, rng) if kind == "bundle" else bundle_case(place, kind, rng)


def main(arguments: Sequence[str] | None = None) -> int:
    """Tries cases; returns 1 if one was not refused as it must be."""
    about = "Forged, replayed and mixed-up signatures."
    numbers, seed = numbers_and_seed(arguments, about, "case", 10_000)
    counted, faults, slowest = Counter[str](), 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        place = Place.made(Path(folder))
        case(place, seed, numbers.start)  # imports what checks signatures
        for number in numbers:
            found = case(place, seed, number)
            counted[found.kind] += 1
            slowest = max(slowest, found.seconds)
            if found.fault:
                faults += 1
                print(f"case {number}: {found.kind}: {found.fault}", flush=True)
    for kind, count in counted.items():
        print(f"{kind:24}{count:8}")
    print(f"all: {len(numbers)} cases, {faults} with a fault, slowest {1000 * slowest:.0f} ms")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
