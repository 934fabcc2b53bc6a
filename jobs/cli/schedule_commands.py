"""Commands about schedules: what is due, what became of what was due, and what a person can do about it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import anyio
import orjson
import rich_click as click

from engine import statedir
from engine.errors import Exit, UsageError
from engine.schedule.book import Book
from engine.schedule.entry import Entry
from engine.schedule.pausing import pause, resume
from engine.schedule.standing import NEXT, standings
from engine.spec import load_spec

from .. import kinds
from .install_command import install_command
from .look_commands import FORMAT, die_quietly
from .options import Settings, global_options, settings_of
from .show_schedules import as_json, next_text, schedules_table

_TICKS = 20  # of each schedule in JSON


@click.group("schedule", cls=click.RichGroup)
def schedule_command() -> None:
    """Show and steer schedules, and print units that work without `rebatch serve`."""


@schedule_command.command("ls")
@FORMAT
@click.option("--check", is_flag=True, help="Exit with 3 when a schedule is late, or was paused by a failure.")
@global_options
@click.pass_context
def ls_command(ctx: click.Context, style: str, *, check: bool) -> None:
    """List the schedules of the state directory: what ran, how it ended, what comes next."""
    die_quietly()
    settings = settings_of(ctx)
    book = Book.look(settings.checkpoints)
    found = standings(book, time.time()) if book else []
    if style != "table":
        values = (
            [as_json(each, book.undelivered(each.entry.name), book.ticks(each.entry.name, _TICKS)) for each in found]
            if book
            else []
        )
        for line in [values] if style == "json" else values:
            click.echo(orjson.dumps(line).decode())
    elif found:
        click.echo(schedules_table(found))
    else:
        settings.say(f"No schedules in {settings.checkpoints}. Begin with: rebatch serve SPEC")
    if check and any(each.alarming for each in found):
        ctx.exit(Exit.ITEMS_FAILED)


@schedule_command.command("next")
@click.argument("names", metavar="NAME|SPEC…", nargs=-1)
@click.option("-n", "number", type=click.IntRange(1, 1000), default=NEXT, show_default=True, help="How many.")
@global_options
@click.pass_context
def next_command(ctx: click.Context, names: tuple[str, ...], number: int) -> None:
    """Show when schedules are due next: of NAME, of the jobs of SPEC, or of all."""
    die_quietly()
    settings = settings_of(ctx)
    texts = []
    for name in names or [entry.name for entry in _entries(settings) if not entry.gone]:
        if statedir.names_spec(settings.checkpoints, name):
            found = [(job.name, job.schedule) for job in load_spec(Path(name), kinds.find()) if job.schedule]
            if not found:
                raise UsageError(f"{name}: none of its jobs has a schedule.")
        else:
            found = [(name, _entry(settings, name).schedule)]
        texts += [next_text(each, schedule, islice(schedule.after(time.time()), number)) for each, schedule in found]
    click.echo("\n".join(texts)) if texts else settings.say(f"No schedules in {settings.checkpoints}.")


@schedule_command.command("run")
@click.argument("name")
@click.option(
    "--format", "style", type=click.Choice(["table", "json"]), default="table", help="Of the report on stdout."
)
@global_options
@click.pass_context
def run_command(ctx: click.Context, name: str, style: str) -> None:
    """Begin a job of NAME now, whatever is due, and report. Its schedule is the consent, and its guards hold."""
    from .keeping import keeping, listening_to_signals  # noqa: PLC0415 - heavy

    settings = settings_of(ctx)
    source = _entry(settings, name).source
    with keeping(settings, style) as kept:

        async def work() -> None:
            async with listening_to_signals(kept.keeper, settings):
                await kept.keeper.take(source, kept.carrier.load(Path(source)))
                if name not in kept.keeper.roster.enrolled:
                    raise UsageError(f"{source}: there is no schedule “{name}” in it any more.")
                async with kept.delivery.meanwhile(kept.keeper.stopped.wait):
                    await kept.keeper.by_hand(name)

        anyio.run(work)
        ctx.exit(kept.worst)


@schedule_command.command("pause")
@click.argument("name")
@global_options
@click.pass_context
def pause_command(ctx: click.Context, name: str) -> None:
    """Let NAME begin nothing until it is resumed: its ticks are skipped. A job at work goes on."""
    with _book_of(settings_of(ctx), name) as book:
        anyio.run(pause, book, name)
    settings_of(ctx).say(f"Schedule {name} is paused. Go on with: rebatch schedule resume {name}")


@schedule_command.command("resume")
@click.argument("name")
@global_options
@click.pass_context
def resume_command(ctx: click.Context, name: str) -> None:
    """Let NAME go on with the next tick."""
    with _book_of(settings_of(ctx), name) as book:
        anyio.run(resume, book, name, time.time())
    entry = _entry(settings_of(ctx), name)
    settings_of(ctx).say(next_text(name, entry.schedule, islice(entry.schedule.after(time.time()), 1)))


@schedule_command.command("forget")
@click.argument("name")
@global_options
@click.pass_context
def forget_command(ctx: click.Context, name: str) -> None:
    """Strike NAME out of the book, with all that became of its ticks: its spec is gone. Checkpoints stay."""
    with _book_of(settings_of(ctx), name) as book:
        if any(tick.spec == name for tick in book.open_ticks()):
            raise UsageError(f"A job of {name} is not over.", "Wait for it, or cancel it: rebatch list")
        book.strike_out(name)
    settings_of(ctx).say(f"Schedule {name} is forgotten. Where its spec is still served, it begins anew.")


schedule_command.add_command(install_command, "install")


@contextmanager
def _book_of(settings: Settings, name: str) -> Iterator[Book]:
    """The book, open to be written in, if there is such a schedule in it."""
    _entry(settings, name)
    book = Book.keep(settings.checkpoints)
    try:
        yield book
    finally:
        book.close()


def _entries(settings: Settings) -> list[Entry]:
    book = Book.look(settings.checkpoints)
    return list(book.entries().values()) if book else []


def _entry(settings: Settings, name: str) -> Entry:
    entries = {entry.name: entry for entry in _entries(settings)}
    if name not in entries:
        known = f"There are: {', '.join(entries)}." if entries else "Begin with: rebatch serve SPEC"
        raise UsageError(f"There is no schedule “{name}” in {settings.checkpoints}.", known)
    return entries[name]
