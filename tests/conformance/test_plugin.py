"""A backend from elsewhere: installed, found, put through the suite by the documented command."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

from tofa_edge.conformance.suite import CHECKS

ROOT = Path(__file__).parents[2]
PLUGIN, PAGE = ROOT / "examples" / "tofa-edge-mnn", ROOT / "docs" / "write-a-backend.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

BROKEN = """
from tofa_edge.backends.reference import Reference

class Broken(Reference):
    name = "broken"

    def load(self, artefact, target):
        session = super().load(artefact, target)
        session.unit = "gpu"
        return session
"""


def conformance(*arguments: str, folder: Path, code: int) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "tofa_edge", "conformance", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={**os.environ, "PYTHONPATH": str(folder)},
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package, least in (("pip", 21), ("setuptools", 77)):  # importing pip upsets setuptools
        found = next(iter(distributions(name=package)), None)
        if found is None or int(found.version.split(".")[0]) < least:
            pytest.skip(f"installing the plug-in takes {package} {least} or newer")
    folder = tmp_path_factory.mktemp("plugin")
    tree, target = folder / "tree", folder / "target"
    shutil.copytree(PLUGIN, tree, ignore=shutil.ignore_patterns("build", "*.egg-info"))
    options = ("--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--target")
    command = [sys.executable, "-m", "pip", "install", *options, str(target), str(tree)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


@pytest.mark.skipif(importlib.util.find_spec("MNN") is None, reason="no package MNN")
def test_plugin_passes_every_check(installed: Path) -> None:
    done = conformance("mnn", "--quick", "--json", folder=installed, code=0)
    checks = json.loads(done.stdout)
    assert [check["name"] for check in checks] == list(CHECKS)
    outcomes = {check["name"]: check["outcome"] for check in checks}
    may_skip = {"one thread takes one core"}  # where there is one core
    assert outcomes.pop("calibration statistics equal the reference") == "skipped"
    assert {name for name, outcome in outcomes.items() if outcome != "passed"} <= may_skip


def test_failed_check_is_said_and_sets_the_exit_code(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    described = tmp_path / "broken-1.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (described / "entry_points.txt").write_text("[tofa_edge.backends]\nbroken = broken:Broken\n")
    done = conformance("broken", "--quick", folder=tmp_path, code=1)
    name = "sessions run where the target says"
    assert f"failed {name}: cpu fp32 1t: it runs on 'gpu'" in done.stdout
    assert "passed subnets equal the reference: 15 subnets" in done.stdout
    assert name in done.stderr


def test_unknown_backend_is_an_error_in_one_line(tmp_path: Path) -> None:
    done = conformance("nothing", folder=tmp_path, code=1)
    assert done.stderr.startswith("tofa-edge: no backend 'nothing'; there are ")


def test_plugin_imports_nothing_of_tofa_edge_but_its_backends() -> None:
    imports = re.compile(r"^\s*(?:from|import) (tofa_edge\S*)", re.MULTILINE)
    modules = {m for path in PLUGIN.rglob("*.py") for m in imports.findall(path.read_text())}
    assert modules == {"tofa_edge.backends", "tofa_edge_mnn.mnn_format"}


def test_page_shows_the_plugin_word_for_word() -> None:
    files = "\n".join(
        path.read_text() for path in PLUGIN.rglob("*") if path.suffix in (".py", ".toml")
    )
    blocks = [text for kind, text in BLOCK.findall(PAGE.read_text()) if kind in ("python", "toml")]
    assert len(blocks) == 10
    for block in blocks:
        assert block in files + "\n", block


def test_page_counts_what_the_suite_has() -> None:
    from tofa_edge.conformance.numbers import FULL
    from tofa_edge.conformance.subject import FULL_LOADS

    page = PAGE.read_text()
    assert len(CHECKS) == 20
    assert "Twenty checks" in page
    assert f"{sum(FULL.values())} networks" in page
    assert f"{FULL_LOADS:,} loads" in page
