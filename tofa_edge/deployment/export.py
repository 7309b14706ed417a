"""export(): one subnet of a bundle as a file for other programs, checked before it is there."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tofa_edge import backends
from tofa_edge._version import __version__
from tofa_edge.architecture.arrays import ImageArray
from tofa_edge.architecture.space import Subnet
from tofa_edge.backends.labelling import PROBABILITIES, Labelling
from tofa_edge.backends.protocol import Engine, Target
from tofa_edge.budget import MAX_ACCURACY_DROP, Budget
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cutting.accuracy_drop import Drop, drop, logits_of, photos_of, softmax
from tofa_edge.cutting.cutter import Cutter
from tofa_edge.cutting.ranges import ready
from tofa_edge.deployment.deploy import deploy
from tofa_edge.errors import BackendError, BudgetError, ExportError
from tofa_edge.network.network import Network
from tofa_edge.selftest.golden import difference, reference_logits, specimen_images, tolerance
from tofa_edge.selftest.records import calibrating_engine, passing_engines
from tofa_edge.storage.files import whole_file

ENGINES = {"tflite": "tflite", "onnx": "onnxruntime"}  # by format: what runs it here
PRECISIONS = {"tflite": ("fp32", "int8", "dynamic"), "onnx": ("fp32", "int8")}
CHECKED_IMAGES = 2
SEEN_IMAGES = 8  # to know how large this network's logits are


@dataclass(frozen=True, slots=True)
class Exported:
    """A file that was written.

    Attributes:
        path: of the file.
        format: "tflite" or "onnx".
        subnet: its architecture.
        input_size: height and width of its input in pixels.
        size_bytes: of the file.
        measured: what it was chosen by: engine and latency here; empty without a budget.
        checked_by: the engine and its version that computed the reference's probabilities with the
            file; None where there is no such engine.
        difference: the largest between the probabilities of both; None where it was not checked.
        not_checked: why; empty where it was.
        precision: that its weights and values are stored in.
        drop: what integers cost; None in float.
    """

    path: Path
    format: str
    subnet: Subnet
    input_size: int
    size_bytes: int
    measured: str = ""
    checked_by: str | None = None
    difference: float | None = None
    not_checked: str = ""
    precision: str = "fp32"
    drop: Drop | None = None


def export(
    bundle: str | Path | Bundle,
    path: str | Path,
    *,
    format: str | None = None,
    subnet: Subnet | None = None,
    latency_ms: float | None = None,
    memory_mb: float | None = None,
    precision: str = "fp32",
    overwrite: bool = False,
) -> Exported:
    """Writes a subnet, calibrated and folded, as a file that needs neither bundle nor this package.

    Its input is uint8 RGB (batch, S, S, 3), normalised inside; its only output `probabilities`,
    float32 (batch, classes). TFLite files carry metadata and labels.txt, ONNX files properties.
    With a budget: the subnet that `deploy` chooses here, on the format's engine where it works.
    With `subnet`: that one. With neither: the largest.

    Args:
        bundle: a `.tofa` file, or one already opened.
        path: of the file to write, under another name until it is whole and checked.
        format: "tflite" or "onnx"; by default what the file's name ends with.
        subnet: the very architecture.
        latency_ms: bounds the p95 of one prediction, measured here.
        memory_mb: bounds by how much the process grows, in MB of 1e6 bytes.
        precision: "fp32", "int8", or for TFLite "dynamic". What integers cost is measured on the
            bundle's photos, and may be a point of accuracy.
        overwrite: whether a file of that name may be replaced.

    Raises:
        ExportError: the format is unknown, the file exists, or it cannot be written.
        BackendError: the writer's package is missing, or the file computes wrong numbers.
        BundleError: the bundle is damaged, or has too few photos to calibrate with.
        BudgetError: nothing is within the budget, a subnet is given besides, or integers cost more
            than a point of accuracy.
        SubnetError: the bundle's space does not contain the subnet.
    """
    path = Path(path)
    kind = _format(path, format, precision)
    _check_place(path, overwrite)
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    budget, measured = Budget(latency_ms=latency_ms, memory_mb=memory_mb), ""
    target = Target(precision=precision)
    if subnet is not None:
        if not budget.is_free:
            raise BudgetError(f"wanted a budget or a subnet, got {budget} and {subnet}")
        opened.space.validate(subnet)
    checker = _checker(opened, kind, target)
    if not budget.is_free:
        name = checker.backend.name if checker else None
        with deploy(opened, budget=budget, backend=name, precision=precision) as model:
            subnet, measured = model.subnet, str(model.explanation.chosen)
    subnet = subnet or opened.space.largest()
    cutter, by = Cutter(opened), calibrating_engine(opened)
    network = exact = cutter.network(subnet, by)
    if target.is_integer:
        network = ready(exact, target, cutter.images(subnet.resolution), by)
    lost = _drop(opened, cutter, exact, network, by, checker) if target.is_integer else None
    content = _content(kind, network, _labelling(opened, subnet), target)
    exported = Exported(
        path, kind, subnet, subnet.resolution, len(content), measured,
        precision=precision, drop=lost,
    )  # fmt: skip
    return _written(exported, content, opened, network, exact, checker)


def _drop(
    bundle: Bundle, cutter: Cutter, exact: Network, network: Network, by: Engine,
    checker: Engine | None,
) -> Drop | None:  # fmt: skip
    """Returns what integers cost; None where nothing here computes them."""
    if checker is None:
        return None
    images, labels = photos_of(bundle, cutter, exact.input_size)
    lost = drop(logits_of(exact, by, images), logits_of(network, checker, images),
                bundle.temperature, labels)  # fmt: skip
    reason = lost.refusal(MAX_ACCURACY_DROP)
    if reason:
        raise BudgetError(f"{reason}; nothing was written: export it in fp32")
    return lost


def _format(path: Path, wanted: str | None, precision: str) -> str:
    found = wanted or path.suffix.removeprefix(".").lower()
    if found not in ENGINES:
        known = " or ".join(ENGINES)
        raise ExportError(f"wanted --format {known}, got {found or path.name!r}")
    if precision not in PRECISIONS[found]:
        able = ", ".join(PRECISIONS[found])
        raise ExportError(f"{found}: wanted a precision of {able}, got {precision}")
    return found


def _check_place(path: Path, overwrite: bool) -> None:
    """Says before minutes of measuring what would fail after them."""
    if path.is_dir():
        raise ExportError(f"{path} is a folder: name a file in it")
    if path.exists() and not overwrite:
        raise ExportError(f"{path} exists: choose another name, or --force (overwrite=True)")
    if not path.parent.is_dir():
        raise ExportError(f"{path}: there is no folder {path.parent}: make it first")
    if not os.access(path.parent, os.W_OK):
        raise ExportError(f"{path}: the folder {path.parent} is not writable: choose another one")


def _checker(bundle: Bundle, kind: str, target: Target) -> Engine | None:
    """Returns the format's engine on a target, where it works."""
    for engine in passing_engines(bundle):
        if engine.backend.name == ENGINES[kind] and engine.target == target:
            return engine
    return None


def _labelling(bundle: Bundle, subnet: Subnet) -> Labelling:
    crop = bundle.preprocessing.crop
    whole = "the whole photo" if crop == 1 else f"the central {crop:g} of the shorter side"
    about = {
        "subnet": subnet.to_json(),
        "framing": f"{whole}, square, resized to {subnet.resolution} × {subnet.resolution}",
        "bundle": f"sha256 {bundle.digest}",
    }
    return Labelling(bundle.classes, bundle.temperature, about, __version__)


def _content(kind: str, network: Network, labelling: Labelling, target: Target) -> bytes:
    """Returns the file; its writer's package is loaded only now."""
    package = "flatbuffers" if kind == "tflite" else "onnx"
    integers = network.quantisation is not None
    try:
        if kind == "tflite" and integers:
            from tofa_edge.backends.tflite.integer import write_tflite_quantised

            return write_tflite_quantised(network, target.precision, labelling)
        if kind == "tflite":
            from tofa_edge.backends.tflite.float import write_tflite

            return write_tflite(network, labelling)
        if integers:
            from tofa_edge.backends.onnx.integer import Scheme, write_onnx_int8

            return write_onnx_int8(network, Scheme(), labelling)
        from tofa_edge.backends.onnx.float import write_onnx

        return write_onnx(network, labelling=labelling)
    except ImportError as error:
        raise BackendError(
            f"{kind} wants the package {package}: pip install 'tofa-edge[{ENGINES[kind]}]'"
        ) from error


def _written(
    exported: Exported,
    content: bytes,
    bundle: Bundle,
    network: Network,
    exact: Network,
    checker: Engine | None,
) -> Exported:
    """Writes a file under a temporary name, checks what is on the disk, and renames it."""
    path = exported.path
    try:
        with whole_file(path) as stream:
            stream.write(content)
            stream.flush()
            if checker is None:
                return replace(exported, not_checked=_absence(exported.format))
            written = Path(stream.name).read_bytes()
            found = _difference(written, checker, bundle, network, exact)
            by = checker.backend.version()
            return replace(exported, checked_by=by, difference=found)
    except OSError as error:
        reason = error.strerror or error
        raise ExportError(f"{path}: cannot be written: {reason}; nothing is left of it") from error


def _absence(kind: str) -> str:
    name = ENGINES[kind]
    found = backends.backends().get(name)
    missing = found.missing() if found else f"no backend {name}"
    return f"engine missing: {missing}" if missing else f"{name} does not work here, see doctor"


def _difference(
    content: bytes, engine: Engine, bundle: Bundle, network: Network, exact: Network
) -> float:
    """Returns how far a file's probabilities are from the reference's, at most."""
    images = _images(bundle, network.input_size)
    logits = reference_logits(network, images)
    largest, rounding = float(np.abs(logits).max()), 0.0
    if network is not exact:
        seen = bundle.calibration_images(network.input_size, SEEN_IMAGES)
        largest = max(largest, float(np.abs(reference_logits(exact, seen)).max(initial=0.0)))
        rounding = difference(logits, reference_logits(exact, images), largest)
    session = engine.backend.load(content, engine.target)
    try:
        whole = session.run(images)[PROBABILITIES]
        single = session.run(images[:1])[PROBABILITIES]
    finally:
        session.close()
    wanted = softmax(logits / np.float32(bundle.temperature))
    found = float(max(np.abs(whole - wanted).max(), np.abs(single - wanted[:1]).max()))
    allowed = tolerance(engine.target, rounding) * largest / bundle.temperature
    if not found <= allowed:  # not a number is wrong, too
        raise BackendError(
            f"{engine}: probabilities of the file are {found:.1e} off, {allowed:.1e} are allowed; "
            "nothing was written"
        )
    return found


def _images(bundle: Bundle, size: int) -> ImageArray:
    """Photos of the bundle: on noise, probabilities may be 0 and 1 whatever is wrong."""
    photos = bundle.calibration_images(size, CHECKED_IMAGES)
    return photos if len(photos) == CHECKED_IMAGES else specimen_images(size)
