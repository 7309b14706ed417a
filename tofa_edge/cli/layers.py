"""What `inspect --layers` prints: the layers of one subnet, and what 8-bit weights do to each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tofa_edge.architecture.cost import layer_macs, layer_parameters, output_shape
from tofa_edge.architecture.layers import Convolution, Layer, layers
from tofa_edge.architecture.space import Subnet
from tofa_edge.budget import MAX_ACCURACY_DROP
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cutting.accuracy_drop import drop, logits_of, photos_of
from tofa_edge.cutting.cutter import Cutter
from tofa_edge.cutting.ranges import RANGE_IMAGES, ready
from tofa_edge.cutting.sensitivity import KEPT, sensitivities, with_sensitive_layers_in_float
from tofa_edge.errors import BackendError
from tofa_edge.selftest.calibrating import calibrating_engine
from tofa_edge.selftest.records import passing_engines

COLUMNS = ("layer", "output", "kernel", "MMACs", "weights")
ROUNDED = ("as", "8-bit error")  # of the logits, when the weights of this layer alone are rounded


def layer_rows(
    path: Path, subnet: Subnet | None, rounded: bool
) -> tuple[Sequence[str], list[tuple[str, ...]], str]:
    """Returns column names, a row for each layer, and a summary."""
    bundle = Bundle.open(path)
    chosen = subnet or bundle.space.largest()
    rows = [_row(layer) for layer in layers(bundle.space, chosen)]
    if not rounded:
        return COLUMNS, rows, str(chosen)
    errors, kept, cost = _rounding(bundle, chosen)
    added = {n: ("fp32" if n in kept else "int8", f"{error:.1%}") for n, error in errors.items()}
    rows = [(*row, *added.get(row[0], ("", ""))) for row in rows]
    return (*COLUMNS, *ROUNDED), rows, f"{chosen}: {cost}"


def _rounding(bundle: Bundle, subnet: Subnet) -> tuple[dict[str, float], Sequence[str], str]:
    """Returns errors by layer, the layers that would stay in float, and what rounding costs."""
    engines = [e for e in passing_engines(bundle, threads=1) if e.target.precision == "int8"]
    if not engines:
        raise BackendError("no engine here computes in int8: pip install 'tofa-edge[onnxruntime]'")
    engine, calibrator, cutter = engines[0], calibrating_engine(bundle), Cutter(bundle)
    exact = cutter.network(subnet, calibrator)
    range_images = cutter.images(subnet.resolution)[:RANGE_IMAGES]
    images, labels = photos_of(bundle, cutter, subnet.resolution)
    exact_logits = logits_of(exact, calibrator, images)
    network = ready(exact, engine.target, range_images, calibrator)
    cost = drop(exact_logits, logits_of(network, engine, images), bundle.temperature, labels)
    is_refused = bool(cost.refusal(MAX_ACCURACY_DROP))
    if is_refused:
        network = with_sensitive_layers_in_float(exact, range_images, engine, calibrator)
    errors = {s.layer: s.error for s in sensitivities(exact, range_images, engine, calibrator)}
    kept = network.quantisation.kept if network.quantisation else ()
    tail = f"; so the {KEPT} most sensitive layers stay in float" if is_refused else ""
    return errors, kept, f"on {engine} {cost}{tail}"


def _row(layer: Layer) -> tuple[str, ...]:
    kernel = ""
    if isinstance(layer, Convolution):
        kernel = f"{layer.kernel}×{layer.kernel}/{layer.stride}"
        kernel += " dw" if layer.depthwise else ""
    channels, size = output_shape(layer)
    cost = f"{layer_macs(layer) / 1e6:.2f}" if layer_macs(layer) else ""
    count = f"{layer_parameters(layer):,}" if layer_parameters(layer) else ""
    return layer.name, f"{channels}×{size}×{size}", kernel, cost, count
