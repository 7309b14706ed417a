"""Whether ONNX Runtime's silent ways to the CPU are seen, with whatever build is installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tofa_edge.architecture.arrays import FloatArray
from tofa_edge.architecture.layers import layers
from tofa_edge.architecture.space import SearchSpace
from tofa_edge.architecture.zoo import tiny
from tofa_edge.backends.onnxruntime import OnnxRuntime, engine
from tofa_edge.backends.onnxruntime.providers import (
    PROVIDERS,
    RECORD,
    check_placement,
    missing_library,
    provider_chain,
    provider_targets,
    session_options,
)
from tofa_edge.backends.protocol import Engine, Target
from tofa_edge.errors import BackendError
from tofa_edge.network.network import LITE_PREPROCESSING, Network
from tofa_edge.network.slicing import cut, fold
from tofa_edge.selftest.calibrating import calibrator

Supernets = Callable[[SearchSpace, int], dict[str, FloatArray]]
BACKEND = OnnxRuntime()
pytestmark = pytest.mark.skipif(BACKEND.missing() is not None, reason=str(BACKEND.missing()))


@pytest.fixture
def network(supernets: Supernets) -> Network:
    described = layers(tiny(), tiny().largest())
    return fold(described, cut(described, supernets(tiny(), 0)), LITE_PREPROCESSING)


def recorded(network: Network) -> Any:
    """A real session on the CPU provider that tells where each operator is."""
    onnxruntime = engine()
    if not hasattr(onnxruntime.InferenceSession, "get_provider_graph_assignment_info"):
        pytest.skip("onnxruntime tells where operators run from 1.24 on")
    options = session_options(onnxruntime, Target())
    options.add_session_config_entry(RECORD, "1")
    artefact = BACKEND.build(network, Target())
    return onnxruntime.InferenceSession(artefact, options, providers=["CPUExecutionProvider"])


class Elsewhere:
    """A session whose provider is in use while all operators stay on the CPU."""

    def __init__(self, session: Any, provider: str) -> None:
        self._session, self._provider = session, provider

    def get_providers(self) -> list[str]:
        return [self._provider, "CPUExecutionProvider"]

    def get_provider_graph_assignment_info(self) -> Any:
        return self._session.get_provider_graph_assignment_info()


def test_targets_are_those_that_the_build_lists() -> None:
    listed = engine().get_available_providers()
    units = {target.unit for target in provider_targets(engine())}
    assert units == {unit for unit, provider in PROVIDERS.items() if provider in listed}
    assert BACKEND.targets() == provider_targets(engine())


def test_a_provider_that_is_not_listed_is_refused(network: Network) -> None:
    artefact = BACKEND.build(network, Target())
    for unit in PROVIDERS.keys() - {target.unit for target in BACKEND.targets()}:
        with pytest.raises(BackendError, match=f"no target {unit} fp32 1t; it offers cpu fp32 1t"):
            BACKEND.load(artefact, Target(unit))


def test_a_session_on_the_cpu_is_no_session_on_cuda(network: Network) -> None:
    session = recorded(network)
    check_placement(session, Target())
    with pytest.raises(BackendError, match="wanted CUDAExecutionProvider, but it runs on CPU"):
        check_placement(session, Target("cuda"))


def test_layers_that_stay_on_the_cpu_are_named(network: Network) -> None:
    session = recorded(network)
    for unit in ("cuda", "tensorrt", "qnn", "coreml", "openvino", "xnnpack", "acl"):
        with pytest.raises(BackendError, match=r"leaves \d+ operators to others .*on CPUExec"):
            check_placement(Elsewhere(session, PROVIDERS[unit]), Target(unit))


def test_only_the_preparation_of_images_may_stay_on_the_cpu(network: Network) -> None:
    session = recorded(network)
    with pytest.raises(BackendError) as refusal:
        check_placement(Elsewhere(session, PROVIDERS["qnn"]), Target("qnn"))
    operators = [
        node for part in session.get_provider_graph_assignment_info() for node in part.get_nodes()
    ]
    preparing = [node for node in operators if node.op_type in ("Transpose", "Cast", "Sub", "Mul")]
    assert len(preparing) == 4
    assert f"leaves {len(operators) - 4} operators" in str(refusal.value)


def test_a_network_that_openvino_takes_in_part_is_refused(network: Network) -> None:
    """A real partial fallback: OpenVINO has no kernel for the last operator."""
    from onnx import ModelProto, TensorProto, helper

    if Target("openvino") not in BACKEND.targets():
        pytest.skip("this build of onnxruntime has no OpenVINO")
    model = ModelProto.FromString(BACKEND.build(network, Target("openvino")))
    BACKEND.load(model.SerializeToString(), Target("openvino")).close()
    model.graph.node.append(helper.make_node("Unique", ["logits"], ["unique"], name="unique"))
    model.graph.output.append(helper.make_tensor_value_info("unique", TensorProto.FLOAT, [None]))
    with pytest.raises(BackendError, match=r"Unique unique on CPU|assigned to the default CPU EP"):
        BACKEND.load(model.SerializeToString(), Target("openvino"))


def test_an_unusable_listed_provider_is_refused_with_its_reason(network: Network) -> None:
    others = [target for target in BACKEND.targets() if target.unit in ("cuda", "tensorrt")]
    if not others:
        pytest.skip("this build of onnxruntime has no CUDA")
    for target in others:
        if reason := missing_library(engine(), target):
            with pytest.raises(BackendError, match="cannot open shared object"):
                BACKEND.load(BACKEND.build(network, target), target)
            assert ".so" in reason


@pytest.mark.parametrize("unit", PROVIDERS)
def test_threads_are_given_once(unit: str) -> None:
    target = Target(unit, threads=2)
    options = session_options(engine(), target)
    inside = provider_chain(engine(), target)[0][1]
    given = [inside.get("intra_op_num_threads") or inside.get("num_of_threads")]
    assert options.intra_op_num_threads == (1 if unit in ("openvino", "xnnpack") else 2)
    assert given == (["2"] if unit in ("openvino", "xnnpack") else [None])


@pytest.mark.parametrize("target", [Target("cuda"), Target("tensorrt", "fp16"), Target("npu")])
def test_other_units_are_calibrated_for_on_the_cpu(target: Target) -> None:
    by = calibrator(Engine(BACKEND, target))
    assert by.backend.calibrates
    assert (by.target.unit, by.target.precision) == ("cpu", "fp32")


def test_the_cpu_calibrates_itself() -> None:
    mine = Engine(BACKEND, Target())
    assert calibrator(mine) is mine
