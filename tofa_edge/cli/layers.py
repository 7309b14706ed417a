"""What `inspect --layers` says: the layers of one subnet, and how each would be computed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tofa_edge.architecture.cost import layer_macs, layer_parameters
from tofa_edge.architecture.layers import Convolution, Layer, Linear, layers
from tofa_edge.architecture.space import Subnet
from tofa_edge.budget import MAX_ACCURACY_DROP
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cutting.accuracy_drop import drop, logits_of, photos_of
from tofa_edge.cutting.cutter import Cutter
from tofa_edge.cutting.ranges import RANGE_IMAGES, ready
from tofa_edge.cutting.sensitivity import KEPT, sensitivities, with_sensitive_layers_in_float
from tofa_edge.errors import BackendError
from tofa_edge.selftest.records import calibrating_engine, passing_engines

COLUMNS = ("layer", "output", "kernel", "MMACs", "weights")
ROUNDED = ("as", "8-bit error")  # of the logits, when the weights of this layer alone are rounded


def layer_rows(
    path: Path, subnet: Subnet | None, rounded: bool
) -> tuple[Sequence[str], list[tuple[str, ...]], str]:
    """Returns column names, a row for each layer, and what else is to be said."""
    bundle = Bundle.open(path)
    chosen = subnet or bundle.space.largest()
    rows = [_row(layer) for layer in layers(bundle.space, chosen)]
    if not rounded:
        return COLUMNS, rows, str(chosen)
    errors, kept, said = _rounding(bundle, chosen)
    rows = [
        (
            *row,
            "" if row[0] not in errors else "fp32" if row[0] in kept else "int8",
            f"{errors[row[0]]:.1%}" if row[0] in errors else "",
        )
        for row in rows
    ]
    return (*COLUMNS, *ROUNDED), rows, f"{chosen}: {said}"


def _rounding(bundle: Bundle, subnet: Subnet) -> tuple[dict[str, float], Sequence[str], str]:
    """Returns errors by layer, the layers that would stay in float, and what rounding costs."""
    able = [e for e in passing_engines(bundle, threads=1) if e.target.precision == "int8"]
    if not able:
        raise BackendError("no engine here computes in int8: pip install 'tofa-edge[onnxruntime]'")
    engine, by, cutter = able[0], calibrating_engine(bundle), Cutter(bundle)
    exact = cutter.network(subnet, by)
    seen = cutter.images(subnet.resolution)[:RANGE_IMAGES]
    images, labels = photos_of(bundle, cutter, subnet.resolution)
    wanted, network = logits_of(exact, by, images), ready(exact, engine.target, seen, by)
    lost = drop(wanted, logits_of(network, engine, images), bundle.temperature, labels)
    refused = lost.refusal(MAX_ACCURACY_DROP)
    if refused:
        network = with_sensitive_layers_in_float(exact, seen, engine, by)
    errors = {item.layer: item.error for item in sensitivities(exact, seen, engine, by)}
    kept = network.quantisation.kept if network.quantisation else ()
    tail = f"; so the {KEPT} most sensitive layers stay in float" if refused else ""
    return errors, kept, f"on {engine} {lost}{tail}"


def _row(layer: Layer) -> tuple[str, ...]:
    kernel = ""
    if isinstance(layer, Convolution):
        made, size = layer.out_channels, layer.out_size
        kernel = f"{layer.kernel}×{layer.kernel}/{layer.stride}"
        kernel += " dw" if layer.depthwise else ""
    elif isinstance(layer, Linear):
        made, size = layer.out_features, 1
    else:
        made, size = layer.channels, getattr(layer, "size", 1)
    cost = f"{layer_macs(layer) / 1e6:.2f}" if layer_macs(layer) else ""
    count = f"{layer_parameters(layer):,}" if layer_parameters(layer) else ""
    return layer.name, f"{made}×{size}×{size}", kernel, cost, count
