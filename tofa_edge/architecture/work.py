"""What a network costs by kind of work, in named columns: what its latency depends on.

A device has a speed for each kind of work (dense multiply-accumulates, depthwise ones, memory
traffic, launching a layer), and the speed differs with the kernel size and with the stage, that is,
with the size of the maps. So costs are counted apart by kind, operator and place.

"dense" and "depthwise" columns count multiply-accumulates, "traffic" the numbers read and written,
"layers" the layers. Places are "stem", "stage0", … and "tail", all that comes after the last stage.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tofa_edge.architecture.cost import layer_macs, layer_parameters, value_elements
from tofa_edge.architecture.layers import Convolution, GlobalPool, Layer, Linear


def layer_costs(layer: Layer) -> Iterator[tuple[Column, int]]:
    """Yields the columns a layer adds to, and how much, for one image."""
    operator, place = operator_name(layer), place_name(layer)
    macs = layer_macs(layer)
    if macs:
        kind = "depthwise" if operator.startswith("depthwise") else "dense"
        yield Column(kind, operator, place), macs
    merged = operator if operator != "convolution" else "pointwise"
    yield Column("traffic", merged, place), _elements_read(layer) + value_elements(layer)
    if macs:
        yield Column("traffic", "weights", place), layer_parameters(layer)
    yield Column("layers", operator, place), 1


def operator_name(layer: Layer) -> str:
    """Returns what a layer computes, as far as its speed depends on it."""
    if isinstance(layer, Convolution):
        if layer.depthwise:
            return f"depthwise{layer.kernel}"
        if layer.kernel > 1:
            return "convolution"
        return "squeeze" if layer.in_size == 1 else "pointwise"
    return {"Linear": "squeeze", "GlobalPool": "pool"}.get(type(layer).__name__, "elementwise")


def place_name(layer: Layer) -> str:
    """Returns the stage of a layer; "tail" after the last one."""
    first = layer.name.split("_")[0]
    return first if first.startswith("st") else "tail"


def _elements_read(layer: Layer) -> int:
    if isinstance(layer, Convolution):
        return layer.in_channels * layer.in_size**2
    if isinstance(layer, Linear):
        return layer.in_features
    if isinstance(layer, GlobalPool):
        return layer.channels * layer.size**2
    return value_elements(layer) * len(layer.inputs)


@dataclass(frozen=True, slots=True)
class Column:
    """One cost of a network: what is counted, by which operator, and where.

    Columns of one kind are added up, so they must have one unit. Columns that share a kind, an
    operator within a kind, or a place are expected to have similar speeds.

    Attributes:
        kind: what is counted, such as MACs or bytes.
        operator: that it is counted of.
        place: the stage.
    """

    kind: str
    operator: str
    place: str
