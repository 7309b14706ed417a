"""What README and docs show runs, in one place with a small real bundle, as a reader would run it.

Python blocks of a page run one after the other as one program; lines of shell blocks one by one.
What cannot run here has a comment before it, `<!-- not run: why -->`; even there every command is
parsed by the real command line.
"""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main

from tofa_edge.cli import reference
from tofa_edge.selftest.small_bundle import small_bundle, smooth_photo

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
BLOCK = re.compile(
    r"(?:<!-- not run: (?P<why>[^>]+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
ELSEWHERE = {"write-a-backend.md": "its blocks stand in the example, which test_plugin.py runs"}
GENERATED = {"cli.md": "written by the command line itself"}
WANTS_TORCH = ("train.md", "write-a-search-space.md")
SECONDS = 240


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str
    not_run: str | None

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"

    def commands(self) -> list[str]:
        """Returns its lines without comments."""
        lines = (re.sub(r"(^|\s+)# .*$", "", line).strip() for line in self.text.splitlines())
        return [line for line in lines if line]


def blocks() -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text()
        if page.name not in (*ELSEWHERE, *GENERATED):
            for found in BLOCK.finditer(text):
                line = text.count("\n", 0, found.start("text"))
                yield Block(page, line, found["language"], found["text"], found["why"])


BLOCKS = tuple(blocks())
PROGRAMS = sorted({b.page for b in BLOCKS if b.language == "python" and not b.not_run})
SHELL = [block for block in BLOCKS if block.language == "sh"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, self_tests: Path) -> Path:
    """A folder with what the pages name."""
    place = tmp_path_factory.mktemp("reader")
    small_bundle(place / "parts.tofa", calibration_photos=16, check_photos=4)
    rng = np.random.default_rng(0)
    folders = ["frames", *(f"photos/{name}" for name in ("no", "yes", "unlabelled"))]
    for folder in (*folders, *(f"held-out/class {index}" for index in range(10))):
        (place / folder).mkdir(parents=True)
        for number in range(4 if folder.startswith("held-out") else 20):
            (place / folder / f"{number}.jpg").write_bytes(smooth_photo(rng))
    (place / "photo.jpg").write_bytes(smooth_photo(rng))
    shutil.copytree(self_tests, place / "cache")
    return place


def run(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=place,
        env={**os.environ, "XDG_CACHE_HOME": str(place / "cache"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


def needs(page: Path) -> None:
    if page.name in WANTS_TORCH:
        pytest.importorskip("torch")


@pytest.mark.parametrize("page", PROGRAMS, ids=lambda page: page.name)
def test_python_runs(page: Path, place: Path) -> None:
    needs(page)
    mine = [b for b in BLOCKS if b.page == page and b.language == "python" and not b.not_run]
    done = run(place, "-c", "\n".join(block.text for block in mine))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", [b for b in SHELL if not b.not_run], ids=str)
def test_shell_runs(block: Block, place: Path) -> None:
    needs(block.page)
    for command in block.commands():
        words = shlex.split(command)
        if words[:2] == ["pip", "install"]:
            continue  # see below
        assert words[0] == "tofa-edge", (
            f"{block}: {command!r} needs a comment <!-- not run: why -->"
        )
        done = run(place, "-m", "tofa_edge", *words[1:])
        assert done.returncode == 0, f"{command}: {done.stderr}"


def commands() -> dict[str, Any]:
    reference.page()  # loads them all
    from tofa_edge.cli.app import app

    group: Any = typer.main.get_command(app)
    return dict(group.commands)


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_shell_names_what_there_is(block: Block) -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for command in block.commands():
        words = shlex.split(command)
        if words[0] == "tofa-edge":
            commands()[words[1]].make_context(words[1], words[2:])
        elif words[0] == "make":
            assert words[1] in targets, command
        elif words[:2] == ["python", "-m"]:
            assert find_spec(words[2]), command
        for extras in re.findall(r"tofa-edge\[([\w,-]+)\]", command):
            assert set(extras.split(",")) <= set(config["options.extras_require"]), command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_text_are_there(page: Path) -> None:
    """`tofa-edge …` within a sentence: the command, and every option named."""
    known = commands()
    for quoted in re.findall(r"`tofa-edge ([^`]+)`", BLOCK.sub("", page.read_text())):
        name, *words = quoted.replace("\n", " ").split()
        if name.startswith("-") or name == "COMMAND":
            continue
        assert name in known, f"{page.name}: {quoted}"
        options = {option for item in known[name].params for option in item.opts} | {"--help"}
        named = {word.split("=")[0] for word in words if re.fullmatch(r"--[a-z-]+(=.*)?", word)}
        assert named <= options, f"{page.name}: {quoted}"


def test_blocks_have_a_language_that_is_tested() -> None:
    other = [str(block) for block in BLOCKS if block.language not in ("python", "sh")]
    assert other == []
    assert len(PROGRAMS) >= 5
    assert len(SHELL) >= 10


def test_site_builds_and_asks_no_one(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    pages = [page.read_text() for page in tmp_path.rglob("*.html")]
    assert len(pages) > len(PAGES) - 1
    loaded = r"<(?:script|img|iframe)[^>]+src=\"(?:https?:)?//|<link[^>]+href=\"(?:https?:)?//"
    assert [found for page in pages for found in re.findall(loaded, page)] == []
    assert "latency_ms" in (tmp_path / "api" / "deploying.html").read_text()


def test_commands_page_is_that_of_the_commands() -> None:
    written = (ROOT / "docs" / "cli.md").read_text()
    assert written == reference.page(), "python -m tofa_edge.cli.reference > docs/cli.md"
