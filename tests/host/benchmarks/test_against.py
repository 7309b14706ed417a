"""A network that torch exports is judged as torch judges it."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.benchmarks.other_networks import colour_bundle
from tofa_edge.benchmarks.suite.against import Against, OtherNetwork, accuracy_on
from tofa_edge.benchmarks.suite.other_network import load
from tofa_edge.network.network import LITE_PREPROCESSING

SIZE, PARITY = 64, 1e-4


@pytest.fixture(scope="module")
def lite0() -> torch.nn.Module:
    package = pytest.importorskip("efficientnet_lite_pytorch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        options = {"num_classes": 10, "image_size": SIZE}
        model = package.EfficientNet.from_name("efficientnet-lite0", **options)
    return model.eval()  # type: ignore[no-any-return]


def test_an_export_of_lite0_computes_what_torch_does(
    lite0: torch.nn.Module, tmp_path: Path
) -> None:
    bundle, path = colour_bundle(tmp_path), tmp_path / "lite0.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        torch.onnx.export(
            lite0, (torch.zeros(1, 3, SIZE, SIZE),), str(path), dynamo=False,
            input_names=["pixels"], dynamic_axes={"pixels": {0: "N"}},
        )  # fmt: skip
    asked = Against(path, LITE_PREPROCESSING)
    OtherNetwork.open(asked)
    loaded = load(path, 1)
    assert loaded.input.size == SIZE
    assert loaded.input.channels_first
    images, labels = bundle.check_images(SIZE)
    pixels = (torch.from_numpy(images).permute(0, 3, 1, 2).float() - 127) / 128
    with torch.no_grad():
        wanted = lite0(pixels).numpy()
    got = np.stack([loaded.run(loaded.input.array(each, LITE_PREPROCESSING)) for each in images])
    assert np.abs(got - wanted).max() <= PARITY * np.abs(wanted).max()
    accuracy, _ = accuracy_on(bundle, asked, loaded)
    assert accuracy is not None
    assert accuracy.right == int((wanted.argmax(axis=1) == labels).sum())
