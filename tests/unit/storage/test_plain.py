"""Values through JSON and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tofa_edge.storage.plain import from_plain, to_plain

words = st.text(st.characters(blacklist_categories=("C", "Z")), max_size=20)


@dataclass(frozen=True)
class Inner:
    name: str
    number: float = 0.0


@dataclass(frozen=True)
class Outer:
    kind: Literal["a", "b"]
    inner: Inner | None
    many: tuple[Inner, ...] = ()
    table: Mapping[str, int] | None = None
    on: bool = False


inners = st.builds(Inner, words, st.floats(allow_nan=False, allow_infinity=False))


@given(
    st.builds(
        Outer,
        st.sampled_from(["a", "b"]),
        st.none() | inners,
        st.lists(inners, max_size=4).map(tuple),
        st.none() | st.dictionaries(words, st.integers(-(2**60), 2**60), max_size=4),
        st.booleans(),
    )
)
def test_round_trip(value: Outer) -> None:
    assert from_plain(Outer, json.loads(json.dumps(to_plain(value)))) == value


def test_defaults_are_left_out() -> None:
    assert to_plain(Outer("a", None)) == {"kind": "a", "inner": None}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], "outer: wanted an object"),
        ({"kind": "a"}, "outer lacks the field 'inner'"),
        ({"kind": "a", "inner": None, "more": 1}, "outer has no field 'more'"),
        ({"kind": "c", "inner": None}, "outer.kind: wanted one of 'a', 'b'"),
        ({"kind": ["a"], "inner": None}, "outer.kind: wanted one of"),
        ({"kind": "a", "inner": {"name": 1}}, "outer.inner.name: wanted printable text"),
        ({"kind": "a", "inner": {"name": "\n"}}, "outer.inner.name: wanted printable text"),
        ({"kind": "a", "inner": None, "many": [{}]}, r"outer.many\[0\] lacks the field 'name'"),
        ({"kind": "a", "inner": None, "many": [{"name": "x", "number": "1"}]}, "a finite number"),
        ({"kind": "a", "inner": None, "table": {"x": 1.0}}, "outer.table: wanted int"),
        ({"kind": "a", "inner": None, "on": 1}, "outer.on: wanted bool"),
    ],
)
def test_other_types_are_refused(value: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        from_plain(Outer, value)


def test_integers_can_be_divided() -> None:
    with pytest.raises(ValueError, match=r"outer\.table: wanted an int that fits a float"):
        from_plain(Outer, {"kind": "a", "inner": None, "table": {"x": 10**400}})


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 10**400])
def test_numbers_are_finite(number: float) -> None:
    with pytest.raises(ValueError, match="finite number"):
        from_plain(Inner, {"name": "x", "number": number})
