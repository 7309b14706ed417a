"""The command line, as a person types it."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from tofa_edge.architecture.layers import layers
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.interruption import INTERRUPTIONS
from tofa_edge.selftest.records import passing_engines
from tofa_edge.selftest.small_bundle import smooth_photo

pytestmark = pytest.mark.usefixtures("known_engines")


def cli(
    *arguments: object, code: int = 0, folder: Path = Path("/")
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tofa_edge", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_help_names_every_command() -> None:
    text = cli("--help").stdout
    for command in (
        "train",
        "inspect",
        "verify",
        "doctor",
        "deploy",
        "run",
        "export",
        "bench",
        "compare",
        "report",
        "demo",
    ):
        assert command in text


def test_inspect_shows_layers_and_what_rounding_does_to_each(tiny_bundle: Path) -> None:
    said = cli("inspect", tiny_bundle, "--layers").stdout
    assert "stage0_block0_depthwise" in said
    assert "3×3/1 dw" in said
    found = json.loads(cli("inspect", tiny_bundle, "--layers", "--json").stdout)
    space = Bundle.open(tiny_bundle).space
    whole = layers(space, space.largest())
    assert [row["layer"] for row in found["layers"]] == [layer.name for layer in whole]
    if not any(engine.target.precision == "int8" for engine in passing_engines()):
        pytest.skip("no engine here computes in int8")
    done = cli("inspect", tiny_bundle, "--layers", "--precision", "int8", "--json")
    rounded = json.loads(done.stdout)
    assert "the same class as in float32 on" in rounded["subnet"]
    assert {row["as"] for row in rounded["layers"]} <= {"", "int8", "fp32"}
    errors = [row["8-bit error"] for row in rounded["layers"]]
    assert sum(error.endswith("%") for error in errors) >= 10


def test_inspect_says_what_photos_it_carries(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    photos = bundle.calibration_count + bundle.check_count
    assert f"photos: {photos}:" in cli("inspect", tiny_bundle).stdout
    assert json.loads(cli("inspect", tiny_bundle, "--json").stdout)["digest"] == bundle.digest


def test_verify_proves_every_engine(tiny_bundle: Path) -> None:
    verdicts = json.loads(cli("verify", tiny_bundle, "--json").stdout)
    assert {verdict["engine"] for verdict in verdicts} >= {"onnxruntime", "tflite", "reference"}
    assert all(verdict["right"] is not False for verdict in verdicts)


def test_verify_refuses_a_damaged_bundle(tiny_bundle: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.tofa"
    content = bytearray(tiny_bundle.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    lines = cli("verify", damaged, code=1).stderr.strip().splitlines()
    assert lines[-1].startswith("tofa-edge: ")


def test_doctor_knows_the_machine_and_its_engines() -> None:
    found = json.loads(cli("doctor", "--json").stdout)
    assert found["fingerprint"]["architecture"] == platform.machine()
    assert {engine["engine"] for engine in found["engines"]} >= {"onnxruntime", "reference"}
    for engine in found["engines"]:
        assert bool(engine["targets"]) != bool(engine["missing"])
    assert all(problem["fix"] for problem in found["problems"])
    assert found["state"]


def test_doctor_prints_lines() -> None:
    said = cli("doctor").stdout
    assert f"architecture: {platform.machine()}" in said
    assert "engine reference: works: cpu fp32" in said
    assert "problems: " in said


def test_deploy_prints_a_subnet_that_deploys_again(tiny_bundle: Path) -> None:
    chosen = json.loads(cli("deploy", tiny_bundle, "--latency-ms", 1000, "--json").stdout)
    again = cli("deploy", tiny_bundle, "--subnet", chosen["subnet"], "--json").stdout
    assert json.loads(again)["subnet"] == chosen["subnet"]


def test_export_writes_a_checked_file_once(tiny_bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "parts.onnx"
    said = cli("export", tiny_bundle, "--out", file).stdout
    assert "checked with onnxruntime" in said
    assert "exists: choose another name" in cli("export", tiny_bundle, "--out", file, code=1).stderr
    subnet = Bundle.open(tiny_bundle).space.smallest().to_json()
    again = ("--subnet", subnet, "--force", "--format", "tflite", "--json")
    made = json.loads(cli("export", tiny_bundle, "--out", file, *again).stdout)
    assert (made["format"], made["subnet"]) == ("tflite", subnet)
    assert made["difference"] < 1e-3
    assert file.read_bytes()[4:8] == b"TFL3"


def test_impossible_budget_has_its_own_exit_code(tiny_bundle: Path) -> None:
    done = cli("deploy", tiny_bundle, "--latency-ms", 1e-6, code=3)
    assert "fastest network measured" in done.stderr


def test_run_classifies_photos(tiny_bundle: Path, photo: Path) -> None:
    results = json.loads(cli("run", tiny_bundle, photo, "--top", 3, "--json").stdout)
    ((name, said),) = results.items()
    assert name == str(photo)
    assert said["known"]
    best = said["top"]
    assert len(best) == 3
    assert best[0][1] >= best[1][1] >= best[2][1]
    asked = ("run", tiny_bundle, photo, "--unknown-below", 1)
    assert "unknown, " in cli(*asked).stdout
    assert not json.loads(cli(*asked, "--json").stdout)[str(photo)]["known"]


def test_run_goes_on_after_a_bad_photo(tiny_bundle: Path, photo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    names = ["a:ab:.jpg", "b.jpg", os.fsdecode(b"c\xe9\x1b[1m.jpg")]
    for name in names:
        (folder / name).write_bytes(photo.read_bytes())
    (folder / names[1]).write_bytes(photo.read_bytes()[:400])
    asked = ("run", tiny_bundle, "photos/*.jpg", "--backend", "reference", "--precision", "fp32")
    done = cli(*asked, code=1, folder=tmp_path)
    assert [line.split(": ")[0] for line in done.stdout.splitlines()] == [
        "photos/a:ab:.jpg", "photos/c\\xe9\\x1b[1m.jpg",
    ]  # fmt: skip
    torn, summary = done.stderr.splitlines()[-2:]
    assert torn.startswith("tofa-edge: photos/b.jpg: wanted an image, cannot read it")
    assert summary == "tofa-edge: 1 of 3 photos cannot be read"
    table = ("--csv", "made.csv", "--json", "--top", 2)
    whole = json.loads(cli(*asked, *table, code=1, folder=tmp_path).stdout)
    assert list(whole) == [f"photos/{name}" for name in names]
    assert [*map(list, whole.values())] == [["known", "top"], ["error"], ["known", "top"]]
    rows = (tmp_path / "made.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == [
        "path", "photos/a:ab:.jpg", "photos/b.jpg", "photos/c\\xe9\\x1b[1m.jpg",
    ]  # fmt: skip
    refused = cli(*asked, *table, code=1, folder=tmp_path)
    assert refused.stdout == ""
    assert "made.csv exists: choose another name, or --force" in refused.stderr
    strict = cli(*asked, "--csv", "-", "--strict", code=1, folder=tmp_path)
    assert [row.split(",")[0] for row in strict.stdout.splitlines()] == [
        "path", "photos/a:ab:.jpg", "photos/b.jpg",
    ]  # fmt: skip
    assert strict.stderr.endswith("1 of 3 photos cannot be read, 1 not tried\n")
    assert cli(*asked, "--csv", "-", "--json", code=2, folder=tmp_path).stdout == ""


def test_frames_of_a_folder_calibrate(tiny_bundle: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = tmp_path / "frames"
    (frames / "later").mkdir(parents=True)
    for number in range(20):
        folder = frames / "later" if number % 2 else frames
        (folder / f"{number}.JPG").write_bytes(smooth_photo(rng))
    (frames / "notes.txt").write_text("no frame")
    subnet = Bundle.open(tiny_bundle).space.middle().to_json()
    asked = ("--subnet", subnet, "--backend", "onnxruntime", "--frames", frames)
    mixed = cli("deploy", tiny_bundle, *asked, "--frames-share", 0.02).stdout
    assert "calibration: 20 frames given, 20 used; 24 photos of the bundle's beside them" in mixed
    alone = cli("deploy", tiny_bundle, *asked, "--frames-share", 1).stdout
    assert "calibration: 20 frames given, 20 used; 24 photos of the bundle's beside them" in alone
    refused = cli("deploy", tiny_bundle, *asked, "--frames-share", 2, code=2).stderr
    assert "--frames-share" in refused
    photo = next(frames.glob("*.JPG"))
    plain = cli("run", tiny_bundle, photo, "--subnet", subnet, "--json").stdout
    with_frames = cli("run", tiny_bundle, photo, *asked, "--json").stdout
    assert json.loads(with_frames) != json.loads(plain)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("deploy", "BUNDLE", "--frames", "/no/such/folder"), "wanted a folder of frames"),
        (("inspect", "/no/such.tofa"), "cannot be read"),
        (("run", "BUNDLE", "/no/such.jpg"), "wanted an image"),
        (("deploy", "BUNDLE", "--backend", "abacus"), "no backend"),
        (("deploy", "BUNDLE", "--subnet", "{}"), "not a subnet"),
        (("train", "/no/such/folder", "--out", "/tmp/x.tofa"), "cannot be read"),
        (("train", "/tmp", "--out", "/no/such/folder/x.tofa"), "cannot be written"),
        (("train", "/tmp", "--out", "/tmp/x.tofa", "--from", "vgg"), "no start"),
    ],
)
def test_errors_are_one_line(tiny_bundle: Path, arguments: tuple[str, ...], message: str) -> None:
    if arguments[0] == "train":
        pytest.importorskip("torch")
    done = cli(*(str(tiny_bundle) if a == "BUNDLE" else a for a in arguments), code=1)
    assert message in done.stderr.strip().splitlines()[-1]


def test_profile_is_kept_and_written(tiny_bundle: Path, tmp_path: Path) -> None:
    asked = ("--subnets", 3, "--backend", "onnxruntime", "--threads", 1)
    shown = cli("profile", tiny_bundle, *asked, "--out", tmp_path / "here.json").stdout
    assert f"wrote {tmp_path / 'here.json'}" in shown.replace("\n", "")
    found = json.loads((tmp_path / "here.json").read_text())
    assert found["space"] == "tiny"
    assert len(found["targets"][0]["measurements"]) == 3
    (tmp_path / "here.json").write_text("notes")
    refused = cli("profile", tiny_bundle, *asked, "--out", tmp_path / "here.json", code=1).stderr
    assert "here.json exists: choose another name, or --force" in refused
    assert (tmp_path / "here.json").read_text() == "notes"
    cli("profile", tiny_bundle, *asked, "--out", tmp_path / "here.json", "--force")
    assert json.loads((tmp_path / "here.json").read_text())["space"] == "tiny"


SIGNALLED = """
import logging, os, signal
from tofa_edge.cli import main

class Signalling(logging.Handler):
    def emit(self, record):
        if record.getMessage().startswith("10 of "):
            os.kill(os.getpid(), signal.SIGHUP)

logging.getLogger("tofa_edge").addHandler(Signalling())
signal.signal(signal.SIGHUP, signal.SIG_DFL)
main()
"""


def test_a_signal_keeps_what_a_profile_has(tiny_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "here.json"
    asked = ("--backend", "onnxruntime", "--threads", "1", "--out", str(out))
    command = [sys.executable, "-c", SIGNALLED, "profile", str(tiny_bundle), *asked]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 128 + signal.SIGHUP, done.stderr
    assert done.stderr.startswith("interrupted: the profile has 10 of ")
    assert f"wrote {out}" in done.stdout
    assert len(json.loads(out.read_text())["targets"][0]["measurements"]) == 10


def test_report_makes_one_page_of_results(tmp_path: Path) -> None:
    results = sorted((Path(__file__).parents[1] / "results").glob("bench_schema_2*.json"))
    out = tmp_path / "made" / "page.html"
    said = cli("report", *results, "--out", out).stdout.splitlines()
    assert said == [f"wrote {out.with_suffix(suffix)}" for suffix in (".html", ".md", ".csv")]
    assert "Raspberry Pi 4" in out.read_text()
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "bench-pi.json").write_bytes(results[0].read_bytes())
    cli("report", tmp_path / "results", "--out", tmp_path / "folder.html")
    assert (tmp_path / "folder.html").exists()
    (tmp_path / "other.json").write_text("{}")
    refused = cli("report", tmp_path / "other.json", "--out", out, code=1).stderr
    assert "is no result of tofa-edge bench" in refused
    refused = cli("report", *results, "--out", out, code=1).stderr
    assert "page.html exists: choose another name, or --force" in refused
    cli("report", *results, "--out", out, "--force")


@pytest.mark.parametrize("number", [*INTERRUPTIONS])
@pytest.mark.parametrize("command", ["deploy", "profile"])
def test_a_signal_ends_a_command(
    command: str, number: signal.Signals, tiny_bundle: Path, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tofa_edge", command, str(tiny_bundle)],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},  # so that engines are tested
        preexec_fn=default_signals,
    )  # fmt: skip
    running, self_tests = psutil.Process(process.pid), list[psutil.Process]()
    while process.poll() is None and not self_tests:
        self_tests = running.children()
    process.send_signal(number)
    said, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + number, errors
    by = "" if number == signal.SIGINT else f" by {number.name}"
    assert errors.splitlines()[-1] == f"tofa-edge: interrupted{by}, before it was done"
    assert "Traceback" not in errors
    assert said == ""
    assert self_tests
    _, alive = psutil.wait_procs(self_tests, timeout=5)  # one just begun ends by itself
    assert not alive
    assert [path for path in tmp_path.rglob("*") if path.suffix == ".tmp"] == []


def default_signals() -> None:
    """Undoes what the shell that started the tests may have had ignored."""
    for number, default in INTERRUPTIONS.items():
        signal.signal(number, default)


INTERRUPTED = """
import runpy, sys
import tofa_edge.cli

tofa_edge.cli.load_commands()

def interrupted():
    try:
        exec("raise KeyboardInterrupt")
    except KeyboardInterrupt:
        raise SystemExit(130)

tofa_edge.cli.app.app = interrupted
sys.argv = ["tofa-edge"]
runpy.run_module("tofa_edge", run_name="__main__")
"""


def test_interrupt_in_generated_code_has_its_exit_code(tmp_path: Path) -> None:
    (tmp_path / "interrupted.py").write_text(INTERRUPTED)
    command = [sys.executable, "-m", "interrupted"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    assert done.stderr.endswith("tofa-edge: interrupted, before it was done\n")
