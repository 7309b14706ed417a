"""Search spaces and subnets as values."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tofa_edge.architecture.space import (
    Block,
    SearchSpace,
    Stage,
    StageSpace,
    Subnet,
    round_to_eight,
)
from tofa_edge.architecture.zoo import SPACES, mobilenet_v3, named, tiny
from tofa_edge.errors import SpaceError, SubnetError

NAMED = {name: named(name) for name in SPACES}
LITES = [name for name in SPACES if name.startswith("lite")]
spaces = st.sampled_from(list(NAMED.values()))
seeds = st.integers(0, 2**32 - 1)


def changed(subnet: Subnet, stage: int, block: int | None, **fields: Any) -> Subnet:
    """The subnet with fields of one stage or block replaced."""
    stages = list(subnet.stages)
    if block is not None:
        blocks = list(stages[stage].blocks)
        blocks[block] = dataclasses.replace(blocks[block], **fields)
        fields = {"blocks": tuple(blocks)}
    stages[stage] = dataclasses.replace(stages[stage], **fields)
    return dataclasses.replace(subnet, stages=tuple(stages))


def every_stage(stage: StageSpace) -> Iterator[Stage]:
    choices = [Block(k, e) for k, e in itertools.product(stage.kernels, stage.expands)]
    for width, depth in itertools.product(stage.widths, stage.depths):
        for blocks in itertools.product(choices, repeat=depth):
            yield Stage(width, blocks)


@given(spaces, seeds)
def test_sampled_subnet_survives_json_and_vector(space: SearchSpace, seed: int) -> None:
    subnet = space.sample(np.random.default_rng(seed))
    space.validate(subnet)
    assert Subnet.from_json(subnet.to_json()) == subnet
    vector = space.encode(subnet)
    assert vector.shape == (len(space.cardinalities()),)
    assert (vector < space.cardinalities()).all()
    assert space.decode(vector) == subnet


@given(spaces, seeds)
def test_dropped_blocks_do_not_matter(space: SearchSpace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vector = rng.integers(0, space.cardinalities())
    subnet = space.decode(vector)
    assert space.decode(space.encode(subnet)) == subnet
    assert (space.encode(subnet) <= vector).all()


@given(spaces, seeds, st.floats(0.01, 1.0))
def test_mutation_is_another_valid_subnet(
    space: SearchSpace, seed: int, probability: float
) -> None:
    rng = np.random.default_rng(seed)
    subnet = space.sample(rng)
    child = space.mutate(subnet, rng, probability)
    space.validate(child)
    assert child != subnet


def test_rare_mutation_stays_near() -> None:
    space, rng = NAMED["lite0"], np.random.default_rng(0)
    subnet = space.largest()
    changes = [
        int((space.encode(space.mutate(subnet, rng, 0.02)) != space.encode(subnet)).sum())
        for _ in range(50)
    ]
    assert np.mean(changes) < len(space.cardinalities()) / 4


def test_only_subnet_cannot_mutate() -> None:
    stage = StageSpace((8,), (1,), (3,), (1,), 1, "relu")
    space = dataclasses.replace(tiny(), resolutions=(32,), stages=(stage,))
    assert space.count() == 1
    with pytest.raises(SubnetError, match="one subnet only"):
        space.mutate(space.largest(), np.random.default_rng(0))


def test_count_equals_enumeration() -> None:
    space = tiny()
    stages = list(itertools.product(*map(every_stage, space.stages)))
    subnets = {Subnet(size, made) for size in space.resolutions for made in stages}
    assert space.count() == len(subnets) == 6400
    assert {space.decode(space.encode(subnet)) for subnet in subnets} == subnets


def test_sampling_follows_the_generator() -> None:
    drawn = [NAMED["lite0"].sample(np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("name", SPACES)
def test_ends_are_first_and_last_choices(name: str) -> None:
    space = NAMED[name]
    for subnet, end in ((space.smallest(), 0), (space.largest(), -1)):
        assert subnet.resolution == space.resolutions[end]
        for stage, choices in zip(subnet.stages, space.stages, strict=True):
            assert stage.width == choices.widths[end]
            assert len(stage.blocks) == choices.depths[end]
            assert set(stage.blocks) == {Block(choices.kernels[end], choices.expands[end])}


@pytest.mark.parametrize(
    ("stage", "block", "fields", "message"),
    [
        (1, None, {"width": 17}, "stage 1: width must be one of 8, 16; got 17"),
        (2, None, {"blocks": ()}, "stage 2: depth must be one of 1, 2; got 0"),
        (1, 1, {"kernel": 7}, "stage 1, block 1: kernel must be one of 3, 5; got 7"),
        (2, 0, {"expand": 6}, "stage 2, block 0: expand must be one of 2, 3; got 6"),
    ],
)
def test_message_names_the_choice(
    stage: int, block: int | None, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(SubnetError, match=message):
        tiny().validate(changed(tiny().largest(), stage, block, **fields))


def test_other_resolution_or_stage_number_is_refused() -> None:
    largest = tiny().largest()
    with pytest.raises(SubnetError, match="resolution must be one of 16, 24, 29, 32; got 31"):
        tiny().validate(dataclasses.replace(largest, resolution=31))
    with pytest.raises(SubnetError, match="wanted 3 stages, got 2"):
        tiny().encode(dataclasses.replace(largest, stages=largest.stages[:2]))


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [(0, 4, "choice 0 must be in 0..3, got 4"), (1, -1, "choice 1 must be in 0..0, got -1")],
)
def test_index_out_of_range_is_refused(position: int, value: int, message: str) -> None:
    vector = tiny().encode(tiny().smallest())
    vector[position] = value
    with pytest.raises(SubnetError, match=message):
        tiny().decode(vector)
    with pytest.raises(SubnetError, match="choice indices"):
        tiny().decode(vector[:-1])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"resolution":1}',
        '{"resolution":32.0,"stages":[[8,[[3,1]]]]}',
        '{"resolution":32,"stages":[[8,[[3]]]]}',
        '{"resolution":true,"stages":[]}',
        '{"resolution":32,"stages":[[8,[[3,"1"]]]]}',
        '{"resolution":32,"stages":5}',
        "[" * 100_000,
    ],
)
def test_other_text_is_no_subnet(text: str) -> None:
    with pytest.raises(SubnetError, match="not a subnet"):
        Subnet.from_json(text)


@pytest.mark.parametrize("name", SPACES)
def test_space_survives_json(name: str) -> None:
    space = NAMED[name]
    again = SearchSpace.from_dict(json.loads(json.dumps(space.to_dict())))
    assert again == space
    assert hash(again) == hash(space)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"classes": 0}, "classes must be in"),
        ({"classes": True}, "classes must be in"),
        ({"classes": 10**6}, "classes must be in"),
        ({"stem_width": 0}, "stem_width"),
        ({"feature_width": -1}, "feature_width"),
        ({"resolutions": ()}, "resolutions"),
        ({"resolutions": (32, 16)}, "resolutions"),
        ({"resolutions": (32, 32)}, "resolutions"),
        ({"resolutions": (4, 32)}, "resolutions"),
        ({"resolutions": (32, 2048)}, "resolutions"),
        ({"head_activation": "tanh"}, "activations must be among"),
        ({"padding": "valid"}, "padding"),
        ({"epsilon": 0.0}, "epsilon"),
        ({"epsilon": float("nan")}, "epsilon"),
        ({"stages": ()}, "stages"),
        (
            {"stages": (StageSpace((8,), (13,), (3,), (1,), 1, "relu6"),) * 5},
            "at most 56 blocks",
        ),
        ({"name": 5}, "name"),
        ({"name": "../../settings"}, "part of file names: it must be 1 to 64 letters"),
        ({"name": ".hidden"}, "part of file names"),
        ({"name": "n" * 65}, "part of file names"),
        ({"name": ""}, "part of file names"),
    ],
)
def test_contradictory_space_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        dataclasses.replace(tiny(), **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"widths": (8, 12)}, "stage 1: widths"),
        ({"widths": (16, 8)}, "stage 1: widths"),
        ({"depths": (0, 1)}, "stage 1: depths"),
        ({"depths": (17,)}, "stage 1: depths"),
        ({"kernels": (3, 4)}, "stage 1: kernels"),
        ({"kernels": (11,)}, "stage 1: kernels"),
        ({"expands": (1, 2)}, "stage 1: expand ratio 1"),
        ({"expands": (2.0, 3)}, "stage 1: expand ratios"),
        ({"stride": 3}, "stage 1: stride"),
        ({"activation": "gelu"}, "stage 1: activation"),
        ({"shortcut": True}, "stage 1: a shortcut"),
        ({"shortcut": 1}, "stage 1: flags"),
        ({"widths": (8, 8192), "expands": (2,)}, "stage 1: hidden channels"),
    ],
)
def test_contradictory_stage_is_refused(fields: dict[str, Any], message: str) -> None:
    stages = list(tiny().stages)
    stages[1] = dataclasses.replace(stages[1], **fields)
    with pytest.raises(SpaceError, match=message):
        dataclasses.replace(tiny(), stages=tuple(stages))


@pytest.mark.parametrize(
    "spoil",
    [
        {"classes": "10"},
        {"stages": [{}]},
        {"stages": 7},
        {"stages": [5]},
        {"resolutions": 32},
        {"resolutions": [32.0]},
        {"unknown": 1},
        {"epsilon": 2},
        {"epsilon": "1"},
        {"padding": ["same"]},
        {"stem_activation": {}},
    ],
)
def test_other_dictionary_is_no_space(spoil: dict[str, Any]) -> None:
    with pytest.raises(SpaceError):
        SearchSpace.from_dict({**json.loads(json.dumps(tiny().to_dict())), **spoil})


def test_missing_field_is_refused() -> None:
    value = tiny().to_dict()
    del value["head_width"]
    with pytest.raises(SpaceError, match="head_width"):
        SearchSpace.from_dict(value)


def test_unknown_name_lists_the_others() -> None:
    with pytest.raises(SpaceError, match="lite0, lite1, lite2, tiny, mobilenet_v3"):
        named("lite9")


# EfficientNet-Lite, block by block: (depth coefficient 1.0, 1.1, 1.2) of 1, 2, 2, 3, 3, 4, 1, where
# the first and last stage stay fixed; widths 16, 24, 40, 80, 112, 192, 320 times 1.0, 1.0, 1.1.
PUBLISHED = {
    "lite0": (224, (16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 3, 3, 4, 1)),
    "lite1": (240, (16, 24, 40, 80, 112, 192, 320), (1, 3, 3, 4, 4, 5, 1)),
    "lite2": (260, (16, 24, 48, 88, 120, 208, 352), (1, 3, 3, 4, 4, 5, 1)),
}


@pytest.mark.parametrize("name", LITES)
def test_largest_lite_is_the_published_one(name: str) -> None:
    size, widths, depths = PUBLISHED[name]
    largest = NAMED[name].largest()
    assert largest.resolution == size
    assert tuple(stage.width for stage in largest.stages) == widths
    assert tuple(len(stage.blocks) for stage in largest.stages) == depths
    kernels = [stage.blocks[0].kernel for stage in largest.stages]
    assert kernels == [3, 3, 5, 3, 5, 5, 3]
    assert [stage.blocks[0].expand for stage in largest.stages] == [1, 6, 6, 6, 6, 6, 6]
    assert [stage.stride for stage in NAMED[name].stages] == [1, 2, 2, 2, 1, 2, 1]


def test_wider_mobilenet_rounds_to_multiples_of_eight() -> None:
    assert [stage.widths[0] for stage in mobilenet_v3(1.2).stages] == [24, 32, 48, 96, 136, 192]
    assert (mobilenet_v3(1.2).head_width, mobilenet_v3(1.2).feature_width) == (1152, 1536)


@given(st.floats(1, 8000))
def test_rounding_never_takes_more_than_a_tenth(channels: float) -> None:
    rounded = round_to_eight(channels)
    assert rounded % 8 == 0
    assert rounded >= 0.9 * channels
    assert abs(rounded - channels) <= 8
