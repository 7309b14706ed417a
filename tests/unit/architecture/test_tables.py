"""The lookup tables give what `layers` gives, for every space."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tofa_edge.architecture.arrays import IndexArray
from tofa_edge.architecture.cost import macs, parameters, peak_activation_bytes
from tofa_edge.architecture.layers import layers
from tofa_edge.architecture.space import SearchSpace
from tofa_edge.architecture.tables import tables
from tofa_edge.architecture.work import Column, layer_costs
from tofa_edge.architecture.zoo import SPACES, named, tiny
from tofa_edge.errors import SubnetError


def assert_same(space: SearchSpace, genes: IndexArray) -> None:
    costs, columns = tables(space).costs(genes), tables(space).columns
    for row, vector in enumerate(genes):
        network = layers(space, space.decode(vector))
        assert costs.macs[row] == macs(network)
        assert costs.parameters[row] == parameters(network)
        assert costs.peak_activation_bytes[row] == peak_activation_bytes(network)
        amounts: dict[Column, int] = defaultdict(int)
        for layer in network:
            for column, amount in layer_costs(layer):
                amounts[column] += amount
        assert set(amounts) <= set(columns)
        np.testing.assert_array_equal(costs.features[row], [amounts[column] for column in columns])


@pytest.mark.parametrize("name", SPACES)
@settings(deadline=None, max_examples=12)
@given(st.data())
def test_tables_say_what_layers_say(name: str, data: st.DataObject) -> None:
    space = named(name)
    vectors = st.tuples(*(st.integers(0, size - 1) for size in space.cardinalities()))
    assert_same(space, np.array(data.draw(st.lists(vectors, min_size=1, max_size=3))))


@pytest.mark.parametrize("name", SPACES)
def test_ends_and_middle(name: str) -> None:
    space = named(name)
    ends = (space.smallest(), space.middle(), space.largest())
    assert_same(space, np.stack([space.encode(subnet) for subnet in ends]))


def test_macs_are_those_of_the_columns() -> None:
    space = named("mobilenet_v3")
    genes = np.random.default_rng(0).integers(
        0, space.cardinalities(), (50, len(space.cardinalities()))
    )
    counted = [column.kind in ("dense", "depthwise") for column in tables(space).columns]
    costs = tables(space).costs(genes)
    np.testing.assert_array_equal(costs.features[:, counted].sum(axis=1), costs.macs)


def test_no_encodings_give_no_costs() -> None:
    costs = tables(tiny()).costs(np.zeros((0, len(tiny().cardinalities())), np.int64))
    assert costs.macs.shape == costs.peak_activation_bytes.shape == (0,)


@pytest.mark.parametrize("change", [-1, 99])
def test_an_index_outside_its_choices_is_refused(change: int) -> None:
    genes = np.zeros((2, len(tiny().cardinalities())), np.int64)
    genes[1, 3] = change
    with pytest.raises(SubnetError, match="encoding 1: choice 3 must be in 0"):
        tables(tiny()).costs(genes)


@pytest.mark.parametrize("genes", [np.zeros(13, np.int64), np.zeros((2, 5), np.int64)])
def test_another_shape_is_refused(genes: IndexArray) -> None:
    with pytest.raises(SubnetError, match="wanted integer encodings"):
        tables(tiny()).costs(genes)
