"""Predicts what the CSI camera of a Jetson sees, the newest frame first. Ctrl-C ends it.

It needs an OpenCV with GStreamer, such as JetPack's (not pip's opencv-python), so:
python3 -m venv --system-site-packages venv
venv/bin/python jetson_gstreamer.py parts.tofa --latency-ms 10

Written from the documentation of OpenCV and of NVIDIA; not run on a board so far.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import cv2
import numpy as np

import tofa_edge

# The camera's processor gives NV12 in its own memory; nvvidconv scales and copies to the CPU's.
# appsink holds the newest frame only, so that nothing queues up before `model.stream` either.
PIPELINE = (
    "nvarguscamerasrc sensor-id={sensor} ! "
    "video/x-raw(memory:NVMM), width=1280, height=720, framerate=30/1, format=NV12 ! "
    "nvvidconv ! video/x-raw, width=640, height=360, format=BGRx ! "
    "videoconvert ! video/x-raw, format=BGR ! "
    "appsink drop=true max-buffers=1 sync=false"
)


def frames(camera: cv2.VideoCapture) -> Iterator[np.ndarray]:
    """Yields frames as uint8 RGB arrays until the camera gives none."""
    while True:
        there_is_one, frame = camera.read()
        if not there_is_one:
            raise OSError("the camera gives no more frames")
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def main() -> None:
    """Deploys a bundle and predicts what the camera sees."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("--latency-ms", type=float, default=20)
    parser.add_argument("--sensor", type=int, default=0)
    options = parser.parse_args()

    camera = cv2.VideoCapture(PIPELINE.format(sensor=options.sensor), cv2.CAP_GSTREAMER)
    if not camera.isOpened():
        raise SystemExit("the camera does not open: is this OpenCV built with GStreamer?")
    try:
        with tofa_edge.deploy(options.bundle, latency_ms=options.latency_ms) as model:
            print(model.explain())
            with model.stream(frames(camera)) as stream:
                for prediction in stream:
                    known = prediction.label if prediction.known else "unknown"
                    print(f"{known} {prediction.probability:.2f} {prediction.age_ms:.0f} ms")
    except KeyboardInterrupt:
        print("ended")
    finally:
        camera.release()


if __name__ == "__main__":
    main()
