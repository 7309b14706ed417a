"""Places where something that is there elsewhere is missing, full, foreign or damaged.

Each is tried in a process of its own, with a deadline: either a network works there, with the same
answer as anywhere, or one line says what is wrong. Nothing half-written stays behind.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import tofa_edge
from tofa_edge.deployment.remember import MOST_REMEMBERED
from tofa_edge.selftest.small_bundle import smooth_photo

DEADLINE_S = 120
CLOSE = 1e-4  # of a probability, between engines
FUTURE = time.time() + 10 * 365 * 86400
MOUNTS = ("unshare", "--mount", "--propagation", "private")
CONTROL_GROUPS = {  # of version 1 and 2: where they are, and what limits memory
    Path("/sys/fs/cgroup/memory"): "memory.limit_in_bytes",
    Path("/sys/fs/cgroup"): "memory.max",
}


@dataclass(frozen=True)
class Place:
    """What a shell does before it becomes the process.

    Attributes:
        arrange: commands; `$here` is the test's folder, and the working directory.
        engine: that is asked for; empty for none.
        refused: what the one line says; empty where the network must work.
        alone: whether it changes mounts, which takes rights.
    """

    arrange: str
    engine: str = "onnxruntime"
    refused: str = ""
    alone: bool = False


PLACES = {
    "no /sys": Place("mount -t tmpfs none /sys", alone=True),
    "no /proc": Place("mount -t tmpfs none /proc", engine="tflite", alone=True),
    "neither, any engine": Place(
        "mount -t tmpfs none /proc; mount -t tmpfs none /sys", engine="", alone=True
    ),
    "damaged /proc/cpuinfo and meminfo": Place(
        "head -c 5000 /dev/urandom >junk; "
        "mount --bind junk /proc/cpuinfo; mount --bind junk /proc/meminfo",
        alone=True,
    ),
    "home that cannot be written": Place(
        "unset XDG_CACHE_HOME; mkdir home; export HOME=$here/home; mount -t tmpfs -o ro none home",
        alone=True,
    ),
    "no home": Place("unset XDG_CACHE_HOME HOME; mount --bind /dev/null /etc/passwd", alone=True),
    "file systems that cannot be written": Place(
        "unset TMPDIR; mount -o remount,bind,ro /; "
        "for place in /tmp /var/tmp $here; do mountpoint -q $place && "
        "mount -o remount,bind,ro $place; done; cd /",
        alone=True,
    ),
    "full disk": Place(
        "mkdir full; mount -t tmpfs -o size=16k none full; "
        "dd if=/dev/zero of=full/x 2>/dev/null || true; "
        "export TMPDIR=$here/full XDG_CACHE_HOME=$here/full",
        alone=True,
    ),
    "disk that fills while the choice is written": Place(
        "mkdir full; mount -t tmpfs -o size=24k none full; export XDG_CACHE_HOME=$here/full",
        alone=True,
    ),
    "bundle that cannot be written": Place(
        "mkdir bundles; cp parts.tofa photo.jpg bundles; mount --bind bundles bundles; "
        "mount -o remount,bind,ro bundles; cd bundles",
        alone=True,
    ),
    "cache folder that is a file": Place("export XDG_CACHE_HOME=$here/photo.jpg"),
    "temporary folder that is not there": Place("export TMPDIR=/no/such/folder"),
    "lock that is a folder": Place("mkdir tmp/tofa-edge-measuring.lock"),
    "lock that is a pipe": Place("mkfifo tmp/tofa-edge-measuring.lock"),
    "lock that is a link to nowhere": Place("ln -s /no/such tmp/tofa-edge-measuring.lock"),
    "lock that nobody may open": Place(
        "touch tmp/tofa-edge-measuring.lock; chmod 0 tmp/tofa-edge-measuring.lock"
    ),
    "few open files": Place("ulimit -n 11"),
    "no open files left": Place(
        "ulimit -n 6", refused=r"no process to test it in .*Too many open files.*: allow more"
    ),
    "one core": Place('exec taskset -c 0 "$@"', engine="tflite"),
    "working directory that is gone": Place("mkdir gone; cd gone; rmdir ../gone"),
    "no room for libraries": Place(
        "ulimit -v 64000", engine="reference", refused="cannot import what is needed: .*memory|map"
    ),
    "output that is full": Place("exec >/dev/full", refused="No space left on device"),
    "no assertions and no docstrings": Place("export PYTHONOPTIMIZE=2"),
}


@pytest.fixture
def here(tmp_path: Path, tiny_bundle: Path) -> Path:
    """A folder with a bundle, a photo, an empty cache and an empty temporary folder."""
    shutil.copy(tiny_bundle, tmp_path / "parts.tofa")
    (tmp_path / "photo.jpg").write_bytes(smooth_photo(np.random.default_rng(0)))
    (tmp_path / "tmp").mkdir()
    return tmp_path


@pytest.fixture(scope="session")
def answer(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, float]:
    """What the network says of the photo where nothing is wrong."""
    photo = tmp_path_factory.mktemp("photo") / "photo.jpg"
    photo.write_bytes(smooth_photo(np.random.default_rng(0)))
    with tofa_edge.deploy(
        tiny_bundle, options=tofa_edge.DeployOptions(backend="reference")
    ) as model:
        return model(photo).top(1)[0]


def arranged(
    here: Path, place: Place, *command: str, **variables: str
) -> subprocess.CompletedProcess[bytes]:
    """Runs this Python there; stops it after the deadline."""
    if place.alone and subprocess.run([*MOUNTS, "true"], capture_output=True).returncode:
        pytest.skip("mounts cannot be changed here: run it as root")
    variables = {
        **os.environ,
        "XDG_CACHE_HOME": str(here / "cache"),
        "TMPDIR": str(here / "tmp"),
        "TOFA_EDGE_PROBE_PATIENCE_S": "10",  # where /sys is missing, OpenVINO never comes back
        "here": str(here),
        **variables,
    }
    shell = ["sh", "-c", f'set -e\n{place.arrange}\nexec "$@"', "sh", sys.executable, *command]
    return subprocess.run(
        [*(MOUNTS if place.alone else ()), *shell],
        cwd=here, env=variables, capture_output=True, timeout=DEADLINE_S,
    )  # fmt: skip


def classified(here: Path, place: Place, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Classifies the photo there."""
    words = ["-m", "tofa_edge", "run", str(here / "parts.tofa"), str(here / "photo.jpg"), "--json"]
    asked = ("--backend", place.engine) if place.engine else ()
    done = arranged(here, place, *words, *asked, **variables)
    said = done.stderr.decode(errors="replace")
    assert "Traceback" not in said, said
    assert "this is a bug" not in said, said
    return done


def assert_works(done: subprocess.CompletedProcess[bytes], answer: tuple[str, float]) -> None:
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    (said,) = json.loads(done.stdout).values()
    found = said["top"]
    assert found[0][0] == answer[0]
    assert found[0][1] == pytest.approx(answer[1], abs=CLOSE)


def assert_whole(cache: Path) -> None:
    """What was remembered can be read, and nothing else lies there."""
    for path in (path for path in cache.rglob("*") if path.is_file()):
        assert path.suffix in (".json", ".artefact"), path
        if path.suffix == ".json":
            kept = json.loads(path.read_text())
            if path.parent.name == "decisions":
                artefact = path.with_suffix(".artefact").read_bytes()
                assert kept["artefact_sha256"] == hashlib.sha256(artefact).hexdigest()


@pytest.mark.parametrize("name", PLACES)
def test_works_or_says_why(here: Path, answer: tuple[str, float], name: str) -> None:
    place = PLACES[name]
    done = classified(here, place)
    if place.refused:
        (line,) = done.stderr.decode().strip().splitlines()
        assert done.returncode == 1, line
        assert re.match(f"tofa-edge: .*({place.refused})", line), line
    else:
        assert_works(done, answer)
    assert_whole(here / "cache")


def faults(here: Path) -> list[str]:
    """Returns the faults of engines that are remembered there."""
    kept = (json.loads(path.read_text()) for path in (here / "cache").rglob("selftests/*.json"))
    judged = (verdict.get("fault") for record in kept for verdict in record["verdicts"])
    return [fault for fault in judged if fault]


@pytest.fixture
def little_memory() -> Iterator[str]:
    """Commands that put a process into a group of 64 MB."""
    for parent, limit in CONTROL_GROUPS.items():
        group = parent / f"tofa-edge-{os.getpid()}"
        try:
            group.mkdir()
            (group / limit).write_text("64M")
        except OSError:
            if group.exists():
                group.rmdir()
            continue
        yield f"echo $$ >{group}/cgroup.procs"
        for _ in range(50):  # until the last process has left it
            try:
                return group.rmdir()
            except OSError:
                time.sleep(0.1)
        return None
    pytest.skip("no memory control group can be made here: run it as root")


@pytest.mark.parametrize("engine", ["", "reference"])
def test_64_mb_suffice_for_a_small_network(
    here: Path, answer: tuple[str, float], little_memory: str, engine: str
) -> None:
    assert_works(classified(here, Place(little_memory, engine)), answer)
    assert_whole(here / "cache")
    assert "out of memory" not in faults(here), "the next start may have more"


def test_engine_without_memory_is_named(here: Path, little_memory: str) -> None:
    for _ in range(4):
        done = classified(here, Place(little_memory, "onnxruntime"))
        if done.returncode not in (-signal.SIGKILL, 128 + signal.SIGKILL):
            break  # else the kernel took this process before the self-test's memory was back
    if done.returncode:
        (*_, line) = done.stderr.decode().strip().splitlines()
        assert "tofa-edge: backend onnxruntime cannot run here: out of memory: " in line
        assert done.returncode == 1


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&- 2>&-"])
def test_closed_streams(here: Path, closed: str) -> None:
    for _ in range(2):  # with an engine to try, and without
        assert classified(here, Place(f"exec {closed}")).returncode == 0
    assert_whole(here / "cache")
    assert list((here / "cache").rglob("*.artefact"))


def test_library_with_closed_streams(here: Path) -> None:
    code = (
        "import sys, tofa_edge\n"
        "options = tofa_edge.DeployOptions(backend='onnxruntime')\n"
        "with tofa_edge.deploy('parts.tofa', options=options) as model:\n"
        "    open('said', 'w').write(model('photo.jpg').label)"
    )
    done = arranged(here, Place("exec <&- >&- 2>&-"), "-c", code)
    assert done.returncode == 0
    assert (here / "said").read_text().startswith("class ")
    assert faults(here) == []
    assert_whole(here / "cache")


@pytest.mark.parametrize("name", ["Größe und Maß.tofa".encode(), b"Gr\xf6\xdfe.tofa"])
@pytest.mark.parametrize("command", ["run", "deploy"])
@pytest.mark.parametrize("language", ["C.UTF-8", "POSIX"])
def test_names_and_languages(
    here: Path, known_engines: Path, name: bytes, command: str, language: str
) -> None:
    path = os.fsdecode(os.fsencode(here) + b"/" + name)
    shutil.copy(here / "parts.tofa", path)
    shutil.copy(here / "photo.jpg", f"{path}.jpg")
    words = ["-m", "tofa_edge", command, path, *([f"{path}.jpg"] * (command == "run"))]
    variables = {"LC_ALL": language, "XDG_CACHE_HOME": str(known_engines), "PYTHONIOENCODING": ""}
    if language == "POSIX":
        variables |= {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = arranged(here, Place(""), *words, "--backend", "onnxruntime", **variables)
    assert done.returncode == 0, done.stderr
    assert b"class " in done.stdout or b"chosen: " in done.stdout
    assert_whole(known_engines)


def remembered(here: Path, arrange: str = "", alone: bool = False) -> bool:
    """Deploys, and returns whether the choice of an earlier start was used."""
    words = ["deploy", str(here / "parts.tofa"), "--json", "--backend", "onnxruntime"]
    done = arranged(here, Place(arrange, alone=alone), "-m", "tofa_edge", *words)
    assert done.returncode == 0, done.stderr
    return bool(json.loads(done.stdout)["remembered"])


def test_clock_that_jumps_back(here: Path) -> None:
    assert not remembered(here)
    for path in (here / "cache").rglob("*"):
        os.utime(path, (FUTURE, FUTURE))
    assert remembered(here)


def test_choices_dated_in_the_future_do_not_crowd_out_new_ones(here: Path) -> None:
    decisions = here / "cache/tofa-edge/decisions"
    decisions.mkdir(parents=True, mode=0o700)
    for number in range(25):
        path = decisions / f"{number:032x}.json"
        path.write_text("{}")
        os.utime(path, (FUTURE, FUTURE))
    assert not remembered(here)
    assert remembered(here)
    assert len(list(decisions.glob("*.json"))) == MOST_REMEMBERED


def test_choice_in_a_cache_that_cannot_be_written_is_used(here: Path) -> None:
    assert not remembered(here)
    written = {path.stat().st_mtime for path in (here / "cache").rglob("decisions/*.json")}
    sealed = "mount --bind cache cache; mount -o remount,bind,ro cache"
    assert remembered(here, sealed, alone=True)
    used = {path.stat().st_mtime for path in (here / "cache").rglob("decisions/*.json")}
    assert used == written, "it was sealed"


def test_thread_with_a_small_stack(here: Path) -> None:
    code = (
        "import threading, tofa_edge\n"
        "def work():\n"
        "    options = tofa_edge.DeployOptions(threads=1)\n"
        "    with tofa_edge.deploy('parts.tofa', latency_ms=1000, options=options) as model:\n"
        "        print(model('photo.jpg').label)\n"
        "threading.stack_size(128 * 1024)\n"
        "thread = threading.Thread(target=work)\n"
        "thread.start()\n"
        "thread.join()"
    )
    done = arranged(here, Place(""), "-c", code)
    assert (done.returncode, done.stdout[:6]) == (0, b"class "), done.stderr
