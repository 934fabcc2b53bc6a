"""The summary of a step of GitHub Actions: a file that a variable names, to which every command of the step may add."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import click

from engine.text import harmless

from .show import report_markdown

VARIABLE = "GITHUB_STEP_SUMMARY"
MOST = (
    1024 * 1024
)  # bytes a step; of a longer one nothing is shown (GitHub, “Workflow commands”, “Adding a job summary”)
_CUT = "\n\n(Cut here: the summary of a step has at most 1 MiB.)\n"


def tell_step(summary: Mapping[str, Any], stopped: Exception | None) -> None:
    """Add the report of a job to the summary of the step that it is part of, if it is part of one. Raises nothing."""
    if wrong := add_step_summary(report_markdown(summary, str(stopped) if stopped else None), os.environ):
        click.echo(wrong, err=True)


def add_step_summary(markdown: str, environment: Mapping[str, str]) -> str | None:
    """Append to the summary of this step, where there is one; what does not fit into it is cut.

    The answer is what went wrong: whether a summary can be written decides nothing about a job.
    """
    if not (path := environment.get(VARIABLE)):
        return None
    try:
        return _append(path, markdown.rstrip("\n") + "\n")
    except (OSError, ValueError) as error:
        what = (isinstance(error, OSError) and error.strerror) or "no such name is possible"
        return f"Nothing was added to the summary of the step ({VARIABLE}={harmless(path)}): {harmless(what)}."


def _append(path: str, text: str) -> str | None:
    # Not blocking: what the variable names may be a pipe that nobody reads.
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o644)
    with open(descriptor, "ab") as file:  # noqa: PTH123 - a Path cannot open a descriptor
        there = os.fstat(descriptor).st_size
        data = cut(("\n" if there else "") + text, MOST - there)
        file.write(data)
    return None if data else f"Nothing was added to the summary of the step: it has {there:,} bytes already."


def cut(text: str, room: int) -> bytes:
    """As much of a text as goes into `room` bytes: whole lines, and a note if some are missing. Pure."""
    data = text.encode(errors="replace")
    if len(data) <= room:
        return data
    end = data.rfind(b"\n", 0, max(0, room - len(_CUT.encode())) + 1)
    return data[:end] + _CUT.encode() if end > 0 else b""
