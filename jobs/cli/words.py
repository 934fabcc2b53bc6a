"""Small pieces of what is shown: numbers with their nouns, and texts from elsewhere in Markdown. Pure."""

from __future__ import annotations

import re

from engine.text import harmless

_PLAIN = re.compile(r"[A-Za-z0-9]+(?:[ _-][A-Za-z0-9]+)*")  # nothing of it is markup within a line


def count(number: int, one: str, many: str = "") -> str:
    """So many of these."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def word(text: str) -> str:
    """One of our own words as it is; whatever else stands in its place, as code."""
    return text if _PLAIN.fullmatch(text) else code(text)


def code(text: str) -> str:
    """Text as a code span: no Markdown, no HTML, no table cell ends in it."""
    return "`" + (harmless(text).replace("`", "'").replace("|", "¦") or " ") + "`"
