"""`status --watch`: the same as `status`, again and again, as long as somebody works on the job."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from engine.errors import Exit
from engine.ledger import ENDED

from .look_commands import look_at
from .show import status_line, status_text

_LOOK_EVERY_S = 1.0
Face = Callable[[dict[str, Any], int | None], None]


def watch(path: Path, style: str) -> None:
    """Show where a job stands until it ends or nobody works on it."""
    signal.signal(signal.SIGTERM, _terminated)
    at_terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    with _screen() if at_terminal and style == "table" else _lines(style) as show:
        while True:
            summary, pid = look_at(path)
            show(summary, pid)
            if pid is None or summary["state"] in ENDED:
                return
            time.sleep(_LOOK_EVERY_S)


@contextmanager
def _screen() -> Iterator[Face]:
    """Redrawn in place; the last look stays."""
    from rich.console import Console  # noqa: PLC0415 - heavy, and not needed without a terminal
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    with Live(console=Console(highlight=False), auto_refresh=False) as live:
        yield lambda summary, pid: live.update(Text(status_text(summary, pid)), refresh=True)


@contextmanager
def _lines(style: str) -> Iterator[Face]:
    """A line whenever something has changed."""
    import orjson  # noqa: PLC0415 - needed for one format only

    said = ""

    def show(summary: dict[str, Any], pid: int | None) -> None:
        nonlocal said
        line = status_line(summary) if style == "table" else orjson.dumps({**summary, "pid": pid}).decode()
        if line != said:
            click.echo(line)
        said = line

    yield show


def _terminated(_number: int, _frame: object) -> None:
    sys.exit(Exit.SIGTERM)
