"""A camera that is frozen, black, overexposed or stuck is named; a still or dark scene is not."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tofa_edge.architecture.arrays import ImageArray
from tofa_edge.architecture.zoo import tiny
from tofa_edge.backends.protocol import Engine, Target
from tofa_edge.backends.reference import Reference, ReferenceSession
from tofa_edge.budget import Budget
from tofa_edge.bundle.images import ImageSource
from tofa_edge.errors import CameraError, ImageError, LimitError
from tofa_edge.live.camera import CameraWatch, exposure_faults, inspected
from tofa_edge.live.events import EventLog
from tofa_edge.live.model import LiveModel
from tofa_edge.live.rungs import Rung
from tofa_edge.selftest.specimens import specimen
from tofa_edge.serving.explanation import Explanation
from tofa_edge.serving.model import Model

RNG = np.random.default_rng(0)


def scene(height: int = 240, width: int = 320) -> ImageArray:
    coarse = RNG.integers(30, 220, (height // 20, width // 20, 3))
    return coarse.repeat(20, 0).repeat(20, 1).astype(np.uint8)


def noisy(image: ImageArray, deviation: float) -> ImageArray:
    seen = image + RNG.normal(0, deviation, image.shape)
    return np.clip(np.round(seen), 0, 255).astype(np.uint8)


class Clock:
    """Ten frames a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.1
        return self.now


def frozen_at(frames: Iterator[ImageArray], count: int = 200) -> list[int]:
    watch = CameraWatch(Clock())
    return [n for n in range(count) if "frozen" in watch.faults(next(frames))]


def test_identical_frames_for_seconds_are_a_frozen_camera() -> None:
    still = scene()

    def stuck() -> Iterator[ImageArray]:
        for number in range(300):
            yield still.copy() if 20 <= number < 120 else noisy(still, 2.0)

    found = frozen_at(stuck())
    assert found, "named"
    assert 65 <= found[0] <= 80, "after 5 s at ten a second"
    assert found == [*range(found[0], 120)], "and until it goes on"


@pytest.mark.parametrize("deviation", [0.3, 2.0])
def test_a_still_scene_is_not_frozen(deviation: float) -> None:
    still = scene()
    assert frozen_at(noisy(still, deviation) for _ in itertools.count()) == []


def test_what_moves_between_the_sampled_rows_is_seen() -> None:
    still = scene()

    def moving() -> Iterator[ImageArray]:
        for number in range(300):
            frame = still.copy()
            frame[3, number % 300 : number % 300 + 5] = 255  # in a row that no sample takes
            yield frame

    assert frozen_at(moving()) == []


@pytest.mark.parametrize(
    ("frame", "faults"),
    [
        (noisy(np.full((240, 320, 3), 6, np.uint8), 3.0), ("black",)),
        (np.full((240, 320, 3), 16, np.uint8), ("black",)),
        (noisy(np.full((240, 320, 3), 254, np.uint8), 1.0), ("overexposed",)),
        (np.full((240, 320, 3), (0, 135, 0), np.uint8), ("one colour",)),
        (np.full((240, 320), 128, np.uint8), ("one colour",)),
        (scene(), ()),
        (scene()[:, :, 0], ()),
        (noisy(scene() // 8, 1.0), ()),  # dark, and there is something to see
        (np.full((1, 1, 3), 90, np.uint8), ("one colour",)),
    ],
)
def test_frames_that_show_nothing_are_named(frame: ImageArray, faults: tuple[str, ...]) -> None:
    assert exposure_faults(frame) == faults


def test_a_bright_object_on_white_and_a_lamp_in_the_night_are_scenes() -> None:
    white = np.full((240, 320, 3), 255, np.uint8)
    white[80:160, 100:200] = 90
    assert exposure_faults(white) == ()
    night = np.full((240, 320, 3), 4, np.uint8)
    night[100:130, 150:180] = 240
    assert exposure_faults(night) == ()


def live_model(peak: float | None = None) -> tuple[LiveModel, EventLog]:
    network, engine = specimen(), Engine(Reference(), Target())
    classes = tuple("abcdefghij")
    explanation = Explanation(Path("x"), Budget())
    model = Model(
        ReferenceSession(network), tiny().largest(), engine, classes, explanation, peak=peak
    )
    events = EventLog()
    return LiveModel(Rung(model), events), events


def test_a_stream_names_faults_in_predictions_and_in_events(tmp_path: Path) -> None:
    black, good = np.zeros((64, 64, 3), np.uint8), scene(80, 80)
    Image.fromarray(black).save(tmp_path / "black.png")
    frames: list[ImageSource] = [good, black, tmp_path / "black.png", Image.fromarray(good), good]
    model, events = live_model()
    with model, model.stream(frames) as stream:
        predictions = list(stream)
        assert [p.faults for p in predictions] == [(), ("black",), ("black",), (), ()]
        assert [p.known for p in predictions] == [True, False, False, True, True]
        assert stream.stats().faulty == 2
    kinds = [event.kind for event in events.all()]
    assert kinds == ["serving", "camera", "camera again"]
    assert "black" in events.all()[1].text


def test_a_dark_frame_of_more_than_8_bits_is_scaled_as_the_training_photos(tmp_path: Path) -> None:
    frame = tmp_path / "frame.png"
    Image.fromarray(scene(80, 80)[..., 0].astype(np.uint16)).save(frame)
    model, _ = live_model(peak=4095)
    with model, model.stream([frame]) as stream:
        (whole,) = model.batch([frame])
        for prediction in (model(frame), next(stream)):
            np.testing.assert_allclose(prediction.logits, whole.logits, rtol=1e-4, atol=1e-4)


def test_what_is_no_image_stays_the_models_to_refuse() -> None:
    model, _ = live_model()
    with model, pytest.raises(ImageError, match="frame 1"):
        list(model.stream([scene(80, 80), np.zeros((4, 4, 7), np.float32)]))
    assert inspected(CameraWatch(), Image.new("RGB", (8, 8)))[1] == ("black",)


def test_a_source_that_gives_no_frame_in_time_is_an_error_and_may_go_on() -> None:
    stuck = threading.Event()

    def frames() -> Iterator[ImageArray]:
        yield scene(80, 80)
        stuck.wait(60)
        yield scene(80, 80)

    model, events = live_model()
    with model, model.stream(frames(), timeout_s=0.2) as stream:
        assert next(stream).number == 0
        for _ in range(2):
            begin = time.monotonic()
            with pytest.raises(CameraError, match=r"within 0\.2 s"):
                next(stream)
            assert time.monotonic() - begin < 10
        stuck.set()
        for _ in range(50):  # a busy machine may take longer than 0.2 s again
            try:
                assert next(stream).number == 1
                break
            except CameraError:
                continue
        with pytest.raises(StopIteration):
            next(stream)
    kinds = [event.kind for event in events.all()]
    assert kinds == ["serving", "camera", "camera again"], "once, however often it is asked"
    with pytest.raises(LimitError, match="timeout_s"):
        model.stream([], timeout_s=0)
