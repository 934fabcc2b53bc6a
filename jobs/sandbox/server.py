"""The web application, and serving it until told to stop."""

import asyncio
import signal
import socket
from collections.abc import Callable

from aiohttp import web

from .drf import Refused
from .endpoints import json_response, receive, routes
from .faults import Handler, misbehave
from .state import SANDBOX, Sandbox

_BACKLOG = 1024
_SHUTDOWN_S = 0.1


def application(sandbox: Sandbox) -> web.Application:
    """The sandbox as an aiohttp application, for a process of its own or for a test's loop."""
    app = web.Application(middlewares=[_gate])
    app[SANDBOX] = sandbox
    app.add_routes(routes())
    return app


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; clients may connect from here on. Raises OSError when the port is taken."""
    return socket.create_server((host, port), backlog=_BACKLOG)


async def serve(app: web.Application, listening: socket.socket, started: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM; requests that hang are not waited for."""
    stop = asyncio.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    await web.SockSite(runner, listening, backlog=_BACKLOG).start()
    started()
    await stop.wait()
    await runner.cleanup()


@web.middleware
async def _gate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What every request passes: noted, recognised, throttled, and then at the mercy of the dice."""
    if request.path.startswith("/sandbox/"):
        return await _answer(request, handler)
    sandbox = request.app[SANDBOX]
    arrival = sandbox.arrivals.note(sandbox.elapsed(), request.method, request.path)
    request["number"] = arrival.number
    response: web.StreamResponse | None
    try:
        await receive(request)
        response = _turned_away(sandbox, request)
    except ConnectionError:
        sandbox.arrivals.answered(arrival, None)
        return web.Response()
    except Refused as refused:
        response = json_response(refused.body, refused.status)
    if response is None:

        async def answer(request: web.Request) -> web.StreamResponse:
            sandbox.advance()
            return await _answer(request, handler)

        response, fault = await misbehave(request, answer, sandbox.settings, sandbox.seed, arrival.number)
        if fault:
            sandbox.arrivals.faults[fault] += 1
    sandbox.arrivals.answered(arrival, None if response is None else response.status)
    return web.Response() if response is None else response


def _turned_away(sandbox: Sandbox, request: web.Request) -> web.Response | None:
    """DRF's order: routing (which needs no key), authentication, throttling, then the method."""
    if isinstance(request.match_info.http_exception, web.HTTPNotFound):
        return json_response({"detail": "Not found."}, 404)
    key = request.headers.get("X-CEKURA-API-KEY")
    if key != sandbox.key:
        detail = "Invalid API key." if key else "Authentication credentials were not provided."
        return json_response({"detail": detail}, 401)
    wait_s = sandbox.window.wait(sandbox.elapsed(), sandbox.settings.rate)
    if not wait_s:
        return None
    sandbox.arrivals.throttled += 1
    refusal = json_response({"detail": f"Request was throttled. Expected available in {wait_s} seconds."}, 429)
    refusal.headers["Retry-After"] = str(wait_s)
    return refusal


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The handler's answer; what it raises becomes DRF's JSON."""
    try:
        return await handler(request)
    except Refused as refused:
        return json_response(refused.body, refused.status)
    except web.HTTPMethodNotAllowed as wrong:
        answer = json_response({"detail": f'Method "{wrong.method}" not allowed.'}, wrong.status)
        answer.headers["Allow"] = ", ".join(sorted(wrong.allowed_methods))
        return answer
    except web.HTTPException as other:
        return json_response({"detail": f"{other.reason}."}, other.status)
