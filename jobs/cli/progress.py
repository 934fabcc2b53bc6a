"""Progress on stderr: a bar on a terminal, else a line a minute or every ten per cent."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio

from engine.eta import Window, show_about
from engine.progress import Progress
from engine.tasks import task_group
from engine.units import show_duration

from .options import Settings

_LOOK_S = 0.1
_LINE_EVERY_S = 60.0
_LINE_AT_MOST_EVERY_S = 1.0
_LINE_EVERY = 0.1  # of the whole


@asynccontextmanager
async def shown(progress: Progress, settings: Settings) -> AsyncIterator[None]:
    """Show progress as long as the block runs; `-q` shows none."""
    if settings.quiet:
        yield
        return
    async with task_group() as group:
        group.start_soon(_bar if sys.stderr.isatty() else _lines, progress, settings)
        try:
            yield
        finally:
            group.cancel_scope.cancel()


async def _bar(progress: Progress, settings: Settings) -> None:
    from rich.console import Console  # noqa: PLC0415 - heavy, and not needed without a terminal
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn  # noqa: PLC0415
    from rich.progress import Progress as Bars  # noqa: PLC0415

    console = Console(stderr=True, no_color=not settings.colors(sys.stderr))
    columns: list[Any] = [
        TextColumn("{task.description:10}", markup=False),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TextColumn("{task.fields[left]}", markup=False),
        TextColumn("{task.fields[note]}", markup=False),
    ]
    # The estimate is ours: rich's stands still while nothing happens.
    window = Window()
    with Bars(*columns, console=console, transient=True) as bars:
        task, stage = bars.add_task("", total=None, left="", note=""), ""
        while True:
            if stage != progress.stage:
                stage = progress.stage
                bars.reset(task, description=stage, completed=progress.done)
            total = progress.total or None
            bars.update(task, completed=progress.done, total=total, left=_left(progress, window), note=_note(progress))
            await anyio.sleep(_LOOK_S)


async def _lines(progress: Progress, settings: Settings) -> None:
    said_at, said, stage, order = float("-inf"), 0.0, "", ""
    window = Window()
    while True:
        left = _left(progress, window)
        share = progress.done / progress.total if progress.total else 0.0
        now = anyio.current_time()
        if (
            progress.stage
            and now >= said_at + _LINE_AT_MOST_EVERY_S
            and (
                (stage, order) != (progress.stage, progress.order)
                or share >= said + _LINE_EVERY
                or now >= said_at + _LINE_EVERY_S
            )
        ):
            stage, order, said, said_at = progress.stage, progress.order, share, now
            of = f"{progress.done:,} of {progress.total:,}" if progress.total else f"{progress.done:,}"
            about = f", about {left}" if left else ""
            settings.say(f"{stage}: {of}{about}, {_note(progress)}")
        await anyio.sleep(_LOOK_S)


def _left(progress: Progress, window: Window) -> str:
    """How long the stage will take; nothing when nobody can tell, or it is over."""
    rest_s = window.remaining_s(anyio.current_time(), progress.stage, progress.done, progress.total)
    return f"{show_about(rest_s)} left" if rest_s else ""


def _note(progress: Progress) -> str:
    waits, pause = progress.held_until - anyio.current_time(), progress.down_until - anyio.current_time()
    asked = f", the service asks to wait {show_duration(waits)}" if waits > 1 else ""
    if pause > max(1, waits):
        asked = f", the service does not answer; next try in {show_duration(pause)}"
    retries = f", {progress.retries} sent again" if progress.retries else ""
    ordered = f", {progress.order}" if progress.order else ""
    return f"{progress.requests:,} requests{retries}{asked}{ordered}"
