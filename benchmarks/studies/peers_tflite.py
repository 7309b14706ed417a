"""TFLite's own converter beside our writer: the same subnets of the Lite0 space, in one run.

    pip install tensorflow-cpu 'tofa-edge[tflite]'
    python -m tofa_edge.benchmarks.studies.peers_tflite [--out FILE]

Each subnet is written by us and converted by TensorFlow; both files are loaded into the same
interpreter, compared by their logits, and timed in turn on one thread.
"""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tofa_edge.architecture.layers import IMAGE, LOGITS, Add, Convolution, GlobalPool, Linear
from tofa_edge.backends.protocol import Target
from tofa_edge.backends.registry import backend
from tofa_edge.benchmarks.studies.command import RESULTS, Row, in_turn, options, store
from tofa_edge.device.machine import fingerprint
from tofa_edge.network.network import Network
from tofa_edge.selftest.golden import difference
from tofa_edge.selftest.specimens import calibrated, photos, random_supernet, spaces, varied_subnet
from tofa_edge.storage.plain import to_plain

SEEDS = range(6)
WARM_UP, RUNS = 20, 300

Array = np.ndarray[Any, Any]


def main() -> None:
    given = options(__doc__, out=RESULTS / "peers_tflite.json")
    space = spaces()["lite0"]
    supernet = random_supernet(space, 0)
    rows = [_row(calibrated(space, varied_subnet(space, seed), supernet)) for seed in SEEDS]
    result = {
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
    store(given.out, result)
    print(json.dumps(result, indent=1))


def _row(network: Network) -> Row:
    begun = time.perf_counter()
    ours = backend("tflite").build(network, Target())
    written = time.perf_counter()
    theirs = _converted(network)
    done = time.perf_counter()
    interpreters = [_loaded(content) for content in (ours, theirs)]
    images = photos(2, network.input_size)
    logits = [np.concatenate([run(image[None]) for image in images]) for run in interpreters]
    runs = [partial(run, images[:1]) for run in interpreters]
    medians = np.median(in_turn(runs, WARM_UP + RUNS)[:, WARM_UP:], axis=1).tolist()
    return {
        "resolution": network.input_size,
        "ours_s": round(written - begun, 4),
        "theirs_s": round(done - written, 3),
        "ours_bytes": len(ours),
        "theirs_bytes": len(theirs),
        "ours_ms": round(medians[0], 4),
        "theirs_ms": round(medians[1], 4),
        "ratio": round(medians[0] / medians[1], 3),
        "difference": difference(logits[0], logits[1]),
    }


def _converted(network: Network) -> bytes:
    """Returns the TFLite file that TensorFlow's converter makes of a network of the Lite0 space.

    The network is folded; its input stays uint8, (1, S, S, 3).
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
    preprocessing = network.preprocessing
    mean, deviation = (np.array(p, np.float32) for p in (preprocessing.mean, preprocessing.std))
    values = {IMAGE: (tf.cast(pixels, tf.float32) - mean) / deviation}
    for layer in network.layers:
        inputs = [values[name] for name in layer.inputs]
        match layer:
            case Convolution():
                values[layer.name] = _convolved(tf, layer, *_weights(network, layer), inputs[0])
            case Add():
                values[layer.name] = inputs[0] + inputs[1]
            case GlobalPool():
                values[layer.name] = tf.reduce_mean(inputs[0], axis=(1, 2))
            case Linear():
                weight, bias = _weights(network, layer)
                values[layer.name] = tf.matmul(inputs[0], weight.T) + bias
            case _:
                raise TypeError(f"the Lite0 space has no {type(layer).__name__}")
    return values[LOGITS]


def _weights(network: Network, layer: Convolution | Linear) -> tuple[Array, Array]:
    return network.arrays[f"{layer.name}.weight"], network.arrays[f"{layer.name}.bias"]


def _convolved(tf: Any, layer: Convolution, weight: Array, bias: Array, value: Any) -> Any:
    strides = [1, layer.stride, layer.stride, 1]
    if layer.depthwise:
        kernel = weight.transpose(2, 3, 0, 1)  # rows, columns, channels, 1
        output = tf.nn.depthwise_conv2d(value, kernel, strides, "SAME") + bias
    else:
        output = tf.nn.conv2d(value, weight.transpose(2, 3, 1, 0), strides, "SAME") + bias
    return tf.nn.relu6(output) if layer.activation == "relu6" else output


def _loaded(content: bytes) -> Callable[[Array], Array]:
    """Returns a function from an image, uint8, (1, S, S, 3), to the interpreter's logits."""
    from tofa_edge.backends.tflite.packages import interpreters

    interpreter = interpreters().Interpreter(model_content=content, num_threads=1)
    (source,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(source["index"], (1, *source["shape"][1:]))
    interpreter.allocate_tensors()

    def predict(image: Array) -> Array:
        interpreter.set_tensor(source["index"], image)
        interpreter.invoke()
        logits: Array = interpreter.get_tensor(output["index"])
        return logits

    return predict


if __name__ == "__main__":
    main()
