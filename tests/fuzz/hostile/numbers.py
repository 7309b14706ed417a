"""Hostile numbers: weights, golden cases and accuracy predictors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.fuzz.crafted import pick
from tests.fuzz.hostile.draft import Arrays, Draft, Mutation, true_case, usual_predictor
from tofa_edge.bundle.manifest import MOST_GOLDEN_CASES


def _some(arrays: Arrays, rng: np.random.Generator, ending: str = "") -> list[str]:
    """Returns the names of one array, of some, or of all."""
    names = [name for name in arrays if name.endswith(ending)]
    if not names:
        return []
    count = pick(rng, (1, max(1, len(names) // 3), len(names)))
    return [names[index] for index in rng.permutation(len(names))[:count]]


def filled(draft: Draft, rng: np.random.Generator) -> str:
    """Arrays of one number: zero, huge, the smallest there is."""
    value = pick(rng, (0.0, 1e-45, 1e-40, -1e-40, 1e-20, 1e6, 1e20, 3e38, -3e38))
    ending = pick(rng, ("", ".weight", ".scale", ".variance", ".bias"))
    names = _some(draft.arrays, rng, ending)
    for name in names:
        number = abs(value) if name.endswith(".variance") else value
        draft.arrays[name] = np.full_like(draft.arrays[name], number)
    return f"{len(names)} arrays {ending} of {value}"


def scaled(draft: Draft, rng: np.random.Generator) -> str:
    """Weights as trained ones, times a number."""
    factor = np.float32(pick(rng, (1e-42, 1e-30, 1e-10, 1e3, 1e10, 1e30, -1.0)))
    names = _some(draft.arrays, rng, pick(rng, ("weight", "scale", "mean")))
    for name in names:
        draft.arrays[name] = draft.arrays[name] * factor
    return f"{len(names)} arrays times {factor}"


def nearly_equal(draft: Draft, rng: np.random.Generator) -> str:
    """Weights that differ in their last bits."""
    names = _some(draft.arrays, rng, "weight")
    for name in names:
        noise = rng.integers(0, 3, draft.arrays[name].shape)
        draft.arrays[name] = (np.float32(0.5) + np.float32(6e-8) * noise).astype(np.float32)
    return f"{len(names)} arrays of numbers nearly equal"


def dead_channels(draft: Draft, rng: np.random.Generator) -> str:
    """Channels without weights, without variance, or without either."""
    share = pick(rng, (0.1, 0.5, 0.99, 1.0))
    endings = pick(rng, ((".weight",), (".variance",), (".scale",), (".weight", ".variance")))
    for name, array in draft.arrays.items():
        if name.endswith(endings):
            array = array.copy()
            array[rng.random(len(array)) < share] = 0
            draft.arrays[name] = array
    return f"{share:.0%} of channels without {endings}"


def outlier(draft: Draft, rng: np.random.Generator) -> str:
    """One number that is far larger than the others, or none at all."""
    value = pick(rng, (1e4, 1e8, 1e30, 3.4e38, np.nan, np.inf, -np.inf, -1e-30, -1.0))
    names = _some(draft.arrays, rng, pick(rng, ("", ".variance", ".weight")))
    for name in names:
        array = draft.arrays[name].copy()
        array.reshape(-1)[int(rng.integers(array.size))] = value
        draft.arrays[name] = array
    return f"a {value} in {len(names)} arrays"


def half(draft: Draft, rng: np.random.Generator) -> str:
    """Weights in 16 bits, perhaps too large or too small for them."""
    factor = np.float32(pick(rng, (1.0, 1e-7, 3e4, 1e6)))
    for name, array in draft.arrays.items():
        if name.endswith(".weight"):
            draft.arrays[name] = (array * factor).astype(np.float16)
    return f"weights times {factor} in float16"


def golden_many(draft: Draft, rng: np.random.Generator) -> str:
    """As many cases as are allowed, or cases of many images."""
    cases, images = pick(rng, ((MOST_GOLDEN_CASES, 1), (MOST_GOLDEN_CASES, 50), (1, 2000), (65, 1)))
    first = draft.golden[0]
    most = max(1, 40_000_000 // (first.images.nbytes + first.logits.nbytes) // cases)
    many = replace(
        first,
        images=np.repeat(first.images, min(images, most), axis=0),
        logits=np.repeat(first.logits, min(images, most), axis=0),
    )
    draft.golden = [many] * cases
    return f"{cases} golden cases of {min(images, most)} images"


def golden_images(draft: Draft, rng: np.random.Generator) -> str:
    """Images of one colour, with the logits that belong to them."""
    value = pick(rng, (0, 128, 255))
    draft.golden = [
        true_case(draft, case.subnet, np.full_like(case.images, value)) for case in draft.golden
    ]
    return f"golden images of {value}"


def golden_logits(draft: Draft, rng: np.random.Generator) -> str:
    """Logits that are wrong, constant or huge."""
    value = pick(rng, (0.0, 0.0, 1e-6, 1.0, 1e30, -3e38, np.nan))
    keep = pick(rng, (0.0, 1.0, 1.0, 1.001))
    with np.errstate(all="ignore"):
        draft.golden = [
            replace(case, logits=(case.logits * keep + value).astype(np.float32))
            for case in draft.golden
        ]
    return f"golden logits times {keep} plus {value}"


def no_predictor(draft: Draft, rng: np.random.Generator) -> str:
    """No accuracy predictor at all."""
    draft.predictor = {}
    return "no predictor"


def large_predictor(draft: Draft, rng: np.random.Generator) -> str:
    """A predictor of as many subnets as fit."""
    count = pick(rng, (1, 1000, 3000, 3900))
    draft.predictor = usual_predictor(draft.space, rng, count)
    return f"predictor of {count} subnets"


def predictor_values(draft: Draft, rng: np.random.Generator) -> str:
    """Predictors that divide by zero, overflow, or expect nonsense."""
    values = (0.0, -1.0, 1e-45, 1e-20, 1e20, 3e38, -3e38, np.nan, np.inf)
    names = [name for name in draft.predictor if rng.random() < 0.3] or ["scale"]
    said = []
    for name in names:
        value = pick(rng, values)
        draft.predictor[name] = np.full_like(draft.predictor.get(name, np.ones(1)), value)
        said.append(f"{name} {value}")
    return f"predictor with {', '.join(said)}"


def predictor_shapes(draft: Draft, rng: np.random.Generator) -> str:
    """Predictors of another space, or of arrays that do not fit each other."""
    name = pick(rng, ("inputs", "weights", "factor", "centre", "settings", "rounding", "extra"))
    shape = pick(rng, ((), (0,), (1,), (7, 3), (2, 2, 2)))
    kind = pick(rng, (np.float32, np.float64, np.int64, np.float16))
    draft.predictor[name] = np.ones(shape, kind)
    return f"predictor whose {name} is {np.dtype(kind)} {shape}"


WEIGHTS: dict[str, Mutation] = {
    f"weights_{mutation.__name__}": mutation
    for mutation in (filled, scaled, nearly_equal, dead_channels, outlier, half)
}
GOLDEN: dict[str, Mutation] = {
    mutation.__name__: mutation for mutation in (golden_many, golden_images, golden_logits)
}
PREDICTORS: dict[str, Mutation] = {
    mutation.__name__: mutation
    for mutation in (no_predictor, large_predictor, predictor_values, predictor_shapes)
}
