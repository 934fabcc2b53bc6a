"""Paths with placeholders, and values as parts of a path: whatever a value holds, it stays within its own name.

Every value is written in letters, digits, `_`, `-` and `.`; the rest is percent-encoded, as Hive, Spark and DuckDB do and
undo. What would be too long for a file name is cut and ends with `~` and a digest, so that no two values ever meet.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime
from hashlib import sha256
from string import ascii_letters, digits
from typing import Any

from engine.text import harmless
from engine.where import suggest

from .jsontext import json_text

MISSING = "__HIVE_DEFAULT_PARTITION__"  # what Hive calls a partition of rows that have no value
EMPTY = "__EMPTY__"  # a text of no characters, where a name cannot be empty
LONGEST = 64  # characters of an encoded value: three of them and a name fit into the 255 bytes of a file name
_HEAD = 31  # characters that are left of a longer one, before `~` and 32 of its digest
_ALPHANUMERIC = frozenset(ascii_letters + digits)
_PLAIN = _ALPHANUMERIC | frozenset("_-.")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def split(template: str) -> list[str]:
    """Literal, placeholder, literal, …, literal: the odd ones are placeholders."""
    return _PLACEHOLDER.split(template)


def check_text(text: str) -> None:
    """Raise ValueError for what is no path, whatever it is for."""
    if not text:
        raise ValueError("a path is needed, such as runs-{job}.jsonl.zst")
    if not text.isprintable():
        raise ValueError(f"“{harmless(text)}” holds characters that cannot be printed")
    if text.endswith("/"):
        raise ValueError(f"“{text}” is a folder; a path ends with the name of a file")
    if ".." in text.split("/"):
        raise ValueError(f"“{text}” leads out of a folder with “..”; write where it leads to")
    if text.startswith("~"):
        raise ValueError(f"“{text}” begins with “~”, which only a shell understands; write the folder's whole path")


def check_placeholders(text: str, known: Iterable[str]) -> None:
    """Raise ValueError for braces that do not stand around one of the `known` names."""
    known = list(known)
    pieces = split(text)
    if any("{" in literal or "}" in literal for literal in pieces[::2]):
        raise ValueError(f"“{text}” has a brace too many or too few; a placeholder looks like {{job}}")
    for name in pieces[1::2]:
        if name not in known:
            hint = suggest(name, known) or f"; there are {', '.join(f'{{{each}}}' for each in known)}"
            raise ValueError(f"unknown placeholder “{{{name}}}”{hint}")


def check_suffix(text: str, suffixes: Iterable[str]) -> str:
    """The suffix that `text` ends with. Raises ValueError."""
    suffixes = list(suffixes)
    name = text.rpartition("/")[2]
    for suffix in sorted(suffixes, key=len, reverse=True):
        if name.endswith(suffix):
            if name == suffix:
                raise ValueError(f"“{text}” has no name before its suffix {suffix}")
            return suffix
    raise ValueError(f"“{text}” must end with one of {' '.join(suffixes)}")


def check_apart(text: str, names: Iterable[str]) -> None:
    """Raise ValueError where the value of one of these placeholders could run into what follows it."""
    names = set(names)
    pieces = split(text)
    for name, following in zip(pieces[1::2], pieces[2::2], strict=True):
        if name in names and (not following or following[0] in _ALPHANUMERIC or following[0] in "%~"):
            raise ValueError(f"a character such as “-” or “/” must follow “{{{name}}}” in “{text}”")


def text_of(value: Any) -> str | None:
    """A value as a person would write it; values of one type differ in it if they differ. None for nothing."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return _in_utc(value).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    return json_text(value) if isinstance(value, dict | list | tuple) else repr(value)


def _in_utc(value: datetime) -> datetime:
    try:
        return value if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:  # the first or the last day of the calendar
        return value


def encoded(value: Any, following: str = "/") -> str:
    """A value as part of a path, never empty. It does not hold the character that follows it, so it ends there."""
    text = text_of(value)
    if text is None:
        return MISSING
    plain = _PLAIN - {following[0]}
    pieces = [_escaped(char, plain) for char in text[: LONGEST + 1]]
    if pieces and pieces[0] in {"_", "."}:  # hidden files are; and no value is taken for MISSING or EMPTY
        pieces[0] = f"%{ord(pieces[0]):02X}"
    whole = "".join(pieces)
    if _must_shorten(text, whole):
        return _shortened(text, pieces)
    return whole or EMPTY


def is_whole(value: Any) -> bool:
    """Whether the value can be read back from its encoded form."""
    return "~" not in encoded(value)


def _escaped(char: str, plain: frozenset[str]) -> str:
    return char if char in plain else "".join(f"%{byte:02X}" for byte in char.encode(errors="replace"))


def _must_shorten(text: str, whole: str) -> bool:
    """Half of a surrogate pair is no text that anybody could decode again."""
    return len(whole) > LONGEST or any("\ud800" <= char <= "\udfff" for char in text)


def _shortened(text: str, pieces: list[str]) -> str:
    """Cut between characters: readers decode what is left."""
    head = ""
    for piece in pieces:
        if len(head) + len(piece) > _HEAD:
            break
        head += piece
    return f"{head}~{sha256(text.encode(errors='surrogatepass')).hexdigest()[:32]}"
