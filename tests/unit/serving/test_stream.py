"""Streams: real threads, slow sources, slow networks."""

from __future__ import annotations

import gc
import itertools
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.architecture.layers import LOGITS
from tofa_edge.architecture.zoo import tiny
from tofa_edge.backends.protocol import Engine, Target
from tofa_edge.backends.registry import backend
from tofa_edge.budget import Budget
from tofa_edge.bundle.images import ImageSource
from tofa_edge.errors import BackendError, ImageError
from tofa_edge.serving.explanation import Explanation
from tofa_edge.serving.model import Model
from tofa_edge.serving.prediction import Prediction
from tofa_edge.serving.stream import FramePrediction

CLASSES = tuple(f"class {index}" for index in range(10))
SIZE = tiny().largest().resolution
WAIT = 5.0


class Slow:
    """Takes as long as told; its logits name the frame: the class is the first pixel modulo 10."""

    unit = "cpu"

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def run(self, images: ImageArray) -> dict[str, FloatArray]:
        if self.seconds:
            time.sleep(self.seconds)
        return {LOGITS: np.eye(10, dtype=np.float32)[images[:, 0, 0, 0] % 10]}

    def close(self) -> None:
        pass


def model(seconds: float = 0.0) -> Model:
    engine, explanation = Engine(backend("reference"), Target()), Explanation(Path("x"), Budget())
    return Model(Slow(seconds), tiny().largest(), engine, CLASSES, explanation)


def frame(number: int) -> ImageArray:
    return np.full((SIZE, SIZE, 3), number % 250, np.uint8)


def camera(seconds: float, count: int | None = None) -> Iterator[ImageArray]:
    for number in itertools.count() if count is None else range(count):
        time.sleep(seconds)
        yield frame(number)


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "tofa-edge stream"]


def soon(true: Callable[[], bool]) -> bool:
    until = time.monotonic() + WAIT
    while not true() and time.monotonic() < until:
        time.sleep(0.005)
    return true()


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    assert not readers()
    yield
    gc.collect()
    assert soon(lambda: not readers()), "the stream's thread is still alive"


def test_a_prediction_of_a_stream_is_a_prediction() -> None:
    found = list(model().stream([frame(3), frame(14)]))
    assert all(isinstance(prediction, Prediction) for prediction in found)
    assert [(p.number, p.label) for p in found] == [(0, "class 3"), (1, "class 4")]
    assert all(0 < p.age_ms < WAIT * 1e3 for p in found)
    assert found[0].probability == model()(frame(3)).probability
    assert "class 3" in repr(found[0])


@pytest.mark.quiet
def test_the_latest_frame_wins_and_age_is_bounded() -> None:
    interval, run = 0.01, 0.05
    with model(run).stream(camera(interval, 100)) as stream:
        found = list(stream)
        stats = stream.stats()
    numbers = [prediction.number for prediction in found]
    assert numbers == sorted(set(numbers))
    assert all(p.label == f"class {p.number % 250 % 10}" for p in found), "numbers fit the frames"
    assert numbers[-1] == 99, "what waits when the source ends is still predicted"
    assert (stats.read, stats.bad) == (100, 0)
    assert stats.predicted == len(found) < 40
    assert stats.dropped == 100 - len(found)
    queue_would_be = 100 * (run - interval) * 1e3 / 2
    assert run * 1e3 <= stats.age.p50_ms < 2.5 * (run + interval) * 1e3 < queue_would_be
    assert stats.age.count == len(found)


def test_a_slow_source_loses_nothing() -> None:
    with model().stream(camera(0.02, 15)) as stream:
        assert [prediction.number for prediction in stream] == list(range(15))
        assert stream.stats().dropped == 0


@pytest.mark.quiet
def test_a_slow_loop_gets_new_frames_not_old_ones() -> None:
    with model().stream(camera(0.005)) as stream:
        first = next(stream)
        time.sleep(0.3)
        second = next(stream)
    assert second.number > first.number + 10
    assert second.age_ms < 150


@pytest.mark.parametrize("given", [list, iter])
def test_nothing_of_a_recording_is_dropped(
    given: Callable[[list[ImageArray]], list[ImageArray]],
) -> None:
    frames = [frame(number) for number in range(30)]
    latest = None if given is list else False
    stream = model(0.002).stream(given(frames), latest=latest)
    assert [prediction.number for prediction in stream] == list(range(30))
    assert (stream.stats().predicted, stream.stats().dropped) == (30, 0)


def test_a_batch_is_a_stream_of_its_images() -> None:
    batch = np.stack([frame(number) for number in range(5)])
    assert [p.index for p in model().stream(batch)] == [0, 1, 2, 3, 4]


def test_an_error_of_the_source_comes_after_its_frames() -> None:
    def failing() -> Iterator[ImageArray]:
        yield frame(1)
        yield frame(2)
        raise OSError("the cable is out")

    stream = model(0.01).stream(failing(), latest=False)
    assert [next(stream).index, next(stream).index] == [1, 2]
    with pytest.raises(OSError, match="the cable is out"):
        next(stream)
    assert list(stream) == [], "an error ends the stream"


def test_an_error_of_the_source_does_not_cost_the_frame_that_waits() -> None:
    failed = threading.Event()

    def failing() -> Iterator[ImageArray]:
        yield frame(7)
        failed.set()
        raise OSError("the cable is out")

    stream = model().stream(failing(), latest=True)
    stream._start()
    assert failed.wait(WAIT)
    assert next(stream).index == 7
    with pytest.raises(OSError, match="cable"):
        next(stream)


def test_even_an_exit_in_the_source_reaches_the_caller() -> None:
    def leaving() -> Iterator[ImageArray]:
        yield frame(0)
        sys.exit(3)

    with pytest.raises(SystemExit):
        list(model().stream(leaving()))


def test_a_bad_frame_is_named_by_its_number() -> None:
    frames: list[ImageSource] = [frame(0), np.zeros((4, 4, 2), np.uint8), frame(2)]
    stream = model().stream(frames)
    assert next(stream).number == 0
    with pytest.raises(ImageError, match=r"frame 1: wanted .*\(4, 4, 2\)"):
        next(stream)
    assert list(stream) == []
    assert stream.stats().bad == 1


def test_bad_frames_can_be_skipped(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"not a photo")
    frames: list[ImageSource] = [
        broken,
        frame(1),
        np.zeros((4, 4, 2), np.uint8),
        frame(3),
        tmp_path / "none.jpg",
    ]
    stream = model().stream(frames, skip_bad=True)
    assert [prediction.number for prediction in stream] == [1, 3]
    stats = stream.stats()
    assert (stats.read, stats.bad, stats.predicted, stats.dropped) == (5, 3, 2, 0)


def test_an_engine_that_fails_ends_the_stream() -> None:
    deployed = model()
    stream = deployed.stream(camera(0.001))
    next(stream)
    deployed.close()
    with pytest.raises(BackendError, match="closed"):
        for _ in stream:
            pass
    assert soon(lambda: not readers())


@pytest.mark.parametrize("latest", [True, False])
def test_leaving_the_loop_ends_the_thread_and_the_source(latest: bool) -> None:
    ended = threading.Event()

    def endless() -> Iterator[ImageArray]:
        try:
            yield from camera(0.001)
        finally:
            ended.set()

    for prediction in model().stream(endless(), latest=latest):
        if prediction.number >= 3:
            break
    assert ended.wait(WAIT), "the source's own finally ran"
    assert soon(lambda: not readers())


def test_an_exception_in_the_loop_ends_the_thread() -> None:
    def run() -> None:
        with model().stream(camera(0.001)) as stream:
            for _ in stream:
                raise KeyError("of the application")

    with pytest.raises(KeyError, match="of the application"):
        run()
    assert not readers(), "with closes at once"


def test_closing_is_final_and_may_be_repeated() -> None:
    stream = model().stream(camera(0.001))
    assert next(stream).number == 0
    stream.close()
    stream.close()
    assert not readers()
    assert list(stream) == []


def test_a_stream_never_begun_has_no_thread() -> None:
    with model().stream(camera(0.001)) as stream:
        assert not readers()
    assert list(stream) == []


def test_closing_wakes_who_waits_and_does_not_wait_for_a_stuck_source() -> None:
    release = threading.Event()

    def stuck() -> Iterator[ImageArray]:
        yield frame(0)
        release.wait(30)

    stream = model().stream(stuck())
    next(stream)
    waiting = threading.Thread(target=lambda: list(stream))
    waiting.start()
    begun = time.monotonic()
    stream.close()
    waiting.join(WAIT)
    assert not waiting.is_alive()
    assert time.monotonic() - begun < WAIT
    release.set()


def test_a_stuck_source_does_not_keep_the_interpreter(tmp_path: Path) -> None:
    script = tmp_path / "stuck.py"
    script.write_text(
        textwrap.dedent(
            """
            import itertools, sys, time
            sys.path.insert(0, sys.argv[1])
            from test_stream import frame, model
            def stuck():
                yield frame(0)
                time.sleep(60)
            stream = model().stream(stuck())
            print(next(stream).number)
            """
        )
    )
    done = subprocess.run(
        [sys.executable, str(script), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "0", "")


def test_two_threads_may_share_a_stream() -> None:
    stream = model(0.002).stream(iter([frame(n) for n in range(40)]), latest=False)
    found: list[FramePrediction] = []
    threads = [threading.Thread(target=lambda: found.extend(stream)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert sorted(prediction.number for prediction in found) == list(range(40))


@pytest.mark.parametrize("latest", [True, False])
def test_ten_thousand_frames_need_no_more_memory_than_a_few(latest: bool) -> None:
    frames, deployed = 10_000, model()
    one = frame(0).nbytes
    tracemalloc.start()
    try:
        with deployed.stream((frame(n) for n in range(frames)), latest=latest) as stream:
            last = next(stream)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            for prediction in stream:
                last = prediction
            peak = tracemalloc.get_traced_memory()[1] - before
            stats = stream.stats()
    finally:
        tracemalloc.stop()
    assert last.number == frames - 1
    assert stats.read == frames == stats.predicted + stats.dropped
    assert (stats.dropped == 0) != latest or latest
    remembered = 200 * frames  # the model's and the stream's own times, a tenth of the frames
    assert peak < remembered + 100 * one < frames * one / 8


@pytest.mark.parametrize("wrong", ["photo.jpg", b"jpeg", 5, np.zeros((8, 8, 3), np.uint8)])
def test_one_image_is_no_stream(wrong: object) -> None:
    with pytest.raises(ImageError, match="wanted frames"):
        model().stream(wrong)  # type: ignore[arg-type]
