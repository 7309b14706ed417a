"""The report's content: whatever a result brings, it is shown as text, and nothing is made up."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tofa_edge.benchmarks.report.budgets import best_within, budgets, points
from tofa_edge.benchmarks.report.html import page
from tofa_edge.benchmarks.report.merged import engine_device_table, names
from tofa_edge.benchmarks.report.svg import Axis
from tofa_edge.benchmarks.report.words import digits, plain
from tofa_edge.benchmarks.report.write import report, write_beside
from tofa_edge.benchmarks.result.reading import read, to_json
from tofa_edge.benchmarks.suite.merge import merged
from tofa_edge.errors import DataError

RESULTS = Path(__file__).parents[2] / "results"
OLD, NEW, OTHER = (RESULTS / f"bench_schema_{name}.json" for name in ("1", "2", "2_other"))
HOSTILE = '</script><script>window.hacked = 1</script><img src=x onerror="hacked=1">\'"&<b>'
VOID = {"meta", "link", "input", "path", "rect", "circle", "img", "br"}
KNOWN = {
    "html", "head", "meta", "title", "link", "style", "body", "a", "header", "h1", "h2", "h3",
    "button", "main", "footer", "script", "p", "strong", "span", "div", "section", "details",
    "summary", "table", "caption", "thead", "tbody", "tr", "th", "td", "svg", "desc", "g", "path",
    "rect", "circle", "text", "label", "input", "output", "line", "use", "defs",
}  # fmt: skip


class Tags(HTMLParser):
    """What a browser would make of a page: elements and attributes, and whether all are closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.opened: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, attrs)
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.opened.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.opened.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def content(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def hostile(value: Any) -> Any:
    """The same with hostile text in place of every text that the codec leaves free."""
    if isinstance(value, dict):
        kept = ("role", "size", "scenario", "measure", "subnet", "provenance")
        return {k: item if k in kept else hostile(item) for k, item in value.items()}
    if isinstance(value, list):
        return [hostile(item) for item in value]
    return HOSTILE if isinstance(value, str) else value


def present(path: Path) -> Any:
    """A result in the present schema."""
    return json.loads(to_json(read(path)))


def written(tmp_path: Path, found: object, name: str = "result.json") -> Path:
    path = tmp_path / name
    path.write_text(json.dumps(found))
    return path


@pytest.mark.parametrize("paths", [[OLD], [NEW], [NEW, OTHER, OLD]])
def test_page_is_well_formed_and_asks_for_nothing(paths: list[Path]) -> None:
    text = page([read(path) for path in paths])
    tags = Tags(text)
    assert not tags.opened
    assert {tag for tag, _ in tags.found} <= KNOWN
    identities = [found["id"] for _, found in tags.found if "id" in found]
    assert len(identities) == len(set(identities))
    addresses = [v for _, found in tags.found for k, v in found.items() if k in ("href", "src")]
    assert all(value == "data:," or str(value).startswith("#") for value in addresses)
    assert "url(" not in text
    assert "@import" not in text
    assert len(text.encode()) < 2e6
    assert not re.search(r"\b(nan|inf|None)\b", re.sub(r"<(script|style)>.*?</\1>", "", text))


@pytest.mark.parametrize("path", [OLD, NEW])
def test_every_plot_has_a_name_a_description_and_a_table(path: Path) -> None:
    text = page([read(path)])
    cards = re.findall(r'<section class="card.*?</section>', text, re.S)
    plots = [card for card in cards if '<svg class="plot"' in card]
    assert len(plots) >= 3
    for card in plots:
        assert "<details><summary>The same as a table</summary>" in card
        assert len(re.findall(r"<table>.*?<td", card, re.S)) >= 1
        for plot in re.findall(r'<svg class="plot".*?</svg></div>', card, re.S):
            label, described = re.findall(r'aria-(?:labelledby|describedby)="([^"]+)"', plot)
            assert f'<title id="{label}">' in plot
            assert re.search(rf'<desc id="{described}">[^<]+</desc>', plot)
            assert 'aria-label="' in plot


@pytest.mark.parametrize("path", [OLD, NEW])
def test_nothing_of_a_result_becomes_markup(path: Path, tmp_path: Path) -> None:
    found = hostile(present(path))
    first = written(tmp_path, found)
    second = written(tmp_path, found, "<b>&second.json")
    for results in ([first], [first, second]):
        tags = Tags(page([read(path) for path in results]))
        assert {tag for tag, _ in tags.found} <= KNOWN
        assert sum(tag == "script" for tag, _ in tags.found) == 1
        assert not any(name.startswith("on") for _, found in tags.found for name in found)
        assert "window.hacked" in tags.text


def test_markdown_and_spreadsheets_take_no_orders_from_a_result(tmp_path: Path) -> None:
    found = hostile(present(NEW))
    for row in found["rows"]:
        row["configuration"]["engine"] = "=HYPERLINK(1)|[x](http://y)`"
    out = tmp_path / "out.html"
    report([written(tmp_path, found)], out)
    text = out.with_suffix(".md").read_text()
    assert "<" not in text
    assert "\\[x\\](http://y)\\`" in text
    for table in re.findall(r"(?:^\|.*\n)+", text, re.M):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
    with out.with_suffix(".csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert len({len(row) for row in rows}) == 1
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row)


def test_report_writes_three_files_with_the_figures(tmp_path: Path) -> None:
    copy = tmp_path / "here.json"
    copy.write_bytes(NEW.read_bytes())
    html, markdown, table = write_beside(copy)
    assert [path.name for path in (html, markdown, table)] == ["here.html", "here.md", "here.csv"]
    found = content(NEW)
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(found["rows"]) + len(found["front"])
    for row, wanted in zip(rows, [*found["rows"], *found["front"]], strict=False):
        latency = wanted["latency"] or {"p95_ms": ""}
        assert row["p95_ms"] == str(latency["p95_ms"])
        assert row["failed"] == (wanted["failed"] or "")
    for text in (html.read_text(), markdown.read_text()):
        assert "throttled after 6 minutes" in text or text == markdown.read_text()
        assert "Best within 2 ms" in text
        assert "no NVIDIA GPU" in text
        assert "swap moved" in text


def test_headline_is_the_best_network_that_was_measured_within_the_budget() -> None:
    result = read(NEW)
    front = points(result.chosen, predicts_accuracy=True)
    for budget in budgets(front):
        best = best_within(front, budget)
        rows = [
            (row["expected_accuracy"], row["latency"]["p95_ms"])
            for row in content(NEW)["front"]
            if row["role"] == "front" and row["latency"]["p95_ms"] <= budget
        ]
        assert best is not None
        assert (best.row.expected_accuracy, best.ms) == max(rows, key=lambda row: row[0])
    assert best_within(front, front[0].ms * 0.99) is None


def test_reasons_stand_beside_the_figures_they_spoil() -> None:
    text = page([read(NEW)])
    assert '<span class="warning">frequency capped after measuring</span>' in text
    for reason in ("throttled", "swap moved", "unsteady, ±6%"):
        assert f">tflite fp32 4 threads: {reason}</span>" in text
    assert text.count('class="mark hollow"') >= 3


def test_several_results_are_one_page_of_devices_by_engines() -> None:
    results = [read(path) for path in (NEW, OTHER, OLD, OLD)]
    assert len(set(names(results))) == 4
    table = engine_device_table(results)
    assert table.columns[1:] == tuple(names(results))
    cells = {row[0]: row[1:] for row in table.rows}
    assert cells["tensorrt fp16"][0].startswith("no NVIDIA GPU")
    assert cells["tensorrt fp16"][2] == "untested"
    quickest = min(
        row["latency"]["p95_ms"]
        for row in content(OTHER)["rows"]
        if (row["engine"], row["precision"]) == ("openvino", "int8")
    )
    assert cells["openvino int8"][1] == f"{digits(quickest)} ms"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([], "is no result"),
        ({"schema": 4, "rows": []}, r"result schema 4 is newer than 3.*pip install --upgrade"),
        ({"schema": True, "rows": []}, "it names no schema"),
        ({"schema": 2}, "is no result of tofa-edge bench: it lacks 'rows'"),
        ({"schema": 2, "rows": [7], "front": []}, "wanted an object with fields, got 7"),
        ({"schema": 3, "rows": []}, "lacks the field 'tofa_edge'"),
    ],
)
def test_something_else_is_refused(found: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        report([written(tmp_path, found)], tmp_path / "out.html")
    assert not (tmp_path / "out.html").exists()


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="or more, got none"):
        report([], tmp_path / "out.html")
    with pytest.raises(DataError, match=r"ends in \.html"):
        report([NEW], NEW)
    with pytest.raises(DataError, match="cannot be read"):
        report([tmp_path / "none.json"], tmp_path / "out.html")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        report([NEW], tmp_path / "file" / "out.html")


@pytest.mark.parametrize("suffix", [".html", ".md", ".csv"])
def test_report_replaces_only_what_it_may(tmp_path: Path, suffix: str) -> None:
    out = tmp_path / "README.html"
    out.with_suffix(suffix).write_text("written by hand")
    with pytest.raises(
        DataError, match=rf"README\{suffix} exists: choose another name, or --force"
    ):
        report([NEW], out)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["written by hand"]
    assert len(report([NEW], out, overwrite=True)) == len([*tmp_path.iterdir()]) == 3


def test_merging_replaces_only_what_it_may(tmp_path: Path) -> None:
    (tmp_path / "table.md").write_text("written by hand")
    with pytest.raises(DataError, match=r"table\.md exists: choose another name, or --force"):
        merged([NEW], tmp_path)
    assert not (tmp_path / "table.json").exists()
    files = merged([NEW], tmp_path, overwrite=True)
    assert all(path.stat().st_size for path in files)
    assert not [*tmp_path.rglob("*.tmp")]


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-(10**400), 10**400) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value inside a JSON document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, item in inner:
        found.append((*path, key))
        if isinstance(item, (dict, list)):
            found += places(item, (*path, key))
    return found


def small(found: Any) -> Any:
    """A result with little in it of each kind."""
    found["rows"], found["front"] = found["rows"][:1], found["front"][:2]
    found["sustained"]["points"] = found["sustained"]["points"][:2]
    found["rows"][0]["layers"] = found["rows"][0]["layers"][:2]
    for row in (*found["rows"], *found["front"]):
        row["curve_ms"] = row["curve_ms"][-2:]
    return found


SMALL = {2: small(content(NEW)), 3: small(present(NEW))}
PLACES = [(n, place) for n in SMALL for place in places(SMALL[n]) if place != ("schema",)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(place=st.sampled_from(PLACES), value=JSON, gone=st.booleans())
def test_whatever_stands_in_a_field_it_is_shown_or_refused_on_one_line(
    place: tuple[int, tuple[Any, ...]],
    value: Any,
    gone: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    schema, way = place
    found = json.loads(json.dumps(SMALL[schema]))
    inside = found
    for key in way[:-1]:
        inside = inside[key]
    if gone and isinstance(inside, dict):
        del inside[way[-1]]
    else:
        inside[way[-1]] = value
    folder = tmp_path_factory.mktemp("any")
    path = folder / "result.json"
    path.write_text(json.dumps(found))
    try:
        made = report([path, path], folder / "out.html")
    except DataError as error:
        said = str(error)
    else:
        said = ""
    if said:
        assert said.isprintable()
        assert len(said) < 500
        assert [each.name for each in folder.iterdir()] == ["result.json"]
        return
    assert all(each.stat().st_size for each in made)
    tags = Tags(made[0].read_text(encoding="utf-8"))
    assert {tag for tag, _ in tags.found} <= KNOWN


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_keeps_wcag_aa_in_light_and_dark() -> None:
    style = (files("tofa_edge.benchmarks.report") / "page.css").read_text()
    blocks = re.findall(r":root[^{]*\{(.*?)\}", style, re.S)
    assert len(blocks) == 2
    for block in blocks:
        colour = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        for ground in ("page", "card"):
            for words in ("text", "quiet", "accent"):
                assert contrast(colour[words], colour[ground]) >= 4.5, (words, ground)
        assert contrast(colour["warning"], colour["warning-back"]) >= 4.5
        assert contrast(colour["page"], colour["text"]) >= 4.5
        for index in range(8):
            assert contrast(colour[f"s{index}"], colour["card"]) >= 3


@given(
    low=st.floats(1e-6, 1e6),
    factor=st.floats(1.001, 1e5),
    most=st.integers(2, 12),
    log=st.booleans(),
)
def test_ticks_are_few_round_and_within_the_axis(
    low: float, factor: float, most: int, log: bool
) -> None:
    axis = Axis(low, low * factor, 0, 100, log)
    ticks = axis.ticks(most)
    assert 1 <= len(ticks) <= 2 * most + 2
    assert all(low * (1 - 1e-6) <= tick <= low * factor * (1 + 1e-6) for tick in ticks)
    assert len({plain(tick) for tick in ticks}) == len(ticks) or low < 1e-3


def test_figures_have_three_digits() -> None:
    values = (0.0, 0.06237, 0.6237, 6.237, 62.37, 623.7, 6237.0, 0.9996, None)
    shown = ("0", "0.0624", "0.624", "6.24", "62.4", "624", "6,240", "1.00", "–")
    assert tuple(map(digits, values)) == shown
    assert [plain(value) for value in (0.05, 20.0, 1000.0, 0.1 + 0.2)] == [
        "0.05",
        "20",
        "1,000",
        "0.3",
    ]
