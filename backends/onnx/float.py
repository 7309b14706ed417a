"""Writes a Network as an ONNX model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tofa_edge.architecture.layers import LOGITS
from tofa_edge.backends.labelling import PIXELS, PROBABILITIES, PRODUCER, Labelling
from tofa_edge.backends.onnx.graph import FLOAT, HALF_LOGITS, INPUT, OnnxGraph
from tofa_edge.network.network import Network

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 17
IR_VERSION = 8  # onnx.helper stamps the newest, which the engines of older boards reject


def write_onnx(
    network: Network,
    training_mode: bool = True,
    labelling: Labelling | None = None,
    *,
    precision: str = "fp32",
) -> bytes:
    """Returns an ONNX model: input `images` uint8 (batch, S, S, 3), outputs named as the network's.

    Args:
        network: to write.
        training_mode: whether `BatchStatistics` is one operator, BatchNormalization in training
            mode; else it is several, for the many importers that refuse that mode.
        labelling: makes the only output `probabilities`, and adds properties: classes as JSON,
            temperature, input, and all that it says besides.
        precision: "fp32", or "fp16": normalised in float32, computed in float16, logits in float32.

    Raises:
        ImportError: the package onnx is not installed.
        ValueError: another precision, or fp16 for weights beyond its range or for a calibration
            network.
    """
    model = started(network)
    graph = OnnxGraph(model.graph, training_mode, _checked(network, precision))
    return finished(model, graph, network, labelling)


def started(network: Network) -> ModelProto:
    """Returns a model with the network's input and nothing else."""
    from onnx import ModelProto, TensorProto, helper

    model = ModelProto(ir_version=IR_VERSION, producer_name=PRODUCER)
    model.opset_import.add(domain="", version=OPSET)
    model.graph.name = "network"
    size = network.input_size
    shape: list[str | int | None] = ["batch", size, size, 3]
    images = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, shape)
    model.graph.input.append(images)
    return model


def finished(
    model: ModelProto, graph: OnnxGraph, network: Network, labelling: Labelling | None
) -> bytes:
    """Writes all layers of a network into a model, and returns it as bytes."""
    from onnx import TensorProto, helper

    graph.preprocess(network)
    for layer in network.layers:
        graph.layer(layer, network)
    if graph.half:
        graph.node("Cast", [HALF_LOGITS], LOGITS, to=FLOAT)
    if labelling is not None:
        model.producer_version = labelling.version
        for key, text in _properties(labelling).items():
            model.metadata_props.add(key=key, value=text)
        graph.probabilities(labelling.temperature)
    for name in network.outputs if labelling is None else (PROBABILITIES,):
        shape = _output_shape(name, network)
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    return graph.serialised(model)


def _properties(labelling: Labelling) -> dict[str, str]:
    classes, temperature = json.dumps(labelling.classes), repr(labelling.temperature)
    said = {"classes": classes, "temperature": temperature, "input": PIXELS}
    return {**labelling.about, **said}


def _checked(network: Network, precision: str) -> bool:
    """Returns whether it is fp16."""
    if precision not in ("fp32", "fp16") or (precision == "fp16" and network.outputs != (LOGITS,)):
        raise ValueError(f"ONNX: no {precision} for a network with outputs {network.outputs}")
    return precision == "fp16"


def _output_shape(name: str, network: Network) -> list[str | int | None]:
    if name in (LOGITS, PROBABILITIES):
        return ["batch", None]
    maps = {layer.name for layer in network.layers}
    return ["batch", None, None, None] if name in maps else [None]
