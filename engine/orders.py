"""What a person asks of a job from elsewhere: to pause, to end for good, to keep to another rate.

Orders lie in a small file beside the checkpoint, not in it: the checkpoint has one writing connection, that of whoever
works on the job. They outlast processes: whoever resumes the job obeys them.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import anyio
import orjson
import structlog

from .control import Control
from .errors import CheckpointError, PausedError, RebatchError, UsageError
from .pace import Pacer
from .private import sync_folder
from .progress import Progress
from .text import harmless
from .units import parse_rate

log = structlog.get_logger("rebatch")
SUFFIX = ".orders"
LOOK_EVERY_S = 0.5
_MAX_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Orders:
    """What is asked of a job. `rate` is as it was typed, `20/s`; None is the rate of its spec."""

    paused: bool = False
    cancelled: bool = False
    rate: str | None = None

    @property
    def rate_per_s(self) -> float | None:
        """The rate in requests a second, if one was ordered."""
        return parse_rate(self.rate) if self.rate else None

    def __str__(self) -> str:
        said = ["being cancelled"] * self.cancelled + ["paused"] * self.paused
        return ", ".join(said + ([f"throttled to {self.rate}"] if self.rate else []))


def parse(data: bytes) -> Orders:
    """Read orders. Raises ValueError with what is wrong with them."""
    found = orjson.loads(data)
    if not isinstance(found, dict):
        raise ValueError("not an object")  # noqa: TRY004 - one error for whatever is wrong
    if unknown := found.keys() - {field.name for field in fields(Orders)}:
        raise ValueError(f"there is no order “{min(unknown)}”")
    if not all(isinstance(found.get(name, False), bool) for name in ("paused", "cancelled")):
        raise ValueError("“paused” and “cancelled” must be true or false")
    if (rate := found.get("rate")) is not None:
        parse_rate(rate if isinstance(rate, str) else repr(rate))
    orders = Orders(**found)
    return replace(orders, paused=orders.paused and not orders.cancelled)


def orders_path(path: Path) -> Path:
    """The file beside a checkpoint that holds the orders."""
    path = path.resolve()  # as the checkpoint does: a link to it has no orders of its own
    return path.with_name(path.name + SUFFIX)


def read(path: Path) -> Orders:
    """The orders for the job of this checkpoint. Raises UsageError when what is there are none."""
    file = orders_path(path)
    try:
        return parse(_bytes(file))
    except FileNotFoundError:
        return Orders()
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}.", "Check its permissions.") from None
    except ValueError as error:
        remedy = "Remove the file, then give the order again."
        raise UsageError(f"{file}: these are no orders: {harmless(str(error))}.", remedy) from None


def known(path: Path) -> Orders:
    """The same for whoever only looks: what cannot be read asks for nothing."""
    with suppress(UsageError):
        return read(path)
    return Orders()


def give(path: Path, change: Callable[[Orders], Orders]) -> Orders:
    """Change the orders for the job of this checkpoint. Raises UsageError, CheckpointError, and what `change` raises."""
    file = orders_path(path)
    try:
        with _turn(file.parent):
            orders = change(read(path))
            if orders == Orders():
                file.unlink(missing_ok=True)
            else:
                _write(file, orders)
    except OSError as error:
        raise CheckpointError(
            f"{file}: cannot be written: {error.strerror}.", "Make room, or check its folder."
        ) from None
    return orders


def remove(path: Path) -> None:
    """Forget the orders: the job has come to its end."""
    with suppress(OSError):
        orders_path(path).unlink(missing_ok=True)


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


def _bytes(file: Path) -> bytes:
    """What is in the file; never more than orders can be, and never waiting for a pipe."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("not a file")
        data = os.read(descriptor, _MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(data) > _MAX_BYTES:
        raise ValueError("too long")
    return data


def _write(file: Path, orders: Orders) -> None:
    """Write so that a reader sees the old orders or the new ones, and a power cut leaves one of the two."""
    descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)  # readable by its owner alone
    try:
        with os.fdopen(descriptor, "wb") as new:
            new.write(orjson.dumps(orders))
            new.flush()
            os.fsync(new.fileno())
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(file.parent)


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """One at a time changes orders in this folder, or one of two given at once would be lost: perhaps the cancellation."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # NFS locks no folders
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
