"""Some hostile bundles deployed, and the fuzzer that makes and judges them."""

from __future__ import annotations

import json
import operator
import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fuzz.crafted import Sample, member_list
from tests.fuzz.deploy import Outcome, judge, main, summary, table
from tests.fuzz.hostile.case import ENGINES, MUTATIONS, Case, case, made
from tests.fuzz.watched import watched

MOST_BYTES, MOST_SECONDS = 300_000_000, 2.0
QUICK = (
    9,
    10,
    11,
    12,
    13,
    16,
    17,
    18,
    21,
    24,
    25,
    26,
    28,
    30,
    31,
    34,
    39,
    40,
    43,
)  # numbers of cases


def fine(_path: Path, _which: Case) -> dict[str, Any]:
    return {"finite": True, "sum": 1.0, "warnings": []}


def crash(_path: Path, _which: Case) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def other_exception(_path: Path, _which: Case) -> dict[str, Any]:
    raise KeyError("x")


def many_lines(_path: Path, _which: Case) -> dict[str, Any]:
    return {"error": "BundleError", "message": "one line\nand another", "warnings": []}


def no_probabilities(_path: Path, _which: Case) -> dict[str, Any]:
    return {"finite": False, "sum": float("nan"), "warnings": []}


def warns(_path: Path, _which: Case) -> dict[str, Any]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        np.exp(np.float64(1e9))
    return {"finite": True, "sum": 1.0, "warnings": [str(item.message) for item in caught]}


def leaves_a_file(_path: Path, _which: Case) -> dict[str, Any]:
    Path(tempfile.gettempdir(), "forgotten").touch()
    return fine(_path, _which)


def leaves_a_process(_path: Path, _which: Case) -> dict[str, Any]:
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    time.sleep(0.2)
    return fine(_path, _which)


CRIMES = {
    crash: "crash",
    other_exception: "other exception",
    many_lines: "no clear line",
    no_probabilities: "no probabilities",
    warns: "warning",
    leaves_a_file: "left behind",
    leaves_a_process: "left behind",
    fine: "deployed",
}


@pytest.mark.parametrize("work", CRIMES, ids=lambda work: str(work.__name__))
def test_each_failure_is_seen(work: Any, tmp_path: Path) -> None:
    assert judge(tmp_path, 0, 7, work).verdict == CRIMES[work]


def test_memory_of_a_child_is_counted_and_the_child_ends(tmp_path: Path) -> None:
    def hog() -> dict[str, Any]:
        hold = "import time; x = b'x' * 1_000_000_000; time.sleep(60)"
        child = subprocess.Popen([sys.executable, "-c", hold], start_new_session=True)
        (tmp_path / "pid").write_text(str(child.pid))
        child.wait()
        return {}

    ending = watched(hog, tmp_path, MOST_BYTES, 20.0)
    assert (ending.report, ending.cause) == (None, "over memory")
    child = Path("/proc", (tmp_path / "pid").read_text())
    until = time.monotonic() + 5
    while time.monotonic() < until and child.exists() and " Z " not in _status(child):
        time.sleep(0.05)
    assert not child.exists() or " Z " in _status(child)


def _status(process: Path) -> str:
    try:
        return (process / "stat").read_text()
    except OSError:
        return " Z "


def test_what_takes_too_long_is_ended(tmp_path: Path) -> None:
    def slow() -> dict[str, Any]:
        time.sleep(60)
        return {}

    ending = watched(slow, tmp_path, 16 * MOST_BYTES, 0.3)  # it begins with all that pytest has
    assert (ending.report, ending.cause) == (None, "over time")
    assert ending.seconds < MOST_SECONDS
    assert "in slow" in ending.output  # says where it was


def test_cases_follow_from_seed_and_number() -> None:
    numbers = range(0, 2 * len(MUTATIONS), 7)
    for number in numbers:
        assert made(3, case(3, number)) == made(3, case(3, number))
    assert [case(3, number) for number in numbers] != [case(4, number) for number in numbers]
    seen = {name for number in range(len(MUTATIONS)) for name in case(3, number).mutations}
    assert seen == set(MUTATIONS)


@pytest.mark.parametrize("name", sorted(MUTATIONS.keys() - {"bomb"}))  # slow to make
def test_hashes_and_sizes_are_in_order(name: str) -> None:
    sample = Sample.of(made(5, Case(0, (name,), ENGINES[0], None))[0])
    assert sample.manifest()["members"] == member_list(sample.members)


def test_some_hostile_bundles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    resume = tmp_path / "outcomes.jsonl"
    words = ["--resume", str(resume), "--keep", str(tmp_path / "kept")]
    numbers = [str(number) for number in QUICK]
    assert main(["--only", *numbers, *words]) == 0, capsys.readouterr().out
    rows = [json.loads(line) for line in resume.read_text().splitlines()]
    assert [row["number"] for row in rows] == list(QUICK)
    assert {row["verdict"] for row in rows} == {"deployed", "refused"}
    assert main(["--only", *numbers, *words]) == 0  # nothing is left to do
    assert len(resume.read_text().splitlines()) == len(rows)


def test_a_failure_is_reported_and_its_bundle_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept"
    work: Any = operator.add  # of a path and a case: a TypeError
    assert main(["--only", "7", "--seed", "2", "--keep", str(kept)], work) == 1
    assert "OTHER EXCEPTION --seed 2 --only 7" in capsys.readouterr().out
    assert made(2, case(2, 7))[0] == (kept / "2-7.tofa").read_bytes()


def test_failures_are_counted_by_mutation() -> None:
    words = ("a case", ("labels", "bomb"), "a bomb", "over memory", "", 1.0, 1200)
    outcomes = [Outcome(0, 1, *words), Outcome(0, 2, "b", ("bomb",), "", "deployed", "", 2.0, 9)]
    assert summary(outcomes) == {
        "bomb": {"over memory": 1, "deployed": 1},
        "labels": {"over memory": 1},
        "all": {"over memory": 1, "deployed": 1},
    }
    lines = table(outcomes).splitlines()
    assert lines[3].split() == ["all", "1", "0", "1"]
    assert lines[4:] == ["slowest: case 2, 2.0 s", "largest: case 1, 1200 MB"]
