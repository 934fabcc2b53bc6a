"""A workflow for GitHub Actions. It starts at UTC times, not on the minute, and sometimes not at all."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.schedule.cover import EVERY_DAY, HOURS, Cover, in_utc, merged

from .installation import KEY, File, Installation
from .times import cron_line, hull, rectangles, spaced
from .yamltext import yaml_text

_LEAST_MIN = 5  # GitHub starts a workflow no more often
_AGAIN = "23 */6 * * *"
_WORK_MIN = 340  # GitHub ends a job after 360 minutes, and then gives it ten seconds
_STATE = ".rebatch"
_COMMENTS = (
    "Belongs into .github/workflows/ of the default branch; its state goes from one start to the next in the cache.",
    "Checkpoints hold ids and names of your account, and whoever can read the repository may get at the cache: keep it private.",
    "GitHub forgets a cache that nobody used for a week, and in public repositories stops schedules after 60 quiet days.",
    "Start it once by hand now (Run workflow): schedules count from the first time.",
)


def github(installation: Installation, now: float) -> list[File]:
    """The workflow; `now` is in seconds since the epoch."""
    name = f"rebatch-{installation.name}"
    workflow = {
        "name": name,
        "on": {"schedule": [{"cron": line} for line in _lines(installation, now)], "workflow_dispatch": None},
        "permissions": {"contents": "read"},
        "concurrency": {"group": name, "cancel-in-progress": False},
        "jobs": {"rebatch": _job(installation)},
    }
    secrets = f"Secrets of the repository: {', '.join(installation.variables)}."
    made = f"Looks what is due by the schedules of {_in_repository(installation.spec)}. From rebatch {installation.version}."
    text = yaml_text([workflow], [made, secrets, *_COMMENTS])
    return [File(f"{name}.yml", text, f"put it into .github/workflows/, and set the secrets: gh secret set {KEY}")]


def _lines(installation: Installation, now: float) -> Iterator[str]:
    """At every tick; and where these are rare, every six hours, for what GitHub left out or was interrupted."""
    covers = [spaced(cover, _LEAST_MIN) for cover in merged(in_utc(each, now) for each in installation.schedules)]
    lines = [cron_line(part, cover.days) for cover in covers for part in rectangles(cover.times)]
    yield from dict.fromkeys(lines)
    if not any(_hourly(cover) for cover in covers):
        yield _AGAIN


def _hourly(cover: Cover) -> bool:
    return cover.days == EVERY_DAY and hull(cover.times)[0] == HOURS


def _job(installation: Installation) -> dict[str, Any]:
    key = f"rebatch/{installation.name}/"  # no other name goes on after the slash, as it could after a hyphen
    cached = {
        "path": "\n".join([_STATE, *_written(installation)]),
        "key": f"{key}${{{{ github.run_id }}}}-${{{{ github.run_attempt }}}}",
    }
    secrets = {name: f"${{{{ secrets.{name} }}}}" for name in installation.variables}
    return {
        "runs-on": "ubuntu-latest",
        "timeout-minutes": _WORK_MIN + 15,
        "steps": [
            {"uses": "actions/checkout@v6", "with": {"persist-credentials": False}},
            {"uses": "actions/setup-python@v6", "with": {"python-version": "3.12"}},
            {
                "name": "Install",
                "run": f"mkdir -p {_STATE}\npython -m pip install {shlex.quote(_package(installation))}\n",
            },
            {
                "name": "Bring back the state",
                "uses": "actions/cache/restore@v5",
                "with": {**cached, "restore-keys": key},
            },
            {
                "name": "Carry out what is due",
                "env": {**secrets, "REBATCH_STATE_DIR": f"${{{{ github.workspace }}}}/{_STATE}"},
                "working-directory": _plain(str(_in_repository(installation.spec).parent)),
                "run": _plain(_command(installation)),
            },
            {"name": "Keep the state", "if": "always()", "uses": "actions/cache/save@v5", "with": cached},
            *_kept(installation),
        ],
    }


def _command(installation: Installation) -> str:
    """It is told to stop while there is time to finish what is in flight, and to keep the state; the next start goes on.

    `exec`, since GitHub sends its signals to the shell alone.
    """
    words = installation.words("rebatch", installation.spec.name)
    return shlex.join(["exec", "timeout", f"--kill-after={installation.drain_s}s", f"{_WORK_MIN}m", *words])


def _kept(installation: Installation) -> Iterator[dict[str, Any]]:
    """What jobs write to the disk is what they are for, or cannot be had again: the cache alone would lose it."""
    if written := _written(installation):
        given = {
            "name": f"rebatch-{installation.name}-${{{{ github.run_id }}}}-${{{{ github.run_attempt }}}}",
            "path": "\n".join(written),
            "if-no-files-found": "ignore",
        }
        yield {"name": "Keep what was written", "if": "always()", "uses": "actions/upload-artifact@v6", "with": given}


def _package(installation: Installation) -> str:
    extras = f"[{','.join(installation.extras)}]" if installation.extras else ""
    return f"rebatch{extras}=={installation.version}"


def _written(installation: Installation) -> list[str]:
    folder = _in_repository(installation.spec).parent
    return [_plain(os.path.normpath(folder / path)) for path in installation.written]


def _in_repository(spec: Path) -> Path:
    """Where a spec is in its repository; beside its root if it is in none."""
    roots = (folder for folder in spec.parents if (folder / ".git").exists())
    return spec.relative_to(next(roots, spec.parent))


def _plain(text: str) -> str:
    """Text in which GitHub finds no expression of its own."""
    return text.replace("${{", "${{ '${{' }}")
