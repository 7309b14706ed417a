"""The bundle that a training writes: one training for each, nothing replaced, nothing lost."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tofa_edge.errors import BundleError, TrainingError
from tofa_edge.train.run.output_file import trained_file

HOLDER = """
import sys, time
from pathlib import Path
from tofa_edge.train.run.output_file import trained_file
with trained_file(Path(sys.argv[1]), False):
    print("held", flush=True)
    time.sleep(60)
"""


def write(out: Path, text: str, overwrite: bool = False, meanwhile: str = "") -> None:
    with trained_file(out, overwrite) as file:
        assert file.parent == out.parent
        assert not file.exists()
        file.write_text(text)
        if meanwhile:
            out.write_text(meanwhile)


def files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_the_bundle_gets_its_name_at_the_end(tmp_path: Path) -> None:
    out = tmp_path / "x.tofa"
    write(out, "one")
    with pytest.raises(BundleError, match=r"x.tofa exists: choose another name, or --force"):
        write(out, "two")
    assert files(tmp_path) == {"x.tofa": "one"}
    write(out, "two", overwrite=True)
    assert files(tmp_path) == {"x.tofa": "two"}


def test_what_is_new_by_the_end_stays_and_so_does_the_bundle(tmp_path: Path) -> None:
    out = tmp_path / "x.tofa"
    for number, name in ((1, "x.tofa.trained"), (2, "x.tofa.trained-2")):
        with pytest.raises(BundleError, match=f"there by now.* whole, and kept as .*/{name}$"):
            write(out, f"bundle {number}", meanwhile="another")
        assert files(tmp_path)[name] == f"bundle {number}"
        assert out.read_text() == "another"
        out.unlink()


def test_after_an_error_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), trained_file(tmp_path / "x.tofa", False):
        raise KeyboardInterrupt
    assert files(tmp_path) == {}
    with pytest.raises(BundleError, match="no folder"):
        write(tmp_path / "missing" / "x.tofa", "one")


def test_two_trainings_of_one_bundle_refuse_each_other(tmp_path: Path) -> None:
    out = tmp_path / "x.tofa"
    command = [sys.executable, "-c", HOLDER, str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        for overwrite in (False, True):
            with pytest.raises(TrainingError, match=f"process {holder.pid} on .* trains this"):
                write(out, "second", overwrite)
        write(tmp_path / "y.tofa", "another")
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    begun = time.monotonic()
    write(out, "second")
    assert time.monotonic() - begun < 5
    assert files(tmp_path) == {"x.tofa": "second", "y.tofa": "another"}


def test_a_process_that_does_not_write_takes_no_lock(tmp_path: Path) -> None:
    out = tmp_path / "x.tofa"
    with trained_file(out, False) as file, trained_file(out, False, first=False) as unused:
        assert unused == out
        assert [*files(tmp_path)] == ["x.tofa.checkpoint.lock"]
        file.write_text("one")
    assert files(tmp_path) == {"x.tofa": "one"}
