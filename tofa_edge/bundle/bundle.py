"""The bundle, `name.tofa`: the one file that goes to every device.

A stored zip (`archive.py`) of: `manifest.json` (schema, classes, space, pre-processing, provenance,
finalists, and sha256 and size of each other member), `weights.safetensors` (the supernet),
`classifier.safetensors` (its last layer), `golden_images.safetensors` and `golden.safetensors`
(inputs and outputs for the self-test of an engine), perhaps `predictors.safetensors` (the accuracy
predictor) and `finalists.safetensors` (what is ready-made for finalists), `calibration/*.jpg`
(unlabelled) and `check/*.jpg` (labelled). Everything is checked before it is used; nothing is
executed, unpickled or extracted.

Up to schema 2, the classifier stood among the weights, the images of golden cases beside their
logits, and there were no finalists.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tofa_edge.architecture.arrays import FloatArray, ImageArray, IndexArray
from tofa_edge.architecture.layers import LOGITS, supernet_shapes
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.bundle.archive import AGAIN, Archive
from tofa_edge.bundle.costs import bearable
from tofa_edge.bundle.finalists import Finalist, ListedFinalist, restored
from tofa_edge.bundle.images import decode, stack
from tofa_edge.bundle.manifest import (
    CLASSIFIER,
    FINALISTS,
    GOLDEN,
    GOLDEN_IMAGES,
    MANIFEST,
    PEAK,
    PREDICTORS,
    WEIGHTS,
    Manifest,
    Provenance,
    read_manifest,
    sha256,
)
from tofa_edge.bundle.members import CheckedMembers
from tofa_edge.bundle.numbers import check_golden, checked
from tofa_edge.errors import BundleError, ImageError
from tofa_edge.network.network import Preprocessing
from tofa_edge.prediction.accuracy import AccuracyPredictor
from tofa_edge.storage.files import one_line
from tofa_edge.trust.policy import device_trust
from tofa_edge.trust.trust import Trust

MOST_MANIFEST_BYTES = 4 * 2**20
MOST_GOLDEN_BYTES = 64 * 2**20
MOST_PREDICTOR_BYTES = 64 * 2**20
MOST_FINALIST_BYTES = 64 * 2**20
MOST_IMAGE_BYTES = 4 * 2**20


@dataclass(frozen=True, eq=False)
class GoldenCase:
    """What one subnet must compute, from the stored weights with the stored statistics.

    Attributes:
        images: uint8, (N, S, S, 3).
        logits: float32, (N, classes), computed by torch on the host.
    """

    subnet: Subnet
    images: ImageArray
    logits: FloatArray


@dataclass(frozen=True, eq=False)
class Bundle:
    """An opened bundle. Its manifest is read; all else is read, and its hash checked, when asked.

    It holds its file open: a bundle that is replaced meanwhile goes on as the one that was opened;
    one that is cut short or overwritten in place raises `BundleError` when it is read next.

    Attributes:
        path: of the file.
        space: all subnets that can be cut from it.
        classes: names, in the order of the logits.
        preprocessing: of every subnet.
        provenance: how it was made, for people.
        digest: identifies the content (SHA-256 of the manifest, in hexadecimal).
    """

    path: Path
    space: SearchSpace
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    provenance: Provenance
    digest: str
    _members: CheckedMembers
    _manifest: Manifest

    @staticmethod
    def open(path: str | Path, trust: Trust | None = None) -> Bundle:
        """Opens a bundle and checks its manifest.

        Args:
            path: of the file.
            trust: what its signature must say, checked before any member but the manifest is read,
                and before that is parsed; by default the device's policy, if there is one.

        Raises:
            TrustError: it is not signed as wanted, expired, older or revoked.
            BundleError: it cannot be read, is damaged, hostile, or of a newer schema; or `path` is
                no path of a file.
        """
        if not isinstance(path, str | Path):
            raise BundleError(f"wanted the path of a .tofa file, got {path!r}")
        trust = trust or device_trust()
        place = path if trust is None else os.path.realpath(path)  # what the envelope lies beside
        return Bundle._of(Archive.open(Path(place)), Path(path), trust)

    @staticmethod
    def from_descriptor(descriptor: int, path: Path, digest: str | None = None) -> Bundle:
        """Opens the bundle behind a file `descriptor`, which stays the caller's to close.

        For a process that was handed another one's, which has checked the signature of this
        `digest`: both read the same file, whatever `path`, a name for messages, means by now.

        Raises:
            BundleError: as `open` does, or its manifest is another one by now.
        """
        return Bundle._of(Archive.from_descriptor(descriptor, path), path, digest=digest)

    @staticmethod
    def _of(
        archive: Archive, path: Path, trust: Trust | None = None, digest: str | None = None
    ) -> Bundle:
        content = archive.read(MANIFEST, MOST_MANIFEST_BYTES)
        found = sha256(content)
        if trust is not None:
            trust.check(archive.path, found)
        if digest not in (None, found):
            raise BundleError(f"{path}: was overwritten while it was in use; {AGAIN}")
        manifest = read_manifest(archive.path, content, archive.sizes)
        about = (manifest.space, manifest.classes, manifest.preprocessing, manifest.provenance)
        return Bundle(path, *about, found, CheckedMembers(archive, manifest.hashes), manifest)

    def supernet(self) -> dict[str, FloatArray]:
        """Returns the supernet's arrays, float32, by name, shaped as in `supernet_shapes`.

        Raises:
            BundleError: they are damaged, of other shapes, or not finite or so large that networks
                overflow; the message names the array.
        """
        shapes = supernet_shapes(self.space)
        expected = sum(4 * int(np.prod(shape)) for shape in shapes.values())
        stored = self._members.joined(WEIGHTS, CLASSIFIER, f"{LOGITS}.", expected)
        if stored.keys() != shapes.keys():
            differing = one_line(", ".join(sorted(stored.keys() ^ shapes.keys())[:3]))
            raise BundleError(f"{self.path}: weights do not fit the space: {differing}")
        where = str(self.path)
        return {name: checked(where, name, stored.pop(name), shapes[name]) for name in shapes}

    def accuracy_predictor(self) -> AccuracyPredictor | None:
        """Returns what predicts the accuracy of subnets, or None where the bundle has none.

        Raises:
            BundleError: it is damaged, holds numbers that no fit makes, or does not fit the space.
        """
        if PREDICTORS not in self._members:
            return None
        stored = self._members.tensors(PREDICTORS, MOST_PREDICTOR_BYTES)
        try:
            return AccuracyPredictor.from_arrays(stored, self.space)
        except (BundleError, ValueError, AttributeError) as error:
            raise BundleError(f"{self.path}: {PREDICTORS} is damaged: {one_line(error)}") from error

    @property
    def descriptor(self) -> int:
        """The descriptor of its file, open for reading until the bundle is dropped; do not close.

        To hand it to a child process, pass it on (`subprocess`'s `pass_fds`), and hold the bundle.
        """
        return self._members.archive.descriptor

    @property
    def half_precision(self) -> bool:
        """Whether weights are stored in 16 bits, judged by size."""
        total = sum(int(np.prod(shape)) for shape in supernet_shapes(self.space).values())
        sizes = self._members.archive.sizes
        return sizes[WEIGHTS] + sizes.get(CLASSIFIER, 0) < 3 * total

    @property
    def temperature(self) -> float:
        """What logits are divided by for calibrated probabilities."""
        return self._manifest.temperature

    @property
    def peak(self) -> float | None:
        """The largest value of the training photos of more than 8 bits; None: there were none."""
        value = self.provenance.get(PEAK)
        known = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 65536
        return float(value) if known else None  # type: ignore[arg-type]

    @property
    def member_sizes(self) -> Mapping[str, int]:
        """Bytes of each member by name."""
        return self._members.archive.sizes

    @property
    def golden_subnets(self) -> tuple[Subnet, ...]:
        """The subnets of its golden cases, which need not be read for it."""
        return self._manifest.golden

    @property
    def calibration_count(self) -> int:
        """How many unlabelled photos it carries."""
        return len(self._members.photos("calibration"))

    @property
    def check_count(self) -> int:
        """How many labelled photos it carries."""
        return len(self._manifest.check_labels)

    def calibration_images(self, size: int, most: int | None = None) -> ImageArray:
        """Returns the first `most` calibration images of a `size`, uint8, (N, size, size, 3).

        Raises:
            BundleError: one is damaged.
        """
        return self._images(self._members.photos("calibration")[:most], size)

    def check_images(self, size: int) -> tuple[ImageArray, IndexArray]:
        """Returns the check images of a `size`, uint8, (N, size, size, 3), and their labels, (N,).

        Raises:
            BundleError: one is damaged.
        """
        labels = np.array(self._manifest.check_labels, np.int64)
        return self._images(self._members.photos("check"), size), labels

    @property
    def listed_finalists(self) -> tuple[ListedFinalist, ...]:
        """What its manifest says of the finalists; their arrays need not be read for it."""
        return self._manifest.finalists

    def finalists(self) -> tuple[Finalist, ...]:
        """Returns the subnets that were tested on the host, with their ready-made arrays.

        Raises:
            BundleError: the arrays are damaged, incomplete, of another shape, or numbers that no
                network can compute with; the message names finalist and array.
        """
        found = FINALISTS in self._members
        stored = self._members.tensors(FINALISTS, MOST_FINALIST_BYTES) if found else {}
        return restored(str(self.path), self.space, self.listed_finalists, stored)

    def golden_cases(self) -> tuple[GoldenCase, ...]:
        """Returns the golden cases.

        Raises:
            BundleError: they are damaged, do not fit their subnets, or prove nothing because their
                logits are all but equal.
        """
        stored = self._members.joined(GOLDEN, GOLDEN_IMAGES, "images_", MOST_GOLDEN_BYTES)
        cases = []
        for index, subnet in enumerate(self._manifest.golden):
            arrays = stored.get(f"images_{index}"), stored.get(f"logits_{index}")
            where, classes = f"{self.path}: golden case {index}", len(self.classes)
            cases.append(
                GoldenCase(subnet, *check_golden(where, subnet.resolution, classes, *arrays))
            )
        if len(stored) != 2 * len(cases):
            raise BundleError(f"{self.path}: {GOLDEN} holds more than {len(cases)} cases")
        return tuple(cases)

    def verify(self) -> None:
        """Reads and checks every member.

        Raises:
            BundleError: naming the first that is damaged, or a cost beyond all reason (`costs.py`).
        """
        bearable(self, None)
        self.supernet()
        self.golden_cases()
        self.accuracy_predictor()
        self.finalists()
        for kind in ("calibration", "check"):
            for _ in self._decoded(self._members.photos(kind), self.space.resolutions[0]):
                pass  # decoding is the check

    def _decoded(self, names: Sequence[str], size: int) -> Iterator[ImageArray]:
        try:
            contents = self._members.read_each(names, MOST_IMAGE_BYTES)
            for name, content in zip(names, contents, strict=True):
                yield decode(content, size, name, self.preprocessing.crop)
        except ImageError as error:
            raise BundleError(f"{self.path}: {one_line(error)}") from error

    def _images(self, names: Sequence[str], size: int) -> ImageArray:
        return stack(list(self._decoded(names, size)), size)
