"""The figures of `tofa-edge demo`, kept: `python -m tofa_edge.benchmarks.studies.demo --work demo`.

Wants `pip install 'tofa-edge[demo]'` and a quiet machine.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tofa_edge.benchmarks.studies.provenance import made, store
from tofa_edge.cli.demo import play
from tofa_edge.cli.host import DEMO_EPOCHS


def main() -> None:
    """Plays the demo and stores what it found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, default=Path("demo"), help="photos and bundles")
    parser.add_argument("--epochs", type=int, default=DEMO_EPOCHS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/demo.json"))
    options = parser.parse_args()
    found = play(options.work, options.epochs, options.seed)
    store(options.out, {"made": made(), "epochs": options.epochs, "seed": options.seed, **found})


if __name__ == "__main__":
    main()
