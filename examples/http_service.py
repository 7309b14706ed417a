"""A small service: POST /predict takes an image file and gives JSON; GET /health, GET /metrics.

pip install 'tofa-edge[onnxruntime,service]'
python http_service.py parts.tofa --latency-ms 20 --port 8000
curl --data-binary @photo.jpg http://127.0.0.1:8000/predict

It listens on this machine alone unless told otherwise: it has no passwords and no encryption.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import signal
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Histogram, generate_latest

import tofa_edge

MOST_BYTES = 8_000_000
PATIENCE_SECONDS = 10  # with a client that sends nothing
BODY_SECONDS = 30  # for a whole body: one byte now and then is no way to stay
RECEIVED = 64  # bodies in memory at once; who comes then is told to come again
AT_ONCE = 4  # photos decoded and classified; more wait for their turn
TOP = 5
FORMATS = ("BMP", "JPEG", "PNG", "WEBP")  # Pillow's others include some that start programs

ANSWERS = Counter("tofa_edge_answers", "Answers by path and status.", ["path", "status"])
SECONDS = Histogram(
    "tofa_edge_prediction_seconds",
    "Decoding and running one image.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2),
)


class Refused(Exception):
    """A request that gets no prediction: its arguments are a status and the reason."""


class Service(ThreadingHTTPServer):
    """Answers with one model, which may be called from several threads."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], model: tofa_edge.Model) -> None:
        super().__init__(address, Handler)
        self.model = model
        self.room = threading.BoundedSemaphore(RECEIVED)
        self.turn = threading.BoundedSemaphore(AT_ONCE)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Service
    timeout = PATIENCE_SECONDS
    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        """Answers until the connection ends: a client that has gone is no error."""
        with contextlib.suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        """Answers /health and /metrics."""
        if self.path == "/health":
            model = self.server.model
            health = {"status": "ok", "engine": str(model.engine), "classes": model.classes}
            self.answer(HTTPStatus.OK, health)
        elif self.path == "/metrics":
            self.send(HTTPStatus.OK, generate_latest(), CONTENT_TYPE_LATEST)
        else:
            self.answer(HTTPStatus.NOT_FOUND, {"error": "there are /health, /metrics, /predict"})

    do_HEAD = do_GET  # the same without the body

    def do_POST(self) -> None:
        """Answers /predict."""
        try:
            if self.path != "/predict":
                raise Refused(HTTPStatus.NOT_FOUND, "POST an image to /predict")
            self.answer(HTTPStatus.OK, self.prediction())
        except Refused as refused:
            self.close_connection = True  # what it still sends is not read
            status, reason = refused.args
            self.answer(status, {"error": reason})
        except tofa_edge.TofaError as error:
            self.answer(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": str(error)})

    def prediction(self) -> dict[str, object]:
        """Returns what the network says of the request's body.

        The body is complete before it is its turn: who sends slowly keeps nobody waiting.
        """
        if not self.server.room.acquire(blocking=False):
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "too many at once: come again")
        try:
            content = self.body()
            if self.headers.get_content_maintype() == "multipart":
                reason = "multipart: send the bytes alone, as curl --data-binary @photo.jpg does"
                raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, reason)
            with self.server.turn:
                return self.predicted(content)
        finally:
            self.server.room.release()

    def body(self) -> bytes:
        """Returns the request's body, if it is small enough and comes in time."""
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "wanted a Content-Length")
        if int(length[:12]) > MOST_BYTES:
            reason = f"wanted at most {MOST_BYTES} bytes, got {length[:12]}"
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, reason)
        try:
            return self.received(int(length))
        except TimeoutError:
            raise Refused(HTTPStatus.REQUEST_TIMEOUT, "the body comes too slowly") from None
        finally:
            self.connection.settimeout(PATIENCE_SECONDS)

    def received(self, length: int) -> bytes:
        """Returns so many bytes of the body, or raises a TimeoutError where they take too long."""
        content, end = bytearray(), time.monotonic() + BODY_SECONDS
        while len(content) < length:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self.connection.settimeout(min(left, PATIENCE_SECONDS))
            part = self.rfile.read1(length - len(content))
            if not part:
                raise Refused(HTTPStatus.BAD_REQUEST, "the body ends too early")
            content += part
        return bytes(content)

    def predicted(self, content: bytes) -> dict[str, object]:
        """Returns what the network says of an image file's bytes."""
        try:
            with SECONDS.time(), Image.open(io.BytesIO(content), formats=FORMATS) as image:
                prediction = self.server.model(image)
        except (tofa_edge.ImageError, OSError, Image.DecompressionBombError) as error:
            raise Refused(HTTPStatus.BAD_REQUEST, f"wanted an image file: {error}") from None
        return {
            "label": prediction.label,
            "probability": prediction.probability,
            "known": prediction.known,
            "top": dict(prediction.top(TOP)),
        }

    def answer(self, status: HTTPStatus, content: dict[str, object]) -> None:
        """Sends JSON."""
        self.send(status, json.dumps(content).encode(), "application/json")

    def send(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        """Sends an answer and counts it; paths nobody serves are counted as one."""
        known = self.path if self.path in ("/health", "/metrics", "/predict") else "other"
        ANSWERS.labels(known, int(status)).inc()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Prints nothing: /metrics counts the answers."""


def main() -> None:
    """Deploys a bundle and serves until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("--latency-ms", type=float)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    options = parser.parse_args()

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # systemd's way to stop
    with (
        tofa_edge.deploy(options.bundle, latency_ms=options.latency_ms) as model,
        Service((options.host, options.port), model) as service,
    ):
        print(f"listening on http://{options.host}:{service.server_port}", flush=True)
        try:
            service.serve_forever()
        except KeyboardInterrupt:
            print("ended")


if __name__ == "__main__":
    main()
