"""What became of an attempt, decided by one pure function, and what becomes of an item.

The table is the heart of rebatch: an attempt whose fate is *unknown* may have been carried out, and a kind that costs
money is never sent again on a guess.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Any

import orjson

from .exchange import Reply
from .text import harmless

MAX_ERROR_TEXT = 500  # characters kept of what the service said
MAX_DEPTH = 5  # of that, before it is no message


class Fate(StrEnum):
    """What became of one attempt."""

    NEVER_SENT = "never_sent"
    REJECTED = "rejected"
    APPLIED = "applied"
    UNKNOWN = "unknown"


class ItemFate(StrEnum):
    """What became of an item; every planned item has exactly one."""

    NOT_ATTEMPTED = "not_attempted"
    UNSETTLED = "unsettled"  # an attempt is under way, or its fate is unknown and not yet read back
    ACCEPTED = "accepted"  # the service took it
    CONFIRMED = "confirmed"  # and reading back shows that it was done
    FAILED = "failed"
    HELD = "held"  # may have been done; a person decides
    SKIPPED = "skipped"


class Evidence(StrEnum):
    """What reading an item back tells of the last attempt on it."""

    APPLIED = "applied"
    WORKING = "working"  # applied, and the service is not done yet
    UNMOVED = "unmoved"  # nothing happened to it since its fingerprint was taken
    UNCLEAR = "unclear"  # it changed in a way that proves nothing


@dataclass(frozen=True, slots=True)
class Outcome:
    """A deciphered reply. `retry_after_s` is what the service asked for, in seconds from now."""

    fate: Fate
    status: int | None = None
    error: str | None = None
    retry_after_s: float | None = None


# Answered before anything was done. 408 and 5xx are not among them: a gateway gives up while the service works on.
_REJECTED = frozenset({400, 401, 403, 404, 405, 413, 422, 429})


def decipher(reply: Reply, now: datetime | None = None) -> Outcome:
    """Decide what became of the attempt that `reply` ended.

    `now` anchors a Retry-After given as a date; without it the service's own `Date` does, since its clock is not ours.
    """
    if reply.status is None:
        fate = Fate.UNKNOWN if reply.sent else Fate.NEVER_SENT
        return Outcome(fate, error=reply.failure or "no answer")
    if 200 <= reply.status < 300:  # noqa: PLR2004 - the class of success codes
        return Outcome(Fate.APPLIED, reply.status)  # even if the body broke: the status line was seen
    fate = Fate.REJECTED if reply.status in _REJECTED else Fate.UNKNOWN
    after = _retry_after(reply.headers.get("retry-after"), now or _date(reply) or datetime.now(UTC))
    return Outcome(fate, reply.status, explain(reply), after)


def explain(reply: Reply) -> str:
    """The service's own words in one line: DRF's `detail` or `field: message`, else the status."""
    title = f"{reply.status} {_title(reply.status)}".strip()
    if reply.status is not None and 300 <= reply.status < 400:  # noqa: PLR2004 - the class of redirects
        return f"{title} (redirects are never followed)"
    try:
        words = "; ".join(_messages(orjson.loads(reply.body)))
    except orjson.JSONDecodeError:
        words = ""
    return harmless(f"{title}: {words}"[:MAX_ERROR_TEXT]) if words else title


def _title(status: int | None) -> str:
    try:
        return HTTPStatus(status or 0).phrase
    except ValueError:
        return ""


def _messages(problem: Any, path: str = "", depth: int = 0) -> list[str]:
    """DRF's shapes: {detail}, {field: [messages]}, {field: {index: [messages]}}."""
    if depth > MAX_DEPTH:
        return []
    if isinstance(problem, dict):
        return [line for key, value in problem.items() for line in _messages(value, _join(path, str(key)), depth + 1)]
    if isinstance(problem, list):
        return [line for value in problem for line in _messages(value, path, depth + 1)]
    return [f"{path}: {problem}" if path else str(problem)]


def _join(path: str, key: str) -> str:
    if key in {"detail", "non_field_errors"}:
        return path
    return f"{path}.{key}" if path else key


def _date(reply: Reply) -> datetime | None:
    return _moment(reply.headers.get("date", ""))


def _moment(text: str) -> datetime | None:
    """The moment that an HTTP date names; None if it is none."""
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - it loads sockets; who only looks reads no dates

    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds or an HTTP date (RFC 9110, 10.2.3); nonsense counts as not given, the past as now."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        at = _moment(value)
        if at is None:
            return None
        seconds = (at - now).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None
