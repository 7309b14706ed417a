"""Exported files: what other programs read in them, and that only checked ones are left behind."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tofa_edge
from tofa_edge import backends
from tofa_edge.architecture.arrays import FloatArray
from tofa_edge.architecture.layers import LOGITS
from tofa_edge.backends.labelling import PROBABILITIES, Labelling
from tofa_edge.backends.onnx.float import write_onnx
from tofa_edge.backends.protocol import Engine, Target
from tofa_edge.backends.tflite.float import write_tflite
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cutting import ranges
from tofa_edge.cutting.cutter import Cutter
from tofa_edge.deployment import export as exporting
from tofa_edge.device import machine
from tofa_edge.errors import BackendError, ExportError, LimitError
from tofa_edge.network.network import Network
from tofa_edge.selftest.golden import specimen_images

pytestmark = pytest.mark.usefixtures("known_engines")

FORMATS = ("tflite", "onnx")
TEMPERATURE = 2.5
CLASSES = ("crème", "hot dog", "plain", *(f"class {index}" for index in range(3, 10)))


@pytest.fixture(params=FORMATS)
def kind(request: pytest.FixtureRequest) -> str:
    reason = backends.backends()[exporting.ENGINES[request.param]].missing()
    if reason is not None:
        pytest.skip(reason)
    return str(request.param)


@pytest.fixture
def network(tiny_bundle: Path) -> Network:
    bundle = Bundle.open(tiny_bundle)
    return Cutter(bundle).stored_network(bundle.space.sample(np.random.default_rng(4)))


def labelled(network: Network, kind: str) -> bytes:
    classes = CLASSES[: network.arrays[f"{LOGITS}.bias"].size]
    labelling = Labelling(classes, TEMPERATURE, {"subnet": "{}", "note": "two"}, "1.2.3")
    if kind == "tflite":
        return write_tflite(network, labelling)
    return write_onnx(network, labelling=labelling)


def engine(kind: str) -> Engine:
    return Engine(backends.backend(exporting.ENGINES[kind]), Target())


def softmax(logits: FloatArray, temperature: float) -> FloatArray:
    powers = np.exp(logits.astype(np.float64) / temperature)
    shares: FloatArray = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares


def test_output_is_the_softmax_over_the_temperature(network: Network, kind: str) -> None:
    images = specimen_images(network.input_size)
    session = engine(kind).backend.load(labelled(network, kind), Target())
    logits = Engine(backends.backend("reference"), Target()).load(network).run(images)[LOGITS]
    outputs = session.run(images)
    assert list(outputs) == [PROBABILITIES]
    np.testing.assert_allclose(outputs[PROBABILITIES], softmax(logits, TEMPERATURE), atol=1e-4)
    assert np.abs(outputs[PROBABILITIES] - softmax(logits, 1)).max() > 1e-2  # it tells them apart


class Reading:
    """A flatbuffers table read by slot number."""

    def __init__(self, content: bytes, position: int | None = None) -> None:
        self.content = content
        self.position = struct.unpack_from("<I", content)[0] if position is None else position

    def _field(self, slot: int) -> int:
        start = self.position - struct.unpack_from("<i", self.content, self.position)[0]
        assert struct.unpack_from("<H", self.content, start)[0] > 4 + 2 * slot, "no such field"
        return self.position + int(struct.unpack_from("<H", self.content, start + 4 + 2 * slot)[0])

    def _at(self, slot: int) -> int:
        field = self._field(slot)
        return field + int(struct.unpack_from("<I", self.content, field)[0])

    def table(self, slot: int) -> Reading:
        return Reading(self.content, self._at(slot))

    def tables(self, slot: int) -> list[Reading]:
        begin = self._at(slot)
        fields = [begin + 4 * (n + 1) for n in range(self._count(begin))]
        offsets = [struct.unpack_from("<I", self.content, field)[0] for field in fields]
        return [Reading(self.content, f + o) for f, o in zip(fields, offsets, strict=True)]

    def _count(self, begin: int) -> int:
        return int(struct.unpack_from("<I", self.content, begin)[0])

    def raw(self, slot: int, width: int = 1) -> bytes:
        begin = self._at(slot)
        return self.content[begin + 4 : begin + 4 + width * self._count(begin)]

    def text(self, slot: int) -> str:
        return self.raw(slot).decode()

    def floats(self, slot: int) -> list[float]:
        return list(map(float, np.frombuffer(self.raw(slot, 4), "<f4")))

    def number(self, slot: int, form: str) -> Any:
        return struct.unpack_from(form, self.content, self._field(slot))[0]


def test_tflite_says_what_it_is(network: Network) -> None:
    pytest.importorskip("flatbuffers")
    content = labelled(network, "tflite")
    model = Reading(content)
    (entry,) = model.tables(6)
    assert entry.text(0) == "TFLITE_METADATA"
    stored = model.tables(4)[entry.number(1, "<I")].raw(0)
    assert stored[4:8] == b"M001"
    about = Reading(stored)
    assert about.text(1) == "subnet: {}\nnote: two"
    assert about.text(2) == "1.2.3"
    (subgraph,) = about.tables(3)
    (images,), (probabilities,) = subgraph.tables(2), subgraph.tables(3)
    assert (images.text(0), probabilities.text(0)) == ("images", PROBABILITIES)
    assert "uint8 RGB, 0..255" in images.text(1)
    content_table = images.table(3)
    assert content_table.number(0, "B") == 2  # image properties
    properties = content_table.table(1)
    assert properties.number(0, "b") == 1  # RGB
    assert properties.table(1).number(0, "<I") == network.input_size
    (unit,) = images.tables(4)
    assert unit.number(0, "B") == 1  # normalisation
    assert (unit.table(1).floats(0), unit.table(1).floats(1)) == ([0], [1])
    assert images.table(5).floats(0) == [255]
    (labels,) = probabilities.tables(6)
    assert (labels.text(0), labels.number(2, "b")) == ("labels.txt", 2)


def test_tflite_carries_its_labels(network: Network) -> None:
    pytest.importorskip("flatbuffers")
    archive = zipfile.ZipFile(io.BytesIO(labelled(network, "tflite")))
    (member,) = archive.infolist()
    assert member.compress_type == zipfile.ZIP_STORED
    count = network.arrays[f"{LOGITS}.bias"].size
    assert archive.read("labels.txt").decode().splitlines() == list(CLASSES[:count])


def test_onnx_says_what_it_is(network: Network) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(
        labelled(network, "onnx"), providers=["CPUExecutionProvider"]
    )
    said = session.get_modelmeta().custom_metadata_map
    assert json.loads(said["classes"])[0] == "crème"
    assert float(said["temperature"]) == TEMPERATURE
    assert (said["subnet"], said["note"]) == ("{}", "two")
    assert "uint8 RGB, 0..255" in said["input"]
    assert session.get_outputs()[0].shape[0] == "batch"


def test_same_network_same_file(network: Network, kind: str) -> None:
    assert labelled(network, kind) == labelled(network, kind)


def test_without_a_budget_the_largest(tiny_bundle: Path, tmp_path: Path, kind: str) -> None:
    made = tofa_edge.export(tiny_bundle, tmp_path / f"parts.{kind}")
    assert made.subnet == Bundle.open(tiny_bundle).space.largest()
    assert made.path.stat().st_size == made.size_bytes
    assert made.checked_by is not None
    assert made.difference is not None
    assert made.difference < 1e-3
    assert list(tmp_path.iterdir()) == [made.path]


def test_within_a_budget_what_the_formats_engine_measured(
    tiny_bundle: Path, tmp_path: Path, kind: str
) -> None:
    made = tofa_edge.export(tiny_bundle, tmp_path / "parts", format=kind, latency_ms=1000)
    assert f"on {exporting.ENGINES[kind]} cpu fp32" in made.measured
    assert made.path.exists()


def test_predicts_as_the_deployed_model(tiny_bundle: Path, tmp_path: Path, kind: str) -> None:
    subnet = Bundle.open(tiny_bundle).space.smallest()
    made = tofa_edge.export(tiny_bundle, tmp_path / "parts", format=kind, subnet=subnet)
    images = specimen_images(subnet.resolution)
    with tofa_edge.deploy(tiny_bundle, subnet=subnet) as model:
        wanted = np.stack([prediction.probabilities for prediction in model.batch(images)])
    session = engine(kind).backend.load(made.path.read_bytes(), Target())
    np.testing.assert_allclose(session.run(images)[PROBABILITIES], wanted, atol=1e-3)


def test_wrong_file_is_not_left_behind(
    tiny_bundle: Path, tmp_path: Path, network: Network, kind: str
) -> None:
    bundle = Bundle.open(tiny_bundle)
    other = Cutter(bundle).stored_network(bundle.space.largest())
    wrong = labelled(other, kind)
    made = exporting.Exported(tmp_path / "f", kind, bundle.space.largest(), 0, len(wrong))
    with pytest.raises(BackendError, match="nothing was written"):  # of another temperature
        exporting._written(made, wrong, bundle, other, other, engine(kind), overwrite=False)
    assert not list(tmp_path.iterdir())


def test_integers_are_written_checked_and_small(
    tiny_bundle: Path, tmp_path: Path, kind: str
) -> None:
    target = Target(precision="int8")
    if not has_int8(kind):
        pytest.skip(f"{kind}: no engine here computes in int8")
    sizes = []
    for precision in ("fp32", "int8"):
        made = tofa_edge.export(tiny_bundle, tmp_path / f"{precision}.{kind}", precision=precision)
        assert made.precision == precision
        assert made.weight_bits == {"fp32": None, "int8": 7}[precision]
        assert made.checked_by is not None
        sizes.append(made.size_bytes)
    assert made.drop is not None
    assert made.drop.images >= 24
    assert sizes[1] < sizes[0]
    images = specimen_images(made.input_size)
    session = engine(kind).backend.load(made.path.read_bytes(), target)
    assert np.allclose(session.run(images)[PROBABILITIES].sum(axis=1), 1, atol=1e-5)


def has_int8(kind: str) -> bool:
    return Target(precision="int8") in engine(kind).backend.targets()


def levels_of(
    tiny_bundle: Path, path: Path, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> int:
    """Exports in int8, and returns how many steps its weights have on each side of 0."""
    plans: list[Network] = []
    content = exporting._content

    def watched(kind: str, network: Network, *others: Any) -> bytes:
        plans.append(network)
        return content(kind, network, *others)

    with monkeypatch.context() as patched:
        patched.setattr(exporting, "_content", watched)
        tofa_edge.export(tiny_bundle, path, precision="int8", overwrite=True, **options)
    (network,) = plans
    assert network.quantisation is not None
    return network.quantisation.weight_levels


def test_integers_are_the_same_whatever_machine_writes_them(
    tiny_bundle: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_int8(kind):
        pytest.skip(f"{kind}: no engine here computes in int8")
    files, here = [], machine.fingerprint()
    for number, features in enumerate([("avx2",), ("avx2", "avx512_vnni"), ("asimd",)]):
        architecture = "aarch64" if "asimd" in features else "x86_64"
        other = replace(here, architecture=architecture, features=features)
        monkeypatch.setattr(ranges, "fingerprint", lambda other=other: other)
        path = tmp_path / f"{number}.{kind}"
        assert levels_of(tiny_bundle, path, monkeypatch) == 63
        files.append(path.read_bytes())
        assert levels_of(tiny_bundle, path, monkeypatch, weight_bits=7) == 63
        assert path.read_bytes() == files[0]
        assert levels_of(tiny_bundle, path, monkeypatch, weight_bits=8) == 127
        assert path.read_bytes() != files[0]
    assert files[0] == files[1] == files[2]


@pytest.mark.parametrize(
    ("precision", "bits", "said"),
    [
        ("int8", 6, "wanted --weight-bits 7 or 8, got 6"),
        ("fp32", 8, "wanted --weight-bits with int8 or dynamic, got fp32"),
    ],
)
def test_weight_bits_are_checked(
    tiny_bundle: Path, tmp_path: Path, precision: str, bits: int, said: str
) -> None:
    path = tmp_path / "parts.onnx"
    with pytest.raises(LimitError, match=said):
        tofa_edge.export(tiny_bundle, path, precision=precision, weight_bits=bits)
    assert not list(tmp_path.iterdir())


def test_precision_that_a_format_lacks_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="onnx: wanted a precision of fp32, int8, got dynamic"):
        tofa_edge.export(tiny_bundle, tmp_path / "parts.onnx", precision="dynamic")


def test_unchecked_where_the_engine_is_missing(
    tiny_bundle: Path, tmp_path: Path, offer: Callable[..., object]
) -> None:
    pytest.importorskip("onnx")
    offer("sound")
    made = tofa_edge.export(tiny_bundle, tmp_path / "parts.onnx")
    assert (made.checked_by, made.difference) == (None, None)
    assert made.not_checked == "engine missing: no backend onnxruntime"
    assert made.path.exists()


def test_other_files_are_safe(tiny_bundle: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"parts.{kind}"
    path.write_text("mine")
    with pytest.raises(ExportError, match="exists: choose another name"):
        tofa_edge.export(tiny_bundle, path)
    assert path.read_text() == "mine"
    assert tofa_edge.export(tiny_bundle, path, overwrite=True).size_bytes > 1000


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("parts.png", "wanted --format tflite or onnx, got 'png'"),
        ("parts", "wanted --format tflite or onnx, got 'parts'"),
        ("nowhere/parts.onnx", "there is no folder"),
        (".", "wanted --format"),
        ("folder.onnx", "is a folder"),
    ],
)
def test_bad_places_are_refused_at_once(
    tiny_bundle: Path, tmp_path: Path, name: str, said: str
) -> None:
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(ExportError, match=said):
        tofa_edge.export(tiny_bundle, tmp_path / name)


def test_budget_and_subnet_contradict(tiny_bundle: Path, tmp_path: Path) -> None:
    subnet = Bundle.open(tiny_bundle).space.smallest()
    with pytest.raises(LimitError, match="wanted a budget or a subnet"):
        tofa_edge.export(tiny_bundle, tmp_path / "a.onnx", subnet=subnet, latency_ms=3)
    with pytest.raises(LimitError, match="wanted a budget or a subnet"):
        tofa_edge.deploy(tiny_bundle, subnet=subnet, latency_ms=3)


def test_folder_that_takes_no_files(tiny_bundle: Path) -> None:
    with pytest.raises(ExportError, match=r"cannot be written|not writable"):
        tofa_edge.export(tiny_bundle, "/proc/parts.onnx")


FULL_DISK = """
import resource, sys, tofa_edge
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
try:
    tofa_edge.export(*sys.argv[1:])
except tofa_edge.ExportError as error:
    print(error)
"""


def test_full_disk_leaves_nothing(tiny_bundle: Path, tmp_path: Path, kind: str) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(tiny_bundle), str(tmp_path / f"parts.{kind}")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "cannot be written: File too large; nothing is left" in done.stdout
    assert not list(tmp_path.iterdir())
