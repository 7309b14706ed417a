"""Every backend found, put through every check of the suite, and what the suite cannot ask."""

from __future__ import annotations

import pytest

from tofa_edge import backends
from tofa_edge.backends.protocol import Backend
from tofa_edge.conformance.conduct import NOWHERE
from tofa_edge.conformance.subject import Subject
from tofa_edge.conformance.suite import CHECKS, check
from tofa_edge.errors import BackendError
from tofa_edge.selftest.specimens import specimen

TOLERANCES = {"tflite": 1e-3}  # of the largest logit; 1e-4 for all others
LOADS = {"openvino": 200}  # it compiles for a tenth of a second; 1,000 for all others
UNBOUNDED = "numpy takes what threads its BLAS takes"


@pytest.fixture(params=list(backends.backends()))
def backend(request: pytest.FixtureRequest) -> Backend:
    found = backends.backends()[request.param]
    reason = found.missing()
    if reason is not None:
        pytest.skip(reason)
    return found


@pytest.mark.parametrize("name", CHECKS)
def test_backend_passes(backend: Backend, name: str) -> None:
    if (backend.name, name) == ("reference", "one thread takes one core"):
        pytest.skip(UNBOUNDED)
    tolerance, loads = TOLERANCES.get(backend.name, 1e-4), LOADS.get(backend.name)
    found = check(name, Subject(backend, tolerance=tolerance, loads=loads))
    if found.outcome == "skipped":
        pytest.skip(found.reason)
    assert found.outcome == "passed", found.reason


def test_entry_point_leads_to_it(backend: Backend) -> None:
    assert backends.backend(backend.name) is backend


def test_cpu_targets_come_first_from_one_thread_on(backend: Backend) -> None:
    targets = backend.targets()
    cpus = [target for target in targets if (target.unit, target.precision) == ("cpu", "fp32")]
    if not cpus:
        pytest.skip(f"{backend.name} does not run on the CPU")
    assert list(targets[: len(cpus)]) == cpus
    assert cpus[0].threads == 1


@pytest.mark.parametrize("target", NOWHERE, ids=str)
def test_refusal_of_a_target_names_it(backend: Backend, target: backends.Target) -> None:
    artefact = backend.build(specimen(), backend.targets()[0])
    with pytest.raises(BackendError, match=f"no target {target}"):
        backend.load(artefact, target)


def test_unknown_backend_is_refused() -> None:
    with pytest.raises(BackendError, match="no backend 'nothing'"):
        backends.backend("nothing")


def test_reference_comes_last() -> None:
    assert list(backends.working())[-1] == "reference"
