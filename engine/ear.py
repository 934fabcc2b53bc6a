"""Listening to the orders for a job while this process works on it. What they are, and where they lie: `engine.orders`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import anyio
import structlog

from .control import Control
from .errors import PausedError, RebatchError
from .orders import Orders, orders_path, read
from .pace import Pacer
from .progress import Progress

log = structlog.get_logger("rebatch")
LOOK_EVERY_S = 0.5


class Ear:
    """Listens to the orders for a job while this process works on it."""

    def __init__(self, path: Path, control: Control, pacer: Pacer, progress: Progress) -> None:
        """Orders are passed on to `control` and `pacer`, and shown in `progress`."""
        self._path, self._control, self._pacer, self._progress = path, control, pacer, progress
        self._own_rate = pacer.rate
        self._obeyed = Orders()
        self._seen: tuple[int, ...] | None = None
        self._complaint = ""

    def begin(self) -> None:
        """Look before anything is sent. Raises PausedError: whoever would wait for a person might wait in vain."""
        self.look()
        if self._obeyed.paused:
            raise PausedError(self._path.stem)

    async def listen(self) -> None:
        """Look again and again; cancelled when the work is over."""
        while True:
            await anyio.sleep(LOOK_EVERY_S)
            self.look()

    def look(self) -> None:
        """Obey what has changed. What cannot be read changes nothing."""
        try:
            seen = _stamp(orders_path(self._path))
            if seen == self._seen:
                return
            self._seen = seen
            self._obey(read(self._path))
        except (RebatchError, OSError) as error:
            if str(error) != self._complaint:
                log.warning("the orders for this job are not obeyed", error=str(error))
            self._complaint = str(error)

    def lift(self) -> None:
        """Leave gate and control as the next job expects them."""
        self._obey(Orders())
        self._control.begin_anew()

    def _obey(self, orders: Orders) -> None:
        before, self._obeyed = self._obeyed, orders
        if orders.rate != before.rate:
            self._pacer.change(orders.rate_per_s or self._own_rate)
        if orders.cancelled:
            self._control.cancel()
        elif orders.paused and not before.paused:
            self._control.pause()
        elif before.paused and not orders.paused:
            self._control.unpause()
        self._progress.order = str(orders)
        if orders != before:
            log.info("orders", **asdict(orders))


def _stamp(file: Path) -> tuple[int, ...] | None:
    """What differs when the file was replaced; None when there is none."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
