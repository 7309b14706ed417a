"""Which engines work here, how fast they are, and whether they compute the right numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from tofa_edge import backends
from tofa_edge.backends import Backend, Engine, Session
from tofa_edge.cutting import Cutter
from tofa_edge.errors import BackendError
from tofa_edge.explanation import Explanation, Screened
from tofa_edge.measurement import Latency, Run, Stopwatch
from tofa_edge.network import ImageArray
from tofa_edge.proof import disproof

ALL_CORES = 1.2  # how much slower it counts

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An engine that may be used, and its latency with the middle subnet."""

    engine: Engine
    latency: Latency

    @property
    def cost_ms(self) -> float:
        """The median, more where all cores are busy with it: there, any other work shows."""
        cores = max(target.threads for target in self.engine.backend.targets())
        greedy = self.engine.target.threads > 1 and self.engine.target.threads == cores
        return self.latency.p50_ms * (ALL_CORES if greedy else 1.0)


def probe_images(size: int) -> ImageArray:
    """Returns two images that no photo resembles, uint8, (2, size, size, 3)."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (2, size, size, 3), dtype=np.uint8)


def screen(
    cutter: Cutter,
    offered: list[Engine],
    stopwatch: Stopwatch,
    explanation: Explanation,
    tell: Tell,
) -> list[Candidate]:
    """Returns the engines that run the middle subnet, the fastest first.

    An engine that needs every core to be less than a fifth faster comes after.

    Args:
        cutter: of the bundle.
        offered: as `engines` returns them.
        stopwatch: to time with.
        explanation: gets what was found.
        tell: called with a line of text for each.

    Raises:
        BackendError: none works.
    """
    middle = cutter.space.middle()
    network = cutter.stored_network(middle)
    image = probe_images(network.input_size)[:1]
    found: list[Candidate] = []
    for engine in offered:
        try:
            session = engine.load(network)
        except BackendError as error:
            explanation.screened.append(Screened(str(engine), reason=str(error)))
            continue
        try:
            latency = stopwatch.time(_run(session, image))
        except BackendError as error:
            explanation.screened.append(Screened(str(engine), reason=str(error)))
            continue
        finally:
            session.close()
        explanation.screened.append(Screened(str(engine), latency))
        tell(f"engine {engine}: {latency}")
        found.append(Candidate(engine, latency))
    if not found:
        _none_works(explanation)
    return sorted(found, key=lambda candidate: candidate.cost_ms)


def proven(
    cutter: Cutter, candidates: list[Candidate], most: int, explanation: Explanation, tell: Tell
) -> list[Candidate]:
    """Returns the first `most` candidates that compute the golden cases.

    Raises:
        BackendError: none does.
    """
    kept: list[Candidate] = []
    for candidate in candidates:
        reason = disproof(cutter, candidate.engine)
        if reason is None:
            kept.append(candidate)
            if len(kept) == most:
                break
        else:
            explanation.screened.append(Screened(str(candidate.engine), reason=reason))
            tell(f"engine {candidate.engine}: not used, {reason}")
    if not kept:
        _none_works(explanation)
    return kept


def engines(name: str | None = None, threads: int | None = None) -> list[Engine]:
    """Returns the engines that may run here: every working backend on each of its targets.

    The reference is only among them if nothing else is: it is slow.

    Raises:
        BackendError: the one asked for cannot run, or not with so many threads.
    """
    found = {name: backends.backend(name)} if name else backends.working()
    if len(found) > 1:
        found.pop("reference", None)
    return [engine for item in found.values() for engine in _targets(item, threads)]


def _targets(backend: Backend, threads: int | None) -> Iterator[Engine]:
    targets = backend.targets()
    counts = sorted({target.threads for target in targets})
    if threads is not None and threads not in counts:
        offered = ", ".join(map(str, counts))
        raise BackendError(f"{backend.name}: wanted {threads} threads, it offers {offered} here")
    for target in targets:
        if threads in (None, target.threads):
            yield Engine(backend, target)


def _run(session: Session, image: ImageArray) -> Run:
    return lambda: session.run(image)


def reference_run(cutter: Cutter, offered: list[Engine]) -> Run | None:
    """Returns a short run that never changes, to see how the machine fares: the smallest subnet.

    On the first engine that takes it; None if none does.
    """
    network = cutter.stored_network(cutter.space.smallest())
    image = probe_images(network.input_size)[:1]
    for engine in offered:
        try:
            run = _run(engine.load(network), image)
            run()
        except BackendError:
            continue
        return run
    return None


def _none_works(explanation: Explanation) -> None:
    reasons = "; ".join(str(s) for s in explanation.screened if s.reason)
    raise BackendError(f"no engine works here: {reasons or 'none is installed'}")
