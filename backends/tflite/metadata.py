"""TFLite metadata: how other programs learn a model's classes, and what its input wants.

A table of its own (identifier M001) inside the model, and a stored zip of the labels after it. The
source of the slot numbers is `metadata_schema.fbs`, published with the TFLite support library.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable

import numpy as np

from tofa_edge.backends import ImageArray
from tofa_edge.backends.labelling import PIXELS, PROBABILITIES, PRODUCER, Labelling
from tofa_edge.backends.tflite.schema import BYTE, OFFSET, UBYTE, UINT, FlatFile, Slots

NAME = "TFLITE_METADATA"  # by which readers find the buffer
REDUCED = "reduced_precision_support"  # by which XNNPACK finds the next
HALF = np.frombuffer(b"fp16accfp16", np.uint8)  # it computes in fp16 for no other word
IDENTIFIER = b"M001"
LABELS = "labels.txt"
PARSER = "1.0.0"  # the least version of a reader that knows all the fields used here

RGB, AXIS_LABELS = 1, 2  # ColorSpaceType, AssociatedFileType
IMAGE_PROPERTIES, NORMALIZATION = 2, 1  # ContentProperties, ProcessUnitOptions

MODEL_METADATA: Slots = {
    "name": (0, OFFSET), "description": (1, OFFSET), "version": (2, OFFSET),
    "subgraph_metadata": (3, OFFSET), "author": (4, OFFSET), "min_parser_version": (7, OFFSET),
}  # fmt: skip
SUBGRAPH_METADATA: Slots = {"inputs": (2, OFFSET), "outputs": (3, OFFSET)}
TENSOR_METADATA: Slots = {
    "name": (0, OFFSET), "description": (1, OFFSET), "content": (3, OFFSET),
    "process_units": (4, OFFSET), "stats": (5, OFFSET), "associated_files": (6, OFFSET),
}  # fmt: skip
ASSOCIATED_FILE: Slots = {"name": (0, OFFSET), "description": (1, OFFSET), "type": (2, BYTE)}
CONTENT: Slots = {"properties_type": (0, UBYTE), "properties": (1, OFFSET)}
IMAGE: Slots = {"color_space": (0, BYTE), "default_size": (1, OFFSET)}
IMAGE_SIZE: Slots = {"width": (0, UINT), "height": (1, UINT)}
PROCESS_UNIT: Slots = {"options_type": (0, UBYTE), "options": (1, OFFSET)}
MEAN_AND_STD: Slots = {"mean": (0, OFFSET), "std": (1, OFFSET)}
STATS: Slots = {"max": (0, OFFSET), "min": (1, OFFSET)}


def metadata(labelling: Labelling, input_name: str, size: int) -> ImageArray:
    """Returns the content of the buffer that `Model.metadata` names, (bytes,)."""
    file = FlatFile(0, IDENTIFIER)
    table = file.table
    labels = table(ASSOCIATED_FILE, name=LABELS, description="a class a line", type=AXIS_LABELS)
    output = table(
        TENSOR_METADATA,
        name=PROBABILITIES,
        description="softmax of the logits over the temperature",
        stats=table(STATS, max=(1.0,), min=(0.0,)),
        associated_files=[labels],
    )
    subgraph = table(SUBGRAPH_METADATA, inputs=[_input(table, input_name, size)], outputs=[output])
    model = table(
        MODEL_METADATA,
        name=f"{PRODUCER} image classifier",
        description=labelling.description,
        version=labelling.version,
        subgraph_metadata=[subgraph],
        author=PRODUCER,
        min_parser_version=PARSER,
    )
    return np.frombuffer(file.finish(model), np.uint8)


def _input(table: Callable[..., int], name: str, size: int) -> int:
    """Pixels as they are: readers that normalise are told the mean 0 and the deviation 1."""
    image = table(IMAGE, color_space=RGB, default_size=table(IMAGE_SIZE, width=size, height=size))
    nothing = table(MEAN_AND_STD, mean=(0.0,), std=(1.0,))
    return table(
        TENSOR_METADATA,
        name=name,
        description=PIXELS,
        content=table(CONTENT, properties_type=IMAGE_PROPERTIES, properties=image),
        process_units=[table(PROCESS_UNIT, options_type=NORMALIZATION, options=nothing)],
        stats=table(STATS, max=(255.0,), min=(0.0,)),
    )


def with_labels(model: bytes, labelling: Labelling) -> bytes:
    """Returns a model with its labels in a zip behind it; time stamps are fixed.

    Readers of the model do not look behind its end, and readers of zips start from there.
    """
    stream = io.BytesIO(model)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        lines = "".join(f"{name}\n" for name in labelling.classes)
        archive.writestr(zipfile.ZipInfo(LABELS), lines.encode())
    return stream.getvalue()
