"""What the site does otherwise than its tool: no link leaves it, and nothing is fetched.

On a code host, Markdown links that leave the docs folder lead to files; the site has none of them
and knows no host to link to, so it shows their paths as text.
"""

from __future__ import annotations

import re
from typing import Any

SHIM = "https://unpkg.com/iframe-worker/shim"  # what the search of an opened file needs
OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)\s]+)\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """``[text](../path)`` becomes the text with the path, which the checkout has."""
    return OUTSIDE.sub(_named, markdown)


def on_post_page(output: str, **_: Any) -> str:
    """The search's script comes from the site itself."""
    return output.replace(SHIM, "assets/iframe-worker.js")


def on_post_template(output_content: str, **_: Any) -> str:
    """So does that of the page for what is not found."""
    return on_post_page(output_content)


def _named(found: re.Match[str]) -> str:
    text, path = found[1], found[2].split("#")[0]
    return text if path in text else f"{text} (`{path}`)"
