"""What the site does with links that leave the docs folder: they show the file's path as text.

On a code host the same Markdown links lead to the files; the site has none of them, and knows no
host to link to.
"""

from __future__ import annotations

import re
from typing import Any

OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)\s]+)\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """``[text](../path)`` becomes the text with the path, which the checkout has."""
    return OUTSIDE.sub(_named, markdown)


def _named(found: re.Match[str]) -> str:
    text, path = found[1], found[2].split("#")[0]
    return text if path in text else f"{text} (`{path}`)"
