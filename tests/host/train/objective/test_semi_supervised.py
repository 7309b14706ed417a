"""The one loss, its targets, resuming, and transfer from bundles and from pretrained networks."""

from __future__ import annotations

import csv
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tofa_edge.architecture.arrays import FloatArray
from tofa_edge.architecture.zoo import tiny
from tofa_edge.benchmarks.studies.best_subnets import rank
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.errors import TrainingError
from tofa_edge.measurement.order_statistics import kendall_tau
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.train import trainer
from tofa_edge.train.config import OnStep, Progress, TrainingConfig, silent
from tofa_edge.train.data.augment import strong
from tofa_edge.train.data.files.folders import list_files, read_folder
from tofa_edge.train.data.grouping import split
from tofa_edge.train.data.named_sets import FASHION_FOLDER
from tofa_edge.train.data.photos import forget_labels
from tofa_edge.train.data.sources import read_photos
from tofa_edge.train.data.steps import Step
from tofa_edge.train.objective.class_prior import class_prior, labelled_prior
from tofa_edge.train.objective.linear_probe import fit_linear_probe, probe_accuracy
from tofa_edge.train.objective.objectives import SemiSupervised
from tofa_edge.train.run import early_stopping
from tofa_edge.train.run.early_stopping import EarlyStopping
from tofa_edge.train.run.logs import logged
from tofa_edge.train.run.loop import Phase, begin
from tofa_edge.train.run.phases import TrainingRun, optimise
from tofa_edge.train.run.subnet_accuracy import fit_temperature
from tofa_edge.train.supernet.supernet import Supernet
from tofa_edge.train.trainer import pretrain, train

pytestmark = pytest.mark.usefixtures("known_engines")

COLOURS = {"red": (150, 90, 90), "blue": (90, 90, 150)}
SHORT = TrainingConfig(
    start="tiny", resolution=16, epochs=3, batch_size=16, labels_per_class=4, predictor_subnets=0
)
WATCHED = replace(SHORT, labels_per_class=30)  # enough to stop early by


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty photos of two colours, and twenty in a folder without labels."""
    root = tmp_path_factory.mktemp("colours")
    rng = np.random.default_rng(0)
    for name, count in (("red", 40), ("blue", 40), ("unlabelled", 20)):
        (root / name).mkdir()
        for number in range(count):
            colour = COLOURS.get(name, list(COLOURS.values())[number % 2])
            pixels = np.array(colour) + rng.integers(-60, 60, (20, 20, 3))
            image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
            image.save(root / name / f"{number:03}.png")
    return root


def supernet(classes: int = 3) -> Supernet:
    space = replace(tiny(), classes=classes)
    return Supernet(space, LITE_PREPROCESSING, torch.Generator().manual_seed(0))


def test_few_labels_train_all_subnets(photos: Path, tmp_path: Path, lines: list[str]) -> None:
    steps: list[Progress] = []
    report = train(photos, tmp_path / "x.tofa", SHORT, steps.append)
    assert any("84 to train on (76 without a label)" in line for line in lines)
    assert set(report.accuracies) == {"smallest", "middle", "largest"}
    learned = [step for step in steps if step.losses]
    assert len(learned) == 3 * (84 // 32)
    assert all(0 <= step.metrics["mask_rate"] <= 1 for step in learned)
    bundle = Bundle.open(report.bundle)
    bundle.verify()
    assert bundle.classes == ("blue", "red")
    assert 0.1 <= bundle.temperature <= 10
    assert not (tmp_path / "x.tofa.checkpoint").exists()


@pytest.mark.parametrize(("config", "stop_at"), [(SHORT, 1), (SHORT, 4), (WATCHED, 3)])
def test_resumed_run_gives_the_same_weights(
    photos: Path, tmp_path: Path, config: TrainingConfig, stop_at: int
) -> None:
    whole = train(photos, tmp_path / "whole.tofa", config)
    out = tmp_path / "resumed.tofa"

    def stop(progress: Progress) -> None:
        if progress.losses and progress.step == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(photos, out, config, stop)
    assert not out.exists()
    with pytest.raises(TrainingError, match="--resume"):
        train(photos, out, config)
    seen: list[Progress] = []
    resumed = train(photos, out, config, seen.append, resume=True)
    assert next(step.step for step in seen if step.losses) == stop_at + 1
    first, second = (Bundle.open(report.bundle).supernet() for report in (whole, resumed))
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["resumed.tofa", "whole.tofa"]


def test_checkpoint_of_another_run_is_refused(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.tofa"

    def stop(progress: Progress) -> None:
        if progress.losses:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(photos, out, SHORT, stop)
    with pytest.raises(TrainingError, match="another seed: 0, now it is 1"):
        train(photos, out, replace(SHORT, seed=1), resume=True)
    checkpoint = tmp_path / "x.tofa.checkpoint"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    with pytest.raises(TrainingError, match="cannot be read"):
        train(photos, out, SHORT, resume=True)
    checkpoint.unlink()
    with pytest.raises(TrainingError, match="no checkpoint"):
        train(photos, out, SHORT, resume=True)


def test_bundle_is_a_start_for_other_classes(photos: Path, tmp_path: Path) -> None:
    first = train(photos, tmp_path / "first.tofa", SHORT).bundle
    config = replace(SHORT, start=str(first), epochs=1, learning_rate=1e-5)
    steps: list[Progress] = []
    second = Bundle.open(train(photos, tmp_path / "second.tofa", config, steps.append).bundle)
    kept, moved = Bundle.open(first).supernet(), second.supernet()
    assert np.allclose(kept["stem.weight"], moved["stem.weight"], atol=1e-3)
    assert not np.allclose(kept["logits.weight"], moved["logits.weight"], atol=1e-3)
    assert second.provenance["start"] == first.name, "no folder of this machine"


def test_pretraining_needs_no_labels(photos: Path, tmp_path: Path) -> None:
    """And serves another task: a bundle of all subnets, with the teacher's classes."""
    steps: list[Progress] = []
    config = TrainingConfig(pretrain_epochs=2, resolution=48)
    report = pretrain(photos, tmp_path / "supernet.tofa", config, steps.append)
    bundle = Bundle.open(report.bundle)
    assert (len(bundle.classes), bundle.space.resolutions) == (1000, (48,))
    counts = Counter(step.phase for step in steps)
    assert counts == {
        "reading photos": 100, "teacher features (lite0)": 2, "pretraining": 2 * (100 // 64),
        "packing": 4,
    }  # fmt: skip
    assert {step.phase for step in steps if step.losses} == {"pretraining"}


def test_training_from_a_plain_network_pretrains_first(photos: Path, tmp_path: Path) -> None:
    steps: list[Progress] = []
    config = TrainingConfig(
        pretrain_epochs=1,
        epochs=1,
        resolution=48,
        batch_size=4,
        labels_per_class=4,
        predictor_subnets=0,
    )
    out = tmp_path / "x.tofa"

    def stop(progress: Progress) -> None:
        steps.append(progress)
        if (progress.phase, progress.step) == ("training", 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(photos, out, config, stop)
    taught = [f"teacher features ({name})" for name in ("lite0", "lite1", "lite2")]
    assert [(name, len([*group])) for name, group in groupby(step.phase for step in steps)] == [
        ("reading photos", 100), *((name, 2) for name in taught), ("pretraining", 1),
        ("initial pseudo-labels", 5), ("training", 2),
    ]  # fmt: skip
    left = [step.seconds_left for step in steps if step.phase == "pretraining"]
    assert left[0], "the estimate covers what comes"
    steps.clear()
    train(photos, out, config, steps.append, resume=True)
    assert [step.phase for step in steps if step.losses] == ["training"] * (84 // 8 - 2)
    phases = [name for name, _ in groupby(step.phase for step in steps)]
    assert phases == ["reading photos", "training", "evaluation", "packing"]
    assert steps[-1].seconds_left == 0


def test_probe_learns_from_the_unlabelled() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(600) % 3
    centres = torch.randn(3, 40, generator=generator)
    seen = centres[truth] + 1.6 * torch.randn(600, 40, generator=generator)
    labels = np.where(np.arange(600) < 9, truth.numpy(), -1)
    accuracies = [
        probe_accuracy(fit_linear_probe(seen, labels, 3, rounds), seen, truth.numpy())
        for rounds in (0, 3)
    ]
    assert accuracies[1] > accuracies[0] > 0.5


def overlapping(shares: Sequence[float], spread: float = 1.6) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns features of 2,000 images of so frequent classes, and their classes."""
    generator = torch.Generator().manual_seed(0)
    counts = [round(2000 * share) for share in shares]
    truth = torch.repeat_interleave(torch.arange(len(shares)), torch.tensor(counts))
    truth = truth[torch.randperm(len(truth), generator=generator)]
    centres = torch.randn(len(shares), 20, generator=generator)
    return centres[truth] + spread * torch.randn(len(truth), 20, generator=generator), truth


@pytest.mark.parametrize("shares", [(0.7, 0.3), (0.2, 0.8), (0.6, 0.3, 0.1)])
def test_class_prior_is_found_where_labels_are_as_many_of_each(shares: Sequence[float]) -> None:
    seen, truth = overlapping(shares)
    labels = forget_labels(truth.numpy(), 40, 0)
    found = class_prior(seen, labels, len(shares))
    torch.testing.assert_close(found, torch.tensor(shares), atol=0.08, rtol=0)
    own = labelled_prior(labels, len(shares))
    assert (found - torch.tensor(shares)).abs().sum() < 0.5 * (
        own - torch.tensor(shares)
    ).abs().sum()


def test_class_prior_stays_near_that_of_the_labels_where_it_is_right() -> None:
    seen, truth = overlapping([0.1] * 10)
    labels = forget_labels(truth.numpy(), 25, 0)
    found = class_prior(seen, labels, 10)
    assert float((found - 0.1).abs().max()) < 0.025


def test_class_prior_is_drawn_to_that_of_the_labels_where_these_are_few() -> None:
    shares = torch.tensor([0.8, 0.2])
    seen, truth = overlapping(shares.tolist())
    found = {
        count: class_prior(seen, forget_labels(truth.numpy(), count, 0), 2)[0] - shares[0]
        for count in (5, 40)
    }
    assert -0.3 < found[5] < found[40] < 0.08
    few = forget_labels(truth.numpy(), 2, 0)
    torch.testing.assert_close(class_prior(seen, few, 2), labelled_prior(few, 2))


def test_draws_are_fair_and_repeatable() -> None:
    pool = np.arange(10, 20)
    draws = [Step(number, 5, 3).draw(pool, 4, "x") for number in range(5)]
    assert sorted(np.concatenate(draws).tolist()) == sorted([*pool.tolist()] * 2)
    assert np.array_equal(draws[2], Step(2, 5, 3).draw(pool, 4, "x"))
    assert not np.array_equal(draws[2], Step(2, 5, 4).draw(pool, 4, "x"))


def test_strong_views_stay_in_range_and_repeat() -> None:
    images = torch.randint(0, 256, (8, 3, 24, 24), dtype=torch.uint8)
    before = torch.random.get_rng_state()
    first, second = (strong(images, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(before, torch.random.get_rng_state()), "the global generator is left alone"
    assert first.min() >= 0
    assert first.max() <= 255


def test_temperature_is_found() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(1, 4000, 5)).astype(np.float32)
    shares = np.exp(logits[0]) / np.exp(logits[0]).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(5, p=share / share.sum()) for share in shares])
    assert fit_temperature(3 * logits, labels) == pytest.approx(3, rel=0.15)


def test_folder_of_unlabelled_photos(photos: Path) -> None:
    folder = read_folder(photos)
    assert folder.classes == ("blue", "red")
    assert (folder.labels == -1).sum() == 20
    parts = split(folder.labels, trainer.PARTS, 0)
    assert all((folder.labels[parts[role]] >= 0).all() for role in ("validation", "check"))
    assert len(list_files(photos)) == 100


def test_digits_come_by_name() -> None:
    pytest.importorskip("sklearn")
    found = read_photos(Path("digits"), 16)
    assert found.images.shape == (1797, 16, 16, 3)
    assert len(found.classes) == 10


def test_fashion_comes_by_name_where_its_package_is_installed() -> None:
    if not FASHION_FOLDER.exists():
        pytest.skip("no Debian package dataset-fashion-mnist")
    found = read_photos(Path("fashion-mnist"), 16)
    assert found.images.shape == (60_000, 16, 16, 3)
    assert (np.bincount(found.labels) == 6000).all()


def test_labels_are_forgotten_by_class() -> None:
    labels = np.array([0] * 10 + [1] * 3 + [-1] * 2, np.int64)
    kept = forget_labels(labels, 4, 0)
    assert [(kept == n).sum() for n in (0, 1, -1)] == [4, 3, 8]


def test_nothing_labelled_is_refused() -> None:
    images = np.zeros((8, 16, 16, 3), np.uint8)
    with pytest.raises(TrainingError, match="all are unlabelled"):
        optimise(supernet(), images, np.full(8, -1), TrainingRun(SHORT))


def test_steps_are_logged(tmp_path: Path) -> None:
    seen: list[Progress] = []
    steps = [
        Progress(1, 2, (1.0, 2.0), 0.5, 10.0, "pretraining"),
        Progress(1, 2, (1.0, 2.0), 0.5, 10.0, "training", {"mask_rate": 0.25}),
    ]
    with logged(tmp_path / "log", seen.append) as on_step:
        for step in steps:
            on_step(step)
    assert seen == steps
    with (tmp_path / "log" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["pretraining/loss/smaller"] == "1.0"
    assert rows[1]["training/mask_rate"] == "0.25"
    assert list((tmp_path / "log").glob("events.*"))
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="cannot be written"), logged(tmp_path / "file", print):
        pass


@pytest.mark.parametrize("photos_are_enough", [True, False])
def test_training_stops_only_by_enough_photos(
    photos: Path,
    tmp_path: Path,
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
    photos_are_enough: bool,
) -> None:
    """The first evaluation is the best: with too few photos all ten come nevertheless."""
    steps: list[Progress] = []
    calls = itertools.count()  # of three subnets each
    monkeypatch.setattr(early_stopping, "accuracy", lambda *_: float(next(calls) < 3))
    if photos_are_enough:
        monkeypatch.setattr(early_stopping, "LEAST_PHOTOS", 8)
    report = train(photos, tmp_path / "x.tofa", replace(WATCHED, epochs=20), steps.append)
    evaluations = [line for line in lines if "accuracy on validation photos:" in line]
    said = "fewer than 300 validation photos (8): training does not stop early"
    assert len(evaluations) == (4 if photos_are_enough else 10)
    assert (said in lines) != photos_are_enough
    assert set(report.accuracies) == {"smallest", "middle", "largest"}


def test_early_stopping_restores_the_best(lines: list[str]) -> None:
    made = supernet()
    objective = SemiSupervised(np.zeros((4, 32, 32, 3), np.uint8), np.array([0, 1, 2, 0]), 3, 2, 0)
    state = begin(made, objective, Phase("training", 10, 1e-3))
    shares = iter([0.5, 0.75, 0.5, 0.25, 0.5])

    class Scripted(EarlyStopping):
        """Returns logits of scripted accuracies."""

        def logits(self, supernet: Supernet, on_step: OnStep = silent) -> dict[str, FloatArray]:
            right = int(next(shares) * 4)
            return {"largest": np.eye(3, dtype=np.float32)[[0] * right + [1] * (4 - right)]}

    images = np.zeros((4, 32, 32, 3), np.uint8)
    early_stopping = Scripted(images, np.zeros(4, np.int64), images)
    ends = []
    for number in range(1, 6):
        with torch.no_grad():
            state.averaged.arrays()["stem.shift"].fill_(float(number))
        ends.append(early_stopping.evaluate(Progress(number, 10, (1.0,), 1.0, 1.0), state))
    assert ends == [False, False, False, False, True]
    early_stopping.restore_best(state)
    assert float(state.averaged.arrays()["stem.shift"][0]) == 2
    assert lines[-1] == "early stopping: no improvement in 3 evaluations"


def test_ranking_needs_no_labels() -> None:
    """A subnet that is the largest agrees wholly; τ of an order with itself is 1."""
    made = supernet()
    space, rng = made.space, np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    subnets = [space.largest(), space.smallest(), space.sample(rng)]
    found = rank(space, made.to_arrays(), subnets, images)
    assert found.divergence[0] == pytest.approx(0, abs=1e-6)
    assert found.agreement[0] == 1
    assert (found.divergence[1:] > 0).all()
    assert kendall_tau(found.divergence, found.divergence) == 1
    assert kendall_tau(np.array([1.0, 2, 3]), np.array([3.0, 1, 2])) == pytest.approx(-1 / 3)
