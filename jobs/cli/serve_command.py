"""The command `serve`: schedules, until it is stopped."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import rich_click as click
from anyio.to_thread import run_sync

from engine.errors import RebatchError
from engine.health import listening
from engine.schedule.entry import Standing
from engine.schedule.keeper import LOOK_EVERY_S, Keeper
from engine.schedule.standing import standings
from engine.tasks import task_group

from .keeping import Keeping, keeping, listening_to_signals
from .loop import run
from .options import Settings, global_options, settings_of
from .show_schedules import both
from .spec_files import SpecFiles

_LAST_WORDS_S = 5.0  # for notices of what happened while it was stopping; the others are for whoever comes next
_STUCK_S = 4 * LOOK_EVERY_S + 120  # a look that takes longer than this is none


@click.command("serve")
@click.argument("specs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--listen", "address", metavar="[HOST:]PORT", help="Answer /metrics and /healthz there, on this machine alone."
)
@global_options
@click.pass_context
def serve_command(ctx: click.Context, specs: tuple[Path, ...], address: str | None) -> None:
    """Look after the schedules of SPECS until stopped: begin what is due, go on with what was interrupted, tell of it.

    Specs are read again when they change. Ctrl-C or SIGTERM lets what is in flight finish; jobs go on next time.
    """
    settings = settings_of(ctx)
    with keeping(settings) as kept:
        run(_serve, settings, specs, kept, address)


async def _serve(settings: Settings, specs: Sequence[Path], kept: Keeping, address: str | None) -> None:
    keeper = kept.keeper
    files = SpecFiles(specs, keeper, kept.carrier, kept.tell)
    async with listening_to_signals(keeper, settings), _healthy(keeper, address, settings):
        await files.read_first()
        await run_sync(_greet, settings, keeper)
        async with task_group() as beside:
            beside.start_soon(files.go_on)
            beside.start_soon(kept.delivery.go_on)
            await keeper.keep()
            beside.cancel_scope.cancel()
        with anyio.move_on_after(_LAST_WORDS_S), suppress(RebatchError):
            await kept.delivery.all_due()


def _greet(settings: Settings, keeper: Keeper) -> None:
    count = len(keeper.roster.enrolled)
    settings.say(f"Looking after {count} schedule{'s' * (count != 1)} in {keeper.book.path.parent}. Ctrl-C stops it.")
    for standing in standings(keeper.book, keeper.wall(), ahead=1):
        if standing.entry.name in keeper.roster.enrolled:
            paused = f", paused: {standing.entry.paused_because}" if standing.entry.paused_because else ""
            settings.say(f"  {standing.entry.name}  next {both(standing.entry.schedule, standing.next[0])}{paused}")


@asynccontextmanager
async def _healthy(keeper: Keeper, address: str | None, settings: Settings) -> AsyncIterator[None]:
    """Answer whoever asks for its health, if that is wanted."""
    if address is None:
        yield
        return

    began = anyio.current_time()

    async def stand() -> Sequence[Standing]:
        return await run_sync(standings, keeper.book, keeper.wall())

    def alive() -> str | None:
        silent_s = anyio.current_time() - max(began, keeper.looked_at)
        return f"nobody has looked at the schedules for {silent_s:.0f} s" if silent_s > _STUCK_S else None

    async with listening(address, stand, alive) as url:
        settings.say(f"Health at {url}/healthz, metrics at {url}/metrics")
        yield
