"""Brings a notice to its receiver, once. When to try again is decided here too; who keeps it meanwhile is not.

No answer of a receiver and no part of an address is in what is said of a failure: either may hold a secret.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit, urlunsplit

import orjson

from ..exchange import Reply, Request
from ..text import harmless
from ..transport import connect
from .by_apprise import deliver_by_apprise
from .message import Notice, Signal
from .notify import WEB, UnsetError, resolve

LONGEST_PING = 10_000  # bytes; a healthchecks of one's own keeps no more (https://healthchecks.io/docs/http_api/)
_FIRST_S, _LAST_S, _TRIES = 30.0, 7200.0, 20
_ARRIVED, _ELSEWHERE = range(200, 300), range(300, 400)
_ENDPOINTS = {Signal.START: "/start", Signal.SUCCESS: "", Signal.FAIL: "/fail"}
_NO_ADDRESS = "what its variables hold makes no address"


class Courier:
    """Delivers notices, to addresses whose secrets are in `environment`."""

    def __init__(self, environment: Mapping[str, str], timeout_s: float = 10.0) -> None:
        """`timeout_s` covers one delivery from end to end."""
        self._environment = environment
        self._timeout_s = timeout_s

    async def deliver(self, notice: Notice) -> str | None:
        """Deliver once. None when it has arrived; else what went wrong, in words that hold no secret.

        Never raises for what networks, receivers, the environment or apprise do.
        """
        try:
            address = resolve(notice.target, self._environment)
        except UnsetError as error:
            return str(error)
        if not _is_address(address):
            return _NO_ADDRESS
        if address.partition(":")[0].lower() in WEB:
            return await self._post(address, notice)
        if notice.signal is not Signal.TELL:
            return "a ping can go to http(s) addresses only"
        return await deliver_by_apprise(address, notice, self._timeout_s)

    async def _post(self, address: str, notice: Notice) -> str | None:
        try:
            place, secrets = _without_user(address if notice.signal is Signal.TELL else _ping(address, notice))
            async with connect(place, secrets, connections=1, timeout_s=self._timeout_s) as transport:
                return _words(await transport.send(_request(notice)))
        except ValueError:  # it would repeat the address
            return _NO_ADDRESS


def next_try_s(tries: int) -> float | None:
    """How long to wait after so many failed tries, at least one; None: give it up. About a day in all."""
    return min(_FIRST_S * 2 ** (tries - 1), _LAST_S) if tries < _TRIES else None


def _is_address(address: str) -> bool:
    scheme, separator, rest = address.partition("://")
    return bool(scheme and separator and rest) and address.isprintable() and " " not in address


def _request(notice: Notice) -> Request:
    """Idempotency-Key as draft-ietf-httpapi-idempotency-key-header has it: a string in quotes."""
    headers = {"Idempotency-Key": f'"{notice.id}"'}
    if notice.signal is Signal.TELL:
        return Request("POST", "", body=orjson.dumps({"id": notice.id, **notice.body}), headers=headers)
    text = str(notice.body["text"]).encode()[:LONGEST_PING].decode(errors="ignore").encode()
    return Request("POST", "", body=text, headers={**headers, "Content-Type": "text/plain; charset=utf-8"})


def _ping(address: str, notice: Notice) -> str:
    """The endpoint for a signal, and `rid`, by which a start and its end are known to belong together."""
    parts = urlsplit(address)
    endpoint = _ENDPOINTS[notice.signal]
    path = parts.path.rstrip("/") + endpoint if endpoint else parts.path
    query = f"{parts.query}&rid={notice.of}" if parts.query else f"rid={notice.of}"
    return urlunsplit(parts._replace(path=path, query=query))


def _without_user(address: str) -> tuple[str, dict[str, str]]:
    """The address without `user:password@`, and the header that says it (RFC 7617), as any client makes it of such an address.

    Raises ValueError for no address.
    """
    parts = urlsplit(address)
    if not parts.hostname or parts.port == 0:
        raise ValueError("no host")
    place = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    if parts.username is None:
        return place, {}
    user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return place, {"Authorization": f"Basic {b64encode(user.encode()).decode()}"}


def _words(reply: Reply) -> str | None:
    """A status that was seen tells all, whatever became of the body; a failure is told without the host before its colon."""
    if reply.status is None:
        return harmless((reply.failure or "no answer").rpartition(": ")[2])
    if reply.status in _ARRIVED:
        return None
    more = ", and redirects are not followed" if reply.status in _ELSEWHERE else ""
    return f"the receiver answered {reply.status}{more}"
