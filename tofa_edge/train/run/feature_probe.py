"""Whether pretraining still helps: what few labels make of the features of subnets of all sizes."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tofa_edge.architecture.arrays import ImageArray, IndexArray
from tofa_edge.architecture.encodings import decoded
from tofa_edge.architecture.sampling import sample
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.errors import DataError
from tofa_edge.storage.files import whole_file
from tofa_edge.train.config import Progress
from tofa_edge.train.data.photos import forget_labels
from tofa_edge.train.data.sources import read_photos
from tofa_edge.train.objective.linear_probe import (
    fit_linear_probe,
    probe_accuracy,
    subnet_features,
)
from tofa_edge.train.run.loop import TrainingState
from tofa_edge.train.supernet.supernet import Supernet

log = logging.getLogger(__name__)

SUBNETS = 8
SUBNETS_SEED = 7
LABELS = 25  # a class
TESTED = 2000  # photos at most


def even_subnets(space: SearchSpace, count: int = SUBNETS) -> list[Subnet]:
    """Returns subnets of even sizes, from small to large ones, always the same of a space."""
    return decoded(space, sample(space, np.random.default_rng(SUBNETS_SEED), count))


@dataclass(frozen=True, eq=False)
class FeatureProbe:
    """Labelled photos that a linear probe is fitted to, and others that it is tested on.

    Attributes:
        name: of the set.
        classes: how many.
        images: to fit to, uint8, (N, S, S, 3).
        labels: class indices, (N,).
        test_images: uint8, (M, S, S, 3).
        test_labels: class indices, (M,).
    """

    name: str
    classes: int
    images: ImageArray
    labels: IndexArray
    test_images: ImageArray
    test_labels: IndexArray

    @classmethod
    def read(cls, source: Path, size: int, seed: int = 0) -> FeatureProbe:
        """Reads a set: up to 25 photos of a class to fit to, up to 2,000 others to test on.

        Args:
            source: a folder with a folder for each class, a CSV file, or the name of a set.
            size: in pixels.
            seed: of the draw.

        Raises:
            DataError: the set cannot be read, or has too few labelled photos.
        """
        photos = read_photos(source, size)
        photos = photos.take(np.random.default_rng(seed).permutation(len(photos.labels)))
        kept = forget_labels(photos.labels, LABELS, seed)
        fitted = np.flatnonzero(kept >= 0)
        tested = np.flatnonzero((photos.labels >= 0) & (kept < 0))[:TESTED]
        if len(tested) < len(photos.classes):
            raise DataError(
                f"{source}: a probe wants over {LABELS} labelled photos of a class, {LABELS} to "
                f"fit to and the others to test on; got {len(fitted) + len(tested)} photos of "
                f"{len(photos.classes)} classes"
            )
        seen, unseen = photos.take(fitted), photos.take(tested)
        count, fitted_to = len(photos.classes), (seen.images, seen.labels)
        return cls(source.name, count, *fitted_to, unseen.images, unseen.labels)

    def accuracies(self, supernet: Supernet) -> list[float]:
        """Returns the accuracy on the test photos of a probe of each even subnet, 0..1."""
        found = []
        for subnet in even_subnets(supernet.space):
            seen, tested = (
                subnet_features(supernet, subnet, images)
                for images in (self.images, self.test_images)
            )
            probe = fit_linear_probe(seen, self.labels, self.classes, rounds=0)
            found.append(probe_accuracy(probe, tested, self.test_labels))
        return found


@dataclass(frozen=True, eq=False)
class ProbeLog:
    """Probes the averaged supernet every so many steps, and keeps a line of JSON for each.

    Attributes:
        probe: the photos.
        every: steps between two probes.
        path: of the log.
    """

    probe: FeatureProbe
    every: int
    path: Path

    def begin(self, supernet: Supernet, step: int) -> None:
        """Removes what an interrupted run wrote after its checkpoint; probes before step 1.

        Args:
            supernet: before the next step.
            step: how many are done.
        """
        lines = self.path.read_text().splitlines() if step and self.path.exists() else []
        self._write([line for line in lines if json.loads(line)["step"] <= step])
        if not step:
            self._note(supernet, 0, 0.0)

    def after(self, progress: Progress, state: TrainingState) -> bool:
        """Probes after a step if it is time to, and after the last; never ends the phase."""
        if progress.step % self.every == 0 or progress.step == progress.steps:
            mean = self._note(state.averaged, progress.step, progress.seconds)
            progress.metrics["probe"] = mean
        return False

    def _note(self, supernet: Supernet, step: int, seconds: float) -> float:
        begun = time.perf_counter()
        accuracies = self.probe.accuracies(supernet)
        mean = float(np.mean(accuracies))
        row = {
            "step": step,
            "seconds": round(seconds, 1),
            "set": self.probe.name,
            "mean_accuracy": round(mean, 4),
            "accuracies": [round(each, 4) for each in accuracies],
            "probe_seconds": round(time.perf_counter() - begun, 1),
        }
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self._write([*lines, json.dumps(row)])
        log.info(f"step {step}: linear probe of eight subnets on {self.probe.name}: {mean:.1%}")
        return mean

    def _write(self, lines: list[str]) -> None:
        with whole_file(self.path) as stream:
            stream.write("".join(f"{line}\n" for line in lines).encode())
