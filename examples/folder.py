"""Predicts every photo of a folder, and prints one line for each.

python folder.py parts.tofa photos --latency-ms 20
"""

from __future__ import annotations

import argparse
from pathlib import Path

import tofa_edge

SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".webp"}


def main() -> None:
    """Deploys a bundle and predicts a folder's photos."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--latency-ms", type=float)
    options = parser.parse_args()

    photos = sorted(p for p in options.folder.iterdir() if p.suffix.lower() in SUFFIXES)
    with tofa_edge.deploy(options.bundle, latency_ms=options.latency_ms) as model:
        # A list is predicted whole; a camera would drop the frames that it has no time for.
        stream = model.stream(photos, skip_bad=True)
        for prediction in stream:
            name = photos[prediction.number].name
            print(f"{name}\t{prediction.label}\t{prediction.probability:.3f}")
        stats = stream.stats()
    print(f"{stats.predicted} predicted, {stats.bad} unreadable, age {stats.age}")


if __name__ == "__main__":
    main()
