"""Installs the package beside the oldest and the newest of what it allows, for every Python here.

`python -m tests.device.pythons 3.11 3.13`: the wheel of this checkout in fresh environments outside
it, `doctor`, a network deployed with each engine, a photo classified. By default for all Pythons
that the package supports; those that are not on this machine are said to be skipped.
Exit code 0: all that were tried work; 1: one does not; 77: there was nothing to try with.
"""

from __future__ import annotations

import argparse
import configparser
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tests.device.wheel import ANSWERS, ROOT, built_wheel
from tofa_edge.architecture.zoo import tiny
from tofa_edge.selftest.small_bundle import small_bundle, smooth_photo

PYTHONS = ("3.10", "3.11", "3.12", "3.13")
ENGINES = {"onnxruntime": "onnxruntime", "tflite": "tflite"}  # by the extra that brings them
RESOLUTIONS = {"oldest": "lowest-direct", "newest": "highest"}
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
TOLERANCE = 1e-3  # of the largest logit, against this environment's answers
SKIPPED = 77


def main() -> int:
    """Tries what was asked for and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pythons", nargs="*", default=PYTHONS, metavar="X.Y")
    parser.add_argument("--folder", type=Path, default=ROOT / "build/pythons")
    options = parser.parse_args()
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    wheel, installer, work = built_wheel(folder / "wheel"), _uv(folder / "tool"), folder / "work"
    work.mkdir(exist_ok=True)
    small_bundle(work / "tiny.tofa", calibration_photos=24, check_photos=8)
    (work / "photo.jpg").write_bytes(smooth_photo(np.random.default_rng(0)))
    shutil.copy(ANSWERS, work)
    wanted = _answers(Path(sys.executable), work)
    rows, failed = [], 0
    for version in options.pythons:
        interpreter = _interpreter(version)
        if interpreter is None:
            rows.append([version, "-", "SKIPPED: not on this machine"])
            continue
        for age in RESOLUTIONS:
            environment = folder / f"{version}-{age}"
            try:
                versions = _installed(installer, interpreter, environment, age, wheel)
                rows.append([version, age, _tried(environment, work, wanted), *versions])
            except (subprocess.CalledProcessError, ValueError, KeyError) as error:
                failed += 1
                said = getattr(error, "stderr", None) or str(error)
                rows.append([version, age, f"FAILED: {said.strip()[-600:]}"])
            print(f"{' '.join(rows[-1])}", flush=True)
    print("\n| Python | allowed | result | " + " | ".join(_names()) + " |")
    print("|---" * (3 + len(_names())) + "|")
    for row in rows:
        cells = [cell.replace("\n", " ") for cell in row]
        print(f"| {' | '.join(cells)} |")
    if all(row[1] == "-" for row in rows):
        return SKIPPED
    return 1 if failed else 0


def _uv(folder: Path) -> Path:
    """Returns the installer that can choose the oldest versions; pip has no such mode."""
    tool = folder / "bin/uv"
    if not tool.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "uv"]
        subprocess.run(pip, check=True)
    return tool


def _interpreter(version: str) -> Path | None:
    """Returns where a Python is, from pyenv or from the path."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for path in sorted(root.glob(f"versions/{version}.*/bin/python")):
        return path
    found = shutil.which(f"python{version}")
    runs = found and not subprocess.run([found, "-c", ""], capture_output=True).returncode
    return Path(found) if found and runs else None


def _requirements() -> list[str]:
    """Returns what setup.cfg asks for: its bounds count only for what is asked for by name."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = config["options.extras_require"]
    lists = (config["options"]["install_requires"], *(extras[name] for name in ENGINES))
    return list(dict.fromkeys(line for text in lists for line in text.split("\n") if line))


def _names() -> list[str]:
    return [re.split(r"[<>=!~ ]", line)[0] for line in _requirements()]


def _installed(
    installer: Path, interpreter: Path, environment: Path, age: str, wheel: Path
) -> list[str]:
    """Installs into a fresh environment; returns the versions of what setup.cfg names."""
    variables = {"SSL_CERT_FILE": CERTIFICATES} if Path(CERTIFICATES).exists() else {}
    run = {**os.environ, **variables}
    make = [str(installer), "venv", "--quiet", "--clear", "--python", str(interpreter)]
    subprocess.run([*make, str(environment)], check=True, env=run, capture_output=True, text=True)
    python = str(environment / "bin/python")
    install = [str(installer), "pip", "install", "--quiet", "--python", python]
    choice = ["--resolution", RESOLUTIONS[age], "--only-binary", ":all:"]
    whole = f"tofa-edge[{','.join(ENGINES)}] @ {wheel.as_uri()}"
    subprocess.run(
        [*install, *choice, whole, *_requirements()],
        check=True, env=run, capture_output=True, text=True,
    )  # fmt: skip
    tell = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    return _printed([python, "-c", tell, *_names()], environment).split()


def _tried(environment: Path, work: Path, wanted: Mapping[str, np.ndarray]) -> str:
    """Does what a person would do first; returns "works".

    Raises:
        ValueError: an engine does not work, or its answers are not those of this environment.
    """
    tofa = str(environment / "bin/tofa-edge")
    _printed([tofa, "--help"], work)
    found = json.loads(_printed([tofa, "doctor", "--json", "--retest"], work))
    for item in found["engines"]:
        if item["engine"] in ENGINES and (item["missing"] or item["faults"]):
            raise ValueError(f"{item['engine']}: {item['missing'] or item['faults']}")
    for engine, logits in _answers(environment / "bin/python", work).items():
        error = float(np.abs(logits - wanted[engine]).max() / np.abs(wanted[engine]).max())
        if not error <= TOLERANCE:
            raise ValueError(f"{engine}: {error:.1e} of the largest logit off")
    _printed([tofa, "run", "tiny.tofa", "photo.jpg", "--json"], work)
    return "works"


def _answers(python: Path, work: Path) -> dict[str, np.ndarray]:
    subnet = tiny().middle().to_json()
    command = [str(python), str(work / ANSWERS.name), str(work / "tiny.tofa"), subnet, *ENGINES]
    said = json.loads(_printed(command, work))
    return {engine: np.asarray(answer["logits"]) for engine, answer in said.items()}


def _printed(command: list[str], folder: Path) -> str:
    """Runs a command there, without this environment's caches and paths; returns what it said."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    run = {name: value for name, value in os.environ.items() if name not in hidden}
    run["XDG_CACHE_HOME"] = str(folder / "cache")
    done = subprocess.run(command, cwd=folder, env=run, check=True, capture_output=True, text=True)
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
