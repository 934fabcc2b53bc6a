"""Whether schedules are kept, for whoever watches: GET /healthz and GET /metrics, on this machine alone.

No access is asked for, so nobody but this machine may ask: it listens on loopback only, and a name that is not this
machine's in `Host` is refused, since a page in a browser can point a name of its own at 127.0.0.1 (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import anyio
import orjson
from aiohttp import web

from .errors import RebatchError, UsageError
from .schedule.entry import Standing
from .schedule.metrics import CONTENT_TYPE, exposition
from .schedule.when import iso
from .text import harmless

Standings = Callable[[], Awaitable[Sequence[Standing]]]
Alive = Callable[[], str | None]

METHODS = ("GET", "HEAD")
_NAME = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)"
_ADDRESS = re.compile(rf"(?:{_NAME}:)?([0-9]{{1,5}})")
_HOST = re.compile(rf"{_NAME}(?::[0-9]*)?")
_LAST_PORT = 65_535
_LOOPBACK_6 = IPv6Address("::1")
_CLOSING_S = 0.5  # how long an answer that is under way may still take when the block is left
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_REMEDY = "Write PORT, or HOST:PORT with 127.0.0.1, [::1] or localhost."


@asynccontextmanager
async def listening(address: str, standings: Standings, alive: Alive) -> AsyncIterator[str]:
    """Answer GET /metrics and /healthz at `address` (HOST:PORT or PORT) as long as the block runs; gives the URL in use.

    Port 0 picks one. `alive` says why nobody keeps the schedules, None when somebody does. Raises UsageError for an
    address that is not this machine's loopback, or is in use.
    """
    host, port = parse_address(address)
    opened = _opened(host, port)
    server = web.Server(
        lambda request: _answer(request, standings, alive),
        request_factory=partial(_request, asyncio.get_running_loop()),
        access_log=None,
        logger=_silent(),
    )
    runner = web.ServerRunner(server, shutdown_timeout=_CLOSING_S)
    try:
        await runner.setup()
        await web.SockSite(runner, opened).start()
        shown = host if isinstance(host, IPv4Address) else f"[{host}]"
        yield f"http://{shown}:{opened.getsockname()[1]}"
    finally:
        with anyio.CancelScope(shield=True):
            await runner.cleanup()
        opened.close()  # nobody else does if it was never served


def parse_address(address: str) -> tuple[IPv4Address | IPv6Address, int]:
    """The loopback address and the port that HOST:PORT or PORT names. Raises UsageError."""
    parts = _ADDRESS.fullmatch(address)
    if parts is None or int(parts[2]) > _LAST_PORT:
        raise UsageError(f"“{harmless(address)}” is no address to listen at.", _REMEDY)
    host = _loopback(parts[1] or "localhost")
    if host is None:
        raise UsageError(
            f"“{harmless(address)}” is not this machine's own address, and health is told to nobody else.", _REMEDY
        )
    return host, int(parts[2])


def health(standings: Sequence[Standing], stuck: str | None) -> tuple[bool, dict[str, Any]]:
    """Whether all is well, and what is told of it. Pure; `docs/reference.md` documents the fields.

    Late ticks, a spec that cannot be read and nobody at work are unhealthy. A schedule that is paused was meant to be:
    that is told, and is as it should be. What is gone from its spec is left out.
    """
    kept = [each for each in standings if not each.entry.gone]
    because = [] if stuck is None else [{"what": "stuck", "why": harmless(stuck)}]
    because += [_late(each) for each in kept if each.late]
    broken = {each.entry.source: each.broken for each in kept if each.broken is not None}
    because += [{"what": "broken", "file": harmless(file), "why": harmless(why)} for file, why in broken.items()]
    told: dict[str, Any] = {"status": "unhealthy", "because": because} if because else {"status": "ok"}
    return not because, {**told, "schedules": [_shown(each) for each in kept]}


def _late(standing: Standing) -> dict[str, str]:
    due = "" if standing.overdue is None else iso(standing.overdue)
    why = f"the tick of {due} has not begun, and nobody has decided on it"
    return {"what": "late", "schedule": harmless(standing.entry.name), "why": why}


def _shown(standing: Standing) -> dict[str, Any]:
    entry, last = standing.entry, standing.last
    return {
        "schedule": harmless(entry.name),
        "file": harmless(entry.source),
        "late": standing.late,
        "broken": standing.broken is not None,
        "paused_because": None if entry.paused_because is None else harmless(entry.paused_because),
        "next": iso(standing.next[0]) if standing.next else None,
        "running": len(standing.running),
        "waiting": len(standing.waiting),
        "undelivered": standing.undelivered,
        "last": last and {"tick": iso(last.at), "fate": last.fate, "outcome": last.outcome},
    }


class _Request(web.BaseRequest):
    """A request whose answer does not name aiohttp and its version: malformed ones are answered before we are asked."""

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        response.headers.pop("Server", None)


def _request(
    loop: asyncio.AbstractEventLoop, message: Any, payload: Any, protocol: Any, writer: Any, task: asyncio.Task[None]
) -> _Request:
    return _Request(message, payload, protocol, writer, task, loop)


def _silent() -> logging.Logger:
    """Aiohttp logs what is sent to it by mistake or malice, with a traceback; nobody writes into our log that way."""
    logger = logging.getLogger(__name__)
    logger.disabled = True
    return logger


async def _answer(request: web.BaseRequest, standings: Standings, alive: Alive) -> web.Response:
    if not all(map(_is_ours, request.headers.getall("Host", []))):
        return _text(403, "This name is not this machine's.")
    if request.path not in {"/healthz", "/metrics"}:
        return _text(404, "There are /healthz and /metrics.")
    if request.method not in METHODS:
        return _text(405, "It can only be read.", Allow=", ".join(METHODS))
    stuck = alive()
    try:
        found = await standings()
        if request.path == "/metrics":
            return web.Response(body=exposition(found), headers={**_HEADERS, "Content-Type": CONTENT_TYPE})
        return _json(*health(found, stuck))
    except Exception as error:  # noqa: BLE001 - whatever it is, this face is what tells of it
        return _unreadable(request.path, error, stuck)


def _unreadable(path: str, error: Exception, stuck: str | None) -> web.Response:
    """Only our own errors have words that anybody may read."""
    why = harmless(str(error)) if isinstance(error, RebatchError) else f"unexpected: {type(error).__name__}"
    if path == "/metrics":
        return _text(503, f"The schedules cannot be read: {why}")
    told = health([], stuck)[1].get("because", [])
    because = [*told, {"what": "unreadable", "why": why}]
    return _json(well=False, body={"status": "unhealthy", "because": because, "schedules": []})


def _json(well: bool, body: dict[str, Any]) -> web.Response:  # noqa: FBT001 - as `health` gives it
    return web.Response(
        body=orjson.dumps(body), status=200 if well else 503, content_type="application/json", headers=_HEADERS
    )


def _text(status: int, words: str, **headers: str) -> web.Response:
    return web.Response(text=f"{words}\n", status=status, headers={**_HEADERS, **headers})


def _is_ours(host: str) -> bool:
    """Whether a `Host` is a name of this machine for itself, on whatever port: a tunnel's may be another."""
    name = _HOST.fullmatch(host)
    return name is not None and _loopback(name[1]) is not None


def _loopback(name: str) -> IPv4Address | IPv6Address | None:
    """The loopback address of this name. Names are not looked up: what they mean is not for a resolver to say."""
    if name.lower() == "localhost":
        return IPv4Address("127.0.0.1")
    try:
        found = IPv6Address(name[1:-1]) if name.startswith("[") else IPv4Address(name)
    except ValueError:
        return None
    # Of IPv6 there is one; from 3.13 on, Python counts ::ffff:127.0.0.1 as well.
    ours = found.is_loopback if isinstance(found, IPv4Address) else found == _LOOPBACK_6
    return found if ours else None


def _opened(host: IPv4Address | IPv6Address, port: int) -> socket.socket:
    family = socket.AF_INET if isinstance(host, IPv4Address) else socket.AF_INET6
    try:
        return socket.create_server((str(host), port), family=family)
    except OSError as error:
        raise UsageError(
            f"Nobody can listen at {host}, port {port}: {(error.strerror or 'refused').lower()}.",
            "Choose another port; 0 takes any that is free.",
        ) from None
