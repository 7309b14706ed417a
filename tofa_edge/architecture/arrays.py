"""One name for each type of array that crosses functions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]  # weights, activations, logits
DoubleArray = NDArray[np.float64]  # measurements and statistics
ImageArray = NDArray[np.uint8]  # pixels: (N, S, S, 3) RGB unless it says otherwise
IndexArray = NDArray[np.int64]  # labels, and positions in other arrays
