"""Which engines may be used here: each one tried itself in a process of its own, once.

An engine can kill its process (a wheel built for a newer processor), hang, take all memory, compute
wrong numbers, or run elsewhere than it was asked to. So it is tried by `tofa_edge.selftest.child`,
watched from here, and what was found is kept with the versions it was found with: other software,
and the engine is tried again. What cannot be written is tried anew by the next process.
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
from tofa_edge.storage.cache import cache_folder, least_used, write_whole
from tofa_edge.storage.plain import from_plain, to_plain

TRUSTED = "reference"  # numpy alone: what it cannot do, nothing here can
SPECIMEN = "specimen"
MOST_RECORDS = 60
REASON_LENGTH = 500


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of an engine on a target; of the engine as a whole where the target is None.

    Attributes:
        target: that it was tried on.
        fault: None is none.
        reason: what happened, and where.
    """

    target: Target | None
    fault: Fault | None = None
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.fault}: {self.reason}" if self.fault else "works"


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of an engine here.

    Attributes:
        backend: its name.
        subject: what it computed: the digest of a bundle, or "specimen".
        versions: of all software that the verdicts depend on.
        verdicts: of each target.
        date: YYYY-MM-DD.
        seconds: that it took.
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
    """Returns what is known of the engines installed here, after trying those that are unknown.

    Args:
        bundle: whose golden cases they compute; None takes a small network of random weights.
        names: of engines; by default all.
        again: tries them whatever is known.

    Raises:
        BackendError: no backend is found, because the package itself is not installed.
    """
    from concurrent.futures import ThreadPoolExecutor  # slow to import

    found = backends.working()
    wanted = {name: found[name] for name in found if names is None or name in set(names)}
    subject = bundle.digest if bundle else SPECIMEN
    records = {} if again else _recalled(wanted, subject)
    unknown = [item for name, item in wanted.items() if name not in records]
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
    return {name: records[name] for name in wanted}


def records_here() -> list[Record]:
    """Returns everything known of the software installed here, whatever it was tried on."""
    found = backends.working()
    versions = {name: _versions(item) for name, item in found.items()}
    known = [_read(path) for path in sorted(_folder().glob("*.json"))]
    return [r for r in known if r is not None and versions.get(r.backend) == r.versions]


def forget() -> None:
    """Drops what this process alone remembers, because it could not be written."""
    _known.clear()


def forget_others(records: Iterable[Record]) -> None:
    """Drops what is known of these engines from other bundles, to be tried again with them."""
    fresh = list(records)
    names, kept = {r.backend for r in fresh}, {_path(r.backend, r.subject) for r in fresh}
    for path in _folder().glob("*.json"):
        found = _read(path)
        if path not in kept and (found is None or found.backend in names):
            with contextlib.suppress(OSError):
                path.unlink()


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
    found = backends.backends()
    able = [Engine(found[n], target) for n, record in records.items() for target in record.sound]
    if name is not None and not able:
        raise BackendError(f"backend {name} cannot run here: {_reasons(records[name])}")
    others = [engine for engine in able if engine.backend.name != TRUSTED]
    able = others or able
    counts = sorted({engine.target.threads for engine in able})
    if threads is not None and threads not in counts:
        offered = ", ".join(map(str, counts))
        whose = f"{name} offers" if name else "engines here offer"
        raise BackendError(f"wanted {threads} threads, {whose} {offered}")
    return [engine for engine in able if threads in (None, engine.target.threads)]


def calibrator(engine: Engine, bundle: Bundle | None = None) -> Engine:
    """Returns the engine that estimates BatchNorm statistics for another: itself, if it can.

    Only the CPU in fp32 is trusted with it.

    Args:
        engine: that will run the network.
        bundle: whose golden cases it must compute.
    """
    exact = (engine.target.unit, engine.target.precision) == ("cpu", "fp32")
    return engine if engine.backend.calibrates and exact else calibrating_engine(bundle)


def calibrating_engine(bundle: Bundle | None = None) -> Engine:
    """Returns the first engine by name that works here and calibrates, on the CPU's most threads.

    The reference at worst.

    Args:
        bundle: whose golden cases it must compute.
    """
    found = [e for e in passing_engines(bundle) if e.backend.calibrates and e.target.unit == "cpu"]
    trusted = Engine(backends.backend(TRUSTED), Target())
    return max(found, key=lambda engine: engine.target.threads, default=trusted)


def _reasons(record: Record) -> str:
    return "; ".join(dict.fromkeys(str(verdict) for verdict in record.faults)) or "no target"


def _self_test(
    backend: Backend, subject: str, bundle: Path | None, cancelled: threading.Event
) -> Record:
    """Tries a backend on all its targets; a target that ends the process is passed over."""
    begun = time.perf_counter()
    today = datetime.date.today().isoformat()
    record = Record(backend.name, subject, _versions(backend), (), today)
    if backend.name == TRUSTED:
        return replace(record, verdicts=tuple(map(Verdict, backend.targets())))
    if not sys.executable:
        raise BackendError(f"{backend.name}: no Python to try it with (sys.executable is empty)")
    verdicts: list[Verdict] = []
    while not cancelled.is_set():
        try:
            ending = watched(backend.name, bundle, start=len(verdicts), cancelled=cancelled)
        except OSError as error:
            raise BackendError(
                f"{backend.name}: no process to try it in ({error}): allow more memory, files or "
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


def _recalled(wanted: Mapping[str, Backend], subject: str) -> dict[str, Record]:
    found = {}
    for name, item in wanted.items():
        record = _known.get((name, subject)) or _read(_path(name, subject))
        if record is not None and record.versions == _versions(item):
            found[name] = record
    return found


def _folder() -> Path:
    return cache_folder().parent / "probes"


def _path(name: str, subject: str) -> Path:
    digest = hashlib.sha256(f"{name} {subject}".encode()).hexdigest()[:20]
    return _folder() / f"{digest}.json"


def _read(path: Path) -> Record | None:
    with contextlib.suppress(OSError, ValueError, RecursionError):
        return from_plain(Record, json.loads(path.read_text()))
    return None


def _keep(record: Record) -> None:
    path = _path(record.backend, record.subject)
    if any(verdict.fault == "out of memory" for verdict in record.faults):
        _known[(record.backend, record.subject)] = record  # the next process may have more
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(path, json.dumps(to_plain(record), indent=1).encode())
        _known.pop((record.backend, record.subject), None)
        for file in least_used(path.parent, MOST_RECORDS, but=path):
            file.unlink(missing_ok=True)
    except (OSError, RuntimeError):
        _known[(record.backend, record.subject)] = record
