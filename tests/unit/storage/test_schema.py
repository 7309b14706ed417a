"""The JSON Schema of a dataclass says what the codec reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pytest

from tofa_edge.storage.plain import from_plain, to_plain
from tofa_edge.storage.schema import json_schema, schema_text


@dataclass(frozen=True)
class Part:
    """A part.

    Attributes:
        size: of it, in
            metres.
    """

    size: float
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Whole:
    """All of it.

    Attributes:
        parts: in order.
        pair: of numbers.
        counts: by name.
    """

    parts: tuple[Part, ...]
    pair: tuple[int, float]
    counts: Mapping[str, int]
    note: str | None = None
    done: bool = False


WHOLE = Whole((Part(1.5), Part(2.0, "b")), (3, 0.5), {"x": 1})


def test_it_describes_what_is_written() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json_schema(Whole, "a whole")
    jsonschema.Draft202012Validator.check_schema(schema)
    checker = jsonschema.Draft202012Validator(schema)
    value = json.loads(json.dumps(to_plain(WHOLE)))
    assert list(checker.iter_errors(value)) == []
    assert from_plain(Whole, value) == WHOLE
    for change in (
        {"pair": [3]}, {"pair": [3, 0.5, 1]}, {"parts": [{"size": "x"}]}, {"more": 1},
        {"parts": [{"size": 1, "kind": "c"}]}, {"counts": {"x": "1"}}, {"done": None},
    ):  # fmt: skip
        assert list(checker.iter_errors(value | change)), change
        with pytest.raises(ValueError, match=r"wanted|no field"):
            from_plain(Whole, value | change)
    assert schema["required"] == ["parts", "pair", "counts"]


def test_descriptions_come_from_docstrings() -> None:
    schema = json_schema(Whole, "a whole")
    assert schema["title"] == "a whole"
    assert schema["description"] == "All of it."
    assert schema["properties"]["counts"]["description"] == "by name."
    assert schema["$defs"]["Part"]["properties"]["size"]["description"] == "of it, in metres."
    assert json.loads(schema_text(schema)) == schema
