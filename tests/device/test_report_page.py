"""The report in a real browser: nothing fails, nothing is fetched, everything reacts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chromium import Page, installed
from tofa_edge.benchmarks.report.write import report

RESULTS = Path(__file__).parents[1] / "results"
NAMES = ("bench_schema_1", "bench_schema_2", "bench_schema_2_other")
PROGRAM = installed()
DESKTOP, PHONE = 1280, 360
HOSTILE = '"></script><script>window.hacked = 1</script><img src=x onerror="window.hacked = 2">'
TAB, RIGHT, ESCAPE, ENTER = ("Tab", 9), ("ArrowRight", 39), ("Escape", 27), ("Enter", 13)

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    assert PROGRAM is not None
    shown = Page(PROGRAM, tmp_path_factory.mktemp("profile"))
    yield shown
    shown.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    paths = [RESULTS / f"{name}.json" for name in NAMES]
    wanted = {"old": paths[:1], "new": paths[1:2], "many": paths}
    return {name: report(some, folder / f"{name}.html")[0] for name, some in wanted.items()}


@pytest.mark.quiet
@pytest.mark.parametrize("name", ["old", "new", "many"])
@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_page_opens_at_once_and_alone(
    page: Page, made: dict[str, Path], name: str, width: int
) -> None:
    path = made[name]
    assert path.stat().st_size < 2e6
    page.open(path, width)
    assert page.value("window.firstPlotMs") < 1000
    page.value("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert page.value("document.documentElement.scrollWidth") <= width
    assert page.requests == [path.as_uri()]
    assert page.complaints == []


def test_plots_are_readable_on_every_screen(page: Page, made: dict[str, Path]) -> None:
    for width in (DESKTOP, 900, 600, PHONE):
        page.open(made["new"], width)
        shown = page.value(
            "[...document.querySelectorAll('.card')].map((card) => [...card.querySelectorAll("
            "'svg[aria-labelledby]')].filter((svg) => svg.getClientRects().length).length)"
        )
        assert set(shown) == {0, 1}
        smallest = page.value(
            "Math.min(...[...document.querySelectorAll('svg text')].map((text) => "
            "text.getBoundingClientRect().height).filter(Boolean))"
        )
        assert smallest >= 12  # a line of text, in pixels of the screen


def test_colours_follow_the_system_until_somebody_chooses(
    page: Page, made: dict[str, Path]
) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    page.open(made["new"], DESKTOP)
    light = page.value(ground)
    page.open(made["new"], DESKTOP, dark=True)
    dark = page.value(ground)
    assert light != dark
    page.value("document.querySelector('.theme').click()")
    assert page.value(ground) == light
    assert page.complaints == []


def test_a_budget_points_at_the_best_network_within_it(page: Page, made: dict[str, Path]) -> None:
    page.open(made["new"], DESKTOP)
    front = json.loads((RESULTS / "bench_schema_2.json").read_text())["front"]
    rows = [row for row in front if row["role"] == "front"]
    for budget in (0.5, 1.0, 3.0, 100.0):
        said = page.value(_budget(budget))
        within = [row for row in rows if row["latency"]["p95_ms"] <= budget]
        best = max(within, key=lambda row: row["expected_accuracy"])
        assert said.startswith(f"{100 * best['expected_accuracy']:.1f} % at ")
        assert best["engine"] in said
        assert page.value("document.querySelectorAll('svg.plot [data-best]').length") == 1
    assert page.value(_budget(0.001)) == "nothing is within this budget"
    page.value(_budget(100.0))
    slider = "document.querySelector('.budget [type=range]')"
    page.value(f"{slider}.value = {slider}.min; {slider}.dispatchEvent(new Event('input'))")
    assert float(page.value("document.querySelector('.amount').value")) < 0.5


def test_a_budget_is_judged_for_each_device(page: Page, made: dict[str, Path]) -> None:
    page.open(made["many"], DESKTOP)
    said = page.value(_budget(1e9)).splitlines()
    assert len(said) == 3
    assert said[0].startswith("AMD")
    assert said[1].startswith("Raspberry Pi 5")


def test_engines_can_be_hidden(page: Page, made: dict[str, Path]) -> None:
    page.open(made["new"], DESKTOP)
    seen = (
        "[...document.querySelectorAll('svg.plot [data-series=openvino]')]"
        ".filter((group) => group.getClientRects().length).length"
    )
    assert page.value(seen) > 0
    page.value("document.querySelector('[data-key=openvino]').click()")
    assert page.value(seen) == 0
    assert "openvino" not in page.value(_budget(100.0))
    pressed = "document.querySelector('[data-key=openvino]').getAttribute('aria-pressed')"
    assert page.value(pressed) == "false"
    page.value("document.querySelector('[data-key=openvino]').click()")
    assert "openvino" in page.value(_budget(100.0))


def test_marks_are_told_by_keyboard(page: Page, made: dict[str, Path]) -> None:
    page.open(made["new"], DESKTOP)
    told = "document.querySelector('#tip').hidden ? '' : document.querySelector('#tip').textContent"
    stops = []
    for _ in range(12):
        page.press(*TAB)
        stops.append(page.value("document.activeElement.getAttribute('class') ?? ''"))
        if stops[-1] == "tip":
            break
    assert stops[0] == "skip"
    assert stops[-1] == "tip"
    first = page.value(told)
    assert "p95" in first
    page.press(*RIGHT)
    assert page.value(told) not in ("", first)
    page.press(*ESCAPE)
    assert page.value(told) == ""


def test_marks_are_told_where_they_are_pointed_at(page: Page, made: dict[str, Path]) -> None:
    page.open(made["new"], PHONE)
    place = page.value(
        "(() => { const mark = [...document.querySelectorAll('.tip')].find((m) => "
        "m.getClientRects().length); mark.scrollIntoView({ block: 'center' }); "
        "const box = mark.getBoundingClientRect(); "
        "return [box.left + box.width / 2, box.top + box.height / 2]; })()"
    )
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=place[0], y=place[1])
    box = page.value(
        "(() => { const box = document.querySelector('#tip').getBoundingClientRect(); "
        "return [box.left, box.right, box.height]; })()"
    )
    assert box[0] >= 0
    assert box[1] <= PHONE
    assert box[2] > 20


def test_names_in_a_result_are_never_run(page: Page, tmp_path: Path) -> None:
    found = _hostile(json.loads((RESULTS / "bench_schema_2.json").read_text()))
    path = tmp_path / "result.json"
    path.write_text(json.dumps(found))
    html = report([path], tmp_path / "hostile.html")[0]
    page.open(html, DESKTOP)
    assert page.value("window.hacked === undefined")
    assert page.value("document.scripts.length") == 1
    assert page.value("document.querySelectorAll('img').length") == 0
    page.value("document.querySelectorAll('[data-key]').forEach((b) => b.click())")
    page.value(_budget(1.0))
    page.value("document.querySelectorAll('.tip').forEach((t) => t.focus())")
    assert page.value("window.hacked === undefined")
    assert page.requests == [html.as_uri()]
    assert page.complaints == []


def _budget(amount: float) -> str:
    """A script that types a budget and returns what the page says of it."""
    return (
        "(() => { const amount = document.querySelector('.amount'); "
        f"amount.value = {amount}; amount.dispatchEvent(new Event('input')); "
        "return document.querySelector('.budget output').textContent; })()"
    )


def _hostile(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _hostile(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_hostile(item) for item in value]
    kept = ("front", "engine", "largest at lower resolution", "SingleStream", "Offline")
    return HOSTILE if isinstance(value, str) and value not in kept else value
