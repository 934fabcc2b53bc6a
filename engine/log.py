"""The log: to stderr, as JSON or for people, never with a secret in it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import Any

import orjson
import structlog

from .redact import Redactor
from .text import harmless


def configure(verbosity: int, style: str, secrets: Iterable[str], *, color: bool) -> None:
    """Log warnings, with `verbosity` 1 what the job does, with 2 every exchange. `style` is `json` or `console`.

    What libraries log, and what Python warns of, takes the same way, with warnings and worse until `verbosity` is 2.
    """
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbosity, 2)]
    face: Any = (
        structlog.processors.JSONRenderer(_json)
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=color, exception_formatter=structlog.dev.plain_traceback)
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
    logging.captureWarnings(capture=True)
    logging.basicConfig(level=level if verbosity > 1 else logging.WARNING, handlers=[_Others()], force=True)


def quiet_unless_configured() -> None:
    """Log nothing in a program that has not set structlog up: by itself it would print every attempt on stdout."""
    if not structlog.is_configured():
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


class _Others(logging.Handler):
    """What libraries log, asyncio's “Task exception was never retrieved” among it, said by our log."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say it."""
        structlog.get_logger(record.name).log(
            record.levelno, record.getMessage(), source=record.name, exc_info=record.exc_info
        )


def redactor(secrets: Iterable[str]) -> structlog.types.Processor:
    """Cuts every secret out of an event, wherever in it and in whatever form it stands, and makes foreign text harmless."""
    known = Redactor(secrets)

    def redact(_logger: Any, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
        return {_text(key, known): _clean(value, known) for key, value in event.items()}

    return redact


def _clean(value: Any, secrets: Redactor) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return {_text(key, secrets): _clean(inner, secrets) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(inner, secrets) for inner in value]
    return _text(value, secrets)


def _text(value: Any, secrets: Redactor) -> str:
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return "\n".join(map(harmless, secrets.text(text).split("\n")))


def _json(event: Any, **_options: Any) -> str:
    return orjson.dumps(event, default=str).decode()
