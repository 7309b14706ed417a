"""A page that shows what was read: photos of each class, those alike, and labels in doubt."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from PIL import Image

from tofa_edge.architecture.arrays import ImageArray
from tofa_edge.bundle.images import prepare
from tofa_edge.errors import DataError
from tofa_edge.storage.text import escaped
from tofa_edge.train.data.account.report import DataReport
from tofa_edge.train.data.photos import Photos

MOST_OF_A_CLASS, MOST_SHOWN, MOST_GROUPS = 24, 1500, 50  # photos, photos in all, groups alike
SIZE, QUALITY = 96, 70  # pixels of a photo on the page, and of its JPEG
STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
h2 { margin: 2rem 0 .5rem; font-size: 1.1rem; overflow-wrap: anywhere; }
.photos { display: flex; flex-wrap: wrap; gap: .5rem; }
figure { margin: 0; width: 96px; } img { display: block; width: 96px; height: 96px; }
figcaption { font-size: .7rem; overflow-wrap: anywhere; } li { overflow-wrap: anywhere; }
"""
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width"><title>{title}</title>
<style>{style}</style></head><body><h1>{title}</h1>
{body}
</body></html>
"""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A photo whose label a trained network doubts.

    Attributes:
        index: of the photo.
        probability: that it gives the label, 0..1.
        guess: the class that it holds for more probable, or the label itself.
    """

    index: int
    probability: float
    guess: str


def contact_sheet(
    title: str, photos: Photos, report: DataReport, doubts: Sequence[Doubt] = ()
) -> str:
    """Returns a page as HTML that needs nothing else: pictures are in it, names escaped.

    Up to 24 photos of each class are shown, evenly drawn, 1,500 in all.

    Args:
        title: of the page, such as the folder's name.
        photos: decoded, with the files they come from.
        report: the account of them.
        doubts: of labels, the strongest first.

    Raises:
        DataError: the photos come from no files.
    """
    if photos.listed is None:
        raise DataError(f"{title}: a set by name has no files to show")
    body = "\n".join(_parts(photos, report, doubts))
    return PAGE.format(title=_shown(title), style=STYLE, body=body)


def _parts(photos: Photos, report: DataReport, doubts: Sequence[Doubt]) -> Iterator[str]:
    yield f"<ul>{''.join(f'<li>{_shown(line)}</li>' for line in report.lines())}</ul>"
    if doubts:
        yield "<h2>Labels that the network doubts</h2>"
        yield _photos([_figure(photos, each.index, _doubt(photos, each)) for each in doubts])
    yield from _alike(photos, report)
    groups = [*range(len(photos.classes)), -1]
    most = max(1, min(MOST_OF_A_CLASS, MOST_SHOWN // len(groups)))
    for label in groups[:MOST_SHOWN]:
        members = np.flatnonzero(photos.labels == label)
        if not len(members):
            continue
        chosen = members[np.linspace(0, len(members) - 1, min(most, len(members))).astype(int)]
        shown = "" if len(chosen) == len(members) else f", {len(chosen)} shown"
        yield f"<h2>{_shown(_called(photos, label))}: {len(members)} photos{shown}</h2>"
        yield _photos([_figure(photos, int(index)) for index in chosen])


def _alike(photos: Photos, report: DataReport) -> Iterator[str]:
    """Yields groups of nearly equal photos side by side, where somebody looked for them."""
    if not report.alike or photos.listed is None:
        return
    places = {path: index for index, path in enumerate(photos.listed.paths)}
    yield f"<h2>Nearly equal: {len(report.alike)} groups</h2>"
    for group in report.alike[:MOST_GROUPS]:
        found = [places[path] for path in group if path in places][:MOST_OF_A_CLASS]
        yield _photos([_figure(photos, index, _class_name(photos, index)) for index in found])


def _class_name(photos: Photos, index: int) -> str:
    return _called(photos, int(photos.labels[index]))


def _called(photos: Photos, label: int) -> str:
    return "without a label" if label < 0 else photos.classes[label]


def _doubt(photos: Photos, doubt: Doubt) -> str:
    return f"{_class_name(photos, doubt.index)} {doubt.probability:.0%}; the network: {doubt.guess}"


def _photos(figures: Sequence[str]) -> str:
    return f'<div class="photos">{"".join(figures)}</div>'


def _figure(photos: Photos, index: int, more: str = "") -> str:
    assert photos.listed is not None
    path = photos.listed.paths[index]
    caption = f"{path.name}: {more}" if more else path.name
    return (
        f'<figure title="{_shown(str(path))}"><img alt="" src="{_data(photos.images[index])}">'
        f"<figcaption>{_shown(caption)}</figcaption></figure>"
    )


def _data(image: ImageArray) -> str:
    """Returns an image, uint8 (S, S, 3), as a small JPEG in an address."""
    stream = io.BytesIO()
    Image.fromarray(prepare(image, SIZE)).save(stream, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _shown(text: str) -> str:
    """Returns a text for a page: what does not show and marks of HTML are escaped."""
    return escape(escaped(text))
