"""The command lines of runs whose cases have numbers, by which each can be tried again."""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def numbers_and_seed(
    arguments: Sequence[str] | None, description: str, each: str, count: int
) -> tuple[range, int]:
    """Returns the numbers of the cases to try, and the seed of all.

    Args:
        arguments: of the command line; None for those of this process.
        description: of the run.
        each: what is tried, such as "case".
        count: how many by default.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(f"--{each}s", type=int, default=count, dest="count")
    parser.add_argument("--first", type=int, default=0, help=f"number of the first {each}")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    return range(options.first, options.first + options.count), options.seed


def told(kill: object, faults: Sequence[str]) -> str:
    """Returns what became of a `kill`, with each fault on a line of its own."""
    return f"{kill}: {'HARM' if faults else 'fine'}" + "".join(f"\n  {each}" for each in faults)
