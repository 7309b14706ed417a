"""Choosing among finalists alone: subnets whose accuracy the host has tested."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tofa_edge.architecture.encodings import Encodings, encoded
from tofa_edge.architecture.space import Subnet
from tofa_edge.backends.protocol import Engine
from tofa_edge.budget import Budget
from tofa_edge.search.chooser import CAUTION, Chooser, Pick

BOLDNESS = (0.0, -1.0, -2.0)  # caution in turn, once one was measured within the budget


@dataclass(eq=False)
class FinalistChooser(Chooser):
    """Chooses a finalist and an engine within a budget, by what was measured so far.

    The accuracy predictor only tells what integers cost. Once a finalist was measured within the
    budget, nothing is lost by trying a better one that is only just expected to be, and then one
    that may be.

    Attributes:
        finalists: their accuracies tested on the host, 0..1; one at least.
    """

    finalists: Mapping[Subnet, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._encodings = encoded(self.space, [*self.finalists])
        self._tested = np.array([*self.finalists.values()], np.float64)
        super().__post_init__()

    @property
    def is_bold(self) -> bool:
        """See `Chooser`."""
        return True

    def pick(self, better_than: float | None = None, share: float = 1.0) -> Pick | None:
        """See `Chooser`; what is `better_than` the one there may be by any amount."""
        if better_than is None:
            return super().pick(share=share)
        for caution in BOLDNESS:
            pick = self._best(self.budget, caution=caution)
            if pick is not None and pick.accuracy > better_than:
                return self._try(pick)
        return None

    def _pool(self) -> Encodings:
        return self._encodings

    def _best(self, budget: Budget, again: bool = False, caution: float = CAUTION) -> Pick | None:
        """Returns the finalist of the highest tested accuracy within a budget, or None.

        Of several such the fastest; with `again`, also of those that were tried.
        """
        best: tuple[float, float, int, Engine] | None = None
        for engine in self.forecasts:
            scores = self._accuracy_within(self._encodings, engine, budget, self._tested, caution)
            for tried, by in () if again else self._tried:
                if by == engine:
                    scores[(self._encodings == tried).all(axis=1)] = -np.inf
            alike = np.flatnonzero(scores == scores.max())
            taken = self._cautious_ms(engine, self._encodings[alike], budget, 0.0)
            first = int(taken.argmin())
            found = (-float(scores.max()), float(taken[first]), int(alike[first]), engine)
            best = found if best is None or found[:2] < best[:2] else best
        if best is None or not np.isfinite(best[0]):
            return None
        loss, _, place, engine = best
        genes = self._encodings[place : place + 1]
        predicted = float(self._expected_ms(engine, genes, budget)[0])
        return Pick(self.space.decode(genes[0]), engine, -loss, predicted)

    def _accuracy(self, subnet: Subnet) -> float:
        tested = self.finalists.get(subnet)
        return super()._accuracy(subnet) if tested is None else tested

    @property
    def _judges_accuracy(self) -> bool:
        return True

    def _most_accurate(self) -> tuple[str, float]:
        return "the best that was tested on the host reached", float(self._tested.max())
