"""ncnn on a GPU through Vulkan; in software where there is no other, and with planted faults."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tofa_edge.architecture.layers import LOGITS
from tofa_edge.backends import ncnn as backend
from tofa_edge.backends.ncnn import Ncnn, vulkan
from tofa_edge.backends.protocol import Target
from tofa_edge.backends.reference import ReferenceSession
from tofa_edge.conformance.subject import Subject
from tofa_edge.conformance.suite import CHECKS, check
from tofa_edge.errors import BackendError
from tofa_edge.selftest.golden import difference, tolerance
from tofa_edge.selftest.specimens import photos, specimen

BACKEND = Ncnn()
GPU, HALF = Target("gpu"), Target("gpu", "fp16")
FAULTS = Path(__file__).with_name("vulkan_faults.c")
pytestmark = pytest.mark.skipif(BACKEND.missing() is not None, reason=str(BACKEND.missing()))
whole_suite = pytest.mark.skipif(
    os.environ.get(vulkan.ALLOW_SOFTWARE) != "1", reason="minutes: make test-engines runs it"
)

LOSE = """
from tofa_edge.backends.ncnn import Ncnn
from tofa_edge.backends.protocol import Target
from tofa_edge.errors import BackendError
from tofa_edge.selftest.specimens import photos, specimen
backend, gpu = Ncnn(), Target("gpu")
artefact = backend.build(specimen(), gpu)
try:
    session = backend.load(artefact, gpu)
    print("loaded")
    for _ in range(50):
        session.run(photos(1, 32))
except BackendError as error:
    print("refused", error)
session = backend.load(artefact, Target())
print(session.run(photos(1, 32))["logits"].shape)
"""
TEST = """
import json
from tofa_edge.selftest.records import engine_records
record = engine_records(names=["ncnn"])["ncnn"]
print(json.dumps([[str(verdict.target), verdict.fault] for verdict in record.verdicts]))
"""


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """ncnn, allowed to take a GPU in software."""
    ncnn = pytest.importorskip("ncnn")
    if not vulkan.gpu_name(ncnn):
        pytest.skip("no Vulkan driver: apt install mesa-vulkan-drivers libvulkan1")
    monkeypatch.setenv(vulkan.ALLOW_SOFTWARE, "1")
    return ncnn


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The loader that loses the device, compiled."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    library = tmp_path_factory.mktemp("faults") / "faults.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, FAULTS, "-ldl"], check=True)
    return library


def run(code: str, faults: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NCNN_VULKAN_DRIVER": str(faults), **variables}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )


def test_a_golden_case_on_the_gpu(module: Any) -> None:
    network, images = specimen(), photos(2, 32)
    wanted = ReferenceSession(network).run(images)[LOGITS]
    session = BACKEND.load(BACKEND.build(network, GPU), GPU)
    assert session.unit == "gpu"
    assert difference(session.run(images)[LOGITS], wanted) <= 1e-4
    session.close()


@pytest.mark.software_gpu
@whole_suite
def test_fp16_is_stored_in_fp16(module: Any) -> None:
    network, images = specimen(), photos(2, 32)
    wanted = ReferenceSession(network).run(images)[LOGITS]
    session = BACKEND.load(BACKEND.build(network, HALF), HALF)
    assert 1e-4 < difference(session.run(images)[LOGITS], wanted) <= tolerance(HALF)
    session.close()


def test_a_gpu_in_software_is_offered_for_tests_alone(
    module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not vulkan.is_software(module):
        pytest.skip("this machine has a real GPU")
    assert BACKEND.targets()[-2:] == (GPU, HALF)
    monkeypatch.delenv(vulkan.ALLOW_SOFTWARE)
    assert {target.unit for target in BACKEND.targets()} == {"cpu"}
    with pytest.raises(BackendError, match=r"is the processor itself: TOFA_EDGE_SOFTWARE_GPU=1"):
        BACKEND.load(BACKEND.build(specimen(), GPU), GPU)


def test_layers_without_a_shader_are_refused(module: Any) -> None:
    text = "7767517\n2 2\nInput x 0 1 x 0=4 1=4 2=3\nExp logits 1 1 x logits\n"
    with pytest.raises(BackendError, match=r"1 layers run on cpu: logits \(Exp\)"):
        backend.opened(module, text, b"", GPU)


def test_a_network_on_the_cpu_is_seen(module: Any) -> None:
    text = "7767517\n1 1\nInput x 0 1 x 0=4 1=4 2=3\n"
    net = backend.opened(module, text, b"", Target())
    with pytest.raises(BackendError, match="it runs on cpu"):
        vulkan.check_placement(net, GPU)
    net.opt.use_vulkan_compute = True
    with pytest.raises(BackendError, match="cannot store it: it computes in fp32"):
        vulkan.check_placement(net, HALF)


@pytest.mark.software_gpu
@whole_suite
@pytest.mark.parametrize("name", CHECKS)
def test_gpu_passes(module: Any, name: str) -> None:
    found = check(name, Subject(BACKEND, tolerance=1e-4, unit="gpu", slow=True))
    if found.outcome == "skipped":
        pytest.skip(found.reason)
    assert found.outcome == "passed", found.reason


@pytest.mark.parametrize(("submits", "loaded"), [("1", False), ("8", True)])
def test_a_lost_gpu_is_an_error_and_the_cpu_remains(
    module: Any, faults: Path, submits: str, loaded: bool
) -> None:
    done = run(LOSE, faults, SUBMITS=submits)
    assert done.returncode == 0, done.stderr
    assert ("loaded" in done.stdout) == loaded
    assert "refused ncnn failed with code -1: the GPU was lost" in done.stdout
    assert done.stdout.endswith("(1, 10)\n")


@pytest.mark.software_gpu
@whole_suite
def test_a_gpu_without_memory_is_found_by_the_self_test(module: Any, faults: Path) -> None:
    """ncnn itself crashes, in the process of the self-test."""
    done = run(TEST, faults, ALLOCATIONS="1")
    assert done.returncode == 0, done.stderr
    verdicts = dict(json.loads(done.stdout))
    assert {fault for target, fault in verdicts.items() if target.startswith("cpu")} == {None}
    assert {fault for target, fault in verdicts.items() if target.startswith("gpu")} == {"crash"}
