"""Answers that grow: the memory of the real process, beside that of one that got an ordinary answer."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable
from functools import partial

import pytest

from tests.security.conftest import DELETE, Command
from tests.security.hostile import Answer, Asked, Hostile, always, page, reply

MIB = 1 << 20
ALLOWED = 64 + 8  # MiB: what is promised, and what two runs differ by anyhow
HUGE = 160 * MIB


def _deflated(pieces: Iterable[bytes], wbits: int = 31) -> bytes:
    packer = zlib.compressobj(6, wbits=wbits)
    return b"".join(packer.compress(piece) for piece in pieces) + packer.flush()


def _zeros(wbits: int = 31) -> bytes:
    return _deflated((bytes(MIB) for _ in range(HUGE // MIB)), wbits)


def _gzipped(body: bytes) -> bytes:
    return reply(200, body, "Content-Encoding: gzip\r\nContent-Type: application/json\r\n")


def _after_the_first(answer: bytes) -> Answer:
    """A list of a thousand rows, of which every page but the first is a bomb: eight are asked for at once."""

    def answering(asked: Asked) -> bytes:
        if "page=1&" not in asked.target:
            return answer
        listed = [{"id": 5000 - number, "status": "failed"} for number in range(100)]
        return reply(200, json.dumps({"count": 5000, "next": "x", "previous": None, "results": listed}).encode())

    return answering


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """160 MiB in 0.16."""
    return _zeros()


def bombs(bomb: bytes) -> dict[str, tuple[Answer, str]]:
    """Answers, and what is said of each."""
    page_of = b'{"count":1,"next":null,"results":[%s]}'
    return {
        "gzip": (lambda _: _gzipped(bomb), "larger than"),
        "gzip eight times at once": (_after_the_first(_gzipped(bomb)), "larger than"),
        "gzip of gzip": (lambda _: reply(200, gzip.compress(bomb), "Content-Encoding: gzip, gzip\r\n"), "did not ask for"),
        "deflate": (always(reply(200, _zeros(15), "Content-Encoding: deflate\r\n")), "did not ask for"),
        "brotli": (lambda _: reply(200, bomb, "Content-Encoding: br\r\n"), "did not ask for"),
        "zstandard": (lambda _: reply(200, bomb, "Content-Encoding: zstd\r\n"), "did not ask for"),
        "not compressed": (lambda _: reply(200, bytes(40 * MIB)), "larger than"),
        "an error": (lambda _: _gzipped(bomb).replace(b"200", b"400", 1), "larger than"),
        "just below the cap, in blanks": (lambda _: _gzipped(_deflated([b"{}" + b" " * (23 * MIB)])), "is not a list"),
        "many small values": (lambda _: _gzipped(_deflated([page_of % (b"{}," * (7 * MIB))])), "values"),
        "deep": (lambda _: _gzipped(_deflated([b"[" * 20 * MIB])), "values"),
        "deep, but small": (lambda _: reply(200, b"[" * 100_000), "is not a list"),
        "a huge number": (lambda _: reply(200, b'{"count":' + b"9" * MIB + b',"results":[]}'), "is not a list"),
        "backslashes": (lambda _: reply(200, b'{"x":"' + b"\\\\" * (4 * MIB) + b'"}'), "is not a list"),
    }  # fmt: skip


def test_no_answer_takes_more_memory_than_is_allowed(command: Command, service: Hostile, bomb: bytes) -> None:
    """And each has a clear end."""
    usual = command("plan", command.spec(DELETE)).memory
    taken: dict[str, float] = {}
    for name, (answer, words) in bombs(bomb).items():
        service.be(reads=answer)
        done = command("plan", command.spec(DELETE, limits={**DELETE["limits"], "timeout": "10s"}))
        assert (done.code, words in done.err) == (6, True), f"{name}: {done.code} {done.err}"
        taken[name] = round(done.memory - usual, 1)
    print(taken, usual)
    assert {name: more for name, more in taken.items() if more > ALLOWED} == {}


def test_a_body_without_end_is_cut(command: Command, service: Hostile) -> None:
    """Chunk after chunk of blanks, as long as anybody reads; alone, and eight at once."""
    usual = command("plan", command.spec(DELETE)).memory
    endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    for answer in (always(endless), _after_the_first(endless)):
        service.be(reads=answer, linger=True)
        done = command("plan", command.spec(DELETE, limits={**DELETE["limits"], "timeout": "10s"}))
        assert (done.code, "larger than" in done.err) == (6, True), done.err
        assert done.memory - usual <= ALLOWED


def test_strange_json_is_read_or_refused(command: Command, service: Hostile) -> None:
    """Never a traceback, and never a job that works on what was not said clearly."""
    deep: object = 1
    for _ in range(300):
        deep = [deep]
    for more in (
        {"status": deep},
        {"updated_at": deep},
        {"success_rate": 10**30},
        {"agent": 10**30},
        {"agent": deep},
        {"status": "\ud800"},
    ):
        service.be(reads=partial(page, **more))
        done = command("plan", command.spec(DELETE), "--debug")
        assert done.code in {0, 6}, f"{str(more)[:40]}: {done.err[-900:]}"
    for body in (b'{"count":1,"count":2,"results":[],"results":[{"id":1},{"id":2}]}', b'{"count":true,"results":[]}', b'{"count":-1,"results":[]}',
                 b'{"count":1e999,"results":[]}', b'{"count":NaN,"results":[]}', b'{"count":1,"results":[{"id":1e3}]}', b"\xef\xbb\xbf{}", b"null", b'""'):  # fmt: skip
        service.be(reads=always(reply(200, body)))
        assert command("plan", command.spec(DELETE)).code in {0, 6}, body
