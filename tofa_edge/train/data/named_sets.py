"""Data sets by name, from packages that are installed: to try the trainer without photos."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tofa_edge.architecture.arrays import ImageArray, IndexArray
from tofa_edge.errors import DataError
from tofa_edge.train.data.photos import UNLABELLED

FASHION_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # where the Debian package puts it
FASHION = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag",
           "ankle boot")  # fmt: skip

Raw = tuple[tuple[str, ...], ImageArray, IndexArray]


def elpv() -> Raw:
    """Returns 2,624 photos of solar cells (CC BY-NC-SA 4.0; Buerhop-Lutz et al., 2018).

    Raises:
        DataError: the package elpv-dataset is not installed.
    """
    try:
        from elpv_dataset.utils import load_dataset
    except ImportError as error:
        raise DataError("elpv is not installed: pip install elpv-dataset") from error
    photos, grades, _ = load_dataset()
    labels = np.full(len(grades), UNLABELLED, np.int64)
    labels[np.isclose(grades, 1.0)] = 0
    labels[np.isclose(grades, 0.0)] = 1
    return ("defective", "functional"), np.asarray(photos, np.uint8), labels


def fashion_mnist(role: str = "train") -> Raw:
    """Returns 60,000 training or 10,000 test images (MIT; Xiao et al., 2017).

    Args:
        role: "train" or "t10k".

    Raises:
        DataError: its files are not there, or cannot be read.
    """
    parts = []
    for kind, header in (("images-idx3", 16), ("labels-idx1", 8)):
        path = FASHION_FOLDER / f"{role}-{kind}-ubyte"
        try:
            if path.exists():
                content = path.read_bytes()
            else:
                content = gzip.decompress(path.with_name(path.name + ".gz").read_bytes())
        except (OSError, EOFError) as error:
            raise DataError(
                f"fashion-mnist is not installed: apt install dataset-fashion-mnist ({error})"
            ) from error
        parts.append(np.frombuffer(content, np.uint8, offset=header))
    images, labels = parts
    return FASHION, images.reshape(-1, 28, 28), labels.astype(np.int64)


def digits() -> Raw:
    """Returns 1,797 images of 8 by 8 pixels (UCI; scikit-learn's copy).

    Raises:
        DataError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError("digits is not installed: pip install scikit-learn") from error
    digits = load_digits()
    grey = (np.asarray(digits.images) * 255 / 16).astype(np.uint8)
    return tuple(str(n) for n in range(10)), grey, np.asarray(digits.target, np.int64)


SETS: dict[str, Callable[[], Raw]] = {
    "elpv": elpv,
    "fashion-mnist": fashion_mnist,
    "digits": digits,
}
