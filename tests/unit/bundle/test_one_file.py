"""A bundle is one open file: what was checked is what is read, whatever happens to its name."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tofa_edge.bundle.bundle import Bundle
from tofa_edge.errors import BundleError
from tofa_edge.selftest.small_bundle import small_bundle

IN_CHILD = """
import sys
from pathlib import Path
from tofa_edge.bundle.bundle import Bundle
bundle = Bundle.from_descriptor(int(sys.argv[1]), Path("handed.tofa"))
bundle.verify()
print(bundle.digest)
"""


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def open_descriptors() -> list[int]:
    return [number for number in range(1024) if is_open(number)]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    small_bundle(tmp_path / "own.tofa")
    return tmp_path / "own.tofa"


@pytest.fixture
def other(tmp_path: Path) -> Path:
    small_bundle(tmp_path / "other.tofa", seed=1)
    return tmp_path / "other.tofa"


def test_a_replaced_bundle_goes_on_as_the_old_one(own: Path, other: Path) -> None:
    bundle = Bundle.open(own)
    before = bundle.supernet()["stem.weight"]
    other.replace(own)
    bundle.verify()
    assert (bundle.supernet()["stem.weight"] == before).all()
    assert Bundle.open(own).digest != bundle.digest
    own.unlink()
    bundle.verify()


def test_a_bundle_cut_short_is_an_error(own: Path) -> None:
    bundle = Bundle.open(own)
    os.truncate(own, own.stat().st_size // 2)
    with pytest.raises(BundleError, match=r"not a whole bundle \(it ended early\)"):
        bundle.verify()


def test_a_bundle_overwritten_in_place_is_an_error(own: Path, other: Path) -> None:
    bundle = Bundle.open(own)
    own.write_bytes(other.read_bytes())
    with pytest.raises(BundleError, match=r"not a whole bundle|damaged"):
        bundle.verify()


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tofa")
    for place, kind in (
        (tmp_path / "pipe.tofa", "pipe"),
        (tmp_path, "folder"),
        ("/dev/zero", "dev"),
    ):
        with pytest.raises(BundleError, match=f"wanted a .tofa file, this is a {kind}"):
            Bundle.open(place)


def test_its_descriptor_lives_as_long_as_the_bundle(own: Path) -> None:
    bundle = Bundle.open(own)
    descriptor = bundle.descriptor
    assert is_open(descriptor)
    assert not os.get_inheritable(descriptor)
    del bundle
    gc.collect()
    assert not is_open(descriptor)


def test_a_refused_file_leaves_no_descriptor(own: Path) -> None:
    os.truncate(own, own.stat().st_size - 1)
    before = open_descriptors()
    with pytest.raises(BundleError, match="its end is missing"):
        Bundle.open(own)
    assert open_descriptors() == before


def test_a_descriptor_opens_the_same_bundle(own: Path, other: Path) -> None:
    bundle = Bundle.open(own)
    other.replace(own)
    twin = Bundle.from_descriptor(bundle.descriptor, own)
    assert twin.digest == bundle.digest
    assert twin.descriptor != bundle.descriptor
    del bundle
    gc.collect()
    twin.verify()


def test_a_child_process_reads_the_file_it_was_handed(own: Path, other: Path) -> None:
    bundle = Bundle.open(own)
    other.replace(own)
    command = [sys.executable, "-c", IN_CHILD, str(bundle.descriptor)]
    told = subprocess.run(
        command, pass_fds=[bundle.descriptor], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == bundle.digest


@pytest.mark.parametrize("descriptor", [-1, 10**6, 2**40])
def test_no_descriptor(descriptor: int) -> None:
    with pytest.raises(BundleError, match=r"handed.tofa: cannot be read: "):
        Bundle.from_descriptor(descriptor, Path("handed.tofa"))


def test_a_descriptor_open_for_writing_alone(own: Path) -> None:
    descriptor = os.open(own, os.O_WRONLY)
    try:
        with pytest.raises(BundleError, match="cannot be read: Bad file descriptor"):
            Bundle.from_descriptor(descriptor, own)
    finally:
        os.close(descriptor)


def test_threads_read_at_once(own: Path) -> None:
    bundle = Bundle.open(own)
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(bundle.verify) for _ in range(16)]:
            done.result()
