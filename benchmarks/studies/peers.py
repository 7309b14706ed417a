"""Others' ways to a network on a device, beside ours, in one run: only what truly ran is reported.

    python -m tofa_edge.benchmarks.studies.peers [--out FILE]

Once-for-all's package: a subnet is extracted from its torch supernet and exported as ONNX
(`pip install --no-deps ofa; pip install torch onnx onnxscript`), with torch's former exporter and
with its newest; ours is cut from a bundle of the same checkpoint. Each in a process of its own, the
same subnets in the same order; the files are compared by their logits. For TFLite's own converter
see `peers_tflite`, for the fixed network at lower resolutions `fixed_network`, and for the bare
engine, called in a loop, `step_times`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import re
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.architecture.zoo import mobilenet_v3
from tofa_edge.benchmarks.studies.command import (
    RESULTS,
    Row,
    answer,
    installed_versions,
    options,
    store,
    study_answer,
)
from tofa_edge.benchmarks.studies.peers_once_for_all import network, randomised
from tofa_edge.device.machine import fingerprint
from tofa_edge.storage.plain import to_plain
from tofa_edge.train.config import TrainingConfig
from tofa_edge.train.supernet.once_for_all import IMAGENET
from tofa_edge.train.trainer import train

SUBNETS, RESOLUTION = 8, 160
OURS = """
import json, sys, time
begun = time.perf_counter()
from pathlib import Path
from tofa_edge.backends import Target, backend
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cutting.cutter import Cutter
from tofa_edge.architecture.space import Subnet
bundle, subnets, folder = Path(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3])
cutter, writer = Cutter(Bundle.open(bundle)), backend("onnxruntime")
ready, seconds = time.perf_counter() - begun, []
for number, subnet in enumerate(subnets):
    start = time.perf_counter()
    network = cutter.stored_network(Subnet.from_json(subnet))
    content = writer.build(network, Target())
    seconds.append(time.perf_counter() - start)
    (folder / f"ours-{number}.onnx").write_bytes(content)
    del network, content
from tofa_edge.benchmarks.studies.command import memory_bytes
print(json.dumps({"ready_s": ready, "seconds": seconds, "peak_mib": memory_bytes() / 2**20}))
"""


def main() -> None:
    given = options(__doc__, out=RESULTS / "peers.json")
    result = {
        "device": to_plain(fingerprint()),
        "versions": installed_versions(("torch", "onnx", "ofa", "onnxruntime")),
        "once_for_all": _once_for_all(),
    }
    store(given.out, result)
    print(json.dumps(result["once_for_all"], indent=1))


def _once_for_all() -> Row:
    """Returns how long a cut takes both ways, what it needs, and how far the files agree."""
    space, rng = mobilenet_v3(1.0), np.random.default_rng(0)
    subnets = [replace(space.sample(rng), resolution=RESOLUTION) for _ in range(SUBNETS)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint, bundle = folder / "checkpoint", folder / "ofa.tofa"
        torch.save({"state_dict": randomised(network()).state_dict()}, checkpoint)
        train(None, bundle, TrainingConfig(pretrained=str(checkpoint), epochs=0))
        active = json.dumps([_settings(space, subnet) for subnet in subnets])
        theirs = {
            kind: study_answer("peers_once_for_all", checkpoint, active, folder, kind)
            for kind in ("dynamo", "former")
        }
        wanted = json.dumps([subnet.to_json() for subnet in subnets])
        ours = answer("-c", OURS, str(bundle), wanted, name)
        difference = max(_difference(folder, number) for number in range(SUBNETS))
        sizes = {"supernet_mib": checkpoint.stat().st_size, "bundle_mib": bundle.stat().st_size}
    return {
        "space": space.name,
        "subnets": SUBNETS,
        "resolution": RESOLUTION,
        "theirs": {
            "installed_mib": _installed_mib(["ofa", "torch", "onnx"]),
            "former exporter": _figures(theirs["former"]),
            "newest exporter": _figures(theirs["dynamo"]),
        },
        "ours": {"installed_mib": _installed_mib(["tofa-edge", "onnx"]), **_figures(ours)},
        "times_faster": {
            kind: round(float(np.median(np.divide(row["seconds"], ours["seconds"]))), 1)
            for kind, row in theirs.items()
        },
        "memory_over_theirs": round(ours["peak_mib"] / theirs["former"]["peak_mib"], 3),
        "difference_of_logits": difference,
        **{key: round(size / 2**20, 1) for key, size in sizes.items()},
    }


def _settings(space: SearchSpace, subnet: Subnet) -> dict[str, list[int]]:
    """Returns a subnet as the package names it; unused blocks of a stage repeat the last."""
    settings: dict[str, list[int]] = {"ks": [], "e": [], "d": []}
    for stage, choices in zip(subnet.stages[1:], space.stages[1:], strict=True):
        missing = choices.depths[-1] - len(stage.blocks)
        blocks = [*stage.blocks, *[stage.blocks[-1]] * missing]
        settings["d"].append(len(stage.blocks))
        settings["ks"] += [block.kernel for block in blocks]
        settings["e"] += [block.expand for block in blocks]
    return settings


def _figures(times: Row) -> Row:
    return {
        "ready_s": round(times["ready_s"], 3),
        "cut_s": round(float(np.median(times["seconds"])), 4),
        "first_cut_s": round(times["seconds"][0], 4),
        "peak_mib": round(times["peak_mib"], 1),
    }


def _difference(folder: Path, number: int) -> float:
    """Returns the largest difference of two files' logits over the largest logit, on noise."""
    onnxruntime = importlib.import_module("onnxruntime")
    rng = np.random.default_rng(number)
    photos = rng.integers(0, 256, (2, RESOLUTION, RESOLUTION, 3), dtype=np.uint8)
    mean, deviation = (np.array(part, np.float32) for part in (IMAGENET.mean, IMAGENET.std))
    pixels = (photos - mean) / deviation
    logits = []
    for name, value in (("theirs", pixels.transpose(0, 3, 1, 2)), ("ours", photos)):
        session = onnxruntime.InferenceSession(folder / f"{name}-{number}.onnx")
        (first,) = (item.name for item in session.get_inputs())
        parts = [session.run(None, {first: value[i : i + 1]})[0] for i in range(len(photos))]
        logits.append(np.concatenate(parts))
    theirs, ours = logits
    return float(np.abs(theirs - ours).max() / np.abs(theirs).max())


def _installed_mib(names: Iterable[str]) -> float:
    """Returns what distributions and all that they need weigh here, in MiB, extras left out."""
    sizes: dict[str, int] = {}
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in sizes:
            continue
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # needed elsewhere only
        files = {Path(str(file.locate())) for file in distribution.files or ()}
        sizes[name] = sum(file.lstat().st_size for file in files if file.is_file())
        for requirement in distribution.requires or ():
            if "extra ==" not in requirement:
                waiting.append(re.split(r"[\s;<>=!~\[(]", requirement, maxsplit=1)[0])
    return round(sum(sizes.values()) / 2**20, 1)


if __name__ == "__main__":
    main()
