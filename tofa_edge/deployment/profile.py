"""Device profiles made and used: measure a device once, so that later deployments know it."""

from __future__ import annotations

import contextlib
import datetime
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from tofa_edge._version import __version__
from tofa_edge.architecture.encodings import Encodings, decoded, distinct, encoded, sample
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.architecture.tables import tables
from tofa_edge.architecture.zoo import whole
from tofa_edge.backends.protocol import INTEGERS, Engine
from tofa_edge.backends.registry import working
from tofa_edge.budget import Budget
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cutting.cutter import Cutter
from tofa_edge.deployment.finish import Finisher
from tofa_edge.deployment.forecast import Forecast
from tofa_edge.deployment.screen import reference_run
from tofa_edge.device.machine import Fingerprint, State, fingerprint, state
from tofa_edge.device_profiles.matching import nearest
from tofa_edge.device_profiles.profile import (
    MEASURED,
    MeasuredTarget,
    Measurement,
    Profile,
    Ranked,
    load,
    save,
    shipped,
)
from tofa_edge.errors import BackendError, ProfileError, SpaceError
from tofa_edge.measurement.stopwatch import Latency, one_at_a_time
from tofa_edge.prediction.memory import MEGA
from tofa_edge.selftest.records import passing_engines
from tofa_edge.storage.cache import cache_folder

log = logging.getLogger(__name__)

SUBNETS = 40
HOPELESS = 1.8  # how many times slower than the fastest, by the ranking of this machine's profile
CLOSE = 2.0  # the same board, or the same processor: farther devices are no prior


def profile(
    bundle: Bundle,
    count: int = SUBNETS,
    backend: str | None = None,
    threads: int | None = None,
) -> Profile:
    """Returns the latencies of subnets of all sizes on every engine here.

    Args:
        bundle: whose subnets are measured, with stored statistics.
        count: of subnets.
        backend: an engine's name; by default all that work here.
        threads: by default all numbers.

    Raises:
        BundleError: the bundle is damaged.
        BackendError: no engine works here.
    """
    space = bundle.space
    finisher = Finisher(bundle, Budget())
    finisher.cutter = Cutter(bundle)
    offered = passing_engines(bundle, backend, threads)
    encodings = distinct(space, sample(space, np.random.default_rng(0), count))
    macs = tables(space).costs(encodings).macs / MEGA
    rows: dict[Engine, list[Measurement]] = {engine: [] for engine in offered}
    began = state()
    with one_at_a_time() as alone:
        finisher.stand_beside(reference_run(finisher, offered))
        for number, subnet in enumerate(decoded(space, encodings)):
            for engine in list(rows):
                try:
                    latency = finisher.timed_as_stored(subnet, engine)
                except BackendError as error:
                    log.info(f"{engine}: left out, {error}")
                    del rows[engine]
                    continue
                flags = latency.flags if alone else (*latency.flags, "not alone")
                rows[engine].append(measurement(subnet, latency, float(macs[number]), flags))
            if number % 10 == 9:
                log.info(f"{number + 1} of {len(encodings)} subnets measured")
    return assembled(space.name, rows, began)


def assembled(
    space: str, measured: Mapping[Engine, Sequence[Measurement]], began: State
) -> Profile:
    """Returns the profile of this device from what was measured on it.

    Args:
        space: name of the one that the subnets are of.
        measured: by engine; those without a measurement are left out.
        began: how the device was doing when measuring began.
    """
    device = fingerprint()
    targets = tuple(_target(engine, found) for engine, found in measured.items() if found)
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


def ranked(targets: Iterable[MeasuredTarget]) -> tuple[Ranked, ...]:
    """Returns engines by how they fare on the subnets that all of them ran, the fastest first.

    Those in integers and those in float apart: a slow engine in float may still be wanted.
    """
    kinds: dict[bool, list[MeasuredTarget]] = {}
    for target in targets:
        kinds.setdefault(target.precision in INTEGERS, []).append(target)
    found = [rank for alike in kinds.values() for rank in _ranked(alike)]
    return tuple(sorted(found, key=lambda rank: rank.slower))


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

    Only a profile of this machine counts, made with the same software. What it does not know is
    worth timing.
    """
    for profile in profiles:
        here = profile.fingerprint == fingerprint() and profile.space == space.name
        if here and profile.ranking and profile.software == _software():
            slow = {
                r.target for r in profile.ranking if r.slower > HOPELESS and not r.fastest_share
            }
            return [engine for engine in offered if str(engine) not in slow] or offered
    return offered


def known_profiles() -> list[Profile]:
    """Returns measured profiles: those made on this machine, then those of the package."""
    made = []
    for path in sorted(profiles_folder().glob("*.json")):
        with contextlib.suppress(ProfileError):  # a damaged one is no reason not to deploy
            made.append(load(path))
    return [*made, *shipped(measured_only=True)]


def profiles_folder() -> Path:
    """Returns where profiles made here are kept, beside the remembered decisions."""
    return cache_folder("profiles")


def keep_first(made: Profile) -> Path | None:
    """Keeps a profile for deployments here where there is none yet; None where there is.

    Args:
        made: of this machine.

    Raises:
        ProfileError: it cannot be written.
    """
    if (profiles_folder() / f"{made.space or 'unknown'}.json").exists():
        return None  # perhaps of more subnets
    return keep(made)[0]


def keep(made: Profile, out: Path | None = None) -> list[Path]:
    """Writes a profile where deployments on this machine find it, in place of an earlier one.

    Args:
        made: here.
        out: a file to write it to as well.

    Returns:
        the files written.

    Raises:
        ProfileError: one cannot be written.
    """
    here = profiles_folder() / f"{made.space or 'unknown'}.json"
    with contextlib.suppress(OSError):  # what fails here fails below, and says so
        here.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    save(made, here)
    if out is None:
        return [here]
    save(made, out)
    return [out, here]


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
        exact = [t for t in same if t.threads == engine.target.threads]
        forecasts = [_forecast(space, target) for target in (exact or same)[:1]]
        found = [forecast for forecast in forecasts if forecast is not None]
        if found:
            return found
    return []


def _forecast(space: SearchSpace, target: MeasuredTarget) -> Forecast | None:
    """What one target is known to take, in the terms of a bundle's space."""
    every = whole(space)
    try:
        measured = [(Subnet.from_json(m.subnet or ""), m) for m in target.measurements]
        encodings: Encodings = encoded(every, [subnet for subnet, _ in measured])
    except SpaceError:
        return None
    if tables(every).columns != tables(space).columns:
        return None
    forecast = Forecast(every, encodings)
    for subnet, found in measured:
        error = found.log_standard_error or 0.02
        p95 = found.p95_ms or found.p50_ms
        times = (found.p50_ms, p95, p95, p95)
        forecast.add(subnet, Latency(*times, found.runs or 1, error))
    return forecast


def _software() -> dict[str, str]:
    return {"tofa-edge": __version__, **{n: b.version() for n, b in working().items()}}


def measurement(
    subnet: Subnet, latency: Latency, mmacs: float, flags: tuple[str, ...] = ()
) -> Measurement:
    """Returns a latency as a profile holds it.

    Args:
        subnet: which.
        latency: as measured.
        mmacs: of the subnet, in millions.
        flags: doubts to add to those of the latency.
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


def _target(engine: Engine, found: Sequence[Measurement]) -> MeasuredTarget:
    target = engine.target
    return MeasuredTarget(
        engine.backend.name, target.unit, target.precision, target.threads, tuple(found)
    )
