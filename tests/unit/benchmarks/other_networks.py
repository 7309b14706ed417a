"""Small external networks as files: each names the colour that a photo has most of."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tofa_edge.architecture.zoo import tiny
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.bundle.write import write_bundle
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.selftest.small_bundle import small_bundle

COLOURS = ((230, 30, 30), (30, 230, 30), (30, 30, 230))  # class 0, 1 and 2


def colour_bundle(folder: Path) -> Bundle:
    """Returns a bundle of ten classes whose check photos are red, green and blue."""
    arrays = small_bundle(folder / "small.tofa")
    like = Bundle.open(folder / "small.tofa")
    photos = [(_jpeg(colour), index) for index, colour in enumerate(COLOURS)]
    write_bundle(
        folder / "colours.tofa",
        space=tiny(),
        classes=like.classes,
        preprocessing=LITE_PREPROCESSING,
        arrays=arrays,
        golden=like.golden_cases(),
        calibration=[],
        check=photos,
        provenance={},
    )
    return Bundle.open(folder / "colours.tofa")


def _jpeg(colour: tuple[int, int, int]) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (40, 40), colour).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def weights(order: Sequence[int] = (0, 1, 2), classes: int = 10) -> np.ndarray[Any, Any]:
    """Returns (classes, 3): a colour for the first outputs, nothing for the others."""
    found = np.zeros((classes, 3), np.float32)
    for output, colour in enumerate(order):
        found[output] = np.eye(3)[colour]
    return found


def write_onnx(
    path: Path, shape: Sequence[int | str], order: Sequence[int] = (0, 1, 2), kind: int = 1
) -> None:
    """Writes the network as ONNX: means over the image, then one matrix; `kind` 1 is float32."""
    from onnx import TensorProto, checker, helper, numpy_helper, save

    axes = [1, 2] if shape[3] == 3 else [2, 3]
    nodes = [
        helper.make_node("Cast", ["pixels"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["values", "axes"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["scores"]),
    ]
    arrays = [
        numpy_helper.from_array(np.array(axes, np.int64), "axes"),
        numpy_helper.from_array(np.ascontiguousarray(weights(order).T), "weights"),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("pixels", kind, list(shape))],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, 10])],
        arrays,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    checker.check_model(model)
    save(model, str(path))


def write_tflite(path: Path, size: int, order: Sequence[int] = (0, 1, 2)) -> None:
    """Writes the network as TFLite in floats, by the object interface of the engine's package."""
    flatbuffers = pytest.importorskip("flatbuffers")
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")

    def made(kind: str, **fields: Any) -> Any:
        value = getattr(schema, kind)()
        for name, field in fields.items():
            setattr(value, name, field)
        return value

    def tensor(name: str, shape: Sequence[int], buffer: int, kind: int) -> Any:
        return made("TensorT", name=name, shape=list(shape), buffer=buffer, type=kind)

    code = schema.BuiltinOperator
    mean = made("OperatorT", opcodeIndex=0, inputs=[0, 1], outputs=[2])
    mean.builtinOptionsType = schema.BuiltinOptions.ReducerOptions
    mean.builtinOptions = made("ReducerOptionsT", keepDims=False)
    dense = made("OperatorT", opcodeIndex=1, inputs=[2, 3, -1], outputs=[4])
    dense.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    dense.builtinOptions = schema.FullyConnectedOptionsT()
    values = [b"", np.array([1, 2], np.int32).tobytes(), weights(order).tobytes()]
    graph = made(
        "SubGraphT",
        inputs=[0],
        outputs=[4],
        operators=[mean, dense],
        tensors=[
            tensor("photo", (1, size, size, 3), 0, schema.TensorType.FLOAT32),
            tensor("axes", (2,), 1, schema.TensorType.INT32),
            tensor("means", (1, 3), 0, schema.TensorType.FLOAT32),
            tensor("weights", (10, 3), 2, schema.TensorType.FLOAT32),
            tensor("scores", (1, 10), 0, schema.TensorType.FLOAT32),
        ],
    )
    codes = [
        made("OperatorCodeT", builtinCode=each, deprecatedBuiltinCode=each, version=1)
        for each in (code.MEAN, code.FULLY_CONNECTED)
    ]
    buffers = [made("BufferT", data=np.frombuffer(part, np.uint8)) for part in values]
    buffers[0] = schema.BufferT()
    model = made("ModelT", version=3, operatorCodes=codes, subgraphs=[graph], buffers=buffers)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
