"""The command line of the sandbox, run for real."""

from __future__ import annotations

import re
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.service import Start

COMMAND = [sys.executable, "-m", "jobs.cli.sandbox_command"]


def refused(*options: str) -> str:
    """Run a command that must end with 2: what it says on stderr, on one line."""
    done = subprocess.run([*COMMAND, *options], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    return " ".join(done.stderr.replace("│", " ").split())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_banner_says_what_to_do_and_a_signal_ends_it_quietly(number: signal.Signals) -> None:
    """The line to copy is fit for a shell."""
    options = ["--results=100", "--port=0", "--key=two words", "--die-with-parent"]
    with subprocess.Popen(
        [*COMMAND, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        banner = [process.stdout.readline() for _ in range(9)]
        process.send_signal(number)
        assert process.wait(10) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
    url = banner[0].split()[-1]
    assert banner[0].startswith("Sandbox of 100 results, ")
    assert banner[2].split() == ["audit", f"{url}/sandbox/audit"]
    assert banner[5].strip() == f"export CEKURA_API_URL={url} CEKURA_API_KEY='two words'"
    assert banner[8] == "Ctrl-C stops it.\n"


def test_a_signal_ends_it_quietly_while_the_world_is_made() -> None:
    """Even in the midst of a statement of seconds."""
    with subprocess.Popen([*COMMAND, "--results=10000000", "--port=0"], stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        while not _catches(process.pid, signal.SIGTERM):
            assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.terminate()
        assert process.wait(5) == 0
        assert process.stderr.read() == b""


def _catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal (proc(5), SigCgt)."""
    caught = re.search(r"^SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"), re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (number - 1) & 1)


def test_a_taken_port_is_said_in_one_sentence() -> None:
    """With what to do about it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(f"--port={port}")
    assert f"Port {port} is taken: name another with --port, or --port 0 for any free one." in said


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("--host=0.0.0.0", "the sandbox listens on 127.0.0.1 only"),
        ("--latency=soon", "'soon' is not a duration: write it like 50ms, 2s or 1m"),
        ("--errors=200%", "'200%' is not a share: write it like 5% or 0.05"),
        ("--rate=50", "'50' is not a rate: write it like 50/s or 600/m, or off"),
        ("--max-page-size=0", "'0' is not a whole number above zero"),
        ("--only=some", "'some' is none of all, reads, writes"),
        ("--runs-as=list", "'list' is none of object, array, ids, none"),
        ("--balance=lots", "'lots' is not a number"),
        ("--now=yesterday", "'yesterday' is not a time: write it like 2026-01-31T12:00:00Z"),
    ],
)
def test_a_wrong_option_is_explained(option: str, sentence: str) -> None:
    """With how to write it."""
    assert sentence in refused(option, "--port=0")


async def test_a_world_in_a_file_can_be_read_and_carried_on(start: Start, tmp_path: Path) -> None:
    """Also after a kill; the effects are in a table."""
    path = tmp_path / "world.db"
    first = start("--results=50", f"--db={path}")
    target = (await first.results())[0]["id"]
    await first.post("/results/bulk_delete/", {"result_ids": [target]})
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT kind, result FROM effect WHERE kind = 'delete_result'").fetchall() == [
            ("delete_result", target)
        ]
    first.process.kill()
    first.process.wait()
    again = start("--results=999", f"--db={path}")
    assert again.facts["results"] == 49
    assert (await again.audit())["deletions"]["results"] == 1


def test_a_file_that_is_something_else_is_left_alone(tmp_path: Path) -> None:
    """Be it no database, or a database that is not ours."""
    (tmp_path / "text").write_text("precious " * 1000)
    assert "file is not a database" in refused(f"--db={tmp_path / 'text'}", "--port=0")
    with closing(sqlite3.connect(tmp_path / "other.db")) as db:
        db.execute("CREATE TABLE precious(id)")
        db.commit()
    assert "is not a sandbox's database" in refused(f"--db={tmp_path / 'other.db'}", "--port=0")
    assert (tmp_path / "text").read_text().startswith("precious")


def test_help_does_not_load_the_server() -> None:
    """`rebatch --help` answers in a blink."""
    code = "import sys, jobs.cli.sandbox_command; print({'aiohttp', 'apsw', 'orjson'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
