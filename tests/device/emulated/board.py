"""Installs the package on an emulated board, as a person would, and compares it with this machine.

`python -m tests.device.emulated.board pi` is a Raspberry Pi 4 with Debian bookworm, which its
maker's system is made of: the wheel of this checkout, `doctor`, and a network deployed with each
engine. Instructions are those of the board; times are not.
Exit code 0: all as it should be; 1: not; 77: it cannot be tried here.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import runpy
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.device.emulated.userland import CannotRun, Userland, ensure_tools, planted
from tests.device.wheel import ANSWERS, ROOT, built_wheel

RECORDED = ROOT / "tests/unit/device/test_machine.py"
SKIPPED = 77
EXTRAS = "onnxruntime,tflite"
PATIENCE_S = "600"  # a step takes seconds on a quiet machine, and minutes on a loaded one
TOLERANCE = 1e-3  # of the largest logit
MOST_MIB = 300  # Debian, Python and everything installed for onnxruntime
TFLITE_ALONE = ("ai_edge_litert", "backports", "tqdm")  # what onnxruntime does not need as well
CALIBRATION_PHOTOS, CHECK_PHOTOS = 24, 8


@dataclass(frozen=True)
class Board:
    """A board, and what must be found on it.

    Attributes:
        tree: the name of its recorded files.
        suite: of Debian.
        processor: that qemu emulates.
        expected: of the fingerprint.
        engines: to deploy with.
    """

    tree: str
    suite: str
    processor: str
    expected: Mapping[str, object]
    engines: tuple[str, ...]


PI = Board(
    tree="PI4",
    suite="bookworm",
    processor="cortex-a72",
    expected={
        "board": "Raspberry Pi 4 Model B Rev 1.5",
        "processors": {"Cortex-A72": 4},
        "cores": 4,
        "architecture": "aarch64",
        "userland_bits": 64,
    },
    engines=("onnxruntime", "tflite"),
)
JETSON = Board(
    tree="ORIN_NANO",
    suite="bookworm",
    processor="cortex-a76",  # the nearest that qemu 7 knows to the Cortex-A78AE
    expected={
        "board": "NVIDIA Jetson Orin Nano Developer Kit",
        "board_release": "L4T 36.4.3",
        "processors": {"Cortex-A78AE": 6},
        "cores": 6,
        "architecture": "aarch64",
    },
    engines=("onnxruntime",),
)
BOARDS = {"pi": PI, "pi-trixie": replace(PI, suite="trixie"), "jetson": JETSON}


def main() -> int:
    """Tries a board and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("board", choices=BOARDS)
    parser.add_argument("--folder", type=Path, default=ROOT / "build/pi", help="kept between runs")
    parser.add_argument("--may-skip", action="store_true", help="exit 0 where it cannot be tried")
    options = parser.parse_args()
    folder, begun = options.folder.resolve(), time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            wrong = list(tried(options.board, folder))
    except CannotRun as error:
        print(f"SKIPPED: {options.board} was NOT tested: {error}", flush=True)
        return 0 if options.may_skip else SKIPPED
    except subprocess.CalledProcessError as error:
        print(error.stdout or "")
        wrong = [f"{' '.join(map(str, error.cmd[-4:]))}: exit code {error.returncode}"]
    for line in wrong:
        print(f"WRONG: {line}")
    seconds = f"{time.monotonic() - begun:.0f} s, {_worked_s():.0f} s of CPU"
    print(f"{options.board}: {'FAILED' if wrong else 'passed'} in {seconds}")
    return 1 if wrong else 0


def tried(name: str, folder: Path) -> Iterator[str]:
    """Tries a board, prints what it finds, and yields what is wrong."""
    board = BOARDS[name]
    ensure_tools()
    binds = planted(folder / f"{name}-files", runpy.run_path(str(RECORDED))[board.tree])
    userland = Userland(folder / board.suite, board.suite, board.processor, binds)
    with told("Debian"):
        userland.build()
    with told("wheel"):
        wheel = built_wheel(folder / f"{name}-wheel")
    with told("pip install"):
        userland.install(wheel, EXTRAS)
    yield from sizes_wrong(userland)
    with told("doctor"):
        wrong = list(doctor_wrong(userland, board))
    yield from wrong
    with told("deploy"):
        wrong = list(answers_wrong(userland, board, folder / f"{name}-work"))
    yield from wrong


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    """Prints how long its block took, and how much of it processors worked: that is steadier."""
    begun, worked_s = time.monotonic(), _worked_s()
    try:
        yield
    finally:
        seconds = time.monotonic() - begun
        print(f"{what}: {seconds:.0f} s, {_worked_s() - worked_s:.0f} s of CPU", flush=True)


def _worked_s() -> float:
    return sum(os.times()[:4])


def sizes_wrong(userland: Userland) -> Iterator[str]:
    """Prints what lies on the disk; yields what is wrong with it."""
    debian, parts = userland.sizes_mib()
    whole = debian + sum(parts.values())
    without = whole - sum(parts.get(name, 0.0) for name in TFLITE_ALONE)
    largest = sorted(parts.items(), key=lambda part: -part[1])[:8]
    print(f"disk: {whole:.0f} MiB; with onnxruntime alone {without:.0f} MiB, Debian {debian:.0f};")
    print("  ", ", ".join(f"{name} {size:.0f}" for name, size in largest))
    if without > MOST_MIB:
        yield f"wanted at most {MOST_MIB} MiB on disk with onnxruntime, got {without:.0f}"


def doctor_wrong(userland: Userland, board: Board) -> Iterator[str]:
    """Runs `doctor`; yields what it does not find."""
    done = userland.run(
        "tofa-edge", "doctor", "--json", "--retest", TOFA_EDGE_PROBE_PATIENCE_S=PATIENCE_S
    )
    found = json.loads(done.stdout)
    print(json.dumps(found["fingerprint"], indent=1))
    for name, value in board.expected.items():
        got = found["fingerprint"].get(name)
        if got != value:
            yield f"fingerprint: {name}: wanted {value!r}, got {got!r}"
    engines: dict[str, dict[str, Any]] = {item["engine"]: item for item in found["engines"]}
    for name, item in engines.items():
        print(f"engine {name}: {item['missing'] or ', '.join(item['targets'])} {item['faults']}")
    for name in (*EXTRAS.split(","), "reference"):
        item = engines[name]
        if item["missing"] or item["faults"] or not item["targets"] or not item["tried"]:
            yield f"engine {name}: {item}"


def answers_wrong(userland: Userland, board: Board, work: Path) -> Iterator[str]:
    """Deploys one network there and here; yields where their answers differ."""
    from tofa_edge.architecture.zoo import tiny
    from tofa_edge.selftest.small_bundle import small_bundle

    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    small_bundle(
        work / "tiny.tofa", calibration_photos=CALIBRATION_PHOTOS, check_photos=CHECK_PHOTOS
    )
    shutil.copy(ANSWERS, work)
    subnet = tiny().middle().to_json()
    command = ("answers.py", "tiny.tofa", subnet, *board.engines)
    here = subprocess.run(
        [sys.executable, *command], cwd=work, stdout=subprocess.PIPE, text=True, check=True
    )
    visited = replace(userland, binds={**userland.binds, "/root/work": work})
    places = (f"/root/work/{command[0]}", f"/root/work/{command[1]}", *command[2:])
    there = visited.run("python3", *places, TOFA_EDGE_PROBE_PATIENCE_S=PATIENCE_S)
    wanted, got = json.loads(here.stdout), json.loads(there.stdout)
    for engine in board.engines:
        ours = np.asarray(wanted[engine]["logits"])
        theirs = np.asarray(got[engine]["logits"])
        error = float(np.abs(ours - theirs).max() / np.abs(ours).max())
        same = int((ours.argmax(1) == theirs.argmax(1)).sum())
        print(
            f"{engine} on {got[engine]['target']} (deployed in {got[engine]['deploy_s']} s), here "
            f"on {wanted[engine]['target']}: same class on {same} of {len(ours)} photos, "
            f"{error:.1e} of the largest logit off"
        )
        if same < len(ours) or not error <= TOLERANCE:
            yield f"{engine}: answers differ from this machine's"


if __name__ == "__main__":
    sys.exit(main())
