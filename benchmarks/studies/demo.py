"""What `tofa-edge demo` finds, kept: `python -m tofa_edge.benchmarks.studies.demo --work demo`.

Wants `pip install 'tofa-edge[demo]'` and a quiet machine.
"""

from __future__ import annotations

from pathlib import Path

from tofa_edge.benchmarks.studies.command import RESULTS, options, store
from tofa_edge.cli.demo import play
from tofa_edge.cli.host import DEMO_EPOCHS


def main() -> None:
    work = (Path("demo"), "photos and bundles")
    given = options(__doc__, work=work, epochs=DEMO_EPOCHS, seed=0, out=RESULTS / "demo.json")
    rows = play(given.work, given.epochs, given.seed)
    store(given.out, {"epochs": given.epochs, "seed": given.seed, **rows})


if __name__ == "__main__":
    main()
