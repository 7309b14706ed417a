"""Crops by the number of their batch: the same when resumed, of many scales, with faults."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.log_lines import log_lines
from tofa_edge.architecture.arrays import ImageArray
from tofa_edge.errors import DataError
from tofa_edge.train.data.camera import FAULTS, degraded
from tofa_edge.train.data.crops import AHEAD, CROPS, Crops, CropSettings

SETTINGS = CropSettings(size=24, rows=4, seed=3, per_photo=3)


def write_photo(path: Path, shade: int, size: tuple[int, int] = (320, 240)) -> None:
    """A photo with noise that is told from others by its mean."""
    rng = np.random.default_rng(shade)
    values = rng.normal(shade, 20, (size[1], size[0], 3)).clip(0, 255)
    Image.fromarray(values.astype(np.uint8)).save(path, quality=95)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    for number in range(6):
        write_photo(tmp_path / f"{number}.jpg", 40 + 40 * number)
    return sorted(tmp_path.glob("*.jpg"))


def batches(paths: list[Path], numbers: list[int], rows: range = range(4)) -> list[ImageArray]:
    crops = Crops(paths, SETTINGS, rows)
    made = [crops.batch(number) for number in numbers]
    crops.close()
    return made


def test_a_batch_depends_on_its_number_alone(paths: list[Path]) -> None:
    every = batches(paths, list(range(8)))
    assert every[0].shape == (4, 24, 24, 3)
    assert every[0].dtype == np.uint8
    for number in (0, 5, 7):
        (alone,) = batches(paths, [number])
        assert np.array_equal(alone, every[number])
    assert len({batch.tobytes() for batch in every}) == 8


def test_processes_share_the_rows_of_a_batch(paths: list[Path]) -> None:
    (whole,) = batches(paths, [4])
    for rank in range(2):
        (mine,) = batches(paths, [4], range(rank, 4, 2))
        assert np.array_equal(mine, whole[rank::2])


def test_a_row_shows_a_photo_for_a_while_and_all_come_before_any_again(paths: list[Path]) -> None:
    plain = CropSettings(24, rows=2, per_photo=3, degraded=0.0)
    crops = Crops(paths, plain, range(2))
    shades = [[round(image.mean() / 40) for image in crops.batch(n)] for n in range(9)]
    crops.close()
    first = [row[0] for row in shades]
    assert [len({*first[start : start + 3]}) for start in (0, 3, 6)] == [1, 1, 1]
    second = [row[1] for row in shades][2:8]
    assert len({first[0], first[3], first[6], second[0], second[3]}) == 5


def test_few_photos_are_decoded_at_once(paths: list[Path]) -> None:
    crops = Crops(paths * 20, CropSettings(16, rows=32), range(32))
    crops.batch(0)
    before = {*crops._visits}
    crops.batch(1)
    assert len({*crops._visits} - before) == 32 // CROPS
    assert len(crops._visits) == 32 + AHEAD * 32 // CROPS
    crops.close()


def test_crops_have_many_scales(tmp_path: Path) -> None:
    """Of a ramp from left to right, the spread of a crop tells its width."""
    ramp = np.broadcast_to(np.linspace(0, 255, 512)[None, :, None], (512, 512, 3))
    Image.fromarray(ramp.astype(np.uint8)).save(tmp_path / "ramp.png")
    crops = Crops([tmp_path / "ramp.png"], CropSettings(16, 8, degraded=0.0), range(8))
    made = np.concatenate([crops.batch(n) for n in range(12)]).astype(float)
    crops.close()
    spread = np.ptp(made.mean(axis=(1, 3)), axis=1) / 255
    assert spread.min() < 0.08
    assert spread.max() > 0.8
    falls = made[:, :, 0].mean(axis=(1, 2)) > made[:, :, -1].mean(axis=(1, 2))
    assert 0.3 < falls.mean() < 0.7, "half are flipped"


def test_unreadable_photos_are_passed_over_but_not_many(paths: list[Path], tmp_path: Path) -> None:
    (tmp_path / "9.jpg").write_bytes(b"no photo")
    many = paths * 5
    with log_lines() as lines:
        crops = Crops([*many, tmp_path / "9.jpg"], SETTINGS, range(4))
        for number in range(0, 3 * 9):
            crops.batch(number)
        crops.close()
    assert [line for line in lines if "9.jpg" in line and "skipped" in line]
    crops = Crops([*paths, tmp_path / "9.jpg"], SETTINGS, range(4))
    with pytest.raises(DataError, match=r"1 of 7 photos cannot be read: .*9\.jpg"):
        [crops.batch(number) for number in range(12)]
    crops.close()


@pytest.mark.parametrize("name", list(FAULTS))
def test_each_fault_changes_an_image_and_keeps_its_form(name: str) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(60, 200, (32, 32, 3)).astype(np.uint8)
    made = FAULTS[name](image, rng)
    assert made.shape == image.shape
    assert made.dtype == np.uint8
    apart = np.abs(made.astype(int) - image).mean()
    assert 1 < apart < 120
    if name in ("blur", "low resolution"):
        assert made.astype(int).std() < 0.9 * image.astype(int).std()


def test_a_camera_has_one_fault_or_two_and_repeats_them() -> None:
    image = np.random.default_rng(1).integers(0, 255, (24, 24, 3)).astype(np.uint8)
    first, again, other = (degraded(image, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
