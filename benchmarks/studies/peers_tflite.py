"""TFLite's own converter beside our writer: the same subnets of the Lite0 space, in one run.

    pip install tensorflow-cpu 'tofa-edge[tflite]'
    python -m tofa_edge.benchmarks.studies.peers_tflite [--out FILE]

Each subnet is written by us and converted by TensorFlow; both files are loaded into the same
interpreter, compared by their logits, and timed in turn on one thread.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tofa_edge.architecture.layers import IMAGE, LOGITS, Add, Convolution, GlobalPool, Linear
from tofa_edge.backends.protocol import Target
from tofa_edge.backends.registry import backend
from tofa_edge.benchmarks.studies.provenance import made, store
from tofa_edge.device.machine import fingerprint
from tofa_edge.network.network import Network
from tofa_edge.selftest.golden import difference
from tofa_edge.selftest.specimens import calibrated, photos, random_supernet, spaces, varied_subnet
from tofa_edge.storage.plain import to_plain

SEEDS, RESOLUTION = range(6), 96
WARM_UP, RUNS = 20, 300


def main() -> None:
    """Measures and writes a JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/peers_tflite.json"))
    options = parser.parse_args()
    space = spaces()["lite0"]
    supernet = random_supernet(space, 0)
    rows = [_row(calibrated(space, varied_subnet(space, seed), supernet)) for seed in SEEDS]
    found = {
        "made": made(),
        "device": to_plain(fingerprint()),
        "versions": {
            "tensorflow": importlib.import_module("tensorflow").__version__,
            "interpreter": backend("tflite").version(),
        },
        "subnets": rows,
        "times_faster": round(float(np.median([r["theirs_s"] / r["ours_s"] for r in rows])), 1),
        "latency_over_theirs": round(float(np.median([r["ratio"] for r in rows])), 3),
        "difference_of_logits": max(row["difference"] for row in rows),
    }
    store(options.out, found)
    print(json.dumps(found, indent=1))


def _row(network: Network) -> dict[str, Any]:
    engine = backend("tflite")
    begun = time.perf_counter()
    ours = engine.build(network, Target())
    written = time.perf_counter()
    theirs = converted(network)
    done = time.perf_counter()
    interpreters = [_loaded(content) for content in (ours, theirs)]
    images = photos(2, network.input_size)
    answers = [np.concatenate([run(image[None]) for image in images]) for run in interpreters]
    medians = _in_turn(interpreters, images[:1])
    return {
        "resolution": network.input_size,
        "ours_s": round(written - begun, 4),
        "theirs_s": round(done - written, 3),
        "ours_bytes": len(ours),
        "theirs_bytes": len(theirs),
        "ours_ms": round(medians[0], 4),
        "theirs_ms": round(medians[1], 4),
        "ratio": round(medians[0] / medians[1], 3),
        "difference": difference(answers[0], answers[1]),
    }


def converted(network: Network) -> bytes:
    """Returns the TFLite file that TensorFlow's converter makes of a network of the Lite0 space.

    Args:
        network: folded; its input stays uint8, (1, S, S, 3).
    """
    tensorflow = importlib.import_module("tensorflow")
    size = network.input_size
    signature = [tensorflow.TensorSpec((1, size, size, 3), tensorflow.uint8)]
    traced = tensorflow.function(lambda pixels: _traced(tensorflow, network, pixels), signature)
    concrete = [traced.get_concrete_function()]
    content: bytes = tensorflow.lite.TFLiteConverter.from_concrete_functions(concrete).convert()
    return content


def _traced(tf: Any, network: Network, pixels: Any) -> Any:
    """Returns the logits of pixels by TensorFlow's operators."""
    mean, deviation = (
        np.array(part, np.float32)
        for part in (network.preprocessing.mean, network.preprocessing.std)
    )
    values = {IMAGE: (tf.cast(pixels, tf.float32) - mean) / deviation}
    for layer in network.layers:
        inputs = [values[name] for name in layer.inputs]
        match layer:
            case Convolution():
                values[layer.name] = _convolved(tf, layer, network, inputs[0])
            case Add():
                values[layer.name] = inputs[0] + inputs[1]
            case GlobalPool():
                values[layer.name] = tf.reduce_mean(inputs[0], axis=(1, 2))
            case Linear():
                weight, bias = (network.arrays[f"{layer.name}.{r}"] for r in ("weight", "bias"))
                values[layer.name] = tf.matmul(inputs[0], weight.T) + bias
            case _:
                raise TypeError(f"the Lite0 space has no {type(layer).__name__}")
    return values[LOGITS]


def _convolved(tf: Any, layer: Convolution, network: Network, value: Any) -> Any:
    weight, bias = (network.arrays[f"{layer.name}.{role}"] for role in ("weight", "bias"))
    strides = [1, layer.stride, layer.stride, 1]
    if layer.depthwise:
        kernel = weight.transpose(2, 3, 0, 1)  # rows, columns, channels, 1
        made = tf.nn.depthwise_conv2d(value, kernel, strides, "SAME")
    else:
        made = tf.nn.conv2d(value, weight.transpose(2, 3, 1, 0), strides, "SAME")
    made = made + bias
    return tf.nn.relu6(made) if layer.activation == "relu6" else made


Predict = Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]


def _loaded(content: bytes) -> Predict:
    """Returns what the interpreter says of an image, uint8, (1, S, S, 3): its logits."""
    from tofa_edge.backends.tflite.packages import interpreters

    interpreter = interpreters().Interpreter(model_content=content, num_threads=1)
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(taken["index"], (1, *taken["shape"][1:]))
    interpreter.allocate_tensors()

    def predict(image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        interpreter.set_tensor(taken["index"], image)
        interpreter.invoke()
        logits: np.ndarray[Any, Any] = interpreter.get_tensor(given["index"])
        return logits

    return predict


def _in_turn(runs: list[Predict], image: np.ndarray[Any, Any]) -> list[float]:
    """Returns the median of each in milliseconds, each run between two of the other."""
    taken: list[list[float]] = [[] for _ in runs]
    for turn in range(WARM_UP + RUNS):
        for run, seconds in zip(runs, taken, strict=True):
            begun = time.perf_counter()
            run(image)
            if turn >= WARM_UP:
                seconds.append(time.perf_counter() - begun)
    return [float(np.median(seconds)) * 1e3 for seconds in taken]


if __name__ == "__main__":
    main()
