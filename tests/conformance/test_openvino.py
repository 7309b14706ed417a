"""What is OpenVINO's own: no telemetry, fp32 as asked, one image as fast as any, nothing leaks."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from tofa_edge.architecture.arrays import FloatArray
from tofa_edge.architecture.layers import LOGITS, layers
from tofa_edge.architecture.space import SearchSpace
from tofa_edge.architecture.zoo import tiny
from tofa_edge.backends.onnx.float import write_onnx
from tofa_edge.backends.onnxruntime import OnnxRuntime
from tofa_edge.backends.openvino import OpenVino, _core, _settings, _unit
from tofa_edge.backends.protocol import Engine, Target
from tofa_edge.backends.reference import Reference, ReferenceSession
from tofa_edge.conformance.subject import prepared
from tofa_edge.cutting.calibration import cut_network
from tofa_edge.errors import BackendError
from tofa_edge.network.network import LITE_PREPROCESSING, Network
from tofa_edge.network.slicing import calibration_network, cut, fold
from tofa_edge.selftest.specimens import specimen

Supernets = Callable[[SearchSpace, int], dict[str, FloatArray]]
BACKEND = OpenVino()
pytestmark = pytest.mark.skipif(BACKEND.missing() is not None, reason=str(BACKEND.missing()))

USE = """
import sys
from pathlib import Path
sockets = []
sys.addaudithook(lambda event, _: sockets.append(event) if event.startswith("socket.") else None)
import numpy as np
from tofa_edge.backends import Target
from tofa_edge.backends.openvino import OpenVino
from tofa_edge.network.network import Network
backend, network = OpenVino(), Network.from_bytes(Path(sys.argv[1]).read_bytes())
session = backend.load(backend.build(network, Target()), Target())
session.run(np.zeros((1, 32, 32, 3), np.uint8))
session.close()
print("used", sockets, *(name for name in sys.modules if name.startswith("openvino_telemetry")))
"""


@pytest.fixture
def network(supernets: Supernets) -> Network:
    described = layers(tiny(), tiny().largest())
    return fold(described, cut(described, supernets(tiny(), 0)), LITE_PREPROCESSING)


def test_no_file_no_socket_no_telemetry(tmp_path: Path, network: Network) -> None:
    home, saved = tmp_path / "home", tmp_path / "network"
    home.mkdir()
    saved.write_bytes(network.to_bytes())
    environment = {"HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path)}
    made = subprocess.run(
        [sys.executable, "-c", USE, str(saved)], env=environment, capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    assert made.stdout == "used []\n"
    assert list(home.iterdir()) == []


def test_the_telemetry_package_is_not_kept_from_others(network: Network) -> None:
    BACKEND.load(BACKEND.build(network, Target()), Target()).close()
    assert sys.modules.get("openvino_telemetry", "absent") is not None


def test_it_is_compiled_for_fp32_and_the_targets_threads(network: Network) -> None:
    model = _core().read_model(BACKEND.build(network, Target()))
    compiled = _core().compile_model(model, "CPU", _settings(Target(threads=2)))
    assert compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "f32"
    assert compiled.get_property("NUM_STREAMS") == 1
    assert compiled.get_property("INFERENCE_NUM_THREADS") <= 2
    assert not compiled.get_property("ENABLE_CPU_PINNING")


def test_a_network_compiled_for_another_place_is_seen(network: Network) -> None:
    model = _core().read_model(BACKEND.build(network, Target()))
    compiled = _core().compile_model(model, "CPU", _settings(Target()))
    assert _unit(compiled, Target()) == "cpu"
    with pytest.raises(BackendError, match="wanted gpu, but it runs on cpu"):
        _unit(compiled, Target("gpu"))
    with pytest.raises(BackendError, match="wanted fp16, but it computes in f32"):
        _unit(compiled, Target(precision="fp16"))


def test_a_lower_precision_of_the_cpus_own_is_seen(network: Network) -> None:
    able = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    lower = {"BF16": "bf16", "FP16": "f16"}
    found = [lower[name] for name in lower if name in able]
    if not found:
        pytest.skip("this CPU computes in fp32 alone")
    model = _core().read_model(BACKEND.build(network, Target()))
    compiled = _core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": found[0]})
    with pytest.raises(BackendError, match="wanted fp32, but it computes in"):
        _unit(compiled, Target())


def test_convolutions_are_integer_kernels() -> None:
    target = Target(precision="int8")
    if target not in BACKEND.targets():
        pytest.skip("this CPU has no integer kernels")
    network = prepared(specimen(), target)
    model = _core().read_model(BACKEND.build(network, target))
    compiled = _core().compile_model(model, "CPU", _settings(target))
    assert _unit(compiled, target) == "cpu"
    facts = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    kernels = [
        info["runtimePrecision"].astype(str)
        for info in facts
        if info["layerType"].astype(str) == "Convolution"
    ]
    floats = [kernel for kernel in kernels if kernel not in ("u8", "i8")]
    assert len(floats) <= 1, "all but the first, which pads with what is not 0"
    assert len(kernels) > 3


@pytest.mark.parametrize("unit", ["gpu", "npu"])
def test_a_device_that_is_not_there_is_refused(network: Network, unit: str) -> None:
    if any(target.unit == unit for target in BACKEND.targets()):
        pytest.skip(f"this machine has a {unit}")
    artefact = BACKEND.build(network, Target())
    with pytest.raises(BackendError, match=f"no target {unit} fp16 1t; it offers cpu fp32 1t"):
        BACKEND.load(artefact, Target(unit, "fp16"))


def test_statistics_in_several_operators_are_those_of_one(supernets: Supernets) -> None:
    runtime = OnnxRuntime()
    if reason := runtime.missing():
        pytest.skip(reason)
    described = layers(tiny(), tiny().largest())
    measuring = calibration_network(
        described, cut(described, supernets(tiny(), 0)), LITE_PREPROCESSING
    )
    images = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3)).astype(np.uint8)
    one, several = (
        runtime.load(write_onnx(measuring, training_mode=mode), Target()).run(images)
        for mode in (True, False)
    )
    assert one.keys() == several.keys()
    for name, value in one.items():
        np.testing.assert_allclose(several[name], value, rtol=1e-4, atol=1e-4, err_msg=name)


def test_calibrated_here_it_is_what_the_reference_calibrates(supernets: Supernets) -> None:
    space, images = tiny(), np.random.default_rng(1).integers(0, 256, (32, 32, 32, 3))
    photos = images.astype(np.uint8)
    subnet = dataclasses.replace(space.smallest(), resolution=32)
    logits = []
    for backend in (BACKEND, Reference()):
        made = cut_network(
            space,
            subnet,
            supernets(space, 0),
            LITE_PREPROCESSING,
            photos,
            Engine(backend, Target()),
        )
        logits.append(ReferenceSession(made).run(photos[:4])[LOGITS])
    assert np.abs(logits[0] - logits[1]).max() <= 1e-4 * np.abs(logits[1]).max()


def test_closed_sessions_leave_nothing_behind(network: Network) -> None:
    artefact, image = BACKEND.build(network, Target()), np.zeros((1, 32, 32, 3), np.uint8)
    process = psutil.Process()

    def cycles(count: int) -> int:
        for _ in range(count):
            session = BACKEND.load(artefact, Target())
            session.run(image)
            session.close()
        return int(process.memory_info().rss)

    before = cycles(10)
    assert cycles(30) - before < 30 * 100_000  # one compiled network is far more
