"""What is ncnn's own: precisions, integers written without a tool, and what runs on the CPU."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tofa_edge.architecture.layers import LOGITS, Convolution
from tofa_edge.backends import ncnn as backend
from tofa_edge.backends.ncnn import Ncnn
from tofa_edge.backends.ncnn.integer import write_ncnn_int8
from tofa_edge.backends.ncnn.model import write_ncnn
from tofa_edge.backends.protocol import Target
from tofa_edge.backends.reference import ReferenceSession
from tofa_edge.conformance.subject import prepared
from tofa_edge.errors import BackendError
from tofa_edge.network.integers import stepped
from tofa_edge.network.network import Network
from tofa_edge.selftest.golden import difference, tolerance
from tofa_edge.selftest.specimens import measuring_specimen, photos, specimen

BACKEND = Ncnn()
INT8 = Target(precision="int8")
pytestmark = pytest.mark.skipif(BACKEND.missing() is not None, reason=str(BACKEND.missing()))


@pytest.fixture(scope="module")
def rounded() -> Network:
    return prepared(specimen(), INT8)


def options_of(text: str, name: str) -> dict[str, str]:
    """Returns the options of the layer of a name."""
    line = next(line for line in text.splitlines()[2:] if line.split()[1] == name)
    return dict(word.split("=") for word in line.split() if "=" in word)


def test_all_precisions_are_offered_on_the_cpu() -> None:
    found = {target.precision for target in BACKEND.targets() if target.unit == "cpu"}
    assert found == {"fp32", "bf16", "int8"}


def test_bf16_is_computed_in_bf16_and_fp32_is_not() -> None:
    network, images = specimen(), photos(2, 32)
    wanted, wrong = ReferenceSession(network).run(images)[LOGITS], {}
    for precision in ("fp32", "bf16"):
        target = Target(precision=precision)
        session = BACKEND.load(BACKEND.build(network, target), target)
        wrong[precision] = difference(session.run(images)[LOGITS], wanted)
        session.close()
    assert wrong["fp32"] < 1e-5
    assert 1e-3 < wrong["bf16"] < tolerance(Target(precision="bf16"))


def test_layers_with_weights_are_in_integers_but_for_depthwise_ones(rounded: Network) -> None:
    text, weights = write_ncnn_int8(rounded)
    whole = write_ncnn(rounded)[1]
    for layer in rounded.layers:
        if f"{layer.name}.weight" in rounded.arrays:
            depthwise = isinstance(layer, Convolution) and layer.depthwise
            assert (options_of(text, layer.name).get("8") == "1") == (not depthwise), layer.name
    assert len(b"".join(weights)) < 0.6 * len(b"".join(whole))


def test_layers_that_are_kept_have_their_weights_as_they_are(rounded: Network) -> None:
    plan, stem = rounded.quantisation, rounded.layers[0]
    assert plan is not None
    kept = replace(rounded, quantisation=replace(plan, kept=(stem.name,)))
    text, weights = write_ncnn_int8(kept)
    stored = b"".join(weights)
    assert "8" not in options_of(text, stem.name)
    assert rounded.arrays[f"{stem.name}.weight"].tobytes() in stored
    steps, _ = stepped(rounded.arrays[f"{stem.name}.weight"])
    assert steps.tobytes() in b"".join(write_ncnn_int8(rounded)[1])
    assert steps.tobytes() not in stored


def test_a_lowered_value_is_between_minus_and_plus_half_its_range(rounded: Network) -> None:
    text, _ = write_ncnn_int8(rounded)
    assert rounded.quantisation is not None
    lowered = 0
    for layer, reader in zip(rounded.layers, rounded.layers[1:], strict=False):
        if isinstance(layer, Convolution) and layer.depthwise and isinstance(reader, Convolution):
            half = rounded.quantisation.ranges[layer.name][1] / 2
            low, high = options_of(text, layer.name)["-23310"].split(",")[1:]
            assert float(low) == pytest.approx(-half)
            assert float(high) - float(low) == pytest.approx(6)
            lowered += 1
    assert lowered >= 2


def test_integers_without_quantisation_are_refused() -> None:
    with pytest.raises(ValueError, match="wants a network with its quantisation"):
        write_ncnn_int8(specimen())
    with pytest.raises(BackendError, match="wants a network with its quantisation"):
        BACKEND.build(specimen(), INT8)


def test_networks_that_measure_are_refused() -> None:
    with pytest.raises(BackendError, match="calibrate with another engine"):
        BACKEND.build(measuring_specimen(), Target())


def test_a_changed_artefact_is_refused() -> None:
    artefact = bytearray(BACKEND.build(specimen(), Target()))
    artefact[-1] ^= 1
    with pytest.raises(BackendError, match="damaged, or another's: build it again"):
        BACKEND.load(bytes(artefact), Target())


def test_a_text_that_ncnn_refuses_is_an_error() -> None:
    module = pytest.importorskip("ncnn")
    with pytest.raises(BackendError, match="ncnn refuses the network"):
        backend.opened(module, "7767517\n1 1\nNothing x 0 1 x\n", b"", Target())


def test_without_a_gpu_the_cpu_remains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pytest.importorskip("ncnn"), "get_gpu_count", lambda: 0)
    assert {target.unit for target in BACKEND.targets()} == {"cpu"}
    artefact = BACKEND.build(specimen(), Target())
    with pytest.raises(BackendError, match=r"no target gpu fp32 1t.*finds no GPU: install"):
        BACKEND.load(artefact, Target("gpu"))


def test_a_broken_package_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(package: str, install: str) -> Any:
        raise BackendError(f"{package}: import failed; {install}")

    monkeypatch.setattr(backend, "import_engine", broken)
    assert BACKEND.targets()[0] == Target()
    with pytest.raises(BackendError, match=r"import failed; pip install 'tofa-edge\[ncnn\]'"):
        BACKEND.load(b"", Target())


def test_results_do_not_share_memory_with_ncnn() -> None:
    session = BACKEND.load(BACKEND.build(specimen(), Target()), Target())
    images = photos(3, 32)
    first = session.run(images)[LOGITS]
    kept = first.copy()
    session.run(images[::-1].copy())
    session.close()
    assert np.array_equal(first, kept)
