"""What every page shares: the templates' folder, what they print, and their filters."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnx_conformance.core.errors import CapabilityMissing
from onnx_conformance.core.extras import REPORT, optional, page_module
from onnx_conformance.core.files import write_whole

if TYPE_CHECKING:
    from markupsafe import Markup

TEMPLATES = Path(__file__).with_name("templates")
CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
LINK = re.compile(r"https?://[^\s<>\"'(){}\[\]]*[^\s<>\"'(){}\[\].,;:]")


def page(template: str, context: dict[str, Any], **filters: Callable[..., Any]) -> str:
    """The page of a template: text is escaped and clean, what is absent prints as nothing.

    Args:
        template: a file of the templates' folder.
        filters: of this page, beside ``prose``.
    """
    with optional(REPORT):
        from jinja2 import Environment, FileSystemLoader

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=_printed,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(prose=prose, **filters)
    return environment.get_template(template).render(context)


def write_page(module: str, path: Path, option: str, *shown: Any) -> str:
    """Write the page that ``render(*shown)`` of a module draws, whole or not at all.

    Returns:
        ``page: PATH``, or why there is none: the extra ``report`` is not installed.

    Raises:
        UsageError: the file cannot be written; ``option`` is what the user gave its name by.
    """
    try:
        text = page_module(module).render(*shown)
    except CapabilityMissing as missing:
        return f"no page: {missing}"
    write_whole(path, text.encode(), option)
    return f"page: {path}"


def clean(text: str) -> str:
    """The text without terminal colours and other characters that no page shows."""
    return text if text.isprintable() else CONTROLS.sub("", text)


def _printed(value: Any) -> Any:
    """What a template prints of a value: nothing of an absent one, clean text."""
    if value is None:
        return ""
    plain = isinstance(value, str) and not hasattr(value, "__html__")
    return clean(value) if plain else value


def prose(text: str | None) -> Markup:
    """Escaped text whose web addresses are links."""
    from markupsafe import Markup, escape

    parts, end, plain = [], 0, clean(text or "")
    for found in LINK.finditer(plain):
        parts += [escape(plain[end : found.start()])]
        parts += [Markup('<a href="{0}" rel="noreferrer">{0}</a>').format(found[0])]
        end = found.end()
    return Markup("").join([*parts, escape(plain[end:])])
