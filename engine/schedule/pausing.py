"""Pausing a schedule and letting it go on, by hand."""

from __future__ import annotations

from anyio.to_thread import run_sync

from .book import Book
from .due import Situation, decide
from .entry import BY_HAND, TickFate
from .turn import turn


async def pause(book: Book, name: str) -> None:
    """Let a schedule begin nothing until somebody resumes it."""
    async with turn(book.path.parent):
        await run_sync(book.pause, name, BY_HAND)


async def resume(book: Book, name: str, now: float) -> None:
    """Let a schedule go on with the next tick. Those that fell into the pause are skipped, whoever was there to see them."""
    async with turn(book.path.parent):
        while True:
            state = await run_sync(book.state)
            entry = state.entries[name]
            waiting = [tick.at for tick in state.of(name, TickFate.WAITING)]
            fated = state.fated.get(name, frozenset())
            pause = Situation(name, entry.schedule, entry.decided, now, fated=fated, paused=True, waiting=waiting)
            decision = decide(pause)
            if not entry.paused_because or (not decision.verdicts and decision.decided == entry.decided):
                break
            await run_sync(book.record, name, decision, {}, [], now)
        await run_sync(book.pause, name, None)
