"""A task group that raises our own errors bare: whoever calls sees one error, not a group of one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import TaskGroup

from .errors import RebatchError


@asynccontextmanager
async def task_group() -> AsyncIterator[TaskGroup]:
    """Like `anyio.create_task_group`; when nothing but our own errors were raised in it, the first of them is raised."""
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


def _bare(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    ours, others = errors.split(RebatchError)
    if ours is None or others is not None:
        return errors
    first: BaseException = ours
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first
