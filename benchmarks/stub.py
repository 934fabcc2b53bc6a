"""A service that does nothing but answer: `python -m benchmarks.stub --results 20000`.

It speaks just as much of the API as the benchmarks need, straight from the socket, so that beside a client it hardly
counts: a list of results of one agent, newest first, a result by its id, and the bulk evaluation. It can be slow, strict
about a rate, and lose answers. What it was asked is told at `/tally`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from random import Random
from typing import cast
from urllib.parse import parse_qs, urlsplit

import orjson
import uvloop

AGENT = 42
FIRST_ID = 1_000_000
LIST = "/test_framework/v1/results"
_RUNS = ",".join(
    f'"%(id)d{run}":{{"id":%(id)d{run},"status":"completed","success":true,"scenario":70{run},'
    f'"timestamp":"2026-01-05T09:00:00.000000Z","executed_at":"2026-01-05T09:00:1{run}.000000Z"}}'
    for run in range(4)
)
_ROW = (
    '{"id":%(id)d,"name":"Nightly regression of %(id)d","agent":42,"agent_name":"Bookings","agent_inbound":true,'
    '"status":"completed","success_rate":0.75,"run_as_text":false,"is_cronjob":"true","met_expected_outcome_count":"3",'
    '"total_expected_outcome_count":"4","total_runs_count":"4","completed_runs_count":"4","success_runs_count":"3",'
    '"failed_runs_count":"0","scenarios":[{"id":700,"name":"Books a table"},{"id":701,"name":"Cancels a booking"}],'
    '"run_type":"voice","created_at":"2026-01-05T09:00:00.000000Z","updated_at":"2026-01-05T09:%(minute)02d:00.000000Z",'
    f'"runs":{{{_RUNS}}}}}'
)  # about 1.2 kB, as rows of the real list are
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests"}


@dataclass(slots=True)
class Phase:
    """What requests of one method did: how many were answered and refused, and when, in seconds on the monotonic clock."""

    requests: int = 0
    throttled: int = 0
    lost: int = 0
    first: float = 0.0
    last: float = 0.0  # when the last one came in
    answered: float = 0.0  # when the last answer went out

    def came(self, at: float) -> None:
        """Note a request."""
        self.first = self.first or at
        self.last = at
        self.requests += 1


class Service:
    """The state behind all connections, and what each request is answered."""

    def __init__(self, options: argparse.Namespace) -> None:
        """See `main` for the options."""
        self.options = options
        self.count = options.results
        self.evaluated = bytearray(self.count)  # how often each result was, by its place
        self.phases = {"GET": Phase(), "POST": Phase()}
        self._dice = Random(7)
        self._admitted: deque[float] = deque()

    def delay(self) -> float:
        """Seconds that an answer takes."""
        return max(0.0, self._dice.gauss(self.options.latency, self.options.jitter)) if self.options.latency else 0.0

    def loses(self) -> bool:
        """Whether this answer gets lost."""
        return bool(self._dice.random() < self.options.lose)

    def throttles(self, at: float) -> bool:
        """Whether this request is one too many within a second: a sliding window, as strict as can be."""
        if not self.options.rate:
            return False
        while self._admitted and self._admitted[0] <= at - 1.0:
            self._admitted.popleft()
        if len(self._admitted) >= self.options.rate:
            return True
        self._admitted.append(at)
        return False

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, bytes]:
        """Status and body."""
        address = urlsplit(target)
        path = address.path.rstrip("/")
        if method == "POST" and path == f"{LIST}/bulk_evaluate_metrics":
            for item in orjson.loads(body)["result_ids"]:
                self.evaluated[item - FIRST_ID] = min(self.evaluated[item - FIRST_ID] + 1, 59)
            return 200, b""
        if path == LIST:
            query = parse_qs(address.query)
            return self._page(int(query.get("page", ["1"])[0]), int(query.get("page_size", ["20"])[0]))
        if path == "/tally":
            return 200, orjson.dumps(self.tally())
        item = path.removeprefix(f"{LIST}/")
        if item.isdigit() and 0 <= int(item) - FIRST_ID < self.count:
            return 200, self._row(int(item) - FIRST_ID).encode()
        return 404, b'{"detail":"Not found."}'

    def tally(self) -> dict[str, object]:
        """What was asked, and what became of the results."""
        return {
            **{method.lower(): asdict(phase) for method, phase in self.phases.items()},
            "never": self.evaluated.count(0),
            "twice": self.count - self.evaluated.count(0) - self.evaluated.count(1),
        }

    def _page(self, page: int, size: int) -> tuple[int, bytes]:
        size = min(size, 100)
        start, end = (page - 1) * size, min(page * size, self.count)
        if start >= max(self.count, 1):
            return 404, b'{"detail":"Invalid page."}'
        rows = ",".join(map(self._row, range(self.count - 1 - start, self.count - 1 - end, -1)))
        more = f'"http://127.0.0.1/?page={page + 1}"' if end < self.count else "null"
        return 200, f'{{"count":{self.count},"next":{more},"previous":null,"results":[{rows}]}}'.encode()

    def _row(self, place: int) -> str:
        return _ROW % {"id": FIRST_ID + place, "minute": self.evaluated[place]}


class Connection(asyncio.Protocol):
    """One connection: requests in, answers out, one after the other."""

    def __init__(self, service: Service) -> None:
        """All connections share the service."""
        self._service = service
        self._buffer = b""
        self._wire: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._wire = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            size = _length(head)
            if len(self._buffer) < end + 4 + size:
                return
            body, self._buffer = self._buffer[end + 4 : end + 4 + size], self._buffer[end + 4 + size :]
            method, target, _ = head[: head.index(b"\r\n")].decode().split(" ", 2)
            self._handle(method, target, body)

    def _handle(self, method: str, target: str, body: bytes) -> None:
        service, now = self._service, time.monotonic()
        if target == "/tally":
            self._write(*service.answer(method, target, body), None)
            return
        phase = service.phases[method]
        phase.came(now)
        if service.throttles(now):
            phase.throttled += 1
            self._write(429, b'{"detail":"Request was throttled. Expected available in 1 second."}', phase)
            return
        status, answer = service.answer(method, target, body)
        if service.loses():
            phase.lost += 1
            self._later(self._wire.abort)
        else:
            self._later(lambda: self._write(status, answer, phase))

    def _later(self, act: Callable[[], None]) -> None:
        if delay := self._service.delay():
            asyncio.get_running_loop().call_later(delay, act)
        else:
            act()

    def _write(self, status: int, body: bytes, phase: Phase | None) -> None:
        again = "Retry-After: 1\r\n" if status == 429 else ""
        head = f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: application/json\r\n{again}Content-Length: {len(body)}\r\n\r\n"
        if not self._wire.is_closing():
            self._wire.write(head.encode() + body)
        if phase:
            phase.answered = time.monotonic()


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def serve(options: argparse.Namespace) -> None:
    """Listen, print the address, and go on until standard input ends."""
    service = Service(options)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(service), "127.0.0.1", options.port)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await loop.run_in_executor(None, os.read, 0, 1)


def main() -> None:
    """Start."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=int, default=20_000)
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument(
        "--jitter", type=float, default=0.0, metavar="SECONDS", help="standard deviation of the latency"
    )
    parser.add_argument("--rate", type=int, default=0, help="requests in any second; beyond it 429")
    parser.add_argument("--lose", type=float, default=0.0, help="share of the answers that are lost, 0 to 1")
    parser.add_argument("--cpu", type=int, help="processor to stay on")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    if options.cpu is not None:
        os.sched_setaffinity(0, {options.cpu})
    with suppress(PermissionError):  # when a request comes must not depend on what else the machine does
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    uvloop.run(serve(options))


if __name__ == "__main__":
    main()
