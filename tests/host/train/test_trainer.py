"""Training from a folder of photos to a bundle, and all that can be wrong with the folder."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import tofa_edge
from tests.log_lines import log_lines
from tofa_edge.architecture.arrays import IndexArray
from tofa_edge.architecture.encodings import encoded
from tofa_edge.architecture.zoo import tiny
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cli import output
from tofa_edge.errors import BundleError, DataError, TrainingError
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.prediction.accuracy import USUAL_DROP
from tofa_edge.train import trainer
from tofa_edge.train.after.integer_drop import integer_engine
from tofa_edge.train.config import (
    FINALISTS,
    READY_MADE,
    Progress,
    Report,
    TrainingConfig,
)
from tofa_edge.train.data.augment import resize, weak
from tofa_edge.train.data.files.decoding import decode_all
from tofa_edge.train.data.files.folders import read_folder
from tofa_edge.train.data.grouping import split
from tofa_edge.train.run.phases import TrainingRun, optimise
from tofa_edge.train.supernet.supernet import Supernet
from tofa_edge.train.trainer import pretrain, train

pytestmark = pytest.mark.usefixtures("known_engines")

PER_CLASS = 40
TINY = TrainingConfig(
    start="tiny", resolution=32, epochs=6, batch_size=16, learning_rate=5e-3, predictor_subnets=30
)
SHORT = TrainingConfig(start="tiny", resolution=16, epochs=1, predictor_subnets=0, batch_size=16)


def draw(path: Path, colour: tuple[int, int, int], rng: np.random.Generator) -> None:
    """A small noisy image of about one colour."""
    pixels = np.array(colour) + rng.integers(-60, 60, (36, 40, 3))
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)


def write_photos(root: Path, per_class: int = PER_CLASS) -> Path:
    rng = np.random.default_rng(0)
    for name, colour in (("red", (150, 90, 90)), ("blue", (90, 90, 150))):
        (root / name).mkdir(parents=True)
        for number in range(per_class):
            draw(root / name / f"{number:03}.png", colour, rng)
    return root


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture
def copy(photos: Path, tmp_path: Path) -> Path:
    """Photos that a test may spoil."""
    return Path(shutil.copytree(photos, tmp_path / "copy"))


Trained = tuple[Report, list[Progress], list[str]]


@pytest.fixture(scope="module")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    steps: list[Progress] = []
    out = tmp_path_factory.mktemp("trained") / "colours.tofa"
    with log_lines() as lines:
        return train(photos, out, TINY, steps.append), steps, lines


def test_training_learns(trained: Trained) -> None:
    report, steps, _ = trained
    assert set(report.accuracies) == {"smallest", "middle", "largest"}
    assert report.accuracies["largest"] > 0.8
    assert 0 < report.seconds < 120, "a tiny network on tiny photos, also on a busy machine"
    losses = [step.losses[0] for step in steps if step.losses]
    first, last = losses[0], losses[-1]
    assert last < 0.5 * first


def test_progress_counts_every_step(trained: Trained) -> None:
    _, every, lines = trained
    steps = [step for step in every if step.phase == "training"]
    tested = [step for step in every if step.phase == "testing subnets"]
    assert [step.step for step in tested] == list(range(1, len(tested) + 1))
    assert 20 <= len(tested) == tested[-1].steps <= 30
    total = int(TINY.epochs * (64 // 16))
    assert [step.step for step in steps] == list(range(1, total + 1))
    assert {step.steps for step in steps} == {total}
    assert [len(step.losses) for step in steps] == [3 if n % 4 == 0 else 2 for n in range(total)]
    assert all(step.images_per_second > 0 for step in steps)
    assert any("80 photos of 2 classes: 64 to train on, 8 to validate" in line for line in lines)


def test_every_phase_is_counted_and_estimated(trained: Trained) -> None:
    _, every, lines = trained
    ends = {step.phase: step for step in every}
    phases = ["reading photos", "training", "evaluation", "testing subnets"]
    drop = ["accuracy drop in integers"] if integer_engine() is not None else []
    assert [*ends] == [*phases, *drop, "accuracy predictor", FINALISTS, READY_MADE, "packing"]
    assert all(step.step == step.steps for step in ends.values())
    left = [step.seconds_left or 0.0 for step in ends.values()]
    assert left == sorted(left, reverse=True)
    assert left[-1] == 0
    assert lines[0].startswith("about ")
    assert lines[0].endswith(" on this machine")


def test_progress_is_printed_in_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    show = output._plain_lines()
    for step in range(1, 101):
        clock[0] += 0.5
        show(Progress(step, 100, (), step / 2, 2.0, "testing subnets", seconds_left=60.0))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 21
    assert lines[0].startswith("testing subnets 1/100, "), "a phase is named when it begins"
    assert (
        lines[-2] == "testing subnets 95/100, 2 a second, 2 s left, 60 s with the phases after it"
    )
    show(Progress(1, 100, (1.0, 2.0), 61.0, 2.0))
    assert capsys.readouterr().err.startswith(
        "training 1/100, loss of a smaller subnet 1.00, a larger 2.00, "
    )
    clock[0] += 21
    show(Progress(3, 100, (1.0, 2.0), 82.0, 2.0))
    assert capsys.readouterr().err.startswith("training 3/100, "), "nothing is silent for long"


def test_trained_bundle_is_whole(trained: Trained) -> None:
    bundle = Bundle.open(trained[0].bundle)
    bundle.verify()
    assert bundle.classes == ("blue", "red")
    assert bundle.space.classes == 2
    assert (bundle.calibration_count, bundle.check_count) == (64, 8)
    assert len(bundle.golden_cases()) == 4
    assert bundle.provenance["start"] == "tiny"
    assert bundle.provenance["photos_trained_on"] == 64
    assert not bundle.half_precision


def test_trained_bundle_predicts_accuracy(trained: Trained) -> None:
    bundle = Bundle.open(trained[0].bundle)
    predictor = bundle.accuracy_predictor()
    assert predictor is not None
    ends = encoded(bundle.space, [bundle.space.smallest(), bundle.space.largest()])
    assert ((predictor.expected(bundle.space, ends) >= 0) & (predictor.error < 0.5)).all()
    assert (predictor.deviation(bundle.space, ends) > 0).all()
    assert bundle.provenance["predictor_tau"] == pytest.approx(predictor.tau, abs=1e-6)
    assert bundle.provenance["integer_drop"] == pytest.approx(predictor.integer_drop, abs=1e-6)
    if integer_engine() is not None:
        assert not np.array_equal(predictor.rounding, [USUAL_DROP, USUAL_DROP]), "measured"
        assert -0.01 < predictor.integer_drop < 0.5
    with tofa_edge.deploy(bundle, latency_ms=1000) as model:
        assert "expected accuracy" in model.explain()
        assert "check photos: " in model.explain()


def test_trained_bundle_ships_finalists(trained: Trained) -> None:
    bundle = Bundle.open(trained[0].bundle)
    finalists = bundle.finalists()
    assert 1 <= len(finalists) <= TINY.predictor_subnets + 3
    assert bundle.space.smallest() in {finalist.subnet for finalist in finalists}
    assert max(finalist.accuracy for finalist in finalists) > 0.8
    assert any(finalist.arrays for finalist in finalists)
    with tofa_edge.deploy(bundle, latency_ms=1000) as model:
        best = max(finalists, key=lambda finalist: finalist.accuracy)
        assert model.explanation.chosen is not None
        assert model.explanation.chosen.accuracy == pytest.approx(best.accuracy, abs=0.02)
    assert {FINALISTS, READY_MADE} <= {step.phase for step in trained[1]}


@pytest.mark.parametrize("which", ["smallest", "largest"])
def test_trained_bundle_deploys_and_knows_colours(trained: Trained, which: str) -> None:
    bundle = Bundle.open(trained[0].bundle)
    subnet = bundle.space.largest() if which == "largest" else bundle.space.smallest()
    with tofa_edge.deploy(
        bundle, subnet=subnet, options=tofa_edge.DeployOptions(threads=1)
    ) as model:
        images, labels = bundle.check_images(model.input_size)
        right = [p.index == label for p, label in zip(model.batch(images), labels, strict=True)]
        assert np.mean(right) > 0.8


def test_same_seed_gives_the_same_weights(photos: Path, tmp_path: Path) -> None:
    made = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        config = TrainingConfig(
            start="tiny", resolution=16, epochs=1, predictor_subnets=0, batch_size=16, seed=seed
        )
        made.append(Bundle.open(train(photos, tmp_path / name, config).bundle).supernet())
    assert all(np.array_equal(made[0][name], made[1][name]) for name in made[0])
    assert not np.array_equal(made[0]["stem.weight"], made[2]["stem.weight"])


def test_half_precision_is_half_as_large(photos: Path, tmp_path: Path) -> None:
    config = TrainingConfig(
        start="tiny", resolution=16, epochs=1, predictor_subnets=0, half_precision=True
    )
    bundle = Bundle.open(train(photos, tmp_path / "half.tofa", config).bundle)
    bundle.verify()
    assert bundle.half_precision
    with tofa_edge.deploy(
        bundle, options=tofa_edge.DeployOptions(threads=1)
    ) as model:  # its golden cases hold
        assert model.explanation.difference is not None


def refused(data: Path, tmp_path: Path, config: TrainingConfig = SHORT) -> str:
    """The message of the DataError; nothing is written."""
    out = tmp_path / "refused.tofa"
    with pytest.raises(DataError) as caught:
        train(data, out, config)
    assert not out.exists()
    return str(caught.value)


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    assert "nowhere: cannot be read" in refused(tmp_path / "nowhere", tmp_path)


def test_file_instead_of_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert "cannot be read" in refused(tmp_path / "file", tmp_path)


def test_one_class_is_refused(copy: Path, tmp_path: Path) -> None:
    shutil.rmtree(copy / "blue")
    assert "found only 'red'" in refused(copy, tmp_path)
    shutil.rmtree(copy / "red")
    assert "found none" in refused(copy, tmp_path)


def test_empty_class_is_refused(copy: Path, tmp_path: Path) -> None:
    (copy / "green").mkdir()
    (copy / "green" / "notes.txt").write_text("no image")
    assert "no images in class 'green'" in refused(copy, tmp_path)


def test_hidden_folders_do_not_count(copy: Path) -> None:
    (copy / ".cache").mkdir()
    assert read_folder(copy).classes == ("blue", "red")


def test_folder_is_read_in_order(photos: Path) -> None:
    folder = read_folder(photos)
    assert folder.classes == ("blue", "red")
    assert np.bincount(folder.labels).tolist() == [PER_CLASS, PER_CLASS]
    assert list(folder.paths) == sorted(folder.paths)
    names = [folder.classes[label] for label in folder.labels]
    assert names == [path.parent.name for path in folder.paths]


def test_many_unreadable_images_are_refused(copy: Path, tmp_path: Path) -> None:
    for number in range(20):
        (copy / "red" / f"{number:03}.png").write_bytes(b"torn")
    message = refused(copy, tmp_path)
    assert "images cannot be read" in message
    assert ".png" in message


def test_one_unreadable_image_is_skipped(copy: Path, lines: list[str]) -> None:
    (copy / "red" / "003.png").write_bytes(b"torn")
    images, kept = decode_all(read_folder(copy), 24)
    labels = kept.labels
    assert images.shape == (79, 24, 24, 3)
    assert len(labels) == len(kept) == 79
    assert copy / "red" / "003.png" not in kept.paths
    assert labels.tolist() == [0] * 40 + [1] * 39
    assert len(lines) == 1
    assert lines[0].startswith("skipped: ")
    assert "003.png" in lines[0]


@pytest.mark.parametrize(
    "role",
    [
        "train",
        "validation",
        "check",
    ],
)
def test_training_goes_on_without_one_image(
    copy: Path, tmp_path: Path, role: str, lines: list[str]
) -> None:
    """Whatever part of the data it falls into: it is one of 80, less than 5 %."""
    folder = read_folder(copy)
    torn = folder.paths[int(split(folder.labels, trainer.PARTS, SHORT.seed)[role][0])]
    torn.write_bytes(b"torn")
    report = train(copy, tmp_path / "made.tofa", SHORT)
    Bundle.open(report.bundle).verify()
    assert [torn.name in line for line in lines if line.startswith("skipped: ")] == [True]


def test_few_photos_are_enough_or_refused(tmp_path: Path) -> None:
    """Three photos a class give one to each role; fewer are refused before training."""
    few = train(write_photos(tmp_path / "few", per_class=3), tmp_path / "few.tofa", SHORT)
    Bundle.open(few.bundle).verify()
    fewer, steps = write_photos(tmp_path / "fewer", per_class=2), list[Progress]()
    with pytest.raises(DataError, match="3 photos or more of each class"):
        train(fewer, tmp_path / "fewer.tofa", SHORT, steps.append)
    assert not steps


@pytest.mark.parametrize("out", ["no/such/folder/x.tofa", "."])
def test_place_of_the_bundle_is_checked_first(photos: Path, tmp_path: Path, out: str) -> None:
    steps: list[Progress] = []
    with pytest.raises(BundleError):
        train(photos, tmp_path / out, SHORT, steps.append)
    assert not steps, "no training before the check"
    assert {path.suffix for path in tmp_path.iterdir()} <= {".checkpoint"}


def test_training_wants_photos(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="wants a folder"):
        train(None, tmp_path / "x.tofa", SHORT)


def test_lite0_as_it_is_without_photos(tmp_path: Path) -> None:
    report = train(None, tmp_path / "lite0.tofa", TrainingConfig(epochs=0))
    assert report.accuracies == {}
    bundle = Bundle.open(report.bundle)
    assert len(bundle.classes) == 1000
    assert (bundle.calibration_count, bundle.check_count) == (0, 0)
    assert len(bundle.golden_cases()) == 4
    assert bundle.space.resolutions[-1] == 224
    assert bundle.supernet()["logits.weight"].shape == (1000, 1280)


def test_lite0_as_it_is_takes_photos_along(photos: Path, tmp_path: Path) -> None:
    config = TrainingConfig(epochs=0, calibration_photos=20, half_precision=True)
    bundle = Bundle.open(train(photos, tmp_path / "lite0.tofa", config).bundle)
    assert bundle.calibration_count == 20
    assert bundle.half_precision


def test_lite0_as_it_is_skips_a_torn_photo(copy: Path, tmp_path: Path) -> None:
    (copy / "red" / "003.png").write_bytes(b"torn")
    bundle = Bundle.open(train(copy, tmp_path / "x.tofa", TrainingConfig(epochs=0)).bundle)
    assert bundle.calibration_count == 79


def test_tiny_has_no_weights_to_bundle(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="wants pretrained weights"):
        train(None, tmp_path / "x.tofa", TrainingConfig(start="tiny", epochs=0))


def test_loss_that_is_not_finite_names_the_step() -> None:
    supernet = Supernet(tiny(), LITE_PREPROCESSING, torch.Generator().manual_seed(0))
    images = np.random.default_rng(0).integers(0, 256, (32, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(32) % 2

    def poison(progress: Progress) -> None:
        if progress.step == 2:
            with torch.no_grad():
                supernet.arrays()["head.weight"].fill_(float("nan"))

    with pytest.raises(TrainingError, match="not finite at step 3"):
        optimise(supernet, images, labels, TrainingRun(TINY, poison))


@pytest.mark.parametrize(
    "make",
    [
        lambda: TrainingConfig(start="lite9"),
        lambda: TrainingConfig(epochs=-1),
        lambda: TrainingConfig(batch_size=1),
        lambda: TrainingConfig(learning_rate=0.0),
        lambda: TrainingConfig(learning_rate=float("nan")),
        lambda: TrainingConfig(seed=-1),
        lambda: TrainingConfig(check_photos=-1),
    ],
)
def test_config_out_of_range_is_refused(make: Callable[[], TrainingConfig]) -> None:
    with pytest.raises(TrainingError):
        make()


def test_resolution_below_the_space_is_refused(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="wanted a resolution of 16 px or more, got 15"):
        train(photos, tmp_path / "x.tofa", TrainingConfig(start="tiny", resolution=15))


def pixels(count: int = 64, size: int = 24) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def test_augmentation_keeps_shape_and_range() -> None:
    images = pixels()
    made = weak(images, torch.Generator().manual_seed(0))
    assert made.shape == images.shape
    assert made.dtype == torch.float32
    assert made.min() >= -1e-3
    assert made.max() <= 255 + 1e-3
    assert not torch.allclose(made, images.float())
    assert made.std() > 20


def test_augmentation_follows_the_generator() -> None:
    made = [weak(pixels(), torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_about_half_are_flipped() -> None:
    ramp = torch.arange(24.0).expand(200, 3, 24, 24)
    made = weak(ramp, torch.Generator().manual_seed(0))
    flipped = (made[:, 0, 12, 0] > made[:, 0, 12, -1]).float().mean()
    assert 0.4 < flipped < 0.6
    width = (made[:, 0, 12, 0] - made[:, 0, 12, -1]).abs() / 23
    assert width.min() > 0.68, "a crop keeps half of the area: 0.71 of the side"
    assert width.max() <= 1.001


def test_resizing_averages() -> None:
    images = pixels(2, 32).float()
    assert resize(images, 32) is images
    small = resize(images, 16)
    assert small.shape == (2, 3, 16, 16)
    torch.testing.assert_close(small.mean(), images.mean(), rtol=0.02, atol=0)


@given(
    st.lists(st.integers(3, 60), min_size=1, max_size=5),
    st.integers(0, 2**32 - 1),
)
def test_split_is_disjoint_and_stratified(sizes: list[int], seed: int) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes).astype(np.int64)
    parts = split(labels, trainer.PARTS, seed)
    assert list(parts) == ["train", "validation", "check"]
    together = np.concatenate(list(parts.values()))
    assert sorted(together) == list(range(len(labels)))
    for label, total in enumerate(sizes):
        counts = {role: int((labels[part] == label).sum()) for role, part in parts.items()}
        assert min(counts.values()) >= 1
        for role in ("validation", "check"):
            assert abs(counts[role] - 0.1 * total) <= 1


def test_split_wants_a_photo_of_each_class_for_each_role() -> None:
    with pytest.raises(DataError, match="one class has 2"):
        split(np.array([0, 0, 0, 1, 1], dtype=np.int64), trainer.PARTS, 0)


def test_split_follows_its_seed() -> None:
    labels: IndexArray = np.repeat(np.arange(2), 50).astype(np.int64)
    made = [split(labels, trainer.PARTS, seed)["check"].tolist() for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]


def test_a_bundle_is_replaced_only_if_asked(photos: Path, tmp_path: Path) -> None:
    steps: list[Progress] = []
    out = tmp_path / "x.tofa"
    out.write_text("trained for hours")
    for config in (SHORT, replace(SHORT, epochs=0)):
        with pytest.raises(BundleError, match=r"x.tofa exists: choose another name, or --force"):
            train(photos, out, config, steps.append)
    with pytest.raises(BundleError, match="exists"):
        pretrain(photos, out, TrainingConfig(), steps.append)
    with pytest.raises(TrainingError, match="no checkpoint to resume from"):
        train(photos, out, SHORT, steps.append, resume=True)
    assert not steps
    assert out.read_text() == "trained for hours"

    def stop(progress: Progress) -> None:
        if progress.losses:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(photos, out, SHORT, stop, overwrite=True)
    assert out.read_text() == "trained for hours"
    assert Bundle.open(train(photos, out, SHORT, resume=True).bundle)


def test_a_bundle_that_is_new_by_the_end_is_not_replaced(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.tofa"

    def write(progress: Progress) -> None:
        with pytest.raises(TrainingError, match="trains this bundle"):
            train(photos, out, SHORT, overwrite=True)
        out.write_text("trained by another")

    with pytest.raises(BundleError, match=r"there by now.*kept as .*x\.tofa\.trained"):
        train(photos, out, SHORT, write)
    assert out.read_text() == "trained by another"
    assert Bundle.open(tmp_path / "x.tofa.trained").classes == ("blue", "red")
    assert {path.name for path in tmp_path.iterdir()} == {"x.tofa", "x.tofa.trained"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_training_says_so_and_leaves_nothing(
    photos: Path, tmp_path: Path, number: signal.Signals
) -> None:
    command = [sys.executable, "-m", "tofa_edge", "train", str(photos)]
    command += ["--out", str(tmp_path / "x.tofa"), "--from", "tiny", "--epochs", "100000"]
    command += ["--resolution", "16"]
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as running:
        assert running.stderr is not None
        assert any("to train on" in line for line in iter(running.stderr.readline, ""))
        time.sleep(0.5)
        running.send_signal(number)
        said = running.stderr.read()
    assert running.returncode == 128 + number, said
    by = "" if number == signal.SIGINT else " by SIGTERM"
    assert said.strip().splitlines()[-1] == f"tofa-edge: interrupted{by}, before it was done"
    assert {path.suffix for path in tmp_path.iterdir()} <= {".checkpoint"}
