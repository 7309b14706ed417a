"""A deployment killed a few times, and the harness that looks for what is the worse for it."""

from __future__ import annotations

import shutil
import signal
import sys
from pathlib import Path

import pytest

from tests.fuzz.killed import MOST_LEFT, Killed, Place, kill, lifetimes, table

QUICK = ("deploy, cold", "deploy, warm")
ORPHAN = """
import subprocess, sys, time
if "--json" not in sys.argv:
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(20)"], start_new_session=True)
    time.sleep(20)
"""
BENCH = """
import json, signal, sys, time
from pathlib import Path
if sys.argv[2] == "deploy":
    sys.exit()
def end(*_):
    if sys.argv[1] == "keeps":
        Path(f"out/bench-small-{time.time_ns()}.json").write_text(json.dumps({"rows": [1]}))
    print("what was measured until then is written", flush=True)
    sys.exit(130)
for number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, end)
time.sleep(20)
"""


def standing_in(tmp_path: Path, source: str, *words: str) -> Place:
    """Returns a place where a script stands in for all commands."""
    return Place(tmp_path, (sys.executable, "-c", source, *words))


def test_killed_deployments_do_no_harm(tmp_path: Path) -> None:
    place = Place(tmp_path)
    lives = lifetimes(place, QUICK)
    kills = [kill(place, 0, number, lives) for number in range(len(QUICK))]
    assert [each.faults for each in kills] == [[]] * len(kills)
    assert not all(each.ended for each in kills)


def test_a_child_that_stays_is_seen(tmp_path: Path) -> None:
    found = kill(standing_in(tmp_path, ORPHAN), 0, 0, {"deploy, warm": 3.0})
    assert len(found.faults) == 1
    assert found.faults[0].endswith(" still runs")


@pytest.mark.parametrize("how", ["keeps", "loses"])
def test_a_bench_that_loses_its_rows_is_seen(tmp_path: Path, how: str) -> None:
    place = standing_in(tmp_path, BENCH, how)
    found = [kill(place, seed, 0, {"bench": 2.0}) for seed in range(4)]
    asked = [each for each in found if each.sent != signal.SIGKILL and each.after_s > 0.3]
    assert asked
    lost = ["and wrote nothing" in str(each.faults) for each in asked]
    assert set(lost) == {how == "loses"}


def test_what_is_damaged_or_grows_is_seen(tmp_path: Path) -> None:
    place = standing_in(tmp_path, "import sys; sys.exit(3)")
    (tmp_path / "cache" / "half.json").write_text('{"half": ')
    for number in range(MOST_LEFT + 1):
        (tmp_path / "tmp" / f"old{number}").touch()
    faults = "\n".join(kill(place, 0, 0, {"deploy, warm": 0.1}).faults)
    assert "half.json is no JSON" in faults
    assert "the next deployment ends with 3" in faults
    assert f"tmp: {MOST_LEFT + 1} left behind" in faults
    shutil.rmtree(tmp_path / "cache")


def test_kills_are_counted() -> None:
    words = ("bench", signal.SIGTERM, 1.0)
    lines = table([Killed(0, *words), Killed(1, *words, True, ["lost"])]).splitlines()
    assert lines[1].split() == ["bench", "SIGTERM", "2", "1", "1"]
    assert lines[2] == "all: 2 kills, 1 with harm"
