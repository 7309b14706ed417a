"""Keeps engines that take minutes to build: `$XDG_CACHE_HOME/tofa-edge/engines`.

Loading an engine runs machine code from it, so it is kept as `CacheFolder` keeps code, and sealed
with what it depends on and its hash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from tofa_edge.storage.cache import CacheFolder

MOST_BYTES = 512 * 2**20
CACHE = CacheFolder("engines", 64, MOST_BYTES, MOST_BYTES, contents="engines")
MAGIC = b"tofa-edge engine 1\n"
MOST_HEADER = 4096

Facts = Mapping[str, str]


def seal(facts: Facts, content: bytes) -> bytes:
    """Returns content behind what it depends on and its hash: one line of JSON."""
    header = {"facts": dict(facts), "sha256": hashlib.sha256(content).hexdigest()}
    return MAGIC + json.dumps(header, sort_keys=True).encode() + b"\n" + content


def unseal(sealed: bytes) -> tuple[dict[str, str], bytes]:
    """Returns the facts and the content that `seal` was given."""
    if not sealed.startswith(MAGIC):
        raise ValueError("not an engine that this package built")
    end = sealed.find(b"\n", len(MAGIC), len(MAGIC) + MOST_HEADER)
    try:
        header = json.loads(sealed[len(MAGIC) : end])
        facts = {str(key): str(value) for key, value in header["facts"].items()}
        wanted = header["sha256"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"an engine with a damaged header ({error})") from error
    content = sealed[end + 1 :]
    if end < 0 or hashlib.sha256(content).hexdigest() != wanted:
        raise ValueError("an engine that is damaged or incomplete")
    return facts, content
