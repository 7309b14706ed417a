"""`python -m tofa_edge` is `tofa-edge`."""

from tofa_edge.cli import main

main()
