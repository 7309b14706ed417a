"""Photos keep the roles that their data set gives them, and parts of one photo stay together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tofa_edge.errors import DataError
from tofa_edge.train.data.division import divided, held_out, split_together
from tofa_edge.train.data.photos import LabelledPaths, Photos

PARTS = {"train": 0.8, "validation": 0.1, "check": 0.1}


def listed(labels: list[int], roles: Sequence[str | None]) -> LabelledPaths:
    paths = tuple(Path(f"{number}.png") for number in range(len(labels)))
    return LabelledPaths(("a", "b"), paths, np.array(labels), roles=tuple(roles))


def test_given_roles_are_kept() -> None:
    roles = ["train"] * 20 + ["validation"] * 6 + ["test"] * 8 + [None] * 4
    photos = listed([0, 1] * 12 + [-1, 0] * 2 + [0, 1] * 5, roles)
    dealt = divided(photos, PARTS, 3)
    assert sorted(dealt["validation"].tolist()) == [20, 21, 22, 23, 25]  # 24 has no label
    others = sorted([*dealt["train"].tolist(), *dealt["check"].tolist()])
    assert others == [*range(20), *range(34, 38)]
    assert sorted(photos.labels[dealt["check"]].tolist()) == [0, 1]


def test_without_roles_all_are_dealt() -> None:
    dealt = divided(listed([0, 1] * 20, []), PARTS, 0)
    assert sorted(np.concatenate([*dealt.values()]).tolist()) == list(range(40))
    assert len(dealt["validation"]) == len(dealt["check"]) == 4


def test_roles_without_validation_draw_one() -> None:
    dealt = divided(listed([0, 1] * 20, ["train"] * 30 + ["test"] * 10), PARTS, 0)
    assert max(max(part.tolist()) for part in dealt.values()) < 30
    assert len(dealt["validation"]) == 4


def test_a_class_that_is_only_tested_is_named() -> None:
    with pytest.raises(DataError, match="class 'b' has no photo to train on"):
        divided(listed([0] * 9 + [1], ["train"] * 9 + ["test"]), PARTS, 0)


def test_what_is_held_out() -> None:
    photos = listed([0, 1, 1, 0, -1], ["train", "validation", "test", None, "test"])
    held = held_out(photos)
    assert isinstance(held, LabelledPaths)
    assert (held.classes, held.labels.tolist(), held.paths) == (("b",), [0], (Path("2.png"),))
    assert held_out(listed([0, 1], [])).labels.tolist() == [0, 1]


@pytest.mark.parametrize("seed", range(5))
def test_parts_of_one_photo_have_one_role(seed: int) -> None:
    rng = np.random.default_rng(seed)
    origins = np.sort(rng.integers(0, 60, 400))
    labels = rng.choice(3, 400, p=[0.8, 0.17, 0.03])
    dealt = split_together(labels, origins, PARTS, seed, "abc")
    assert sorted(np.concatenate([*dealt.values()]).tolist()) == list(range(400))
    groups = [set(origins[part].tolist()) for part in dealt.values()]
    assert sum(map(len, groups)) == len(set.union(*groups))
    for part in dealt.values():
        assert set(labels[part].tolist()) == {0, 1, 2}
    assert len(dealt["train"]) > 200
    again = split_together(labels, origins, PARTS, seed, "abc")
    assert all(np.array_equal(again[role], part) for role, part in dealt.items())


def test_a_class_in_few_photos_is_named() -> None:
    labels, origins = np.array([0, 0, 0, 0, 1, 1, 1]), np.array([0, 1, 2, 3, 0, 0, 1])
    with pytest.raises(DataError, match="class 'nut' is in 2"):
        split_together(labels, origins, PARTS, 0, ("bolt", "nut"))


def test_a_class_that_a_role_lacks_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    labels, origins = np.array([0, 1, 0, 1, 0, 1]), np.array([0, 0, 1, 1, 2, 2])
    split_together(labels, origins, PARTS, 0, ("bolt", "nut"))
    assert not caplog.text
    labels = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2])
    origins = np.array([0, 1, 2, 0, 1, 2, 0, 1, 3])
    dealt = split_together(labels, origins, PARTS, 0, ("bolt", "nut", "screw"))
    lacking = [role for role in PARTS if set(labels[dealt[role]].tolist()) != {0, 1, 2}]
    assert ("no photo of class" in caplog.text) == bool(set(lacking) - {"train"})
    assert "train" not in lacking


def test_decoded_photos_are_dealt_alike() -> None:
    labels, origins = [0, 1] * 8, tuple(number // 2 for number in range(16))
    photos = Photos(("a", "b"), np.zeros((16, 4, 4, 3), np.uint8), np.array(labels), (), origins)
    dealt = divided(photos, PARTS, 1)
    assert sorted(dealt["check"] // 2) == [dealt["check"][0] // 2] * 2
    assert photos.take(dealt["check"]).origins == (dealt["check"][0] // 2,) * 2
