"""Predicts what a Raspberry Pi's camera sees, the newest frame first. Ctrl-C ends it.

sudo apt install -y python3-picamera2
python3 -m venv --system-site-packages venv
venv/bin/pip install 'tofa-edge[onnxruntime]'
venv/bin/python picamera2_stream.py parts.tofa --latency-ms 20

Written from the documentation of picamera2; not run on a board so far.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
from picamera2 import Picamera2

import tofa_edge


def frames(camera: Picamera2) -> Iterator[np.ndarray]:
    """Yields frames as uint8 RGB arrays; each is a copy that belongs to who gets it."""
    while True:
        yield camera.capture_array("main")


def main() -> None:
    """Deploys a bundle, calibrated with the camera's own frames if asked, and predicts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("--latency-ms", type=float, default=50)
    options = parser.parse_args()

    with tofa_edge.deploy(options.bundle, latency_ms=options.latency_ms) as model:
        print(model.explain())
        with Picamera2() as camera:
            # "BGR888" names the bytes from the last to the first: arrays are in RGB.
            main_stream = {"size": (640, 480), "format": "BGR888"}
            camera.configure(camera.create_video_configuration(main=main_stream))
            camera.start()
            # `with` ends the reading thread before the camera is closed.
            with model.stream(frames(camera)) as stream:
                try:
                    for prediction in stream:
                        known = prediction.label if prediction.known else "unknown"
                        print(f"{known} {prediction.probability:.2f} {prediction.age_ms:.0f} ms")
                except KeyboardInterrupt:
                    print(stream.stats())


if __name__ == "__main__":
    main()
