"""Tables that list photos, in the dialects that programs write; what is refused says why."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from tests.host.train.data.drawn_photos import draw
from tofa_edge.errors import DataError
from tofa_edge.train.data.photos import LabelledPaths
from tofa_edge.train.data.reading import ReadingOptions
from tofa_edge.train.data.sources import list_photos, list_unlabelled

CASES = Path(__file__).parents[5] / "shared/cases/photos/08-csv-dialects"
ROWS = "path,label\nimg/a.png,cat\nimg/b.png,cat\nimg/sub/c.png,dog\n"
EXPECTED = {"a.png": "cat", "b.png": "cat", "c.png": "dog"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    draw(tmp_path, "img/a.png", "img/b.png", "img/sub/c.png", "img/sub/d.png")
    return tmp_path


def labels(found: object) -> dict[str, str]:
    assert isinstance(found, LabelledPaths)
    names = [found.classes[label] if label >= 0 else "" for label in found.labels]
    return {path.name: name for path, name in zip(found.paths, names, strict=True)}


def read(root: Path, content: str | bytes, name: str = "list.csv") -> LabelledPaths:
    path = root / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = list_photos(path)
    assert isinstance(found, LabelledPaths)
    return found


DIALECTS = {
    "as it is": ROWS,
    "mark and CRLF, quoted": "\ufeff" + ROWS.replace("\n", "\r\n").replace("cat", '"cat"'),
    "only CR": ROWS.replace("\n", "\r"),
    "Excel in German": ROWS.replace(",", ";"),
    "Excel's first line": "sep=;\r\n" + ROWS.replace(",", ";").replace("\n", "\r\n"),
    "tabs": ROWS.replace(",", "\t"),
    "bars": ROWS.replace(",", "|"),
    "UTF-16 with its mark": ROWS.encode("utf-16"),
    "UTF-16 without": ROWS.encode("utf-16-le"),
    "UTF-16, big end first, without": ROWS.encode("utf-16-be"),
    "UTF-32": ROWS.encode("utf-32"),
    "Windows paths": ROWS.replace("/", "\\"),
    "spaces after commas": ROWS.replace(",", ", "),
    "empty rows and a comment": ROWS.replace("\nimg/b", "\n\n,\n# second batch\nimg/b"),
    "trailing separators": ROWS.replace("\n", ",\n"),
    "no header": ROWS.split("\n", 1)[1],
    "pandas' index": ",path,label\n0,img/a.png,cat\n1,img/b.png,cat\n2,img/sub/c.png,dog\n",
    "pandas' index, read and written": "Unnamed: 0,path,label\n0,img/a.png,cat\n1,img/b.png,cat\n"
    "2,img/sub/c.png,dog\n",
    "an index without a header": "0,img/a.png,cat\n1,img/b.png,cat\n2,img/sub/c.png,dog\n",
    "label first": "label,path\ncat,img/a.png\ncat,img/b.png\ndog,img/sub/c.png\n",
    "label first, no header": "cat,img/a.png\ncat,img/b.png\ndog,img/sub/c.png\n",
    "filename and class": ROWS.replace("path,label", "filename,class"),
    "File Name and Category": ROWS.replace("path,label", "File Name,Category"),
    "image_path and target": ROWS.replace("path,label", "image_path,target"),
    "names without a suffix": ROWS.replace("path,label", "image_id,label").replace(".png", ""),
    "a number and a name": "class id,filepaths,labels\n0,img/a.png,cat\n0,img/b.png,cat\n"
    "1,img/sub/c.png,dog\n",
    "an identifier and a path": "id,path,label\n17,img/a.png,cat\n18,img/b.png,cat\n"
    "19,img/sub/c.png,dog\n",
    "a column a class": "path,cat,dog\nimg/a.png,1,0\nimg/b.png,1.0,0.0\nimg/sub/c.png,0,1\n",
    "a separator in quotes": 'path,note,label\nimg/a.png,"x, y",cat\nimg/b.png,,cat\n'
    'img/sub/c.png,"two\nlines",dog\n',
}  # fmt: skip


@pytest.mark.parametrize("content", DIALECTS.values(), ids=DIALECTS)
def test_dialects(root: Path, content: str | bytes) -> None:
    assert labels(read(root, content)) == EXPECTED


REFUSED = {
    "another encoding": (ROWS.replace("cat", "Käfer").encode("cp1252"), r"line 2: .*0xE4.*'ä'"),
    "a zero byte": (ROWS.replace("dog", "dog\0"), "line 4 holds a zero byte"),
    "a workbook": (b"PK\x03\x04" + bytes(90), "workbook"),
    "an open quotation mark": (ROWS.replace("img/b", '"img/b'), r"quotation mark missing"),
    "nothing": ("", "got none"),
    "unknown columns": (ROWS.replace("path,label", "photo_nr,what"), r"'photo_nr', 'what'"),
    "no column of labels": (
        "path,width,height\nimg/a.png,8,9\n", r"columns are 'path', 'width', 'height'"
    ),
    "two columns of labels": (
        "path,label,category\nimg/a.png,cat,pet\n", "'label' and 'category' may both be meant"
    ),
    "many columns without names": ("img/a.png,cat,x\nimg/b.png,cat,y\n", "names none: wanted"),
    "a comma in a name": (ROWS.replace("dog", "dog, big"), "line 4 has 3 columns, the first row 2"),
    "numbered folds": ("path,label,fold\nimg/a.png,cat,0\nimg/sub/c.png,dog,1\n", "holds 0, 1;"),
    "one unknown role": (
        "path,label,split\nimg/a.png,cat,train\nimg/sub/c.png,dog,extra\n", "holds extra, train"
    ),
    "several classes": ("path,cat,dog\nimg/a.png,1,1\nimg/b.png,0,1\n", "of several classes"),
    "boxes in rows": (
        "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,8,8,cat,1,1,4,4\n", "rows are boxes"
    ),
    "addresses": (ROWS.replace("img/a", "https://example.org/a"), "is an address"),
    "another machine": (ROWS.replace("img/a.png", r"C:\Users\a.png"), "Windows machine"),
    "a folder": (ROWS.replace("img/a.png", "img"), r"1 files are not there: .*img' \(a folder\)"),
    "missing files": (ROWS.replace(".png", ".jpeg"), r"3 files are not there: .*a\.jpeg"),
    "outside": (ROWS.replace("img/a.png", "../a.png"), "outside of .*--allow-outside"),
    "outside, absolute": (ROWS.replace("img/a.png", "/etc/passwd"), "outside of .*--allow-outside"),
    "twice": (ROWS + "img/../img/a.png,cat\n", "is listed twice"),
    "with two labels": (ROWS + "img/a.png,dog\n", "is listed as 'cat' and 'dog'"),
    "no value": (ROWS.replace("img/b.png,cat", "img/b.png,nan"), "called 'nan'.*-as-given"),
    "case alone": (ROWS.replace("b.png,cat", "b.png,Cat"), "'Cat' and 'cat' differ in case"),
    "separated by spaces": (ROWS.replace(",", " "), r"separated by comma"),
    "one class": ("path,label\nimg/a.png,cat\n", "wanted two classes or more, found only 'cat'"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_understood_is_named(root: Path, content: str | bytes, reason: str) -> None:
    with pytest.raises(DataError, match=f"(?s){reason}"):
        read(root, content)


def test_a_photo_outside_is_read_where_it_is_allowed(root: Path) -> None:
    (root / "lists").mkdir()
    table = root / "lists/list.csv"
    table.write_text(ROWS.replace("img/", "../img/"))
    with pytest.raises(DataError, match="--allow-outside"):
        list_photos(table)
    assert labels(list_photos(table, reading=ReadingOptions(allow_outside=True))) == EXPECTED


def test_absolute_paths_in_the_folder_are_read(root: Path) -> None:
    assert labels(read(root, ROWS.replace("img/", f"{root}/img/"))) == EXPECTED


def test_few_missing_files_are_warned_of(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    draw(root, *(f"more/{number}.png" for number in range(30)))
    more = "".join(f"more/{number}.png,dog\n" for number in range(30))
    assert len(read(root, ROWS + more + "more/gone.png,cat\n")) == 33
    assert "1 files are not there" in caplog.text
    assert "gone.png" in caplog.text


def test_roles_and_unread_columns(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    table = "subset,weight,label,file\nTraining,1,cat,img/a.png\nval,2,cat,img/b.png\n"
    found = read(root, table + "test,,dog,img/sub/c.png\n,3,,img/sub/d.png\n")
    assert found.roles == ("train", "validation", "test", None)
    assert found.labels.tolist() == [0, 0, 1, -1]
    assert "not read: 'weight'" in caplog.text
    assert len(list_unlabelled(root / "list.csv")) == 3  # that of the test is left out


def test_names_have_one_form_and_odd_ones_can_be_accepted(root: Path) -> None:
    assert read(root, ROWS.replace("a.png,cat", "a.png,Ka\u0308fer").replace(
        "b.png,cat", "b.png,K\u00e4fer")).classes == ("K\u00e4fer", "dog")  # fmt: skip
    (root / "odd.csv").write_text(ROWS.replace("b.png,cat", "b.png,Cat") + "img/sub/d.png,nan\n")
    found = list_photos(root / "odd.csv", reading=ReadingOptions(classes_as_given=True))
    assert found.classes == ("Cat", "cat", "dog", "nan")


def test_folders_of_one_name_are_one_class(tmp_path: Path) -> None:
    draw(tmp_path, "Ka\u0308fer/1.png", "K\u00e4fer/2.png", "dog/3.png")
    assert labels(list_photos(tmp_path)) == {
        "1.png": "K\u00e4fer", "2.png": "K\u00e4fer", "3.png": "dog",
    }  # fmt: skip
    draw(tmp_path, "Dog /4.png")
    with pytest.raises(DataError, match="'Dog ' and 'dog' differ"):
        list_photos(tmp_path)
    draw(tmp_path, "null/4.png")
    (tmp_path / "Dog /4.png").rename(tmp_path / "null/5.png")
    (tmp_path / "Dog ").rmdir()
    with pytest.raises(DataError, match="called 'null'"):
        list_photos(tmp_path)


def test_equal_names_in_two_folders_are_two_photos(tmp_path: Path) -> None:
    draw(tmp_path, "one/1.png", "two/1.png")
    assert len(read(tmp_path, "path,label\none/1.png,cat\ntwo/1.png,dog\n")) == 2


def test_metadata_of_hugging_face(root: Path) -> None:
    (root / "metadata.csv").write_text(ROWS.replace("path", "file_name"))
    assert labels(list_photos(root)) == EXPECTED
    (root / "metadata.csv").unlink()
    lines = [{"file_name": "img/a.png", "label": 3}, {"label": "dog", "file_name": "img/b.png"}]
    lines += [{"file_name": "img/sub/c.png", "label": None, "objects": {"bbox": []}}]
    (root / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert labels(list_photos(root)) == {"a.png": "3", "b.png": "dog", "c.png": ""}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"file_name": "img/a.png", "labels": ["cat", "dog"]}', "line 1: .*wanted one label"),
        ('["img/a.png", "cat"]', "line 1: .*wanted a JSON object"),
        ('{"file_name": "img/a.png", "label"', "line 1: wanted a JSON object"),
        ("[" * 200_000, "line 1: wanted a JSON object"),
        ('{"text": "img/a.png", "label": "cat"}', "no column of paths"),
        ('{"file_name": "img/a.png", "label": NaN}', "called 'NaN'"),
        (r'{"file_name": "img/\u0000", "label": "cat"}', "1 files are not there"),
    ],
)
def test_lines_of_json_that_are_refused(root: Path, line: str, reason: str) -> None:
    (root / "list.jsonl").write_text(line + "\n")
    with pytest.raises(DataError, match=reason):
        list_photos(root / "list.jsonl", 1)


def test_captions_are_no_labels(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    draw(tmp_path, "cat/1.png", "dog/2.png")
    (tmp_path / "metadata.csv").write_text("file_name,text\ncat/1.png,A cat sleeps.\n")
    assert labels(list_photos(tmp_path)) == {"1.png": "cat", "2.png": "dog"}
    assert "metadata.csv: not read: no columns of paths and labels" in caplog.text


def test_classes_of_roboflow(tmp_path: Path) -> None:
    draw(tmp_path, "train/1.jpg", "train/2.jpg", "valid/3.jpg", "test/4.jpg")
    header = "filename, cat, label\n"
    (tmp_path / "train/_classes.csv").write_text(header + "1.jpg, 1, 0\n2.jpg, 0, 1\n")
    (tmp_path / "valid/_classes.csv").write_text(header + "3.jpg, 0, 1\n")
    (tmp_path / "test/_classes.csv").write_text(header + "4.jpg, 0, 0\n")
    found = list_photos(tmp_path)
    assert labels(found) == {"1.jpg": "cat", "2.jpg": "label", "3.jpg": "label", "4.jpg": ""}
    assert isinstance(found, LabelledPaths)
    assert found.roles == ("test", "train", "train", "validation")
    (tmp_path / "valid/_classes.csv").write_text(header + "3.jpg, 1, 1\n")
    with pytest.raises(
        DataError, match=r"line 2: '3.jpg' is of several classes \('cat', 'label'\)"
    ):
        list_photos(tmp_path)


@pytest.mark.skipif(not CASES.is_dir(), reason="the cases are not here")
@pytest.mark.parametrize("path", sorted(CASES.glob("*.csv")), ids=lambda path: path.stem)
def test_given_cases(path: Path) -> None:
    refused = {
        "case": "differ in case", "nan": "--classes-as-given", "latin1": "0xE4", "nul": "zero byte",
        "folderpath": "a folder", "urls": "is an address",
    }  # fmt: skip
    if path.stem in refused:
        with pytest.raises(DataError, match=refused[path.stem]):
            list_photos(path)
    else:
        assert list_photos(path).classes == ("cat", "dog")
