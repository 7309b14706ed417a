"""An external network, out of an ONNX or a TFLite file: what it wants, and how it is run.

Only image classifiers with one input are taken: one photo, RGB, square, channels first or last. The
engine of a file is ONNX Runtime or TFLite, with the settings that the bundle's networks have there.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.backends.onnxruntime import engine as onnxruntime_engine
from tofa_edge.backends.onnxruntime.providers import PROVIDERS, session_options
from tofa_edge.backends.protocol import Target
from tofa_edge.backends.tflite.packages import interpreters
from tofa_edge.errors import BackendError
from tofa_edge.network.network import Preprocessing
from tofa_edge.storage.files import one_line

ENGINES = {".onnx": "onnxruntime", ".tflite": "tflite"}  # by the end of a file's name
ONNX_TYPES = {
    "tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
}  # fmt: skip
MOST_LABEL_BYTES = 2**20
CENTRED = Preprocessing((127.5, 127.5, 127.5), (127.5, 127.5, 127.5))  # where nothing is said

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Input:
    """What a file wants: one image.

    Attributes:
        name: of the input.
        size: height and width; None where the file takes any.
        channels_first: whether (1, 3, S, S) is wanted; else (1, S, S, 3).
        type: of the numbers, as numpy calls it.
        scale: of integers: a real value over its step; 0 where the file has none.
        zero: the step that stands for 0.
    """

    name: str
    size: int | None
    channels_first: bool
    type: str
    scale: float = 0.0
    zero: int = 0

    def takes_pixels(self) -> bool:
        """Whether pixels of 0..255 go in as they are, if nothing else is said."""
        return self.type == "uint8"

    def array(self, image: ImageArray, preprocessing: Preprocessing | None) -> Array:
        """Returns an `image`, uint8 (S, S, 3), as the file wants it, of its type, (1, …).

        Without a `preprocessing` uint8 files get pixels, others values of -1..1.
        """
        values: Any = image[np.newaxis]
        if preprocessing is not None or not self.takes_pixels():
            known = preprocessing or CENTRED
            mean, std = (np.array(part, np.float32) for part in (known.mean, known.std))
            values = (values.astype(np.float32) - mean) / std
            if self.type in ("uint8", "int8"):
                bounds = np.iinfo(self.type)
                steps = np.rint(values / (self.scale or 1.0)) + self.zero
                values = np.clip(steps, bounds.min, bounds.max)
        if self.channels_first:
            values = values.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(values.astype(self.type))


@dataclass(frozen=True, eq=False, slots=True)
class Loaded:
    """A file in its engine.

    Attributes:
        input: that it wants.
        run: takes an array of it and returns the first output, float32 (classes,).
        labels: names of its classes in their order, where the file tells them.
    """

    input: Input
    run: Callable[[Array], FloatArray]
    labels: tuple[str, ...] = ()


def load(path: Path, threads: int, size: int | None = None) -> Loaded:
    """Returns the network in a file, ready to run.

    Args:
        path: of an ONNX or a TFLite file, told by the end of its name.
        threads: to run on.
        size: of the image in pixels, where the file takes any.

    Raises:
        BackendError: it is no such file, its engine is missing or refuses it, or it is no network
            that takes one image.
    """
    engine = ENGINES.get(path.suffix.lower())
    if engine is None:
        raise BackendError(f"{path}: wanted a file that ends in .onnx or .tflite")
    try:
        return (_onnx if engine == "onnxruntime" else _tflite)(path, threads, size)
    except BackendError:
        raise
    except Exception as error:  # engines raise many kinds for files that they refuse
        raise BackendError(f"{path}: {engine} refuses it: {one_line(error)}") from error


def _onnx(path: Path, threads: int, size: int | None) -> Loaded:
    onnxruntime = onnxruntime_engine()
    options = session_options(onnxruntime, Target("cpu", "fp32", threads))
    session = onnxruntime.InferenceSession(str(path), options, providers=[PROVIDERS["cpu"]])
    inputs = session.get_inputs()
    first = inputs[0]
    if first.type not in ONNX_TYPES:
        raise BackendError(f"{path}: wanted an input of float or 8-bit numbers, got {first.type}")
    wants = _input(path, first.name, [item.shape for item in inputs], ONNX_TYPES[first.type], size)
    output = session.get_outputs()[0].name

    def run(array: Array) -> FloatArray:
        return np.asarray(session.run([output], {wants.name: array})[0], np.float32).ravel()

    said = session.get_modelmeta().custom_metadata_map.get("classes", "")
    return Loaded(wants, run, _labels_in_json(said))


def _tflite(path: Path, threads: int, size: int | None) -> Loaded:
    interpreter = interpreters().Interpreter(model_path=str(path), num_threads=threads)
    inputs = interpreter.get_input_details()
    shapes = [[int(side) for side in item["shape_signature"]] for item in inputs]
    first = inputs[0]
    scale, zero = first["quantization"]
    wants = replace(
        _input(path, first["name"], shapes, np.dtype(first["dtype"]).name, size),
        scale=float(scale),
        zero=int(zero),
    )
    sides = [3, wants.size, wants.size] if wants.channels_first else [wants.size, wants.size, 3]
    interpreter.resize_tensor_input(first["index"], [1, *sides])
    interpreter.allocate_tensors()
    output = interpreter.get_output_details()[0]
    step, origin = output["quantization"]

    def run(array: Array) -> FloatArray:
        interpreter.set_tensor(first["index"], array)
        interpreter.invoke()
        values: FloatArray = interpreter.get_tensor(output["index"]).ravel().astype(np.float32)
        return np.float32(step) * (values - np.float32(origin)) if step else values

    return Loaded(wants, run, _labels_in_zip(path))


def _input(
    path: Path, name: str, shapes: Sequence[Sequence[object]], kind: str, size: int | None
) -> Input:
    """Returns what a file wants, by the shapes of its inputs: anything but numbers is free."""
    shape = [side if isinstance(side, int) and side > 0 else None for side in shapes[0]]
    channels_first = len(shape) == 4 and shape[1] in (1, 3) and shape[3] != 3
    sides = shape[2:] if channels_first else shape[1:3]
    colours = shape[1] if channels_first else shape[-1]
    known = {side for side in sides if side is not None}
    held = len(shapes) == 1 and len(shape) == 4 and colours == 3 and len(known) <= 1
    if not held or shape[0] not in (None, 1):
        words = " and ".join(str([*each]) for each in shapes)
        raise BackendError(f"{path}: wanted one input of one square RGB image, got {words}")
    fixed = next(iter(known), size)
    if fixed is None:
        raise BackendError(f"{path} takes images of any size: say which with --against-size")
    return Input(name, fixed, channels_first, kind)


def _labels_in_json(text: str) -> tuple[str, ...]:
    try:
        found = json.loads(text) if text else []
    except (ValueError, RecursionError):
        return ()
    return (
        tuple(found) if isinstance(found, list) and all(isinstance(x, str) for x in found) else ()
    )


def _labels_in_zip(path: Path) -> tuple[str, ...]:
    """Returns the labels in the zip that may stand at the end of a TFLite file."""
    if not zipfile.is_zipfile(path):
        return ()
    with zipfile.ZipFile(path) as inside:
        for item in inside.infolist():
            if item.filename.endswith(".txt") and item.file_size <= MOST_LABEL_BYTES:
                return tuple(inside.read(item).decode(errors="replace").splitlines())
    return ()
