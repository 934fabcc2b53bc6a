"""Carrying out what the dice say: errors, resets, answers that never come or come in part."""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from math import ceil

from aiohttp import web

from .dice import AFTER, draw, roll
from .settings import Rate, Settings

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_RESET = struct.pack("ii", 1, 0)
_POLL_S = 0.5
_GATEWAY = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body><center><h1>502 Bad Gateway</h1></center></body>\r\n</html>\r\n"
_ERRORS = (
    (500, "application/json", '{"detail":"A server error occurred."}'),
    (502, "text/html", _GATEWAY),
    (503, "application/json", '{"detail":"Service temporarily unavailable, try again later."}'),
)


@dataclass
class Window:
    """A strict sliding window; requests it refuses do not count."""

    accepted: deque[float] = field(default_factory=deque)

    def wait(self, now_s: float, limit: Rate | None) -> int:
        """Zero, and the request counts; or how many whole seconds until there is room."""
        if limit is None:
            return 0
        while self.accepted and self.accepted[0] <= now_s - limit.window_s:
            self.accepted.popleft()
        if len(self.accepted) < limit.limit:
            self.accepted.append(now_s)
            return 0
        return max(1, ceil(self.accepted[-limit.limit] + limit.window_s - now_s))


async def misbehave(
    request: web.Request, handler: Handler, settings: Settings, seed: int, number: int
) -> tuple[web.StreamResponse | None, str | None]:
    """The handler's answer after what befell it (None: the connection is gone), and the name of the fault.

    The effect is in the middle of the latency: a client may give up before it or after it.
    """
    fault = draw(settings, seed, number, request.method)
    half_s = (settings.latency + settings.jitter * roll(seed, number, "jitter")) / 2
    await _pass(half_s)
    response = await handler(request) if fault is None or fault in AFTER else None
    await _pass(half_s)
    if fault in {"reset_before", "reset_after"}:
        reset(request)
        return None, fault
    if fault in {"hang", "hang_after"}:
        await _until_gone(request)
        return None, fault
    if fault in {"errors", "errors_after"}:
        return _error(roll(seed, number, "status")), fault
    if fault == "truncate" and isinstance(response, web.Response):
        return await _truncated(request, response)
    return response, None


def reset(request: web.Request) -> None:
    """Close the connection with RST, as a crashed proxy does; a plain abort may send FIN."""
    if request.transport is None:
        return
    connection = request.transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    request.transport.abort()


async def _pass(seconds: float) -> None:
    if seconds:
        await asyncio.sleep(seconds)


async def _until_gone(request: web.Request) -> None:
    # aiohttp tells a handler of a lost connection only by cancelling it, which would cut effects as well.
    while request.transport is not None:  # noqa: ASYNC110
        await asyncio.sleep(_POLL_S)


def _error(chance: float) -> web.Response:
    status, kind, text = _ERRORS[int(chance * len(_ERRORS))]
    return web.Response(status=status, content_type=kind, text=text)


async def _truncated(request: web.Request, response: web.Response) -> tuple[web.StreamResponse, str | None]:
    body = response.body if isinstance(response.body, bytes) else b""
    if not body:
        return response, None
    cut = web.StreamResponse(status=response.status, headers={"Content-Type": response.content_type})
    cut.content_length = len(body)
    cut.force_close()
    await cut.prepare(request)
    await cut.write(body[: len(body) // 2])
    return cut, "truncate"
