"""The event loop of commands that send requests."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable
from typing import TypeVar, TypeVarTuple

import anyio

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
_NEW = 10_000  # objects made and not yet gone, before garbage is looked for among them: a page makes hundreds


def run(main: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
    """Run `main` to its end, on uvloop. What was imported stays: garbage is not looked for among it again and again."""
    gc.freeze()
    gc.set_threshold(_NEW)
    return anyio.run(main, *args, backend_options={"use_uvloop": True})
