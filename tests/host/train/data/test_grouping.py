"""Groups of nearly equal photos go to one role, whole."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.host.train.data.test_near_duplicates import scenes
from tofa_edge.architecture.arrays import IndexArray
from tofa_edge.train.data.division import divided
from tofa_edge.train.data.grouping import grouped, joined, split
from tofa_edge.train.data.photos import LabelledPaths, Photos
from tofa_edge.train.trainer import PARTS


def array(values: Any) -> IndexArray:
    return np.array(values, np.int64)


@given(st.lists(st.tuples(st.integers(-1, 2), st.integers(0, 60)), max_size=120), st.integers(0, 9))
def test_no_group_is_in_two_roles(photos: list[tuple[int, int]], seed: int) -> None:
    labels = array([*(label for label, _ in photos), *[0, 1, 2] * 4])
    groups = array([*(group for _, group in photos), *range(61, 73)])
    roles = split(labels, PARTS, seed, groups=groups)
    assert list(roles) == ["train", "validation", "check"]
    inside = {role: set(groups[chosen].tolist()) for role, chosen in roles.items()}
    assert sum(map(len, inside.values())) == len(np.unique(groups)), "each is in one role"
    together = np.concatenate(list(roles.values()))
    assert len(np.unique(together)) == len(together)
    train = set(roles["train"].tolist())
    assert train == set(np.flatnonzero(np.isin(groups, list(inside["train"]))).tolist()), "whole"
    for role in ("validation", "check"):
        pairs = [(groups[index], labels[index]) for index in roles[role]]
        assert len(set(pairs)) == len(pairs), "copies count once"
        assert (labels[roles[role]] >= 0).all()
        assert set(labels[roles[role]].tolist()) >= {0, 1, 2}


def test_shares_are_kept_among_groups() -> None:
    """A hundred groups of one to five photos of each class."""
    sizes = np.random.default_rng(0).integers(1, 6, 200)
    groups, labels = np.repeat(np.arange(200), sizes), np.repeat(np.arange(200) % 2, sizes)
    roles = split(labels.astype(np.int64), PARTS, 1, groups=groups)
    assert [len(roles[role]) for role in ("validation", "check")] == [20, 20]
    assert (labels[roles["check"]] == 0).sum() == 10


def test_a_class_of_few_groups_trains_first(caplog: pytest.LogCaptureFixture) -> None:
    labels, groups = array([0] * 9 + [1] * 9), array([*range(9), *[9] * 5, *[10] * 4])
    with caplog.at_level(logging.WARNING):
        roles = split(labels, PARTS, 0, ("cat", "dog"), groups)
    assert {role: int((labels[part] == 1).sum()) for role, part in roles.items()}["check"] == 0
    assert (labels[roles["validation"]] == 1).sum() == 1
    assert (labels[roles["train"]] == 1).sum() in (4, 5)
    said = caplog.messages[0]
    assert "class 'dog' has 2 photos that are not nearly equal to each other" in said
    assert "none of it for check" in said


def test_a_class_inside_groups_of_another_trains() -> None:
    labels = array([0] * 20 + [1, 1, 1])
    groups = array([*range(20), 0, 1, 2])
    for seed in range(5):
        roles = split(labels, PARTS, seed, groups=groups)
        assert (labels[roles["train"]] == 1).sum() == 3


def test_unlabelled_copies_follow_their_photo() -> None:
    labels, groups = array([0] * 30 + [-1] * 30), array([*range(30), *range(30)])
    roles = split(labels, PARTS, 0, groups=groups)
    train = set(groups[roles["train"]].tolist())
    assert len(roles["train"]) == 2 * len(train) == 48
    assert not train & set(groups[roles["validation"]].tolist())


@pytest.mark.parametrize("names", [(), tuple(f"{number}.jpg" for number in range(44))])
def test_the_same_photo_under_two_labels_has_none(
    names: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    images, labels = scenes(40, 4), array([0, 1] * 20)
    noisy = np.clip(images[5].astype(int) + np.tile([1, -1], 48)[:, None], 0, 255).astype(np.uint8)
    shifted = np.roll(images[8], 3, axis=1)
    images = np.concatenate([images, images[:1], images[2:3], noisy[None], shifted[None]])
    labels = np.append(labels, [1, 0, 0, 1])
    with caplog.at_level(logging.INFO, "tofa_edge"):
        listed = LabelledPaths(("cat", "dog"), tuple(map(Path, names)), labels) if names else None
        found = grouped(Photos(("cat", "dog"), images, labels, listed=listed))
    assert np.flatnonzero(found.photos.labels < 0).tolist() == [0, 5, 40, 42]
    assert found.groups[40:].tolist() == [0, 2, 5, 8], "another moment may be of another class"
    assert "8 photos are equal or nearly equal to others, in 4 groups" in caplog.messages[0]
    said = caplog.messages[1]
    assert "the same photo under two labels counts as unlabelled" in said
    one, two = ("0.jpg", "40.jpg") if names else ("photos 0", "40")
    assert f"{one} ('cat') and {two} ('dog')" in said


def test_photos_without_labels_are_grouped() -> None:
    images = np.concatenate([scenes(10, 5), scenes(1, 5)])
    found = grouped(Photos(("a",), images, array([-1] * 11)))
    assert found.groups.tolist() == [*range(10), 0]


def test_groups_are_joined_by_any_way() -> None:
    joint = joined(array([0, 0, 1, 1, 2, 3]), array([5, 6, 6, 7, 8, 8]))
    assert len(np.unique(joint)) == 2
    assert len(set(joint[:4].tolist())) == len(set(joint[4:].tolist())) == 1


def test_copies_of_test_photos_do_not_train() -> None:
    labels, groups = array([0, 1] * 20), array([*range(38), 0, 1])
    given = (*[None] * 38, "test", "test")
    photos = Photos(("cat", "dog"), np.zeros((40, 4, 4, 3), np.uint8), labels, given)
    dealt = divided(photos, PARTS, 0, groups)
    assert sorted(np.concatenate(list(dealt.values())).tolist()) == list(range(2, 38))
