"""What tests of schedules share: a receiver of notices, schedules that are due at once or not for long, and the book."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from engine.schedule.book import Book
from engine.schedule.entry import Tick
from tests.e2e.rig import Rebatch

TICK_S = 100.0  # for the next minute, and for what comes of it
EVERY_MINUTE = {"cron": "* * * * *"}


def just_due() -> dict[str, Any]:
    """A schedule that was due when this minute began, and is again an hour later."""
    return {"cron": f"{time.gmtime().tm_min} * * * *"}


def not_due() -> dict[str, Any]:
    """A schedule that is half an hour from its last tick and from its next."""
    return {"cron": f"{(time.gmtime().tm_min + 30) % 60} * * * *"}


@dataclass(frozen=True)
class Arrival:
    """A request that the receiver got, and the status that it answered."""

    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: str
    status: int

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)


@dataclass
class Inbox:
    """A receiver of notices: webhooks at /hook, beats at /beat. `answer` gives the status for the next request."""

    url: str
    answer: Callable[[str], int] = lambda _path: 200
    slow: str | None = None  # what comes to this path is answered later than it could be
    arrivals: list[Arrival] = field(default_factory=list)

    def notify(self, *events: str, **more: Any) -> list[dict[str, Any]]:
        """The `notify` of a spec that tells this receiver of these events, and beats."""
        return [{"on": list(events), "urls": [f"{self.url}/hook"], "ping": f"{self.url}/beat", **more}]

    @property
    def told(self) -> list[Any]:
        """The bodies of the notices that have arrived, in their order."""
        return [each.json for each in self._arrived() if each.path == "/hook"]

    @property
    def beats(self) -> list[str]:
        """The beats that have arrived, in their order: start, success, fail."""
        words = {"/beat/start": "start", "/beat": "success", "/beat/fail": "fail"}
        return [words[each.path] for each in self._arrived() if each.path in words]

    def of(self, path: str) -> list[Arrival]:
        """All that came to a path, whatever was answered."""
        return [each for each in self.arrivals if each.path == path]

    def _arrived(self) -> list[Arrival]:
        return [each for each in self.arrivals if each.status < 300]


@contextmanager
def receiving() -> Iterator[Inbox]:
    """A receiver of the test's own, at a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
            parts = urlsplit(self.path)
            status = inbox.answer(parts.path)
            if parts.path == inbox.slow:
                time.sleep(0.3)
            inbox.arrivals.append(Arrival(parts.path, parse_qs(parts.query), dict(self.headers), body, status))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
            """Say nothing on stderr."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        inbox = Inbox(f"http://127.0.0.1:{server.server_port}")
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield inbox
        finally:
            server.shutdown()
            thread.join()


def ticks(rebatch: Rebatch, name: str = "evaluate") -> list[Tick]:
    """What the book says of the ticks of a schedule, the earliest first; nothing while there is no book."""
    if (book := Book.look(rebatch.state_dir)) is None:
        return []
    try:
        return sorted(book.ticks(name, 1000), key=lambda tick: (tick.at, tick.by_hand))
    finally:
        book.close()


def kept_before(rebatch: Rebatch, path: Path, seconds: float) -> None:
    """Enter the schedules of a spec as if somebody had kept them until so long ago, and nobody since."""
    book = Book.keep(rebatch.state_dir)
    for job in json.loads(path.read_text(encoding="utf-8"))["jobs"]:
        since = time.time() - seconds
        book.register(job["name"], str(path.resolve()), job["schedule"], job.get("notify", []), since)
    book.close()


def jobs_made(rebatch: Rebatch) -> list[str]:
    """The ids of the jobs that there are checkpoints of."""
    return [path.stem for path in rebatch.checkpoints]
