"""How often check photos warn of honest bundles and cameras, and whether they find spoiled ones.

`python -m tofa_edge.benchmarks.studies.accuracy_warnings BUNDLE photos.zip` judges random subnets
as a deployment does, each on 64 test photos drawn anew (`<set>/test/<class>/<name>.jpg`):
calibrated by the bundle's photos, by frames of another camera among them, and by what is spoiled.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from tofa_edge.architecture.arrays import ImageArray, IndexArray
from tofa_edge.architecture.encodings import encoded
from tofa_edge.architecture.space import Subnet
from tofa_edge.backends.protocol import Engine
from tofa_edge.benchmarks.studies.command import RESULTS, Row, options, store
from tofa_edge.benchmarks.studies.frames import CAMERAS
from tofa_edge.benchmarks.studies.zip_photos import names_of, photos_to_test, read_photos
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cutting.accuracy_drop import logits_of
from tofa_edge.cutting.calibration import cut_network
from tofa_edge.cutting.cutter import CALIBRATION_IMAGES, Cutter
from tofa_edge.deployment.check import accuracy_deviation, contradiction, cost_of_frames
from tofa_edge.network.network import Network
from tofa_edge.selftest.calibrating import calibrating_engine

CHECKED = 64
Case = Callable[[Subnet, np.random.Generator], str]  # returns the warning, or nothing


class Judge:
    """Judges subnets of one bundle by test photos of a zip."""

    def __init__(self, bundle: Bundle, zip_path: Path, engine: Engine) -> None:
        self.bundle, self.zip, self.engine = bundle, zip_path, engine
        self.cutter, self.predictor = Cutter(bundle), bundle.accuracy_predictor()
        self.supernet = bundle.supernet()
        names = names_of(zip_path, "train")
        self.pool = [
            photo for photo, _ in read_photos(zip_path, names[:: max(1, len(names) // 1000)])
        ]

    def honest(self, subnet: Subnet, rng: np.random.Generator) -> str:
        """Calibrated by the bundle's photos."""
        return self._contradiction(self.cutter.network(subnet, self.engine), subnet, rng)

    def shifted_labels(self, subnet: Subnet, rng: np.random.Generator) -> str:
        """Each label is the next class's."""
        return self._contradiction(self.cutter.network(subnet, self.engine), subnet, rng, shift=1)

    def flat_photos(self, subnet: Subnet, rng: np.random.Generator) -> str:
        """Calibrated by 256 photos of one shade each."""
        shades = rng.integers(0, 256, (CALIBRATION_IMAGES, 1, 1, 1))
        shape = (CALIBRATION_IMAGES, subnet.resolution, subnet.resolution, 3)
        return self._spoiled(np.broadcast_to(shades, shape).astype(np.uint8), subnet, rng)

    def noise_photos(self, subnet: Subnet, rng: np.random.Generator) -> str:
        """Calibrated by 256 photos of noise."""
        shape = (CALIBRATION_IMAGES, subnet.resolution, subnet.resolution, 3)
        return self._spoiled(rng.integers(0, 256, shape, dtype=np.uint8), subnet, rng)

    def camera(self, name: str, subnet: Subnet, rng: np.random.Generator) -> str:
        """A quarter of what calibrates are frames of another camera."""
        chosen = rng.permutation(len(self.pool))[:CALIBRATION_IMAGES]
        return self._frames([CAMERAS[name](self.pool[index]) for index in chosen], subnet, rng)

    def noise_frames(self, subnet: Subnet, rng: np.random.Generator) -> str:
        """A quarter of what calibrates are frames of a covered, flickering camera."""
        noise = rng.integers(0, 256, (CALIBRATION_IMAGES, 8, 8, 3), dtype=np.uint8)
        frames = [Image.fromarray(each).resize((64, 64)) for each in noise]
        return self._frames(frames, subnet, rng)

    def _spoiled(self, images: ImageArray, subnet: Subnet, rng: np.random.Generator) -> str:
        settings = self.bundle.preprocessing
        space, engine = self.bundle.space, self.engine
        network = cut_network(space, subnet, self.supernet, settings, images, engine)
        return self._contradiction(network, subnet, rng)

    def _contradiction(
        self, network: Network, subnet: Subnet, rng: np.random.Generator, shift: int = 0
    ) -> str:
        assert self.predictor is not None
        images, labels = self._photos(subnet, rng)
        labels = (labels + shift) % len(self.bundle.classes)
        right = int((self._classes(network, images) == labels).sum())
        space = self.bundle.space
        expected = float(self.predictor.expected(space, encoded(space, [subnet]))[0])
        deviation = accuracy_deviation(self.predictor, space, subnet)
        return contradiction(right, labels, expected, deviation)

    def _frames(self, frames: list[Image.Image], subnet: Subnet, rng: np.random.Generator) -> str:
        images, labels = self._photos(subnet, rng)
        arrays = [np.asarray(frame.convert("RGB")) for frame in frames]
        networks = [
            cutter.network(subnet, self.engine)
            for cutter in (Cutter(self.bundle, arrays), self.cutter)
        ]
        with_frames, without = (self._classes(network, images) for network in networks)
        return cost_of_frames(with_frames, without, labels)

    def _photos(self, subnet: Subnet, rng: np.random.Generator) -> tuple[ImageArray, IndexArray]:
        images, labels = photos_to_test(self.zip, subnet.resolution)
        chosen = rng.permutation(len(labels))[:CHECKED]
        return images[chosen], labels[chosen]

    def _classes(self, network: Network, images: ImageArray) -> IndexArray:
        classes: IndexArray = logits_of(network, self.engine, images).argmax(axis=1)
        return classes


def main() -> None:
    out = RESULTS / "accuracy_warnings.json"
    given = options(__doc__, "bundle", "zip", cases=(100, "of each kind"), seed=0, out=out)
    bundle = Bundle.open(given.bundle)
    judge = Judge(bundle, given.zip, calibrating_engine(bundle))
    kinds: dict[str, tuple[Case, int]] = {"honest": (judge.honest, given.cases)}
    for name in CAMERAS:
        kinds[f"frames, {name}"] = (partial(judge.camera, name), given.cases // len(CAMERAS))
    spoiled: dict[str, Case] = {
        "shifted labels": judge.shifted_labels,
        "flat photos": judge.flat_photos,
        "photos of noise": judge.noise_photos,
        "frames of noise": judge.noise_frames,
    }
    kinds |= {f"spoiled, {name}": (case, given.cases // 5) for name, case in spoiled.items()}
    rows: Row = {}
    for kind, (case, count) in kinds.items():
        rng = np.random.default_rng([given.seed, len(rows)])
        warned = sum(bool(case(bundle.space.sample(rng), rng)) for _ in range(count))
        rows[kind] = {"warned": warned, "of": count}
        print(kind, json.dumps(rows[kind]), flush=True)
    store(given.out, {"cases": rows})


if __name__ == "__main__":
    main()
