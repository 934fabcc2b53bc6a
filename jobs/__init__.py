"""All that knows Cekura: its API, the kinds of job, the sandbox, example specs, the command line, and a face for programs.

Names are imported when they are first used, since the client alone costs 0.3 s.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .account import Account, Event, Job, job

__all__ = ["Account", "Event", "Job", "job"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(".account", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
