"""A TFLite model: tensors, operators that refer to them by index, and the file they become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tofa_edge.backends import Activation, ImageArray
from tofa_edge.backends.tflite.schema import (
    BUFFER,
    FLOAT32,
    FUSED,
    INT8,
    INT32,
    KINDS,
    METADATA,
    MODEL,
    OPERATOR,
    OPERATOR_CODE,
    SCHEMA_VERSION,
    SIGNATURE_DEF,
    SUBGRAPH,
    TENSOR,
    TENSOR_MAP,
    Field,
    FlatFile,
)

INPUT = "images"
SIGNATURE = "serving_default"
TYPES = {"float32": FLOAT32, "int32": INT32, "int8": INT8}


class TfLiteModel:
    """Writes tensors and operators; the arrays take about so many bytes."""

    def __init__(self, content_bytes: int) -> None:
        self.file = FlatFile(content_bytes)
        self.buffers = [self.file.table(BUFFER)]  # values share the first, empty buffer
        self.tensors: list[int] = []
        self.operators: list[int] = []
        self.kinds: dict[str, int] = {}
        self.indices: dict[str, int] = {}  # of tensors, by name
        self.shapes: list[tuple[int, ...]] = []  # of tensors, by index; of one image
        self.metadata: dict[str, ImageArray] = {}  # named buffers for readers who look for them

    def tensor(
        self, name: str, shape: tuple[int, ...], kind: int = FLOAT32, **fields: Field
    ) -> int:
        """Writes a tensor and returns its index."""
        index = self.indices[name] = len(self.tensors)
        self.shapes.append(shape)
        self.tensors.append(self.file.table(TENSOR, name=name, shape=shape, type=kind, **fields))
        return index

    def value(self, name: str, shape: tuple[int, ...]) -> int:
        """Writes the tensor of an operator's output."""
        return self.tensor(name, shape)

    def constant(self, name: str, array: NDArray[Any], **fields: Field) -> int:
        """Stores an array once and returns the index of its tensor."""
        if name not in self.indices:
            self.buffers.append(self.file.table(BUFFER, data=array))
            kind = TYPES[array.dtype.name]
            self.tensor(name, array.shape, kind, buffer=len(self.buffers) - 1, **fields)
        return self.indices[name]

    def number(self, value: float) -> int:
        """Stores a number as a float tensor of one."""
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
        if activation in FUSED:
            options = {**options, "activation": FUSED[activation]}
        elif activation != "none":
            plain = self.operator(kind, inputs, f"{name}.plain", shape, options=options)
            return self._activation(plain, name, activation)
        output = self.value(name, shape or self.shapes[inputs[0]])
        fields: dict[str, Field] = {
            "opcode_index": self.kinds.setdefault(kind, len(self.kinds)),
            "inputs": tuple(inputs),
            "outputs": (output,),
        }
        _, union, slots = KINDS[kind]
        if union:
            fields["builtin_options_type"] = union
            fields["builtin_options"] = self.file.table(slots, **options)
        self.operators.append(self.file.table(OPERATOR, **fields))
        return output

    def _activation(self, plain: int, name: str, activation: Activation) -> int:
        """Appends an activation that no operator of the format fuses."""
        if activation == "hard_swish":
            return self.operator("HARD_SWISH", [plain], name)
        six = self.operator("ADD", [plain, self.number(3)], f"{name}.six", activation="relu6")
        return self.operator("MUL", [six, self.number(1 / 6)], name)

    def finish(self, outputs: tuple[str, ...]) -> bytes:
        """Returns the model."""
        table, indices = self.file.table, self.indices
        entries: list[int] = []
        for name, content in self.metadata.items():
            self.buffers.append(table(BUFFER, data=content))
            entries.append(table(METADATA, name=name, buffer=len(self.buffers) - 1))
        maps = [
            [table(TENSOR_MAP, name=name, tensor_index=indices[name]) for name in names]
            for names in ((INPUT,), outputs)
        ]
        signature = table(SIGNATURE_DEF, inputs=maps[0], outputs=maps[1], signature_key=SIGNATURE)
        subgraph = table(
            SUBGRAPH,
            tensors=self.tensors,
            inputs=(indices[INPUT],),
            outputs=tuple(indices[name] for name in outputs),
            operators=self.operators,
        )
        codes = [  # engines older than the wider field read the deprecated one
            table(OPERATOR_CODE, deprecated_builtin_code=code, builtin_code=code)
            for code, _, _ in (KINDS[kind] for kind in self.kinds)
        ]
        fields: dict[str, Field] = {"metadata": entries} if entries else {}
        model = table(
            MODEL,
            version=SCHEMA_VERSION,
            operator_codes=codes,
            subgraphs=[subgraph],
            buffers=self.buffers,
            signature_defs=[signature],
            **fields,
        )
        return self.file.finish(model)
