"""What commands import: those that only look, or print their help, load nothing that only work at a service needs.

A time would prove this only on a quiet machine; what was imported is the same everywhere.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from engine.checkpoint import Checkpoint
from engine.jobledger import JobLedger

OURS = Path(__file__).parents[2]
HEAVY = {
    "aiohttp",
    "aiolimiter",
    "asyncio",
    "cronsim",
    "msgspec",
    "prometheus_client",
    "pyarrow",
    "pydantic",
    "rich",
    "ruamel",
    "structlog",
    "uvloop",
    "zstandard",
}
# Runs the command to its end, then tells which modules it has loaded.
SCRIPT = """
import sys, json
from jobs.cli.main import main
try:
    main()
except SystemExit as ended:
    loaded = sorted({name.partition(".")[0] for name in sys.modules})
    print(json.dumps({"code": ended.code or 0, "loaded": loaded}))
"""


def loaded_by(*arguments: str) -> set[str]:
    """The packages that a command loads."""
    command = [sys.executable, "-c", SCRIPT, *arguments]
    done = subprocess.run(command, cwd=OURS, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["code"] == 0, done.stderr
    return set(told["loaded"])


@pytest.fixture
async def state_dir(tmp_path: Path) -> Path:
    """A folder with one job in it."""
    book = JobLedger(Checkpoint.create(tmp_path / "job1.rebatch"))
    times = {"created_at": "2026-01-01T00:00:00Z", "started_at": None, "finished_at": None}
    await book.note(job="job1", spec="nightly", kind="k", origin="https://x", state="planned", in_scope=0, **times)
    book.checkpoint.close()
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        ["version"],
        ["--version"],
        ["status"],
        ["status", "--format", "json"],
        ["status", "job1"],
        ["list"],
        ["list", "--format", "json"],
    ],
    ids=" ".join,
)
def test_commands_that_only_look_load_nothing_heavy(state_dir: Path, command: list[str]) -> None:
    """Neither a client, nor an event loop, nor what reads specs."""
    assert not loaded_by(*command, "--state-dir", str(state_dir)) & HEAVY


def test_looking_where_no_job_is_loads_nothing_heavy(tmp_path: Path) -> None:
    """As above, in an empty folder."""
    assert not loaded_by("status", "--state-dir", str(tmp_path)) & HEAVY


@pytest.mark.parametrize("command", ["", "plan", "run", "resume", "pause", "check", "status", "report"])
def test_help_loads_nothing_heavy_but_what_draws_it(command: str) -> None:
    """`rebatch --help` lists the commands without importing them; that of a command needs nothing of what it does."""
    assert loaded_by(*command.split(), "--help") & HEAVY <= {"rich"}


def test_a_report_loads_an_event_loop_and_nothing_else(state_dir: Path) -> None:
    """Its items are streamed."""
    assert loaded_by("report", "job1", "--state-dir", str(state_dir)) & HEAVY <= {"asyncio"}
