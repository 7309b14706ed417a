"""TensorRT: builds that run without a GPU, every other call against the stubs, and its refusals."""

from __future__ import annotations

import dataclasses
import importlib
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.architecture.layers import LOGITS, layers
from tofa_edge.architecture.space import SearchSpace
from tofa_edge.architecture.zoo import efficientnet_lite0, mobilenet_v3, tiny
from tofa_edge.backends import tensorrt
from tofa_edge.backends.labelling import PROBABILITIES, Labelling
from tofa_edge.backends.onnx.float import write_onnx
from tofa_edge.backends.onnx.integer import TENSORRT, write_onnx_int8
from tofa_edge.backends.protocol import Engine, Target
from tofa_edge.backends.reference import ReferenceSession
from tofa_edge.backends.registry import backends
from tofa_edge.backends.tensorrt import TensorRt, library
from tofa_edge.backends.tensorrt import build as tensorrt_build
from tofa_edge.backends.tensorrt import cuda as binding
from tofa_edge.backends.tensorrt.build import BuildProgress, build_plan, open_plan
from tofa_edge.conformance.subject import prepared
from tofa_edge.errors import BackendError
from tofa_edge.network.network import LITE_PREPROCESSING, Network
from tofa_edge.network.slicing import calibration_network, cut, fold
from tofa_edge.selftest.golden import difference, tolerance
from tofa_edge.selftest.specimens import random_arrays

Supernets = Callable[[SearchSpace, int], dict[str, FloatArray]]
SPACES = {
    "tiny": tiny(),
    "mobilenet_v3": dataclasses.replace(mobilenet_v3(), resolutions=(64, 65)),
    "lite0": dataclasses.replace(efficientnet_lite0(), resolutions=(48, 49, 75, 97)),
}
CASES = [(name, seed) for name in SPACES for seed in range(4)]
HALF_ERROR = 0.1  # of the largest logit: random weights; another network is off by 1
GPU, INT8 = Target("gpu", "fp32"), Target("gpu", "int8")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def module() -> ModuleType:
    name = library.package()
    if name is None:
        pytest.skip(f"no package tensorrt: {library.INSTALL_RTX}")
    return importlib.import_module(name)


@pytest.fixture
def no_gpu(module: ModuleType) -> TensorRt:
    if TensorRt().missing() is None:
        pytest.skip("there is a GPU here")
    return TensorRt()


@pytest.fixture
def gpu() -> TensorRt:
    reason = TensorRt().missing()
    if reason is not None:
        pytest.skip(reason)
    return TensorRt()


def photos(count: int, size: int) -> ImageArray:
    """Smooth noise plus grain."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 200, (count, 4, 4, 3)).repeat(-(-size // 4), 1)
    grain = rng.integers(0, 56, (count, size, size, 3))
    return (coarse.repeat(-(-size // 4), 2)[:, :size, :size] + grain).astype(np.uint8)


def network_of(supernets: Supernets, name: str, seed: int) -> Network:
    """A finished network: both ends of its space, then random ones at all resolutions."""
    space = SPACES[name]
    subnet = space.sample(np.random.default_rng(seed))
    if seed < 2:
        subnet = (space.smallest(), space.largest())[seed]
    resolution = space.resolutions[seed % len(space.resolutions)]
    network = layers(space, dataclasses.replace(subnet, resolution=resolution))
    arrays = cut(network, supernets(space, seed))
    measuring = calibration_network(network, arrays, LITE_PREPROCESSING)
    statistics = ReferenceSession(measuring).run(photos(8, resolution))
    return fold(network, {**arrays, **statistics}, LITE_PREPROCESSING)


@pytest.fixture
def small(supernets: Supernets) -> Network:
    return network_of(supernets, "tiny", 1)


def plan_of(module: ModuleType, network: Network, precision: str, timings: bytes = b"") -> bytes:
    onnx = tensorrt._onnx(network, precision)
    return build_plan(onnx, precision, timings).engine


@pytest.mark.parametrize(("name", "seed"), CASES)
def test_random_subnets_are_built(
    module: ModuleType, supernets: Supernets, name: str, seed: int
) -> None:
    network = network_of(supernets, name, seed)
    single = plan_of(module, network, "fp32")
    half = plan_of(module, network, "fp16")
    weights = sum(array.nbytes for array in network.arrays.values())
    assert len(single) > weights
    assert len(half) > weights / 2
    assert len(single) - len(half) > 0.3 * weights


@pytest.mark.parametrize(("name", "seed"), CASES)
def test_random_subnets_are_built_in_integers(
    module: ModuleType, supernets: Supernets, name: str, seed: int
) -> None:
    network = network_of(supernets, name, seed)
    integers = plan_of(module, prepared(network, INT8), "int8")
    weights = sum(array.nbytes for array in network.arrays.values())
    assert len(integers) > weights / 4, "kernels come on top"


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("form", ["fp32", "fp16", "int8", "exported"])
def test_parser_takes_the_onnx_file(
    module: ModuleType, supernets: Supernets, tmp_path: Path, name: str, form: str
) -> None:
    """As trtexec --onnx=FILE does: from the file, nothing else said."""
    network = network_of(supernets, name, 2)
    classes = SPACES[name].classes
    path = tmp_path / "network.onnx"
    if form == "exported":
        labelling = Labelling(tuple(map(str, range(classes))), 1.5, {}, "0")
        path.write_bytes(write_onnx(network, labelling=labelling))
    elif form == "int8":
        path.write_bytes(write_onnx_int8(prepared(network, INT8), TENSORRT))
    else:
        path.write_bytes(write_onnx(network, precision=form))
    logger, said = tensorrt_build.listener()
    said.clear()
    definition = module.Builder(logger).create_network(0)
    parser = module.OnnxParser(definition, logger)
    assert parser.parse_from_file(str(path)), list(said)
    size = network.input_size
    inputs = [definition.get_input(index) for index in range(definition.num_inputs)]
    outputs = [definition.get_output(index) for index in range(definition.num_outputs)]
    assert [(t.name, tuple(t.shape), t.dtype) for t in inputs] == [
        ("images", (-1, size, size, 3), module.DataType.UINT8)
    ]
    kinds = [definition.get_layer(index).type for index in range(definition.num_layers)]
    rounded = [layer for layer in network.layers if layer.name != LOGITS] if form == "int8" else []
    assert kinds.count(module.LayerType.QUANTIZE) == len(rounded) + bool(rounded), "and the image"
    output = PROBABILITIES if form == "exported" else LOGITS
    assert [(t.name, tuple(t.shape), t.dtype) for t in outputs] == [
        (output, (-1, classes), module.DataType.FLOAT)
    ]
    assert not said


@pytest.mark.parametrize(("name", "seed"), CASES)
def test_fp16_model_computes_what_the_reference_does(
    supernets: Supernets, name: str, seed: int
) -> None:
    """On another engine: what TensorRT is given is right."""
    runner = backends()["onnxruntime"]
    if runner.missing():
        pytest.skip(str(runner.missing()))
    network = network_of(supernets, name, seed)
    images = photos(2, network.input_size)
    wanted = ReferenceSession(network).run(images)[LOGITS]
    session = runner.load(write_onnx(network, precision="fp16"), runner.targets()[0])
    got = session.run(images)[LOGITS]
    session.close()
    assert got.dtype == np.float32
    error = np.abs(got - wanted).max() / np.abs(wanted).max()
    assert 1e-6 < error < HALF_ERROR, "not fp16, or not this network"


def test_fp16_refuses_what_it_cannot_hold(small: Network) -> None:
    name = next(name for name in small.arrays if name.endswith(".weight"))
    large = dataclasses.replace(small, arrays={**small.arrays, name: small.arrays[name] * 1e6})
    with pytest.raises(ValueError, match=re.escape(f"{name} goes up to")):
        write_onnx(large, precision="fp16")
    with pytest.raises(ValueError, match="no int4"):
        write_onnx(small, precision="int4")


def test_tensorrt_for_rtx_keeps_no_timings(module: ModuleType, small: Network) -> None:
    kept = build_plan(write_onnx(small), "fp32").timings
    assert bool(kept) == library.keeps_timings()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # says TensorRT for RTX: does nothing
def test_timings_are_kept_and_damaged_ones_ignored(
    module: ModuleType, small: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt_build, "keeps_timings", lambda: True)
    onnx = write_onnx(small)
    first = build_plan(onnx, "fp32")
    assert first.timings
    for timings in (first.timings, b"garbage", first.timings[:20], b"\xff" * 4096):
        again = build_plan(onnx, "fp32", timings)
        assert again.timings == first.timings
        assert len(again.engine) == len(first.engine)


def test_build_is_told(
    module: ModuleType, small: Network, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "tofa_edge.tensorrt"):
        build_plan(write_onnx(small), "fp32")
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0].startswith("TensorRT builds an engine in fp32")
    assert re.fullmatch(r"TensorRT built it in \d+\.\d s", lines[-1])


def test_long_build_says_where_it_is(
    module: ModuleType,
    supernets: Supernets,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tensorrt_build, "TELL_EVERY_S", 0.01)
    onnx = write_onnx(network_of(supernets, "lite0", 1))
    with caplog.at_level(logging.INFO, "tofa_edge.tensorrt"):
        build_plan(onnx, "fp32")
    told = [r.getMessage() for r in caplog.records if "so far" in r.getMessage()]
    assert any(re.search(r"so far; \w[\w ]+ \d+/\d+", line) for line in told), told


def test_interrupt_stops_the_build(
    module: ModuleType, supernets: Supernets, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx = write_onnx(network_of(supernets, "lite0", 1))
    plain = BuildProgress.step
    went_on: list[bool] = []

    def step(self: BuildProgress, phase: str, number: int) -> bool:
        if not went_on:
            os.kill(os.getpid(), signal.SIGINT)
            self.stop.wait(10)
        went_on.append(plain(self, phase, number))
        return went_on[-1]

    monkeypatch.setattr(BuildProgress, "step", step)
    with pytest.raises(KeyboardInterrupt):
        build_plan(onnx, "fp32")
    assert went_on == [False]
    assert "BuildCanceled" in " ".join(tensorrt_build.listener()[1])


def test_parser_errors_are_named(module: ModuleType, small: Network) -> None:
    with pytest.raises(BackendError, match=r"refuses the model: .*parse the ONNX model"):
        build_plan(b"garbage", "fp32")
    measuring = calibration_network(
        layers(tiny(), tiny().smallest()),
        cut(layers(tiny(), tiny().smallest()), supernet_arrays()),
        LITE_PREPROCESSING,
    )
    with pytest.raises(BackendError, match=r"refuses the model: .*BatchNormalization"):
        build_plan(write_onnx(measuring), "fp32")


def supernet_arrays() -> dict[str, FloatArray]:
    return random_arrays(tiny(), np.random.default_rng(0))


def test_engine_that_is_refused_says_why(module: ModuleType) -> None:
    with pytest.raises(BackendError, match=r"refuses the engine: .*readHeader"):
        open_plan(b"garbage")


def test_engine_without_a_gpu_is_refused(no_gpu: TensorRt, module: ModuleType) -> None:
    plan = plan_of(module, fold_of_tiny(), "fp32")
    with pytest.raises(BackendError, match=r"refuses the engine: .*cudaError \d+"):
        open_plan(plan)


def fold_of_tiny() -> Network:
    network = layers(tiny(), tiny().smallest())
    return fold(network, cut(network, supernet_arrays()), LITE_PREPROCESSING)


def test_without_a_gpu_it_says_so(no_gpu: TensorRt, small: Network) -> None:
    reason = no_gpu.missing()
    assert reason is not None
    assert re.search(r"no NVIDIA GPU|CUDA", reason)
    assert no_gpu.targets() == ()
    assert re.fullmatch(r"tensorrt[\w-]* [\d.]+", no_gpu.version())
    with pytest.raises(BackendError, match="cannot run here"):
        no_gpu.build(small, GPU)
    with pytest.raises(BackendError, match="cannot run here"):
        no_gpu.load(b"", GPU)


def test_without_a_cuda_runtime_it_says_so(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    binding.load_cuda.cache_clear()
    monkeypatch.setattr(binding, "LIBRARIES", ("libcudart.so.of-nobody",))
    assert str(TensorRt().missing()).startswith("no CUDA runtime (libcudart.so.of-nobody)")
    binding.load_cuda.cache_clear()


def test_without_the_package_it_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, small: Network
) -> None:
    (tmp_path / "package_of_stubs").mkdir()
    (tmp_path / "package_of_stubs" / "__init__.pyi").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(library, "PACKAGES", {"package_of_stubs": (), "tensorrt": ("nothing",)})
    if library.package() == "tensorrt":
        pytest.skip("TensorRT is installed")
    assert find_spec("package_of_stubs") is not None
    reason = TensorRt().missing()
    assert reason is not None
    assert "no package tensorrt: " in reason
    assert "--system-site-packages" in reason
    assert TensorRt().version() == "unknown"
    with pytest.raises(BackendError, match="no package tensorrt"):
        TensorRt().build(small, GPU)
    with pytest.raises(BackendError, match="no package tensorrt"):
        library.engine()


def test_looking_for_it_imports_nothing() -> None:
    code = (
        "import sys; from tofa_edge.backends.tensorrt import TensorRt; TensorRt().missing();"
        "print(sorted(m for m in sys.modules if m.startswith('tensorrt') or m == 'onnx'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


STUBS = (
    "tensorrt/__init__.pyi",
    "tensorrt_bindings/__init__.pyi",
    "tensorrt_bindings/tensorrt.pyi",
)
WRONG = """
import tensorrt
def wrong(config: tensorrt.IBuilderConfig, context: tensorrt.IExecutionContext) -> None:
    config.set_flagg(tensorrt.BuilderFlag.TF32)
    context.execute_async_v3("stream")
    tensorrt.Builder()
"""


def test_every_call_is_one_of_tensorrt_10(tmp_path: Path) -> None:
    """By mypy, against the stubs, mended where they are no Python; planted mistakes are found."""
    pytest.importorskip("mypy")
    spec = find_spec("tensorrt_stubs")
    if spec is None or spec.origin is None:
        pytest.skip("no type stubs: pip install --no-deps tensorrt-stubs")
    for name in STUBS:
        text = (Path(spec.origin).parents[1] / name).read_text()
        mended = re.sub(r"\bin: list", "in_: list", text)
        mended = mended.replace("channel_axis: int)", "channel_axis: int = ...)")
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(mended)
    (tmp_path / "wrong.py").write_text(WRONG)
    ours = [f"tofa_edge/backends/tensorrt/{name}.py" for name in ("__init__", "build", "session")]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", tmp_path / "cache", "--no-error-summary",
         "--no-pretty", *ours, tmp_path / "wrong.py"],
        cwd=ROOT, env={**os.environ, "MYPYPATH": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    errors = [line for line in done.stdout.splitlines() if ".pyi:" not in line]
    assert not done.stderr
    assert [line for line in errors if "wrong.py:" not in line] == []
    assert re.findall(r"wrong\.py:\d+: error: .*\[([\w-]+)\]", "\n".join(errors)) == [
        "attr-defined",
        "arg-type",
        "call-arg",
    ]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_gpu_computes_what_the_reference_does(
    gpu: TensorRt, supernets: Supernets, precision: str
) -> None:
    target = Target("gpu", precision)
    for name, seed in CASES:
        exact = network_of(supernets, name, seed)
        network = prepared(exact, target)
        images = photos(20, network.input_size)
        wanted = ReferenceSession(network).run(images)[LOGITS]
        rounding = difference(wanted, ReferenceSession(exact).run(images)[LOGITS])
        allowed = {"fp32": 1e-4, "fp16": HALF_ERROR, "int8": tolerance(target, rounding)}
        session = Engine(gpu, target).load(network)
        for batch in (1, 20, 3, 1):  # 20 is more than the engine's largest batch
            got = session.run(images[:batch])[LOGITS]
            error = np.abs(got - wanted[:batch]).max() / np.abs(wanted).max()
            assert error < allowed[precision]
        session.close()


def test_gpu_builds_once(gpu: TensorRt, small: Network) -> None:
    began = time.monotonic()
    first = gpu.build(small, GPU)
    built = time.monotonic() - began
    assert gpu.build(small, GPU) == first
    assert time.monotonic() - began - built < built
    with pytest.raises(BackendError, match="build it again"):
        gpu.load(first, Target("gpu", "fp16"))
