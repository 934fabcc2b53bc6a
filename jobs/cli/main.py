"""The command `rebatch`: its commands by name, and the one place where an error becomes an exit code."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from traceback import format_exception
from typing import Any

import rich_click as click
from click.exceptions import Exit as Ended

from engine.errors import Exit, RebatchError
from engine.redact import Redactor

from ..credentials import secrets
from .options import Settings, Tolerant, global_options

click.rich_click.USE_MARKDOWN = False
click.rich_click.MAX_WIDTH = 100


@dataclass(frozen=True, slots=True)
class _Entry:
    module: str
    short: str


# In the order in which a person meets them.
_COMMANDS = {
    "init": _Entry("spec_commands", "Write example specs into a folder."),
    "check": _Entry("spec_commands", "Check specs and tell every mistake."),
    "schema": _Entry("spec_commands", "Print the JSON Schema of specs, for editors."),
    "plan": _Entry("job_commands", "Show what a job would do. Changes nothing."),
    "run": _Entry("job_commands", "Plan, ask, carry out, report."),
    "resume": _Entry("job_commands", "Go on with a job that was interrupted."),
    "pause": _Entry("order_commands", "Let a job send nothing until it is unpaused."),
    "unpause": _Entry("order_commands", "Let a paused job go on."),
    "throttle": _Entry("order_commands", "Change the rate of a job."),
    "cancel": _Entry("order_commands", "End a job for good: what was not sent never will be."),
    "status": _Entry("look_commands", "Show where a job stands."),
    "list": _Entry("look_commands", "List all jobs."),
    "report": _Entry("look_commands", "Show what became of a job, item by item if asked."),
    "serve": _Entry("serve_command", "Look after schedules until stopped."),
    "schedule": _Entry("schedule_commands", "Show and steer schedules; print units for timers."),
    "archive": _Entry("archive_commands", "Look into what was kept before it was deleted."),
    "sandbox": _Entry("sandbox_command", "Start a local Cekura to try things on."),
    "version": _Entry("spec_commands", "Print the version."),
}


class _Commands(click.RichGroup):
    """Imports a command's module when that command is called; the list of commands needs only one line of each."""

    _listing = False

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """List the commands without importing them."""
        self._listing = True
        super().format_help(ctx, formatter)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """In the order in which a person meets them."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """The command of that name, imported now."""
        if cmd_name not in _COMMANDS:
            return None
        entry = _COMMANDS[cmd_name]
        if self._listing:
            return click.RichCommand(name=cmd_name, help=entry.short)
        command: click.Command = getattr(import_module(f"jobs.cli.{entry.module}"), f"{cmd_name}_command")
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "obj": None})
@click.version_option(package_name="rebatch", message="rebatch %(version)s", help="Print the version.")
@global_options
def cli() -> None:
    """Bulk operations on a Cekura account: plan first, keep to a rate, survive being killed.

    Begin with: rebatch sandbox, and in another terminal: rebatch init
    """


def main() -> None:
    """Run the command and exit with its code."""
    _occupy_standard_streams()
    settings = Settings()
    sys.stderr = Tolerant(sys.stderr, Redactor(secrets()))
    sys.unraisablehook = partial(_ignored, settings)
    try:
        sys.exit(cli.main(prog_name="rebatch", obj=settings, standalone_mode=False))
    except Ended as ended:
        sys.exit(ended.exit_code)
    except click.Abort:
        sys.exit(Exit.SIGINT)
    except click.ClickException as error:
        error.show()
        sys.exit(Exit.USAGE)
    except RebatchError as error:
        sys.exit(_told(settings, error))
    except OSError as error:
        settings.say(f"Writing the output failed: {error.strerror}.", important=True)
        sys.exit(Exit.UNEXPECTED)
    except KeyboardInterrupt:
        sys.exit(Exit.SIGINT)
    except SystemExit as ended:
        if isinstance(ended.code, str):  # Python would print it as it is
            settings.say(ended.code, important=True)
            ended.code = Exit.UNEXPECTED
        raise
    except BaseException as error:  # noqa: BLE001 - the last resort: what is printed must not hold a secret
        sys.exit(_unexpected(settings, error))


def _occupy_standard_streams() -> None:
    """Let no file that is opened later be taken for a standard stream that was closed; libuv aborts when one closes it."""
    for stream in range(3):
        try:
            os.fstat(stream)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest descriptor that is free: this one


def _told(settings: Settings, error: RebatchError) -> int:
    """What stopped the command, in words; with --debug, what was behind it: the author of a kind wants to know."""
    if settings.debug and error.__cause__:
        _trace(settings, error.__cause__)
    settings.say(str(error), important=True)
    return error.exit_code


def _ignored(settings: Settings, ignored: Any) -> None:
    """What an object said when it died, as Python says it, but harmless."""
    if settings.debug:
        settings.say("".join(format_exception(ignored.exc_type, ignored.exc_value, ignored.exc_traceback)))
    else:
        settings.say(f"Ignored an unexpected {ignored.exc_type.__name__}; --debug shows where.")


def _unexpected(settings: Settings, error: BaseException) -> int:
    if settings.debug:
        _trace(settings, error)
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    more = "" if settings.debug else "; --debug shows where"
    settings.say(f"Unexpected {type(error).__name__}. This is a mistake in rebatch{more}.", important=True)
    return Exit.UNEXPECTED


def _trace(settings: Settings, error: BaseException) -> None:
    """Log where an error came from, with its causes and, of a group, every member."""
    import structlog  # noqa: PLC0415 - heavy, and seldom needed

    from engine.log import configure  # noqa: PLC0415 - as above

    configure(settings.verbosity, settings.log_format, secrets(), color=settings.colors(sys.stderr))
    structlog.get_logger("rebatch").error("unexpected", exc_info=error)
