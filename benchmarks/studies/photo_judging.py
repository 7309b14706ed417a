"""Which pictures are photos, and which of them show the same: what a pool of photos is made by."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tofa_edge.architecture.arrays import FloatArray, ImageArray

LEAST_SIDE = 192  # px of a photo; of the visible part of a cut-out, half of it
MOST_ASPECT = 4.0  # of the sides: beyond, it is a banner or a strip of frames
JUDGED_SIDE = 512  # px, of the part from the middle at full size that is judged
MOST_FLAT = 0.6  # of neighbouring pixels that are equal: drawings have areas of one colour
LEAST_DETAIL = 0.8  # mean difference of neighbouring pixels, of 255: gradients have less
LEAST_COLOURS = 200  # of 32,768, in the judged part of a photo
MOST_BLUE = 0.7  # of pixels near the blue of a flat surface in a map of normals
NORMAL = (128, 128, 255)
THUMBNAIL = 16  # px, by which pictures are compared
MOST_ALIKE = 0.94  # correlation of thumbnails; beyond, one of the two is left out
VISIBLE = 128  # of 255, of a cut-out's pixel
TRANSPARENT = (0.05, 0.95)  # of a cut-out's pixels; with fewer it is a photo, with more nothing
OTHER_MAPS = (  # in the names of textures that show no surface, and of pictures of programs
    "norm", "gloss", "bump", "glow", "reflect", "shadow", "luma", "local", "mask", "alpha", "spec",
    "height", "_nm", "_sm", "_gm", "icon", "screenshot", "logo", "button",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class CandidatePhoto:
    """A picture that counts as a photo, or as a cut-out of one.

    Attributes:
        name: of its file.
        image: RGB, or RGBA of a cut-out, cropped to what is visible.
        thumbnail: by which it is compared, of mean 0 and length 1, (768,).
    """

    name: str
    image: Image.Image
    thumbnail: FloatArray

    @property
    def is_cut_out(self) -> bool:
        """Whether it has no background."""
        return self.image.mode == "RGBA"


def judged(name: str, content: bytes) -> CandidatePhoto | str:
    """Returns the picture in a file, or in a word why it is left out.

    Args:
        name: of the file.
        content: its bytes.
    """
    if any(word in name.rsplit("/", 1)[-1].lower() for word in OTHER_MAPS):
        return "by name"
    try:
        image = _opened(content)
    except Exception:  # Pillow's plug-ins raise many kinds for damaged files
        return "unreadable"
    width, height = image.size
    least = LEAST_SIDE // 2 if image.mode == "RGBA" else LEAST_SIDE
    if min(width, height) < least:
        return "small"
    if max(width, height) > MOST_ASPECT * min(width, height):
        return "narrow"
    reason = drawn(image)
    return reason or CandidatePhoto(name, image, _thumbnail(image))


def _opened(content: bytes) -> Image.Image:
    image: Image.Image = Image.open(io.BytesIO(content))
    image.draft("RGB", (2 * JUDGED_SIDE, 2 * JUDGED_SIDE))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        alpha = np.asarray(image.getchannel("A")) >= VISIBLE
        least, most = TRANSPARENT
        if least < 1 - alpha.mean() < most:
            return image.crop(image.getchannel("A").point(lambda a: 255 * (a >= VISIBLE)).getbbox())
    return image.convert("RGB")


def drawn(image: Image.Image) -> str | None:
    """Returns why a picture, RGB or RGBA, is no photo; None: it may be one.

    A sensor's noise makes neighbouring pixels differ; a drawing has areas of one colour, and a
    gradient hardly any detail.
    """
    width, height = image.size
    left, top = max(0, (width - JUDGED_SIDE) // 2), max(0, (height - JUDGED_SIDE) // 2)
    box = (left, top, min(width, left + JUDGED_SIDE), min(height, top + JUDGED_SIDE))
    middle = image.crop(box)
    values = np.asarray(middle).astype(np.int16)
    pixels = values[..., :3]
    seen = values[..., 3] >= VISIBLE if image.mode == "RGBA" else np.ones(pixels.shape[:2], bool)
    both = seen[:, 1:] & seen[:, :-1]
    if not both.any():
        return "empty"
    apart = np.abs(pixels[:, 1:] - pixels[:, :-1])[both]
    if (apart.max(axis=1) == 0).mean() > MOST_FLAT:
        return "drawn"
    if apart.mean() < LEAST_DETAIL:
        return "without detail"
    shown = pixels[seen]
    if (np.abs(shown - NORMAL).max(axis=1) < 60).mean() > MOST_BLUE:
        return "a map of normals"
    coarse = (shown >> 3) @ np.array([1024, 32, 1])
    return "few colours" if len(np.unique(coarse)) < LEAST_COLOURS else None


def _thumbnail(image: Image.Image) -> FloatArray:
    small = image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX).convert("RGB")
    values = np.asarray(small).astype(np.float32).ravel()
    centred = values - values.mean()
    length = max(float(np.linalg.norm(centred)), 1e-6)
    thumbnail: FloatArray = (centred / length).astype(np.float32)
    return thumbnail


def distinct(thumbnails: FloatArray) -> NDArray[np.int64]:
    """Returns which pictures stay when of two that are alike the later is left out.

    Args:
        thumbnails: of mean 0 and length 1, float32, (N, channels), the better ones first.
    """
    kept: list[int] = []
    for place, thumbnail in enumerate(thumbnails):
        if not kept or (thumbnails[kept] @ thumbnail).max() < MOST_ALIKE:
            kept.append(place)
    return np.array(kept, np.int64)


def pasted(cut_out: Image.Image, ground: Image.Image, rng: np.random.Generator) -> ImageArray:
    """Returns a cut-out on a random part of a photo, at a random place and scale.

    Args:
        cut_out: RGBA.
        ground: RGB.
        rng: draws them.

    Returns:
        uint8, (S, S, 3), S the longer side of the cut-out by its scale.
    """
    scale = rng.uniform(0.45, 0.9)
    size = int(np.clip(max(cut_out.size) / scale, LEAST_SIDE, 2 * JUDGED_SIDE))
    side = min(ground.size) * rng.uniform(0.3, 1.0)
    left, top = ((whole - side) * rng.random() for whole in ground.size)
    box = (left, top, left + side, top + side)
    canvas = ground.resize((size, size), Image.Resampling.BICUBIC, box=box)
    small = cut_out.copy()
    small.thumbnail((int(scale * size), int(scale * size)))
    place = tuple(int((size - part) * rng.random()) for part in small.size)
    canvas.paste(small, (place[0], place[1]), small)
    return np.asarray(canvas)
