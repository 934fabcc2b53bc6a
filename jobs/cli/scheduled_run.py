"""`rebatch run --scheduled SPEC`: one pass over the schedules of a spec, for timers. Doing it twice does nothing more."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import rich_click as click
from anyio.to_thread import run_sync

from engine.errors import RebatchError, UsageError
from engine.schedule.metrics import check_name, write_textfile
from engine.schedule.standing import standings
from engine.schedule.when import ON_TIME_S

from .keeping import Keeping, keeping, listening_to_signals
from .loop import run
from .options import Settings, settings_of


def run_scheduled(ctx: click.Context, spec: Path, names: Sequence[str], style: str, textfile: Path | None) -> None:
    """Do what is due: go on with what was interrupted, make a job for each tick that gets one, tell of it."""
    settings = settings_of(ctx)
    with keeping(settings, style) as kept:
        if textfile:
            check_name(textfile)
        try:
            run(_pass, settings, kept, spec.absolute(), names)
        finally:
            if textfile:
                _write_at_last(kept, textfile)
        ctx.exit(kept.worst)


def _write_at_last(kept: Keeping, textfile: Path) -> None:
    """Metrics that cannot be written are told of; they change nothing about what the jobs ended with."""
    try:
        write_textfile(textfile, standings(kept.keeper.book, time.time()))
    except RebatchError as error:
        kept.tell(str(error), wrong=True)


async def _pass(settings: Settings, kept: Keeping, spec: Path, names: Sequence[str]) -> None:
    keeper = kept.keeper
    async with listening_to_signals(keeper, settings):
        jobs = await run_sync(kept.carrier.load, spec)
        known = [job.name for job in jobs if job.schedule]
        if not known:
            raise UsageError(f"{spec}: none of its jobs has a schedule.", "Give one `schedule: {cron: …}`.")
        if unknown := [name for name in names if name not in known]:
            raise UsageError(f"{spec}: there is no schedule “{unknown[0]}”.", f"It has: {', '.join(known)}.")
        await keeper.take(str(spec), jobs, late_s=ON_TIME_S)
        keeper.only(names or known)
        async with kept.delivery.meanwhile(keeper.stopped.wait):
            await keeper.once()
