"""What is remembered of a revoked bundle is dropped, and nothing of others."""

from __future__ import annotations

from pathlib import Path

from tests.unit.deployment.test_remember import ARTEFACT, DECISION
from tofa_edge.budget import Budget
from tofa_edge.deployment import remember as decisions
from tofa_edge.deployment.remember import CACHE, decision_key_of
from tofa_edge.deployment.request import DeployOptions, requested
from tofa_edge.fleet.revoked import forget_bundles


def test_only_what_is_revoked_is_dropped(tiny_bundle: Path, bare_bundle: Path) -> None:
    keys, digests = [], []
    for path in (tiny_bundle, bare_bundle):
        for budget in (Budget(), Budget(latency_ms=3.0)):
            request = requested(path, budget, None, DeployOptions())
            keys.append(decision_key_of(request))
            digests.append(request.bundle.digest)
            decisions.remember(keys[-1], DECISION, ARTEFACT)
    assert len(CACHE.names()) == 8
    assert forget_bundles(frozenset([digests[0], "0" * 64])) == 2
    assert [decisions.recall(key) is None for key in keys] == [True, True, False, False]
    assert forget_bundles(frozenset([digests[0]])) == 0
