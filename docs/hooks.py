"""Hooks of MkDocs."""

from __future__ import annotations

import re
from typing import Any

OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+[^)]+\)")


def on_page_markdown(markdown: str, **more: Any) -> str:
    """Returns a page whose links to files outside docs are plain text: the site has only docs.

    Args:
        markdown: the page, as it stands in the repository.
        **more: further arguments of the hook.
    """
    return OUTSIDE.sub(r"\1", markdown)
