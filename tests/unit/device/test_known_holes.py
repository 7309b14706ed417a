"""Versions of packages with known holes are told; what is newer or missing is not."""

from __future__ import annotations

import pytest

from tofa_edge.device.known_holes import known_holes


@pytest.mark.parametrize(
    ("installed", "fixes"),
    [
        ({"Pillow": "9.4.0", "torch": "2.9.1+cpu"}, ["'Pillow>=10.3'", "'torch>=2.10'"]),
        ({"Pillow": "10.2.0"}, ["'Pillow>=10.3'"]),
        ({"Pillow": "10.3.0", "torch": "2.10.0"}, []),
        ({"Pillow": "unknown", "torch": "3.0"}, []),
        ({}, []),
    ],
)
def test_old_versions_are_told(installed: dict[str, str], fixes: list[str]) -> None:
    found = list(known_holes(installed))
    assert [problem.fix.removeprefix("pip install ") for problem in found] == fixes
    assert all("CVE-" in problem.what for problem in found)


def test_what_is_installed_is_asked() -> None:
    assert list(known_holes()) == [], "this environment has a known hole: upgrade it"
