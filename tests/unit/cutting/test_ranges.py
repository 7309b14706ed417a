"""8-bit integers: grids, ranges, corrected biases, and the models written from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tofa_edge import backends
from tofa_edge.architecture.layers import IMAGE, LOGITS, Convolution, Linear
from tofa_edge.backends.onnx.integer import TENSORRT, Scheme, write_onnx_int8
from tofa_edge.backends.protocol import Engine, Target
from tofa_edge.backends.reference import ReferenceSession
from tofa_edge.cutting import ranges
from tofa_edge.cutting.ranges import levels_here, observe, ready
from tofa_edge.cutting.sensitivity import sensitivities, with_sensitive_layers_in_float
from tofa_edge.device import machine
from tofa_edge.errors import BackendError
from tofa_edge.network.integers import (
    affine,
    image_range,
    on_grid,
    pixels_as_steps,
    quantised,
    stepped,
)
from tofa_edge.network.network import LITE_PREPROCESSING, Network, Preprocessing
from tofa_edge.selftest.golden import difference
from tofa_edge.selftest.records import passing_engines
from tofa_edge.selftest.specimens import photos, specimen

INT8 = Target(precision="int8")
REFERENCE = Engine(backends.backend("reference"), Target())
UNEVEN = Preprocessing((60.0, 120.0, 180.0), (40.0, 70.0, 100.0))


@pytest.fixture(scope="module")
def network() -> Network:
    return specimen()


@pytest.fixture(scope="module")
def rounded(network: Network) -> Network:
    return ready(network, INT8, photos(8, network.input_size), REFERENCE)


@given(low=st.floats(-50, 0), high=st.floats(0.01, 50))
def test_zero_is_on_every_grid_and_what_is_inside_is_half_a_step_off(
    low: float, high: float
) -> None:
    scale, zero = affine((low, high))
    assert 0 <= zero <= 255
    assert on_grid(np.zeros(1, np.float32), (low, high))[0] == 0
    inside = np.linspace(low, high, 999, dtype=np.float32)
    found = on_grid(inside, (low, high))
    assert np.abs(found - inside).max() <= scale * 1.01, "a step at the ends, half a step between"
    beyond = on_grid(np.array([low - 9, high + 9], np.float32), (low, high))
    assert np.abs(beyond - np.array([low, high])).max() <= scale * 1.01
    assert affine((low, high), signed=True) == (scale, zero - 128)


@pytest.mark.parametrize("levels", [127, 63])
def test_weights_are_half_a_step_off_at_most(levels: int) -> None:
    weight = np.random.default_rng(0).standard_normal((5, 4, 3, 3)).astype(np.float32)
    weight[2] = 0
    steps, scales = stepped(weight, levels)
    assert steps.dtype == np.int8
    assert np.abs(steps).max() == levels
    off = np.abs(steps * scales[:, None, None, None] - weight)
    assert (off <= 0.5001 * scales[:, None, None, None]).all()
    assert np.isfinite(scales).all()
    assert (scales > 0).all(), "a channel of zeros has a step, too"


def test_observed_ranges_and_means_are_those_of_the_values(network: Network) -> None:
    images = photos(5, network.input_size)
    seen = observe(network, images, REFERENCE)
    first = network.layers[0]
    assert isinstance(first, Convolution)
    everything = replace(network, outputs=(first.name, LOGITS))
    value = ReferenceSession(everything).run(images)[first.name]  # (N, H, W, C)
    assert np.allclose(seen.extremes[first.name][:, 0], value.min(axis=(1, 2, 3)))
    assert np.allclose(seen.extremes[first.name][:, 1], value.max(axis=(1, 2, 3)))
    assert np.allclose(seen.means[first.name], value.mean(axis=(0, 1, 2)), atol=1e-5)
    assert np.allclose(seen.means[IMAGE], (images.mean(axis=(0, 1, 2)) - 127) / 128, atol=1e-5)


@pytest.mark.parametrize("name", sorted(backends.working()))
def test_every_engine_that_calibrates_shows_the_same_values(network: Network, name: str) -> None:
    engine = Engine(backends.backend(name), Target())
    if not engine.backend.calibrates:
        pytest.skip(f"{name} shows nothing")
    images = photos(5, network.input_size)
    wanted, found = observe(network, images, REFERENCE), observe(network, images, engine)
    for value, extremes in wanted.extremes.items():
        assert np.allclose(found.extremes[value], extremes, atol=1e-3), value
    for value, mean in wanted.means.items():
        assert np.allclose(found.means[value], mean, atol=1e-3), value


def test_corrected_biases_keep_the_means(network: Network) -> None:
    images = photos(64, network.input_size)
    seen = observe(network, images, REFERENCE)
    blind = replace(seen, means={name: 0 * mean for name, mean in seen.means.items()})
    first = network.layers[0]

    def shift(made: Network) -> float:
        """How far the mean of the first layer's channels is off, weights rounded alone."""
        assert made.quantisation is not None
        coarse = replace(made, quantisation=replace(made.quantisation, ranges={}))
        got, wanted = (observe(item, images, REFERENCE).means for item in (coarse, network))
        return float(np.abs(got[first.name] - wanted[first.name]).mean())

    assert shift(quantised(network, seen, weight_levels=7)) < shift(
        quantised(network, blind, weight_levels=7)
    )


def test_network_survives_being_stored(rounded: Network) -> None:
    found = Network.from_bytes(rounded.to_bytes())
    assert found.digest == rounded.digest
    images = photos(2, rounded.input_size)
    wanted = ReferenceSession(rounded).run(images)[LOGITS]
    assert np.array_equal(ReferenceSession(found).run(images)[LOGITS], wanted)


def test_reference_rounds_as_integers_do(network: Network, rounded: Network) -> None:
    images = photos(4, network.input_size)
    exact = ReferenceSession(network).run(images)[LOGITS]
    wrong = difference(ReferenceSession(rounded).run(images)[LOGITS], exact)
    assert 1e-4 < wrong < 0.1


def test_float_targets_get_the_network_as_it_is(network: Network, rounded: Network) -> None:
    assert ready(network, Target(), photos(2, 32), REFERENCE) is network
    assert ready(rounded, INT8, photos(2, 32), REFERENCE) is rounded


def test_pixels_are_integers_where_one_scale_serves_all_channels(network: Network) -> None:
    assert pixels_as_steps(network) == (1 / 128, 127)
    assert pixels_as_steps(replace(network, preprocessing=UNEVEN)) is None
    odd = replace(LITE_PREPROCESSING, mean=(127.5,) * 3)
    assert pixels_as_steps(replace(network, preprocessing=odd)) is None
    assert image_range(network) == (-127 / 128, 1.0)


@pytest.mark.parametrize(
    "scheme",
    [Scheme(), Scheme(signed=True), Scheme(integer_bias=False), TENSORRT],
    ids=["unsigned", "signed", "float-bias", "tensorrt"],
)
@pytest.mark.parametrize("preprocessing", [LITE_PREPROCESSING, UNEVEN], ids=["even", "uneven"])
def test_every_scheme_computes_the_same(scheme: Scheme, preprocessing: Preprocessing) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    network = replace(specimen(3), preprocessing=preprocessing)
    images = photos(4, network.input_size)
    rounded = ready(network, INT8, images, REFERENCE)
    wanted = ReferenceSession(rounded).run(images)[LOGITS]
    content = write_onnx_int8(rounded, scheme)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    assert difference(session.run(None, {"images": images})[0], wanted) < 0.1


def test_layers_that_are_kept_stay_in_float(network: Network) -> None:
    onnx = pytest.importorskip("onnx")
    images = photos(4, network.input_size)
    seen = observe(network, images, REFERENCE)
    first = network.layers[0].name
    mixed = quantised(network, seen, kept=[first])
    model = onnx.load_from_string(write_onnx_int8(mixed, Scheme()))
    types = {item.name: item.data_type for item in model.graph.initializer}
    assert types[f"{first}.weight"] == onnx.TensorProto.FLOAT
    assert types[f"{LOGITS}.weight.steps"] == onnx.TensorProto.INT8
    exact = ReferenceSession(network).run(images)[LOGITS]
    wrong = [
        difference(ReferenceSession(made).run(images)[LOGITS], exact)
        for made in (mixed, quantised(network, seen, kept=[layer.name for layer in network.layers]))
    ]
    assert 0 < wrong[1] < 0.1, "values are rounded even so"


@pytest.mark.usefixtures("known_engines")
def test_the_layer_that_rounding_spoils_is_the_most_sensitive(network: Network) -> None:
    able = [e for e in passing_engines() if e.target.precision == "int8"]
    if not able:
        pytest.skip("no engine here computes in int8")
    images, name = photos(16, network.input_size), network.layers[4].name
    arrays = {key: array.copy() for key, array in network.arrays.items()}
    arrays[f"{name}.weight"][..., 0, 0] *= 60  # one weight of each channel stretches its steps
    spoilt = replace(network, arrays=arrays)
    found = sensitivities(spoilt, images, able[0], REFERENCE)
    assert found[0].layer == name
    assert found[0].error > found[1].error > 0
    assert sorted(item.layer for item in found) == sorted(
        layer.name for layer in network.layers if isinstance(layer, Convolution | Linear)
    )
    mixed = with_sensitive_layers_in_float(spoilt, images, able[0], REFERENCE)
    assert mixed.quantisation is not None
    assert name in mixed.quantisation.kept
    exact = ReferenceSession(spoilt).run(images)[LOGITS]
    off = [
        difference(ReferenceSession(made).run(images)[LOGITS], exact)
        for made in (mixed, ready(spoilt, INT8, images, REFERENCE))
    ]
    assert off[0] < off[1]


def test_network_without_quantisation_is_refused(network: Network) -> None:
    with pytest.raises(ValueError, match="with its quantisation"):
        write_onnx_int8(network, Scheme())
    for name, item in backends.working().items():
        if any(target.is_integer for target in item.targets()):
            with pytest.raises(BackendError, match=f"{name}: cpu int8 1t wants a network with"):
                item.build(network, INT8)


@pytest.mark.parametrize(
    ("architecture", "features", "levels"),
    [
        ("x86_64", ("avx2", "avx512_vnni"), 127),
        ("x86_64", ("avx2", "avx_vnni"), 127),
        ("x86_64", ("avx2", "fma"), 63),
        ("x86_64", None, 127),
        ("aarch64", ("asimd",), 127),
    ],
)
def test_weights_get_seven_bits_where_products_saturate(
    monkeypatch: pytest.MonkeyPatch,
    architecture: str,
    features: tuple[str, ...] | None,
    levels: int,
) -> None:
    here = replace(machine.fingerprint(), architecture=architecture, features=features)
    monkeypatch.setattr(ranges, "fingerprint", lambda: here)
    assert levels_here() == levels
