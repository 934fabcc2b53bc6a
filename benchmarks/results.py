"""The page of results: what was measured, with which versions, on what machine, and the command that gives each part again."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

import apsw

PAGE = Path(__file__).with_name("RESULTS.md")
PACKAGES = ("aiohttp", "aiolimiter", "aiometer", "anyio", "apsw", "cekura", "httpx", "msgspec", "orjson", "uvloop")


def again(benchmark: str, row: str) -> str:
    """The command that measures one row of a benchmark again, for a table."""
    return f"`python -m benchmarks.{benchmark} --only {shlex.quote(row)}`"


@dataclass(frozen=True, slots=True)
class Section:
    """One benchmark: its title, the command that gives it again, and what it found, as Markdown."""

    title: str
    command: str
    found: str


def page(sections: Iterable[Section], facts: str) -> str:
    """All of it as Markdown."""
    told = (
        "`make bench` wrote this page. Only ratios within one table mean anything: the machine is shared, and its speed drifts. "
        "Contestants take turns, on one processor; the service (`benchmarks/stub.py`) has the other."
    )
    parts = [f"## {each.title}\n\n`{each.command}`\n\n{each.found}" for each in sections]
    return "\n\n".join(["# What was measured", told, facts, *parts]) + "\n"


def facts() -> str:
    """Versions, and what sort of machine it was."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{date.today():%Y-%m-%d} · {os.cpu_count()} processors, {platform.machine()}, {platform.system()} · "  # noqa: DTZ011 - the day here
        f"Python {platform.python_version()}, {packages}, SQLite {apsw.sqlite_lib_version()}, {_wrk()}"
    )


def _wrk() -> str:
    """Wrk tells its version only when it is misused."""
    if not shutil.which("wrk"):
        return "no wrk here"
    said = subprocess.run(["wrk", "--version"], capture_output=True, text=True, check=False).stdout
    return " ".join(said.split()[:2])
