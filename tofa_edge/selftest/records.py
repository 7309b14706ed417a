"""Which engines may be used here: each passed a self-test in a process of its own, once.

An engine can kill its process (a wheel built for a newer processor), hang, take all memory, compute
wrong numbers, or run elsewhere than it was asked to. So `tofa_edge.selftest.child` tests it,
watched from here, and the result is kept with the versions of all software: after an update the
engine is tested again. Where nothing can be written, each process tests for itself.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import platform
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tofa_edge import backends
from tofa_edge._version import __version__
from tofa_edge.backends.protocol import Backend, Engine, Target
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.errors import BackendError, BundleError
from tofa_edge.selftest.golden import Fault
from tofa_edge.selftest.watchdog import watched
from tofa_edge.storage.cache import CacheFolder, stem
from tofa_edge.storage.plain import from_plain, to_plain

TRUSTED = "reference"  # numpy alone: what it cannot do, nothing here can
SPECIMEN = "specimen"
MOST_BYTES = 2**20
CACHE = CacheFolder("selftests", 60, 60 * MOST_BYTES, MOST_BYTES, runs_as_code=False)
REASON_LENGTH = 500


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a self-test: no fault, or what and where; without a target, of the engine."""

    target: Target | None
    fault: Fault | None = None
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.fault}: {self.reason}" if self.fault else "works"


@dataclass(frozen=True, slots=True)
class Record:
    """The results of an engine's self-tests.

    Attributes:
        backend: its name.
        subject: what it computed: the digest of a bundle, or "specimen".
        versions: of all software that the verdicts depend on.
        verdicts: of each target.
        date: YYYY-MM-DD.
        seconds: that the tests took.
    """

    backend: str
    subject: str
    versions: Mapping[str, str]
    verdicts: tuple[Verdict, ...]
    date: str
    seconds: float = 0.0

    @property
    def sound(self) -> tuple[Target, ...]:
        """The targets that work."""
        return tuple(v.target for v in self.verdicts if v.target is not None and not v.fault)

    @property
    def faults(self) -> tuple[Verdict, ...]:
        """The verdicts that are not good."""
        return tuple(verdict for verdict in self.verdicts if verdict.fault)


_known: dict[tuple[str, str], Record] = {}  # of this process, where nothing can be written


def engine_records(
    bundle: Bundle | None = None, names: Iterable[str] | None = None, again: bool = False
) -> dict[str, Record]:
    """Returns the records of the engines installed here; those without one are tested first.

    Args:
        bundle: whose golden cases they compute; None takes a small network of random weights.
        names: of engines; by default all.
        again: tests them whatever is known.

    Raises:
        BackendError: no backend is found, because the package itself is not installed.
    """
    from concurrent.futures import ThreadPoolExecutor  # slow to import

    chosen = {n: item for n, item in backends.working().items() if names is None or n in set(names)}
    subject = bundle.digest if bundle else SPECIMEN
    records = {} if again else _recalled(chosen, subject)
    unknown = [item for name, item in chosen.items() if name not in records]
    path, cancelled = bundle.path if bundle else None, threading.Event()
    with ThreadPoolExecutor(max(1, len(unknown))) as pool:
        try:
            for record in pool.map(
                lambda item: _self_test(item, subject, path, cancelled), unknown
            ):
                records[record.backend] = record
                _keep(record)
        except BaseException:
            cancelled.set()
            raise
    return {name: records[name] for name in chosen}


def records_here() -> list[Record]:
    """Returns all records of the software installed here, of whatever subject."""
    versions = {name: _versions(item) for name, item in backends.working().items()}
    records = [_read(name, use=False) for name in CACHE.names()]
    return [r for r in records if r is not None and versions.get(r.backend) == r.versions]


def forget_others(records: Iterable[Record]) -> None:
    """Drops the other records of the engines in `records`, so that they are tested again."""
    files = {_file(record.backend, record.subject): record.backend for record in records}
    for name in CACHE.names():
        other = _read(name, use=False)
        if name not in files and (other is None or other.backend in files.values()):
            CACHE.forget(stem(name))


def passing_engines(
    bundle: Bundle | None = None, name: str | None = None, threads: int | None = None
) -> list[Engine]:
    """Returns the engines that work here, on each of their targets, in no order of merit.

    The reference is only among them if nothing else is: it is slow.

    Args:
        bundle: whose golden cases they must compute.
        name: of the one engine wanted.
        threads: the one number of threads wanted.

    Raises:
        BackendError: the one asked for cannot run, or not with so many threads.
    """
    if name is not None:
        backends.backend(name)
    records = engine_records(bundle, None if name is None else [name])
    offered = backends.backends()
    able = [Engine(offered[n], target) for n, record in records.items() for target in record.sound]
    if name is not None and not able:
        reasons = "; ".join(dict.fromkeys(map(str, records[name].faults))) or "no target"
        raise BackendError(f"backend {name} cannot run here: {reasons}")
    others = [engine for engine in able if engine.backend.name != TRUSTED]
    able = others or able
    counts = sorted({engine.target.threads for engine in able})
    if threads is not None and threads not in counts:
        whose = f"{name} offers" if name else "engines here offer"
        numbers = ", ".join(map(str, counts))
        raise BackendError(f"wanted {threads} threads, {whose} {numbers}")
    return [engine for engine in able if threads in (None, engine.target.threads)]


def calibrates_itself(engine: Engine) -> bool:
    """Whether an engine is trusted with BatchNorm statistics: on the CPU in fp32 alone."""
    exact = (engine.target.unit, engine.target.precision) == ("cpu", "fp32")
    return engine.backend.calibrates and exact


def calibrator(engine: Engine, bundle: Bundle | None = None) -> Engine:
    """Returns the engine that estimates BatchNorm statistics for another: itself, if it can.

    The other one computes a bundle's golden cases.
    """
    return engine if calibrates_itself(engine) else calibrating_engine(bundle)


def calibrating_engine(bundle: Bundle | None = None) -> Engine:
    """Returns the first engine by name that works here and calibrates, on the CPU's most threads.

    It computes a bundle's golden cases; the reference at worst.
    """
    trusted = Engine(backends.backend(TRUSTED), Target())
    return calibrating_among(passing_engines(bundle)) or trusted


def calibrating_among(engines: Iterable[Engine]) -> Engine | None:
    """Returns the first of `engines` that calibrates, on most threads; None for none."""
    able = filter(calibrates_itself, engines)
    return max(able, key=lambda engine: engine.target.threads, default=None)


def _self_test(
    backend: Backend, subject: str, bundle: Path | None, cancelled: threading.Event
) -> Record:
    """Tests a backend on all its targets; after one that ends the process, the next."""
    begun = time.perf_counter()
    today = datetime.date.today().isoformat()
    record = Record(backend.name, subject, _versions(backend), (), today)
    if backend.name == TRUSTED:
        return replace(record, verdicts=tuple(map(Verdict, backend.targets())))
    if not sys.executable:
        raise BackendError(f"{backend.name}: no Python to test it with (sys.executable is empty)")
    verdicts: list[Verdict] = []
    while not cancelled.is_set():
        try:
            ending = watched(backend.name, bundle, start=len(verdicts), cancelled=cancelled)
        except OSError as error:
            raise BackendError(
                f"{backend.name}: no process to test it in ({error}): allow more memory, files or "
                "processes"
            ) from error
        if ending.unreadable:
            raise BundleError(ending.unreadable)
        targets = [Target(**fields) for fields in ending.targets]
        for number, judgement in sorted(ending.judgements.items()):
            fault, reason = judgement or (None, "")
            verdicts.append(Verdict(targets[number], fault, reason[:REASON_LENGTH]))
        if ending.fault is not None:
            failed = targets[len(verdicts)] if len(verdicts) < len(targets) else None
            verdicts.append(Verdict(failed, ending.fault, ending.reason[:REASON_LENGTH]))
        if len(verdicts) >= len(targets):
            break
    seconds = round(time.perf_counter() - begun, 3)
    return replace(record, verdicts=tuple(verdicts), seconds=seconds)


def _versions(backend: Backend) -> dict[str, str]:
    return {
        "engine": backend.version(),
        "tofa-edge": __version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def _recalled(tested: Mapping[str, Backend], subject: str) -> dict[str, Record]:
    records = {}
    for name, item in tested.items():
        record = _known.get((name, subject)) or _read(_file(name, subject))
        if record is not None and record.versions == _versions(item):
            records[name] = record
    return records


def _file(name: str, subject: str) -> str:
    return hashlib.sha256(f"{name} {subject}".encode()).hexdigest()[:20] + ".json"


def _read(name: str, use: bool = True) -> Record | None:
    with contextlib.suppress(ValueError, RecursionError):
        return from_plain(Record, json.loads(CACHE.read(name, use) or b""))
    return None


def _keep(record: Record) -> None:
    key = record.backend, record.subject
    short = any(verdict.fault == "out of memory" for verdict in record.faults)
    content = json.dumps(to_plain(record), indent=1).encode()
    if not short and CACHE.write(_file(*key), content):  # the next process may have more memory
        _known.pop(key, None)
    else:
        _known[key] = record
