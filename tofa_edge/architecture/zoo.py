"""The search spaces that come with the package, by name.

Widths, repeats, strides and expand ratios of the largest subnets are the published architectures:
EfficientNet-Lite (TensorFlow TPU repository, 2020: EfficientNet without squeeze-and-excitation,
with ReLU6, fixed stem and head) and the once-for-all MobileNetV3 (Cai et al., ICLR 2020).
Kernels never grow beyond the pretrained size; smaller choices are ours.
"""

from __future__ import annotations

from dataclasses import replace

from tofa_edge.architecture.space import Activation, SearchSpace, StageSpace, round_to_eight
from tofa_edge.errors import SpaceError

EXPANDS = (3, 6)
SIZES = (48, 64, 96, 128, 160, 192, 224)  # px; of others, strides round more up


def _lite(
    name: str,
    largest: int,
    widths: tuple[tuple[int, ...], ...],
    depths: tuple[tuple[int, ...], ...],
) -> SearchSpace:
    kernels = ((3,), (3,), (5,), (3,), (5,), (5,), (3,))
    strides = (1, 2, 2, 2, 1, 2, 1)
    stages = tuple(
        StageSpace(
            widths=widths[index],
            depths=depths[index],
            kernels=kernels[index],
            expands=EXPANDS if index else (1,),
            stride=strides[index],
            activation="relu6",
        )
        for index in range(7)
    )
    return SearchSpace(
        name=name,
        classes=1000,
        resolutions=(*(size for size in SIZES if size < largest), largest),
        stem_width=32,
        stem_activation="relu6",
        stages=stages,
        head_width=1280,
        head_activation="relu6",
        feature_width=0,
        padding="same",
        epsilon=1e-3,
    )


_LITE_WIDTHS = ((16,), (16, 24), (24, 40), (48, 80), (72, 112), (128, 192))
_LITE0_DEPTHS = ((1,), (1, 2), (1, 2), (1, 2, 3), (1, 2, 3), (2, 3, 4), (1,))
_LITE12_DEPTHS = ((1,), (1, 2, 3), (1, 2, 3), (2, 3, 4), (2, 3, 4), (2, 3, 4, 5), (1,))


def efficientnet_lite0() -> SearchSpace:
    """Returns the space around EfficientNet-Lite0: 48 to 224 px, at most 385 MMACs."""
    return _lite("efficientnet_lite0", 224, (*_LITE_WIDTHS, (192, 256, 320)), _LITE0_DEPTHS)


def efficientnet_lite1() -> SearchSpace:
    """Returns the space around EfficientNet-Lite1: Lite0's widths, deeper, up to 240 px."""
    return _lite("efficientnet_lite1", 240, (*_LITE_WIDTHS, (192, 256, 320)), _LITE12_DEPTHS)


def efficientnet_lite2() -> SearchSpace:
    """Returns the space around EfficientNet-Lite2: wider and deeper than Lite0, up to 260 px."""
    widths = (
        (16,), (16, 24), (32, 48), (56, 88), (80, 120), (136, 208), (216, 288, 352),
    )  # fmt: skip
    return _lite("efficientnet_lite2", 260, widths, _LITE12_DEPTHS)


def tiny() -> SearchSpace:
    """Returns a space that trains in seconds from nothing: for tests and first steps."""
    relu6: Activation = "relu6"
    return SearchSpace(
        name="tiny",
        classes=10,
        resolutions=(16, 24, 29, 32),
        stem_width=8,
        stem_activation=relu6,
        stages=(
            StageSpace((8,), (1,), (3,), (1,), 1, relu6),
            StageSpace((8, 16), (1, 2), (3, 5), (2, 3), 2, relu6),
            StageSpace((16, 24), (1, 2), (3, 5), (2, 3), 2, relu6),
        ),
        head_width=64,
        head_activation=relu6,
        feature_width=0,
        padding="same",
        epsilon=1e-3,
    )


def mobilenet_v3(width_multiplier: float = 1.0) -> SearchSpace:
    """Returns the once-for-all MobileNetV3 space (Cai et al., ICLR 2020).

    Squeeze-and-excitation, hard-swish and learned kernel transforms; symmetric padding. Supernets
    are published for a `width_multiplier` of 1.0 and of 1.2.
    """
    base = (16, 24, 40, 80, 112, 160)
    strides, excited = (1, 2, 2, 2, 1, 2), (False, False, True, False, True, True)
    width = [round_to_eight(channels * width_multiplier) for channels in (*base, 960, 1280)]
    stages = [
        StageSpace((width[0],), (1,), (3,), (1,), 1, "relu", shortcut=True)
    ] + [
        StageSpace(
            widths=(width[index],),
            depths=(2, 3, 4),
            kernels=(3, 5, 7),
            expands=EXPANDS,
            stride=strides[index],
            activation="relu" if index < 3 else "hard_swish",
            squeeze_excitation=excited[index],
            kernel_transforms=True,
        )
        for index in range(1, 6)
    ]  # fmt: skip
    return SearchSpace(
        name=f"mobilenet_v3_w{width_multiplier}",
        classes=1000,
        resolutions=(128, 144, 160, 176, 192, 208, 224),
        stem_width=width[0],
        stem_activation="hard_swish",
        stages=tuple(stages),
        head_width=width[6],
        head_activation="hard_swish",
        feature_width=width[7],
        padding="symmetric",
        epsilon=1e-5,
    )


SPACES = {
    "lite0": efficientnet_lite0,
    "lite1": efficientnet_lite1,
    "lite2": efficientnet_lite2,
    "tiny": tiny,
    "mobilenet_v3": mobilenet_v3,
}


def named(name: str) -> SearchSpace:
    """Returns the space of a short `name` such as "lite0".

    Raises:
        SpaceError: there is none; the message lists them.
    """
    if name not in SPACES:
        raise SpaceError(f"no search space {name!r}; there are {', '.join(SPACES)}")
    return SPACES[name]()


def whole(space: SearchSpace) -> SearchSpace:
    """Returns the space above that a bundle's was made from, with all resolutions, or its own."""
    for make in SPACES.values():
        published = replace(make(), classes=space.classes)
        if replace(published, resolutions=space.resolutions) == space:
            return published
    return space
