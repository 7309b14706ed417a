"""The reference: numpy alone, slow and exact. It runs everywhere and judges the other engines.

Of a network with its quantisation it computes what integers would, in float32: every value and
weight is rounded to its grid.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tofa_edge.backends import (
    IMAGE,
    Activation,
    Add,
    BackendError,
    BatchStatistics,
    Convolution,
    FloatArray,
    GlobalPool,
    ImageArray,
    Layer,
    Linear,
    Multiply,
    Network,
    Target,
    check_batch,
    check_target,
    last_uses,
    on_grid,
    package_version,
    rounded_values,
)


class Reference:
    """Interprets the layers one by one, maps held as (N, H, W, C) float32."""

    name = "reference"
    calibrates = True

    def missing(self) -> str | None:
        """Returns None: numpy is always there."""
        return None

    def version(self) -> str:
        """Returns the version of numpy."""
        return package_version("numpy")

    def remarks(self) -> tuple[str, ...]:
        """Returns nothing: there is one package of numpy."""
        return ()

    def targets(self) -> tuple[Target, ...]:
        """Returns one target: numpy takes what threads its BLAS takes."""
        return (Target(),)

    def build(self, network: Network, target: Target) -> bytes:
        """Returns the network itself, as a safetensors file."""
        return network.to_bytes()

    def load(self, artefact: bytes, target: Target) -> ReferenceSession:
        """Returns a session that interprets the network."""
        check_target(self.name, target, ("fp32", "int8"))
        try:
            return ReferenceSession(Network.from_bytes(artefact))
        except ValueError as error:
            raise BackendError(f"reference: {error}") from error


class ReferenceSession:
    """Runs a network layer by layer, letting go of each map after its last use."""

    unit = "cpu"

    def __init__(self, network: Network) -> None:
        self._network: Network | None = rounded_values(network)
        self._last_uses = last_uses(network.layers)

    def run(self, batch: ImageArray) -> dict[str, FloatArray]:
        """See `Session.run`."""
        network = self._network
        if network is None:
            raise BackendError("reference: this session is closed")
        check_batch(batch, network.input_size)
        pre, plan = network.preprocessing, network.quantisation
        mean, std = np.array(pre.mean, np.float32), np.array(pre.std, np.float32)
        outputs: dict[str, FloatArray] = {}
        values: dict[str, FloatArray] = {IMAGE: (batch.astype(np.float32) - mean) / std}
        for index, layer in enumerate(network.layers):
            values |= _run_layer(layer, network, values)
            if plan is not None and layer.name in plan.ranges:
                values[layer.name] = on_grid(values[layer.name], plan.ranges[layer.name])
            outputs |= {name: values[name] for name in network.outputs if name in values}
            for name in layer.inputs:
                if self._last_uses[name] == index:
                    del values[name]
        return {name: outputs[name] for name in network.outputs}

    def close(self) -> None:
        """Lets go of the arrays."""
        self._network = None


def _run_layer(
    layer: Layer, network: Network, values: dict[str, FloatArray]
) -> dict[str, FloatArray]:
    """Returns a layer's value under its name, and the statistics that it measures, if any."""
    value, arrays, name = values[layer.inputs[0]], network.arrays, layer.name
    result: FloatArray
    match layer:
        case Convolution():
            convolve = _depthwise if layer.depthwise else _convolve
            result = convolve(layer, value, arrays[f"{name}.weight"])
            result += arrays[f"{name}.bias"]
            result = _activate(result, layer.activation)
        case BatchStatistics():
            return _batch_statistics(layer, value, network)
        case Add():
            result = value + values[layer.inputs[1]]
        case Multiply():
            result = value * values[layer.inputs[1]]
        case GlobalPool():
            result = value.mean(axis=(1, 2), keepdims=True)
        case Linear():
            result = value[:, 0, 0] @ arrays[f"{name}.weight"].T + arrays[f"{name}.bias"]
    return {name: result}


def _convolve(layer: Convolution, value: FloatArray, weight: FloatArray) -> FloatArray:
    result: FloatArray
    if layer.kernel == 1 and layer.stride == 1:
        result = value @ weight[:, :, 0, 0].T
    else:  # windows are (N, H', W', C, k, k)
        result = np.tensordot(_windows(layer, value), weight, axes=((3, 4, 5), (1, 2, 3)))
    return result


def _depthwise(layer: Convolution, value: FloatArray, weight: FloatArray) -> FloatArray:
    windows = _windows(layer, value)
    result = np.zeros(windows.shape[:4], np.float32)
    for row, column in np.ndindex(layer.kernel, layer.kernel):
        result += windows[..., row, column] * weight[:, 0, row, column]
    return result


def _windows(layer: Convolution, value: FloatArray) -> FloatArray:
    pads = ((0, 0), layer.padding, layer.padding, (0, 0))
    padded = np.pad(value, pads) if any(layer.padding) else value
    windows = sliding_window_view(padded, (layer.kernel, layer.kernel), axis=(1, 2))
    return windows[:, :: layer.stride, :: layer.stride]


def _batch_statistics(
    layer: BatchStatistics, value: FloatArray, network: Network
) -> dict[str, FloatArray]:
    mean = value.mean(axis=(0, 1, 2), dtype=np.float64).astype(np.float32)
    centred = value - mean
    variance = np.square(centred).mean(axis=(0, 1, 2), dtype=np.float64).astype(np.float32)
    gain = network.arrays[f"{layer.name}.scale"] / np.sqrt(variance + np.float32(layer.epsilon))
    centred *= gain
    centred += network.arrays[f"{layer.name}.shift"]
    result = _activate(centred, layer.activation)
    return {layer.name: result, **dict(zip(layer.statistics, (mean, variance), strict=True))}


def _activate(value: FloatArray, activation: Activation) -> FloatArray:
    if activation == "relu":
        np.maximum(value, 0, out=value)
    elif activation == "relu6":
        np.clip(value, 0, 6, out=value)
    elif activation == "hard_sigmoid":
        value = np.clip(value + 3, 0, 6) / np.float32(6)
    elif activation == "hard_swish":
        value = value * np.clip(value + 3, 0, 6) / np.float32(6)
    return value
