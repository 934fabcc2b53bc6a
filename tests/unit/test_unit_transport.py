"""The transport against real servers on loopback: what it knows of an exchange, and what never leaves it."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
from aiohttp import web

from engine.exchange import Reply, Request
from engine.fates import Fate, decipher
from engine.transport import MAX_BODY, WithheldError, connect

KEY = "ck_canary_9f8e7d6c5b4a"
HEADERS = {"X-CEKURA-API-KEY": KEY}
POST = Request("POST", "/x/", body=b'{"a": 1}')
GET = Request("GET", "/x/", {"page": "1", "q": "a&b c"})
Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def send(origin: str, request: Request, *, timeout_s: float = 5.0) -> Reply:
    """One exchange; whatever is told of it, the key is not in it."""
    async with connect(origin, HEADERS, connections=4, timeout_s=timeout_s) as transport:
        reply = await transport.send(request)
    assert KEY not in repr(reply)
    assert KEY not in repr(decipher(reply))
    return reply


@asynccontextmanager
async def site(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """A web server with one handler for everything."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield "http://{}:{}".format(*runner.addresses[0])
    finally:
        await runner.cleanup()


@asynccontextmanager
async def raw(behaviour: Behaviour) -> AsyncIterator[str]:
    """A server that speaks to the socket itself."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await behaviour(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def test_a_request_arrives_as_it_was_made() -> None:
    """Method, path with its slash, query, body and headers; nothing that was not asked for."""
    seen: list[tuple[str, str, str, bytes, str | None, str | None]] = []

    async def handler(request: web.Request) -> web.Response:
        body, kind = await request.read(), request.headers.get("Content-Type")
        seen.append(
            (request.method, request.path, request.query_string, body, kind, request.headers.get("X-CEKURA-API-KEY"))
        )
        return web.Response(status=204, headers={"Retry-After": "7", "X-Any": "Yes"})

    async with site(handler) as origin:
        reply = await send(origin, POST)
        await send(origin, GET)
    assert seen[0] == ("POST", "/x/", "", b'{"a": 1}', "application/json", KEY)
    assert seen[1][:2] + seen[1][3:] == ("GET", "/x/", b"", None, KEY)
    assert "page=1" in seen[1][2]
    assert (reply.status, reply.body, reply.sent, reply.failure) == (204, b"", True, None)
    assert reply.headers == {"retry-after": "7", "date": reply.headers["date"]}


@pytest.mark.parametrize("status", [400, 401, 429, 500, 503])
async def test_an_answer_is_an_answer_whatever_its_status(status: int) -> None:
    """No status raises; body and Retry-After are kept."""

    async def handler(_request: web.Request) -> web.Response:
        return web.Response(status=status, body=b'{"detail": "x"}', headers={"Retry-After": "7"})

    async with site(handler) as origin:
        reply = await send(origin, POST)
    assert (reply.status, reply.body, reply.headers["retry-after"], reply.failure) == (
        status,
        b'{"detail": "x"}',
        "7",
        None,
    )


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("request_", [GET, POST], ids=["GET", "POST"])
async def test_no_redirect_is_followed_and_the_key_stays_here(status: int, request_: Request) -> None:
    """The place that a redirect names is never contacted."""
    contacted: list[str] = []

    async def trap(request: web.Request) -> web.Response:
        contacted.append(request.path)
        return web.Response()

    async with site(trap) as elsewhere:

        async def handler(_request: web.Request) -> web.Response:
            return web.Response(status=status, headers={"Location": f"{elsewhere}/stolen"})

        async with site(handler) as origin:
            reply = await send(origin, request_)
    assert (reply.status, contacted) == (status, [])


async def test_cookies_are_not_kept() -> None:
    """A session of the service's making would be shared by whatever runs beside."""
    cookies: list[str | None] = []

    async def handler(request: web.Request) -> web.Response:
        cookies.append(request.headers.get("Cookie"))
        return web.Response(headers={"Set-Cookie": "a=b"})

    async with site(handler) as origin, connect(origin, HEADERS, connections=1, timeout_s=5) as transport:
        await transport.send(GET)
        await transport.send(GET)
    assert cookies == [None, None]


async def test_a_refused_connection_was_never_sent() -> None:
    """Nobody listens: it may be sent again, whatever it is."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    reply = await send(f"http://127.0.0.1:{port}", POST)
    assert decipher(reply).fate is Fate.NEVER_SENT
    assert reply.failure == f"127.0.0.1:{port}: connection refused"


async def test_a_name_that_is_not_known_was_never_sent() -> None:
    """The reserved domain of RFC 2606."""
    reply = await send("http://nowhere.invalid", POST)
    assert decipher(reply).fate is Fate.NEVER_SENT


async def test_a_server_that_speaks_no_tls_was_never_sent_anything() -> None:
    """The handshake failed before any header went out."""

    async def behaviour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with raw(behaviour) as origin:
        reply = await send(origin.replace("http", "https"), POST)
    assert decipher(reply).fate is Fate.NEVER_SENT
    assert "not permitted" not in (reply.failure or "")


async def _reads_and_resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"1}")
    reset(writer)


async def _reads_and_closes(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"1}")


async def _reads_little_and_resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(4)
    reset(writer)


async def _answers_half_a_line(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"1}")
    writer.write(b"HTTP/1.1 2")
    await writer.drain()


async def _answers_nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"1}")
    writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    await writer.drain()


async def _echoes_the_key_in_a_broken_header(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"1}")
    writer.write(f"HTTP/1.1 200 OK\r\nX-\x00{KEY}: {KEY}\r\n{KEY}\r\n\r\n".encode())
    await writer.drain()


@pytest.mark.parametrize(
    "behaviour",
    [
        _reads_and_resets,
        _reads_and_closes,
        _reads_little_and_resets,
        _answers_half_a_line,
        _answers_nonsense,
        _echoes_the_key_in_a_broken_header,
    ],
)
async def test_what_breaks_after_sending_is_unknown(behaviour: Behaviour) -> None:
    """It may have been carried out: no status was seen, and the headers had gone out."""
    async with raw(behaviour) as origin:
        reply = await send(origin, POST)
    assert (reply.status, reply.sent) == (None, True)
    assert reply.failure
    assert decipher(reply).fate is Fate.UNKNOWN


async def test_no_answer_in_time_is_unknown() -> None:
    """The service may still be working on it."""

    async def behaviour(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with raw(behaviour) as origin:
        reply = await send(origin, POST, timeout_s=0.2)
    assert decipher(reply).fate is Fate.UNKNOWN
    assert reply.failure == "no answer within 0.2 s"


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_who_is_cancelled_when_time_runs_out_is_cancelled_and_no_more() -> None:
    """Both in one instant, while a long body is still being written: the scope that was cancelled ends, and what is around it does not."""

    async def behaviour(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{")
        await writer.wait_closed()

    long, went_on = Request("POST", "/x/", body=b" " * (20 << 20)), 0
    async with raw(behaviour) as origin:
        for later_s in (0.0, 0.0001, 0.0002, 0.0003):
            async with connect(origin, HEADERS, connections=1, timeout_s=0.05) as transport:
                with anyio.CancelScope() as scope:
                    asyncio.get_running_loop().call_later(0.05 + later_s, scope.cancel)
                    await transport.send(long)
            went_on += 1
    assert went_on == 4


async def test_a_connection_that_is_not_made_in_time_was_never_sent() -> None:
    """A listener whose queue is full answers nothing at all."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        crowd = [socket.socket() for _ in range(4)]
        for each in crowd:
            each.setblocking(False)  # noqa: FBT003 - socket's own signature
            each.connect_ex(full.getsockname())
        reply = await send(f"http://127.0.0.1:{full.getsockname()[1]}", POST, timeout_s=0.3)
        for each in crowd:
            each.close()
    assert decipher(reply).fate is Fate.NEVER_SENT
    assert reply.failure == "connecting timed out"


async def test_a_truncated_body_keeps_its_status() -> None:
    """The status line was seen: a write was applied, a read has to be read again."""

    async def behaviour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"1}")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nRetry-After: 3\r\n\r\n{")
        await writer.drain()

    async with raw(behaviour) as origin:
        reply = await send(origin, POST)
    assert (reply.status, reply.headers["retry-after"], reply.failure) == (200, "3", "the answer broke off")
    assert decipher(reply).fate is Fate.APPLIED


async def test_a_body_that_never_ends_keeps_its_status() -> None:
    """The same when it is time that runs out."""

    async def behaviour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"1}")
        writer.write(b"HTTP/1.1 204 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n".replace(b"204", b"200"))
        await writer.drain()
        await reader.read()

    async with raw(behaviour) as origin:
        reply = await send(origin, POST, timeout_s=0.3)
    assert reply.status == 200
    assert reply.failure


async def test_compressed_answers_are_inflated() -> None:
    """As the service may send them."""

    async def handler(_request: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(b'{"count": 1}'), headers={"Content-Encoding": "gzip"})

    async with site(handler) as origin:
        assert (await send(origin, GET)).body == b'{"count": 1}'


async def test_an_answer_that_inflates_without_end_is_cut() -> None:
    """A small gzip body can hold hundreds of megabytes; no more than the cap is taken in."""
    bomb = gzip.compress(b"\0" * (MAX_BODY + (8 << 20)), compresslevel=1)

    async def handler(_request: web.Request) -> web.Response:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

    async with site(handler) as origin:
        reply = await send(origin, GET)
    assert len(reply.body) <= MAX_BODY
    assert (reply.status, reply.failure) == (200, f"the answer is larger than {MAX_BODY >> 20} MiB")


async def test_damaged_compression_is_a_broken_answer() -> None:
    """Not an exception."""

    async def handler(_request: web.Request) -> web.Response:
        return web.Response(body=b"\x1f\x8b\x08no gzip", headers={"Content-Encoding": "gzip"})

    async with site(handler) as origin:
        reply = await send(origin, GET)
    assert reply.status in {200, None}
    assert reply.failure


async def test_a_connection_closed_while_idle_costs_nothing() -> None:
    """A write on a kept connection that the service has closed meanwhile is sent on a new one or told as it is."""
    connections: list[int] = []

    async def behaviour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        await reader.readuntil(b"1}")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()

    async with raw(behaviour) as origin, connect(origin, HEADERS, connections=1, timeout_s=5) as transport:
        first = await transport.send(POST)
        second = await transport.send(POST)
    assert first.status == 200
    assert second.status == 200 or decipher(second).fate is Fate.UNKNOWN
    assert len(connections) <= 2


async def test_a_request_leaves_when_there_is_a_connection_and_not_before() -> None:
    """To open one may take long; whoever lets requests leave at a rate must not be asked before it is there."""
    accepted = asyncio.Event()
    asked = 0

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set()
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    async def leave() -> bool:
        nonlocal asked
        asked += 1
        await accepted.wait()
        return True

    async with raw(behave) as origin, connect(origin, HEADERS, connections=1, timeout_s=5) as transport:
        assert (await transport.send(GET, leave)).status == 204
    assert asked == 1


async def test_what_may_not_leave_is_not_sent_and_its_connection_serves_the_next() -> None:
    """Nothing was written to it, so it is as good as new."""
    heads: list[list[bytes]] = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append([])
        while True:
            heads[-1].append((await reader.readuntil(b"\r\n\r\n")).split()[0])
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    async def no() -> bool:
        return False

    async with raw(behave) as origin, connect(origin, HEADERS, connections=1, timeout_s=5) as transport:
        with pytest.raises(WithheldError):
            await transport.send(POST, no)
        assert (await transport.send(GET)).status == 204
    assert heads == [[b"GET"]]


async def test_who_is_stopped_on_the_way_out_has_sent_nothing() -> None:
    """By a time-out or by whoever cancels it: the connection goes back, and nothing came."""
    heads: list[bytes] = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append((await reader.readuntil(b"\r\n\r\n")).split()[0])
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    async def for_ever() -> bool:
        await asyncio.Event().wait()
        return True

    async with raw(behave) as origin, connect(origin, HEADERS, connections=1, timeout_s=0.2) as transport:
        reply = await transport.send(POST, for_ever)
        assert (reply.status, reply.sent, reply.failure) == (None, False, "connecting timed out")
        with anyio.move_on_after(0.05):
            await transport.send(POST, for_ever)
        assert (await transport.send(GET)).status == 204
    assert heads == [b"GET"]


async def test_a_connection_closed_while_its_request_waits_to_leave_was_sent_nothing() -> None:
    """Nothing can be written to it any more, so it is known that nothing came: the request may be sent again."""
    closed = asyncio.Event()

    async def behave(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        await writer.wait_closed()
        closed.set()

    async def leave() -> bool:
        await closed.wait()
        for _ in range(100):  # turns of the loop, in which our end takes note
            await asyncio.sleep(0)
        return True

    async with raw(behave) as origin, connect(origin, HEADERS, connections=1, timeout_s=5) as transport:
        reply = await transport.send(POST, leave)
    assert (reply.status, reply.sent, reply.failure) == (None, False, "the service closed the connection")
    assert decipher(reply).fate is Fate.NEVER_SENT
