"""Each check of numbers finds the fault it is there for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tofa_edge import backends
from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.architecture.layers import LOGITS, Convolution
from tofa_edge.backends.protocol import Target
from tofa_edge.backends.reference import Reference, ReferenceSession
from tofa_edge.conformance import numbers as conformance_numbers
from tofa_edge.conformance.subject import Subject
from tofa_edge.conformance.suite import CHECKS, Check, check
from tofa_edge.errors import BackendError
from tofa_edge.network.network import LITE_PREPROCESSING, Network

Examined = Callable[[str, dict[str, dict[str, Any]]], Check]


def rebuilt(change: Callable[[Network], Network]) -> dict[str, dict[str, Any]]:
    def build(self: Any, network: Network, target: Target) -> bytes:
        return Reference().build(change(network), target)

    return {"backend": {"build": build}}


def padded_wrong(network: Network) -> Network:
    """The zeros before and after a map swapped, as an engine does that pads symmetrically."""
    layers = tuple(
        dataclasses.replace(layer, padding=layer.padding[::-1])
        if isinstance(layer, Convolution)
        else layer
        for layer in network.layers
    )
    return dataclasses.replace(network, layers=layers)


def without_activation(network: Network) -> Network:
    layers = tuple(
        dataclasses.replace(layer, activation="relu")
        if isinstance(layer, Convolution) and layer.activation == "hard_swish"
        else layer
        for layer in network.layers
    )
    return dataclasses.replace(network, layers=layers)


def with_usual_preprocessing(network: Network) -> Network:
    return dataclasses.replace(network, preprocessing=LITE_PREPROCESSING)


def first_batch_size_only(self: Any, batch: ImageArray) -> dict[str, FloatArray]:
    """Keeps the memory plan of the first batch: the rest of a larger one is never computed."""
    self.planned = getattr(self, "planned", len(batch))
    logits = self.session.run(batch)[LOGITS]
    logits[self.planned :] = 0
    return {LOGITS: logits}


def in_double_precision(self: Any, batch: ImageArray) -> dict[str, Any]:
    return {LOGITS: self.session.run(batch)[LOGITS].astype(np.float64)}


def variance_of_a_sample(self: Any, batch: ImageArray) -> dict[str, FloatArray]:
    found = self.session.run(batch)
    return {
        name: value * np.float32(1.01) if name.endswith("variance") else value
        for name, value in found.items()
    }


def used_up(self: Any, artefact: bytes, target: Target) -> Any:
    """Changes what it loads the second time, as an engine does that rewrites its file."""
    self.loaded = self.__dict__.get("loaded", 0) + 1
    network = Network.from_bytes(artefact)
    bias = network.arrays[f"{LOGITS}.bias"] + self.loaded
    return ReferenceSession(
        dataclasses.replace(network, arrays={**network.arrays, f"{LOGITS}.bias": bias})
    )


def two_targets(self: Any) -> tuple[Target, ...]:
    return (Target(), Target(threads=2))


def wrong_with_two_threads(self: Any, artefact: bytes, target: Target) -> Any:
    return (
        used_up(self, artefact, target)
        if target.threads == 2
        else Reference().load(artefact, target)
    )


FAULTS: list[tuple[str, str, dict[str, dict[str, Any]]]] = [
    ("subnets equal the reference", "largest logit off", rebuilt(padded_wrong)),
    ("subnets equal the reference", "off on mobilenet_v3", rebuilt(without_activation)),
    ("subnets equal the reference", "batch 3", {"session": {"run": first_batch_size_only}}),
    ("subnets equal the reference", "float64", {"session": {"run": in_double_precision}}),
    (
        "every target equals the reference",
        "cpu fp32 2t",
        {"backend": {"targets": two_targets, "load": wrong_with_two_threads}},
    ),
    ("preprocessing is the networks own", "off", rebuilt(with_usual_preprocessing)),
    (
        "calibration statistics equal the reference",
        "spread off",
        {"session": {"run": variance_of_a_sample}},
    ),
    (
        "calibration statistics equal the reference",
        "outputs missing",
        {"session": {"run": lambda self, batch: {}}},
    ),
]


@pytest.mark.parametrize(
    ("name", "said", "fault"), FAULTS, ids=[f"{name}: {said}" for name, said, _ in FAULTS]
)
def test_fault_is_found(
    examined: Examined, name: str, said: str, fault: dict[str, dict[str, Any]]
) -> None:
    found = examined(name, fault)
    assert found.outcome == "failed", found
    assert said in found.reason


def test_every_check_has_a_fault_it_finds() -> None:
    checks = {
        name
        for name, function in CHECKS.items()
        if function.__module__ == conformance_numbers.__name__
    }
    assert {name for name, _, _ in FAULTS} == checks


def test_backend_that_does_not_calibrate_may_say_so(examined: Examined) -> None:
    def build(self: Any, network: Network, target: Target) -> bytes:
        if network.outputs != (LOGITS,):
            raise BackendError("no statistics here")
        return Reference().build(network, target)

    name = "calibration statistics equal the reference"
    found = examined(name, {"backend": {"calibrates": False, "build": build}})
    assert (found.outcome, "no statistics here" in found.reason) == ("skipped", True)
    assert examined(name, {"backend": {"calibrates": False}}).outcome == "passed"
    assert examined(name, {"backend": {"calibrates": True, "build": build}}).outcome == "failed"


def test_tolerance_can_be_stricter() -> None:
    backend = backends.backends()["reference"]
    name = "subnets equal the reference"
    assert check(name, Subject(backend, quick=True, tolerance=1e-12)).outcome == "failed"
