"""Tasks: a group that raises our own errors bare, so that whoever calls sees one error and not a group of one; a bell."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio

from .errors import RebatchError

if TYPE_CHECKING:  # who only looks at a job needs a bell of this file, and no task group
    from anyio.abc import TaskGroup


@asynccontextmanager
async def task_group() -> AsyncIterator[TaskGroup]:
    """Like `anyio.create_task_group`; a single error is raised bare, and of several that are all our own, the first."""
    try:
        async with anyio.create_task_group() as group:
            yield group
    except BaseExceptionGroup as errors:
        raise _bare(errors) from None


async def crew(size: int, worker: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `size` workers at once until all have returned."""
    async with task_group() as group:
        for _ in range(size):
            group.start_soon(worker)


class Bell:
    """Wakes all who wait for a change. Ringing costs nothing where nobody does, as an event made for each change would."""

    def __init__(self) -> None:
        """Nobody waits."""
        self._event: anyio.Event | None = None

    async def rung(self) -> None:
        """Wait until it rings."""
        self._event = self._event or anyio.Event()
        await self._event.wait()

    def ring(self) -> None:
        """Wake all who wait now."""
        if self._event:
            self._event.set()
            self._event = None


def _bare(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    leaves = list(_leaves(errors))
    others = [leaf for leaf in leaves if not isinstance(leaf, RebatchError)]
    return leaves[0] if len(leaves) == 1 or not others else errors


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
