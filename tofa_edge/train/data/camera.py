"""What small cameras do to a photo: blur, noise, little light, low quality, false white."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageFilter

from tofa_edge.architecture.arrays import ImageArray

MOST_FAULTS = 2  # of one image
BLUR = (0.004, 0.02)  # standard deviation as a part of the side
QUALITY = (8, 60)  # of JPEG
SHRUNK = (1.5, 4.0)  # how many times a side is shrunk before it is enlarged again
NOISE = (0.01, 0.08)  # standard deviation as a part of white
LIGHT = (0.08, 0.5)  # that is left, in linear values
REGAINED = (0.5, 1.0)  # of the lost light, by amplification: what a camera's exposure does
ELECTRONS = (200.0, 3000.0)  # that a white pixel collects in full light: fewer are noisier
WHITE = (0.75, 1.3)  # gain of red and of blue
GAMMA = 2.2

Fault = Callable[[ImageArray, np.random.Generator], ImageArray]


def degraded(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    """Returns an image as a small camera might have taken it: with one fault or two.

    Args:
        image: uint8, (S, S, 3).
        rng: draws the faults and how strong they are.

    Returns:
        uint8, (S, S, 3).
    """
    count = int(rng.integers(1, MOST_FAULTS + 1))
    chosen = rng.choice(len(FAULTS), count, replace=False)
    for place in sorted(chosen.tolist()):  # in the order in which a camera makes them
        image = FAULTS[tuple(FAULTS)[place]](image, rng)
    return image


def _blurred(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    radius = rng.uniform(*BLUR) * len(image)
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))


def _darkened(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    """Takes light away, with the noise of few photons, and amplifies what is left."""
    light, electrons = _log_uniform(LIGHT, rng), _log_uniform(ELECTRONS, rng)
    linear = (image.astype(np.float32) / 255) ** GAMMA * light
    collected = rng.poisson(linear * electrons) / electrons
    gain = light ** -rng.uniform(*REGAINED)
    return _as_bytes((collected * gain).clip(0, 1) ** (1 / GAMMA))


def _noisy(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    deviation = _log_uniform(NOISE, rng)
    noise = rng.standard_normal(image.shape, np.float32) * deviation
    return _as_bytes(image.astype(np.float32) / 255 + noise)


def _off_white(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    gains = np.array([rng.uniform(*WHITE), 1.0, rng.uniform(*WHITE)], np.float32)
    return _as_bytes(image.astype(np.float32) / 255 * gains)


def _resampled(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    size = len(image)
    small = max(4, round(size / rng.uniform(*SHRUNK)))
    shrunk = Image.fromarray(image).resize((small, small), Image.Resampling.BOX)
    return np.asarray(shrunk.resize((size, size), Image.Resampling.BILINEAR))


def _compressed(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=int(rng.integers(*QUALITY)))
    return np.asarray(Image.open(stream))


def _log_uniform(bounds: tuple[float, float], rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(*np.log(bounds))))


def _as_bytes(values: np.ndarray[tuple[int, ...], np.dtype[np.floating]]) -> ImageArray:
    bytes_: ImageArray = (values * 255 + 0.5).clip(0, 255).astype(np.uint8)
    return bytes_


FAULTS: Mapping[str, Fault] = {
    "blur": _blurred,
    "low light": _darkened,
    "noise": _noisy,
    "white balance": _off_white,
    "low resolution": _resampled,
    "JPEG": _compressed,
}
