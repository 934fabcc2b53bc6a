"""Health over real HTTP: what is well, what is not and why, and whom it is told to."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from http.client import HTTPConnection, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest
from anyio import to_thread
from prometheus_client.parser import text_string_to_metric_families

from engine.errors import CheckpointError, UsageError
from engine.health import health, listening, parse_address
from engine.schedule.entry import Standing
from tests.unit.test_unit_metrics import HOSTILE, ended, entry, standing


class Answer:
    """What came back: status, headers, body."""

    def __init__(self, response: HTTPResponse) -> None:
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    @property
    def json(self) -> Any:
        """The body as JSON."""
        assert self.headers["Content-Type"].startswith("application/json")
        return json.loads(self.body)


def _ask(url: str, path: str, method: str, headers: dict[str, str]) -> Answer:
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    try:
        connection.request(method, path, headers=headers)
        return Answer(connection.getresponse())
    finally:
        connection.close()


async def ask(url: str, path: str, method: str = "GET", **headers: str) -> Answer:
    """Ask once, from a thread of its own."""
    return await to_thread.run_sync(partial(_ask, url, path, method, headers))


@asynccontextmanager
async def face(
    standings: Sequence[Standing] | Exception = (), stuck: str | None = None, at: str = "0"
) -> AsyncIterator[str]:
    """The face of these schedules, or of a disk that fails."""

    async def found() -> Sequence[Standing]:
        if isinstance(standings, Exception):
            raise standings
        return standings

    async with listening(at, found, lambda: stuck) as url:
        yield url


async def test_all_is_well() -> None:
    """200, and each schedule with what a person asks first."""
    paused = standing(entry("paused", paused_because="its job failed"), overdue=1)
    async with face([standing(next=[1_790_100_000], last=ended(), undelivered=2), paused]) as url:
        answer = await ask(url, "/healthz")
    assert (answer.status, answer.json["status"]) == (200, "ok")
    first, second = answer.json["schedules"]
    assert first == {
        "schedule": "nightly",
        "file": "spec.yaml",
        "late": False,
        "broken": False,
        "paused_because": None,
        "next": "2026-09-22T18:00:00+00:00",
        "running": 0,
        "waiting": 0,
        "undelivered": 2,
        "last": {"tick": "2026-09-10T00:26:40+00:00", "fate": "ran", "outcome": "failure"},
    }
    assert second["paused_because"] == "its job failed"


async def test_late_stuck_and_broken_are_unhealthy() -> None:
    """503, and each reason with whose it is, one for a file however many schedules are in it."""
    late = standing(entry("late"), overdue=1_789_000_000)
    broken = [standing(entry(name, "x.yaml"), broken="x.yaml:1:2: no such field") for name in ("a", "b")]
    async with face([late, *broken, standing(entry("well"))], stuck="nothing was decided for 20m") as url:
        answer = await ask(url, "/healthz")
    assert (answer.status, answer.json["status"]) == (503, "unhealthy")
    assert answer.json["because"] == [
        {"what": "stuck", "why": "nothing was decided for 20m"},
        {
            "what": "late",
            "schedule": "late",
            "why": "the tick of 2026-09-10T00:26:40+00:00 has not begun, and nobody has decided on it",
        },
        {"what": "broken", "file": "x.yaml", "why": "x.yaml:1:2: no such field"},
    ]
    assert len(answer.json["schedules"]) == 4


@pytest.mark.parametrize("change", [{"overdue": 1}, {"broken": "no such file"}])
def test_each_reason_is_enough(change: dict[str, Any]) -> None:
    """One of them alone is unhealthy; of a schedule that is gone, none is."""
    assert health([standing(**change)], None)[0] is False
    assert health([standing(entry(gone=True), **change)], None) == (True, {"status": "ok", "schedules": []})
    assert health([], "stuck")[0] is False


async def test_texts_from_elsewhere_are_harmless() -> None:
    """File names and errors may end up in a terminal; even what has no UTF-8 form is told."""
    async with face([standing(entry(source=HOSTILE, paused_because=HOSTILE), broken=HOSTILE)], HOSTILE) as url:
        answer = await ask(url, "/healthz")
    said = {value for reason in answer.json["because"] for name, value in reason.items() if name != "what"}
    (shown,) = answer.json["schedules"]
    assert (answer.status, len(said)) == (503, 1)
    assert said == {shown["file"], shown["paused_because"]}
    (text,) = said
    assert text.endswith("<202e><dcff>.yaml")
    assert text.isprintable()


async def test_metrics_are_those_of_the_schedules() -> None:
    """In the text format 0.0.4, on each scrape anew."""
    async with face([standing()]) as url:
        answer = await ask(url, "/metrics", Accept="application/openmetrics-text")
    assert answer.status == 200
    assert answer.headers.get_all("Content-Type") == ["text/plain; version=0.0.4; charset=utf-8"]
    assert "rebatch_schedule_late" in {each.name for each in text_string_to_metric_families(answer.body.decode())}


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/healthz?full=1"])
async def test_head_says_the_same_without_a_body(path: str) -> None:
    """With the length that the body would have; paths end where a query begins."""
    async with face() as url:
        whole, head = await ask(url, path), await ask(url, path, "HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Type"] == whole.headers["Content-Type"]
    if "healthz" in path:  # metrics hold the moment, which may have one digit more
        assert head.headers["Content-Length"] == str(len(whole.body))


async def test_there_is_nothing_else() -> None:
    """404 for other paths, 405 with what is allowed for other methods; no answer names what we are made with."""
    async with face() as url:
        answers = {
            (method, path): await ask(url, path, method)
            for method, path in (
                ("GET", "/"), ("GET", "/metrics/"), ("GET", "//healthz"), ("POST", "/metrics"), ("DELETE", "/healthz"),
                ("OPTIONS", "/healthz"), ("GET", "/healthz"),
            )
        }  # fmt: skip
    assert [answer.status for answer in answers.values()] == [404, 404, 404, 405, 405, 405, 200]
    assert answers["POST", "/metrics"].headers["Allow"] == "GET, HEAD"
    assert all("Server" not in answer.headers for answer in answers.values())
    assert all(answer.headers["X-Content-Type-Options"] == "nosniff" for answer in answers.values())


FOREIGN = ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1", "0.0.0.0",
           "[::2]", "[::ffff:127.0.0.1]", "x@127.0.0.1", "127.0.0.1/x", "127.1", "2130706433", "::1", ""]  # fmt: skip


@pytest.mark.parametrize("host", FOREIGN)
async def test_a_foreign_name_is_refused(host: str) -> None:
    """A page in a browser whose name points here reads nothing."""
    async with face([standing()]) as url:
        for path in ("/healthz", "/metrics", "/other"):
            answer = await ask(url, path, Host=host)
            assert (answer.status, b"schedule" in answer.body) == (403, False)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9", "127.0.0.1", "127.9.9.9:8080", "[::1]", "[::1]:80"])
async def test_this_machine_may_be_named_as_it_names_itself(host: str) -> None:
    """On any port: a tunnel has another than ours."""
    async with face() as url:
        assert (await ask(url, "/healthz", Host=host)).status == 200


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0:80", "192.168.1.5:80", "[::]:80", "[::2]:80", "example.com:80", "[::ffff:127.0.0.1]:80", "[127.0.0.1]:8"],
)
def test_an_address_that_others_reach_is_refused(address: str) -> None:
    """Whoever wants that puts something in front that asks for a password."""
    with pytest.raises(UsageError, match="not this machine's own"):
        parse_address(address)


@pytest.mark.parametrize(
    "address", ["", "x", ":80", "::1:80", "::1", "80:", "65536", "-1", "1 ", "٣", "localhost", "\n"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    """In one line, with what can be written instead."""
    with pytest.raises(UsageError, match="no address") as refused:
        parse_address(address)
    assert "HOST:PORT" in refused.value.remedy
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("8080", "127.0.0.1", 8080),
        ("localhost:0", "127.0.0.1", 0),
        ("127.0.0.7:65535", "127.0.0.7", 65_535),
        ("[::1]:9", "::1", 9),
    ],
)
def test_an_address_of_this_machine_is_taken(address: str, host: str, port: int) -> None:
    """With a port alone, too."""
    found, at = parse_address(address)
    assert (str(found), at) == (host, port)


async def test_a_port_that_is_taken_is_told() -> None:
    """At once, as a mistake of usage."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port}: address already in use"):
            async with face(at=str(port)):
                pass


async def test_it_listens_where_it_was_told_to() -> None:
    """The URL names the address; another of this machine's is not answered."""
    async with face(at="127.0.0.2:0") as url:
        assert url.startswith("http://127.0.0.2:")
        assert (await ask(url, "/healthz")).status == 200
        with pytest.raises(ConnectionRefusedError):
            await ask(url.replace("127.0.0.2", "127.0.0.1"), "/healthz")


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")
async def test_it_listens_on_ipv6() -> None:
    """Named in brackets, in the address and in the URL."""
    async with face(at="[::1]:0") as url:
        assert url.startswith("http://[::1]:")
        assert (await ask(url, "/healthz")).status == 200


async def test_our_own_errors_are_told_in_their_words() -> None:
    """503 on both paths, harmless."""
    async with face(CheckpointError("schedules.book: the disk is full.\n", "Make room."), stuck="dead") as url:
        answers = await ask(url, "/healthz"), await ask(url, "/metrics")
    assert [answer.status for answer in answers] == [503, 503]
    assert answers[0].json["because"] == [
        {"what": "stuck", "why": "dead"},
        {"what": "unreadable", "why": "schedules.book: the disk is full.<000a> Make room."},
    ]
    assert answers[1].body == b"The schedules cannot be read: schedules.book: the disk is full.<000a> Make room.\n"


async def test_other_errors_are_named_and_not_quoted(caplog: pytest.LogCaptureFixture) -> None:
    """What a foreign exception says may hold anything."""
    async with face(OSError(5, "secret words")) as url:
        answers = await ask(url, "/healthz"), await ask(url, "/metrics")
    for answer in answers:
        assert answer.status == 503
        assert b"unexpected: OSError" in answer.body
        assert b"secret" not in answer.body
        assert b"Traceback" not in answer.body
    assert not caplog.records


def _send(url: str, data: bytes) -> bytes:
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30) as connection:
        connection.sendall(data)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


async def test_nonsense_is_refused_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    """What is no HTTP writes nothing into our log, and its answer does not name a version either."""
    caplog.set_level(logging.DEBUG)
    async with face() as url:
        answer = await to_thread.run_sync(_send, url, b"GET / HTTP/1.1\r\nno header\r\n\r\n")
        assert answer.partition(b"\r\n")[0].endswith(b" 400 Bad Request")
        assert b"aiohttp" not in answer
        assert b"Server:" not in answer
        assert (await ask(url, "/healthz")).status == 200
    assert [record for record in caplog.records if record.name != "asyncio"] == []


async def test_a_probe_of_http_1_0_needs_no_host() -> None:
    """No browser leaves it out."""
    async with face() as url:
        answer = await to_thread.run_sync(_send, url, b"GET /healthz HTTP/1.0\r\n\r\n")
    assert b" 200 OK" in answer.partition(b"\r\n")[0]


async def test_two_hosts_are_as_foreign_as_the_worse_one() -> None:
    """Whoever reads only the first of them would be fooled."""
    async with face() as url:
        data = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
        answer = await to_thread.run_sync(_send, url, data)
    assert answer.split()[1] in {b"403", b"400"}


async def test_leaving_waits_for_nobody() -> None:
    """A client that holds its connection, and a disk that never answers, do not keep the process."""
    started = anyio.Event()

    async def never() -> Sequence[Standing]:
        started.set()
        await anyio.sleep_forever()
        return ()

    with anyio.fail_after(30):
        async with listening("0", never, lambda: None) as url:
            parts = urlsplit(url)
            reader = await anyio.connect_tcp(parts.hostname or "", parts.port or 0)
            await reader.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await started.wait()
        with pytest.raises(ConnectionRefusedError):
            await to_thread.run_sync(_send, url, b"")
        await reader.aclose()


async def test_the_port_is_free_again_when_the_block_is_left() -> None:
    """Also when it was left by an error."""
    async with face() as url:
        port = urlsplit(url).port
    with pytest.raises(ZeroDivisionError):
        async with face(at=str(port)):
            raise ZeroDivisionError
    async with face(at=str(port)) as again:
        assert again == url
