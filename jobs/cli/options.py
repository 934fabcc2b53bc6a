"""Options that every command takes, before or after its name, and what follows from them."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import rich_click as click

from engine.redact import Redactor
from engine.text import harmless

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(slots=True)
class Settings:
    """What the global options said."""

    quiet: bool = False
    verbosity: int = 0
    debug: bool = False
    color: bool | None = None
    api_url: str | None = None
    log_format: str = "console"
    state_dir: Path | None = None

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints live."""
        if self.state_dir:
            return self.state_dir
        if given := os.environ.get("REBATCH_STATE_DIR"):
            return Path(given)
        from engine.statedir import default  # noqa: PLC0415 - platformdirs is needed only here

        return default()

    def colors(self, stream: Any) -> bool:
        """Whether a stream takes colours: each is looked at by itself, and NO_COLOR (no-color.org) is obeyed."""
        if self.color is not None:
            return self.color
        return bool(stream.isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def say(self, message: str, *, important: bool = False) -> None:
        """A message for a person, on stderr; `-q` leaves only the important ones."""
        if important or not self.quiet:
            click.echo("\n".join(map(harmless, message.split("\n"))), err=True)


class Tolerant(io.TextIOBase):
    """A stderr whose reader may go away, or whose disk may be full: a job must not stop for want of an audience.

    Whoever writes to it, Python's own hooks and warnings among them, writes without our secrets.
    """

    def __init__(self, stream: Any, redactor: Redactor) -> None:
        """`stream` is the real one."""
        self._stream = stream
        self._redactor = redactor

    def write(self, text: str) -> int:
        """Write, if anybody listens."""
        with suppress(OSError, ValueError, AttributeError):  # it is None when it was closed from the beginning
            self._stream.write(self._redactor.text(text))
        return len(text)

    def flush(self) -> None:
        """Flush, if anybody listens."""
        with suppress(OSError, ValueError, AttributeError):
            self._stream.flush()

    def isatty(self) -> bool:
        """Whether a person listens."""
        return self._stream is not None and bool(self._stream.isatty())

    def fileno(self) -> int:
        """The descriptor below."""
        return int(self._stream.fileno())

    @property
    def encoding(self) -> str:  # type: ignore[override] # read-only here
        """Of the real one."""
        return str(getattr(self._stream, "encoding", "utf-8"))


def settings_of(ctx: click.Context) -> Settings:
    """The settings of this call."""
    return ctx.ensure_object(Settings)


def _sets(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    """Keep a value, wherever on the line it was given."""

    def keep(ctx: click.Context, _option: click.Parameter, value: Any) -> None:
        if value is not None and value is not False and value != 0:
            setattr(settings_of(ctx), name, value)

    return keep


def _louder(ctx: click.Context, option: click.Parameter, value: int) -> None:
    """-v and --debug, in whatever order and wherever on the line they were given."""
    settings = settings_of(ctx)
    settings.debug = settings.debug or bool(value and option.name == "debug")
    settings.verbosity = 2 if settings.debug else max(settings.verbosity, value)


def _no_color(ctx: click.Context, _option: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's signature
    if value:
        settings_of(ctx).color = False


_OPTIONS = (
    click.option("-q", "--quiet", is_flag=True, expose_value=False, callback=_sets("quiet"), help="Say nothing unless something is wrong."),
    click.option("-v", "--verbose", count=True, expose_value=False, callback=_louder, help="Log each attempt; -vv: each exchange."),
    click.option("--debug", is_flag=True, expose_value=False, callback=_louder, help="Log everything, and of an unexpected error the traceback; no secrets."),
    click.option("--no-color", is_flag=True, expose_value=False, callback=_no_color, help="No colours."),
    click.option("--api-url", metavar="URL", expose_value=False, callback=_sets("api_url"), help="Instead of CEKURA_API_URL."),
    click.option("--log-format", type=click.Choice(["console", "json"]), expose_value=False, callback=_sets("log_format"), help="Of the log on stderr."),
    click.option("--state-dir", type=click.Path(file_okay=False, path_type=Path), expose_value=False, callback=_sets("state_dir"), help="Where checkpoints live; instead of REBATCH_STATE_DIR."),
)  # fmt: skip


def global_options(command: Command) -> Command:
    """Give a command the options that all have."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def attended() -> bool:
    """Whether a person can be asked."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()
