"""What people and programs call the columns of a table of photos."""

from __future__ import annotations

import re

# In the order in which they are preferred where a table has several.
PATHS = (
    "path", "filepath", "filepaths", "imagepath", "imgpath", "photopath", "filename", "filenames",
    "imagefilename", "imagefile", "imgfile", "file", "files", "imagename", "imgname", "image",
    "images", "img", "photo", "picture", "relativepath", "localpath",
)  # fmt: skip
IDENTIFIERS = ("imageid", "imgid", "photoid", "id", "name")  # names of files in some tables alone
LABELS = (
    "label", "labels", "class", "classes", "classname", "classlabel", "labelname", "category",
    "categories", "categoryname", "target", "targets", "tag",
)  # fmt: skip
LABEL_NUMBERS = ("classid", "labelid", "categoryid", "classindex", "labelindex", "classidx")
SPLITS = ("split", "set", "subset", "fold", "partition", "dataset", "usage", "phase")
INDICES = ("", "index", "unnamed:0", "unnamed:01")  # pandas writes the row's number so
CORNERS = {"xmin", "ymin", "xmax", "ymax"}


def normal(name: str) -> str:
    """Returns a column's name without case, spaces and what separates words."""
    return re.sub(r"[\s_.\-]+", "", name).casefold()


def is_path_name(cell: str) -> bool:
    """Returns whether a column of this name may hold the paths of photos."""
    return normal(cell) in PATHS or normal(cell) in IDENTIFIERS
