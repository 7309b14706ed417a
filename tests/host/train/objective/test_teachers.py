"""What a teacher computes of images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tofa_edge.train.objective import teachers
from tofa_edge.train.objective.teachers import run_teacher


def test_flip_averaged_outputs_are_the_mean_of_an_image_and_its_mirror_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(teachers, "computes_bfloat16", lambda _: False)  # for exact sums
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    mirrored = np.ascontiguousarray(images[:, :, ::-1])
    device = torch.device("cpu")
    one, other = (run_teacher("lite0", each, device, resolution=48) for each in (images, mirrored))
    both = run_teacher("lite0", images, device, resolution=48, flip_averaged=True)
    for name in ("logits", "features"):
        expected = (getattr(one, name) + getattr(other, name)) / 2
        torch.testing.assert_close(getattr(both, name), expected, atol=1e-3, rtol=1e-3)
        assert not torch.allclose(getattr(one, name), expected, atol=1e-2)
