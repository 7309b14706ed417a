"""The package as it is installed: its list, its links, what importing it costs and loads."""

from __future__ import annotations

import ast
import configparser
import itertools
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import tofa_edge
from tofa_edge.backends.protocol import Backend
from tofa_edge.backends.registry import backends

ROOT = Path(__file__).parents[2]
PROFILES = ROOT / "device_profiles"
LINKED = ("backends", "device_profiles", "benchmarks")
REPOSITORY = ("tofa_edge.benchmarks.studies", "tofa_edge.benchmarks.evidence")  # not in the wheel
HEAVY = (
    "torch", "onnx", "onnxruntime", "openvino", "ai_edge_litert", "tflite_runtime", "tensorrt",
    "flatbuffers", "rich", "typer", "PIL", "importlib.metadata", "statistics",
)  # fmt: skip
IMPORT_S = 0.15  # of processor time at most, for importing deploy() beyond numpy


def run(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
        env={**os.environ, **environment},
    )
    return done.stdout.strip()


def modules() -> list[str]:
    files = itertools.chain(
        (ROOT / "tofa_edge").rglob("*.py"), *((ROOT / name).rglob("*.py") for name in LINKED)
    )
    names = set()
    for file in files:
        parts = list(file.relative_to(ROOT).with_suffix("").parts)
        parts = parts if parts[0] == "tofa_edge" else ["tofa_edge", *parts]
        names.add(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return sorted(names - {"tofa_edge.__main__"})


def test_setup_lists_every_package_on_disk() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    found = {name for name in modules() if (ROOT / name.replace(".", "/") / "__init__.py").exists()}
    assert listed == found - {*REPOSITORY}


def test_links_point_to_the_top_level_folders() -> None:
    for name in LINKED:
        link = ROOT / "tofa_edge" / name
        assert link.is_symlink()
        assert link.resolve() == ROOT / name


def test_wheel_carries_the_product_and_no_study(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="77")
    tree, made = tmp_path / "tree", tmp_path / "made"
    ignored = shutil.ignore_patterns(".*", "*.tofa", "build", "dist", "demo", "__pycache__")
    shutil.copytree(ROOT, tree, symlinks=True, ignore=ignored)
    made.mkdir()
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(made)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=tree, capture_output=True, check=True)
    (wheel,) = made.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    wanted = {f"tofa_edge/device_profiles/{item.name}" for item in PROFILES.glob("*.json")}
    assert len(wanted) > 1
    assert wanted <= inside
    assert {f"tofa_edge/benchmarks/report/page.{kind}" for kind in ("css", "js")} <= inside
    assert "tofa_edge/benchmarks/result/result_schema.json" in inside
    folders = {name.split("/")[2] for name in inside if name.startswith("tofa_edge/benchmarks/")}
    assert folders == {"__init__.py", "report", "result", "suite"}


def test_version_is_the_newest_in_the_changelog() -> None:
    versions = re.findall(r"^## \[(\d\S*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0] == tofa_edge.__version__


def test_public_names_are_pinned() -> None:
    assert tofa_edge.__all__ == sorted(
        [
            "BackendError", "Budget", "BudgetError", "Bundle", "BundleError", "CameraError",
            "DataError", "DeployOptions", "ExportError", "ImageError", "InstallError",
            "LatencyError", "LimitError", "LiveModel", "LiveOptions", "Model", "Prediction",
            "ProfileError", "SearchSpace", "SpaceError", "Subnet", "SubnetError", "TofaError",
            "TrainingError", "Trust", "TrustError", "__version__", "deploy", "export",
            "self_test_support",
        ]
    )  # fmt: skip
    for name in tofa_edge.__all__:
        assert getattr(tofa_edge, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = tofa_edge.nonsense


@pytest.mark.parametrize("backwards", [False, True])
def test_public_names_survive_importing_every_module(backwards: bool) -> None:
    names = sorted(modules(), reverse=backwards)
    imports = "\n".join(f"import {name}" for name in names)
    run(f"{imports}\nassert callable(tofa_edge.deploy) and tofa_edge.Bundle.open")


@pytest.mark.parametrize("module", ["tofa_edge", "tofa_edge.live.deploy"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    loaded = run(f"import sys, numpy, {module}; print([m for m in {HEAVY} if m in sys.modules])")
    assert loaded == "[]"


def test_importing_deploy_is_quick(tmp_path: Path) -> None:
    code = (
        "import time, numpy; begin = time.process_time(); import tofa_edge.live.deploy; "
        "print(time.process_time() - begin)"
    )
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    seconds = [float(run(code, **compiled)) for _ in range(6)]
    assert min(seconds) < IMPORT_S, seconds


def test_torch_is_loaded_in_train_alone() -> None:
    host = ("tofa_edge.train.", *(f"{name}." for name in REPOSITORY))
    names = [name for name in modules() if not f"{name}.".startswith(host)]
    imports = "\n".join(f"import {name}" for name in names)
    assert run(f"{imports}\nimport sys; print('torch' in sys.modules)") == "False"


def test_linked_packages_do_not_answer_to_their_bare_names() -> None:
    for name in LINKED:
        code = f"import importlib.util as u; print(u.find_spec({name!r}))"
        assert run(code) == "None"


def test_backends_come_through_the_entry_points() -> None:
    found = backends()
    assert set(found) >= {"onnxruntime", "openvino", "tflite", "reference"}
    for name, item in found.items():
        assert isinstance(item, Backend)
        assert item.name == name


def test_no_pickle_and_no_eval() -> None:
    for path in (*(ROOT / "tofa_edge").rglob("*.py"), *(ROOT / "backends").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec"), path
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names} | {getattr(node, "module", "")}
                assert not names & {"pickle", "cloudpickle", "marshal"}, path


def test_deployment_leaves_what_it_says_and_no_socket(tiny_bundle: Path, tmp_path: Path) -> None:
    code = f"""
import psutil, tofa_edge
for name in ("onnxruntime", "openvino", "tflite", "reference"):
    from tofa_edge.backends import backends
    if backends()[name].missing() is None:
        options = tofa_edge.DeployOptions(backend=name)
        with tofa_edge.deploy({str(tiny_bundle)!r}, latency_ms=1000, options=options) as model:
            assert not psutil.Process().net_connections(kind="all"), name
print("done")
"""
    home = tmp_path / "home"
    home.mkdir()
    places = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "TMPDIR": str(home)}
    assert run(code, PYTHONDONTWRITEBYTECODE="1", **places) == "done"
    left = {path.relative_to(home) for path in home.rglob("*") if path.is_file()}
    own = {Path("cache/tofa-edge/decisions"), Path("cache/tofa-edge/selftests")}
    kept = {path for path in left if path.parent in own}
    assert left - kept == {Path("tofa-edge-measuring.lock")}
    assert {path.suffix for path in kept} == {".json", ".artefact"}
