"""Writes a Network as an ONNX model."""

from __future__ import annotations

import json
from typing import TypeAlias

from tofa_edge.architecture.layers import IMAGE, LOGITS
from tofa_edge.backends.labelling import PIXELS, PROBABILITIES, PRODUCER, Labelling
from tofa_edge.backends.onnx.graph import FLOAT, HALF_LOGITS, INPUT, OnnxGraph
from tofa_edge.network.network import Network

Shape: TypeAlias = list[str | int | None]
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
    if precision not in ("fp32", "fp16") or (precision == "fp16" and network.outputs != (LOGITS,)):
        raise ValueError(f"ONNX: no {precision} for a network with outputs {network.outputs}")
    return written(OnnxGraph(network, training_mode, precision == "fp16"), labelling)


def written(graph: OnnxGraph, labelling: Labelling | None) -> bytes:
    """Writes all layers of a graph's network, and returns the model."""
    from onnx import ModelProto, TensorProto, helper

    network = graph.network
    model = ModelProto(ir_version=IR_VERSION, producer_name=PRODUCER)
    model.opset_import.add(domain="", version=OPSET)
    shape: Shape = ["batch", network.input_size, network.input_size, 3]
    graph.proto.name = "network"
    graph.proto.input.append(helper.make_tensor_value_info(INPUT, TensorProto.UINT8, shape))
    graph.preprocess(IMAGE)
    for layer in network.layers:
        graph.layer(layer)
    if graph.half:
        graph.node("Cast", [HALF_LOGITS], LOGITS, to=FLOAT)
    if labelling is not None:
        model.producer_version = labelling.version
        classes, temperature = json.dumps(labelling.classes), repr(labelling.temperature)
        properties = {"classes": classes, "temperature": temperature, "input": PIXELS}
        for key, text in {**labelling.about, **properties}.items():
            model.metadata_props.add(key=key, value=text)
        graph.probabilities(labelling.temperature)
    for name in network.outputs if labelling is None else (PROBABILITIES,):
        shape = _output_shape(name, network)
        graph.proto.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    return b"".join([model.SerializeToString(), graph.serialised()])


def _output_shape(name: str, network: Network) -> Shape:
    if name in (LOGITS, PROBABILITIES):
        return ["batch", None]
    is_map = any(layer.name == name for layer in network.layers)
    return ["batch", None, None, None] if is_map else [None]
