"""JSON text of what came as JSON: orjson where it can, the standard library where numbers or texts go beyond it."""

from __future__ import annotations

import json
from typing import Any

import orjson

from engine.errors import OutputError


def json_line(value: Any) -> bytes:
    """One line, with its end. Raises OutputError for what is nested too deeply to be written."""
    try:
        return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # 255 levels, more than 64 bits, half of a surrogate pair
        return _slowly(value).encode() + b"\n"


def json_text(value: Any) -> str:
    """The same as text, without an end of line."""
    return json_line(value)[:-1].decode()


def _slowly(value: Any) -> str:
    try:
        return json.dumps(value, separators=(",", ":"))
    except RecursionError:
        raise OutputError(
            "A row is nested too deeply to be written as JSON.", "Leave its id out, then resume."
        ) from None
