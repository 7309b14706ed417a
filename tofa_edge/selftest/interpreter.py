"""What starts a self-test: this Python, one that is named, or an application that lets us.

Where `sys.executable` is a frozen application or embeds Python, starting it would start the
application once more. So it is started only if its main calls `self_test_support` first.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tofa_edge._version import __version__
from tofa_edge.errors import BackendError

VARIABLE = "TOFA_EDGE_PYTHON"  # of the environment: names a Python
INSIDE = "TOFA_EDGE_SELF_TEST"  # of the environment of a self-test, which starts no other
MARKER = "--tofa-edge-self-test"  # the argument that an application is started with
CHILD = "tofa_edge.selftest.child"
PYTHON = re.compile(r"(python|pypy)(\d+(\.\d+)?)?[a-z]?(\.exe)?", re.IGNORECASE)
QUESTION = "import sys, tofa_edge; print(sys.implementation.cache_tag, tofa_edge.__version__)"
ANSWER_S = 20.0
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}  # numpy's wait actively, on cores that others need
NOT_THERE = (errno.ENOENT, errno.EACCES, errno.ENOEXEC, errno.ENOTDIR, errno.ELOOP)
UNTESTED = (
    "no Python to test it with: name one in TOFA_EDGE_PYTHON, or call "
    "tofa_edge.self_test_support() first in the application's main"
)

log = logging.getLogger(__name__)
_supported = threading.Event()  # the application has called `self_test_support`


@dataclass(frozen=True, slots=True)
class Interpreter:
    """What starts a self-test.

    Attributes:
        command: that the self-test's arguments follow.
        takes_our_paths: whether it imports from where this process does.
    """

    command: tuple[str, ...]
    takes_our_paths: bool

    def environment(self, tests_engines: bool = False) -> dict[str, str]:
        """Returns the variables of its environment; a self-test `tests_engines` no further."""
        variables = {**ONE_THREAD, **os.environ}
        if not tests_engines:
            variables[INSIDE] = "1"
        if self.takes_our_paths:
            paths = [str(Path(path).absolute()) for path in sys.path if path]
            variables["PYTHONPATH"] = os.pathsep.join(paths)
        elif "LD_LIBRARY_PATH_ORIG" in variables and MARKER not in self.command:
            variables["LD_LIBRARY_PATH"] = variables["LD_LIBRARY_PATH_ORIG"]  # before PyInstaller's
        return variables


def self_test_support() -> None:
    """Lets a frozen application, or one that embeds Python, test its engines.

    Call it first in the application's main, as `multiprocessing.freeze_support()`. Engines are
    tested in processes of their own; where there is no Python to start, they are the application
    started again, which runs the self-test in this call and ends.
    """
    _supported.set()
    if MARKER in sys.argv[1:2]:
        from tofa_edge.selftest.child import main

        main(sys.argv[2:])
        sys.exit(0)


def interpreter(python: str | None = None) -> Interpreter | None:
    """Returns what starts self-tests here, or None where nothing can.

    Args:
        python: a Python of this version that has this package; by default the one named by the
            variable TOFA_EDGE_PYTHON, or else the one that runs us.

    Raises:
        BackendError: the one named is no such Python.
    """
    if INSIDE in os.environ:  # whatever started us meant to start a self-test
        return None
    frozen = bool(getattr(sys, "frozen", False))
    named = python or os.environ.get(VARIABLE, "").strip()
    if named:
        path = Path(shutil.which(named) or named).absolute()
        found = Interpreter((str(path), "-m", CHILD), not frozen)
        if _is_this_python(found):
            return found
        version = ".".join(map(str, sys.version_info[:2]))
        raise BackendError(
            f"wanted {'python=' if python else VARIABLE} to name a Python {version} with tofa-edge "
            f"{__version__}, got {named!r}: correct it, or leave it out"
        )
    own = Interpreter((sys.executable or "", "-m", CHILD), True)
    if not frozen and (_runs_us(own.command[0]) or _is_this_python(own)):
        return own
    if _supported.is_set():
        return Interpreter((_application(), MARKER), False)
    _say_once()
    return None


def _runs_us(executable: str) -> bool:
    """Whether a path is that of the Python which runs this process."""
    with contextlib.suppress(OSError):
        path = Path(executable).resolve()
        return bool(PYTHON.fullmatch(path.name)) and path.samefile("/proc/self/exe")
    return False


def _is_this_python(candidate: Interpreter) -> bool:
    """Whether it says to be this version, with this package; what has another name is not asked."""
    executable = candidate.command[0]
    if not PYTHON.fullmatch(Path(executable).name):
        return False
    paths = candidate.environment().get("PYTHONPATH", "")
    return _answer(candidate, paths) == f"{sys.implementation.cache_tag} {__version__}"


@lru_cache(maxsize=8)
def _answer(candidate: Interpreter, paths: str) -> str:
    """Returns what it says of itself with these import `paths`."""
    try:
        done = subprocess.run(
            [candidate.command[0], "-c", QUESTION],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=candidate.environment(),
            cwd="/",
            timeout=ANSWER_S,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        return ""
    except OSError as error:
        if error.errno in NOT_THERE:
            return ""
        raise
    return done.stdout.decode(errors="replace").strip()


def _application() -> str:
    """Returns the path of the application; compilers to C leave a path that is not there."""
    if sys.executable and Path(sys.executable).is_file():
        return sys.executable
    return str(Path("/proc/self/exe").resolve())


@lru_cache(maxsize=1)
def _say_once() -> None:
    log.warning(f"no engine could be tested, the reference serves: {UNTESTED}")
