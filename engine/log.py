"""The log: to stderr, as JSON or for people, never with a secret in it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import Any

import orjson
import structlog

from .text import harmless

REDACTED = "•••"


def configure(verbosity: int, style: str, secrets: Iterable[str], *, color: bool) -> None:
    """Log warnings, with `verbosity` 1 what the job does, with 2 every exchange. `style` is `json` or `console`."""
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbosity, 2)]
    face: Any = (
        structlog.processors.JSONRenderer(_json) if style == "json" else structlog.dev.ConsoleRenderer(colors=color)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,  # plain: a richer one would show local variables
            redactor(secrets),
            face,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def redactor(secrets: Iterable[str]) -> structlog.types.Processor:
    """Replaces every secret by value, wherever in an event it stands, and makes foreign text harmless."""
    known = [secret for secret in secrets if secret]

    def redact(_logger: Any, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
        return {_text(key, known): _clean(value, known) for key, value in event.items()}

    return redact


def _clean(value: Any, secrets: list[str]) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return {_text(key, secrets): _clean(inner, secrets) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(inner, secrets) for inner in value]
    return _text(value, secrets)


def _text(value: Any, secrets: list[str]) -> str:
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    for secret in secrets:
        text = text.replace(secret, REDACTED)
    return "\n".join(map(harmless, text.split("\n")))


def _json(event: Any, **_options: Any) -> str:
    return orjson.dumps(event, default=str).decode()
