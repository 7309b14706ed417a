"""deploy(): exactly the subnet asked for, within the budget, on an engine that passed its test."""

from __future__ import annotations

import io
import logging
import re
import timeit
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tofa_edge
from tofa_edge import backends
from tofa_edge.architecture.arrays import ImageArray
from tofa_edge.architecture.cost import macs
from tofa_edge.architecture.layers import LOGITS, layers
from tofa_edge.architecture.space import Subnet
from tofa_edge.architecture.tables import tables
from tofa_edge.architecture.zoo import efficientnet_lite0, tiny
from tofa_edge.backends.protocol import Backend, Engine, Session, Target
from tofa_edge.budget import Budget
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.bundle.finalists import Finalist
from tofa_edge.cutting.cutter import Cutter
from tofa_edge.deployment import remember as decisions
from tofa_edge.deployment.remember import decision_key_of
from tofa_edge.deployment.request import requested
from tofa_edge.errors import BackendError, BudgetError, BundleError, ImageError, SubnetError
from tofa_edge.measurement.stopwatch import Latency, Stopwatch, percentiles
from tofa_edge.prediction.memory import peak_memory_mb
from tofa_edge.selftest.small_bundle import small_bundle, small_finalists, smooth_photo

pytestmark = pytest.mark.usefixtures("known_engines")

Offer = Callable[..., dict[str, Backend]]
SPACE = tiny()
LARGEST, SMALLEST = SPACE.largest(), SPACE.smallest()


def photos(count: int, size: int = 32) -> ImageArray:
    return np.random.default_rng(3).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measures a few runs only, and for no time."""

    def once(stopwatch: Stopwatch, run: Callable[[], object], deadline: float) -> Latency:
        return percentiles([timeit.timeit(run, number=1) for _ in range(5)])

    monkeypatch.setattr(Stopwatch, "_once", once)


def test_the_best_tested_subnet_within_the_budget_is_chosen(tmp_path: Path) -> None:
    """Whatever its size: what was tested on the host counts, not what tends to be accurate."""
    tested = {SMALLEST: 0.5, SPACE.middle(): 0.9, LARGEST: 0.7}
    finalists = [Finalist(subnet, accuracy) for subnet, accuracy in tested.items()]
    small_bundle(tmp_path / "b.tofa", calibration_photos=32, finalists=finalists)
    options = tofa_edge.DeployOptions(backend="reference", precision="fp32")

    def deployed(**limits: float) -> tuple[Subnet, str]:
        limit = Budget(**limits)  # type: ignore[arg-type]
        with tofa_edge.deploy(tmp_path / "b.tofa", budget=limit, options=options) as model:
            return model.subnet, model.explain()

    chosen, told = deployed(latency_ms=1000)
    assert chosen == SPACE.middle()
    assert "expected accuracy: 90.0%" in told
    middle = macs(layers(SPACE, SPACE.middle())) / 1e6
    assert deployed(mmacs=0.9 * middle)[0] == SMALLEST
    assert "expected accuracy: 70.0%" in deployed()[1], "the largest, without a budget"
    with pytest.raises(BudgetError, match=r"tested on the host reached 90\.0%"):
        deployed(accuracy=0.95)


def test_finalists_that_cannot_be_cut_are_no_candidates(tmp_path: Path) -> None:
    """Without photos only those with ready-made statistics are, and the largest."""
    finalists = small_finalists()
    small_bundle(tmp_path / "b.tofa", calibration_photos=0, finalists=finalists)
    options = tofa_edge.DeployOptions(backend="reference", precision="fp32")
    with tofa_edge.deploy(tmp_path / "b.tofa", latency_ms=1000, options=options) as model:
        assert max(finalists, key=lambda finalist: finalist.accuracy).arrays is None
        assert model.subnet == LARGEST, "the best of the others"


@pytest.mark.parametrize("seed", range(3))
def test_exactly_the_subnet_asked_for(tiny_bundle: Path, seed: int) -> None:
    subnet = SPACE.sample(np.random.default_rng(seed))
    with tofa_edge.deploy(tiny_bundle, subnet=subnet) as model:
        assert model.subnet == subnet
        assert model.input_size == subnet.resolution
        assert model.classes == Bundle.open(tiny_bundle).classes
        assert model.explanation.chosen is not None
        assert model.explanation.chosen.subnet == subnet
        assert str(subnet) in model.explain()
        assert model.stats().count == 0, "deployment's own runs are forgotten"


def test_nothing_asked_for_gives_the_largest(tiny_bundle: Path) -> None:
    with tofa_edge.deploy(Bundle.open(tiny_bundle)) as model:
        assert model.subnet == LARGEST
        assert model.explanation.difference is not None
        assert model.explanation.difference < 1e-3


def test_numbers_are_the_reference_ones(tiny_bundle: Path) -> None:
    subnet = SPACE.sample(np.random.default_rng(9))
    reference = Engine(backends.backend("reference"), Target())
    network = Cutter(Bundle.open(tiny_bundle)).network(subnet, reference)
    images = photos(4, subnet.resolution)
    wanted = reference.load(network).run(images)[LOGITS]
    for name in backends.working():
        with tofa_edge.deploy(
            tiny_bundle, subnet=subnet, options=tofa_edge.DeployOptions(backend=name)
        ) as model:
            assert model.engine.backend.name == name
            got = np.stack([prediction.logits for prediction in model.batch(images)])
        assert np.abs(got - wanted).max() <= 1e-3 * np.abs(wanted).max()


def test_generous_budget_gives_the_largest(tiny_bundle: Path, lines: list[str]) -> None:
    with tofa_edge.deploy(tiny_bundle, latency_ms=10_000) as model:
        assert model.subnet == LARGEST
        assert not model.explanation.measured, "what surely fits needs no prediction"
        assert "p95 ≤ 10000 ms" in model.explain()
    assert any(line.startswith("engine ") for line in lines)
    said = [line for line in lines if not line.startswith(("provisional", "other programs"))]
    assert said[-2].startswith("tried ")
    assert said[-1] == f"BatchNorm statistics of {LARGEST}: the supernet's own, from training"


def test_impossible_budget_names_the_fastest(tiny_bundle: Path, lines: list[str]) -> None:
    with pytest.raises(BudgetError) as caught:
        tofa_edge.deploy(tiny_bundle, latency_ms=1e-4)
    assert lines[-1].startswith(f"tried {SMALLEST}"), "the last resort"
    assert "wanted p95 ≤ 0.0001 ms" in str(caught.value)
    assert re.search(r"the fastest network measured is \d+px .* on \w+ cpu", str(caught.value))


def test_second_start_is_remembered(tiny_bundle: Path, own_cache: Path, lines: list[str]) -> None:
    with tofa_edge.deploy(tiny_bundle, latency_ms=1000) as first:
        image = photos(1, first.input_size)[0]
        logits = first(image).logits
    lines.clear()
    with tofa_edge.deploy(tiny_bundle, latency_ms=1000) as second:
        assert second.subnet == first.subnet
        assert np.array_equal(second(image).logits, logits)
        assert "chosen the first time so" in second.explain()
    assert lines[0].startswith("remembered ")
    with tofa_edge.deploy(tiny_bundle, latency_ms=999) as other:
        assert not other.explanation.remembered, "another budget is another decision"
    for path in own_cache.rglob("*.artefact"):
        path.write_bytes(path.read_bytes()[:-1])
    with tofa_edge.deploy(tiny_bundle, latency_ms=1000) as third:
        assert not third.explanation.remembered, "a damaged artefact is not loaded"


def test_slower_than_remembered_is_chosen_anew(tiny_bundle: Path) -> None:
    options = tofa_edge.DeployOptions(backend="reference")
    bundle = Bundle.open(tiny_bundle)
    kept = decision_key_of(requested(bundle, Budget(latency_ms=1000), None, options))
    with tofa_edge.deploy(bundle, latency_ms=1000, options=options) as model:
        assert model.explanation.chosen is not None
        half = 0.75 * model.explanation.chosen.latency.p50_ms
    found = decisions.recall(kept)
    assert found is not None
    tight = requested(bundle, Budget(latency_ms=half), None, options)
    decisions.remember(decision_key_of(tight), *found)
    with tofa_edge.deploy(bundle, latency_ms=half, options=options) as model:
        assert "choosing again" in model.explain()
        assert model.subnet != LARGEST


def test_former_arguments_name_their_new_place(tiny_bundle: Path) -> None:
    with pytest.raises(TypeError, match=r"options=DeployOptions\(backend=…, seed=…\)"):
        tofa_edge.deploy(tiny_bundle, backend="tflite", seed=3)
    with pytest.raises(TypeError, match="unexpected keyword argument 'latency'"):
        tofa_edge.deploy(tiny_bundle, latency=5)


def test_unwritable_cache_is_no_failure(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    tofa_edge.deploy(tiny_bundle).close()


def test_other_limits_are_kept(tiny_bundle: Path) -> None:
    costs = tables(SPACE).costs(SPACE.encode(LARGEST)[np.newaxis])
    half = 0.5 * float(costs.macs[0]) / 1e6
    with tofa_edge.deploy(tiny_bundle, budget=Budget(mmacs=half)) as model:
        assert 0.8 * half < macs(layers(SPACE, model.subnet)) / 1e6 <= half
    every = np.stack([SPACE.encode(LARGEST), SPACE.encode(SMALLEST)])
    memory = float(peak_memory_mb(SPACE, every, "tflite").mean())
    with tofa_edge.deploy(
        tiny_bundle, memory_mb=memory, options=tofa_edge.DeployOptions(backend="tflite")
    ) as model:
        genes, precision = SPACE.encode(model.subnet)[np.newaxis], model.engine.target.precision
        used = peak_memory_mb(SPACE, genes, "tflite", precision)
        assert used[0] <= memory
        assert model.subnet == LARGEST or used[0] > 0.7 * memory
    with pytest.raises(BudgetError, match="has no accuracy predictor"):
        tofa_edge.deploy(tiny_bundle, budget=Budget(accuracy=0.5))
    with pytest.raises(BudgetError, match=r"wanted memory ≤ 0\.001 MB"):
        tofa_edge.deploy(tiny_bundle, memory_mb=0.001)


def test_no_time_to_measure_is_still_measured_within(tiny_bundle: Path) -> None:
    with tofa_edge.deploy(
        tiny_bundle, latency_ms=500, options=tofa_edge.DeployOptions(max_seconds=1e-3)
    ) as model:
        assert not model.explanation.measured
        assert model.explanation.chosen is not None


def test_same_subnet_gives_the_same_numbers(tiny_bundle: Path) -> None:
    images, logits = photos(2, SMALLEST.resolution), []
    for seed in (1, 2):
        with tofa_edge.deploy(
            tiny_bundle,
            subnet=SMALLEST,
            options=tofa_edge.DeployOptions(seed=seed, backend="reference"),
        ) as model:
            logits.append(np.stack([prediction.logits for prediction in model.batch(images)]))
    assert np.array_equal(logits[0], logits[1])


@pytest.mark.parametrize("budget", [0.0, -1.0, float("nan")])
def test_budget_must_be_positive(tiny_bundle: Path, budget: float) -> None:
    with pytest.raises(BudgetError, match="wanted latency_ms as a number above 0"):
        tofa_edge.deploy(tiny_bundle, latency_ms=budget)
    with pytest.raises(BudgetError, match="percentile of 95 or 50, got 99"):
        Budget(latency_ms=1, percentile=99)


def test_budget_and_subnet_exclude_each_other(tiny_bundle: Path) -> None:
    with pytest.raises(BudgetError, match="a budget or a subnet"):
        tofa_edge.deploy(tiny_bundle, latency_ms=5, subnet=SMALLEST)
    with pytest.raises(BudgetError, match="got both"):
        tofa_edge.deploy(tiny_bundle, latency_ms=5, budget=Budget(mmacs=1))


def test_foreign_subnet_is_refused(tiny_bundle: Path) -> None:
    with pytest.raises(SubnetError):
        tofa_edge.deploy(tiny_bundle, subnet=efficientnet_lite0().largest())


@pytest.mark.parametrize("path", ["no/such.tofa", "."])
def test_missing_bundle_is_refused(path: str) -> None:
    with pytest.raises(BundleError):
        tofa_edge.deploy(path)


def test_without_photos_only_the_largest(bare_bundle: Path) -> None:
    with tofa_edge.deploy(bare_bundle) as model:
        assert model.subnet == LARGEST
    with pytest.raises(BundleError, match=r"calibration wants 16 images.* got 0 photos"):
        tofa_edge.deploy(bare_bundle, subnet=SMALLEST)
    with pytest.raises(BundleError, match="and 15 frames"):
        tofa_edge.deploy(
            bare_bundle,
            subnet=SMALLEST,
            options=tofa_edge.DeployOptions(calibration=list(photos(15))),
        )


def test_frames_stand_in_for_photos(bare_bundle: Path) -> None:
    with tofa_edge.deploy(
        bare_bundle, subnet=SMALLEST, options=tofa_edge.DeployOptions(calibration=list(photos(16)))
    ) as model:
        assert model.subnet == SMALLEST


@pytest.mark.parametrize(
    ("share", "most", "frames"), [(0.25, 24, 6), (0.25, 40, 16), (0.5, 24, 12), (0, 24, 0)]
)
def test_frames_come_before_photos_and_have_their_share(
    tiny_bundle: Path, share: float, most: int, frames: int
) -> None:
    cutter = Cutter(Bundle.open(tiny_bundle), list(photos(20, 16)), share)
    images = cutter.images(16, most)
    assert images.shape == (most, 16, 16, 3)
    assert np.array_equal(images[:frames], photos(20, 16)[:frames])
    photos_ = Bundle.open(tiny_bundle).calibration_images(16, most - frames)
    assert np.array_equal(images[frames:], photos_)


def test_frames_alone_where_there_are_enough(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    assert len(Cutter(bundle, list(photos(80, 16)), 1.0).images(16, 256)) == 80
    assert len(Cutter(bundle, list(photos(50, 16)), 1.0).images(16, 256)) == 64
    assert len(Cutter(bundle, list(photos(10, 16)), 1.0).images(16, 256)) == 34
    with pytest.raises(ImageError, match="share of frames from 0 to 1, got 2"):
        Cutter(bundle, list(photos(10, 16)), 2)


def still_camera(count: int) -> list[ImageArray]:
    """One scene, with noise and light that varies."""
    rng = np.random.default_rng(0)
    scene = scene_photo(rng)
    light = rng.uniform(0.93, 1.07, (count, 1, 1, 1))
    noisy = scene * light + rng.normal(0, 5, (count, *scene.shape))
    return list(noisy.clip(0, 255).astype(np.uint8))


def scene_photo(rng: np.random.Generator) -> ImageArray:
    return np.asarray(Image.open(io.BytesIO(smooth_photo(rng, 160))))


def test_frames_of_a_still_camera_count_once(tiny_bundle: Path, lines: list[str]) -> None:
    frames = still_camera(256)
    with tofa_edge.deploy(
        tiny_bundle, subnet=SMALLEST, options=tofa_edge.DeployOptions(calibration=frames)
    ) as model:
        told = "calibration: 256 frames given, 1 used, for the others look like one of them; "
        assert f"{told}24 photos of the bundle's beside them" in lines
        assert told in model.explain()
    cutter = Cutter(Bundle.open(tiny_bundle), [*frames, *photos(5, 64), *frames[:9]])
    assert len(cutter.frames) == 6


def test_a_still_camera_alone_calibrates_nothing(bare_bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"and 1 frames that differ, of 64 given: .* scenes"):
        tofa_edge.deploy(
            bare_bundle,
            subnet=SMALLEST,
            options=tofa_edge.DeployOptions(calibration=still_camera(64)),
        )


def test_unreadable_frame_is_refused(bare_bundle: Path) -> None:
    frames = ["no/such/frame.jpg"] * 16
    with pytest.raises(ImageError, match=r"frame\.jpg"):
        tofa_edge.deploy(
            bare_bundle, subnet=SMALLEST, options=tofa_edge.DeployOptions(calibration=frames)
        )


def test_unknown_backend_lists_the_others(tiny_bundle: Path) -> None:
    with pytest.raises(BackendError, match=r"no backend 'tpu9'; there are .*reference"):
        tofa_edge.deploy(tiny_bundle, options=tofa_edge.DeployOptions(backend="tpu9"))


def test_thread_count_not_offered_is_refused(tiny_bundle: Path) -> None:
    with pytest.raises(BackendError, match="wanted 77 threads, reference offers 1"):
        tofa_edge.deploy(
            tiny_bundle, options=tofa_edge.DeployOptions(backend="reference", threads=77)
        )


def test_thread_count_is_kept(tiny_bundle: Path) -> None:
    with tofa_edge.deploy(tiny_bundle, options=tofa_edge.DeployOptions(threads=1)) as model:
        assert model.engine.target.threads == 1


def test_wrong_numbers_are_found(tiny_bundle: Path, offer: Offer) -> None:
    offer("wrong")
    with pytest.raises(BackendError, match=r"wrong cannot run here: wrong numbers: 1\.0e-02 of"):
        tofa_edge.deploy(tiny_bundle, options=tofa_edge.DeployOptions(backend="wrong"))


def test_working_engine_is_used_instead(tiny_bundle: Path, offer: Offer) -> None:
    found = offer("absent", "wrong", "refusing", "raising", "sound")
    with tofa_edge.deploy(tiny_bundle) as model:
        assert model.engine.backend is found["sound"]
        text = model.explain()
    assert "refusing cpu fp32 1t: refused: refusing: it will not" in text
    assert "wrong cpu fp32 1t: wrong numbers: " in text
    assert "raising cpu fp32 1t: crash: ZeroDivisionError: division by zero" in text
    assert "absent" not in text


def test_missing_engine_says_what_to_do(tiny_bundle: Path, offer: Offer) -> None:
    offer("absent")
    with pytest.raises(BackendError, match="pip install absent"):
        tofa_edge.deploy(tiny_bundle, options=tofa_edge.DeployOptions(backend="absent"))


def test_reference_is_the_last_resort(tiny_bundle: Path, offer: Offer) -> None:
    offer("absent", "wrong")
    with tofa_edge.deploy(tiny_bundle) as model:
        assert model.engine.backend.name == "reference"


def test_finished_network_is_compared_too(tiny_bundle: Path, offer: Offer) -> None:
    offer("late_wrong")
    with pytest.raises(BackendError, match="of the largest logit off on"):
        tofa_edge.deploy(tiny_bundle, options=tofa_edge.DeployOptions(backend="late_wrong"))


def test_subnet_text_names_its_choices() -> None:
    subnet = Subnet.from_json(SMALLEST.to_json())
    assert str(subnet) == "16px 8:k3e1 8:k3e2 16:k3e2"


def test_what_an_engine_logs_meanwhile_is_told(
    tiny_bundle: Path, offer: Offer, lines: list[str]
) -> None:
    found = offer("sound")
    load = found["sound"].load

    def logging_load(artefact: bytes, target: Target) -> Session:
        logging.getLogger("tofa_edge.sound").info("building, 3 of 9")
        return load(artefact, target)

    found["sound"].load = logging_load  # type: ignore[method-assign]
    tofa_edge.deploy(tiny_bundle).close()
    assert "building, 3 of 9" in lines


def test_artefact_that_others_may_write_is_not_loaded(tiny_bundle: Path, own_cache: Path) -> None:
    tofa_edge.deploy(tiny_bundle).close()
    with tofa_edge.deploy(tiny_bundle) as model:
        assert model.explanation.remembered
    (own_cache / "tofa-edge" / "decisions").chmod(0o777)
    with tofa_edge.deploy(tiny_bundle) as model:
        assert not model.explanation.remembered
