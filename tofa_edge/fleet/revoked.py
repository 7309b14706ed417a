"""Dropping what is remembered of bundles that are revoked or refused."""

from __future__ import annotations

from tofa_edge.deployment.remember import CACHE, OF_BUNDLE, forget
from tofa_edge.storage.cache import stem


def forget_bundles(digests: frozenset[str]) -> int:
    """Drops what is remembered of bundles with these `digests`; returns how many decisions."""
    known = {digest[:OF_BUNDLE] for digest in digests}
    entries = {stem(name) for name in CACHE.names() if name[:OF_BUNDLE] in known}
    for entry in entries:
        forget(entry)
    return len(entries)
