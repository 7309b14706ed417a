"""Which engines work here, how fast they are, and whether they compute the right numbers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass

import numpy as np

from tofa_edge import backends
from tofa_edge.architecture.arrays import ImageArray
from tofa_edge.architecture.space import Subnet
from tofa_edge.backends.protocol import Engine, Session, Target
from tofa_edge.deployment.finish import Finisher
from tofa_edge.errors import BackendError
from tofa_edge.measurement.stopwatch import Latency, Run, timed
from tofa_edge.selftest.golden import specimen_images
from tofa_edge.selftest.records import TRUSTED, engine_records, passing_engines
from tofa_edge.serving.explanation import Screened, headroom

log = logging.getLogger(__name__)

CLOSE = 2.2  # of the fastest, alone: on two threads the time by itself says little
BEHIND = 1.2
ROUNDS, TURN = 10, 15
REST_S = 0.03  # threads of a pool spin for some 10 ms after a run, and take a core from the next


@dataclass(frozen=True, slots=True)
class Candidate:
    """An engine that may be used, and its latency with one subnet."""

    engine: Engine
    latency: Latency

    @property
    def cost_ms(self) -> float:
        """The median, with its headroom."""
        return self.latency.p50_ms * headroom(self.engine)


@dataclass(frozen=True, slots=True)
class EngineFilter:
    """Which engines may be used; None is any."""

    backend: str | None = None  # its name
    threads: int | None = None  # their number
    precision: str | None = None  # of the target
    exact: bool = False  # whether integers are out unless they are asked for

    def among(self, offered: list[Engine]) -> list[Engine]:
        """Returns the engines of the precision asked for.

        Where `exact` and only integers work, the reference stands in: it is slow. A backend that
        was asked for by name stays.
        """
        if self.precision is None:
            kept = [e for e in offered if not (self.exact and e.target.is_integer)]
            if kept or self.backend is not None:
                return kept or offered
            return [Engine(backends.backend(TRUSTED), Target())]
        fitting = [e for e in offered if e.target.precision == self.precision]
        if not fitting:
            precisions = ", ".join(sorted({e.target.precision for e in offered}))
            raise BackendError(f"wanted {self.precision}, engines here offer {precisions}")
        return fitting


def candidates_here(
    finisher: Finisher,
    subnet: Subnet,
    allowed: EngineFilter,
    preselect: Callable[[list[Engine]], list[Engine]] = list,
) -> list[Candidate]:
    """Returns the engines that compute the bundle's golden cases, the fastest first."""
    with finisher.timed("self_test"):
        name = allowed.backend
        records = engine_records(finisher.bundle, None if name is None else [name])
        for record in records.values():
            for verdict in record.faults:
                engine = f"{record.backend} {verdict.target or ''}".rstrip()
                finisher.explanation.screened.append(Screened(engine, reason=str(verdict)))
                log.info(f"engine {engine}: not used, {verdict}")
        passing = passing_engines(finisher.bundle, name, allowed.threads)
        offered = preselect(allowed.among(passing))
    with finisher.timed("screen"):
        finisher.stand_beside(reference_run(finisher, offered))
        return screen(finisher, subnet, offered)


def screen(finisher: Finisher, subnet: Subnet, offered: list[Engine]) -> list[Candidate]:
    """Returns the engines that run a subnet, the fastest first.

    An engine that needs every core to be less than a fifth faster comes after.
    """
    screened = finisher.explanation.screened
    image = specimen_images(subnet.resolution)[:1]
    candidates: list[Candidate] = []
    for engine in offered:
        try:
            with closing(engine.load(finisher.stored(subnet, engine))) as session:
                latency = finisher.quick.time(_run(session, image))
        except BackendError as error:
            screened.append(Screened(str(engine), reason=str(error)))
            continue
        screened.append(Screened(str(engine), latency))
        log.info(f"engine {engine}: {latency}")
        candidates.append(Candidate(engine, latency))
    if not candidates:
        reasons = "; ".join(str(each) for each in screened if each.reason)
        raise BackendError(f"no engine works here: {reasons or 'none is installed'}")
    return sorted(candidates, key=lambda candidate: candidate.cost_ms)


def fastest(finisher: Finisher, subnet: Subnet, candidates: list[Candidate]) -> Engine:
    """Returns the engine that runs a subnet in the shortest median time.

    Those that came close are measured side by side, in turn, until one is left or time is up.
    """
    best = min(candidate.latency.p50_ms for candidate in candidates)
    close = [c.engine for c in candidates if c.latency.p50_ms <= CLOSE * best]
    if len(close) == 1:
        return close[0]
    image = specimen_images(subnet.resolution)[:1]
    with ExitStack() as stack:
        runs: dict[Engine, Run] = {}
        for engine in close:
            session = stack.enter_context(closing(engine.load(finisher.stored(subnet, engine))))
            runs[engine] = _run(session, image)
        return side_by_side(runs)[0][0]


def side_by_side(
    runs: Mapping[Engine, Run], rounds: int = ROUNDS, drop: float = BEHIND
) -> list[tuple[Engine, float]]:
    """Returns engines and the median time of their runs in ms, the fastest first.

    They run in turn, forwards then backwards, so that background load affects all alike. Before a
    turn is timed, the threads of the one before get time to rest, and caches are filled.

    Args:
        rounds: for each.
        drop: after a third of them, one that is so much slower than the best is timed no further.
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
        if 3 * number >= rounds:
            limit = drop * min(medians.values())
            left = [engine for engine in left if medians[engine] <= limit]
            if len(left) == 1 and drop < float("inf"):
                break
    return sorted(((e, 1e3 * m) for e, m in medians.items()), key=lambda pair: pair[1])


def _run(session: Session, image: ImageArray) -> Run:
    return lambda: session.run(image)


def reference_run(finisher: Finisher, offered: list[Engine]) -> Run | None:
    """Returns a run that never changes, to notice throttling and background load.

    It is the smallest subnet, on the first of the engines `offered` that takes it; None if none
    does.
    """
    smallest = finisher.bundle.space.smallest()
    image = specimen_images(smallest.resolution)[:1]
    for engine in offered:
        try:
            run = _run(engine.load(finisher.stored(smallest, engine)), image)
            run()
        except BackendError:
            continue
        return run
    return None
