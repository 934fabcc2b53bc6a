"""A package as anybody may install it, whose kind of job goes wrong with the request's headers in its mouth."""

from __future__ import annotations

from pathlib import Path

CODE = """
import asyncio, gc, logging, os, warnings

from jobs.kinds.delete_results import DeleteResults
from tests.security.canary import forms

KEY = os.environ["CEKURA_API_KEY"]
SAID = repr({"headers": {"X-CEKURA-API-KEY": KEY}}) + " ".join(forms(KEY).values()) + "\\x1b[2J\\u202e"


class Dies:
    def __del__(self):
        raise ValueError(SAID)


async def fails():
    raise ValueError(SAID)


class Hostile(DeleteResults):
    name = "hostile"

    def __init__(self):
        if os.environ["HOSTILE"] == "load":
            raise ImportError(SAID)

    def request(self, action, group, ids):
        getattr(self, os.environ["HOSTILE"])()
        return super().request(action, group, ids)

    def group_of_errors(self):
        try:
            try:
                raise KeyError(SAID.encode())
            except KeyError as cause:
                raise ValueError(SAID) from cause
        except ValueError as error:
            error.add_note(SAID)
            raise ExceptionGroup(SAID, [error, ExceptionGroup("inner", [OSError(5, SAID), UnicodeDecodeError("utf-8", SAID.encode("utf-8", "replace"), 1, 2, SAID)])])

    def task(self):
        asyncio.get_running_loop().create_task(fails(), name=SAID)
        asyncio.get_running_loop().call_later(0.05, gc.collect)

    def callback(self):
        asyncio.get_running_loop().call_exception_handler({"message": SAID, "exception": ValueError(SAID)})

    def warning(self):
        warnings.warn(SAID)
        warnings.warn(ResourceWarning(SAID))

    def library(self):
        logging.getLogger("aiohttp.client").error("request with %s", SAID, exc_info=ValueError(SAID))
        logging.getLogger("asyncio").debug("request with %s", SAID)

    def unraisable(self):
        Dies()

    def leave(self):
        raise SystemExit(SAID)

    def interrupt(self):
        raise KeyboardInterrupt(SAID)

    def recursion(self):
        def deeper(text):
            return deeper(text) + text
        deeper(SAID)
"""
MODES = (
    "load",
    "group_of_errors",
    "task",
    "callback",
    "warning",
    "library",
    "unraisable",
    "leave",
    "interrupt",
    "recursion",
)


def install(folder: Path) -> Path:
    """Put it where PYTHONPATH can point; the kind is found through its entry point."""
    described = folder / "hostile_kind-1.0.dist-info"
    described.mkdir(parents=True)
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: hostile-kind\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text("[rebatch.kinds]\nhostile = hostile_kind:Hostile\n")
    (folder / "hostile_kind.py").write_text(CODE)
    return folder
