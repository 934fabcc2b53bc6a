"""Delivering what is in the book to be told, until it has arrived or nobody can hope any more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import anyio
from anyio.to_thread import run_sync

from ..errors import RebatchError
from ..notices.courier import next_try_s
from ..notices.message import Notice
from ..tasks import task_group
from .book import Book
from .carrier import Tell

AT_ONCE = 8  # for one receiver that does not answer they take less than a notice belongs to its process
LOOK_EVERY_S = 5.0
SOON_S = 90.0  # for what is tried again sooner, a process that only does what is due still waits
Taken = tuple[int, Notice, int]  # its number in the book, and how often it has failed


class Courier(Protocol):
    """Whoever delivers: `engine.notices.courier.Courier`."""

    async def deliver(self, notice: Notice) -> str | None:
        """None when it has arrived, else what went wrong."""


class Delivery:
    """Delivers the notices of a book. Several processes may do so: each notice is taken by one at a time."""

    def __init__(self, book: Book, courier: Courier, tell: Tell, wall: Callable[[], float]) -> None:
        """`tell` is told of what does not arrive; `wall` shows seconds since the epoch."""
        self._book, self._courier, self._tell, self._wall = book, courier, tell, wall
        self._wrong: dict[str, str | None] = {}  # by target, what was wrong at the last try

    async def all_due(self) -> None:
        """Try everything that is to be tried now, once."""
        while taken := await run_sync(self._book.take_notices, self._wall(), AT_ONCE):
            lines: dict[str, list[Taken]] = {}
            for each in taken:
                lines.setdefault(each[1].target, []).append(each)
            async with task_group() as group:
                for line in lines.values():
                    group.start_soon(self._in_order, line)

    async def go_on(self, until: anyio.Event | None = None) -> None:
        """Deliver whatever comes, until that, or until it is cancelled.

        A book that takes nothing is asked again, and told of once.
        """
        said, until = "", until or anyio.Event()
        while not until.is_set():
            try:
                await self.all_due()
                said = ""
            except RebatchError as error:
                if str(error) != said:
                    self._tell(str(error), wrong=True)
                said = str(error)
            with anyio.move_on_after(LOOK_EVERY_S):
                await until.wait()

    @asynccontextmanager
    async def meanwhile(self, stopped: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
        """Deliver what comes while the block runs, and then see it through, until `stopped()` is over. What the block raises is raised after that.

        A delivery that is under way when the block ends is not broken off: nobody would know whether it has arrived.
        """
        trouble: RebatchError | None = None
        over = anyio.Event()
        async with task_group() as beside:
            beside.start_soon(self.go_on, over)
            try:
                yield
            except RebatchError as error:
                trouble = error
            over.set()
        await self.see_through(stopped)
        if trouble:
            raise trouble

    async def see_through(self, stopped: Callable[[], Awaitable[object]]) -> None:
        """Deliver what there is; what fails, again while that is soon, and until `stopped()` is over.

        The rest is for whoever comes next.

        A book that takes nothing is told of, and is no error: the jobs have come to their ends.
        """
        ends = self._wall() + SOON_S
        try:
            while True:
                await self.all_due()
                due = await run_sync(self._book.next_notice)
                if due is None or due > ends:
                    return
                with anyio.move_on_after(max(0.0, due - self._wall())):
                    await stopped()
                    return
        except RebatchError as error:
            self._tell(str(error), wrong=True)

    async def _in_order(self, line: Sequence[Taken]) -> None:
        """One after the other to one receiver: a start that arrives after its end says that a job is at work."""
        for number, notice, tries in line:
            await self._one(number, notice, tries)

    async def _one(self, number: int, notice: Notice, tries: int) -> None:
        wrong = await self._courier.deliver(notice)
        again_s = next_try_s(tries + 1) if wrong else None
        with anyio.CancelScope(shield=True):  # it has arrived, or not: that is so whoever is cancelled
            await run_sync(self._book.delivered, number, wrong, self._wall(), again_s)
        self._say(notice, wrong, given_up=bool(wrong) and again_s is None)

    def _say(self, notice: Notice, wrong: str | None, *, given_up: bool) -> None:
        """Say what does not arrive: of each receiver once, until it takes something again."""
        before = self._wrong.get(notice.target)
        self._wrong[notice.target] = wrong
        if wrong and (wrong != before or given_up):
            lost = " (given up)" if given_up else ""
            self._tell(f"{notice.spec}: telling {notice.target} failed{lost}: {wrong}", wrong=True)
