"""`tofa-edge bench` and `compare`, as a person types them."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from tofa_edge.benchmarks.suite.bench import finite
from tofa_edge.device_profiles.profile import load
from tofa_edge.interruption import INTERRUPTIONS

pytestmark = [pytest.mark.quiet, pytest.mark.usefixtures("known_engines")]


def cli(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tofa_edge", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def faults(found: Any) -> list[str]:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((files("tofa_edge.benchmarks.report") / "result_schema.json").read_text())
    checker = jsonschema.Draft202012Validator(schema)
    checker.check_schema(schema)
    return [f"{error.json_path}: {error.message}" for error in checker.iter_errors(found)]


@pytest.fixture(scope="module")
def result(
    tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path, self_tests: Path
) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(self_tests))
        asked = ("--quick", "--engines", "onnxruntime", "--sustain", 2, "--out", out)
        shown = cli("bench", tiny_bundle, *asked).stdout
    assert sorted(path.suffix for path in out.iterdir()) == [".csv", ".html", ".json", ".md"]
    (path,) = out.glob("*.json")
    return path, shown


def test_bench_writes_what_it_shows(result: tuple[Path, str]) -> None:
    path, shown = result
    found = json.loads(path.read_text())
    assert faults(found) == []
    assert "front, predicted p95 off by" in shown
    assert found["rows"]
    assert {row["engine"] for row in found["rows"]} == {"onnxruntime"}
    for row in found["rows"]:
        low, high = row["latency"]["p50_interval_ms"]
        assert low <= row["latency"]["p50_ms"] <= high
        assert row["parity"]["largest_difference"] < 0.3
        assert bool(row["reasons"]) != row["valid"]
    started = [row for row in found["rows"] if row["cold_start"]]
    assert started
    assert all(row["peak_memory_bytes"] > 20e6 for row in started)
    assert started[0]["cold_start"]["process_s"] > started[0]["cold_start"]["calibrate_s"]
    roles = {row["role"] for row in found["front"]}
    assert {"front", "largest at lower resolution"} == roles
    assert [s["scenario"] for s in found["scenarios"]] == ["SingleStream", "Offline"]
    assert 1 <= len(found["sustained"]["points"]) <= 3
    assert found["profile"]["targets"]


def test_the_schema_wants_what_is_promised(result: tuple[Path, str]) -> None:
    found = json.loads(result[0].read_text())
    found["rows"][0]["failed"] = "no such operator"
    assert faults(found), "a failed row with figures"
    failed = found["rows"][0]
    kept = ("role", "engine", "device", "precision", "threads", "subnet", "resolution", "failed")
    found["rows"][0] = dict.fromkeys(failed) | {name: failed[name] for name in kept}
    found["rows"][0] |= {"valid": False, "reasons": [], "size": "middle"}
    found["rows"][0].pop("layers_how")
    assert faults(found) == []
    found["rows"][0]["reasons"] = ["bad luck"]
    assert faults(found), "a reason of no known kind"


def test_numbers_that_are_none_become_null() -> None:
    assert finite({"a": [float("nan"), 1.0, (float("inf"),)]}) == {"a": [None, 1.0, [None]]}


def test_compare_passes_and_fails(result: tuple[Path, str], tmp_path: Path) -> None:
    path, _ = result
    said = cli("compare", path, path, "--fail-above", "5%").stdout
    assert "no difference beyond noise; 1.000 × the time" in said
    found = json.loads(path.read_text())
    for row in (*found["front"], *found["rows"]):
        row["latency"]["p50_ms"] *= 1.3
        row["latency"]["relative_error"] = 0.01
    slower = tmp_path / "slower.json"
    slower.write_text(json.dumps(found))
    cli("compare", path, slower, "--fail-above", 5, code=1)
    (compared,) = json.loads(cli("compare", path, slower, "--json").stdout)
    assert compared["verdict"] == "slower"
    assert compared["ratio"] == pytest.approx(1.3, abs=0.05)
    wrong = cli("compare", path, slower, "--fail-above", "many", code=2)
    assert "5%" in wrong.stderr


def test_compare_merges_a_folder(result: tuple[Path, str], tmp_path: Path) -> None:
    path, _ = result
    found = json.loads(path.read_text())
    found["device"] = {"board": "Another Board"}
    found["profile"]["name"] = "Another Board"
    (tmp_path / "fleet").mkdir()
    (tmp_path / "fleet" / "bench-here.json").write_text(path.read_text())
    (tmp_path / "fleet" / "bench-there.json").write_text(json.dumps(found))
    out = tmp_path / "merged"
    cli("compare", tmp_path / "fleet", "--merge", out)
    rows = json.loads((out / "table.json").read_text())
    assert len({row["device"] for row in rows}) == 2
    assert len(rows) == 2 * (len(found["rows"]) + len(found["front"]))
    assert len((out / "table.csv").read_text().splitlines()) == len(rows) + 1
    assert (out / "table.md").read_text().count("Another Board") == len(rows) // 2
    profiles = [load(file) for file in (out / "registry").iterdir()]
    assert len(profiles) == 2
    assert "Another Board" in {profile.name for profile in profiles}
    (tmp_path / "empty").mkdir()
    assert "bench-*.json" in cli("compare", tmp_path / "empty", "--merge", out, code=1).stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_keeps_what_was_measured(
    tiny_bundle: Path, tmp_path: Path, number: signal.Signals
) -> None:
    asked = ["--engines", "onnxruntime", "--sustain", "60", "--quick", "--json", "--out", "."]
    process = subprocess.Popen(
        [sys.executable, "-m", "tofa_edge", "bench", str(tiny_bundle), *asked],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=default_signals,
    )  # fmt: skip
    time.sleep(6)  # with --json nothing tells that it has begun
    process.send_signal(number)
    process.send_signal(number)  # as timeout does, which sends to the process and to its group
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number, errors
    assert errors.endswith("tofa-edge: interrupted; what was measured until then is written\n")
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".html", ".md", ".csv"}
    (path,) = tmp_path.glob("*.json")
    found = json.loads(path.read_text())
    assert found["interrupted"]
    assert faults(found) == []
    assert json.loads(said)["rows"] == found["rows"]


def test_a_lost_terminal_keeps_what_was_measured(tiny_bundle: Path, tmp_path: Path) -> None:
    ours, its = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "tofa_edge", "bench", str(tiny_bundle), "--quick", "--out", "."],
        cwd=tmp_path, stdin=its, stdout=its, stderr=its, start_new_session=True,
        preexec_fn=controlled,
    )  # fmt: skip
    os.close(its)
    time.sleep(4)
    os.close(ours)  # the kernel sends SIGHUP, and what is printed from now on fails
    assert process.wait(60) == 128 + signal.SIGHUP
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".html", ".md", ".csv"}


def default_signals() -> None:
    """Undoes what the shell that started the tests may have had ignored."""
    for number, default in INTERRUPTIONS.items():
        signal.signal(number, default)


def controlled() -> None:
    """Makes the standard input the terminal that controls this process."""
    default_signals()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_refusals(tiny_bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    refused = cli("bench", tiny_bundle, "--out", file, code=1)
    assert "cannot be written" in refused.stderr
    refused = cli("bench", tiny_bundle, "--engines", "abacus", "--out", tmp_path, code=1)
    assert "wanted engine 'abacus'" in refused.stderr
