"""Hostile photos and words: what calibrates, what checks, and what the manifest says."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from tests.fuzz.crafted import pick
from tests.fuzz.hostile.draft import Draft, Mutation
from tests.fuzz.images import bombs
from tofa_edge.selftest.small_bundle import smooth_photo


def photo_count(draft: Draft, rng: np.random.Generator) -> str:
    """No photos, a few, or thousands."""
    counts = pick(rng, ((0, 0), (1, 1), (15, 0), (16, 1), (2000, 0), (300, 2000), (0, 300)))
    draft.calibration = (draft.calibration * 200)[: counts[0]]
    draft.check = (draft.check * 800)[: counts[1]]
    draft.labels = [index % draft.space.classes for index in range(counts[1])]
    return f"{counts[0]} calibration and {counts[1]} check photos"


def flat_photos(draft: Draft, rng: np.random.Generator) -> str:
    """Photos of one colour, in one of a camera's modes, or all the same."""
    mode = pick(rng, ("L", "RGB", "CMYK", "YCbCr"))
    value = pick(rng, (0, 128, 255))
    size = pick(rng, ((1, 1), (40, 40), (1, 4000), (4000, 1)))
    colour = value if mode == "L" else (value,) * len(Image.new(mode, (1, 1)).getbands())
    _replace(draft, rng, _jpeg(Image.new(mode, size, colour)))
    return f"photos of {mode} {value}, {size}"


def odd_photos(draft: Draft, rng: np.random.Generator) -> str:
    """Other modes and encodings than cameras write."""
    mode, progressive = pick(rng, ("L", "RGB", "CMYK")), bool(rng.integers(2))
    quality = pick(rng, (1, 50, 100))
    noise = Image.fromarray(rng.integers(0, 256, (37, 90, 3), dtype=np.uint8))
    _replace(draft, rng, _jpeg(noise.convert(mode), progressive=progressive, quality=quality))
    return f"photos of {mode}, progressive {progressive}, quality {quality}"


def large_photos(draft: Draft, rng: np.random.Generator) -> str:
    """Photos of many pixels and few bytes."""
    size = pick(rng, (1000, 2048, 2048, 2049, 15_000))
    content = _jpeg(Image.new("L", (size, size)), quality=5)
    _replace(draft, rng, content, most=max(1, 40_000_000 // len(content)))
    return f"photos of {size} × {size} pixels, {len(content)} bytes"


def bomb(draft: Draft, rng: np.random.Generator) -> str:
    """A small file that wants much memory or time to be decoded."""
    index = int(rng.integers(len(bombs())))
    _replace(draft, rng, bombs()[index], most=3)
    return f"photo bomb {index}"


def cut_photos(draft: Draft, rng: np.random.Generator) -> str:
    """Photos that end too early, or are none."""
    whole = smooth_photo(rng)
    kept = pick(rng, (0, 2, 200, len(whole) // 2, len(whole) - 2))
    _replace(draft, rng, whole[:kept])
    return f"photos cut at {kept} of {len(whole)} bytes"


def labels(draft: Draft, rng: np.random.Generator) -> str:
    """Labels of other classes, all of one, or of none."""
    classes = draft.space.classes
    shift = pick(rng, (1, classes // 2, -1, classes))
    draft.labels = [
        label + shift if abs(shift) == classes else (label + shift) % classes
        for label in draft.labels
    ]
    return f"labels shifted by {shift} of {classes}"


def temperature(draft: Draft, rng: np.random.Generator) -> str:
    """The least and the greatest temperatures, and some beyond."""
    value = pick(rng, (1e-3, 1e-3, 1e3, 1e3, 0.0, 1e300, float("nan")))
    draft.fields["temperature"] = value
    return f"temperature {value}"


def preprocessing(draft: Draft, rng: np.random.Generator) -> str:
    """Means, standard deviations and crops that no photo can bear."""
    std = pick(rng, (1e-3, 1e-3, 0.1, 127.0, 1e6, 1e6, 1e-300, 0.0, -1.0, float("inf")))
    mean = pick(rng, (0.0, 127.0, 1e6, -1e6))
    crop = pick(rng, (1.0, 1.0, 0.1, 0.1, 0.5, 1e-9, 2.0, float("nan")))
    draft.fields["preprocessing"] = {"mean": [mean] * 3, "std": [std, 127.0, std], "crop": crop}
    return f"mean {mean}, std {std}, crop {crop}"


def space_name(draft: Draft, rng: np.random.Generator) -> str:
    """Names that could lead elsewhere as a part of a path, or would not fit there."""
    name = pick(
        rng,
        (
            "../../../../tmp/x", "/etc/passwd", "a/b/c", "..", ".", "", "~", "$HOME", "n" * 200,
            "ü" * 200, "name\\..", "-rf", "con", "a b;c|d",
        ),
    )  # fmt: skip
    fields = draft.fields.get("space", draft.space.to_dict())
    draft.fields["space"] = {**fields, "name": name}
    return f"space named {name[:30]!r}"


def class_names(draft: Draft, rng: np.random.Generator) -> str:
    """Names that are equal, long, or written in letters that terminals stumble over."""
    name = pick(
        rng,
        (
            "same", "n" * 200, "👩\u200d👩\u200d👧", "\u202eright to left", "\u0301" * 150, " ",
            "%s", "[bold]x[/bold]", "{0}", "\x1b[31mred", "a\nb", "\ufeff", "<b>", "-", "../x",
        ),
    )  # fmt: skip
    draft.fields["classes"] = [name] * draft.space.classes
    return f"classes named {name[:30]!a}"


def provenance(draft: Draft, rng: np.random.Generator) -> str:
    """Odd things said of how it was made."""
    odd = pick(
        rng,
        (
            {}, {"accuracy": "high"}, {"accuracy": 1e308}, {"seed": -(2**70)}, {"": ""},
            {"made_by": None, "train": True}, {f"key {n}": n for n in range(10_000)},
            {"[red]": "[/red]", "\u202e": "\u202e"}, {"accuracy": float("nan")}, {"a": ["b"]},
        ),
    )  # fmt: skip
    draft.fields["provenance"] = odd
    return f"provenance {str(odd)[:50]!a}"


def _jpeg(image: Image.Image, quality: int = 75, progressive: bool = False) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality, progressive=progressive)
    return stream.getvalue()


def _replace(draft: Draft, rng: np.random.Generator, photo: bytes, most: int = 10**6) -> None:
    """Puts a photo in the place of one, of the calibration photos, or of all."""
    which = pick(rng, ("one", "calibration", "all"))
    count = min(most, 1 if which == "one" else len(draft.calibration))
    draft.calibration[:count] = [photo] * count
    if which == "all":
        draft.check = [photo] * min(most, len(draft.check)) + draft.check[most:]


PHOTOS: dict[str, Mutation] = {
    mutation.__name__: mutation
    for mutation in (
        photo_count, flat_photos, odd_photos, large_photos, bomb, cut_photos, labels,
    )
}  # fmt: skip
WORDS: dict[str, Mutation] = {
    mutation.__name__: mutation
    for mutation in (temperature, preprocessing, space_name, class_names, provenance)
}
