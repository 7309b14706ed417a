"""Locks between real processes: one holds, others wait, and a dead holder frees it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tofa_edge.storage.cache import cache_folder
from tofa_edge.storage.locks import exclusive

HOLDER = """
import sys, time
from tofa_edge.storage.locks import exclusive
with exclusive("choice", float(sys.argv[1])) as held:
    print(held, flush=True)
    time.sleep(float(sys.argv[2]))
"""
Start = Callable[[float, float], subprocess.Popen[str]]
pytestmark = pytest.mark.skipif(os.name != "posix", reason="no locks of this kind")


@pytest.fixture
def others() -> Iterator[Start]:
    """Starts processes that wait for the lock and hold it for some seconds."""
    started: list[subprocess.Popen[str]] = []

    def start(wait: float, hold: float) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", HOLDER, str(wait), str(hold)]
        started.append(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_one_holds_and_the_next_follows(others: Start) -> None:
    with exclusive("choice") as held:
        assert held == "held"
        busy = others(0.1, 0)
        assert said(busy) == "busy"
        waiting = others(30, 0)
        time.sleep(0.3)
    assert said(waiting) == "held"
    assert busy.wait(20) == waiting.wait(20) == 0
    with exclusive("another choice") as one, exclusive("choice", 0) as two:
        assert (one, two) == ("held", "held"), "names are independent"


def test_a_holder_that_is_killed_frees_the_lock(others: Start) -> None:
    holder = others(10, 60)
    assert said(holder) == "held"
    with exclusive("choice", 0) as held:
        assert held == "busy"
    waiting = others(30, 0)
    holder.kill()
    assert said(waiting) == "held"
    assert (holder.wait(20), waiting.wait(20)) == (-9, 0)
    with exclusive("choice", 5) as held:
        assert held == "held"


def test_many_take_turns(tmp_path: Path) -> None:
    """Each adds one to a number, reading and writing it in two steps."""
    script = f"""
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tofa_edge.storage.locks import exclusive
number = Path({str(tmp_path / "number")!r})
for _ in range(40):
    with exclusive("counter", 60) as held:
        assert held == "held"
        value = int(number.read_text())
        time.sleep(0.0005)
        number.write_text(str(value + 1))
"""
    (tmp_path / "number").write_text("0")
    workers = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(3)]
    assert [worker.wait(60) for worker in workers] == [0, 0, 0]
    assert (tmp_path / "number").read_text() == "120"


def test_no_file_is_left_behind() -> None:
    with exclusive("choice"):
        assert [path.name for path in cache_folder("locks").iterdir()] == ["choice.lock"]
    assert list(cache_folder("locks").iterdir()) == []


def test_children_do_not_keep_the_lock() -> None:
    """Neither one that was started nor one that was forked, both of them still running."""
    script = """
import os, subprocess, sys, time
from tofa_edge.storage.locks import exclusive
with exclusive("choice"):
    started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])
    forked = os.fork()
    if not forked:
        time.sleep(30)
        os._exit(0)
with exclusive("choice", 0) as held:
    print(held)
for child in (started.pid, forked):
    os.kill(child, 9)
    os.waitpid(child, 0)
"""
    words = [sys.executable, "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=20)
    assert done.stdout.strip() == "held"


def test_a_path_may_be_given(tmp_path: Path) -> None:
    with exclusive(tmp_path / "a.lock") as one, exclusive(tmp_path / "a.lock", 0) as two:
        assert (one, two) == ("held", "busy")
    assert not (tmp_path / "a.lock").exists()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_nobody_waits_for_locks_that_are_not_to_be_had(number: int) -> None:
    def flock(file: int, how: int) -> None:
        raise OSError(number, os.strerror(number))

    begun = time.monotonic()
    with exclusive("choice", 30, flock=flock) as held:
        assert held == "unknown"
    assert time.monotonic() - begun < 5


def test_without_a_folder_nobody_can_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", os.devnull)
    with exclusive("choice") as held:
        assert held == "unknown"


def test_a_folder_to_read_only_is_unknown() -> None:
    """Where root runs the test, it becomes another user first: root writes anywhere."""
    script = """
import fcntl, os, tempfile
from pathlib import Path
from tofa_edge.storage.locks import exclusive
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
with tempfile.TemporaryDirectory(dir="/tmp") as folder:
    os.environ["XDG_CACHE_HOME"] = folder
    Path(folder).chmod(0o500)
    with exclusive("choice", 30) as held:
        print(held)
    Path(folder).chmod(0o700)
    with exclusive("choice", 30) as held:
        print(held)
"""
    words = [sys.executable, "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=20)
    assert done.stdout.split() == ["unknown", "held"]


def test_a_folder_that_others_write_to_is_not_used(own_cache: Path, tmp_path: Path) -> None:
    folder = cache_folder("locks")
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    with exclusive("choice") as held:
        assert held == "unknown"
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with exclusive("choice") as held:
        assert held == "unknown"
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a.lock").symlink_to(tmp_path / "elsewhere")
    with exclusive(tmp_path / "a.lock") as held:
        assert held == "unknown"
    assert not (tmp_path / "elsewhere").exists()


def test_what_fails_inside_comes_through_and_frees_the_lock() -> None:
    with pytest.raises(OSError, match="inside"), exclusive("choice"):
        raise OSError("inside")
    with exclusive("choice", 0) as held:
        assert held == "held"


def test_the_file_says_what_its_holder_notes(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    path.write_text("what a killed holder noted, which was longer")
    with exclusive(path, 0, note="process 1") as held:
        assert held == "held"
        with exclusive(path, 0, note="process 2") as other:
            assert other == "busy"
        assert path.read_text() == "process 1"
    assert not path.exists()
