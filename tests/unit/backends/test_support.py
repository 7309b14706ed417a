"""What backends share: sessions whose callers take turns, and packages that are not there."""

from __future__ import annotations

import numpy as np
import pytest

from tofa_edge.backends import (
    LOGITS,
    BackendError,
    FloatArray,
    ImageArray,
    SerialSession,
    import_engine,
    missing_packages,
)

BATCH = np.zeros((1, 8, 8, 3), np.uint8)


class Counting(SerialSession):
    """Fails where the first pixel is not 0, and counts how often it is freed."""

    freed = 0

    def _run(self, batch: ImageArray) -> dict[str, FloatArray]:
        if batch.flat[0] == 1:
            raise BackendError("counting refuses the batch")
        return {LOGITS: np.float32(1) / np.zeros(len(batch) - int(batch.flat[0]), np.float32)}

    def _free(self) -> None:
        self.freed += 1


def test_what_the_engine_raises_is_a_backend_error() -> None:
    session = Counting("counting", 8, "cpu")
    with np.errstate(divide="ignore"):
        assert session.run(BATCH)[LOGITS].shape == (1,)
    with pytest.raises(BackendError, match=r"^counting failed: negative dimensions"):
        session.run(BATCH + np.uint8(2))
    with pytest.raises(BackendError, match=r"^counting refuses the batch$"):
        session.run(BATCH + np.uint8(1))
    with pytest.raises(BackendError, match="wanted a uint8 batch"):
        session.run(BATCH[:, 1:])


def test_closed_session_is_freed_once_and_refuses() -> None:
    session = Counting("counting", 8, "gpu")
    session.close()
    session.close()
    assert (session.freed, session.unit) == (1, "gpu")
    with pytest.raises(BackendError, match=r"^counting: this session is closed$"):
        session.run(BATCH)


def test_missing_packages_are_named() -> None:
    assert missing_packages("numpy", install="pip install x") is None
    expected = "no package absent and missing: pip install x"
    assert missing_packages("absent", "numpy", "missing", install="pip install x") == expected
    with pytest.raises(
        BackendError, match=r"^absent: import failed \(.*absent.*\); pip install x$"
    ):
        import_engine("absent", "pip install x")
