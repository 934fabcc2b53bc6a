"""The real command, killed by itself at its n-th step: `python -m tests.torture.killer HOW STEP LOG command …`.

A step is a write, a sync, a truncation or a deletion in the checkpoint's files, or one of the things that a client does
with HTTP: connect, send (each call of `socket.send`), receive (each `socket.recv`), and what lies between: a step is
counted before it and after it. With HOW = `count` nothing happens; LOG gets the name of each step. Other ways: `kill`,
and `sync`, `full`, `write`, by which the disk fails at that step and from then on.

Nothing of the product is changed but its event loop: SQLite asks a VFS of ours, and asyncio's own loop a socket class of
ours, which uvloop would not ask.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import apsw

from tests.torture.disk import Disk, Fault

_FAILURES = {"sync": apsw.SQLITE_IOERR_FSYNC, "full": apsw.SQLITE_FULL, "write": apsw.SQLITE_IOERR_WRITE}
_ONLY = {"sync": "sync", "full": "write", "write": "write"}
_HALF = 2


class Blow:
    """Counts steps, and strikes at one of them."""

    def __init__(self, at: int, log: Path | None) -> None:
        self._at, self._number = at, 0
        self._log = log.open("a", encoding="utf-8") if log else None

    def __call__(self, name: str) -> None:
        self._number += 1
        if self._log:
            print(name, file=self._log, flush=True)
        if self._number == self._at:
            os.kill(os.getpid(), signal.SIGKILL)

    def halfway(self, name: str, act: Callable[[], object]) -> None:
        """A step that is struck when half of it is done."""
        if self._number + 1 == self._at:
            act()
        self(name)


def _hook_sockets(blow: Blow) -> None:
    """Let every socket of the client tell what it does; those of asyncio's own wake-ups are not of the family."""
    loop = asyncio.SelectorEventLoop
    connect = loop.sock_connect

    async def connecting(self: Any, sock: socket.socket, address: Any) -> None:
        blow("connect")
        await connect(self, sock, address)
        blow("connected")

    loop.sock_connect = connecting  # type: ignore[method-assign]
    send, receive = socket.socket.send, socket.socket.recv
    sendmsg = socket.socket.sendmsg

    def sending(self: socket.socket, data: Any, *flags: int) -> int:
        if self.family != socket.AF_INET:
            return send(self, data, *flags)
        blow("send")
        blow.halfway("half sent", lambda: send(self, bytes(data)[: len(data) // _HALF]))
        number = send(self, data, *flags)
        blow("sent")
        return number

    def sending_all(self: socket.socket, buffers: Any, *rest: Any) -> int:
        if self.family != socket.AF_INET:
            return sendmsg(self, buffers, *rest)
        whole = b"".join(bytes(buffer) for buffer in buffers)
        blow("send")
        blow.halfway("half sent", lambda: send(self, whole[: len(whole) // _HALF]))
        number = sendmsg(self, buffers, *rest)
        blow("sent")
        return number

    def receiving(self: socket.socket, size: int, *flags: int) -> bytes:
        if self.family != socket.AF_INET:
            return receive(self, size, *flags)
        blow("receive")
        data = receive(self, size, *flags)
        blow("received")
        return data

    socket.socket.send = sending  # type: ignore[method-assign, assignment]
    socket.socket.sendmsg = sending_all  # type: ignore[method-assign, assignment]
    socket.socket.recv = receiving  # type: ignore[method-assign, assignment]


def main() -> None:
    """Arm, and run the command."""
    how, at, log, *command = sys.argv[1:]
    disk = Disk(Path(os.environ["REBATCH_STATE_DIR"]).resolve())
    if how in _FAILURES:
        disk.fault = Fault(int(at), _FAILURES[how], _ONLY[how])
    else:
        blow = Blow(int(at) if how == "kill" else 0, Path(log) if log != "-" else None)
        disk.on_step = blow
        _hook_sockets(blow)
    from jobs.cli import loop  # noqa: PLC0415 - only now: asyncio's sockets are ours
    from jobs.cli.main import main as rebatch  # noqa: PLC0415 - as above

    vars(loop)["anyio"] = SimpleNamespace(run=lambda main, *args, **_uvloop: anyio.run(main, *args))
    sys.argv = ["rebatch", *command]
    with disk.installed():
        rebatch()


if __name__ == "__main__":
    main()
