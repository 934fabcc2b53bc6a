"""A service that means harm, over real sockets: it repeats whatever it was sent, in every form and every place."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.security.canary import HOSTILE, forms

ROWS = 3


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    method: str
    target: str
    head: bytes

    @property
    def key(self) -> str:
        """The key that came with it."""
        for line in self.head.decode("latin-1").split("\r\n"):
            name, _, value = line.partition(": ")
            if name.lower() == "x-cekura-api-key":
                return value
        return "no key came"


Answer = Callable[[Asked], bytes]


@dataclass
class Hostile:
    """A listener. `reads` and `writes` answer; without one, a read is answered properly."""

    port: int = 0
    reads: Answer | None = None
    writes: Answer | None = None
    linger: bool = False  # go on with chunks for ever, after an answer in chunks
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def be(self, reads: Answer | None = None, writes: Answer | None = None, *, linger: bool = False) -> Hostile:
        """Behave like this from now on."""
        self.reads, self.writes, self.linger, self.connections = reads, writes, linger, 0
        self.asked.clear()
        return self

    def answer(self, asked: Asked) -> bytes:
        """What it says."""
        if asked.method == "GET":
            return (self.reads or page)(asked)
        return (self.writes or (lambda _asked: reply(204)))(asked)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            first = await reader.readexactly(1)
            if first == b"\x16":  # a TLS handshake, and we speak none
                writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                return
            head = first + await reader.readuntil(b"\r\n\r\n")
            length = next(
                (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
            )
            await reader.readexactly(length)
            method, target, *_ = head.decode("latin-1").split(" ")
            self.asked.append(asked := Asked(method, target, head))
            answer = self.answer(asked)
            writer.write(answer)
            await writer.drain()
            while self.linger and b"chunked" in answer:
                writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()


@contextmanager
def listening() -> Iterator[Hostile]:
    """A hostile service in a thread of its own."""
    hostile, ready = Hostile(), Future[Any]()

    async def serve() -> None:
        server = await asyncio.start_server(hostile._serve, "127.0.0.1", 0)
        hostile.port = server.sockets[0].getsockname()[1]
        stop = asyncio.Event()
        ready.set_result((asyncio.get_running_loop(), stop))
        await stop.wait()
        server.close()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    loop, stop = ready.result(10)
    try:
        yield hostile
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)


def reply(status: int, body: bytes = b"", headers: str = "", reason: str = "Whatever") -> bytes:
    """An answer; `headers` are whole lines."""
    head = f"HTTP/1.1 {status} {reason}\r\nContent-Length: {len(body)}\r\n{headers}Connection: close\r\n\r\n"
    return head.encode("utf-8", "surrogateescape") + body


def always(answer: bytes) -> Answer:
    """Whatever is asked."""
    return lambda _asked: answer


def rows(**more: Any) -> list[dict[str, Any]]:
    """Three failed results."""
    return [
        {"id": 9 - number, "status": "failed", "updated_at": "2026-01-01T00:00:00Z", "agent": 101, **more}
        for number in range(ROWS)
    ]


def page(asked: Asked, **more: Any) -> bytes:
    """The list, or one of its results."""
    path, query = urlsplit(asked.target).path, parse_qs(urlsplit(asked.target).query)
    if not path.endswith("/results/"):
        return reply(200, json.dumps(rows(**more)[0]).encode())
    listed = rows(**more) if query.get("page", ["1"]) == ["1"] else []
    return reply(200, json.dumps({"count": ROWS, "next": None, "previous": None, "results": listed}).encode())


def echo(asked: Asked) -> bytes:
    """JSON in DRF's shape with the key in every form, and text that means harm, as values and as keys."""
    plain = {"detail": [HOSTILE, asked.head.decode("latin-1"), *forms(asked.key).values()], asked.key: [HOSTILE]}
    escaped = "".join(f"\\u{ord(char):04x}" for char in asked.key)
    return f'{{"unicode": ["{escaped}"], {json.dumps(plain, ensure_ascii=False)[1:]}'.encode("utf-8", "surrogateescape")
