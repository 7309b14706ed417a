"""export(): one subnet of a bundle as a file for other programs, checked before it is there."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tofa_edge import backends
from tofa_edge._version import __version__
from tofa_edge.architecture.space import Subnet
from tofa_edge.backends.labelling import PROBABILITIES, Labelling
from tofa_edge.backends.protocol import Engine, Target
from tofa_edge.budget import MAX_ACCURACY_DROP
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cutting.accuracy_drop import Drop, drop, logits_of, photos_of, softmax
from tofa_edge.cutting.cutter import Cutter
from tofa_edge.cutting.ranges import NARROW_LEVELS, ready
from tofa_edge.deployment.deploy import deployed
from tofa_edge.deployment.request import DeployOptions, checked_limits, requested
from tofa_edge.errors import BackendError, BudgetError, ExportError, LimitError
from tofa_edge.network.integers import MOST_LEVELS
from tofa_edge.network.network import Network
from tofa_edge.selftest.calibrating import calibrating_engine
from tofa_edge.selftest.golden import difference, reference_logits, specimen_images, tolerance
from tofa_edge.selftest.records import passing_engines
from tofa_edge.storage.files import check_place, whole_file

ENGINES = {"tflite": "tflite", "onnx": "onnxruntime"}  # by format: what runs it here
PRECISIONS = {"tflite": ("fp32", "int8", "dynamic"), "onnx": ("fp32", "int8")}
WEIGHT_LEVELS = {7: NARROW_LEVELS, 8: MOST_LEVELS}  # by bits
SAFE_WEIGHT_BITS = 7
CHECKED_IMAGES = 2
LOGIT_IMAGES = 8  # to know how large this network's logits are


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
        weight_bits: of its integer weights, 7 or 8; None in float.
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
    weight_bits: int | None = None
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
    weight_bits: int | None = None,
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
        weight_bits: of integer weights. By default 7, right on every processor: which one will run
            the file is unknown. 8 rounds half as coarsely, but on x86 processors
            without VNNI sums saturate, and predictions may be wrong; Arm processors take it.
        overwrite: whether a file of that name may be replaced.

    Raises:
        ExportError: the format is unknown, the file exists, or it cannot be written.
        BackendError: the writer's package is missing, or the file computes wrong numbers.
        BundleError: the bundle is damaged, or has too few photos to calibrate with.
        BudgetError: nothing is within the budget, or integers cost more than a point of accuracy.
        LimitError: a budget and a subnet are given, or `weight_bits` is not 7 or 8, or given for a
            precision in float.
        SubnetError: the bundle's space does not contain the subnet.
    """
    path, target = Path(path), Target(precision=precision)
    kind = _format(path, format, precision)
    bits = _weight_bits(weight_bits, target)
    check_place(path, overwrite, ExportError)
    budget = checked_limits(latency_ms, memory_mb, None, subnet)
    request = requested(bundle, budget, subnet, DeployOptions(precision=precision))
    opened = request.bundle
    checker, measured = _checker(opened, kind, target), ""
    if not budget.is_free:
        name = checker.backend.name if checker else None
        options = DeployOptions(backend=name, precision=precision)
        chosen = requested(opened, budget, None, options)
        with deployed(chosen, remember=True, unknown_below=0.0) as model:
            subnet, measured = model.subnet, str(model.explanation.chosen)
    subnet = subnet or opened.space.largest()
    cutter, by = Cutter(opened), calibrating_engine(opened)
    network = exact = cutter.network(subnet, by)
    lost = None
    if bits is not None:
        images = cutter.images(subnet.resolution)
        network = ready(exact, target, images, by, WEIGHT_LEVELS[bits])
        lost = _drop(opened, cutter, exact, network, by, checker)
    content = _content(kind, network, _labelling(opened, subnet), target)
    exported = Exported(
        path, kind, subnet, subnet.resolution, len(content), measured,
        precision=precision, weight_bits=bits, drop=lost,
    )  # fmt: skip
    return _written(exported, content, opened, network, exact, checker, overwrite)


def _format(path: Path, format: str | None, precision: str) -> str:
    kind = format or path.suffix.removeprefix(".").lower()
    if kind not in ENGINES:
        raise ExportError(f"wanted --format {' or '.join(ENGINES)}, got {kind or path.name!r}")
    if precision not in PRECISIONS[kind]:
        able = ", ".join(PRECISIONS[kind])
        raise ExportError(f"{kind}: wanted a precision of {able}, got {precision}")
    return kind


def _weight_bits(bits: int | None, target: Target) -> int | None:
    """Returns the bits of integer weights; None for a precision in float."""
    if not target.is_integer and bits is not None:
        raise LimitError(
            f"wanted --weight-bits with int8 or dynamic, got {target.precision}: leave it out, or "
            "choose one of these precisions"
        )
    if bits is not None and bits not in WEIGHT_LEVELS:
        raise LimitError(f"wanted --weight-bits 7 or 8, got {bits}")
    return (bits or SAFE_WEIGHT_BITS) if target.is_integer else None


def _checker(bundle: Bundle, kind: str, target: Target) -> Engine | None:
    """Returns the format's engine on a target, where it works."""
    able = [e for e in passing_engines(bundle) if e.backend.name == ENGINES[kind]]
    return next((engine for engine in able if engine.target == target), None)


def _drop(
    bundle: Bundle,
    cutter: Cutter,
    exact: Network,
    network: Network,
    by: Engine,
    checker: Engine | None,
) -> Drop | None:
    """Returns what integers cost; None where no engine here computes them."""
    if checker is None:
        return None
    images, labels = photos_of(bundle, cutter, exact.input_size)
    logits, rounded = logits_of(exact, by, images), logits_of(network, checker, images)
    lost = drop(logits, rounded, bundle.temperature, labels)
    reason = lost.refusal(MAX_ACCURACY_DROP)
    if reason:
        raise BudgetError(
            f"{reason}; nothing was written: export it in fp32, or with --weight-bits 8 if it does "
            "not run on x86 processors without VNNI"
        )
    return lost


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
    overwrite: bool,
) -> Exported:
    """Writes a file under a temporary name, checks what is on the disk, and renames it."""
    path = exported.path
    try:
        with whole_file(path, overwrite=overwrite) as stream:
            stream.write(content)
            stream.flush()
            if checker is None:
                return replace(exported, not_checked=_absence(exported.format))
            written = Path(stream.name).read_bytes()
            wrong = _difference(written, checker, bundle, network, exact)
            return replace(exported, checked_by=checker.backend.version(), difference=wrong)
    except OSError as error:
        reason = error.strerror or error
        raise ExportError(f"{path}: cannot be written: {reason}; nothing is left of it") from error


def _absence(kind: str) -> str:
    name = ENGINES[kind]
    backend = backends.backends().get(name)
    missing = backend.missing() if backend else f"no backend {name}"
    return f"engine missing: {missing}" if missing else f"{name} does not work here, see doctor"


def _difference(
    content: bytes, engine: Engine, bundle: Bundle, network: Network, exact: Network
) -> float:
    """Returns how far a file's probabilities are from the reference's, at most."""
    images = bundle.calibration_images(network.input_size, CHECKED_IMAGES)
    if len(images) < CHECKED_IMAGES:  # on noise, probabilities may be 0 and 1 whatever is wrong
        images = specimen_images(network.input_size)
    logits = reference_logits(network, images)
    largest, rounding = float(np.abs(logits).max()), 0.0
    if network is not exact:
        photos = bundle.calibration_images(network.input_size, LOGIT_IMAGES)
        largest = max(largest, float(np.abs(reference_logits(exact, photos)).max(initial=0.0)))
        rounding = difference(logits, reference_logits(exact, images), largest)
    with closing(engine.backend.load(content, engine.target)) as session:
        whole = session.run(images)[PROBABILITIES]
        single = session.run(images[:1])[PROBABILITIES]
    wanted = softmax(logits / np.float32(bundle.temperature))
    wrong = float(max(np.abs(whole - wanted).max(), np.abs(single - wanted[:1]).max()))
    allowed = tolerance(engine.target, rounding) * largest / bundle.temperature
    if not wrong <= allowed:  # NaN is wrong, too
        raise BackendError(
            f"{engine}: probabilities of the file are {wrong:.1e} off, {allowed:.1e} are allowed; "
            "nothing was written"
        )
    return wrong
