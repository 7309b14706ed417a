"""`python -m tofa_edge.deployment.again`: makes a provisional choice again, and keeps it.

What is asked for comes as JSON on the standard input (`provisional.Asked`).
"""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import replace

from tofa_edge.architecture.space import Subnet
from tofa_edge.deployment.deploy import chosen_and_kept
from tofa_edge.deployment.provisional import Asked, low_priority
from tofa_edge.deployment.remember import decision_key_of, one_chooser, recall, remember
from tofa_edge.deployment.request import DeployOptions, requested
from tofa_edge.deployment.trace import Trace
from tofa_edge.errors import TofaError
from tofa_edge.storage.plain import from_plain


def main() -> None:
    """Chooses; a failure leaves the choice that there is."""
    asked = from_plain(Asked, json.load(sys.stdin))
    low_priority()
    options = DeployOptions(
        asked.backend, asked.threads, asked.precision, seed=asked.seed,
        python=asked.python,
    )  # fmt: skip
    subnet = None if asked.subnet is None else Subnet.from_json(asked.subnet)
    with contextlib.suppress(TofaError):
        request = requested(asked.bundle, asked.budget, subnet, options)
        key = decision_key_of(request)
        with one_chooser(key, request.until):
            found = recall(asked.key)
            if found is None or found[0].decided_s != asked.decided_s:
                return  # made again meanwhile
            if key != asked.key:  # another bundle or software by now: there is nothing to replace
                remember(asked.key, replace(found[0], provisional=""), found[1])
                return
            chosen_and_kept(request, key, Trace(), 0.0).close()


if __name__ == "__main__":
    main()
