"""The tables of a TFLite model, written by slot number with the package flatbuffers alone.

Not every package of the engine brings the generated schema module, so the few tables that are
needed are described here. The source of these numbers is `schema.fbs`, version 3, in the
TensorFlow repository; published slots and enumerators never change there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tofa_edge.backends import Activation

SCHEMA_VERSION = 3
IDENTIFIER = b"TFL3"
ALIGNMENT = 16  # of constants in the file: engines read them in place with vector instructions

FLOAT32, INT32, UINT8, INT8 = 0, 2, 3, 9  # TensorType
SAME, VALID = 0, 1  # Padding
FUSED: dict[Activation, int] = {"relu": 1, "relu6": 3}  # ActivationFunctionType; 0 is none

Field: TypeAlias = int | str | tuple[int, ...] | tuple[float, ...] | list[int] | NDArray[Any]
Slots: TypeAlias = Mapping[str, tuple[int, str]]  # field → its slot and how it is stored there
OFFSET, BOOL, BYTE, UBYTE, INT, UINT, FLOAT = (
    "UOffsetTRelative", "Bool", "Int8", "Uint8", "Int32", "Uint32", "Float32",
)  # fmt: skip

MODEL: Slots = {
    "version": (0, UINT), "operator_codes": (1, OFFSET), "subgraphs": (2, OFFSET),
    "buffers": (4, OFFSET), "metadata": (6, OFFSET), "signature_defs": (7, OFFSET),
}  # fmt: skip
OPERATOR_CODE: Slots = {"deprecated_builtin_code": (0, BYTE), "builtin_code": (3, INT)}
SUBGRAPH: Slots = {
    "tensors": (0, OFFSET), "inputs": (1, OFFSET), "outputs": (2, OFFSET), "operators": (3, OFFSET),
}  # fmt: skip
TENSOR: Slots = {
    "shape": (0, OFFSET), "type": (1, BYTE), "buffer": (2, UINT), "name": (3, OFFSET),
    "quantization": (4, OFFSET), "shape_signature": (7, OFFSET),
}  # fmt: skip
QUANTISATION: Slots = {
    "scale": (2, OFFSET), "zero_point": (3, OFFSET), "quantized_dimension": (6, INT),
}  # fmt: skip
BUFFER: Slots = {"data": (0, OFFSET)}
METADATA: Slots = {"name": (0, OFFSET), "buffer": (1, UINT)}
OPERATOR: Slots = {
    "opcode_index": (0, UINT), "inputs": (1, OFFSET), "outputs": (2, OFFSET),
    "builtin_options_type": (3, UBYTE), "builtin_options": (4, OFFSET),
}  # fmt: skip
SIGNATURE_DEF: Slots = {"inputs": (0, OFFSET), "outputs": (1, OFFSET), "signature_key": (2, OFFSET)}
TENSOR_MAP: Slots = {"name": (0, OFFSET), "tensor_index": (1, UINT)}
CONVOLUTION: Slots = {
    "padding": (0, BYTE), "stride_w": (1, INT), "stride_h": (2, INT), "activation": (3, BYTE),
}  # fmt: skip
DEPTHWISE: Slots = {
    "padding": (0, BYTE), "stride_w": (1, INT), "stride_h": (2, INT),
    "depth_multiplier": (3, INT), "activation": (4, BYTE),
    "dilation_w_factor": (5, INT), "dilation_h_factor": (6, INT),
}  # fmt: skip
FUSING: Slots = {"activation": (0, BYTE)}

KINDS: dict[str, tuple[int, int, Slots]] = {  # BuiltinOperator, BuiltinOptions, slots of the latter
    "ADD": (0, 11, FUSING),
    "CONV_2D": (3, 1, CONVOLUTION),
    "DEPTHWISE_CONV_2D": (4, 2, DEPTHWISE),
    "DEQUANTIZE": (6, 38, {}),
    "FULLY_CONNECTED": (9, 8, FUSING),
    "MUL": (18, 21, FUSING),
    "SOFTMAX": (25, 9, {"beta": (0, FLOAT)}),
    "PAD": (34, 22, {}),
    "MEAN": (40, 27, {"keep_dims": (0, BOOL)}),
    "SUB": (41, 28, FUSING),
    "CAST": (53, 37, {"in_data_type": (0, BYTE), "out_data_type": (1, BYTE)}),
    "RSQRT": (76, 0, {}),  # it has no options table
    "SQUARED_DIFFERENCE": (99, 76, {}),
    "QUANTIZE": (114, 89, {}),
    "HARD_SWISH": (117, 91, {}),
}


class FlatFile:
    """Writes tables and returns their offsets; children come before the tables that hold them."""

    def __init__(self, content_bytes: int, identifier: bytes = IDENTIFIER) -> None:
        import flatbuffers

        # Growing copies everything: leave room for the tables at once.
        self._builder: Any = flatbuffers.Builder(content_bytes + 2**18)
        self._identifier = identifier
        self._strings: dict[str, int] = {}
        self._vectors: dict[tuple[str, bytes], int] = {}

    def table(self, slots: Slots, **fields: Field) -> int:
        """Writes a table; a field that is left out has its default."""
        ready = [(*slots[name], self._ready(field)) for name, field in fields.items()]
        self._builder.StartObject(max((slot + 1 for slot, _, _ in ready), default=0))
        for slot, storage, number in ready:
            getattr(self._builder, f"Prepend{storage}Slot")(slot, number, 0)
        return int(self._builder.EndObject())

    def vector(self, numbers: NDArray[Any]) -> int:
        """Writes numbers, (N,), as a vector of their own dtype, once; returns its offset."""
        key = (numbers.dtype.str, numbers.tobytes())
        if key not in self._vectors:
            self._vectors[key] = int(self._builder.CreateNumpyVector(numbers))
        return self._vectors[key]

    def finish(self, root: int) -> bytes:
        """Returns the file whose root table stands at that offset."""
        self._builder.Finish(root, self._identifier)
        return bytes(memoryview(self._builder.Bytes)[self._builder.Head() :])

    def _ready(self, field: Field) -> int:
        """Returns numbers and offsets as they are, and the offset of anything else, now written."""
        builder = self._builder
        if isinstance(field, int):
            return field
        if isinstance(field, list):  # of offsets
            builder.StartVector(4, len(field), 4)
            for offset in reversed(field):
                builder.PrependUOffsetTRelative(offset)
            return int(builder.EndVector())
        if isinstance(field, np.ndarray):
            builder.Prep(ALIGNMENT, field.nbytes)
            return int(builder.CreateByteVector(field.tobytes()))
        if isinstance(field, tuple):
            is_float = any(isinstance(number, float) for number in field)
            return self.vector(np.array(field, np.float32 if is_float else np.int32))
        if field not in self._strings:
            self._strings[field] = int(builder.CreateString(field))
        return self._strings[field]
