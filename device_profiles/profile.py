"""A device's latencies as a value: what it is, where the figures come from, and the figures."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tofa_edge.architecture.space import Subnet
from tofa_edge.device.machine import Fingerprint, State
from tofa_edge.errors import ProfileError
from tofa_edge.storage.files import one_line, write_whole
from tofa_edge.storage.plain import from_plain, to_plain

SCHEMA_VERSION = 1
MOST_BYTES = 16 * 2**20
SCHEMA_FILE = "schema.json"
DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

Provenance = Literal["measured by tofa-edge", "published, not measured by us"]
MEASURED: Provenance = "measured by tofa-edge"
PUBLISHED: Provenance = "published, not measured by us"


@dataclass(frozen=True, slots=True)
class Measurement:
    """The latency of one network, of batch 1.

    Attributes:
        p50_ms: the median of the runs; the mean where the flag "mean" says so.
        p95_ms: None where it was not published.
        log_standard_error: of ln(p50_ms), from the spread of the runs; None where unknown. Runs of
            another hour differ by more.
        runs: timed after warm-up; None where unknown.
        subnet: as `Subnet.to_json` writes it, or
        network: the name of a known network with its width and input size, such as
            "mobilenet_v2 1.0 224". Exactly one of the two is given.
        mmacs: millions of multiply-accumulates of one image; None where unknown.
        flags: what to mind, such as "mean", "uneven", "throttled", "busy".
    """

    p50_ms: float
    p95_ms: float | None = None
    log_standard_error: float | None = None
    runs: int | None = None
    subnet: str | None = None
    network: str | None = None
    mmacs: float | None = None
    flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for what, held in (
            ("p50_ms must be positive", self.p50_ms > 0),
            ("p95_ms must be at least p50_ms", self.p95_ms is None or self.p95_ms >= self.p50_ms),
            ("log_standard_error must not be negative", (self.log_standard_error or 0) >= 0),
            ("runs must be positive", self.runs is None or self.runs > 0),
            ("mmacs must be positive", self.mmacs is None or self.mmacs > 0),
            (
                "one of subnet and network is wanted",
                (self.subnet is None) != (self.network is None),
            ),
        ):
            if not held:
                raise ValueError(f"a measurement of {self.network or self.subnet}: {what}")
        if self.subnet is not None:
            Subnet.from_json(self.subnet)  # its error is a ValueError too


@dataclass(frozen=True, slots=True)
class MeasuredTarget:
    """An engine on one of its targets (see `tofa_edge.backends.Target`), and what ran there.

    Attributes:
        engine: the backend's name.
        unit: as of a target.
        precision: as of a target.
        threads: 1 to 4096.
        measurements: of subnets, in any order.
    """

    engine: str
    unit: str
    precision: str
    threads: int
    measurements: tuple[Measurement, ...]

    def __str__(self) -> str:
        return f"{self.engine} {self.unit} {self.precision} {self.threads}t"

    def __post_init__(self) -> None:
        if not 1 <= self.threads <= 4096:
            raise ValueError(f"{self}: wanted 1..4096 threads")


@dataclass(frozen=True, slots=True)
class Ranked:
    """How an engine fares against the others of a device, over the subnets that all of them ran.

    Attributes:
        target: as `str(MeasuredTarget)`.
        slower: median over subnets of its latency over that of the fastest, 1 or more; of those in
            integers if it is one, else of those in float.
        fastest_share: of the subnets: where no such other was faster.
    """

    target: str
    slower: float
    fastest_share: float

    def __post_init__(self) -> None:
        if not (self.slower >= 1 and 0 <= self.fastest_share <= 1):
            raise ValueError(f"rank of {self.target}: wanted slower ≥ 1, fastest_share 0..1")


@dataclass(frozen=True, slots=True)
class Profile:
    """What one device took for some networks.

    Attributes:
        name: for people.
        fingerprint: what the device is.
        provenance: whether these are our measurements or figures that others published.
        date: of the newest measurement, or of the publication that was read; YYYY-MM-DD.
        software: versions, by package; None where unknown.
        state: of the device when the newest measurement began; None where unknown.
        targets: each engine, unit, precision and number of threads once.
        ranking: of the targets, the fastest first; empty where nothing was compared.
        space: the name of the search space that measured subnets are of; None without subnets.
        source: of published figures: address and revision.
        licence: of published figures.
        notes: what a reader has to know of the figures.
        schema_version: of the file.
    """

    name: str
    fingerprint: Fingerprint
    provenance: Provenance
    date: str
    targets: tuple[MeasuredTarget, ...]
    software: Mapping[str, str] | None = None
    state: State | None = None
    ranking: tuple[Ranked, ...] = ()
    space: str | None = None
    source: str | None = None
    licence: str | None = None
    notes: tuple[str, ...] = ()
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        if not DATE.fullmatch(self.date):
            raise ValueError(f"{self.name}: wanted a date YYYY-MM-DD, got {self.date!r:.40}")
        if self.provenance == PUBLISHED and not self.source:
            raise ValueError(f"profile {self.name}: published figures want their source")
        if len({str(target) for target in self.targets}) != len(self.targets):
            raise ValueError(f"profile {self.name}: a target stands twice")


def load(path: Path) -> Profile:
    """Returns the profile in a file.

    Raises:
        ProfileError: the file cannot be read, is damaged, too large, or of a newer schema.
    """
    try:
        with Path(path).open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ProfileError(f"{path}: cannot be read: {reason}") from error
    if len(content) > MOST_BYTES:
        raise ProfileError(f"{path}: wanted a profile of at most {MOST_BYTES} bytes; refused")
    return from_json(content, str(path))


def shipped(measured_only: bool = False) -> list[Profile]:
    """Returns the profiles of the package by file name; no published ones if `measured_only`."""
    from importlib.resources import files  # slow to import

    items = sorted(files("tofa_edge.device_profiles").iterdir(), key=lambda item: item.name)
    named = ((item.name, item) for item in items if item.name.endswith(".json"))
    contents = {name: item.read_bytes() for name, item in named if name != SCHEMA_FILE}
    return [
        from_json(content, name)
        for name, content in contents.items()
        if not measured_only or MEASURED.encode() in content
    ]


def from_json(content: bytes, name: str) -> Profile:
    """Returns the profile in the `content` of a file of some `name`.

    Raises:
        ProfileError: it is damaged or of a newer schema.
    """
    try:
        value = json.loads(content.decode())
        version = value.get("schema_version") if isinstance(value, dict) else None
        if type(version) is not int or version < 1:
            raise ValueError("it has no schema_version")
        if version <= SCHEMA_VERSION:
            return from_plain(Profile, value)
    except (ValueError, RecursionError) as error:
        raise ProfileError(
            f"{name}: not a whole device profile ({one_line(error)}); copy or measure it again"
        ) from error
    raise ProfileError(
        f"{name}: profile schema {str(version)[:20]} is newer than {SCHEMA_VERSION}, the newest "
        "this version reads: pip install --upgrade tofa-edge"
    )


def to_json(profile: Profile) -> str:
    """Returns a profile as JSON text with one measurement a line, fit for a diff."""
    head = {"schema_version": profile.schema_version} | to_plain(profile)
    rows = [_target_to_json(target) for target in head.pop("targets")]
    opening = json.dumps(head, indent=1, ensure_ascii=False).removesuffix("\n}")
    return opening + ',\n "targets": [\n' + ",\n".join(rows) + "\n ]\n}\n"


def _target_to_json(target: dict[str, Any]) -> str:
    rows = [f"   {json.dumps(row, ensure_ascii=False)}" for row in target.pop("measurements")]
    opening = json.dumps(target).removesuffix("}")
    return "  " + opening + ', "measurements": [\n' + ",\n".join(rows) + "\n  ]}"


def save(profile: Profile, path: Path, overwrite: bool = True) -> None:
    """Writes a profile under a temporary name and renames it when it is complete.

    Args:
        profile: to write.
        path: of the file.
        overwrite: whether it may replace a file of that name.

    Raises:
        ProfileError: the file cannot be written, or would be too large to be read again.
    """
    path = Path(path)
    content = to_json(profile).encode()
    if len(content) > MOST_BYTES:
        raise ProfileError(f"{path}: {len(content)} bytes are over {MOST_BYTES}; not written")
    write_whole(path, content, overwrite, ProfileError)
