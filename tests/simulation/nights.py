"""A machine that keeps schedules, in virtual time: the real keeper and engine, a real service, a real receiver of notices.

Its processes are killed (what is left is what is on the disk at that instant), stopped in order, or left alone; its clock
can be set.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import anyio
from aiohttp import web

from engine.errors import Exit, SignalledError
from engine.notices.courier import Courier
from engine.schedule.book import Book
from engine.schedule.delivery import Delivery
from engine.schedule.keeper import Keeper
from engine.tasks import task_group
from jobs.carrier import Carrier
from jobs.credentials import given
from jobs.sandbox.server import application
from jobs.sandbox.settings import Settings
from jobs.sandbox.state import Sandbox, build

LOOK_EVERY_S = 21600.0
DELIVER_EVERY_S = 3600.0


@dataclass
class Received:
    """What a receiver of notices has got."""

    bodies: list[dict[str, Any]] = field(default_factory=list)
    beats: list[str] = field(default_factory=list)
    failing: float = 0.0  # the share of deliveries that it refuses

    def missed(self, spec: str) -> set[str]:
        """The ticks of a schedule that were told to be missed."""
        return {tick for body in self.bodies if body["spec"] == spec for tick in body.get("ticks", [])}

    def told(self, job: str) -> set[str]:
        """The events that were told of a job."""
        return {event for body in self.bodies if body.get("job") == job for event in body["events"]}


@dataclass
class Machine:
    """One state directory, one clock, at most one process at a time. `begin` is what the clock shows at first."""

    folder: Path
    sandbox: Sandbox
    origin: str
    receiver: str
    received: Received
    dice: Random
    begin: float
    specs: dict[str, str]
    ahead_s: float = 0.0  # how far the clock was set forward
    kills: int = 0
    said: list[str] = field(default_factory=list)

    def wall(self) -> float:
        """What its clock shows."""
        return self.begin + anyio.current_time() + self.ahead_s

    @property
    def state_dir(self) -> Path:
        """Where the book and the checkpoints are now."""
        return self.folder / f"state-{self.kills}"

    async def live(
        self, seconds: float, *, kill: bool, meanwhile: Callable[[], Coroutine[Any, Any, None]] | None = None
    ) -> None:
        """One process for so long; then it is killed, or stopped in order. Something may happen meanwhile."""
        book = Book.keep(self.state_dir)
        carrier = Carrier(given(self.sandbox.key, self.origin), self.state_dir)
        keeper = Keeper(book, carrier, tell=self._tell, wall=self.wall, look_every_s=LOOK_EVERY_S)
        delivery = Delivery(book, Courier({"RECEIVER": self.receiver}), self._tell, self.wall)
        kept = anyio.Event()

        async def keep() -> None:
            await keeper.keep()
            kept.set()

        async with task_group() as process:
            for name, text in self.specs.items():
                path = self.folder / name
                path.write_text(text, encoding="utf-8")
                await keeper.take(str(path), carrier.load(path))
            process.start_soon(keep)
            process.start_soon(self._deliver, delivery)
            if meanwhile:
                process.start_soon(meanwhile)
            await anyio.sleep(seconds)
            if kill:
                self._remains(book)
            else:
                keeper.stop(SignalledError(Exit.SIGTERM))
                await kept.wait()
            process.cancel_scope.cancel()
        book.close()

    async def _deliver(self, delivery: Delivery) -> None:
        while True:
            await delivery.all_due()
            await anyio.sleep(DELIVER_EVERY_S)

    def _tell(self, text: str, *, wrong: bool = False) -> None:
        self.said.append(("! " if wrong else "") + text)

    def _remains(self, book: Book) -> None:
        """Copy what is on the disk: between two transactions of the book, which are SQLite's to keep whole."""
        with book._alone:
            before, self.kills = self.state_dir, self.kills + 1
            shutil.copytree(before, self.state_dir, ignore=shutil.ignore_patterns("*.lock", "*-shm"))


@asynccontextmanager
async def machine(folder: Path, seed: int, begin: float, specs: dict[str, str], results: int) -> AsyncIterator[Machine]:
    """Open a machine that behaves in the same way for the same seed, as far as threads do."""
    sandbox = build(results=results, seed=1, settings=Settings(), monotonic=anyio.current_time)
    received, dice = Received(), Random(seed)

    async def receive(request: web.Request) -> web.Response:
        if dice.random() < received.failing:
            return web.Response(status=503)
        if request.path.startswith("/ping"):
            received.beats.append(request.path_qs)
        else:
            received.bodies.append(json.loads(await request.read()))
        return web.Response()

    inbox = web.Application()
    inbox.router.add_route("POST", "/{any:.*}", receive)
    async with _serving(application(sandbox)) as origin, _serving(inbox) as receiver:
        yield Machine(folder, sandbox, origin, receiver, received, dice, begin, specs)


@asynccontextmanager
async def _serving(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[union-attr] # aiohttp offers no other way
    finally:
        await runner.cleanup()
