"""From an opened bundle to networks: the supernet is read once, subnets are cut from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.architecture.layers import LOGITS, layers
from tofa_edge.architecture.space import Subnet
from tofa_edge.backends.protocol import Engine
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.bundle.finalists import FEATURES_DEVIATION, FEATURES_MEAN, Finalist
from tofa_edge.bundle.frames import distinct
from tofa_edge.bundle.images import ImageSource, prepare, stack
from tofa_edge.cutting.calibration import cut_network, has_statistics, keeps_statistics
from tofa_edge.cutting.dead_inputs import features_of, has_outsized_weights, mended
from tofa_edge.errors import BundleError, ImageError
from tofa_edge.network.network import Network
from tofa_edge.network.slicing import calibration_network, cut, fold

CALIBRATION_IMAGES = 256
LEAST_CALIBRATION_IMAGES = 16
ENOUGH_FRAMES = 64
# A quarter brings part of the gain of frames of every class, and costs next to nothing where they
# show one class only: the statistics of one class break the others.
FRAMES_SHARE = 0.25


class Cutter:
    """Cuts networks out of one bundle.

    Args:
        frames: images of this device's own camera, to be mixed with the bundle's photos.
        frames_share: at most so much of the images that calibrate, 0..1, are frames, unless the
            bundle has too few photos. With 1, photos are added to fewer than 64 frames only.

    Attributes:
        frames: those that differ from each other, 256 at most.

    Raises:
        BundleError: the bundle's weights are damaged.
        ImageError: a frame cannot be read, or the share is out of range.
    """

    def __init__(
        self,
        bundle: Bundle,
        frames: Sequence[ImageSource] = (),
        frames_share: float = FRAMES_SHARE,
    ) -> None:
        if not 0 <= frames_share <= 1:
            raise ImageError(f"wanted a share of frames from 0 to 1, got {frames_share}")
        self.bundle, self.space, self._given = bundle, bundle.space, len(frames)
        self._share = frames_share
        self.frames = distinct(frames, CALIBRATION_IMAGES, bundle.preprocessing.crop)
        self._supernet = bundle.supernet()
        self._images: tuple[tuple[int, int], ImageArray] | None = None

    def network(
        self, subnet: Subnet, engine: Engine, most_images: int = CALIBRATION_IMAGES
    ) -> Network:
        """Returns a subnet, its BatchNorm calibrated by `engine` with `most_images`, and folded.

        Any engine that calibrates will do: the statistics are the same. Where no frames were given,
        a finalist's ready-made statistics serve instead; its own classifier serves in any case.

        Raises:
            BundleError: there are fewer than 16 images to calibrate with, or what is ready-made is
                damaged.
            ImageError: a frame cannot be read.
            BackendError: the engine cannot run the calibration network.
        """
        size, preprocessing = subnet.resolution, self.bundle.preprocessing
        ready_made = self._ready_made(subnet)
        known = self.knows_statistics(subnet)
        images = stack([], size) if known else self.images(size, most_images)
        network = cut_network(
            self.space, subnet, self._supernet, preprocessing, images, engine, ready_made
        )
        network = self._mended(network, ready_made, engine, most_images)
        self._check_finite(network)
        return network

    def _ready_made(self, subnet: Subnet) -> Mapping[str, FloatArray]:
        """Returns what serves of a finalist's arrays: with frames, statistics are calibrated."""
        if subnet not in self._with_arrays:
            return {}
        arrays = self._finalists[subnet].arrays or {}
        if not self._given:
            return arrays
        return {name: array for name, array in arrays.items() if name.startswith(f"{LOGITS}.")}

    @cached_property
    def _with_arrays(self) -> frozenset[Subnet]:
        listed = self.bundle.listed_finalists
        return frozenset(each.subnet for each in listed if each.has_arrays)

    @cached_property
    def _finalists(self) -> dict[Subnet, Finalist]:
        """The bundle's finalists, read when the first of those with arrays is asked for."""
        return {finalist.subnet: finalist for finalist in self.bundle.finalists()}

    def _mended(
        self, network: Network, ready_made: Mapping[str, FloatArray], engine: Engine, most: int
    ) -> Network:
        """Returns a network whose classifier has no weights on dead channels."""
        own = ready_made.get(f"{LOGITS}.weight")
        if not (self._shared_is_outsized if own is None else has_outsized_weights(own)):
            return network
        if FEATURES_MEAN in ready_made:
            return mended(network, ready_made[FEATURES_MEAN], ready_made[FEATURES_DEVIATION])
        if not self.can_calibrate():
            return network
        return mended(network, *features_of(network, self.images(network.input_size, most), engine))

    def _check_finite(self, network: Network) -> None:
        """Checks what folding and calibrating made of weights that were finite one by one."""
        for name, array in network.arrays.items():
            if not np.isfinite(array).all():
                raise BundleError(
                    f"{self.bundle.path}: {name} is not finite once statistics are folded in: its "
                    "weights are damaged; train it again"
                )

    @cached_property
    def _shared_is_outsized(self) -> bool:
        """Whether the classifier that subnets share has weights on dead channels."""
        return has_outsized_weights(self._supernet[f"{LOGITS}.weight"])

    def stored_network(self, subnet: Subnet) -> Network:
        """Returns a subnet with the supernet's stored statistics: exact, but not accurate.

        Golden cases are computed so, and an engine can be timed with it.
        """
        network = layers(self.space, subnet)
        folded = fold(network, cut(network, self._supernet), self.bundle.preprocessing)
        self._check_finite(folded)
        return folded

    def measuring_network(self, subnet: Subnet) -> Network:
        """Returns the network that measures a subnet's BatchNorm statistics."""
        network = layers(self.space, subnet)
        return calibration_network(network, cut(network, self._supernet), self.bundle.preprocessing)

    def can_calibrate(self) -> bool:
        """Whether there are enough images for subnets other than the largest."""
        return self.bundle.calibration_count + len(self.frames) >= LEAST_CALIBRATION_IMAGES

    def can_cut(self, subnet: Subnet) -> bool:
        """Whether a subnet's statistics are known, or there are enough images for them."""
        return self.knows_statistics(subnet) or self.can_calibrate()

    def knows_statistics(self, subnet: Subnet) -> bool:
        """Whether the bundle stores a subnet's BatchNorm statistics, and no frames replace them."""
        return keeps_statistics(self.space, subnet) or has_statistics(self._ready_made(subnet))

    def about_statistics(self, subnet: Subnet) -> str:
        """Returns as a sentence where a subnet's BatchNorm statistics and classifier come from."""
        ready_made = self._ready_made(subnet)
        if keeps_statistics(self.space, subnet):
            source = "the supernet's own, from training"
        elif has_statistics(ready_made):
            source = "ready-made in the bundle, as the host tested it"
        else:
            frames, photos = self._shares(CALIBRATION_IMAGES)
            source = f"calibrated here with {frames} frames and {photos} photos"
        own = ", with a classifier of its own" if f"{LOGITS}.weight" in ready_made else ""
        return f"BatchNorm statistics of {subnet}: {source}{own}"

    def about_frames(self) -> str:
        """Returns as a sentence how many of the frames given are used, and how many photos."""
        frames, photos = self._shares(CALIBRATION_IMAGES)
        alike = "" if self._all_differ else ", for the others look like one of them"
        return (
            f"calibration: {self._given} frames given, {frames} used{alike}; "
            f"{photos} photos of the bundle's beside them"
        )

    @property
    def _all_differ(self) -> bool:
        return len(self.frames) == min(self._given, CALIBRATION_IMAGES)

    def _shares(self, most: int) -> tuple[int, int]:
        """Returns how many frames and photos calibrate, `most` together.

        Photos leave frames their share; frames take the place of photos that are missing.
        """
        photos = self.bundle.calibration_count
        frames = min(len(self.frames), max(round(self._share * most), most - photos))
        wanted = most if self._share < 1 else min(most, ENOUGH_FRAMES)
        return frames, max(0, min(photos, wanted - frames))

    def images(self, size: int, most: int = CALIBRATION_IMAGES) -> ImageArray:
        """Returns what calibrates, in mixed order, uint8, (N, size, size, 3), N ≤ `most`; cached.

        Height and width are `size` pixels.

        Raises:
            BundleError: there are fewer than 16.
            ImageError: a frame cannot be read.
        """
        if self._images is None or self._images[0] != (size, most):
            self._images = ((size, most), self._read_images(size, most))
        return self._images[1]

    def _read_images(self, size: int, most: int) -> ImageArray:
        bundle = self.bundle
        if not self.can_calibrate():
            alike = "" if self._all_differ else f" that differ, of {self._given} given"
            raise BundleError(
                f"{bundle.path}: calibration wants {LEAST_CALIBRATION_IMAGES} images or more, got "
                f"{bundle.calibration_count} photos of the bundle's and {len(self.frames)} "
                f"frames{alike}: pass frames of different scenes (DeployOptions.calibration), or "
                "deploy the largest subnet, which needs none"
            )
        frame_count, photo_count = self._shares(most)
        crop, peak = bundle.preprocessing.crop, bundle.peak
        frames = [prepare(frame, size, crop, peak) for frame in self.frames[:frame_count]]
        return np.concatenate([stack(frames, size), bundle.calibration_images(size, photo_count)])
