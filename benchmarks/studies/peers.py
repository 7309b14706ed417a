"""Others' ways to a network on a device, beside ours, in one run: only what truly ran is reported.

    python -m tofa_edge.benchmarks.studies.peers [--out FILE] [--bundle parts.tofa]

- Once-for-all's package: a subnet is extracted from its torch supernet and exported as ONNX
  (`pip install --no-deps ofa; pip install torch onnx onnxscript`), with torch's former exporter and
  with its newest; ours is cut from a bundle of the same checkpoint. Each in a process of its own,
  the same subnets in the same order; the files are compared by their logits.
- The bare engine: a session called in a loop, against `model(image)`.
- The fixed network: the largest subnet at lower resolutions, against what is chosen within the same
  latency, by the bundle's own expectations.
- TFLite's own converter, where TensorFlow is installed: see `peers_tflite`.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.architecture.zoo import mobilenet_v3
from tofa_edge.benchmarks.studies import peers_once_for_all
from tofa_edge.benchmarks.studies.provenance import made, store
from tofa_edge.device.machine import fingerprint
from tofa_edge.storage.plain import to_plain
from tofa_edge.train.config import TrainingConfig
from tofa_edge.train.supernet.once_for_all import IMAGENET
from tofa_edge.train.trainer import train

SUBNETS, RESOLUTION = 8, 160
OURS = """
import json, re, sys, time
begun = time.perf_counter()
from pathlib import Path
from tofa_edge.backends import Target, backend
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cutting.cutter import Cutter
from tofa_edge.architecture.space import Subnet
bundle, subnets, folder = Path(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3])
cutter, writer = Cutter(Bundle.open(bundle)), backend("onnxruntime")
ready, seconds = time.perf_counter() - begun, []
for number, found in enumerate(subnets):
    start = time.perf_counter()
    network = cutter.stored_network(Subnet.from_json(found))
    content = writer.build(network, Target())
    seconds.append(time.perf_counter() - start)
    (folder / f"ours-{number}.onnx").write_bytes(content)
    del network, content
peak = int(re.search("VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
print(json.dumps({"ready_s": ready, "seconds": seconds, "peak_mib": peak}))
"""


def main() -> None:
    """Measures and writes a JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/peers.json"))
    options = parser.parse_args()
    found: dict[str, Any] = {
        "made": made(),
        "device": to_plain(fingerprint()),
        "versions": {name: _version(name) for name in ("torch", "onnx", "ofa", "onnxruntime")},
        "once_for_all": once_for_all(),
    }
    store(options.out, found)
    print(json.dumps(found["once_for_all"], indent=1))


def once_for_all() -> dict[str, Any]:
    """Returns how long a cut takes both ways, what it needs, and how far the files agree."""
    space, rng = mobilenet_v3(1.0), np.random.default_rng(0)
    subnets = [replace(space.sample(rng), resolution=RESOLUTION) for _ in range(SUBNETS)]
    wanted = json.dumps([subnet.to_json() for subnet in subnets])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint, bundle = folder / "checkpoint", folder / "ofa.tofa"
        torch.save({"state_dict": peers_once_for_all.random_network().state_dict()}, checkpoint)
        train(None, bundle, TrainingConfig(pretrained=str(checkpoint), epochs=0))
        active = json.dumps([_settings(space, subnet) for subnet in subnets])
        module = "tofa_edge.benchmarks.studies.peers_once_for_all"
        theirs = {
            kind: _run(["-m", module, str(checkpoint), active, name, kind])
            for kind in ("dynamo", "former")
        }
        ours = _run(["-c", OURS, str(bundle), wanted, name])
        apart = max(_apart(folder, number, space) for number in range(SUBNETS))
        sizes = {"supernet_mib": checkpoint.stat().st_size, "bundle_mib": bundle.stat().st_size}
    return {
        "space": space.name,
        "subnets": SUBNETS,
        "resolution": RESOLUTION,
        "theirs": {
            "installed_mib": _installed(["ofa", "torch", "onnx"]),
            "former exporter": _told(theirs["former"]),
            "newest exporter": _told(theirs["dynamo"]),
        },
        "ours": {"installed_mib": _installed(["tofa-edge", "onnx"]), **_told(ours)},
        "times_faster": {
            kind: round(float(np.median(np.divide(found["seconds"], ours["seconds"]))), 1)
            for kind, found in theirs.items()
        },
        "memory_over_theirs": round(ours["peak_mib"] / theirs["former"]["peak_mib"], 3),
        "difference_of_logits": apart,
        **{key: round(size / 2**20, 1) for key, size in sizes.items()},
    }


def _settings(space: SearchSpace, subnet: Subnet) -> dict[str, list[int]]:
    """Returns a subnet as the package names it; unused blocks of a stage repeat the last."""
    found: dict[str, list[int]] = {"ks": [], "e": [], "d": []}
    for stage, choices in zip(subnet.stages[1:], space.stages[1:], strict=True):
        missing = choices.depths[-1] - len(stage.blocks)
        blocks = [*stage.blocks, *[stage.blocks[-1]] * missing]
        found["d"].append(len(stage.blocks))
        found["ks"] += [block.kernel for block in blocks]
        found["e"] += [block.expand for block in blocks]
    return found


def _run(words: list[str]) -> dict[str, Any]:
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"a peer failed: {done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _told(found: dict[str, Any]) -> dict[str, Any]:
    return {
        "ready_s": round(found["ready_s"], 3),
        "cut_s": round(float(np.median(found["seconds"])), 4),
        "first_cut_s": round(found["seconds"][0], 4),
        "peak_mib": round(found["peak_mib"], 1),
    }


def _apart(folder: Path, number: int, space: SearchSpace) -> float:
    """Returns the largest difference of two files' logits over the largest logit, on noise."""
    onnxruntime = importlib.import_module("onnxruntime")
    rng = np.random.default_rng(number)
    photos = rng.integers(0, 256, (2, RESOLUTION, RESOLUTION, 3), dtype=np.uint8)
    mean, deviation = (np.array(part, np.float32) for part in (IMAGENET.mean, IMAGENET.std))
    pixels = (photos - mean) / deviation
    answers = []
    for name, value in (("theirs", pixels.transpose(0, 3, 1, 2)), ("ours", photos)):
        session = onnxruntime.InferenceSession(folder / f"{name}-{number}.onnx")
        (first,) = (item.name for item in session.get_inputs())
        parts = [session.run(None, {first: value[i : i + 1]})[0] for i in range(len(photos))]
        answers.append(np.concatenate(parts))
    theirs, ours = answers
    return float(np.abs(theirs - ours).max() / np.abs(theirs).max())


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _installed(names: Iterable[str]) -> float:
    """Returns what distributions and all that they need weigh here, in MiB, extras left out."""
    seen: dict[str, int] = {}
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in seen:
            continue
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # needed elsewhere only
        places = {Path(str(file.locate())) for file in found.files or ()}
        seen[name] = sum(place.lstat().st_size for place in places if place.is_file())
        for requirement in found.requires or ():
            if "extra ==" not in requirement:
                waiting.append(re.split(r"[\s;<>=!~\[(]", requirement, maxsplit=1)[0])
    return round(sum(seen.values()) / 2**20, 1)


if __name__ == "__main__":
    main()
