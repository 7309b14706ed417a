"""From an opened bundle to networks: the supernet is read once, subnets are cut from it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tofa_edge.backends import Engine
from tofa_edge.bundle import Bundle
from tofa_edge.calibration import cut_network, keeps_statistics
from tofa_edge.errors import BundleError
from tofa_edge.images import ImageSource, prepare, stack
from tofa_edge.layers import layers
from tofa_edge.network import ImageArray, Network
from tofa_edge.space import Subnet
from tofa_edge.weights import cut, fold

CALIBRATION_IMAGES = 256
LEAST_CALIBRATION_IMAGES = 16


class Cutter:
    """Cuts networks out of one bundle.

    Args:
        bundle: an opened one.
        frames: images of this device's own camera, used before the bundle's calibration photos.

    Raises:
        BundleError: the bundle's weights are damaged.
    """

    def __init__(self, bundle: Bundle, frames: Sequence[ImageSource] = ()) -> None:
        self.bundle, self.space, self.frames = bundle, bundle.space, frames
        self._supernet = bundle.supernet()

    def network(
        self, subnet: Subnet, engine: Engine, most_images: int = CALIBRATION_IMAGES
    ) -> Network:
        """Returns a subnet, its BatchNorm calibrated by `engine` and folded.

        Any engine that calibrates will do: the statistics are the same.

        Raises:
            BundleError: there are fewer than 16 images to calibrate with.
            ImageError: a frame cannot be read.
            BackendError: the engine cannot run the calibration network.
        """
        images = self._images(subnet, most_images)
        preprocessing = self.bundle.preprocessing
        return cut_network(self.space, subnet, self._supernet, preprocessing, images, engine)

    def stored_network(self, subnet: Subnet) -> Network:
        """Returns a subnet with the supernet's stored statistics: exact, but not accurate.

        Golden cases are computed so, and an engine can be timed with it.
        """
        network = layers(self.space, subnet)
        return fold(network, cut(network, self._supernet), self.bundle.preprocessing)

    def can_calibrate(self) -> bool:
        """Whether there are enough images for subnets other than the largest."""
        images = self.bundle.calibration_count + len(self.frames)
        return images >= LEAST_CALIBRATION_IMAGES

    def _images(self, subnet: Subnet, most: int) -> ImageArray:
        size = subnet.resolution
        if keeps_statistics(self.space, subnet):
            return stack([], size)
        if not self.can_calibrate():
            raise BundleError(
                f"{self.bundle.path}: calibration wants {LEAST_CALIBRATION_IMAGES} images or more, "
                f"got {self.bundle.calibration_count} photos of the bundle's and "
                f"{len(self.frames)} frames: pass deploy(calibration=frames), or deploy the "
                "largest subnet, which needs none"
            )
        frames = [
            prepare(frame, size, self.bundle.preprocessing.crop) for frame in self.frames[:most]
        ]
        photos = self.bundle.calibration_images(size, most - len(frames))
        return np.concatenate([stack(frames, size), photos])
