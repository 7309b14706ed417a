"""Device profiles made and used: measure a device once, so that later deployments know it."""

from __future__ import annotations

import contextlib
import datetime
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np

from tofa_edge._version import __version__
from tofa_edge.architecture.cost import macs
from tofa_edge.architecture.encodings import Encodings, decoded, distinct, encoded
from tofa_edge.architecture.layers import layers
from tofa_edge.architecture.sampling import sample
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.architecture.tables import tables
from tofa_edge.architecture.zoo import whole
from tofa_edge.backends.protocol import INTEGERS, Engine
from tofa_edge.backends.registry import working
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cutting.cutter import Cutter
from tofa_edge.deployment.local_device import LocalDevice, local_device
from tofa_edge.deployment.request import opened
from tofa_edge.deployment.screen import EngineFilter, working_engines
from tofa_edge.deployment.trace import Trace
from tofa_edge.device.machine import Fingerprint, State, fingerprint, state
from tofa_edge.device_profiles.matching import nearest
from tofa_edge.device_profiles.profile import (
    MEASURED,
    MeasuredTarget,
    Measurement,
    Profile,
    Ranked,
    from_json,
    save,
    shipped,
    to_json,
)
from tofa_edge.errors import BackendError, ProfileError, SpaceError
from tofa_edge.interruption import interruption
from tofa_edge.measurement.stopwatch import Latency
from tofa_edge.measurement.turns import measuring_turn
from tofa_edge.prediction.memory import MEGA
from tofa_edge.search.forecast import Forecast
from tofa_edge.storage.cache import CacheFolder
from tofa_edge.storage.files import check_place, safe_name

log = logging.getLogger(__name__)

SUBNETS = 40
LEAST_SUBNETS = 8  # measured, for a profile to be kept after an interruption
HOPELESS = 1.8  # how many times slower than the fastest, by the ranking of this machine's profile
MOST_STEM = 59  # of a file's name, without its suffix
STEMS = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}"
CACHE = CacheFolder("profiles", 64, 64 * 2**20, 4 * 2**20, stems=STEMS, suffixes=("json",))
CLOSE = 2.0  # the same board, or the same processor: farther devices are no prior


def profile(
    bundle: Bundle,
    count: int = SUBNETS,
    backend: str | None = None,
    threads: int | None = None,
) -> Profile:
    """Returns the latencies of subnets of all sizes on every engine here.

    An interrupt (Ctrl-C, SIGTERM, SIGHUP) ends it early: from `LEAST_SUBNETS` subnets on, the
    profile has those that were measured until then, and a warning says how many.

    Args:
        bundle: whose subnets are measured, with stored statistics.
        count: of subnets.
        backend: an engine's name; by default all that work here.
        threads: by default all numbers.

    Raises:
        BundleError: the bundle is damaged.
        BackendError: no engine works here.
        KeyboardInterrupt: an interrupt came before enough was measured.
    """
    space, cutter = bundle.space, Cutter(opened(bundle))
    subnets = decoded(space, distinct(space, sample(space, np.random.default_rng(0), count)))
    began = state()
    with interruption(), measuring_turn() as turn:
        trace = Trace()
        engines = working_engines(bundle, EngineFilter(backend, threads), trace)
        device = local_device(cutter, engines.offered, engines.calibrating, trace)
        rows = _measured(device, subnets, engines.offered, ("not alone",) if turn == "busy" else ())
    return assembled(space.name, rows, began)


def _measured(
    device: LocalDevice, subnets: list[Subnet], offered: list[Engine], flags: tuple[str, ...]
) -> dict[Engine, list[Measurement]]:
    """Times subnets on engines in turn, without those that fail; `flags` go with each latency."""
    rows: dict[Engine, list[Measurement]] = {engine: [] for engine in offered}
    try:
        for number, subnet in enumerate(subnets, 1):
            _measure(device, subnet, rows, flags)
            if number % 10 == 0:
                log.info(f"{number} of {len(subnets)} subnets measured")
    except KeyboardInterrupt:
        done = min(map(len, rows.values()), default=0)
        if done < LEAST_SUBNETS:
            raise
        log.warning(f"interrupted: the profile has {done} of {len(subnets)} subnets")
    return rows


def _measure(
    device: LocalDevice,
    subnet: Subnet,
    rows: dict[Engine, list[Measurement]],
    flags: tuple[str, ...],
) -> None:
    """Adds the latency of a subnet to each engine's rows; an engine that fails loses them."""
    mmacs = macs(layers(device.cutter.space, subnet)) / MEGA
    for engine in list(rows):
        try:
            latency = device.time_stored(subnet, engine)
        except BackendError as error:
            log.info(f"{engine}: left out, {error}")
            del rows[engine]
        else:
            rows[engine].append(measurement(subnet, latency, mmacs, (*latency.flags, *flags)))


def assembled(
    space: str, measured: Mapping[Engine, Sequence[Measurement]], began: State
) -> Profile:
    """Returns the profile of this device from what was measured on it.

    Args:
        space: name of the one that the subnets are of.
        measured: by engine; those without a measurement are left out.
        began: state of the device when measuring began.
    """
    device = fingerprint()
    targets = tuple(_target(engine, rows) for engine, rows in measured.items() if rows)
    return Profile(
        name=device.board or ", ".join(device.processors or ()) or "unknown",
        fingerprint=device,
        provenance=MEASURED,
        date=datetime.date.today().isoformat(),
        targets=targets,
        software=_software(),
        state=began,
        ranking=ranked(targets),
        space=space,
    )


def _target(engine: Engine, rows: Sequence[Measurement]) -> MeasuredTarget:
    unit, precision, threads = astuple(engine.target)
    return MeasuredTarget(engine.backend.name, unit, precision, threads, tuple(rows))


def ranked(targets: Iterable[MeasuredTarget]) -> tuple[Ranked, ...]:
    """Returns the ranks of `targets` on the subnets that all of them ran, the fastest first.

    Those in integers and those in float apart: a slow engine in float may still be needed.
    """
    kinds: dict[bool, list[MeasuredTarget]] = {}
    for target in targets:
        kinds.setdefault(target.precision in INTEGERS, []).append(target)
    ranks = [rank for alike in kinds.values() for rank in _ranked(alike)]
    return tuple(sorted(ranks, key=lambda rank: rank.slower))


def _ranked(targets: list[MeasuredTarget]) -> list[Ranked]:
    rows = {str(t): {m.subnet: m.p50_ms for m in t.measurements if m.subnet} for t in targets}
    shared = set.intersection(*map(set, rows.values())) if rows else set()
    if not shared:
        return []
    times = np.array([[row[subnet] for subnet in sorted(shared)] for row in rows.values()])
    slower = times / times.min(axis=0)
    return [
        Ranked(name, round(float(np.median(each)), 3), round(float(np.mean(each == 1)), 3))
        for name, each in zip(rows, slower, strict=True)
    ]


def promising(
    offered: list[Engine], space: SearchSpace, profiles: Iterable[Profile]
) -> list[Engine]:
    """Returns the engines `offered` without those known to be far slower on this machine.

    Only a profile of this machine counts, made with the same software. An engine that it does not
    know is timed.
    """
    for profile in profiles:
        here = profile.fingerprint == fingerprint() and profile.space == space.name
        if here and profile.ranking and profile.software == _software():
            hopeless = [r for r in profile.ranking if r.slower > HOPELESS and not r.fastest_share]
            slow = {rank.target for rank in hopeless}
            return [engine for engine in offered if str(engine) not in slow] or offered
    return offered


def known_profiles() -> list[Profile]:
    """Returns measured profiles: those made on this machine, then those of the package."""
    own = []
    for name in CACHE.names():
        with contextlib.suppress(ProfileError):  # a damaged one is no reason not to deploy
            own.append(from_json(CACHE.read(name) or b"", name))
    return [*own, *shipped(measured_only=True)]


def keep(
    profile: Profile, out: Path | None = None, overwrite: bool = False, first: bool = False
) -> list[Path]:
    """Writes a profile where deployments on this machine find it, in place of an earlier one.

    Also to the file `out`, if one is given; `overwrite` says whether that may replace one. With
    `first`, an earlier one stays where deployments find it: it may have more subnets. Returns the
    files written.

    Raises:
        ProfileError: one cannot be written, or `out` exists.
    """
    if out is not None:
        check_place(out, overwrite, ProfileError)
        save(profile, out, overwrite)
    paths, name = (
        [] if out is None else [out],
        f"{safe_name(profile.space or 'unknown')[:MOST_STEM]}.json",
    )
    if not (first and name in CACHE.names()):
        reason = CACHE.keep(name, to_json(profile).encode())
        if reason:
            raise ProfileError(f"{CACHE.path / name}: not kept for deployments here: {reason}")
        paths.append(CACHE.path / name)
    return paths


def known_forecasts(
    space: SearchSpace, engine: Engine, device: Fingerprint, profiles: Iterable[Profile]
) -> list[Forecast]:
    """Returns what profiles of a `device` (board or processor) know of an engine; may be none.

    Those of the same engine and thread count, else of the same engine.
    """
    for match in nearest(device, profiles):
        if match.distance >= CLOSE:
            break
        if match.profile.provenance != MEASURED or match.profile.space != space.name:
            continue
        alike = [t for t in match.profile.targets if t.engine == engine.backend.name]
        same = [t for t in alike if t.precision == engine.target.precision] or alike
        exact = [t for t in same if t.threads == engine.target.threads] or same
        forecast = _forecast(space, exact[0]) if exact else None
        if forecast is not None:
            return [forecast]
    return []


def _forecast(space: SearchSpace, target: MeasuredTarget) -> Forecast | None:
    """Returns a forecast for subnets of a bundle's space from what was measured on a target."""
    try:
        known = {Subnet.from_json(row.subnet or ""): row for row in target.measurements}
        near = [subnet for subnet in known if subnet.resolution <= space.resolutions[-1]]
        subnets = near if len(near) >= LEAST_SUBNETS else list(known)
        every = replace(whole(space), resolutions=tuple(sorted({s.resolution for s in subnets})))
        encodings: Encodings = encoded(every, subnets)
    except SpaceError:
        return None
    if tables(every).columns != tables(space).columns:
        return None
    forecast = Forecast(every, encodings)
    for subnet, row in ((subnet, known[subnet]) for subnet in subnets):
        p95 = row.p95_ms or row.p50_ms
        error = row.log_standard_error or 0.02
        forecast.add(subnet, Latency(row.p50_ms, p95, p95, p95, row.runs or 1, error))
    return forecast


def _software() -> dict[str, str]:
    return {"tofa-edge": __version__, **{n: b.version() for n, b in working().items()}}


def measurement(
    subnet: Subnet, latency: Latency, mmacs: float, flags: tuple[str, ...] = ()
) -> Measurement:
    """Returns a latency as a profile holds it: `flags` are all reasons to doubt it.

    `mmacs` are the subnet's, in millions.
    """
    return Measurement(
        p50_ms=round(latency.steady_ms, 4),
        p95_ms=round(max(latency.p95_ms, latency.steady_ms), 4),
        log_standard_error=round(latency.relative_error, 4),
        runs=latency.count,
        subnet=subnet.to_json(),
        mmacs=round(mmacs, 2),
        flags=flags,
    )
