"""One case: a hostile bundle and what is asked of it, from a seed and a number alone."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from tests.fuzz.crafted import pick
from tests.fuzz.hostile.draft import Draft, Mutation, fill_arrays, fill_golden, new_draft
from tests.fuzz.hostile.finalists import FINALISTS, fill_finalists
from tests.fuzz.hostile.numbers import GOLDEN, PREDICTORS, WEIGHTS
from tests.fuzz.hostile.photos import PHOTOS, WORDS
from tests.fuzz.hostile.spaces import SPACES

LATER = (GOLDEN, PREDICTORS, PHOTOS, WORDS, FINALISTS)  # than the weights
GROUPS: tuple[dict[str, Mutation], ...] = (SPACES, WEIGHTS, *LATER)
MUTATIONS: dict[str, Mutation] = {name: item for group in GROUPS for name, item in group.items()}
ENGINES = (*["tflite"] * 7, "onnxruntime", "openvino", "reference")  # tflite is quick to start
LATENCIES_MS = (None, None, 0.01, 0.3, 2.0, 20.0)


@dataclass(frozen=True)
class Case:
    """What is tried.

    Attributes:
        number: with the seed it makes the case again.
        mutations: names, in the order in which they are applied.
        engine: asked for.
        latency_ms: the budget; None for none.
        finalist: whether the first finalist is asked for where there is no budget.
    """

    number: int
    mutations: tuple[str, ...]
    engine: str
    latency_ms: float | None
    finalist: bool = False

    def __str__(self) -> str:
        without = "the first finalist" if self.finalist else "no budget"
        budget = without if self.latency_ms is None else f"{self.latency_ms:g} ms"
        return f"{' + '.join(self.mutations)}, {self.engine}, {budget}"


def case(seed: int, number: int) -> Case:
    """Returns a case; mutations take turns, with up to two of other groups beside them."""
    rng = np.random.default_rng([seed, number])
    chosen = {list(MUTATIONS)[number % len(MUTATIONS)]}
    for _ in range(int(rng.integers(3))):
        free = [group for group in GROUPS if not chosen & group.keys()]
        chosen.add(pick(rng, list(pick(rng, free))))
    ordered = tuple(name for name in MUTATIONS if name in chosen)
    asked = pick(rng, ENGINES), pick(rng, LATENCIES_MS)
    return Case(number, ordered, *asked, bool(chosen & FINALISTS.keys()) or bool(rng.integers(2)))


def made(seed: int, which: Case) -> tuple[bytes, str]:
    """Returns the file of a case, and in words what is wrong with it."""
    rng, draft = np.random.default_rng([seed, which.number, 1]), new_draft()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # overflow is meant
        said = _mutated(draft, SPACES, which, rng)
        fill_arrays(draft, rng)
        said += _mutated(draft, WEIGHTS, which, rng)
        fill_golden(draft, rng)
        fill_finalists(draft, rng)
        for group in LATER:
            said += _mutated(draft, group, which, rng)
    return draft.packed(), "; ".join(said)


def _mutated(
    draft: Draft, group: dict[str, Mutation], which: Case, rng: np.random.Generator
) -> list[str]:
    return [group[name](draft, rng) for name in which.mutations if name in group]
