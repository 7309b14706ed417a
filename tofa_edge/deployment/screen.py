"""Which engines work here, how fast they are, and whether they compute the right numbers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass

import numpy as np

from tofa_edge import backends
from tofa_edge.architecture.arrays import ImageArray
from tofa_edge.architecture.space import Subnet
from tofa_edge.backends.protocol import Engine, Session, Target
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.deployment.local_device import LocalDevice
from tofa_edge.deployment.trace import Trace
from tofa_edge.errors import BackendError
from tofa_edge.measurement.stopwatch import Run, timed
from tofa_edge.network.network import Network
from tofa_edge.search.candidates import Candidate
from tofa_edge.selftest.calibrating import calibrating_among, calibrating_engine
from tofa_edge.selftest.golden import specimen_images
from tofa_edge.selftest.records import TRUSTED, engine_records, passing_among
from tofa_edge.serving.explanation import Screened
from tofa_edge.storage.files import one_line

CLOSE = 2.2  # of the fastest, alone: on two threads the time by itself says little
BEHIND = 1.2
ROUNDS, TURN = 10, 15
REASONS = 3  # that a message has room for
REST_S = 0.03  # threads of a pool spin for some 10 ms after a run, and take a core from the next


@dataclass(frozen=True, slots=True)
class EngineFilter:
    """Which engines may be used; None is any."""

    backend: str | None = None  # its name
    threads: int | None = None  # their number
    precision: str | None = None  # of the target
    exact: bool = False  # whether integers and bf16 are out unless they are asked for

    def among(self, offered: list[Engine]) -> list[Engine]:
        """Returns the engines of the precision asked for.

        Where `exact` and only such as round work, the reference stands in: it is slow. A
        backend that was asked for by name stays.
        """
        if self.precision is None:
            kept = [e for e in offered if not (self.exact and e.target.is_coarse)]
            if kept or self.backend is not None:
                return kept or offered
            return [Engine(backends.backend(TRUSTED), Target())]
        fitting = [e for e in offered if e.target.precision == self.precision]
        if not fitting:
            precisions = ", ".join(sorted({e.target.precision for e in offered}))
            raise BackendError(f"wanted {self.precision}, engines here offer {precisions}")
        return fitting


@dataclass(frozen=True, eq=False, slots=True)
class WorkingEngines:
    """Engines that compute the bundle's golden cases here.

    Attributes:
        offered: those that may be used, in no order of merit.
        calibrating: what computes BatchNorm statistics for all.
    """

    offered: list[Engine]
    calibrating: Engine


def working_engines(
    bundle: Bundle, allowed: EngineFilter, trace: Trace, python: str | None = None
) -> WorkingEngines:
    """Returns the engines that pass the self-test with a bundle, and may be used.

    `python` tests them; see `DeployOptions`.

    Raises:
        BackendError: the one asked for does not, or none of the precision asked for does.
    """
    name = allowed.backend
    if name is not None:
        backends.backend(name)  # there is one of this name
    records = engine_records(bundle, None if name is None else [name], python=python)
    for record in records.values():
        for verdict in record.faults:
            engine = f"{record.backend} {verdict.target or ''}".rstrip()
            trace.screen(Screened(engine, reason=str(verdict)))
    passing = passing_among(records, name, allowed.threads)
    offered = allowed.among(passing)
    on_all_threads = calibrating_among(passing_among(records, name))
    return WorkingEngines(offered, on_all_threads or calibrating_engine(bundle, python))


def screen(device: LocalDevice, subnet: Subnet, offered: list[Engine]) -> list[Candidate]:
    """Returns the engines that run a subnet, the fastest first.

    An engine that needs every core to be less than a fifth faster comes after.

    Raises:
        BackendError: none does.
    """
    trace, image = device.trace, specimen_images(subnet.resolution)[:1]
    candidates: list[Candidate] = []
    networks: dict[bool, Network] = {}  # in float, and in integers
    for engine in offered:
        in_integers = engine.target.is_integer
        try:
            if in_integers not in networks:
                networks[in_integers] = device.stored(subnet, engine)
            with closing(engine.load(networks[in_integers])) as session:
                latency = device.stopwatches.quick.time(_run(session, image), device.until)
        except BackendError as error:
            trace.screen(Screened(str(engine), reason=str(error)))
            continue
        trace.screen(Screened(str(engine), latency))
        candidates.append(Candidate(engine, latency))
    if not candidates:
        raise BackendError(f"no engine works here: {_in_short(trace.screened)}")
    return sorted(candidates, key=lambda candidate: candidate.cost_ms)


def _in_short(screened: list[Screened]) -> str:
    """Returns why engines are not used: the first of those that have the same reason, three."""
    first = {each.reason: str(each) for each in reversed(screened) if each.reason}
    told = [one_line(text) for text in list(first.values())[::-1][:REASONS]]
    more = len(first) - len(told)
    told += [f"and {more} other reasons"] if more else []
    return "; ".join(told) or "none is installed"


def fastest(device: LocalDevice, subnet: Subnet, candidates: list[Candidate]) -> Engine:
    """Returns the engine that runs a subnet in the shortest median time.

    Those that came close are measured side by side, in turn, until one is left or time is up.
    """
    best = min(candidate.latency.p50_ms for candidate in candidates)
    close = [c.engine for c in candidates if c.latency.p50_ms <= CLOSE * best]
    if len(close) == 1 or time.monotonic() > device.until:
        return min(candidates, key=lambda candidate: candidate.latency.p50_ms).engine
    image = specimen_images(subnet.resolution)[:1]
    with ExitStack() as stack:
        runs: dict[Engine, Run] = {}
        for engine in close:
            session = stack.enter_context(closing(engine.load(device.stored(subnet, engine))))
            runs[engine] = _run(session, image)
        return side_by_side(runs, until=device.until)[0][0]


def side_by_side(
    runs: Mapping[Engine, Run],
    rounds: int = ROUNDS,
    drop: float = BEHIND,
    until: float = float("inf"),
) -> list[tuple[Engine, float]]:
    """Returns engines and the median time of their runs in ms, the fastest first.

    They run in turn, forwards then backwards, so that background load affects all alike. Before a
    turn is timed, the threads of the one before get time to rest, and caches are filled.

    Args:
        rounds: for each.
        drop: after a third of them, one that is so much slower than the best is timed no further.
        until: by `time.monotonic`; after it no further round begins.
    """
    durations: dict[Engine, list[float]] = {engine: [] for engine in runs}
    left = list(runs)
    for number in range(rounds):
        for engine in left[:: 1 if number % 2 == 0 else -1]:
            time.sleep(REST_S)
            runs[engine]()
            runs[engine]()
            durations[engine] += timed(runs[engine], TURN)
        medians = {engine: float(np.median(durations[engine])) for engine in runs}
        if time.monotonic() > until:
            break
        if 3 * number >= rounds:
            limit = drop * min(medians.values())
            left = [engine for engine in left if medians[engine] <= limit]
            if len(left) == 1 and drop < float("inf"):
                break
    return sorted(((e, 1e3 * m) for e, m in medians.items()), key=lambda pair: pair[1])


def _run(session: Session, image: ImageArray) -> Run:
    return lambda: session.run(image)
