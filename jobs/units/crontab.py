"""Lines of a crontab."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from engine.errors import UsageError
from engine.schedule.cover import EVERY_DAY, HOURS, minutes_of_hour

from .installation import File, Installation
from .times import cron_line

_LONGEST = 998  # characters of a command: Debian's cron takes no more
_TEXT = """\
# {spec}: looks what is due by its schedules. From rebatch {version}. Belongs into `crontab -e`.
# cron knows no time zones: so this looks in every hour, at every minute that can be a tick's. This machine's
# clocks are taken to be whole hours from UTC, unless those of the spec are not, or were not where this was made.
# The key is read from {environment}: lines {variables}, in quotes where the shell needs them;
# readable by you alone (mode 0600). The key of `cekura auth login` needs no line.
# What is said goes to you by mail; to keep it in a file instead, append:  >>FILE 2>&1
# Run the command once now: schedules count from the first time.
{when} {command}
@reboot {command}
"""


def crontab(installation: Installation, now: float) -> list[File]:
    """The lines; `now` is in seconds since the epoch. Raises UsageError for paths that no crontab can hold."""
    minutes = frozenset[int]().union(*_minutes(installation, now))
    text = _TEXT.format(
        spec=installation.spec,
        version=installation.version,
        environment=installation.environment,
        variables=", ".join(f"{name}=…" for name in installation.variables),
        when=cron_line((HOURS, minutes), EVERY_DAY),
        command=_command(installation),
    )
    return [File(f"rebatch-{installation.name}.crontab", text, "add it with: crontab -e")]


def _minutes(installation: Installation, now: float) -> Iterator[frozenset[int]]:
    for schedule in installation.schedules:
        yield minutes_of_hour(schedule, now, whole_hours=installation.whole_hours)


def _command(installation: Installation) -> str:
    """One line for /bin/sh, which cron starts with hardly any environment. `%` would end it."""
    environment = shlex.quote(str(installation.environment))
    words = installation.words(str(installation.command), str(installation.spec), "-q")
    steps = (
        f"cd {shlex.quote(str(installation.spec.parent))}",
        "set -a",
        f"{{ [ ! -r {environment} ] || . {environment}; }}",
        f"REBATCH_STATE_DIR={shlex.quote(str(installation.state_dir))} exec {shlex.join(words)}",
    )
    line = " && ".join(steps)
    if "\\" in line:  # crons do not agree on what two of them are
        raise UsageError(f"{installation.spec}: a crontab cannot hold a path with a backslash.", "Rename it.")
    if len(escaped := line.replace("%", "\\%")) > _LONGEST:
        raise UsageError(f"{installation.spec}: its command is too long for a crontab.", "Move it up a few folders.")
    return escaped
