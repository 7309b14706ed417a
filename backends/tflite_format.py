"""Writes a Network as a TFLite model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tofa_edge.backends.labelling import PROBABILITIES, Labelling
from tofa_edge.backends.tflite_kernels import Part, parts, same_padding
from tofa_edge.backends.tflite_metadata import NAME, metadata, with_labels
from tofa_edge.backends.tflite_schema import (
    BUFFER,
    FLOAT32,
    FUSED,
    INT32,
    KINDS,
    METADATA,
    MODEL,
    OPERATOR,
    OPERATOR_CODE,
    SAME,
    SCHEMA_VERSION,
    SIGNATURE_DEF,
    SUBGRAPH,
    TENSOR,
    TENSOR_MAP,
    UINT8,
    VALID,
    Field,
    FlatFile,
)
from tofa_edge.layers import (
    IMAGE,
    LOGITS,
    Add,
    BatchStatistics,
    Convolution,
    GlobalPool,
    Layer,
    Linear,
    Multiply,
)
from tofa_edge.network import FloatArray, Network, Preprocessing
from tofa_edge.space import Activation

INPUT = "images"
SIGNATURE = "serving_default"


def write_tflite(network: Network, labelling: Labelling | None = None) -> bytes:
    """Returns a TFLite model: input `images` uint8 (batch, S, S, 3), outputs as the network's.

    Its signature `serving_default` names input and outputs. Maps inside are N×H×W×C; the shapes
    written are those of one image, and the batch is free.

    Args:
        network: to write.
        labelling: makes the only output `probabilities`, and adds labels and metadata.

    Raises:
        ImportError: the package flatbuffers is not installed.
    """
    graph = _Graph(sum(array.nbytes for array in network.arrays.values()))
    graph.preprocess(network.preprocessing, network.input_size)
    for layer in network.layers:
        graph.layer(layer, network)
    if labelling is None:
        return graph.finish(network.outputs)
    graph.probabilities(labelling.temperature)
    about = metadata(labelling, INPUT, network.input_size)
    return with_labels(graph.finish((PROBABILITIES,), about), labelling)


class _Graph:
    """Writes tensors and operators; operators refer to tensors by index."""

    def __init__(self, content_bytes: int) -> None:
        self.file = FlatFile(content_bytes)
        self.buffers = [self.file.table(BUFFER)]  # values share the first, empty buffer
        self.tensors: list[int] = []
        self.operators: list[int] = []
        self.kinds: dict[str, int] = {}
        self.indices: dict[str, int] = {}
        self.shapes: list[tuple[int, ...]] = []

    def tensor(
        self, name: str, shape: tuple[int, ...], kind: int = FLOAT32, **fields: Field
    ) -> int:
        index = self.indices[name] = len(self.tensors)
        self.shapes.append(shape)
        self.tensors.append(self.file.table(TENSOR, name=name, shape=shape, type=kind, **fields))
        return index

    def constant(self, name: str, array: NDArray[Any]) -> int:
        if name not in self.indices:
            self.buffers.append(self.file.table(BUFFER, data=array))
            kind = INT32 if array.dtype == np.int32 else FLOAT32
            self.tensor(name, array.shape, kind, buffer=len(self.buffers) - 1)
        return self.indices[name]

    def number(self, value: float) -> int:
        return self.constant(f"number_{value!r}", np.array([value], np.float32))

    def operator(
        self,
        kind: str,
        inputs: Sequence[int],
        name: str,
        shape: tuple[int, ...] | None = None,
        activation: Activation = "none",
        options: Mapping[str, int] = {},
    ) -> int:
        """Appends an operator and its activation: fused where the format can, else after it.

        Without `shape` the output is shaped as the first input.
        """
        if activation == "hard_swish":
            plain = self.operator(kind, inputs, f"{name}.plain", shape, options=options)
            return self.operator("HARD_SWISH", [plain], name)
        if activation == "hard_sigmoid":
            plain = self.operator(kind, inputs, f"{name}.plain", shape, options=options)
            six = self.operator("ADD", [plain, self.number(3)], f"{name}.six", activation="relu6")
            return self.operator("MUL", [six, self.number(1 / 6)], name)
        if activation in FUSED:
            options = {**options, "activation": FUSED[activation]}
        made = self.tensor(name, shape or self.shapes[inputs[0]])
        index = self.kinds.setdefault(kind, len(self.kinds))
        fields: dict[str, Field] = {
            "opcode_index": index, "inputs": tuple(inputs), "outputs": (made,),
        }  # fmt: skip
        _, union, slots = KINDS[kind]
        if union:
            fields["builtin_options_type"] = union
            fields["builtin_options"] = self.file.table(slots, **options)
        self.operators.append(self.file.table(OPERATOR, **fields))
        return made

    def preprocess(self, pre: Preprocessing, size: int) -> None:
        """Normalises before any padding.

        The constants are repeated for a row of pixels, (3,) → (size, 3): the engine then has one
        long inner loop, instead of one of length three for each pixel.
        """
        batch = (-1, size, size, 3)
        images = self.tensor(INPUT, (1, size, size, 3), UINT8, shape_signature=batch)
        row = [np.tile(np.array(numbers, np.float32), (size, 1)) for numbers in (pre.mean, pre.std)]
        mean = self.constant(f"{IMAGE}.mean", row[0])
        scale = self.constant(f"{IMAGE}.scale", 1 / row[1])
        types = {"in_data_type": UINT8, "out_data_type": FLOAT32}
        pixels = self.operator("CAST", [images], f"{IMAGE}.pixels", options=types)
        centred = self.operator("SUB", [pixels, mean], f"{IMAGE}.centred")
        self.operator("MUL", [centred, scale], IMAGE)

    def layer(self, layer: Layer, network: Network) -> None:
        inputs, name = [self.indices[name] for name in layer.inputs], layer.name
        match layer:
            case Convolution():
                self._convolution(layer, inputs[0], network)
            case BatchStatistics():
                self._batch_statistics(layer, inputs[0], network)
            case Add():
                self.operator("ADD", inputs, name)
            case Multiply():
                self.operator("MUL", inputs, name)
            case GlobalPool():
                self._pool(inputs[0], name)
            case Linear():
                arrays = (f"{name}.weight", f"{name}.bias")
                inputs += [self.constant(array, network.arrays[array]) for array in arrays]
                self.operator("FULLY_CONNECTED", inputs, name, (1, layer.out_features))

    def _convolution(self, layer: Convolution, value: int, network: Network) -> None:
        name, bias = layer.name, network.arrays[f"{layer.name}.bias"]
        first, *rest = parts(layer, network.arrays[f"{name}.weight"])
        if not rest:
            self._convolve(layer, value, first, bias, name, layer.activation)
            return
        total = self._convolve(layer, value, first, bias, f"{name}.part0")
        for number, part in enumerate(rest, 1):
            made = self._convolve(layer, value, part, np.zeros_like(bias), f"{name}.part{number}")
            if number < len(rest):
                total = self.operator("ADD", [total, made], f"{name}.sum{number}")
            else:
                self.operator("ADD", [total, made], name, activation=layer.activation)

    def _convolve(
        self,
        layer: Convolution,
        value: int,
        part: Part,
        bias: FloatArray,
        name: str,
        activation: Activation = "none",
    ) -> int:
        axes = (1, 2, 3, 0) if layer.depthwise else (0, 2, 3, 1)  # to 1×H×W×out, or out×H×W×in
        weight = self.constant(f"{name}.weight", part.weight.transpose(axes))
        before, after = layer.padding
        pads = [(before - inset, after - inset) for inset in part.inset]  # of rows, of columns
        padding = VALID
        if any(map(any, pads)):
            if pads == [same_padding(layer, span) for span in part.spans]:
                padding = SAME
            else:
                value = self._pad(value, pads, f"{name}.padded")
        options = {"padding": padding, "stride_w": layer.stride, "stride_h": layer.stride}
        if layer.depthwise:
            rows, columns = part.dilation
            options |= {"dilation_h_factor": rows, "dilation_w_factor": columns}
            options["depth_multiplier"] = 1
        return self.operator(
            "DEPTHWISE_CONV_2D" if layer.depthwise else "CONV_2D",
            [value, weight, self.constant(f"{name}.bias", bias)],
            name,
            (1, layer.out_size, layer.out_size, layer.out_channels),
            activation,
            options,
        )

    def _pad(self, value: int, pads: list[tuple[int, int]], name: str) -> int:
        amounts = self.constant(f"pads_{pads}", np.array([(0, 0), *pads, (0, 0)], np.int32))
        _, height, width, channels = self.shapes[value]
        shape = (1, height + sum(pads[0]), width + sum(pads[1]), channels)
        return self.operator("PAD", [value, amounts], name, shape)

    def _pool(self, value: int, name: str) -> int:
        axes = self.constant("axes_1_2", np.array([1, 2], np.int32))
        shape = (1, 1, 1, self.shapes[value][-1])
        return self.operator("MEAN", [value, axes], name, shape, options={"keep_dims": 1})

    def _batch_statistics(self, layer: BatchStatistics, value: int, network: Network) -> None:
        """BatchNorm in training mode, which the format lacks, in elementary operators."""
        name, (mean_name, variance_name) = layer.name, layer.statistics
        scale = self.constant(f"{name}.scale", network.arrays[f"{name}.scale"])
        shift = self.constant(f"{name}.shift", network.arrays[f"{name}.shift"])
        mean = self._batch_mean(value, mean_name)
        squares = self.operator("SQUARED_DIFFERENCE", [value, mean], f"{name}.squares")
        variance = self._batch_mean(squares, variance_name)
        raised = self.operator("ADD", [variance, self.number(layer.epsilon)], f"{name}.raised")
        inverse = self.operator("RSQRT", [raised], f"{name}.inverse")
        gain = self.operator("MUL", [inverse, scale], f"{name}.gain")
        moved = self.operator("MUL", [mean, gain], f"{name}.moved")
        offset = self.operator("SUB", [shift, moved], f"{name}.offset")
        scaled = self.operator("MUL", [value, gain], f"{name}.scaled")
        self.operator("ADD", [scaled, offset], name, activation=layer.activation)

    def _batch_mean(self, value: int, name: str) -> int:
        """Averages positions, then images: short sums round less, and the engine has a kernel."""
        axes = self.constant("axes_0_1_2", np.array([0, 1, 2], np.int32))
        shape = self.shapes[value][-1:]
        return self.operator("MEAN", [self._pool(value, f"{name}.each"), axes], name, shape)

    def probabilities(self, temperature: float) -> None:
        """Divides by the temperature first: many engines know a softmax of beta 1 alone."""
        logits, inverse = self.indices[LOGITS], self.number(1 / temperature)
        cooled = self.operator("MUL", [logits, inverse], f"{LOGITS}.cooled")
        self.operator("SOFTMAX", [cooled], PROBABILITIES, options={"beta": 1})

    def finish(self, outputs: tuple[str, ...], about: NDArray[np.uint8] | None = None) -> bytes:
        table, indices = self.file.table, self.indices
        fields: dict[str, Field] = {}
        if about is not None:
            self.buffers.append(table(BUFFER, data=about))
            fields["metadata"] = [table(METADATA, name=NAME, buffer=len(self.buffers) - 1)]
        named = [
            [table(TENSOR_MAP, name=name, tensor_index=indices[name]) for name in names]
            for names in ((INPUT,), outputs)
        ]
        signature = table(SIGNATURE_DEF, inputs=named[0], outputs=named[1], signature_key=SIGNATURE)
        subgraph = table(
            SUBGRAPH,
            tensors=self.tensors,
            inputs=(indices[INPUT],),
            outputs=tuple(indices[name] for name in outputs),
            operators=self.operators,
        )
        codes = [KINDS[kind][0] for kind in self.kinds]
        model = table(
            MODEL,
            version=SCHEMA_VERSION,
            operator_codes=[
                table(OPERATOR_CODE, deprecated_builtin_code=code, builtin_code=code)
                for code in codes  # engines older than the wider field read the deprecated one
            ],
            subgraphs=[subgraph],
            buffers=self.buffers,
            signature_defs=[signature],
            **fields,
        )
        return self.file.finish(model)
