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
from dataclasses import dataclass, fields, replace
from pathlib import Path

import orjson

from .errors import CheckpointError, UsageError
from .private import sync_folder
from .text import harmless
from .units import parse_rate

SUFFIX = ".orders"
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
