"""An application that is frozen or embeds Python is started as a self-test only if it lets us."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import zipapp
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import tofa_edge
from tofa_edge import DeployOptions
from tofa_edge.backends.protocol import Backend
from tofa_edge.errors import BackendError
from tofa_edge.selftest import interpreter as starting
from tofa_edge.selftest.interpreter import interpreter

Offer = Callable[..., dict[str, Backend]]
# It says that it was started, before anything else; `sys.executable` is what started it.
MAIN = """
import os, sys
from pathlib import Path
with Path(os.environ["STARTS"]).open("a") as file:
    file.write("started ")
sys.executable = os.environ["APPLICATION"]
{arrange}
import tofa_edge
from tofa_edge.selftest.records import engine_records
for _ in range(2):
    verdicts = engine_records(names=["sound", "reference"])
print({{name: str(record.verdicts[0]) for name, record in verdicts.items()}})
"""
HOOK = "import tofa_edge; tofa_edge.self_test_support()"
FROZEN = "sys.frozen = True"


@dataclass(frozen=True)
class Done:
    """What an application printed, and how often it was started."""

    output: str
    errors: str
    starts: int


@dataclass(frozen=True)
class Application:
    """A folder with a launcher, as an application's installer leaves it."""

    folder: Path

    def run(self, arrange: str, name: str = "application", **variables: str) -> Done:
        """Runs an application that does this first, from a launcher of this name."""
        main, launcher = self.folder / "main.py", self.folder / name
        starts = self.folder / "starts"
        main.write_text(MAIN.format(arrange=arrange))
        launcher.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, str(main)])} "$@"\n')
        launcher.chmod(0o755)
        return ran([str(launcher)], starts, APPLICATION=str(launcher), **variables)


def ran(command: list[str], starts: Path, **variables: str) -> Done:
    """Runs an application to its end."""
    variables = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "STARTS": str(starts),
        **variables,
    }
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return Done(done.stdout, done.stderr, starts.read_text().count("started"))


@pytest.fixture
def application(offer: Offer, tmp_path: Path) -> Application:
    offer("sound")
    (tmp_path / "installed").mkdir()
    return Application(tmp_path / "installed")


@pytest.mark.parametrize("arrange", [FROZEN, ""])
def test_application_is_not_started_anew(application: Application, arrange: str) -> None:
    done = application.run(arrange)
    assert "'sound': \"untested: no Python to test it with: name one in" in done.output
    assert "'reference': 'works'" in done.output
    assert done.starts == 1
    assert done.errors.count("no engine could be tested, the reference serves: ") == 1


@pytest.mark.parametrize("arrange", [f"{FROZEN}; {HOOK}", HOOK])
def test_application_that_lets_us_is_the_self_test(application: Application, arrange: str) -> None:
    done = application.run(arrange)
    assert done.output.strip() == "{'sound': 'works', 'reference': 'works'}"
    assert done.errors == ""
    assert done.starts == 2, "itself, and the self-test"


def test_python_can_be_named(application: Application) -> None:
    done = application.run(FROZEN, TOFA_EDGE_PYTHON=sys.executable)
    assert done.output.strip() == "{'sound': 'works', 'reference': 'works'}"
    assert done.starts == 1


def test_launcher_with_the_name_of_a_python_is_asked_once(application: Application) -> None:
    done = application.run("", name="python3")
    assert "untested: no Python to test it with" in done.output
    assert done.starts == 2, "asked for its version, it started, and started nothing itself"


def test_link_to_this_python_is_this_python(
    application: Application, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "kiosk"
    link.symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(link))
    found = interpreter()
    assert found is not None
    assert found.command[0] == str(link)


@pytest.mark.parametrize("executable", ["", "/no/such/python3", "/bin/sh"])
def test_what_is_no_python_starts_nothing(monkeypatch: pytest.MonkeyPatch, executable: str) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    assert interpreter() is None


def test_self_test_starts_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(starting.INSIDE, "1")
    assert interpreter() is None


@pytest.mark.parametrize("named", ["/no/such/python3", "/bin/sh", "/", "python0.1"])
def test_named_python_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    message = f"to name a Python .* with tofa-edge .*, got '{named}': correct it, or leave it out"
    with pytest.raises(BackendError, match=f"wanted python= {message}"):
        interpreter(named)
    monkeypatch.setenv(starting.VARIABLE, named)
    with pytest.raises(BackendError, match=f"wanted TOFA_EDGE_PYTHON {message}"):
        interpreter()


def test_untested_engines_leave_a_network_that_works(
    offer: Offer, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer("sound")
    monkeypatch.setattr(sys, "executable", "/bin/sh")
    with tofa_edge.deploy(tiny_bundle, options=DeployOptions(threads=1)) as model:
        assert model.engine.backend.name == "reference"
        assert "untested: no Python to test it with" in model.explain()
    with pytest.raises(BackendError, match="backend sound cannot run here: untested: no Python"):
        tofa_edge.deploy(tiny_bundle, options=DeployOptions(backend="sound"))


def test_zipapp(application: Application, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "__main__.py").write_text(MAIN.format(arrange=""))
    target = tmp_path / "application.pyz"
    zipapp.create_archive(source, target)
    python = sys.executable
    done = ran([python, str(target)], tmp_path / "starts", APPLICATION=python)
    assert done.output.strip() == "{'sound': 'works', 'reference': 'works'}"
    assert done.starts == 1
