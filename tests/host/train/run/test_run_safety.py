"""What a run survives: kills, interruptions, losses that are not finite, other processes."""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from tofa_edge.architecture.arrays import FloatArray
from tofa_edge.architecture.zoo import tiny
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.errors import DataError, TrainingError
from tofa_edge.interruption import INTERRUPTIONS
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.train.after.subnet_tests import expected_accuracies
from tofa_edge.train.config import TESTING, Progress, TrainingConfig
from tofa_edge.train.objective.objectives import SemiSupervised
from tofa_edge.train.run import checkpoint, logs, phases
from tofa_edge.train.run import early_stopping as early_stopping
from tofa_edge.train.run.loop import TrainingState
from tofa_edge.train.run.session import to_ship
from tofa_edge.train.run.subnet_accuracy import fit_temperature
from tofa_edge.train.supernet.supernet import Supernet
from tofa_edge.train.trainer import train

pytestmark = pytest.mark.usefixtures("known_engines")

OPTIONS: dict[str, Any] = {
    "start": "tiny",
    "resolution": 32,
    "epochs": 4,
    "batch_size": 8,
    "labels_per_class": 8,
    "predictor_subnets": 0,
}
CONFIG = TrainingConfig(**OPTIONS)
STEPS = 4 * (64 // 16)
KILLED = """
import json, os, signal, sys
from pathlib import Path
import torch
from tofa_edge.train.run import phases
from tofa_edge.train.config import TrainingConfig
from tofa_edge.train.trainer import train

phases.SECONDS_BETWEEN_CHECKPOINTS = 0.0
torch.set_num_threads(int(sys.argv[4]))  # sums depend on it

def kill(progress):
    if progress.losses and progress.step == 6:
        os.kill(os.getpid(), signal.SIGKILL)

train(Path(sys.argv[1]), Path(sys.argv[2]), TrainingConfig(**json.loads(sys.argv[3])), kill)
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty noisy photos a class; 32 of each are trained on."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for name, colour in (("blue", (90, 90, 150)), ("red", (150, 90, 90))):
        (root / name).mkdir()
        for number in range(40):
            pixels = np.array(colour) + rng.integers(-60, 60, (36, 36, 3))
            image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
            image.save(root / name / f"{number:03}.png")
    return root


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, FloatArray]:
    """The weights of an uninterrupted run."""
    out = tmp_path_factory.mktemp("whole") / "x.tofa"
    return Bundle.open(train(photos, out, CONFIG).bundle).supernet()


def learned(steps: list[Progress]) -> list[Progress]:
    """Those of the optimiser."""
    return [step for step in steps if step.losses]


def alike(first: dict[str, FloatArray], second: dict[str, FloatArray]) -> bool:
    return all(np.array_equal(first[name], second[name]) for name in first)


def test_killed_run_goes_on_to_the_same_weights(
    photos: Path, whole: dict[str, FloatArray], tmp_path: Path
) -> None:
    out = tmp_path / "x.tofa"
    command = [sys.executable, "-c", KILLED, str(photos), str(out), json.dumps(OPTIONS)]
    command.append(str(torch.get_num_threads()))
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == -9, done.stderr[-2000:]
    assert not out.exists()
    steps: list[Progress] = []
    report = train(photos, out, CONFIG, steps.append, resume=True)
    assert learned(steps)[0].step in (6, 7), "the checkpoint of a step or two before"
    assert alike(whole, Bundle.open(report.bundle).supernet())


@contextlib.contextmanager
def default_handlers() -> Iterator[None]:
    before = {number: signal.signal(number, default) for number, default in INTERRUPTIONS.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.parametrize("number", [*INTERRUPTIONS])
def test_interrupted_run_has_lost_no_step(
    photos: Path, whole: dict[str, FloatArray], tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "x.tofa"

    def interrupt(progress: Progress) -> None:
        if progress.losses and progress.step == 4:
            os.kill(os.getpid(), number)

    with default_handlers():
        with pytest.raises(KeyboardInterrupt):
            train(photos, out, CONFIG, interrupt)
        assert signal.getsignal(number) == INTERRUPTIONS[number]
    steps: list[Progress] = []
    report = train(photos, out, CONFIG, steps.append, resume=True)
    assert learned(steps)[0].step == 5
    assert alike(whole, Bundle.open(report.bundle).supernet())


def test_run_interrupted_after_training_does_not_train_again(
    photos: Path, whole: dict[str, FloatArray], tmp_path: Path
) -> None:
    out = tmp_path / "x.tofa"
    config = replace(CONFIG, predictor_subnets=20)

    def stop(progress: Progress) -> None:
        if progress.phase == TESTING:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(photos, out, config, stop)
    steps: list[Progress] = []
    report = train(photos, out, config, steps.append, resume=True)
    assert TESTING in {step.phase for step in steps}
    assert not learned(steps)
    assert alike(whole, Bundle.open(report.bundle).supernet())


@pytest.mark.parametrize("interrupted", ["testing", "the same step"])
def test_run_interrupted_after_an_early_stop_ends_where_it_stopped(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupted: str
) -> None:
    config = replace(CONFIG, labels_per_class=None, predictor_subnets=20)
    for name in ("LEAST_LABELS", "LEAST_PHOTOS"):
        monkeypatch.setattr(early_stopping, name, 1)

    def run(
        name: str, on_step: Callable[[Progress], None], resume: bool = False
    ) -> dict[str, FloatArray]:
        calls = itertools.count()  # the first evaluation of three subnets is the best
        monkeypatch.setattr(early_stopping, "accuracy", lambda *_: float(next(calls) < 3))
        report = train(photos, tmp_path / f"{name}.tofa", config, on_step, resume=resume)
        return Bundle.open(report.bundle).supernet()

    steps: list[Progress] = []
    expected = run("whole", steps.append)
    last = max(step.step for step in steps if step.losses)
    assert last < STEPS

    def interrupt(progress: Progress) -> None:
        if interrupted == "testing" and progress.phase == TESTING:
            raise KeyboardInterrupt
        if interrupted == "the same step" and progress.step == last and progress.losses:
            os.kill(os.getpid(), signal.SIGINT)

    with default_handlers(), pytest.raises(KeyboardInterrupt):
        run("resumed", interrupt)
    steps = []
    found = run("resumed", steps.append, resume=True)
    assert TESTING in {step.phase for step in steps}
    assert not learned(steps)
    assert alike(expected, found)


def test_signal_that_comes_while_the_checkpoint_is_written_spares_it(
    photos: Path, whole: dict[str, FloatArray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, save = tmp_path / "x.tofa", checkpoint.Checkpoints.save

    def disturbed(*given: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        save(*given)

    def interrupt(progress: Progress) -> None:
        if progress.losses and progress.step == 4:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patched, default_handlers():
        patched.setattr(checkpoint.Checkpoints, "save", disturbed)
        with pytest.raises(KeyboardInterrupt):
            train(photos, out, CONFIG, interrupt)
    report = train(photos, out, CONFIG, resume=True)
    assert alike(whole, Bundle.open(report.bundle).supernet())


def test_checkpoint_given_up_leaves_nothing(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(content: Any, path: Path, metadata: Any) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt  # later than a second after the first

    monkeypatch.setattr(safetensors.torch, "save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(photos, tmp_path / "x.tofa", CONFIG)
    assert list(tmp_path.iterdir()) == []


def test_half_an_evaluation_is_not_kept(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(
        self: early_stopping.EarlyStopping, progress: Progress, state: TrainingState
    ) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(early_stopping.EarlyStopping, "evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(photos, tmp_path / "x.tofa", CONFIG)
    assert list(tmp_path.iterdir()) == []


def test_half_a_step_is_not_kept(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unified = SemiSupervised.losses

    def interrupted(self: SemiSupervised, step: Any, *rest: Any) -> Iterator[torch.Tensor]:
        for number, loss in enumerate(unified(self, step, *rest)):
            if (step.number, number) == (3, 1):
                raise KeyboardInterrupt  # as a second Ctrl-C does
            yield loss

    monkeypatch.setattr(SemiSupervised, "losses", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(photos, tmp_path / "x.tofa", CONFIG)
    assert list(tmp_path.iterdir()) == []


def test_gradient_that_is_not_finite_spares_the_checkpoint(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, clip, calls = tmp_path / "x.tofa", torch.nn.utils.clip_grad_norm_, [0]

    def infinite(parameters: Any, norm: float) -> torch.Tensor:
        calls[0] += 1
        return torch.tensor(float("inf")) if calls[0] == 6 else clip(parameters, norm)

    with monkeypatch.context() as patched:
        patched.setattr(phases, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
        patched.setattr(torch.nn.utils, "clip_grad_norm_", infinite)
        with pytest.raises(TrainingError, match=r"gradient is not finite at step 6 .*--resume"):
            train(photos, out, CONFIG)
    steps: list[Progress] = []
    slower = replace(CONFIG, learning_rate=1e-4)
    report = train(photos, out, slower, steps.append, resume=True)
    assert [step.step for step in learned(steps)] == list(range(6, STEPS + 1))
    arrays = Bundle.open(report.bundle).supernet().values()
    assert all(np.isfinite(array).all() for array in arrays)


def test_torchrun_trains_by_the_command(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("lightning_fabric")
    out = tmp_path / "x.tofa"
    torchrun = ["torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m"]
    options = ["--from", "tiny", "--resolution", "32", "--epochs", "1", "--batch-size", "8"]
    options += ["--labels-per-class", "8", "--predictor-subnets", "20", "--device", "cpu"]
    command = ["tofa_edge", "train", str(photos), *options, "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-m", *torchrun, *command],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("Next: tofa-edge deploy") == 1
    Bundle.open(out).verify()


def test_what_ships_is_not_computed_in_bfloat16() -> None:
    made = Supernet(tiny(), LITE_PREPROCESSING, torch.Generator().manual_seed(0))
    images, subnet = torch.rand(4, 3, 32, 32) * 255, made.space.largest()
    (wanted,) = made(images, subnet)
    made.mixed = True
    (rounded,) = made(images, subnet)
    assert rounded.dtype == torch.float32, "losses are not computed in bfloat16"
    assert not torch.equal(rounded, wanted)
    (shipped,) = to_ship(made)(images, subnet)
    assert torch.equal(shipped, wanted)


def test_few_labels_never_make_distance_a_virtue() -> None:
    rng = np.random.default_rng(0)
    divergences = rng.uniform(0.02, 0.8, 200)
    for seed in range(50):
        shared = np.random.default_rng(seed).normal(size=200)
        accuracies = np.clip(0.6 - 0.05 * divergences + 0.2 * shared, 0, 1)
        expected = expected_accuracies(divergences, accuracies, 8)
        line = expected[np.argsort(divergences)] - 0.004 * accuracies[np.argsort(divergences)]
        assert np.all(np.diff(line) <= 1e-9)
        assert expected.mean() == pytest.approx(accuracies.mean(), abs=0.02)


def test_few_photos_that_are_all_right_are_no_reason_to_be_certain() -> None:
    logits = np.tile(np.array([1.0, 0.0], np.float32), (3, 4, 1))
    assert 0.5 < fit_temperature(logits, np.zeros(4, np.int64)) < 1


def test_evaluations_are_reported_where_training_must_not_stop(
    photos: Path, tmp_path: Path, lines: list[str]
) -> None:
    steps: list[Progress] = []
    train(photos, tmp_path / "x.tofa", CONFIG, steps.append)
    assert any("does not stop early" in line for line in lines)
    assert sum("accuracy on validation photos" in line for line in lines) >= 10
    assert len(learned(steps)) == STEPS
    metrics = learned(steps)[-1].metrics
    assert {"accuracy/smallest", "accuracy/middle", "accuracy/largest"} <= set(metrics)


def test_log_of_an_earlier_run_is_kept(tmp_path: Path) -> None:
    pytest.importorskip("lightning_fabric")
    for number in range(3):
        with logs.logged(tmp_path, lambda progress: None) as log:
            log(Progress(1, 1, (float(number),), 1.0, 1.0))
    found = []
    for end in ("-1", "-2", ""):
        with (tmp_path / f"metrics{end}.csv").open() as file:
            found += [row["training/loss/smaller"] for row in csv.DictReader(file)]
    assert found == ["0.0", "1.0", "2.0"]


def test_class_of_which_nothing_can_be_read_is_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, count in (("blue", 60), ("red", 3)):
        (tmp_path / name).mkdir()
        for number in range(count):
            image = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
            image.save(tmp_path / name / f"{number}.png")
    for path in (tmp_path / "red").iterdir():
        path.write_bytes(b"torn")
    with pytest.raises(DataError, match="no photo of class 'red' can be read"):
        train(tmp_path, tmp_path / "x.tofa", CONFIG)
