"""Hostile fields of the manifest: a space, classes, labels or members that cannot be."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np

from tests.fuzz.crafted import (
    MANIFEST,
    Damage,
    DamagedFile,
    Sample,
    manifest_case,
    member_list,
    pick,
    seal,
)
from tofa_edge.bundle.manifest import SCHEMA


def space(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Offers gigantic or contradictory choices; none of them fits the weights."""
    manifest = sample.manifest()
    given = manifest["space"]
    stage = dict(given["stages"][-1])
    widest = list(range(8, 8193, 128))[-64:]
    huge = {**stage, "depths": list(range(1, 17)), "widths": [512], "expands": list(range(2, 17))}
    of_stage: tuple[dict[str, Any], ...] = (
        {"widths": [8192]}, {"widths": widest, "expands": [1]}, {"depths": [16]}, {"depths": [0]},
        {"depths": []}, {"depths": [2, 1]}, {"depths": [10**9]}, {"kernels": [4]}, {"kernels": [0]},
        {"kernels": [-3]}, {"kernels": [3, 3]}, {"kernels": [9]}, {"expands": [1, 6]},
        {"expands": [10**12]}, {"stride": 0}, {"stride": 3}, {"activation": "exec"},
        {"shortcut": True, "stride": 2}, {"widths": list(range(8, 8000, 8))}, {"widths": ["8"]},
        {"kernel_transforms": True}, {"squeeze_excitation": True}, {"kernel_transforms": 1},
    )  # fmt: skip
    of_space: tuple[dict[str, Any], ...] = (
        {"classes": 100_000}, {"classes": 0}, {"resolutions": [10**6]}, {"resolutions": []},
        {"resolutions": [1024]}, {"stem_width": 8192}, {"head_width": 10**9}, {"epsilon": 0.0},
        {"feature_width": 8192}, {"padding": "valid"}, {"stages": []}, {"stages": [stage] * 17},
        {"stages": [huge] * 16}, {"stages": [huge] * 100_000}, {"stages": None},
        {"name": ["n"] * 3}, {"stem_width": 8192, "stages": [{**huge, "widths": [8192]}] * 16},
        {"stages": given["stages"][::-1]}, {"head_activation": ["relu"]}, {"name": "\n"},
        {"name": "n" * 201}, {"name": "../../x"}, {"resolutions": [8, 1024], "stem_width": 512},
    )  # fmt: skip
    whole = bool(rng.integers(2))
    change = pick(rng, of_space if whole else of_stage)
    target = given if whole else given["stages"][int(rng.integers(len(given["stages"])))]
    unchanged = all(target.get(key) == value for key, value in change.items())
    needless = change == {"kernel_transforms": True} and len(target["kernels"]) == 1
    target.update(change)
    harmless = unchanged or needless or change == {"name": "\n"}
    return manifest_case(sample, manifest, f"{whole=} {str(change)[:100]}", harmless)


def classes(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Names other classes than the classifier has."""
    manifest = sample.manifest()
    names = manifest["classes"]
    lists: tuple[tuple[Any, bool], ...] = (
        (names[:-1], False), ([*names, "more"], False), ([], False), (names * 1000, False),
        ([f"class {index}" for index in range(100_000)], False), ("c" * len(names), False),
        (dict.fromkeys(names, 0), False), ([*names[:-1], None], False), ([*names[:-1], 1], False),
        ([*names[:-1], [names[-1]]], False), ([*names[:-1], "\0"], False), (names[::-1], True),
        ([*names[:-1], "\x1b[31m"], False), ([*names[:-1], "\ud800"], False), (len(names), False),
        ([*names[:-1], "猫 with\u200cout"], True), ([*names[:-1], "n" * 10**6], False),
    )  # fmt: skip
    manifest["classes"], harmless = pick(rng, lists)
    if rng.integers(8) == 0 and isinstance(manifest["classes"], list):
        manifest["space"]["classes"] = len(manifest["classes"])
    return manifest_case(sample, manifest, f"classes {str(manifest['classes'])[-60:]}", harmless)


def labels(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Labels the check photos wrongly; another label that exists is no damage to see."""
    manifest = sample.manifest()
    right = manifest["check_labels"]
    value = pick(rng, (-1, len(manifest["classes"]), 2**40, True, 1.0, "1", None, [1], math.nan, 1))
    wrong: list[Any] = list(right)
    if wrong:
        wrong[int(rng.integers(len(wrong)))] = value
    lists: tuple[Any, ...] = (
        wrong, wrong, right[:-1], [*right, 0], right * 5000, {}, "0" * len(right),
    )  # fmt: skip
    manifest["check_labels"] = pick(rng, lists)
    exist = type(value) is int and value == 1
    harmless = manifest["check_labels"] == right or (manifest["check_labels"] is wrong and exist)
    return manifest_case(sample, manifest, f"labels {str(manifest['check_labels'])[:60]}", harmless)


def golden(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Lists golden cases that the space or the tensors do not have."""
    manifest = sample.manifest()
    cases = manifest["golden"]
    other = copy.deepcopy(cases[0])
    stage = pick(rng, other["stages"])
    changes: tuple[Any, ...] = (8192, -1, 0, None, 16.0, True, "16", [16], 10**30)
    spot = int(rng.integers(4))
    if spot == 0:
        other["resolution"] = pick(rng, changes)
    elif spot == 1:
        stage[0] = pick(rng, changes)
    elif spot == 2:
        stage[1] = pick(
            rng, ([], [[3, 1]] * 17, [[3]], [[3, 1, 1]], None, "ab", [[4, 1]], [[3, 99]])
        )
    else:
        other = pick(rng, (None, [], "x", 1, {}, {"resolution": 16}, {"stages": []}))
    lists: tuple[Any, ...] = (
        [other, *cases[1:]], [*cases, cases[0]], cases[:-1], cases * 30, {}, cases[0], "xyz",
        [cases[0]] * 50_000,
    )  # fmt: skip
    manifest["golden"] = pick(rng, (lists[0], *lists))
    return manifest_case(sample, manifest, f"golden {str(manifest['golden'])[:80]}")


def finalists(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Lists finalists that the space or the tensors do not have, twice, or with odd accuracies."""
    manifest = sample.manifest()
    right = manifest["finalists"]
    other = copy.deepcopy(pick(rng, right))
    field = pick(rng, ("subnet", "accuracy", "arrays"))
    values: dict[str, tuple[Any, ...]] = {
        "subnet": (None, [], "x", {}, {**other["subnet"], "resolution": 10**30},
                   {**other["subnet"], "stages": other["subnet"]["stages"][:-1]}),
        "accuracy": (-1e-9, 1.0001, math.nan, math.inf, -math.inf, 10**400, True, "1", None, [0.5]),
        "arrays": (not other["arrays"], 0, 1, None, "true", []),
    }  # fmt: skip
    wrong = {**other, field: pick(rng, values[field])}
    lists: tuple[Any, ...] = (
        [wrong, *right[1:]], [*right[:-1], wrong], [*right, other], right * 40, {}, None, other,
        [other] * 50_000, right[:-2], [], {str(n): item for n, item in enumerate(right)},
    )  # fmt: skip
    manifest["finalists"] = pick(rng, (*lists[:2], *lists))
    return manifest_case(sample, manifest, f"finalists {str(manifest['finalists'])[:80]}")


def schema(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Claims another schema or another format."""
    manifest = sample.manifest()
    values: tuple[Any, ...] = (
        SCHEMA + 1, 10**9, 10**4000, 0, -1, "1", "2\n\x1b[2J", None, True, 1.0, [1], {},
    )  # fmt: skip
    field = pick(rng, ("schema", "schema", "format"))
    manifest[field] = pick(rng, values)
    return manifest_case(sample, manifest, f"{field} is {str(manifest[field])[:30]}")


def lying_list(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Lists members, sizes or hashes that are not those of the file."""
    manifest = sample.manifest()
    listed: dict[str, Any] = {**member_list(sample.members)}
    manifest["members"] = listed
    name = pick(rng, sample.names)
    entry, shape = listed[name], int(rng.integers(7))
    if shape == 0:
        del listed[name]
    elif shape == 1:
        listed[pick(rng, ("../x.jpg", "/etc/passwd", MANIFEST, "\n" * 100, "k" * 10**6, ""))] = (
            entry
        )
    elif shape == 2:
        entry["size"] += pick(rng, (1, -1, 2**32, 0.5))
    elif shape == 3:
        entry["sha256"] = pick(
            rng, ("0" * 64, "", None, entry["sha256"].upper(), 0, [], "x" * 10**6)
        )
    elif shape == 4:
        other = pick(rng, [other for other in sample.names if listed[other] != entry])
        listed[name], listed[other] = listed[other], entry
    elif shape == 5:
        listed[name] = pick(rng, (None, [], "x", 1, {}, {"size": entry["size"]}))
    else:
        manifest["members"] = pick(rng, ([], None, "x", {}, list(listed), list(listed.items())))
    return manifest_case(sample, manifest, f"list of members, {shape=} {name}")


def foreign_member(sample: Sample, rng: np.random.Generator) -> DamagedFile:
    """Lists and stores one more member, hash in order, or one fewer than needed."""
    members = dict(sample.members)
    if rng.integers(2):
        name = pick(rng, ("x.py", "check/x.jpg", "weights.pickle", "lib/evil.so", "check/0.exe"))
        members[name] = rng.bytes(40)
    else:
        name = pick(rng, sample.names)
        del members[name]
    harmless = name.startswith("calibration/")
    return DamagedFile(seal(members, sample.manifest()), f"{name} added or missing", harmless)


DAMAGES: dict[str, Damage] = {
    f"manifest_{damage.__name__}": damage
    for damage in (
        space,
        classes,
        labels,
        golden,
        finalists,
        schema,
        lying_list,
        foreign_member,
    )
}
