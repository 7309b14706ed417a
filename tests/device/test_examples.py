"""The examples: they run, or, where they need a camera, at least say what they would do."""

from __future__ import annotations

import ast
import configparser
import contextlib
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tofa_edge.selftest.small_bundle import smooth_photo

EXAMPLES = Path(__file__).parents[2] / "examples"
UNIT = EXAMPLES / "tofa-edge.service"
STARTING_SECONDS, ANSWERING_SECONDS = 90, 30


def photo(seed: int) -> bytes:
    return smooth_photo(np.random.default_rng(seed))


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=STARTING_SECONDS
    )


def test_folder_predicts_every_photo(tiny_bundle: Path, tmp_path: Path) -> None:
    for seed, name in enumerate(["a.jpg", "b.JPG", "c.jpeg"]):
        (tmp_path / name).write_bytes(photo(seed))
    (tmp_path / "d.jpg").write_bytes(b"torn")
    (tmp_path / "notes.txt").write_text("no photo")
    done = run(EXAMPLES / "folder.py", tiny_bundle, tmp_path)
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["a.jpg", "b.JPG", "c.jpeg"]
    assert all(re.fullmatch(r"class \d\t[01]\.\d{3}", line.split("\t", 1)[1]) for line in lines)
    assert last.startswith("3 predicted, 1 unreadable, age p50 ")


@dataclass
class Running:
    process: subprocess.Popen[str]
    port: int

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, str, str]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=ANSWERING_SECONDS)
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        content = response.read().decode()
        connection.close()
        return response.status, response.headers["Content-Type"], content

    def predict(self, body: bytes) -> tuple[int, dict[str, object]]:
        status, kind, content = self.ask("POST", "/predict", body)
        assert kind == "application/json"
        return status, json.loads(content)

    def raw(self, request: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), ANSWERING_SECONDS) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            with connection.makefile("rb") as answer:
                return answer.read()


@contextlib.contextmanager
def serving(bundle: Path, records: Path, cache: Path, *program: str | Path) -> Iterator[Running]:
    """A service of its own: what it chooses must not become known to other tests."""
    pytest.importorskip("prometheus_client")
    shutil.copytree(records, cache)
    errors = cache / "errors"
    with errors.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, *program, bundle, "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
            env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        )
    watch = threading.Timer(STARTING_SECONDS, process.kill)
    watch.start()
    assert process.stdout is not None
    first = process.stdout.readline()
    watch.cancel()
    found = re.fullmatch(r"listening on http://127\.0\.0\.1:(\d+)\n", first)
    assert found, f"it did not start: {first!r}"
    yield Running(process, int(found[1]))
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=ANSWERING_SECONDS)
    assert (process.returncode, rest) == (0, "ended\n")
    assert "Traceback" not in errors.read_text()


@pytest.fixture(scope="module")
def service(
    tiny_bundle: Path, self_tests: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    cache = tmp_path_factory.mktemp("service") / "cache"
    with serving(tiny_bundle, self_tests, cache, EXAMPLES / "http_service.py") as running:
        yield running


def test_service_is_healthy(service: Running) -> None:
    status, kind, content = service.ask("GET", "/health")
    assert (status, kind) == (200, "application/json")
    health = json.loads(content)
    assert health["status"] == "ok"
    assert len(health["classes"]) == 10
    assert service.ask("HEAD", "/health") == (200, "application/json", "")
    assert service.ask("HEAD", "/nowhere") == (404, "application/json", "")


def test_service_predicts(service: Running) -> None:
    status, found = service.predict(photo(0))
    assert status == 200
    assert found["label"] in {f"class {index}" for index in range(10)}
    assert isinstance(found["probability"], float)
    top = found["top"]
    assert isinstance(top, dict)
    assert top[found["label"]] == found["probability"] == max(top.values())
    stream = io.BytesIO()
    Image.open(io.BytesIO(photo(0))).save(stream, "PNG")
    assert service.predict(stream.getvalue()) == (200, found), "PNG keeps the pixels"


def test_service_answers_many_at_once_as_one_by_one(service: Running) -> None:
    photos = [photo(seed) for seed in range(24)]
    alone = [service.predict(content) for content in photos]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(service.predict, photos)) == alone
    assert len({str(found["probability"]) for _, found in alone}) > 12


@pytest.mark.parametrize("body", [b"", b"no image", photo(0)[:200], b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_service_refuses_what_is_no_image(service: Running, body: bytes) -> None:
    status, answer = service.predict(body)
    assert status == 400
    assert "image" in str(answer["error"])
    assert service.predict(photo(1))[0] == 200, "and goes on"


def test_service_refuses_a_body_too_large_before_reading_it(service: Running) -> None:
    answer = service.raw(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 8000001\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"wanted at most 8000000 bytes, got 8000001" in answer


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (b"", b"411"),
        (b"Content-Length: -1\r\n", b"411"),
        (b"Content-Length: many\r\n", b"411"),
        (b"Content-Length: " + b"9" * 40 + b"\r\n", b"413"),
        (b"Content-Length: 50\r\n", b"400"),
    ],
)
def test_service_wants_an_honest_length(service: Running, headers: bytes, status: bytes) -> None:
    answer = service.raw(b"POST /predict HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\nshort")
    assert answer.startswith(b"HTTP/1.1 " + status)


def test_service_says_how_to_send_a_photo(service: Running) -> None:
    boundary = b"--x\r\nContent-Disposition: form-data; name=file\r\n\r\n" + photo(0) + b"\r\n--x--"
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    status, _, content = service.ask("POST", "/predict", boundary, **kind)
    assert status == 415
    assert json.loads(content)["error"].startswith("multipart: send the bytes alone")


HASTY = f"""
import sys
sys.path.insert(0, {str(EXAMPLES)!r})
import http_service
http_service.BODY_SECONDS, http_service.RECEIVED = 6, 6
http_service.main()
"""


def test_slow_clients_keep_nobody_waiting(
    tiny_bundle: Path, self_tests: Path, tmp_path: Path
) -> None:
    begin = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
    with (
        serving(tiny_bundle, self_tests, tmp_path / "cache", "-c", HASTY) as hasty,
        contextlib.ExitStack() as stack,
    ):

        def slow() -> socket.socket:
            address = ("127.0.0.1", hasty.port)
            connection = stack.enter_context(socket.create_connection(address, ANSWERING_SECONDS))
            connection.sendall(begin)
            return connection

        clients = [slow() for _ in range(5)]  # more than have their turn at once
        assert hasty.predict(photo(0))[0] == 200
        clients.append(slow())
        time.sleep(0.5)
        assert hasty.predict(photo(0)) == (503, {"error": "too many at once: come again"})
        for _ in range(2):  # a sign of life is not enough
            time.sleep(1)
            for client in clients:
                client.sendall(b"x")
        clients.pop().close()  # one that vanishes is not reported as an error
        answers = [client.makefile("rb").readline() for client in clients]
        assert answers == [b"HTTP/1.1 408 Request Timeout\r\n"] * 5
        assert hasty.predict(photo(0))[0] == 200


def test_service_knows_no_other_path(service: Running) -> None:
    assert service.ask("GET", "/")[0] == 404
    assert service.ask("GET", "/predict")[0] == 404
    assert service.ask("POST", "/health", b"")[0] == 404
    assert service.ask("PUT", "/predict", b"")[0] == 501


def test_service_counts(service: Running) -> None:
    def count(metrics: str, name: str) -> float:
        found = re.search(rf"^{re.escape(name)} (\S+)$", metrics, re.MULTILINE)
        return float(found[1]) if found else 0.0

    names = (
        'tofa_edge_answers_total{path="/predict",status="200"}',
        'tofa_edge_answers_total{path="/predict",status="400"}',
        'tofa_edge_answers_total{path="other",status="404"}',
        "tofa_edge_prediction_seconds_count",
    )
    before = service.ask("GET", "/metrics")
    assert (before[0], before[1].split(";")[0]) == (200, "text/plain")
    service.predict(photo(0))
    service.predict(b"no image")
    service.ask("GET", "/secret")
    after = service.ask("GET", "/metrics")[2]
    assert [count(after, name) - count(before[2], name) for name in names] == [1, 1, 1, 2]
    assert "/secret" not in after, "no one can fill the memory with paths"


@pytest.mark.parametrize("name", ["picamera2_stream.py", "jetson_gstreamer.py"])
def test_camera_examples_stream_within_with(name: str) -> None:
    """There is no camera here: this finds what is wrong in them without one."""
    tree = ast.parse((EXAMPLES / name).read_text(), feature_version=(3, 10))
    withs = {
        ast.unparse(item.context_expr)
        for node in ast.walk(tree)
        if isinstance(node, ast.With)
        for item in node.items
    }
    assert "model.stream(frames(camera))" in withs, "so that the thread ends before the camera"
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert "tofa_edge" in imported


def test_unit_is_valid(tmp_path: Path) -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT)
    assert set(parser.sections()) == {"Unit", "Service", "Install"}
    section = parser["Service"]
    assert section["DynamicUser"] == section["NoNewPrivileges"] == "yes"
    assert section["Restart"] == "on-failure"
    assert section["Environment"] == f"XDG_CACHE_HOME=/var/cache/{section['CacheDirectory']}"
    python, script, *arguments = section["ExecStart"].split()
    assert Path(script).name == "http_service.py"
    assert arguments[1] in (EXAMPLES / "http_service.py").read_text()
    if shutil.which("systemd-analyze"):
        unit = tmp_path / UNIT.name
        unit.write_text(UNIT.read_text().replace(python, sys.executable))
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True
        )
        about_it = [line for line in done.stderr.splitlines() if UNIT.name in line]
        assert (done.returncode, about_it) == (0, []), done.stderr
