"""Commands that tell a job what to do while it works, here or in another process, or when it is next resumed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import rich_click as click

from engine import orders, statedir
from engine.errors import LockedError, UsageError
from engine.jobledger import JobLedger
from engine.ledger import ENDED
from engine.lock import owner
from engine.orders import Orders
from engine.units import parse_rate

from .options import Settings, global_options, settings_of

_OFF = "off"
_SOON = "what is in flight finishes first"


@click.command("pause")
@click.argument("job")
@global_options
@click.pass_context
def pause_command(ctx: click.Context, job: str) -> None:
    """Let JOB send nothing, wherever it is worked on, until it is unpaused. What is in flight finishes first."""
    settings = settings_of(ctx)
    path, facts = _open_job(settings, job)

    def pause(before: Orders) -> Orders:
        if before.cancelled:
            raise UsageError(f"Job {facts['job']} is being cancelled; there is nothing to pause.")
        return replace(before, paused=True)

    orders.give(path, pause)
    pid, unpause = owner(path), f"rebatch unpause {facts['job']}"
    if pid is not None:
        settings.say(f"Job {facts['job']} pauses: {_SOON} (process {pid or '?'}). Go on with: {unpause}")
    else:
        settings.say(f"Job {facts['job']} is paused; nobody works on it. Lift it with: {unpause}")


@click.command("unpause")
@click.argument("job")
@global_options
@click.pass_context
def unpause_command(ctx: click.Context, job: str) -> None:
    """Let JOB go on; if nobody works on it, only lift the order."""
    settings = settings_of(ctx)
    path, facts = _open_job(settings, job)
    orders.give(path, lambda before: replace(before, paused=False))
    if (pid := owner(path)) is not None:
        settings.say(f"Job {facts['job']} goes on (process {pid or '?'}).")
    else:
        settings.say(f"Job {facts['job']} is not paused any more; go on with: {_way_on(facts)}")


@click.command("throttle")
@click.argument("job")
@click.argument("rate")
@global_options
@click.pass_context
def throttle_command(ctx: click.Context, job: str, rate: str) -> None:
    """Keep JOB to RATE, such as 20/s or 60/m, now and whenever it is resumed; `off` goes back to the rate of its spec."""
    settings = settings_of(ctx)
    ordered = None if rate.strip() == _OFF else rate.strip()
    if ordered:
        try:
            parse_rate(ordered)
        except ValueError as error:
            raise UsageError(f"{error}; or: {_OFF}.") from None
    path, facts = _open_job(settings, job)
    orders.give(path, lambda before: replace(before, rate=ordered))
    when = "from now on" if owner(path) is not None else "when it goes on"
    settings.say(f"Job {facts['job']} keeps to {ordered or 'the rate of its spec'} {when}.")


@click.command("cancel")
@click.argument("job")
@global_options
@click.pass_context
def cancel_command(ctx: click.Context, job: str) -> None:
    """End JOB for good: what was not sent never will be, and what was sent is still looked after."""
    settings = settings_of(ctx)
    path, facts = _open_job(settings, job)
    orders.give(path, lambda before: replace(before, paused=False, cancelled=True))
    name = facts["job"]
    if (pid := owner(path)) is None:
        pid = _end(path)
    if pid is not None:
        settings.say(f"Job {name} is being cancelled: {_SOON}, and its fate is found out (process {pid or '?'}).")
    elif _facts(path)["state"] == "cancelled":
        settings.say(f"Job {name} is cancelled. See: rebatch report {name}")
    else:
        settings.say(
            f"Job {name} will be cancelled: nothing more is sent. Some of it was sent, and may have been carried out; "
            f"find out and end it with: rebatch resume {name}"
        )


def _end(path: Path) -> int | None:
    """End a job that nobody works on, if nothing of it is in flight; the process that works on it after all."""
    from engine.job import cancel_idle  # noqa: PLC0415 - it brings the client with it

    async def end() -> bool:
        return ledger.job["state"] in ENDED or await cancel_idle(ledger)

    try:
        ledger = JobLedger.resume(path)
    except LockedError as error:
        return error.pid or 0
    try:
        if anyio.run(end):
            orders.remove(path)
    finally:
        ledger.checkpoint.close()
    return None


def _open_job(settings: Settings, name: str) -> tuple[Path, dict[str, Any]]:
    """The checkpoint of a job that can still be told something, and what is known of it. Raises UsageError."""
    path = statedir.find(settings.checkpoints, name).resolve()
    facts = _facts(path)
    if facts["state"] in ENDED:
        raise UsageError(f"Job {facts['job']} is {facts['state']}; there is nothing left to be told.")
    return path, facts


def _facts(path: Path) -> dict[str, Any]:
    ledger = JobLedger.look(path)
    ledger.checkpoint.close()
    return ledger.job


def _way_on(facts: dict[str, Any]) -> str:
    unasked = facts["state"] == "planned" and not facts["approved_at"]
    return f"rebatch {'run' if unasked else 'resume'} {facts['job']}"
