"""Small pieces of what is shown: numbers with their nouns, times, and texts from elsewhere. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

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


def local(iso: str) -> str:
    """A moment as the clocks of this machine show it."""
    return f"{datetime.fromisoformat(iso).astimezone():%Y-%m-%d %H:%M}"


def safe(lines: Iterable[str]) -> str:
    """Lines as one text that does nothing to a terminal."""
    return "\n".join(map(harmless, lines))
