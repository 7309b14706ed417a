"""Costs are counted before they are paid: bundles that ask for too much are refused at once."""

from __future__ import annotations

import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fuzz.crafted import Sample, seal
from tofa_edge.architecture.space import SearchSpace
from tofa_edge.architecture.tables import Tables, _covering, _parts, tables
from tofa_edge.architecture.zoo import SPACES, efficientnet_lite2, named, tiny
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.bundle.costs import BundleCosts, bearable, check_bounds, costs
from tofa_edge.bundle.manifest import FINALISTS, GOLDEN, GOLDEN_IMAGES, PREDICTORS
from tofa_edge.errors import BundleError

MEGA = 10**6
RASPBERRY_PI = 700 * MEGA  # free, of 1 GB
LITE4 = ((24,), (24, 32), (40, 56), (80, 112), (120, 160), (208, 272), (320, 448))
LITE4_DEPTHS = ((1,), (2, 4), (2, 4), (3, 6), (3, 6), (4, 8), (1,))


def lite4() -> SearchSpace:
    """As large as spaces get for small devices."""
    space = replace(efficientnet_lite2(), resolutions=(*range(48, 300, 16), 300))
    stages = [
        replace(stage, widths=widths, depths=depths)
        for stage, widths, depths in zip(space.stages, LITE4, LITE4_DEPTHS, strict=True)
    ]
    return replace(space, stages=tuple(stages))


def of(space: SearchSpace, predictor_rows: int = 1000, images: int = 4) -> BundleCosts:
    """Those of a usual bundle with many photos."""
    golden = (space.smallest(), space.middle(), space.largest())
    sizes = {
        GOLDEN: images * sum(3 * s.resolution**2 + 4 * space.classes for s in golden),
        PREDICTORS: 4 * predictor_rows**2 + 200 * predictor_rows,
        FINALISTS: 3 * MEGA,
    }
    return costs(space, golden, sizes, 512, 256)


@pytest.mark.parametrize("space", [*map(named, SPACES), lite4()], ids=[*SPACES, "lite4"])
def test_honest_bundles_pass_on_a_small_board(space: SearchSpace) -> None:
    counted = of(space)
    check_bounds(Path("x.tofa"), counted)
    assert counted.peak_bytes < RASPBERRY_PI


def test_every_bound_is_wide() -> None:
    """Three times each cost of the largest usual bundle would still be let through."""
    counted = of(lite4(), 800)
    tripled = BundleCosts(*(3 * getattr(counted, item.name) for item in fields(BundleCosts)))
    check_bounds(Path("x.tofa"), tripled)


def test_a_small_bundle_is_bearable_with_little_memory(path: Path) -> None:
    bearable(Bundle.open(path), 2 * MEGA)
    bearable(Bundle.open(path), None)


def test_the_message_says_what_takes_the_memory(path: Path) -> None:
    with pytest.raises(
        BundleError, match=r"takes up to \d+ MB of memory, \d+ MB of it for .* larger machine"
    ):
        bearable(Bundle.open(path), 10_000)


def test_tables_are_counted_as_they_are_filled() -> None:
    for space in (tiny(), named("mobilenet_v3")):
        entries = sum(len(rows) for rows in Tables(space)._rows.values())
        combinations = sum(1 for _ in _covering(space))
        counted = of(space)
        deepest = 20 if space == tiny() else 131
        assert counted.table_layers == combinations * deepest
        assert entries == len(list(_parts(space)))
        assert 2000 * entries <= counted.table_bytes < 4000 * entries


def test_activations_and_macs_are_those_of_the_largest() -> None:
    space = named("lite0")
    counted, largest = of(space), space.encode(space.largest())[np.newaxis]
    known = tables(space).costs(largest)
    assert counted.macs == known.macs[0]
    assert counted.activation_bytes > 4 * known.peak_activation_bytes[0]
    assert counted.parameter_bytes >= 2 * 4 * known.parameters[0]


def test_members_of_the_third_schema_are_counted() -> None:
    def counted(sizes: dict[str, int]) -> BundleCosts:
        return costs(tiny(), [tiny().smallest()], {GOLDEN: 3000, **sizes}, 24, 0)

    before = counted({})
    images = counted({GOLDEN_IMAGES: 6000})
    assert images == counted({GOLDEN: 9000})
    assert images.golden_macs > 2 * before.golden_macs
    finalists = counted({FINALISTS: MEGA})
    assert finalists.finalist_bytes == 4 * MEGA
    assert finalists.parts["calibrating"]["the finalists"] == 4 * MEGA
    assert before.finalist_bytes == 0


def _stages(space: SearchSpace, **changes: Any) -> SearchSpace:
    return replace(space, stages=tuple(replace(stage, **changes) for stage in space.stages))


WIDEST = tuple(range(8, 8 * 65, 8))
LITE2 = named("lite2")
HOSTILE = {
    "tables": _stages(replace(tiny(), resolutions=tuple(range(16, 80))), widths=WIDEST),
    "activations": replace(tiny(), resolutions=(8, 1024), stem_width=512),
    "largest network": replace(
        _stages(tiny(), widths=(64,), depths=(8,), stride=1, expands=(6,)),
        resolutions=(16, 512),
        stem_width=64,
    ),
    "weights": replace(tiny(), classes=100_000, head_width=8192),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_spaces_are_refused_in_no_time(what: str) -> None:
    space, start = HOSTILE[what], time.process_time()
    counted = costs(space, [space.smallest()], {GOLDEN: 3000}, 24, 0)
    with pytest.raises(BundleError, match=f"{what}.* take .* and a bundle may ask for .*; train a"):
        check_bounds(Path("x.tofa"), counted)
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"space": LITE2, "golden": [LITE2.largest()], "sizes": {GOLDEN: 60 * MEGA}},
            "golden cases take",
        ),
        ({"sizes": {GOLDEN: 3000, PREDICTORS: 60 * MEGA}}, "predictor's subnets take 3,872 rows"),
        ({"check": 5000}, "photos take 5,256 files"),
        ({"space": replace(tiny(), resolutions=(8, 1024)), "check": 400}, "the photos take"),
        ({"space": lite4(), "check": 3300}, "all its photos together take"),
    ],
)
def test_hostile_contents_are_refused(changes: dict[str, Any], message: str) -> None:
    space = changes.get("space", tiny())
    given = {"space": space, "sizes": {GOLDEN: 3000}, "calibration": 256, "check": 0}
    counted = costs(**{"golden": [space.smallest()], **given, **changes})
    with pytest.raises(BundleError, match=message):
        check_bounds(Path("x.tofa"), counted)


def test_a_hostile_bundle_is_refused_before_anything_is_read(
    sample: Sample, tmp_path: Path
) -> None:
    manifest = sample.manifest()
    manifest["space"] |= {"stem_width": 512, "resolutions": [16, 24, 29, 32, 1024]}
    hostile = tmp_path / "hostile.tofa"
    hostile.write_bytes(seal(sample.members, manifest))
    with pytest.raises(BundleError, match="the activations of the largest network take"):
        Bundle.open(hostile).verify()
