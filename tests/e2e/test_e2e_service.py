"""Services that are not there, or are not what they should be."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from tests.e2e.rig import EVALUATE, KEY, Rebatch, assert_all_confirmed, assert_each_once, eligible, until

if TYPE_CHECKING:
    from tests.e2e.conftest import Open

Answer = tuple[int, dict[str, str], bytes]
HOSTILE = (
    '=HYPERLINK("http://evil.example") \x1b[31mred\x1b]0;title\x07 \u202egnp | `code` <script>alert(1)</script>\r\nnext'
)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@contextmanager
def stranger(answer: Callable[[str], Answer]) -> Iterator[tuple[str, list[str | None]]]:
    """A service that answers whatever it is asked as `answer(method)` says; its URL, and the keys it was sent."""
    keys: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            keys.append(self.headers.get("X-CEKURA-API-KEY"))
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, headers, body = answer(self.command)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - its name is http.server's

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", keys
        finally:
            server.shutdown()
            thread.join()


def test_a_plan_that_never_came_to_be_is_not_called_one(rebatch: Rebatch) -> None:
    """When the service is not there while planning, there is a job to resume and no plan to carry out."""
    done = rebatch.at(f"http://127.0.0.1:{free_port()}")("plan", rebatch.spec(EVALUATE), code=6)
    assert f"go on with: rebatch resume {rebatch.job()}" in done.err
    assert "plan is kept" not in done.err


def test_a_service_that_is_not_there_is_told_in_seconds_and_the_job_goes_on_later(
    rebatch: Rebatch, open_world: Open
) -> None:
    """Exit 6 and the reason; when the service is up at that address, `resume` finishes the job."""
    port = free_port()
    began = time.monotonic()
    done = rebatch.at(f"http://127.0.0.1:{port}")("run", rebatch.spec(EVALUATE), "--yes", code=6)
    assert time.monotonic() - began < 15
    assert f"The service cannot be reached: 127.0.0.1:{port}: connection refused" in done.err
    assert done.err.count("cannot be reached") == 1
    assert f"go on with: rebatch resume {rebatch.job()}" in done.err
    world = open_world("--results=60", f"--port={port}", "--evaluation-time=20ms")
    report = rebatch("resume", "--yes", "--format", "json", "--items").json
    assert_all_confirmed(report, eligible(world.results()))


def test_a_name_that_nobody_knows_is_told_in_seconds(rebatch: Rebatch) -> None:
    """Exit 6; the name is in the message."""
    began = time.monotonic()
    done = rebatch.at("https://no-such-host.invalid")("plan", rebatch.spec(EVALUATE), code=6)
    assert time.monotonic() - began < 15
    assert "The service cannot be reached: no-such-host.invalid:443: " in done.err


def test_a_service_that_dies_in_the_middle_is_waited_for_and_then_the_job_is_resumed(
    rebatch: Rebatch, open_world: Open
) -> None:
    """What was in flight is read back when it is there again: nothing twice, nothing lost."""
    db = str(rebatch.home.parent / "world.db")
    port = free_port()
    world = open_world("--results=900", f"--port={port}", f"--db={db}", "--evaluation-time=20ms")
    wanted = eligible(world.results())
    world.change(latency="60ms")
    limits = {**EVALUATE["limits"], "patience": "3s"}
    live = rebatch.at(world.url).start("run", rebatch.spec(EVALUATE, limits=limits), "--yes")
    until(lambda: world.count("POST") >= 5, "some chunks")
    world.sandbox.process.kill()
    world.sandbox.process.wait()
    done = live.wait()
    assert done.code == 6
    assert "The service cannot be reached: " in done.err
    again = open_world(f"--port={port}", f"--db={db}", "--evaluation-time=20ms")
    report = rebatch("resume", "--last", "--format", "json", "--items").json
    assert_all_confirmed(report, wanted)
    assert_each_once(again, wanted)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            (200, {"Content-Type": "text/html"}, b"<html>Welcome</html>"),
            "The service's answer is not a list of results",
        ),
        ((200, {}, b'{"count": 1}'), "The service's answer is not a list of results: no “results” in it."),
        ((404, {}, b"{}"), "no such list"),
        ((400, {}, b'{"agent_id": ["Enter a whole number."]}'), "agent_id: Enter a whole number."),
    ],
)
def test_what_is_not_cekura_is_told(rebatch: Rebatch, answer: Answer, words: str) -> None:
    """Exit 6 with what came instead."""
    with stranger(lambda _method: answer) as (url, _keys):
        done = rebatch.at(url)("plan", rebatch.spec(EVALUATE), code=6)
    assert words in done.err


def test_a_redirect_is_not_followed_and_the_key_stays_here(rebatch: Rebatch) -> None:
    """It would carry the key to wherever it points."""
    with (
        stranger(lambda _method: (200, {}, b"{}")) as (elsewhere, keys),
        stranger(lambda _method: (302, {"Location": elsewhere}, b"")) as (url, own),
    ):
        done = rebatch.at(url)("plan", rebatch.spec(EVALUATE), code=6)
    assert "302 Found (redirects are never followed)" in done.err
    assert (keys, set(own)) == ([], {KEY})


def test_hostile_words_of_the_service_do_no_harm_in_any_report(rebatch: Rebatch) -> None:
    """No control character reaches a terminal, no formula a spreadsheet, no markup a page."""
    row = {"id": 7, "agent": 101, "name": HOSTILE, "status": "completed", "updated_at": "2026-01-01T00:00:00Z"}
    page = {"count": 1, "next": None, "previous": None, "results": [row]}
    refusal = json.dumps({"detail": HOSTILE, HOSTILE: [HOSTILE]}).encode()

    def answer(method: str) -> Answer:
        return (200, {}, json.dumps(page).encode()) if method == "GET" else (400, {}, refusal)

    with stranger(answer) as (url, _keys):
        rebatch.at(url)("-v", "run", rebatch.spec(EVALUATE, where=None), "--yes", "--items", code=3)
    for style in ("table", "csv", "md", "ndjson"):
        out = rebatch("report", rebatch.job(), "--format", style).out
        assert "HYPERLINK" in out
        assert not set(out) & set("\x1b\x07\u202e\r")
    markdown = rebatch("report", rebatch.job(), "--format", "md").out.splitlines()[-1]
    assert (markdown.count("|"), markdown.count("`")) == (4, 2)
    for path in rebatch.home.glob("*.err"):
        assert not set(path.read_text()) & set("\x1b\x07\u202e"), path
