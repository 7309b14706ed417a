"""A once-for-all checkpoint is read so that every subnet computes what the `ofa` package's does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.architecture.zoo import mobilenet_v3
from tofa_edge.benchmarks.studies.peers_once_for_all import UNUSED, Absent, randomised
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.errors import TrainingError
from tofa_edge.train.config import Progress, TrainingConfig
from tofa_edge.train.supernet.once_for_all import load_once_for_all
from tofa_edge.train.supernet.supernet import Supernet
from tofa_edge.train.trainer import train

pytestmark = pytest.mark.usefixtures("known_engines")

SUBNETS = 50


@pytest.fixture(scope="module")
def networks() -> Iterator[Any]:
    """The package's networks."""
    # what the package imports for its data loaders, unused here
    with pytest.MonkeyPatch.context() as patch:
        for name in UNUSED:
            patch.setitem(sys.modules, name, Absent(name))
        yield pytest.importorskip("ofa.imagenet_classification.elastic_nn.networks")
    for name in [name for name in sys.modules if name.split(".")[0] == "ofa"]:
        del sys.modules[name]


def oracle(networks: Any, width: float) -> Any:
    """A once-for-all network with random weights, statistics and kernel matrices."""
    made = networks.OFAMobileNetV3(
        n_classes=1000, bn_param=(0.1, 1e-5), dropout_rate=0.1, base_stage_width="proxyless",
        width_mult=width, ks_list=[3, 5, 7], expand_ratio_list=[3, 4, 6], depth_list=[2, 3, 4],
    )  # fmt: skip
    return randomised(made)


def activate(net: Any, space: SearchSpace, subnet: Subnet) -> None:
    """Sets the package's network to the same subnet."""
    kernels, expands, depths = [], [], []
    for stage in subnet.stages[1:]:
        depths.append(len(stage.blocks))
        blocks = [*stage.blocks, *[stage.blocks[-1]] * (4 - len(stage.blocks))]
        kernels += [block.kernel for block in blocks]
        expands += [block.expand for block in blocks]
    net.set_active_subnet(ks=kernels, e=expands, d=depths)


@pytest.mark.parametrize("width", [1.0, 1.2])
def test_subnets_compute_the_same(networks: Any, tmp_path: Path, width: float) -> None:
    net = oracle(networks, width)
    path = tmp_path / "checkpoint"
    torch.save({"state_dict": net.state_dict(), "epoch": 3}, path)
    space, arrays, preprocessing = load_once_for_all(path)
    assert space == mobilenet_v3(width)
    supernet = Supernet(space, preprocessing)
    supernet.load_arrays(arrays)
    rng = np.random.default_rng(1)
    subnets = [space.largest(), space.smallest()]
    subnets += [space.sample(rng) for _ in range(SUBNETS // 2 - 2)]
    mean, std = (
        torch.tensor(n).reshape(1, 3, 1, 1) for n in (preprocessing.mean, preprocessing.std)
    )
    worst = 0.0
    for subnet in subnets:
        subnet = replace(subnet, resolution=min(subnet.resolution, 160))
        pixels = torch.rand(2, 3, subnet.resolution, subnet.resolution) * 255
        activate(net, space, subnet)
        with torch.no_grad():
            wanted = net((pixels - mean) / std)
            (got,) = supernet(pixels, subnet, statistics="stored")
        worst = max(worst, float((got - wanted).abs().max() / wanted.abs().max()))
    print(f"width {width}: {len(subnets)} subnets, difference {worst:.1e} of the largest logit")
    assert worst <= 1e-4


def test_names_of_older_releases_are_understood(networks: Any, tmp_path: Path) -> None:
    net = oracle(networks, 1.0)
    renamed = {
        name.replace(".conv.conv.weight", ".conv.weight")
        .replace(".bn.bn.", ".bn.")
        .replace(".conv.point", ".mobile_inverted_conv.point"): value
        for name, value in net.state_dict().items()
    }
    torch.save(net.state_dict(), tmp_path / "new")
    torch.save(renamed, tmp_path / "old")
    new, old = (load_once_for_all(tmp_path / name)[1] for name in ("new", "old"))
    assert all(np.array_equal(new[name], old[name]) for name in new)


def test_what_does_not_fit_is_named(networks: Any, tmp_path: Path) -> None:
    state = oracle(networks, 1.0).state_dict()
    path = tmp_path / "checkpoint"

    def refused(changed: object) -> str:
        torch.save(changed, path)
        with pytest.raises(TrainingError) as caught:
            load_once_for_all(path)
        return str(caught.value)

    key = "blocks.5.conv.depth_conv.conv.conv.weight"
    assert "depth_conv.conv.weight is missing" in refused(
        {name: value for name, value in state.items() if name != key}
    )
    assert "(144, 1, 7, 7), got (3,)" in refused({**state, key: torch.zeros(3)})
    turned = "feature_mix_layer.conv.weight"
    assert "got (960, 1280, 1, 1)" in refused({**state, turned: state[turned].transpose(0, 1)})
    assert "wanted a once-for-all MobileNetV3" in refused({"x": torch.zeros(2)})
    assert "dictionary of named tensors" in refused([1, 2])
    path.write_bytes(b"torn")
    with pytest.raises(TrainingError, match="cannot be read"):
        load_once_for_all(path)
    with pytest.raises(TrainingError, match="cannot be read"):
        load_once_for_all(tmp_path / "nowhere")


def test_training_starts_from_a_checkpoint(networks: Any, tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "checkpoint.pth"
    torch.save(oracle(networks, 1.0).state_dict(), path)
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(10):
            pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    config = TrainingConfig(
        pretrained=str(path), epochs=1, batch_size=4, resolution=128, predictor_subnets=0
    )
    steps: list[Progress] = []
    report = train(tmp_path / "photos", tmp_path / "x.tofa", config, steps.append)
    bundle = Bundle.open(report.bundle)
    bundle.verify()
    assert bundle.space.name == "mobilenet_v3_w1.0"
    assert len([step for step in steps if step.losses]) == 16 // 4
    assert abs(bundle.preprocessing.mean[0] - 123.675) < 1e-3
