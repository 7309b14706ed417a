"""Reads and writes results of `tofa-edge bench`; nothing in a file is trusted.

All that is read passes the one codec, which takes printable text, finite numbers and lists of
bounded length alone: no name that reaches a terminal or a page has an escape code. Results of
schemas 1 and 2 are brought into the present form first.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tofa_edge.benchmarks.result.bench_result import SCHEMA, BenchResult
from tofa_edge.benchmarks.result.former import from_schema_1, from_schema_2
from tofa_edge.errors import DataError
from tofa_edge.storage.files import one_line, write_whole
from tofa_edge.storage.plain import from_plain, to_plain
from tofa_edge.storage.schema import json_schema, schema_text

MOST_BYTES = 64 * 2**20
FORMER: Mapping[int, Callable[[Any], Any]] = {1: from_schema_1, 2: from_schema_2}


def read(path: Path) -> BenchResult:
    """Returns the result of `tofa-edge bench` in a file at a `path`, of any schema up to this one.

    Raises:
        DataError: it cannot be read, is of a newer schema, or is something else; one line.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(content) > MOST_BYTES:
        raise DataError(f"{path} is over {MOST_BYTES} bytes: no result of tofa-edge bench")
    return from_json(content, one_line(path))


def from_json(content: bytes, name: str) -> BenchResult:
    """Returns the result in the `content` of a file of some `name`.

    Raises:
        DataError: it is of a newer schema, or something else.
    """
    try:
        values = json.loads(content)
        schema = values.pop("schema", None) if isinstance(values, dict) else None
        if type(schema) is not int or schema < 1:
            raise ValueError("it names no schema")
        if schema <= SCHEMA:
            convert = FORMER.get(schema, lambda same: same)
            return from_plain(BenchResult, convert(values))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        words = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise DataError(f"{name} is no result of tofa-edge bench: {one_line(words)}") from error
    raise DataError(
        f"{name}: result schema {str(schema)[:20]} is newer than {SCHEMA}, the newest this version "
        "reads: pip install --upgrade tofa-edge"
    )


def to_json(result: BenchResult) -> str:
    """Returns a result as JSON text, without fields at their default."""
    values = {"schema": SCHEMA, **to_plain(result)}
    return json.dumps(values, indent=1, allow_nan=False) + "\n"


def write(result: BenchResult, path: Path) -> None:
    """Writes a result to a new file at a `path`, whole or not at all.

    Raises:
        DataError: the file cannot be written.
    """
    write_whole(path, to_json(result).encode(), overwrite=False, refused=DataError)


def result_schema() -> str:
    """Returns the JSON Schema of such a file, as `result_schema.json` holds it."""
    title = f"What tofa-edge bench writes, schema {SCHEMA}; fields at their default are left out"
    schema = json_schema(BenchResult, title)
    schema["properties"] = {"schema": {"const": SCHEMA}, **schema["properties"]}
    schema["required"] = ["schema", *schema["required"]]
    return schema_text(schema)


if __name__ == "__main__":  # in a checkout
    Path(__file__).with_name("result_schema.json").write_text(result_schema(), "utf-8")
