"""Which engines may be used here: each passed a self-test in a process of its own, once.

An engine can kill its process (a wheel built for a newer processor), hang, take all memory, compute
wrong numbers, or run elsewhere than it was asked to. So `tofa_edge.selftest.child` tests it,
watched from here, and the result is kept for the versions of all software and for the cores and
features of the processor (`conditions`): where one of them changes, the engine is tested again.
Where nothing can be written, each process tests for itself.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from tofa_edge import backends
from tofa_edge.backends.protocol import Engine, Target
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.errors import BackendError
from tofa_edge.selftest.attempts import Verdict, attempts, no_process
from tofa_edge.selftest.conditions import conditions, hardware, is_loaded
from tofa_edge.selftest.interpreter import UNTESTED, Interpreter, interpreter
from tofa_edge.selftest.memory import Allowance
from tofa_edge.selftest.watchdog import Watch, patience_s
from tofa_edge.storage.cache import CacheFolder, stem
from tofa_edge.storage.plain import from_plain, to_plain

TRUSTED = "reference"  # numpy alone: what it cannot do, nothing here can
SPECIMEN = "specimen"
MOST_BYTES = 2**20
CACHE = CacheFolder("selftests", 60, 60 * MOST_BYTES, MOST_BYTES)
BELIEVED_HANGS = 2  # in a row, on a machine with cores to spare


@dataclass(frozen=True, slots=True)
class Record:
    """The results of an engine's self-tests.

    Attributes:
        backend: its name.
        subject: what it computed: the digest of a bundle, or "specimen".
        versions: of all software that the verdicts depend on, and the machine's `conditions`.
        verdicts: of each target.
        date: YYYY-MM-DD.
        seconds: that the tests took.
        hangs: how many tests in a row, this one the last, hung while the machine had cores to
            spare; the first may be an accident.
        patience_s: how long it was waited for.
    """

    backend: str
    subject: str
    versions: Mapping[str, str]
    verdicts: tuple[Verdict, ...]
    date: str
    seconds: float = 0.0
    hangs: int = 0
    patience_s: float = 0.0

    @property
    def sound(self) -> tuple[Target, ...]:
        """The targets that work."""
        return tuple(v.target for v in self.verdicts if v.target is not None and not v.fault)

    @property
    def faults(self) -> tuple[Verdict, ...]:
        """The verdicts that are not good."""
        return tuple(verdict for verdict in self.verdicts if verdict.fault)

    @property
    def lacked_memory(self) -> bool:
        """Whether a target, perhaps for the moment, had too little memory."""
        return any(verdict.fault == "out of memory" for verdict in self.verdicts)

    @property
    def hung(self) -> bool:
        """Whether a target, perhaps by accident, hung."""
        return any(verdict.fault == "hang" for verdict in self.verdicts)


_known: dict[str, Record] = {}  # of this process alone, by the name that their files would have


def engine_records(
    bundle: Bundle | None = None,
    names: Iterable[str] | None = None,
    again: bool = False,
    python: str | None = None,
) -> dict[str, Record]:
    """Returns the records of the engines installed here; those without one are tested first.

    Where nothing can start a self-test (see `interpreter`), every engine but the reference counts
    as untested, and that is not remembered.

    Args:
        bundle: whose golden cases they compute; None takes a small network of random weights.
        names: of engines; by default all.
        again: tests them whatever is known.
        python: that tests them; by default as `interpreter` finds it.

    Raises:
        BackendError: no backend is found, because the package itself is not installed; `python` is
            none; or the system has no room for a process.
        BundleError: the bundle is damaged.
    """
    wanted = None if names is None else set(names)
    chosen = {n: b for n, b in backends.working().items() if wanted is None or n in wanted}
    today, subject = datetime.date.today().isoformat(), bundle.digest if bundle else SPECIMEN
    patience = patience_s()
    blank = {
        name: Record(name, subject, versions, (), today, patience_s=patience)
        for name, versions in conditions(chosen).items()
    }
    earlier = {} if again else _recalled(blank.values())
    known = {name: record for name, record in earlier.items() if _counts(record, patience)}
    if TRUSTED in blank and TRUSTED not in known:
        verdicts = tuple(map(Verdict, chosen[TRUSTED].targets()))
        known[TRUSTED] = _kept(replace(blank[TRUSTED], verdicts=verdicts))
    unknown = [
        replace(record, hangs=earlier[name].hangs if name in earlier else 0)
        for name, record in blank.items()
        if name not in known
    ]
    if unknown:
        known |= _tested(unknown, bundle, patience, _interpreter(unknown[0].backend, python))
    return {name: known[name] for name in chosen}


def _interpreter(name: str, python: str | None) -> Interpreter | None:
    try:
        return interpreter(python)
    except OSError as error:
        raise no_process(name, error) from error


def _tested(
    blank: list[Record], bundle: Bundle | None, patience: float, starts: Interpreter | None
) -> dict[str, Record]:
    """Tests engines at the same time, and those that lacked memory once more, each alone."""
    from concurrent.futures import ThreadPoolExecutor  # slow to import

    if starts is None:
        verdict = Verdict(None, "untested", UNTESTED)
        return {record.backend: replace(record, verdicts=(verdict,)) for record in blank}
    watch = Watch(starts, bundle, patience)
    tested: dict[str, Record] = {}
    with ThreadPoolExecutor(len(blank)) as pool:
        try:
            for record in pool.map(lambda record: _self_test(record, watch), blank):
                if len(blank) == 1 or not record.lacked_memory:
                    tested[record.backend] = _kept(record)
        except BaseException:
            watch.cancelled.set()
            raise
    for record in blank:
        if record.backend not in tested:
            alone = replace(watch, allowance=Allowance())
            tested[record.backend] = _kept(_self_test(record, alone))
    return tested


def records_here() -> list[Record]:
    """Returns all records of the software installed here, of whatever subject."""
    versions = conditions(backends.working())
    records = [_read(name, use=False) for name in CACHE.names()]
    return [r for r in records if r is not None and versions.get(r.backend) == r.versions]


def forget_others(records: Iterable[Record]) -> None:
    """Drops the other records of the engines in `records`, so that they are tested again."""
    files = {_file(record): record.backend for record in records}
    for name in CACHE.names():
        other = _read(name, use=False)
        if name not in files and (other is None or other.backend in files.values()):
            CACHE.forget(stem(name))


def passing_engines(
    bundle: Bundle | None = None,
    name: str | None = None,
    threads: int | None = None,
    python: str | None = None,
) -> list[Engine]:
    """Returns the engines that work here, on each of their targets, in no order of merit.

    The reference is only among them if nothing else is: it is slow.

    Args:
        bundle: whose golden cases they must compute.
        name: of the one engine wanted.
        threads: the one number of threads wanted.
        python: that tests them, as in `engine_records`.

    Raises:
        BackendError: the one asked for cannot run, or not with so many threads.
    """
    if name is not None:
        backends.backend(name)
    records = engine_records(bundle, None if name is None else [name], python=python)
    return passing_among(records, name, threads)


def passing_among(
    records: Mapping[str, Record], name: str | None = None, threads: int | None = None
) -> list[Engine]:
    """Returns the engines that work by their `records`, as `passing_engines` does.

    Args:
        records: by name of the engine.
        name: of the one engine wanted.
        threads: the one number of threads wanted.

    Raises:
        BackendError: the one asked for cannot run, or not with so many threads.
    """
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


def _self_test(record: Record, watch: Watch) -> Record:
    """Returns a record with verdicts; its hangs so far go up by one, or back to none."""
    begun = time.perf_counter()
    record = replace(record, verdicts=attempts(record.backend, watch))
    seconds = round(time.perf_counter() - begun, 3)
    return replace(record, hangs=record.hangs + 1 if record.hung else 0, seconds=seconds)


def _recalled(blank: Iterable[Record]) -> dict[str, Record]:
    """Returns the records of the same conditions, by engine."""
    found = {record.backend: _known.get(_file(record)) or _read(_file(record)) for record in blank}
    return {
        record.backend: known
        for record in blank
        if (known := found[record.backend]) is not None and known.versions == record.versions
    }


def _counts(record: Record, patience: float) -> bool:
    """Whether an engine need not be tested again; within a process, nothing is tested twice."""
    believed = record.hangs >= BELIEVED_HANGS and record.patience_s >= patience
    return not record.hung or believed or _file(record) in _known


def _file(record: Record) -> str:
    key = f"{record.backend} {record.subject} {hardware(record.versions)}"
    return hashlib.sha256(key.encode()).hexdigest()[:20] + ".json"


def _read(name: str, use: bool = True) -> Record | None:
    with contextlib.suppress(ValueError, RecursionError):
        return from_plain(Record, json.loads(CACHE.read(name, use) or b""))
    return None


def _kept(record: Record) -> Record:
    """Keeps a record, for others too unless it says more of this moment than of the engine."""
    name = _file(record)
    momentary = record.lacked_memory or (record.hung and is_loaded())
    content = json.dumps(to_plain(record), indent=1).encode()
    if momentary or not CACHE.write(name, content) or record.hung:
        _known[name] = record
    else:
        _known.pop(name, None)
    return record
