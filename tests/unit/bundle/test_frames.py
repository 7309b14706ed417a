"""Which frames tell something new."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tofa_edge.architecture.arrays import ImageArray
from tofa_edge.bundle.frames import MOST_EXAMINED, distinct, read_frames
from tofa_edge.bundle.images import ImageSource
from tofa_edge.errors import ImageError
from tofa_edge.selftest.small_bundle import smooth_photo

RNG = np.random.default_rng(0)


def scene(seed: int) -> ImageArray:
    return np.asarray(Image.open(io.BytesIO(smooth_photo(np.random.default_rng(seed), 160))))


def seen_again(photo: ImageArray, noise: float = 5.0, light: float = 1.0) -> ImageArray:
    noisy = photo * light + RNG.normal(0, noise, photo.shape)
    return noisy.clip(0, 255).astype(np.uint8)


def test_one_scene_counts_once_and_scenes_keep_their_order() -> None:
    scenes = [scene(seed) for seed in range(8)]
    frames: list[ImageSource] = [
        seen_again(scenes[index // 5], light=1 + (index % 5 - 2) / 30) for index in range(40)
    ]
    kept = distinct(frames, 256)
    assert [id(frame) for frame in kept] == [id(frame) for frame in frames[::5]]


def test_a_blank_wall_counts_once() -> None:
    wall = np.full((240, 320, 3), 90, np.uint8)
    assert len(distinct([seen_again(wall, noise=8) for _ in range(20)], 256)) == 1


def test_a_small_thing_that_moves_is_something_new() -> None:
    frames = []
    for number in range(12):
        frame = scene(0).copy()
        left, top = 32 * (number % 4), 40 * (number // 4)
        frame[top : top + 28, left : left + 28] = 255 * (number % 2)
        frames.append(frame)
    assert len(distinct(frames, 256)) == 12


def test_real_photos_are_all_kept() -> None:
    foolbox = pytest.importorskip("foolbox")
    folder = Path(foolbox.__file__).parent / "data"
    photos = sorted(folder.glob("imagenet*.jpg"))
    assert len(photos) == 20
    assert distinct(photos, 256) == photos
    assert distinct([path for path in photos for _ in range(3)], 256) == photos


def test_no_more_than_wanted_and_of_many_a_spread() -> None:
    noise = [RNG.integers(0, 256, (8, 8), dtype=np.uint8) for _ in range(40)]
    assert [id(frame) for frame in distinct(noise, 10)] == [id(frame) for frame in noise[:10]]
    assert distinct([], 10) == []

    class Film(list[ImageSource]):
        """Counts how often it is looked at."""

        looks = 0

        def __getitem__(self, index: object) -> ImageArray:  # type: ignore[override]
            self.looks += 1
            assert isinstance(index, int)
            return scene(0 if index < 9_000 else 1)

        def __len__(self) -> int:
            return 10_000

    film = Film()
    assert len(distinct(film, 256)) == 2, "what comes late is found"
    assert film.looks == MOST_EXAMINED


def test_a_frame_that_is_none_is_named() -> None:
    with pytest.raises(ImageError, match=r"none\.jpg"):
        distinct(["none.jpg"], 10)


def test_frames_that_cannot_be_read_are_left_out(tmp_path: Path, lines: list[str]) -> None:
    for seed in range(3):
        Image.fromarray(scene(seed)).save(tmp_path / f"{seed}.png")
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:300])
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    frames = read_frames(tmp_path)
    assert distinct(frames, 256) == [tmp_path / "0.png", tmp_path / "2.png"]
    assert lines[0].startswith(f"left out of the frames: {tmp_path / 'gone.png'}: wanted an image")
    assert lines[1].startswith("left out of the frames: 1 that cannot be read, such as ")
    with pytest.raises(ImageError, match=r"1\.png: wanted an image, cannot read it"):
        distinct([tmp_path / "1.png"], 256)
    with pytest.raises(ImageError, match="wanted a path"):
        distinct([scene(0), np.zeros(3)], 256)  # type: ignore[list-item]


def test_frames_are_a_folder_or_a_pattern(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", "c.jpg"):
        Image.fromarray(scene(0)).save(tmp_path / name)
    assert read_frames(tmp_path / "*.png") == [tmp_path / "a.png", tmp_path / "b.png"]
    for wrong, said in (("none", "No such file"), ("*.bmp", "no file matches")):
        with pytest.raises(ImageError, match=f"wanted a folder of frames: .*{said}"):
            read_frames(tmp_path / wrong)
