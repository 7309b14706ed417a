"""Several processes that start together choose once; damaged memories of a choice fail nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tofa_edge
from tofa_edge.deployment import remember
from tofa_edge.deployment.request import DeployOptions

pytestmark = pytest.mark.usefixtures("known_engines")

REFERENCE = DeployOptions(backend="reference")
WORKER = """
import sys, tofa_edge
options = tofa_edge.DeployOptions(backend="reference")
with tofa_edge.deploy(sys.argv[1], latency_ms=1000, options=options) as model:
    print(model.subnet.to_json(), bool(model.explanation.remembered))
"""


def test_workers_take_the_decision_of_the_first(tiny_bundle: Path) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tiny_bundle)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        for _ in range(4)
    ]
    answers = [process.communicate(timeout=120)[0].rsplit(" ", 1) for process in started]
    assert len({subnet for subnet, _ in answers}) == 1
    assert sorted(remembered.strip() for _, remembered in answers) == ["False"] + 3 * ["True"]


@pytest.mark.parametrize("damage", ["subnet", "foreign subnet", "backend", "target", "not JSON"])
def test_a_damaged_decision_is_made_anew(tiny_bundle: Path, damage: str) -> None:
    with tofa_edge.deploy(tiny_bundle, latency_ms=1000, options=REFERENCE) as model:
        chosen = model.subnet
    (path,) = remember.CACHE.path.glob("*.json")
    fields = json.loads(path.read_text())
    if damage == "subnet":
        fields["subnet"] = "[1, 2"
    elif damage == "foreign subnet":
        fields["subnet"] = fields["subnet"].replace("32", "33")
    elif damage == "backend":
        fields["backend"] = "tpu9"
    elif damage == "target":
        fields["target"] = {"threads": 99}
    path.write_text("{" if damage == "not JSON" else json.dumps(fields))
    with tofa_edge.deploy(tiny_bundle, latency_ms=1000, options=REFERENCE) as model:
        assert model.subnet == chosen
        assert not model.explanation.remembered
    with tofa_edge.deploy(tiny_bundle, latency_ms=1000, options=REFERENCE) as model:
        assert model.explanation.remembered, "what was made anew is remembered"


def test_a_choice_that_cannot_be_kept_says_why(tiny_bundle: Path, own_cache: Path) -> None:
    folder = own_cache / "tofa-edge" / "decisions"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o777)
    with tofa_edge.deploy(tiny_bundle, latency_ms=1000, options=REFERENCE) as model:
        (line,) = [note for note in model.explanation.notes if "not remembered" in note]
        assert "others may write to it" in line
