"""`python -m tofa_edge` is `tofa-edge`."""

import os
import sys

from tofa_edge.cli import INTERRUPTED, main

try:
    main()
except SystemExit as end:
    if end.code in INTERRUPTED:
        # Where Ctrl-C went through code that was made from text, as dataclasses make theirs, Python
        # itself ends a module run by -m with the signal, whatever exit code is asked for.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(end.code))
    raise
