"""What is sent and what comes back, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Request:
    """What to send, relative to the origin. `body` is JSON, already encoded, unless `headers` say what else it is."""

    method: str
    path: str
    query: Mapping[str, str] | None = None
    body: bytes | None = None
    headers: Mapping[str, str] | None = None  # none that is secret: they are not cut out of what comes back


@dataclass(frozen=True, slots=True)
class Reply:
    """What the transport knows of one exchange, whether or not an answer came.

    `status` is None when no status line was seen; `sent` tells whether the request's headers may have left this machine;
    `failure` is the transport's error, also when only the body broke. `headers` are those that anybody reads, their names in
    lower case.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    sent: bool = True
    failure: str | None = None
