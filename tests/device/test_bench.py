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
from pathlib import Path
from typing import Any

import pytest

from tests.unit.benchmarks.other_networks import write_onnx
from tofa_edge.benchmarks.result.reading import from_json, result_schema
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
    schema = json.loads(result_schema())
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
        write_onnx(out.parent / "theirs.onnx", ("N", 3, 32, 32))
        other = ("--against", out.parent / "theirs.onnx", "--against-mean", 127)
        asked = ("--quick", "--engines", "onnxruntime", "--sustain", 2, "--out", out, *other)
        shown = cli("bench", tiny_bundle, *asked, "--against-std", "127,127,128").stdout
    assert sorted(path.suffix for path in out.iterdir()) == [".csv", ".html", ".json", ".md"]
    (path,) = out.glob("*.json")
    return path, shown


def test_bench_writes_what_it_shows(result: tuple[Path, str]) -> None:
    path, shown = result
    found = json.loads(path.read_text())
    assert faults(found) == []
    assert "front, predicted p95 off by" in shown
    assert found["rows"]
    assert from_json(path.read_bytes(), "it").bundle.name == tiny_name(found)
    assert {row["configuration"]["engine"] for row in found["rows"]} == {"onnxruntime"}
    for row in found["rows"]:
        low, high = row["p50_interval_ms"]
        assert low <= row["latency"]["p50_ms"] <= high
        assert row["parity"]["largest_difference"] < 0.3
        measured = row["latency"]
        assert measured.get("observed", measured)["p95_ms"] >= 0.99 * measured["p95_ms"]
    started = [row for row in found["rows"] if "cold_start" in row]
    assert started
    assert all(row["peak_memory_bytes"] > 20e6 for row in started)
    assert started[0]["cold_start"]["process_s"] > started[0]["cold_start"]["calibrate_s"]
    roles = {row["role"] for row in found["front"]}
    assert {"front", "largest at lower resolution"} == roles
    assert [s["scenario"] for s in found["scenarios"]] == ["SingleStream", "Offline"]
    assert 1 <= len(found["sustained"]["points"]) <= 3
    assert found["profile"]["targets"]


def tiny_name(found: Any) -> str:
    return str(found["command"].split()[2])


def test_a_network_of_other_making_is_measured_in_the_same_run(result: tuple[Path, str]) -> None:
    path, shown = result
    found = json.loads(path.read_text())
    assert {row["file"] for row in found["against"]} == {"theirs.onnx"}
    threads = {row["configuration"]["threads"] for row in found["rows"]}
    assert {row["configuration"]["threads"] for row in found["against"]} == threads
    for row in found["against"]:
        assert row["latency"]["count"] >= 30
        assert row["notes"][-1] == "no accuracy: the bundle has no check photos"
    assert "against the front" in shown
    assert "theirs.onnx" in shown.partition("against the front")[2]
    page = path.with_suffix(".html").read_text()
    assert "a line where no accuracy is known" in page
    assert "theirs.onnx" in path.with_suffix(".csv").read_text()


def test_compare_passes_and_fails(result: tuple[Path, str], tmp_path: Path) -> None:
    path, _ = result
    said = cli("compare", path, path, "--fail-above", "5%").stdout
    assert "no difference beyond noise; 1.000 × the time" in said
    found = json.loads(path.read_text())
    for row in (*found["front"], *found["rows"]):
        for name in ("p50_ms", "p90_ms", "p95_ms", "p99_ms"):
            row["latency"][name] *= 1.3
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
    assert len(rows) == 2 * sum(len(found[name]) for name in ("rows", "front", "against"))
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
    refused = cli("bench", tiny_bundle, "--against", file, "--out", tmp_path, code=1)
    assert "ends in .onnx or .tflite" in refused.stderr
    words = ("--against", file, "--against-mean", "1,2", "--against-std", "1")
    assert "one number or three" in cli("bench", tiny_bundle, *words, code=2).stderr
