"""Delivers by apprise, in a process of its own.

So what apprise or its plugins print or log goes nowhere, and a plugin that hangs is killed. In a thread its output would
be ours, secrets and all, and a thread cannot be stopped: it would keep our process from ending.

The address goes there through a pipe: arguments and variables of a process can be seen by others.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen

import anyio
import anyio.to_thread
import orjson

from .errand import DELIVERED, NO_ADDRESS, NOT_DELIVERED, NOT_INSTALLED
from .message import Notice
from .notify import Event

_ERRAND = Path(__file__).with_name("errand.py")
_TYPES = {Event.SUCCESS: "success", Event.FAILURE: "failure"}  # as apprise calls them; the others are its warnings
_MISSING = "needs apprise, which is not installed: pip install 'rebatch[apprise]'"
_WORDS = {
    DELIVERED: None,
    NOT_DELIVERED: "apprise could not deliver it",
    NO_ADDRESS: "what its variables hold is no address that apprise knows",
    NOT_INSTALLED: _MISSING,
}


async def deliver_by_apprise(address: str, notice: Notice, timeout_s: float) -> str | None:
    """Deliver once. None when it has arrived; else what went wrong, in words that hold no secret."""
    if find_spec("apprise") is None:
        return _MISSING
    try:
        with anyio.fail_after(timeout_s):
            return _WORDS.get(await _ran(_errand(address, notice)), "apprise broke off")
    except TimeoutError:
        return f"apprise did not deliver it within {timeout_s:g} s"
    except OSError as error:
        return f"no process can be started for apprise: {os.strerror(error.errno or 0).lower()}"


def _errand(address: str, notice: Notice) -> bytes:
    event = notice.body["event"]
    told = {"title": f"{notice.spec}: {event}", "body": notice.body["text"], "type": _TYPES.get(event, "warning")}
    return orjson.dumps({"address": address, **told})


async def _ran(errand: bytes) -> int:
    """The exit code of a process that is given this errand; it is killed when nobody waits for it any longer."""
    with _started() as process:
        try:
            await anyio.to_thread.run_sync(process.communicate, errand, abandon_on_cancel=True)
        finally:
            process.kill()  # nothing, if it has ended; else the thread ends with it
    return process.returncode


def _started() -> Popen[bytes]:
    """Not by asyncio, which leaves a pipe open if it is cancelled while it starts a process."""
    # -P: modules beside the script, or where we are, are none of its.
    command = [sys.executable, "-P", str(_ERRAND)]
    return Popen(command, stdin=PIPE, stdout=DEVNULL, stderr=DEVNULL)  # noqa: S603 - our own script
