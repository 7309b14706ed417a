"""Results of bench as files: what is written is read, and nothing in a file is trusted."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from tofa_edge.benchmarks.report.write import report
from tofa_edge.benchmarks.result.reading import from_json, read, result_schema, to_json
from tofa_edge.benchmarks.suite.merge import merged
from tofa_edge.errors import DataError

RESULTS = Path(__file__).parents[2] / "results"
NAMES = ("bench_schema_1", "bench_schema_2", "bench_schema_2_other")
CASES = Path(__file__).parents[4] / "shared" / "cases" / "results"
LINK = "onnx[link=http://127.0.0.1/]click[/link]"


def present() -> Any:
    return json.loads(to_json(read(RESULTS / "bench_schema_2.json")))


def test_the_schema_is_that_of_the_types() -> None:
    stored = (files("tofa_edge.benchmarks.result") / "result_schema.json").read_text()
    assert stored == result_schema(), "python -m tofa_edge.benchmarks.result.reading"


@pytest.mark.parametrize("name", NAMES)
def test_results_of_every_schema_are_read_and_written_in_this_one(name: str) -> None:
    result = read(RESULTS / f"{name}.json")
    text = to_json(result)
    assert from_json(text.encode(), name) == result
    jsonschema = pytest.importorskip("jsonschema")
    checker = jsonschema.Draft202012Validator(json.loads(result_schema()))
    assert [error.message for error in checker.iter_errors(json.loads(text))] == []
    assert len(result.middle) == 14
    assert all(bool(row.failed) != bool(row.latency) for row in result.every_row)


def test_the_schema_refuses_what_the_reader_refuses() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    checker = jsonschema.Draft202012Validator(json.loads(result_schema()))
    for change in ({"seconds": "long"}, {"rows": [7]}, {"luck": 1}, {"schema": 2}):
        found = present() | change
        assert list(checker.iter_errors(found)), change
        if "schema" not in change:
            with pytest.raises(DataError, match="is no result of tofa-edge bench"):
                from_json(json.dumps(found).encode(), "it")


def test_own_latency_and_what_others_added_are_in_it() -> None:
    found = present()
    found["rows"][0]["latency"]["measure"] = "thread time"
    wall = {name: 2 * found["rows"][0]["latency"][name] for name in ("p50_ms", "p90_ms", "p95_ms")}
    found["rows"][0]["latency"]["observed"] = {**wall, "p99_ms": 99.0}
    row = from_json(json.dumps(found).encode(), "it").rows[0]
    assert row.latency is not None
    assert row.p95_ms == found["rows"][0]["latency"]["p95_ms"]
    assert row.latency.disturbance_ms == pytest.approx((row.latency.p50_ms, row.latency.p95_ms))


@pytest.mark.parametrize("text", ["\x1b[31mred", "a\nb", "\x9b0m", "left\u202eright"])
def test_a_name_with_escape_codes_is_refused_on_one_line(text: str) -> None:
    found = present()
    found["rows"][0]["configuration"]["engine"] = text
    with pytest.raises(DataError, match="wanted printable text") as refused:
        from_json(json.dumps(found).encode(), "it")
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"latency": None}, "a latency, or why it failed"),
        ({"accuracy": {"right": 3, "of": 2, "low": 0, "high": 1}}, "right photos out of those"),
        ({"curve_ms": [[50, 0]]}, "a curve of percentiles"),
        ({"p95_interval_ms": [1, 2, 3]}, "a list of 2"),
        ({"peak_memory_bytes": 10**400}, "an int that fits a float"),
        ({"throughput": [{"batch": 1, "images_per_s": -1}]}, "sizes and speeds of 0 or more"),
    ],
)
def test_rows_that_contradict_themselves_are_refused(change: Any, said: str) -> None:
    found = present()
    found["rows"][0] |= change
    with pytest.raises(DataError, match=rf"rows\[0\].*{said}"):
        from_json(json.dumps(found).encode(), "it")


def hostile(folder: Path, **board: str) -> Path:
    """A result whose names are markup for a terminal and formulas for a spreadsheet."""
    found = present()
    found["device"]["board"] = board.get("board", "=HYPERLINK(1)")
    for row in found["rows"]:
        row["configuration"]["engine"] = LINK
    path = folder / "bench-hostile.json"
    path.write_text(json.dumps(found))
    return path


def cli(*words: object, code: int = 0) -> str:
    command = [sys.executable, "-m", "tofa_edge", *map(str, words)]
    environment = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": "200"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if code == 0 else done.stderr


def test_terminals_show_names_as_they_are(tmp_path: Path) -> None:
    path = hostile(tmp_path)
    said = cli("compare", path, path)
    assert LINK in said
    assert "\x1b]8" not in said, "no link"


def test_spreadsheets_compute_nothing(tmp_path: Path) -> None:
    made = merged([hostile(tmp_path)], tmp_path / "merged")
    table = next(path for path in made if path.suffix == ".csv")
    with table.open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[1][0] == "'=HYPERLINK(1)"
    assert not any(cell.startswith(("=", "+", "@")) for row in rows for cell in row)
    markdown = table.with_suffix(".md").read_text()
    assert "onnx\\[link=http://127.0.0.1/\\]click" in markdown


def test_a_file_whose_name_is_no_text_is_reported(tmp_path: Path) -> None:
    path = hostile(tmp_path)
    path = path.rename(path.with_name("bench-\udcff.json"))
    *_, table = report([path], tmp_path / "report.html")
    with table.open(newline="") as stream:
        _, first, *_ = csv.reader(stream)
    assert first[:2] == ["bench-\\xff.json", "'=HYPERLINK(1)"]


def test_a_malformed_result_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "bench-bad.json"
    for content in ("{", "[]", '{"schema": 2, "rows": [7], "front": []}', '{"schema": 99}', "\xff"):
        path.write_text(content)
        for words in (("compare", path, path), ("report", path, "--out", tmp_path / "x.html")):
            said = cli(*words, code=1)
            assert len(said.strip().splitlines()) == 1
    assert not (tmp_path / "x.html").exists()


@pytest.mark.skipif(not CASES.is_dir(), reason="cases from the field are not here")
def test_cases_from_the_field() -> None:
    assert "click" in cli("compare", CASES / "result_a.json", CASES / "result_a.json")
    assert "x[/nope]" in cli("compare", CASES / "result_c.json", CASES / "result_c.json")
    said = cli("compare", CASES / "result_e.json", CASES / "result_e.json", code=1)
    assert len(said.splitlines()) == 1
