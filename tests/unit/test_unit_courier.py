"""The courier against real receivers on loopback: what arrives, what is said when it does not, and what is never said."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from engine.notices.courier import LONGEST_PING, Courier, next_try_s
from engine.notices.message import Notice, Signal

MARK = "c4n4ry5ecret9x8y7z"  # stands wherever an address can hold a secret
BODY = {
    "version": 1,
    "event": "failure",
    "spec": "nightly",
    "tick": "2026-01-01T00:00:00+00:00",
    "text": "Grüße: 3 of 4",
}
TELL, START, SUCCESS, FAIL = Signal.TELL, Signal.START, Signal.SUCCESS, Signal.FAIL
LONG_S = 60.0  # a limit that no test reaches


def notice(target: str = "${HOOK}", signal: Signal = TELL, **body: Any) -> Notice:
    """A notice, with other fields in its body."""
    return Notice(f"nightly/1/job/failure/{target}", "nightly", target, signal, {**BODY, **body})


async def delivered(address: str, notice_: Notice | None = None, *, timeout_s: float = LONG_S) -> str | None:
    """What became of a notice for `${HOOK}`, when the environment holds this address."""
    return await Courier({"HOOK": address}, timeout_s).deliver(notice_ or notice())


@pytest.fixture(autouse=True)
def silence(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever a test does: no secret is printed by this process or its children, or logged at any level."""
    caplog.set_level(logging.DEBUG)
    yield
    out, err = capfd.readouterr()
    assert MARK not in out + err + caplog.text


@dataclass
class Receiver:
    """A web server that remembers what it was sent, and answers as it is told."""

    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    origin: str = ""
    seen: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.seen.append((request.method + " " + request.raw_path, dict(request.headers), await request.read()))
        return web.Response(status=self.status, headers=self.headers, body=MARK.encode() if self.status >= 300 else b"")

    @property
    def requests(self) -> list[str]:
        return [line for line, _, _ in self.seen]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver that takes everything."""
    async with receiving(Receiver()) as made:
        yield made


@asynccontextmanager
async def receiving(receiver: Receiver) -> AsyncIterator[Receiver]:
    """Serve it on loopback."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.origin = "http://{}:{}".format(*runner.addresses[0])
    try:
        yield receiver
    finally:
        await runner.cleanup()


@asynccontextmanager
async def raw(serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[str]:
    """A server that speaks to the socket itself; `host:port`."""
    handlers: list[asyncio.Task[None]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if task := asyncio.current_task():
            handlers.append(task)
        try:
            await serve(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await asyncio.gather(*handlers)  # a loop that ends would cancel them, and log what they had read


def unused() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


async def test_a_hook_gets_the_body_with_an_id_by_which_repeats_are_known(receiver: Receiver) -> None:
    """Path and query as the environment has them; the same id in the body and in the header, at every try."""
    for _ in range(2):
        assert await delivered(f"{receiver.origin}//hooks/{MARK}/?sig=a%2Bb&x=1&x=2#part") is None
    line, headers, body = receiver.seen[0]
    assert line == f"POST //hooks/{MARK}/?sig=a%2Bb&x=1&x=2"
    assert orjson.loads(body) == {"id": notice().id, **BODY}
    assert headers["Content-Type"] == "application/json"
    assert headers["Idempotency-Key"] == f'"{notice().id}"'
    assert "Authorization" not in headers
    assert receiver.seen[1] == receiver.seen[0]


@pytest.mark.parametrize("status", [200, 201, 204])
async def test_any_success_has_arrived(receiver: Receiver, status: int) -> None:
    """Whatever the receiver says beside it."""
    receiver.status = status
    assert await delivered(receiver.origin) is None


@pytest.mark.parametrize("status", [400, 401, 404, 410, 429, 500, 503])
async def test_a_refusal_is_told_with_its_status_alone(receiver: Receiver, status: int) -> None:
    """What the receiver says may repeat the address."""
    receiver.status = status
    assert await delivered(f"{receiver.origin}/{MARK}") == f"the receiver answered {status}"


@pytest.mark.parametrize("signal", [TELL, START])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(receiver: Receiver, status: int, signal: Signal) -> None:
    """It would carry the notice, and the credentials, elsewhere."""
    async with receiving(Receiver()) as elsewhere:
        receiver.status, receiver.headers = status, {"Location": f"{elsewhere.origin}/{MARK}"}
        said = await delivered(f"http://u:{MARK}@{receiver.origin.removeprefix('http://')}", notice(signal=signal))
    assert said == f"the receiver answered {status}, and redirects are not followed"
    assert (len(receiver.seen), elsewhere.seen) == (1, [])


async def test_proxies_and_netrc_are_not_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """They would send the notice, or a password, where the spec does not say."""
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login me password {MARK}")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with receiving(Receiver()) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.origin)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert await delivered(f"{receiver.origin}/x") is None
    assert (receiver.requests, proxy.seen) == (["POST /x"], [])
    assert "Authorization" not in receiver.seen[0][1]


@pytest.mark.parametrize(("user", "sent"), [(f"m%40e:{MARK}%40%3A", f"m@e:{MARK}@:"), (MARK, f"{MARK}:")])
async def test_a_password_in_an_address_goes_as_basic_authentication(receiver: Receiver, user: str, sent: str) -> None:
    """And is no part of the address that is asked for."""
    receiver.status = 500
    said = await delivered(receiver.origin.replace("//", f"//{user}@") + "/x")
    line, headers, _ = receiver.seen[0]
    assert (said, line) == ("the receiver answered 500", "POST /x")
    assert headers["Authorization"] == f"Basic {b64encode(sent.encode()).decode()}"
    assert "@" not in headers["Host"]


async def test_a_refused_connection_is_told_without_its_host() -> None:
    """The host comes from the environment, too."""
    assert await delivered(f"http://127.0.0.1:{unused()}/{MARK}") == "connection refused"
    assert await delivered(f"https://{MARK}.invalid/") == "name not known"


async def test_a_receiver_that_hangs_is_given_up_in_time() -> None:
    """The limit covers it all."""

    async def hang(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with raw(hang) as place:
        assert await delivered(f"http://{place}/{MARK}", timeout_s=0.3) == "no answer within 0.3 s"


async def test_a_receiver_that_closes_has_not_got_it() -> None:
    """Even if it read all of it: nobody says so."""

    async def close(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    async with raw(close) as place:
        assert await delivered(f"http://{place}/{MARK}")


async def test_a_status_tells_all_whatever_becomes_of_the_body() -> None:
    """A receiver that said 200 and broke off has it."""

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()

    async with raw(half) as place:
        assert await delivered(f"http://{place}/") is None


@pytest.mark.parametrize(
    ("signal", "path", "sent"),
    [
        (START, "/ping/uuid", "/ping/uuid/start?"),
        (START, "/ping/uuid/", "/ping/uuid/start?"),
        (SUCCESS, "/ping/uuid", "/ping/uuid?"),
        (FAIL, "/ping/uuid", "/ping/uuid/fail?"),
        (FAIL, "/key/slug?create=1", "/key/slug/fail?create=1&"),
        (SUCCESS, "/key/slug?create=1&x=a%2Bb", "/key/slug?create=1&x=a%2Bb&"),
        (START, "", "/start?"),
        (SUCCESS, "", "/?"),
    ],
)
async def test_a_ping_goes_to_the_endpoint_of_its_signal(
    receiver: Receiver, signal: Signal, path: str, sent: str
) -> None:
    """With `rid`, and what to show as plain text (https://healthchecks.io/docs/http_api/)."""
    ping = notice(signal=signal)
    assert await delivered(receiver.origin + path, ping) is None
    [(line, headers, body)] = receiver.seen
    assert line == f"POST {sent}rid={ping.of}"
    assert (headers["Content-Type"], body.decode()) == ("text/plain; charset=utf-8", BODY["text"])


async def test_a_ping_is_cut_between_two_characters(receiver: Receiver) -> None:
    """A healthchecks of one's own keeps 10 kB, if they are UTF-8."""
    assert await delivered(receiver.origin, notice(signal=FAIL, text="x" + "ü" * LONGEST_PING)) is None
    body = receiver.seen[0][2]
    assert len(body) == LONGEST_PING - 1
    assert body.decode().endswith("ü")


async def test_a_ping_cannot_go_anywhere_but_to_http(receiver: Receiver) -> None:
    """Other services have no such thing."""
    said = await delivered(receiver.origin.replace("http", "json"), notice(signal=START))
    assert said == "a ping can go to http(s) addresses only"
    assert receiver.seen == []


async def test_a_variable_that_is_not_set_is_named() -> None:
    """The name is in the spec; it is no secret."""
    assert await Courier({}).deliver(notice("https://example.com/${TOKEN}")) == "TOKEN is not set"


@pytest.mark.parametrize(
    "value",
    [
        MARK,
        "://" + MARK,
        "https://",
        f"https:///{MARK}",
        f"https://h:{MARK}/",
        f"https://h:99999/{MARK}",
        f"https://h:0/{MARK}",
        f"http://[{MARK}/",
        f"http://h/{MARK} x",
        f"http://h/{MARK}\x07",
        f"http://h/{MARK}\ud800",
        f"/etc/{MARK}",
        f"{MARK}:x",
    ],
)
@pytest.mark.parametrize("signal", [TELL, START])
async def test_what_is_no_address_is_told_without_it(value: str, signal: Signal) -> None:
    """Whatever somebody put into a variable by mistake may be a secret."""
    assert await delivered(value, notice(signal=signal)) == "what its variables hold makes no address"


async def test_an_address_with_a_strange_host_is_a_failure_like_others() -> None:
    """What the client thinks of a host is not an exception of ours."""
    for host in ("..", f"{MARK}..x", "xn--", "a" * 300, "%00", "*"):
        said = await delivered(f"http://{host}/")
        assert said
        assert MARK not in said


async def test_apprise_delivers_to_what_it_knows(receiver: Receiver) -> None:
    """`json://` is the one of its receivers that can be had here."""
    receiver.status = 200
    assert await delivered(receiver.origin.replace("http", "json") + f"/{MARK}") is None
    [(line, _, body)] = receiver.seen
    told = orjson.loads(body)
    assert line == f"POST /{MARK}"
    assert (told["title"], told["message"], told["type"]) == ("nightly: failure", BODY["text"], "failure")


async def test_what_apprise_cannot_deliver_is_told_without_why(receiver: Receiver) -> None:
    """Its reasons are in its log, with addresses in them. It follows no redirect either."""
    async with receiving(Receiver()) as elsewhere:
        for status in (500, 307):
            receiver.status, receiver.headers = status, {"Location": f"{elsewhere.origin}/{MARK}"}
            said = await delivered(receiver.origin.replace("http://", f"json://u:{MARK}@") + f"/{MARK}")
            assert said == "apprise could not deliver it"
    assert (len(receiver.seen), elsewhere.seen) == (2, [])
    assert await delivered(f"json://127.0.0.1:{unused()}/{MARK}") == "apprise could not deliver it"


@pytest.mark.parametrize("address", [f"nosuch://{MARK}", f"{MARK}://x", f"slack://{MARK}", "file:///etc/passwd"])
async def test_what_apprise_does_not_know_is_told_without_it(address: str) -> None:
    """A scheme may be a mistake, and the rest a secret."""
    assert await delivered(address) == "what its variables hold is no address that apprise knows"


async def test_apprise_keeps_nothing_on_disk(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No store, no keys, no settings."""
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "TMPDIR"):
        monkeypatch.setenv(name, str(tmp_path))
    receiver.status = 200
    assert await delivered(receiver.origin.replace("http", "json")) is None
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - of Path, no linter lets it be asked here


async def test_a_plugin_that_hangs_is_ended_with_the_delivery() -> None:
    """Its connection is gone as soon as nobody waits for it, though it would wait for ten minutes itself."""
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def hang(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n")
        arrived.set()
        while await reader.read(1000):
            pass
        gone.set()

    async with raw(hang) as place:
        delivery = asyncio.create_task(delivered(f"json://{place}/{MARK}?rto=600"))
        await arrived.wait()
        delivery.cancel()
        with pytest.raises(asyncio.CancelledError):
            await delivery
        await asyncio.wait_for(gone.wait(), LONG_S)


async def test_apprise_has_no_longer_than_others() -> None:
    """No process begins as fast as that."""
    said = await delivered(f"json://127.0.0.1:{unused()}/{MARK}", timeout_s=0.001)
    assert said == "apprise did not deliver it within 0.001 s"


NOISE = f"""
import logging, sys
print("{MARK}", flush=True)
print("{MARK}", file=sys.stderr, flush=True)
logging.getLogger("apprise").critical("{MARK}")
"""
STRANGE = {  # what a library that is not as ours is may do
    "noisy and broken": (NOISE + "raise RuntimeError('{MARK}')", "apprise broke off"),
    "killed": (NOISE + "import os; os.kill(os.getpid(), 9)", "apprise broke off"),
    "ended as if all were well": ("import os; os._exit(0)", "apprise broke off"),
    "half installed": (
        NOISE + "raise ImportError('{MARK}')",
        "needs apprise, which is not installed: pip install 'rebatch[apprise]'",
    ),
}


@pytest.mark.parametrize(("source", "said"), STRANGE.values(), ids=STRANGE)
async def test_whatever_apprise_says_or_does_reaches_nobody(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str, said: str
) -> None:
    """A stand-in for it lies first in the child's path."""
    (tmp_path / "apprise.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert await delivered(f"json://127.0.0.1:{unused()}/{MARK}") == said


async def test_a_process_that_ends_before_it_reads_is_a_failure_like_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Python itself may not come up."""
    (tmp_path / "sitecustomize.py").write_text("import os; os._exit(0)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert await delivered(f"json://127.0.0.1:{unused()}/{MARK}") == "apprise broke off"


def test_a_notice_is_tried_for_about_a_day_and_less_and_less_often() -> None:
    """Half a minute at first, two hours at last."""
    waits: list[float] = []
    while (wait := next_try_s(len(waits) + 1)) is not None:
        waits.append(wait)
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (30, 7200)
    assert 23 * 3600 < sum(waits) < 25 * 3600
    assert next_try_s(10_000) is None
