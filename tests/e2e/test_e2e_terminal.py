"""At a terminal: questions, a bar, colours."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.rig import COMMAND, DEADLINE_S, DELETE, EVALUATE, Rebatch, World, assert_each_once, eligible, until

if TYPE_CHECKING:
    from tests.e2e.conftest import Open


@dataclass
class Terminal:
    """A command whose stdin and stderr are a terminal; its stdout is a file."""

    process: subprocess.Popen[bytes]
    master: int
    seen: str = field(default="")

    def expect(self, words: str) -> None:
        """Read until these words have been written."""
        ends = time.monotonic() + DEADLINE_S
        while words not in self.seen:
            assert self._read(ends), f"never said: {words}\n{self.seen}"

    def is_reading(self) -> None:
        """Wait until it sleeps, which after a question it does in read(2); a signal just before would not wake it."""
        stat = Path(f"/proc/{self.process.pid}/stat")
        until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "S", "waiting for an answer")

    def type(self, line: str) -> None:
        """Type a line."""
        os.write(self.master, line.encode() + b"\n")

    def end(self) -> int:
        """Read to its end; the exit code."""
        ends = time.monotonic() + DEADLINE_S
        while self._read(ends):
            pass
        return self.process.wait(DEADLINE_S)

    def _read(self, ends: float) -> bool:
        ready, _, _ = select.select([self.master], [], [], max(0.0, ends - time.monotonic()))
        assert ready, f"silent for too long\n{self.seen}"
        try:
            piece = os.read(self.master, 65536)
        except OSError:  # Linux says EIO when the other end is closed
            return False
        self.seen += piece.decode(errors="replace")
        return bool(piece)


@contextmanager
def terminal(rebatch: Rebatch, *arguments: object, **environment: str) -> Iterator[Terminal]:
    """Start a command at a terminal."""
    master, slave = pty.openpty()
    with (
        (rebatch.home / "terminal.out").open("wb") as out,
        subprocess.Popen(
            [COMMAND, *map(str, arguments)],
            stdin=slave,
            stdout=out,
            stderr=slave,
            cwd=rebatch.home,
            env=rebatch.environment | {"TERM": "xterm-256color"} | environment,
        ) as process,
    ):
        os.close(slave)
        try:
            yield Terminal(process, master)
        finally:
            process.kill()
            os.close(master)


def test_a_deletion_wants_the_number_of_items_typed(rebatch: Rebatch, open_world: Open) -> None:
    """A wrong one, or a yes, changes nothing (exit 6); the right one deletes; the plan was shown before."""
    world = open_world("--results=200")
    rows = world.results()
    gone = {row["id"] for row in rows.values() if row["status"] in DELETE["where"]["status"]}
    spec = rebatch.at(world.url).spec(DELETE)
    for wrong in ("y", str(len(gone) + 1)):
        with terminal(rebatch, "run", spec) as asked:
            asked.expect(f"Type the number of items ({len(gone)}) to go on")
            assert "This cannot be undone." in asked.seen
            asked.type(wrong)
            assert asked.end() == 6
            assert "Nothing was changed." in asked.seen
    assert world.count("POST") == 0
    with terminal(rebatch, "run", spec) as asked:
        asked.expect("to go on")
        asked.type(str(len(gone)))
        assert asked.end() == 0
    assert world.results().keys() == rows.keys() - gone


def test_an_evaluation_wants_a_yes(rebatch: Rebatch, open_world: Open) -> None:
    """Enter is a no; the job stays planned and can be run."""
    world = open_world("--results=100", "--evaluation-time=20ms")
    wanted = eligible(world.results())
    with terminal(rebatch.at(world.url), "run", rebatch.spec(EVALUATE)) as asked:
        asked.expect("Go on? [y/N]")
        asked.type("")
        assert asked.end() == 6
    assert world.evaluations() == {}
    with terminal(rebatch, "run", rebatch.job()) as asked:
        asked.expect("Go on? [y/N]")
        asked.type("y")
        assert asked.end() == 0
    assert_each_once(world, wanted)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_at_the_question_changes_nothing(
    rebatch: Rebatch, quiet_world: World, number: signal.Signals, code: int
) -> None:
    """It ends at once, with the signal's exit code; the job stays planned."""
    with terminal(rebatch.at(quiet_world.url), "run", rebatch.spec(EVALUATE)) as asked:
        asked.expect("Go on? [y/N]")
        asked.is_reading()
        asked.process.send_signal(number)
        assert asked.end() == code
        assert "Traceback" not in asked.seen
    assert rebatch.state() == "planned"


def test_what_was_typed_before_the_question_is_no_answer(rebatch: Rebatch, open_world: Open) -> None:
    """A `y` typed while it was planning agrees to nothing."""
    world = open_world("--results=300", "--latency=300ms")
    with terminal(rebatch.at(world.url), "run", rebatch.spec(EVALUATE)) as asked:
        asked.expect("planning")
        asked.type("y")
        asked.expect("Go on? [y/N]")
        asked.is_reading()
        asked.type("")
        assert asked.end() == 6
    assert world.count("POST") == 0


def test_a_terminal_shows_a_bar_with_numbers(rebatch: Rebatch, open_world: Open) -> None:
    """On stderr, where it is redrawn in place; the report alone is on stdout."""
    world = open_world("--results=400", "--latency=50ms", "--evaluation-time=20ms")
    with terminal(rebatch.at(world.url), "run", rebatch.spec(EVALUATE), "--yes") as watched:
        assert watched.end() == 0
    assert "━" in watched.seen
    assert "\x1b[" in watched.seen
    assert "planning" in watched.seen
    assert "working" in watched.seen
    out = (rebatch.home / "terminal.out").read_text()
    assert out.startswith(f"Job {rebatch.job()} · evaluate · finished")
    assert "\x1b" not in out


@pytest.mark.parametrize(("options", "environment"), [(["--no-color"], {}), ([], {"NO_COLOR": "1"})])
def test_colours_can_be_refused(
    rebatch: Rebatch, quiet_world: World, options: list[str], environment: dict[str, str]
) -> None:
    """No colour is set by the bar or by the log; moving the cursor is not colour."""
    command = ["plan", rebatch.spec(EVALUATE), "-vv", *options]
    with terminal(rebatch.at(quiet_world.url), *command, **environment) as watched:
        assert watched.end() == 0
    colours = [part for part in watched.seen.split("\x1b[")[1:] if part.split("m")[0].replace(";", "").isdigit()]
    assert [part[:8] for part in colours if not part.startswith(("0m", "1m", "2m"))] == []


def test_a_terminal_has_colours_otherwise(rebatch: Rebatch, quiet_world: World) -> None:
    """The counterpart, lest the test above be empty."""
    with terminal(rebatch.at(quiet_world.url), "plan", rebatch.spec(EVALUATE), "-vv") as watched:
        assert watched.end() == 0
    assert "\x1b[32m" in watched.seen
