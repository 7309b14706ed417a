"""What each engine says of a bundle's check photos: run on the board and on the host alike."""

from __future__ import annotations

import json
import sys
import time

import tofa_edge
from tofa_edge.architecture.space import Subnet
from tofa_edge.bundle.bundle import Bundle


def main() -> None:
    """Prints the answers of the engines named, as JSON: logits, and what deploying took."""
    path, subnet, *engines = sys.argv[1:]
    bundle, wanted, answers = Bundle.open(path), Subnet.from_json(subnet), {}
    photos, _ = bundle.check_images(wanted.resolution)
    for engine in engines:
        begun = time.perf_counter()
        with tofa_edge.deploy(
            bundle, subnet=wanted, remember=False, options=tofa_edge.DeployOptions(backend=engine)
        ) as model:
            answers[engine] = {
                "deploy_s": round(time.perf_counter() - begun, 1),
                "target": str(model.engine.target),
                "logits": [model(photo).logits.tolist() for photo in photos],
            }
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
