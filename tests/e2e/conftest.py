"""The command and its world, for each test anew."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.e2e.rig")
# A shell that starts the tests in the background has them ignore it, and every command would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

from tests.e2e.nightly import Inbox, receiving  # noqa: E402 - only now: its assertions shall show their values
from tests.e2e.rig import KEY, Rebatch, World  # noqa: E402 - as above
from tests.service import running  # noqa: E402 - as above

Open = Callable[..., World]


@pytest.fixture
def rebatch(tmp_path: Path) -> Iterator[Rebatch]:
    """The command with a home and a state directory of its own, and no service yet."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    home = tmp_path / "home"
    home.mkdir()
    command = Rebatch(home, {**kept, "HOME": str(home), "REBATCH_STATE_DIR": str(home / "state")})
    yield command
    command.close()


@pytest.fixture
def open_world() -> Iterator[Open]:
    """A function that starts a sandbox of the test's own."""
    with ExitStack() as stack:

        def start(*options: str) -> World:
            return World(stack.enter_context(running(f"--key={KEY}", "--evaluation-time=300ms", *options)))

        yield start


@pytest.fixture(scope="module")
def quiet_world() -> Iterator[World]:
    """A world of 600 results for the tests of a module that change nothing in it."""
    with running(f"--key={KEY}", "--results=600") as started:
        yield World(started)


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    """A receiver of notices."""
    with receiving() as started:
        yield started
