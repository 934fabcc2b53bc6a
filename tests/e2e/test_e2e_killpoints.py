"""The real command strikes itself at a step of its journal or of HTTP; a sample of what `make torture` does by the hundred."""

from __future__ import annotations

import signal
from pathlib import Path

import anyio
import pytest

from engine.errors import Exit
from tests.torture.killpoints import Point, place, steps, trial

# Of the job below: about 90 steps while planning, 180 and more (500, to evaluate) while working and verifying.
KILLS = [("evaluate", 75), ("evaluate", 190), ("evaluate", 260), ("evaluate", 350), ("delete", 120), ("delete", 200)]


@pytest.mark.parametrize(("action", "step"), KILLS)
def test_a_command_killed_at_a_step_is_resumed_to_the_same_end(tmp_path: Path, action: str, step: int) -> None:
    """Nothing is evaluated twice or left out, and what was deleted is what was planned."""
    tally = anyio.run(trial, Point(action, "kill", step, step), tmp_path)
    assert (tally.trials, tally.lost, tally.doubled, tally.corrupt, tally.replays) == (1, 0, 0, 0, [])


def test_steps_are_those_of_the_disk_and_those_of_http(tmp_path: Path) -> None:
    """A loop whose sockets cannot be hooked would leave out half of them, and no kill would fall there."""
    names = anyio.run(steps, tmp_path, "delete", 1)
    assert {"write", "sync", "connect", "connected", "send", "half sent", "sent", "receive", "received"} <= set(names)


@pytest.mark.parametrize(("how", "step"), [("sync", 12), ("full", 150), ("write", 60)])
def test_a_command_whose_disk_fails_says_so_and_is_resumed_to_the_same_end(tmp_path: Path, how: str, step: int) -> None:
    """Exit 6, at any stage; with the disk mended nothing is lost or doubled."""
    tally = anyio.run(trial, Point("evaluate", how, step, step), tmp_path)
    assert (tally.trials, tally.lost, tally.doubled, tally.corrupt, tally.replays) == (1, 0, 0, 0, [])


@pytest.mark.parametrize(("how", "code"), [("kill", -signal.SIGKILL), ("full", Exit.STOPPED)])
def test_the_blow_falls(tmp_path: Path, how: str, code: int) -> None:
    """A launcher that struck nobody would prove nothing: one write in the middle, and the command is dead or has stopped."""

    async def strike() -> tuple[int, str, int]:
        async with place(tmp_path, 1, "evaluate", faults=False) as here:
            ended, said = await here.strike(how, 100)
            return ended, said, here.sandbox.arrivals.total

    ended, said, arrived = anyio.run(strike)
    assert ended == code, said
    assert arrived > 0
    assert ("disk is full" in said) == (how == "full")
