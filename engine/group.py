"""Writes to a checkpoint that are made durable together: one sync serves all who wait."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import apsw

from .tasks import Bell

if TYPE_CHECKING:
    from asyncio import Task

T = TypeVar("T")
Operation = Callable[[apsw.Connection], T]


class Group:
    """Writes that are made durable together."""

    def __init__(self) -> None:
        """Nobody waits yet."""
        self.writes: list[Write[Any]] = []
        self.task: Task[None] | None = None  # that sees to it
        self._over = False
        self._changed = Bell()

    def end(self) -> None:
        """Each of them knows by now what came of it."""
        self._over = True
        self._changed.ring()

    async def ended(self) -> None:
        """Return when that is so."""
        while not self._over:
            await self._changed.rung()


class Write(Generic[T]):
    """One operation that waits for its group, and what came of it."""

    def __init__(self, operation: Operation[T]) -> None:
        """`operation` is run in the group's transaction."""
        self._operation = operation
        self._result: T | None = None
        self.error: BaseException | None = None

    def run(self, connection: apsw.Connection) -> None:
        """Run it; what it raises is kept, but for errors of SQLite, which are those of the whole group."""
        try:
            with connection:  # a savepoint: what it refuses to do is its own affair
                self._result = self._operation(connection)
        except apsw.Error:
            raise
        except Exception as error:  # noqa: BLE001 - handed to whoever asked for it
            self.error = error

    def get(self) -> T | None:
        """What it returned; raises what it raised."""
        if self.error is not None:
            raise self.error
        return self._result


def in_a_task(work: Coroutine[Any, Any, None]) -> Task[None]:
    """A task that nobody's scope cancels."""
    from asyncio import create_task  # noqa: PLC0415 - who only looks at a job needs no event loop

    return create_task(work)
