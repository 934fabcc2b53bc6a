"""The bare loop with the least that rebatch promises beside: how far the goal lies from a loop that does nothing else.

`least.py pages 1000` gets pages, decodes the fields in use, and keeps the rows in SQLite; `chunks 1000` writes an intent
before each request and its outcome after it, both durable, one sync for all who wait. Nothing here paces, retries, proves
that a list is whole, reads back what was lost, or could go on after a kill.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

import aiohttp
import apsw
import msgspec
import orjson
import uvloop
from yarl import URL

AT_ONCE = 32
LIST = URL(f"{os.environ['CEKURA_API_URL']}/test_framework/v1/results/")
HEADERS = {"X-CEKURA-API-KEY": os.environ["CEKURA_API_KEY"], "Content-Type": "application/json"}
Values = tuple[float | int | str, ...]


class Row(msgspec.Struct):
    """The fields in use."""

    id: int
    status: str
    updated_at: str
    success_rate: float
    completed_runs_count: str
    failed_runs_count: str


class Page(msgspec.Struct):
    """What is decoded of a page."""

    results: list[Row]


class Books:
    """A database; what is written at the same time is made durable together."""

    def __init__(self, path: Path) -> None:
        """Make it."""
        self.db = apsw.Connection(str(path))
        self.db.pragma("journal_mode", "WAL")
        self.db.pragma("synchronous", "FULL")
        self.db.execute("CREATE TABLE attempt (chunk INTEGER PRIMARY KEY, begun_at REAL, ended_at REAL, fate TEXT)")
        self.db.execute("CREATE TEMP TABLE seen (below INTEGER PRIMARY KEY, fingerprint TEXT, credits REAL)")
        self._waiting: list[tuple[str, Values]] = []
        self._written = asyncio.Event()
        self._turn = asyncio.Lock()

    def keep(self, rows: list[Row]) -> None:
        """Keep rows of a page."""
        kept = [
            (
                row.id,
                orjson.dumps([row.status, row.updated_at, row.success_rate]).decode(),
                0.2 * (int(row.completed_runs_count) + int(row.failed_runs_count)),
            )
            for row in rows
        ]
        with self.db:
            self.db.executemany("INSERT OR REPLACE INTO seen VALUES (-?, ?, ?)", kept)

    async def write(self, statement: str, values: Values) -> None:
        """Return when it is durable."""
        first, written = not self._waiting, self._written
        self._waiting.append((statement, values))
        if not first:
            await written.wait()
            return
        async with self._turn:
            group, self._waiting, self._written = self._waiting, [], asyncio.Event()
            await asyncio.get_running_loop().run_in_executor(None, self._commit, group)
        written.set()

    def _commit(self, group: list[tuple[str, Values]]) -> None:
        with self.db:
            for statement, values in group:
                self.db.execute(statement, values)


async def main(what: str, number: int, folder: Path) -> None:
    """Send so many requests."""
    numbers, books, decoder = iter(range(number)), Books(folder / "books"), msgspec.json.Decoder(Page)
    connector = aiohttp.TCPConnector(limit=AT_ONCE)
    jar, never = aiohttp.DummyCookieJar(), aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, headers=HEADERS, cookie_jar=jar, timeout=never) as session:

        async def get() -> None:
            for each in numbers:
                async with session.get(LIST, params={"page": str(each % 100 + 1), "page_size": "100"}) as answer:
                    body = await answer.read()
                books.keep(decoder.decode(body).results)

        async def post() -> None:
            target = LIST / "bulk_evaluate_metrics/"
            for each in numbers:
                first = 1_000_000 + 100 * (each % 100)
                body = orjson.dumps({"result_ids": list(range(first, first + 100)), "metric_ids": [11]})
                await books.write("INSERT INTO attempt (chunk, begun_at) VALUES (?, ?)", (each, 1.5))
                async with session.post(target, data=body) as answer:
                    await answer.read()
                await books.write("UPDATE attempt SET ended_at = ?, fate = ? WHERE chunk = ?", (2.5, "applied", each))

        await asyncio.gather(*((post if what == "chunks" else get)() for _ in range(AT_ONCE)))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as own:
        uvloop.run(main(sys.argv[1], int(sys.argv[2]), Path(own)))
