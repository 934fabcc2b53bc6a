"""What commands share that look after schedules: a keeper with its book, its account, who delivers, and ears for signals."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import anyio
import orjson

from engine.errors import Exit, SignalledError
from engine.jobledger import JobLedger
from engine.log import configure
from engine.notices.courier import Courier
from engine.notices.message import End
from engine.schedule.book import Book
from engine.schedule.carrier import Tell
from engine.schedule.delivery import Delivery
from engine.schedule.keeper import Keeper
from engine.tasks import task_group

from .. import credentials
from ..carrier import Carrier
from .options import Settings
from .print import print_report
from .show import report_markdown
from .summary import add_step_summary

CODES = {signal.SIGINT: Exit.SIGINT, signal.SIGTERM: Exit.SIGTERM}


@dataclass(frozen=True)
class Keeping:
    """A keeper and who delivers what it has to tell."""

    keeper: Keeper
    delivery: Delivery
    carrier: Carrier
    tell: Tell

    @property
    def worst(self) -> int:
        """The exit code of the first job that has one."""
        return next((int(end.exit_code) for end in self.keeper.hands.ends if end.exit_code), int(Exit.DONE))


@contextmanager
def keeping(settings: Settings, style: str | None = None) -> Iterator[Keeping]:
    """Everything that is needed to look after schedules in the state directory; `style` is that of reports, if any.

    Raises CredentialsError, CheckpointError, UsageError.
    """
    found = credentials.find(settings.api_url)
    configure(settings.verbosity, settings.log_format, [found.key], color=settings.colors(sys.stderr))

    async def show(ledger: JobLedger, end: End) -> None:
        if "counts" in end.report:
            if style:
                await print_report(ledger, dict(end.report), style, items=False)
            if wrong := add_step_summary(report_markdown(end.report, end.error), os.environ):
                settings.say(wrong, important=True)

    def tell(text: str, *, wrong: bool = False) -> None:
        settings.say(_line(settings, text), important=wrong)

    book = Book.keep(settings.checkpoints.resolve())
    try:
        carrier = Carrier(found, book.path.parent, show)
        keeper = Keeper(book, carrier, tell=tell)
        yield Keeping(keeper, Delivery(book, Courier(os.environ), tell, keeper.wall), carrier, tell)
    finally:
        book.close()


@asynccontextmanager
async def listening_to_signals(keeper: Keeper, settings: Settings) -> AsyncIterator[None]:
    """The first signal stops the keeper, the second does not wait for what is in flight. Raises SignalledError."""
    stopped: list[SignalledError] = []

    async def listen(everything: anyio.CancelScope) -> None:
        with anyio.open_signal_receiver(*CODES) as signals:
            async for number in signals:
                if stopped:
                    everything.cancel()
                    return
                stopped.append(SignalledError(CODES[number]))
                keeper.stop(stopped[0])
                settings.say("\nStopping: what is in flight finishes first (again to force).", important=True)

    async with task_group() as group:
        group.start_soon(listen, group.cancel_scope)
        yield
        group.cancel_scope.cancel()
    if stopped:
        raise stopped[0]


def _line(settings: Settings, text: str) -> str:
    now = datetime.now(UTC)
    if settings.log_format == "json":
        return orjson.dumps({"event": text, "timestamp": now.isoformat()}).decode()
    return f"{now.astimezone():%Y-%m-%d %H:%M:%S} {text}"
