"""Engines that may run the network: how fast each was with one subnet, and which to go on with."""

from __future__ import annotations

from dataclasses import dataclass

from tofa_edge.backends.protocol import Engine
from tofa_edge.backends.support import usable_cores
from tofa_edge.measurement.stopwatch import Latency

ALL_CORES = 1.2  # what a latency may grow by where every core is needed


@dataclass(frozen=True, slots=True)
class Candidate:
    """An engine that may be used, and its latency with one subnet."""

    engine: Engine
    latency: Latency

    @property
    def cost_ms(self) -> float:
        """The median, with its headroom."""
        return self.latency.p50_ms * headroom(self.engine)


def headroom(engine: Engine) -> float:
    """Returns the factor that a latency may grow by: with all cores in use, other programs show."""
    threads = engine.target.threads
    return ALL_CORES if threads > 1 and threads >= usable_cores() else 1.0


def fastest_candidates(candidates: list[Candidate]) -> list[Candidate]:
    """Returns the two engines to consider: the fastest, and the next that promises something else.

    After one in integers or bf16 that is the fastest of the others, which are more accurate; after
    one of these the next of all.
    """
    first, others = candidates[0], candidates[1:]
    if first.engine.target.is_coarse:
        others = [other for other in others if not other.engine.target.is_coarse] or others
    return [first, *others[:1]]
