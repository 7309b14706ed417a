"""Hostile finalists: what is listed as tested, and what is said to be ready-made for them."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np

from tests.fuzz.crafted import pick
from tests.fuzz.hostile.draft import Draft, Mutation
from tofa_edge.architecture.layers import LOGITS, layers
from tofa_edge.architecture.space import Subnet
from tofa_edge.bundle.finalists import MOST_FINALISTS, array_shapes
from tofa_edge.network.slicing import cut

SAMPLED = 2  # beside the smallest and the middle
MOST_CLASSIFIER = 1_000_000  # numbers, that each has one of its own


def fill_finalists(draft: Draft, rng: np.random.Generator) -> None:
    """Lists finalists with usual arrays: the supernet's statistics, classifiers of their own."""
    space = draft.space
    drawn = [space.smallest(), space.middle(), *(space.sample(rng) for _ in range(SAMPLED))]
    for index, subnet in enumerate(dict.fromkeys(drawn)):
        _add(draft, index, subnet, rng)


def _listed(subnet: Subnet, accuracy: Any = 0.7, arrays: Any = True) -> dict[str, Any]:
    return {"subnet": json.loads(subnet.to_json()), "accuracy": accuracy, "arrays": arrays}


def _add(draft: Draft, index: int, subnet: Subnet, rng: np.random.Generator) -> None:
    draft.finalists.append(_listed(subnet))
    groups = array_shapes(draft.space, subnet)
    sliced = cut(layers(draft.space, subnet), draft.arrays)
    for role in ("mean", "variance"):
        parts = [sliced[name] for name in groups["statistics"] if name.endswith(f".{role}")]
        if parts:
            draft.ready_made[f"{index}.{role}"] = np.concatenate(parts)
    others = dict(groups["features"])
    if np.prod(groups["classifier"][f"{LOGITS}.weight"]) <= MOST_CLASSIFIER:
        others |= groups["classifier"]
    for name, shape in others.items():
        draft.ready_made[f"{index}.{name}"] = rng.uniform(0.01, 0.5, shape).astype(np.float32)


def _some(draft: Draft, rng: np.random.Generator) -> list[str]:
    """Returns the names of one array, of those of a role, or of all."""
    one = pick(rng, sorted(draft.ready_made))
    alike = [name for name in draft.ready_made if name.partition(".")[2] == one.partition(".")[2]]
    return pick(rng, ([one], alike, list(draft.ready_made)))


def no_finalists(draft: Draft, rng: np.random.Generator) -> str:
    """None listed, no arrays, or neither."""
    which = pick(rng, ("list", "arrays", "both"))
    if which != "arrays":
        draft.finalists = []
    if which != "list":
        draft.ready_made = {}
    return f"no finalists: {which}"


def many_finalists(draft: Draft, rng: np.random.Generator) -> str:
    """As many as are allowed or more, with arrays or without."""
    wanted, ready = pick(rng, (MOST_FINALISTS, MOST_FINALISTS, 20_000)), bool(rng.integers(2))
    known = [Subnet.from_json(json.dumps(item["subnet"])) for item in draft.finalists]
    drawn = dict.fromkeys([*known, *(draft.space.sample(rng) for _ in range(2 * MOST_FINALISTS))])
    for subnet in list(drawn)[len(known) : MOST_FINALISTS]:
        if ready:
            _add(draft, len(draft.finalists), subnet, rng)
        else:
            draft.finalists.append(_listed(subnet, arrays=False))
    if wanted > MOST_FINALISTS:
        draft.finalists = (draft.finalists * wanted)[:wanted]
    return f"{len(draft.finalists)} finalists, arrays {ready}"


def finalist_twice(draft: Draft, rng: np.random.Generator) -> str:
    """The same subnet again, with the arrays of the first, or without any."""
    again = copy.deepcopy(draft.finalists[0])
    again |= {"arrays": bool(rng.integers(2)), "accuracy": 0.9}
    draft.finalists.append(again)
    return f"finalist 0 again, arrays {again['arrays']}"


def finalist_subnet(draft: Draft, rng: np.random.Generator) -> str:
    """A subnet that the space does not have, or another one than the arrays are of."""
    other = draft.finalists[0]["subnet"]
    changes: tuple[Any, ...] = (
        None, {}, {"resolution": 10**6, "stages": []}, {**other, "resolution": 1024},
        {**other, "stages": other["stages"] * 20}, {**other, "stages": other["stages"][:-1]},
        json.loads(draft.space.largest().to_json()), json.loads(draft.space.largest().to_json()),
    )  # fmt: skip
    draft.finalists[0]["subnet"] = change = pick(rng, changes)
    return f"finalist 0 is {str(change)[:60]}"


def finalist_fields(draft: Draft, rng: np.random.Generator) -> str:
    """Accuracies beyond 0..1 or no numbers, and arrays that are there or not."""
    values: tuple[tuple[str, Any], ...] = (
        ("accuracy", -0.1), ("accuracy", 1.0), ("accuracy", 1e300), ("accuracy", float("nan")),
        ("accuracy", True), ("accuracy", "0.9"), ("accuracy", 0), ("arrays", False),
        ("arrays", 1), ("arrays", None), ("arrays", ["mean"]),
    )  # fmt: skip
    name, value = pick(rng, values)
    for item in pick(rng, (draft.finalists, draft.finalists[:1])):
        item[name] = value
    return f"finalists with {name} {value}"


def finalist_values(draft: Draft, rng: np.random.Generator) -> str:
    """Statistics and classifiers of one number, of noise, or with a single bad one."""
    value = pick(rng, (0.0, 1e-45, 1e-20, -1.0, 1e4, 1e5, 1e20, 3e38, np.nan, np.inf))
    alone, names = bool(rng.integers(2)), _some(draft, rng)
    for name in names:
        array = draft.ready_made[name].copy()
        where = int(rng.integers(array.size)) if alone else slice(None)
        array.reshape(-1)[where] = value
        draft.ready_made[name] = array
    return f"{names[:3]} of {len(names)} hold {value}, alone {alone}"


def finalist_shapes(draft: Draft, rng: np.random.Generator) -> str:
    """Arrays of other shapes and types."""
    name = pick(rng, sorted(draft.ready_made))
    array = draft.ready_made[name]
    shape = pick(rng, ((), (0,), (1,), (7, 3), (array.size + 1,), (1, array.size), (1_000_000,)))
    kind = pick(rng, (np.float32, np.float64, np.int64, np.float16, np.uint8))
    draft.ready_made[name] = np.ones(pick(rng, (shape, array.shape)), kind)
    return f"{name} is {draft.ready_made[name].shape} {np.dtype(kind)}, not {array.shape}"


def finalist_names(draft: Draft, rng: np.random.Generator) -> str:
    """Arrays that are missing, of nobody, or of another network."""
    name = pick(rng, sorted(draft.ready_made))
    if rng.integers(2):
        del draft.ready_made[name]
        return f"without {name}"
    other = pick(
        rng, ("mean", "99.mean", "00.mean", "-1.mean", "0.stem.mean", "0.stem.weight", "0.", "0",
              "0.\x1b[31m", "n" * 10_000, "0." + "n" * 10_000),
    )  # fmt: skip
    draft.ready_made[other] = np.ones(8, np.float32)
    return f"with {other[:20]!a}"


def finalist_classifier(draft: Draft, rng: np.random.Generator) -> str:
    """Classifiers of their own that tell no classes apart, or rest on channels that are dead."""
    kind = pick(rng, ("zero", "equal", "outsized", "dead", "float16"))
    for name, array in draft.ready_made.items():
        if name.endswith(f"{LOGITS}.weight"):
            values = {
                "zero": np.zeros_like(array),
                "equal": np.full_like(array, 0.25),
                "outsized": np.where(np.arange(array.shape[1]) % 9, array, np.float32(9e4)),
                "float16": array.astype(np.float16),
            }
            draft.ready_made[name] = values.get(kind, 1000 * array)
        elif name.endswith("features.deviation") and kind in ("dead", "outsized"):
            draft.ready_made[name] = np.where(np.arange(len(array)) % 9, array, np.float32(0))
    return f"classifiers: {kind}"


FINALISTS: dict[str, Mutation] = {
    mutation.__name__: mutation
    for mutation in (
        no_finalists, many_finalists, finalist_twice, finalist_subnet, finalist_fields,
        finalist_values, finalist_shapes, finalist_names, finalist_classifier,
    )
}  # fmt: skip
