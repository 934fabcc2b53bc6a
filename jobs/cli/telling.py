"""Telling of the end of a job that a person has run: whom its spec names, as schedules do."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from anyio.to_thread import run_sync
from pydantic import TypeAdapter

from engine.errors import RebatchError, SignalledError
from engine.jobledger import JobLedger
from engine.notices.message import End, of_end
from engine.notices.notify import Notify
from engine.report import exit_code

from .options import Settings

_NOTIFY = TypeAdapter(list[Notify])


async def tell_end(
    settings: Settings, ledger: JobLedger, summary: Mapping[str, Any], stopped: RebatchError | None
) -> None:
    """Tell of it, unless nobody agreed to the job, it was only interrupted, or a schedule awaits it: that tells itself.

    What does not arrive stays in the book of schedules, for whoever delivers next. Nothing of it is an error here.
    """
    raw, job = ledger.job["raw"].get("notify"), ledger.job
    begun = job["approved_at"] or job["state"] == "refused"
    if not raw or not begun or not summary or isinstance(stopped, SignalledError):
        return
    code = stopped.exit_code if stopped else exit_code(dict(summary))
    end = End(code, str(stopped) if stopped else None, summary)
    try:
        await _tell(settings, job["spec"], _NOTIFY.validate_python(raw), end)
    except RebatchError as error:
        settings.say(f"Telling of it failed: {error}", important=True)


async def _tell(settings: Settings, spec: str, notify: list[Notify], end: End) -> None:
    from engine.notices.courier import Courier  # noqa: PLC0415 - heavy, and seldom needed
    from engine.schedule.book import Book  # noqa: PLC0415 - as above
    from engine.schedule.delivery import Delivery  # noqa: PLC0415 - as above

    def say(text: str, *, wrong: bool = False) -> None:
        settings.say(text, important=wrong)

    book = Book.keep(settings.checkpoints)
    try:
        if await run_sync(book.awaits, str(end.report["job"])):
            return
        before, now = await run_sync(book.outcome_before, spec), time.time()
        notices = list(of_end(notify, spec, end, tick=None, before=before, at=now))
        await run_sync(book.post, notices, now)
        await Delivery(book, Courier(os.environ), say, time.time).all_due()
    finally:
        book.close()
