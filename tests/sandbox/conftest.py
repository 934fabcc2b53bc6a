"""A real sandbox process for each module, and more on request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.service import Sandbox, Start, running


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """One world of 1,000 results, shared by the tests of a module: each works on results of its own."""
    with running("--results=1000", "--seed=7", "--evaluation-time=200ms") as started:
        yield started


@pytest.fixture
def start() -> Iterator[Start]:
    """A function that starts further sandboxes, for tests that need a world to themselves."""
    with ExitStack() as stack:
        yield lambda *options: stack.enter_context(running(*options))
