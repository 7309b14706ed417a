"""Pretraining on crops: killed and resumed it ends with the same weights; probes; errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cli import host  # noqa: F401  (adds its commands)
from tofa_edge.cli.app import app
from tofa_edge.errors import BundleError, DataError, TrainingError
from tofa_edge.train import pretrainer
from tofa_edge.train.config import Progress, Report, TrainingConfig
from tofa_edge.train.data.reading import ReadingOptions
from tofa_edge.train.pretrainer import Probing, pretrain_on_photos
from tofa_edge.train.run import phases
from tofa_edge.train.run.crop_pretraining import CropPretraining
from tofa_edge.train.run.feature_probe import FeatureProbe

HOW = CropPretraining(4, ("lite0", "lite1"), batch_size=8, teacher_resolution=48)
CONFIG = TrainingConfig(resolution=48, calibration_photos=4)


class Killed(BaseException):
    """What no part of a training catches: its process has ended."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for number in range(5):
        noise = rng.integers(0, 255, (6, 8, 3)).astype(np.uint8)
        Image.fromarray(noise).resize((160, 120), Image.Resampling.BICUBIC).save(
            root / f"{number}.jpg"
        )
    return root


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rng = tmp_path_factory.mktemp("labelled"), np.random.default_rng(0)
    for name, colour in (("red", (160, 90, 90)), ("blue", (90, 90, 160))):
        (root / name).mkdir()
        for number in range(30):
            pixels = (np.array(colour) + rng.integers(-40, 40, (48, 48, 3))).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


def weights(path: Path) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in Bundle.open(path).supernet().items()}


def test_killed_and_resumed_it_ends_with_the_same_weights(
    photos: Path, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probing, steps = Probing(labelled, 3), list[Progress]()
    whole = pretrain_on_photos(photos, tmp_path / "whole.tofa", HOW, CONFIG, probing, steps.append)
    assert [step.step for step in steps if step.losses] == [1, 2, 3, 4]
    assert steps[0].seconds_left
    bundle = Bundle.open(whole.bundle)
    assert (len(bundle.classes), bundle.space.resolutions) == (1000, (48,))
    assert bundle.provenance["pretrain_steps"] == 4

    monkeypatch.setattr(phases, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)

    def kill(progress: Progress) -> None:
        if progress.step == 3:  # in the middle of a batch's steps
            raise Killed

    out = tmp_path / "resumed.tofa"
    with pytest.raises(Killed):
        pretrain_on_photos(photos, out, HOW, CONFIG, probing, kill)
    assert not out.exists()
    steps.clear()
    pretrain_on_photos(photos, out, HOW, CONFIG, probing, steps.append, resume=True)
    assert [step.step for step in steps if step.losses] == [4]
    assert weights(out) == weights(whole.bundle)
    first, second = (
        [json.loads(line) for line in Path(f"{each}.probes.jsonl").read_text().splitlines()]
        for each in (whole.bundle, out)
    )
    assert [row["step"] for row in first] == [0, 3, 4]
    assert [row["accuracies"] for row in first] == [row["accuracies"] for row in second]
    assert all(len(row["accuracies"]) == 8 for row in first)
    assert first[0]["mean_accuracy"] > 0.9, "two colours are told apart"
    assert not [*tmp_path.glob("*.checkpoint")]


def test_another_run_does_not_go_on_from_its_checkpoint(photos: Path, tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "x.tofa"
    one = CropPretraining(2, ("lite0",), batch_size=4, teacher_resolution=48)
    with pytest.raises(KeyboardInterrupt):
        pretrain_on_photos(photos, out, one, CONFIG, on_step=stop)
    other = CropPretraining(3, ("lite0",), batch_size=4, teacher_resolution=48)
    with pytest.raises(TrainingError, match="another steps: 2, now it is 3"):
        pretrain_on_photos(photos, out, other, CONFIG, resume=True)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"steps": 0}, "wants steps of 1 or more, got 0"),
        ({"steps": 1, "batch_size": 5}, "wants an even batch of 4 crops or more, got 5"),
        ({"steps": 1, "teachers": ()}, "wants teachers of lite0, lite1, lite2, got none"),
        ({"steps": 1, "teachers": ("b0",)}, "got b0"),
        ({"steps": 1, "steps_per_batch": 0}, "wants steps_per_batch of 1 or more, got 0"),
    ],
)
def test_settings_out_of_range_are_refused(values: dict[str, int], said: str) -> None:
    with pytest.raises(TrainingError, match=said):
        CropPretraining(**values)  # type: ignore[arg-type]


def test_what_cannot_be_pretrained_is_refused(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.tofa"
    with pytest.raises(TrainingError, match=r"wants a start of lite0, .*, got tiny"):
        pretrain_on_photos(photos, out, HOW, TrainingConfig(start="tiny"))
    with pytest.raises(DataError, match="wanted a folder of photos"):
        pretrain_on_photos(tmp_path / "none", out, HOW, CONFIG)
    out.write_bytes(b"")
    with pytest.raises(BundleError, match="exists"):
        pretrain_on_photos(photos, out, HOW, CONFIG)
    with pytest.raises(TrainingError, match="wanted no --crops and no --report-data"):
        pretrain_on_photos(photos, out, HOW, CONFIG, reading=ReadingOptions(crops=True))
    with pytest.raises(TrainingError, match="1 step or more"):
        Probing(photos, 0)


def test_the_command_takes_steps(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, object] = {}

    def noted(*given: object) -> Report:
        names = (
            "images",
            "out",
            "how",
            "config",
            "probing",
            "on_step",
            "resume",
            "overwrite",
            "reading",
        )
        asked.update(zip(names, given, strict=True))
        return Report(tmp_path / "x.tofa", {}, 0.0, written=False)

    monkeypatch.setattr(pretrainer, "pretrain_on_photos", noted)
    words = ["pretrain", str(photos), "--out", str(tmp_path / "x.tofa"), "--probe", "elpv"]
    with pytest.raises(TrainingError, match="--probe is for pretraining by --steps"):
        CliRunner().invoke(app, words, catch_exceptions=False)
    words += ["--steps", "7", "--probe-every", "3", "--teachers", "lite2", "--no-flips"]
    assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    assert asked["how"] == CropPretraining(7, ("lite2",))
    assert asked["probing"] == Probing(Path("elpv"), 3)
    assert asked["config"] == TrainingConfig(teachers=("lite2",), flips=False)


def test_a_probe_wants_more_photos_than_it_is_fitted_to(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(3):
            pixels = rng.integers(0, 255, (8, 8, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    with pytest.raises(DataError, match="wants over 25 labelled photos of a class"):
        FeatureProbe.read(tmp_path, 16)
