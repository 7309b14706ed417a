"""Each check of conduct finds the fault it is there for, and none where there is none."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from tofa_edge import backends
from tofa_edge.architecture.arrays import ImageArray
from tofa_edge.architecture.layers import LOGITS
from tofa_edge.backends.protocol import Target
from tofa_edge.backends.reference import Reference, ReferenceSession
from tofa_edge.conformance import conduct as conformance_conduct
from tofa_edge.conformance.subject import Subject
from tofa_edge.conformance.suite import CHECKS, Check, check, run
from tofa_edge.errors import BackendError
from tofa_edge.network.network import Network
from tofa_edge.selftest.specimens import specimen

Examined = Callable[[str, dict[str, dict[str, Any]]], Check]


def in_one_buffer(self: Any, batch: ImageArray) -> Any:
    logits = self.session.run(batch)[LOGITS]
    if not hasattr(self, "buffer"):
        self.buffer = np.zeros((64, logits.shape[1]), np.float32)
    self.buffer[: len(logits)] = logits
    time.sleep(0.001)
    return {LOGITS: self.buffer[: len(logits)]}


def in_one_buffer_then_copied(self: Any, batch: ImageArray) -> Any:
    return {LOGITS: in_one_buffer(self, batch)[LOGITS].copy()}


def normalised_in_place(self: Any, batch: ImageArray) -> Any:
    logits = self.session.run(batch)
    batch.flags.writeable = True
    batch[...] = 0
    return logits


def as_if_contiguous(self: Any, batch: ImageArray) -> Any:
    flat = batch if batch.base is None else batch.base.reshape(-1)[: batch.size]
    return self.session.run(flat.reshape(batch.shape))


def anything_goes(self: Any, batch: ImageArray) -> Any:
    size = self.session._network.input_size
    fitted = np.zeros((max(1, len(batch)), size, size, 3), np.uint8)
    return self.session.run(fitted)


def index_error_for_others(self: Any, batch: ImageArray) -> Any:
    if batch.shape[1:] != (32, 32, 3):
        raise IndexError("out of range")
    return self.session.run(batch)


def with_every_core(self: Any, batch: ImageArray) -> Any:
    """Shares its work among threads of its own."""
    if not hasattr(self, "pool"):
        self.pool = ThreadPoolExecutor(4)
    square = np.ones((1 << 20,), np.float32)
    list(self.pool.map(np.sqrt, [square] * 40))
    return {LOGITS: np.zeros((len(batch), 1000), np.float32)}


def in_a_thread_of_its_own(self: Any, batch: ImageArray) -> Any:
    if not hasattr(self, "pool"):
        self.pool = ThreadPoolExecutor(1)
    return self.pool.submit(lambda: {LOGITS: np.sqrt(np.ones(1 << 20))}).result()


def never_closed(self: Any) -> None:
    return None


def closed_once(self: Any) -> None:
    if self.session._network is None:
        raise BackendError("closed already")
    self.session.close()


LEAKED: list[Any] = []


def leaking(self: Any) -> None:
    self.session.close()
    LEAKED.append(np.ones(1 << 18, np.float32))


def leaving_files_open(self: Any) -> None:
    self.session.close()
    LEAKED.append(os.fdopen(os.open(os.devnull, os.O_RDONLY)))


def closing_all(self: Any) -> None:
    """As an engine does whose networks share one arena."""
    for session in self.backend.__dict__.get("open", []):
        session.close()


def remembered(self: Any, session: Any, backend: Any) -> None:
    self.session, self.backend = session, backend
    backend.__dict__.setdefault("open", []).append(session)


def padded_with_zeros(self: Any, artefact: bytes, target: Target) -> Any:
    """Reads a short file as an engine does that does not check lengths."""
    whole = self.__dict__.get("whole", b"")
    return Reference().load(artefact if len(artefact) in (0, 7, 4096) else whole, target)


def kept(self: Any, network: Network, target: Target) -> bytes:
    self.whole = Reference().build(network, target)
    return bytes(self.whole)


def with_default_network(self: Any, artefact: bytes, target: Target) -> Any:
    return ReferenceSession(specimen())


def stamped(self: Any, network: Network, target: Target) -> bytes:
    stamp = dataclasses.replace(network, outputs=network.outputs)
    stamp.arrays[f"stamp{time.perf_counter_ns()}"] = np.zeros(1, np.float32)  # type: ignore[index]
    return Reference().build(stamp, target)


def used_up(self: Any, artefact: bytes, target: Target) -> Any:
    """Changes what it loads the second time, as an engine does that rewrites its file."""
    self.loaded = self.__dict__.get("loaded", 0) + 1
    network = Network.from_bytes(artefact)
    bias = network.arrays[f"{LOGITS}.bias"] + self.loaded
    return ReferenceSession(
        dataclasses.replace(network, arrays={**network.arrays, f"{LOGITS}.bias": bias})
    )


def on_any_target(self: Any, artefact: bytes, target: Target) -> Any:
    return Reference().load(artefact, Target())


FAULTS: list[tuple[str, str, dict[str, dict[str, Any]]]] = [
    ("it keeps the protocol", "entry point", {"backend": {"name": "another"}}),
    ("it keeps the protocol", "version", {"backend": {"version": lambda self: "unknown"}}),
    ("it keeps the protocol", "attributes or methods", {"backend": {"calibrates": property()}}),
    ("targets differ", "twice", {"backend": {"targets": lambda self: (Target(), Target())}}),
    ("targets differ", "no target", {"backend": {"targets": lambda self: ()}}),
    ("sessions run where the target says", "runs on 'gpu'", {"session": {"unit": "gpu"}}),
    ("artefacts are the same each time", "differ", {"backend": {"build": stamped}}),
    ("artefacts can be loaded again", "loaded again", {"backend": {"load": used_up}}),
    (
        "input is kept and outputs are the callers",
        "written to",
        {"session": {"run": normalised_in_place}},
    ),
    (
        "input is kept and outputs are the callers",
        "overwrites",
        {"session": {"run": in_one_buffer}},
    ),
    ("strided batches are read right", "other logits", {"session": {"run": as_if_contiguous}}),
    ("other batches are refused", "accepted", {"session": {"run": anything_goes}}),
    ("other batches are refused", "IndexError", {"session": {"run": index_error_for_others}}),
    ("closed sessions refuse", "accepted", {"session": {"close": never_closed}}),
    ("closed sessions refuse", "closed already", {"session": {"close": closed_once}}),
    ("garbage is refused", "accepted", {"backend": {"load": with_default_network}}),
    (
        "pieces of artefacts are refused",
        "accepted",
        {"backend": {"load": padded_with_zeros, "build": kept}},
    ),
    ("targets not offered are refused", "int4", {"backend": {"load": on_any_target}}),
    (
        "sessions do not disturb each other",
        "closed",
        {"session": {"__init__": remembered, "close": closing_all}},
    ),
    (
        "four threads get what one gets",
        "largest logit off",
        {"session": {"run": in_one_buffer_then_copied}},
    ),
    ("one thread takes one core", "takes", {"session": {"run": with_every_core}}),
    ("memory stays level", "grew", {"session": {"close": leaking}}),
    ("memory stays level", "files more", {"session": {"close": leaving_files_open}}),
]


@pytest.mark.parametrize(
    ("name", "said", "fault"), FAULTS, ids=[f"{name}: {said}" for name, said, _ in FAULTS]
)
def test_fault_is_found(
    examined: Examined, name: str, said: str, fault: dict[str, dict[str, Any]]
) -> None:
    if name == "one thread takes one core" and backends.cpu_targets()[-1].threads < 2:
        pytest.skip("one core: there is no second one to take")
    found = examined(name, fault)
    for item in LEAKED:
        if hasattr(item, "close"):
            item.close()
    LEAKED.clear()
    assert found.outcome == "failed", found
    assert said in found.reason


def test_every_check_has_a_fault_it_finds() -> None:
    checks = {
        name
        for name, function in CHECKS.items()
        if function.__module__ == conformance_conduct.__name__
    }
    assert {name for name, _, _ in FAULTS} == checks


OTHERS = [
    name for name in CHECKS if name not in ("it keeps the protocol", "one thread takes one core")
]


@pytest.mark.parametrize("name", OTHERS)
def test_wrapping_alone_is_no_fault(examined: Examined, name: str) -> None:
    assert examined(name, {}).outcome == "passed"


def test_one_core_may_be_taken_by_another_thread(examined: Examined) -> None:
    fault = {"session": {"run": in_a_thread_of_its_own}}
    assert examined("one thread takes one core", fault).outcome != "failed"


def test_missing_engine_is_an_error() -> None:
    class Absent(Reference):
        def missing(self) -> str:
            return "no luck"

    with pytest.raises(BackendError, match="cannot run here: no luck"):
        run(Absent())


class OnTwoUnits(Reference):
    """Offers a GPU beside the CPU, and runs on it."""

    def targets(self) -> tuple[Target, ...]:
        return (Target(), Target("gpu", "fp16"), Target("gpu"), Target("gpu", "fp32", 2))

    def load(self, artefact: bytes, target: Target) -> Any:
        return ReferenceSession(Network.from_bytes(artefact))


def test_one_unit_is_examined_alone() -> None:
    assert Subject(OnTwoUnits()).target == Target()
    assert Subject(OnTwoUnits(), unit="gpu").target == Target("gpu", "fp32", 2)
    assert len(Subject(OnTwoUnits(), unit="gpu").targets) == 3
    found = check("targets differ", Subject(OnTwoUnits(), unit="npu"))
    assert (found.outcome, found.reason[:9]) == ("failed", "no target")


def test_slow_devices_load_less() -> None:
    loads = [
        Subject(Reference(), quick, slow=slow).cycles
        for quick, slow in ((False, True), (True, True), (True, False))
    ]
    assert loads == [20, 20, 200]


def test_lower_precisions_have_their_own_tolerance() -> None:
    subject = Subject(OnTwoUnits(), tolerance=1e-5)
    assert subject.allowed(Target()) == 1e-5
    assert subject.allowed(Target("gpu", "fp16")) == 2e-2
    assert subject.allowed(Target(precision="bf16")) == 0.16
