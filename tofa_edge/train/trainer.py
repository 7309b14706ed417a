"""Training: from photos to a bundle. `train` reads from top to bottom."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tofa_edge.cutting import CALIBRATION_IMAGES
from tofa_edge.errors import TrainingError
from tofa_edge.layers import LOGITS
from tofa_edge.network import LITE_PREPROCESSING, ImageArray
from tofa_edge.train import checkpoint
from tofa_edge.train.config import PRETRAINED, Report, TrainingConfig
from tofa_edge.train.data import Photos, decode_all, forget_labels, read_folder, read_photos, split
from tofa_edge.train.evaluate import accuracy, fit_temperature, subnet_logits
from tofa_edge.train.loop import OnStep, Phase, TrainingState, begin, run
from tofa_edge.train.objectives import Distillation, Objective, SemiSupervised
from tofa_edge.train.packing import Contents, check_writable, pack
from tofa_edge.train.pretrained import load_lite
from tofa_edge.train.probe import as_arrays, features, fit_probe
from tofa_edge.train.start import new_supernet, plain_teacher
from tofa_edge.train.supernet import Supernet

SHARES = {"train": 0.8, "validation": 0.1, "check": 0.1}
PRETRAINING, TRAINING = "pretraining", "training"
PRETRAINING_BATCH = 64
NEW_RATE = 3.0  # the learning rate of a classifier that starts from nothing, over the others'
IMAGENET_CROP = 0.875  # how EfficientNet-Lite's published accuracies were measured
SECONDS_BETWEEN_CHECKPOINTS = 120.0
FREE = {"calibration_photos", "check_photos", "half_precision"}  # to differ when resuming

Tell = Callable[[str], None]


def train(
    data: Path | None,
    out: Path,
    config: TrainingConfig | None = None,
    on_step: OnStep = lambda progress: None,
    tell: Tell = lambda line: None,
    resume: bool = False,
) -> Report:
    """Trains a supernet on photos and writes the bundle.

    A checkpoint lies beside `out` meanwhile: written every two minutes and on an interruption,
    removed when the bundle is there.

    Args:
        data: a folder with a folder of photos per class (`unlabelled` holds those without), a CSV
            file of path,label, or the name of a set; None only with `epochs=0`.
        out: the bundle to write.
        config: how to train.
        on_step: called after each step.
        tell: called with a line of text for what a person should know.
        resume: whether to go on from the checkpoint of an interrupted run.

    Raises:
        DataError: the photos cannot be used.
        TrainingError: pretrained weights are not installed, the loss is not finite, or there is
            no fitting checkpoint.
        BundleError: the bundle cannot be written there.
    """
    config = config or TrainingConfig()
    check_writable(out)
    if config.epochs == 0:
        return _bundle_as_is(data, out, config, tell)
    if data is None:
        raise TrainingError("training wants a folder of photos; only --epochs 0 goes without")
    size = new_supernet(config, None).space.resolutions[-1]
    photos = read_photos(data, size, tell)  # uint8 (N, S, S, 3)
    supernet = new_supernet(config, len(photos.classes))
    roles = split(photos.labels, SHARES, config.seed)
    trained = roles["train"]
    labels = forget_labels(photos.labels[trained], config.labels_per_class, config.seed)
    tell(_summary(photos, roles, labels, supernet))
    keeper = Keeper.open(checkpoint.beside(out), _identity(photos, config), resume)
    begun = time.perf_counter()
    images = photos.images[trained]
    try:
        if config.is_plain and config.pretrain_epochs:
            supernet = pretrain_supernet(supernet, images, config, on_step, keeper)
        supernet = optimise(supernet, images, labels, config, on_step, keeper)
    except KeyboardInterrupt:
        if keeper.path.exists():
            tell(f"stopped; go on with --resume (checkpoint: {keeper.path})")
        raise
    seconds = time.perf_counter() - begun
    report = _pack_trained(out, config, supernet, photos, roles, seconds)
    keeper.remove()
    return report


def pretrain(
    images: Path,
    out: Path,
    config: TrainingConfig | None = None,
    on_step: OnStep = lambda progress: None,
    tell: Tell = lambda line: None,
    resume: bool = False,
) -> Report:
    """Distils a pretrained network into all subnets of its space, without labels.

    Done once on any photos, the bundle is a start for every later task.

    Args:
        images: a folder of photos, with or without folders inside; labels are not read.
        out: the bundle to write, with the classes of the pretrained network.
        config: how; `start` is the pretrained network, `pretrain_epochs` says how long.
        on_step: called after each step.
        tell: called with a line of text for what a person should know.
        resume: whether to go on from the checkpoint of an interrupted run.

    Raises:
        DataError, TrainingError, BundleError: as for `train`.
    """
    config = config or TrainingConfig()
    if not config.is_plain or not config.pretrain_epochs:
        raise TrainingError(f"pretraining wants a start of {', '.join(PRETRAINED)} and an epoch")
    check_writable(out)
    supernet = new_supernet(config, None)
    size = supernet.space.resolutions[-1]
    seen, _ = decode_all(read_folder(images, labelled=False), size, tell)
    order = np.random.default_rng(config.seed).permutation(len(seen))
    seen = seen[order]
    classes = [f"imagenet {index}" for index in range(supernet.space.classes)]
    identity = _identity(Photos(tuple(classes), seen, np.zeros(0, np.int64)), config)
    keeper = Keeper.open(checkpoint.beside(out), identity, resume)
    tell(f"{len(seen)} photos, {supernet.space.count():.1e} subnets up to {size} px")
    begun = time.perf_counter()
    supernet = pretrain_supernet(supernet, seen, config, on_step, keeper)
    contents = Contents(classes, seen[: config.calibration_photos])
    pack(out, config, supernet, contents, {"pretrained_on_photos": len(seen)})
    keeper.remove()
    return Report(out, {}, time.perf_counter() - begun)


def pretrain_supernet(
    supernet: Supernet,
    images: ImageArray,
    config: TrainingConfig,
    on_step: OnStep = lambda progress: None,
    keeper: Keeper | None = None,
) -> Supernet:
    """Returns a supernet whose subnets are like the plain pretrained network of `config.start`.

    Args:
        supernet: holds its weights; of any number of classes: the classifier is not trained.
        images: uint8, (N, S, S, 3), in mixed order.
        config: how to train.
        on_step: called after each step.
        keeper: of checkpoints.

    Raises:
        TrainingError: a loss is not finite; the step is named.
    """
    if keeper is not None and keeper.is_past(PRETRAINING):
        return supernet  # the checkpoint of training holds all of it
    teacher, subnet = plain_teacher(config.start, supernet.space.resolutions[-1])
    steps = _steps(config.pretrain_epochs, len(images), PRETRAINING_BATCH)
    phase = Phase(PRETRAINING, steps, config.learning_rate, config.seed)
    student = Supernet(replace(supernet.space, classes=teacher.space.classes), LITE_PREPROCESSING)
    student.load_arrays(teacher.to_arrays())
    objective = Distillation(images, teacher, subnet, PRETRAINING_BATCH)
    learned = _finish(_run(student, objective, phase, on_step, keeper), images)
    if supernet.space.classes == teacher.space.classes:
        return learned
    kept = {name: supernet.to_arrays()[name] for name in (f"{LOGITS}.weight", f"{LOGITS}.bias")}
    supernet.load_arrays({**learned.to_arrays(), **kept})
    return supernet


def optimise(
    supernet: Supernet,
    images: ImageArray,
    labels: NDArray[np.int64],
    config: TrainingConfig,
    on_step: OnStep = lambda progress: None,
    keeper: Keeper | None = None,
) -> Supernet:
    """Returns a supernet all of whose subnets were trained for a task.

    Args:
        supernet: to start from; trained with the sandwich rule, every step the largest, the
            smallest and two random subnets.
        images: uint8, (N, S, S, 3), S the largest resolution, in mixed order.
        labels: class indices, −1 where unlabelled, (N,).
        config: how to train.
        on_step: called after each step.
        keeper: of checkpoints.

    Raises:
        TrainingError: a loss is not finite; the step is named.
    """
    known = labels >= 0
    if not known.any():
        raise TrainingError("wanted labelled photos, all are unlabelled; `pretrain` needs none")
    unlabelled = config.unlabelled_ratio * config.batch_size * int(not known.all())
    pretrained = not config.starts_from_nothing
    probe = None
    if pretrained and not (keeper is not None and keeper.is_at(TRAINING)):
        probe = start_from_probe(supernet, images, labels, bool(unlabelled))
    pool = len(images) / unlabelled if unlabelled else int(known.sum()) / config.batch_size
    steps = max(1, int(config.epochs * max(1, int(pool))))
    rate = 1.0 if pretrained else NEW_RATE
    phase = Phase(TRAINING, steps, config.learning_rate, config.seed, head_rate=rate)
    classes = supernet.space.classes
    objective = SemiSupervised(images, labels, classes, config.batch_size, unlabelled, probe)
    return _finish(_run(supernet, objective, phase, on_step, keeper), images)


def start_from_probe(
    supernet: Supernet, images: ImageArray, labels: NDArray[np.int64], self_training: bool
) -> torch.Tensor:
    """Gives a supernet the classifier of a probe on its features; returns the probe's say.

    The classifier is fitted before the layers below move (Kumar et al., "Fine-Tuning can Distort
    Pretrained Features", ICLR 2022).

    Args:
        supernet: whose largest subnet gives the features; its classifier is replaced.
        images: uint8, (N, S, S, 3), in mixed order.
        labels: class indices, −1 where unlabelled, (N,).
        self_training: whether the probe learns from its own predictions of the unlabelled, too.

    Returns:
        probabilities of every image, float32, (N, classes).
    """
    seen = features(supernet, supernet.space.largest(), images)
    rounds = {} if self_training else {"rounds": 0}
    probe = fit_probe(seen, labels, supernet.space.classes, **rounds)
    weight, bias = as_arrays(probe)
    fitted = {f"{LOGITS}.weight": weight, f"{LOGITS}.bias": bias}
    supernet.load_arrays({**supernet.to_arrays(), **fitted})
    return probe.probabilities(seen)


@dataclass(eq=False)
class Keeper:
    """Keeps the checkpoint of a run.

    Attributes:
        path: of the file.
        identity: of the run: a checkpoint of another is refused.
        found: what an interrupted run left, until it is used.
    """

    path: Path
    identity: Mapping[str, str]
    found: checkpoint.Checkpoint | None = None

    @staticmethod
    def open(path: Path, identity: Mapping[str, str], resume: bool) -> Keeper:
        """Returns the keeper, with what is there if resuming.

        Raises:
            TrainingError: nothing fits to resume from, or something is there and not resuming.
        """
        if not resume:
            if path.exists():
                raise TrainingError(
                    f"{path}: an interrupted run left this; go on with --resume, or remove it"
                )
            return Keeper(path, identity)
        found = checkpoint.read(path)
        checkpoint.check_identity(found, identity)
        return Keeper(path, identity, found)

    def is_past(self, phase: str) -> bool:
        """Whether the run to resume had finished a phase."""
        return self.found is not None and phase == PRETRAINING and self.found.phase == TRAINING

    def is_at(self, phase: str) -> bool:
        """Whether the run to resume was in a phase."""
        return self.found is not None and self.found.phase == phase

    def restore(self, state: TrainingState, phase: Phase) -> None:
        """Puts the state of a phase to where an interrupted run was."""
        if self.found is not None and self.found.phase == phase.name:
            checkpoint.restore(self.found, state)
            self.found = None

    def save(self, state: TrainingState, phase: Phase) -> None:
        """Writes the checkpoint."""
        checkpoint.save(self.path, state, phase, self.identity)

    def remove(self) -> None:
        """Removes it: the run is done."""
        self.path.unlink(missing_ok=True)


def _run(
    supernet: Supernet,
    objective: Objective,
    phase: Phase,
    on_step: OnStep,
    keeper: Keeper | None,
) -> TrainingState:
    state = begin(supernet, objective, phase)
    if keeper is None:
        run(state, phase, on_step)
        return state
    keeper.restore(state, phase)
    saved = time.perf_counter()

    def save_sometimes(progress: object, state: TrainingState) -> bool:
        nonlocal saved
        if time.perf_counter() - saved > SECONDS_BETWEEN_CHECKPOINTS:
            keeper.save(state, phase)
            saved = time.perf_counter()
        return False

    try:
        run(state, phase, on_step, save_sometimes)
    except KeyboardInterrupt:
        keeper.save(state, phase)
        raise
    return state


def _finish(state: TrainingState, images: ImageArray) -> Supernet:
    """Returns the trained supernet: averaged weights, and the largest subnet's own statistics."""
    averaged = state.averaged
    seen = torch.from_numpy(images[: 4 * CALIBRATION_IMAGES]).permute(0, 3, 1, 2)
    with torch.no_grad():
        for number, part in enumerate(torch.split(seen, CALIBRATION_IMAGES)):
            averaged.momentum = 1 / (number + 1)
            averaged(part.float(), averaged.space.largest(), update=True)
    return averaged


def _steps(epochs: float, count: int, batch: int) -> int:
    return max(1, int(epochs * max(1, count // batch)))


def _summary(
    photos: Photos,
    roles: Mapping[str, NDArray[np.int64]],
    labels: NDArray[np.int64],
    supernet: Supernet,
) -> str:
    space, unlabelled = supernet.space, int((labels < 0).sum())
    without = f" ({unlabelled} without a label)" if unlabelled else ""
    return (
        f"{len(photos.images)} photos of {len(photos.classes)} classes: "
        f"{len(roles['train'])} to train on{without}, {len(roles['validation'])} to validate, "
        f"{len(roles['check'])} to check on devices; "
        f"{space.count():.1e} subnets up to {space.resolutions[-1]} px"
    )


def _identity(photos: Photos, config: TrainingConfig) -> dict[str, str]:
    """What a resumed run must have in common with the interrupted one."""
    digest = hashlib.sha256(photos.images.tobytes())
    digest.update(photos.labels.tobytes())
    settings = {name: str(value) for name, value in asdict(config).items() if name not in FREE}
    return {"classes": ", ".join(photos.classes), "photos": digest.hexdigest()[:16], **settings}


def _pack_trained(
    out: Path,
    config: TrainingConfig,
    supernet: Supernet,
    photos: Photos,
    roles: Mapping[str, NDArray[np.int64]],
    seconds: float,
) -> Report:
    trained, validated = roles["train"], roles["validation"]
    check = roles["check"][: config.check_photos]
    seen, images = photos.images[trained[:CALIBRATION_IMAGES]], photos.images[validated]
    labels, space, arrays = photos.labels[validated], supernet.space, supernet.to_arrays()
    subnets = {"smallest": space.smallest(), "middle": space.middle(), "largest": space.largest()}
    logits = {
        name: subnet_logits(space, subnet, arrays, supernet.preprocessing, seen, images)
        for name, subnet in subnets.items()
    }
    accuracies = {name: accuracy(found, labels) for name, found in logits.items()}
    temperature = fit_temperature(np.stack(list(logits.values())), labels)
    contents = Contents(
        photos.classes,
        photos.images[trained[: config.calibration_photos]],
        photos.images[check],
        photos.labels[check],
        temperature,
    )
    provenance = {f"accuracy_{name}": share for name, share in accuracies.items()}
    provenance |= {"photos_trained_on": len(trained), "photos_validated_on": len(validated)}
    pack(out, config, supernet, contents, provenance)
    return Report(out, accuracies, seconds)


def _bundle_as_is(data: Path | None, out: Path, config: TrainingConfig, tell: Tell) -> Report:
    """Bundles a pretrained network with its own classes and all its resolutions.

    `data` gives calibration photos only.
    """
    if not config.is_plain:
        raise TrainingError(f"--epochs 0 wants pretrained weights, {config.start} has none")
    space, arrays = load_lite(config.start)
    supernet = Supernet(space, replace(LITE_PREPROCESSING, crop=IMAGENET_CROP))
    supernet.load_arrays(arrays)
    size = space.resolutions[-1]
    calibration = np.zeros((0, size, size, 3), np.uint8)
    if data is not None:
        folder = read_folder(data)
        order = np.random.default_rng(config.seed).permutation(len(folder))
        chosen = folder.take(order[: config.calibration_photos])
        calibration = decode_all(chosen, size, tell)[0]
    classes = [f"imagenet {index}" for index in range(space.classes)]
    pack(out, config, supernet, Contents(classes, calibration), {})
    return Report(out, {}, 0.0)
