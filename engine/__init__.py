"""The machinery of rebatch: walk, plan, pace, send, settle, resume. It knows nothing of Cekura.

Names are imported when they are first used: the client alone costs 0.3 s, and `rebatch --help` needs none of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import Client
    from .control import Control
    from .errors import (
        CheckpointError,
        CredentialsError,
        Exit,
        GuardError,
        LockedError,
        OutputError,
        RebatchError,
        ServiceError,
        StoppedError,
        UsageError,
    )
    from .exchange import Reply, Request
    from .fates import Evidence, Fate, ItemFate, Outcome, decipher
    from .kind import Change, Export, Kind, Page, Resource, Strict
    from .ledger import CHUNK
    from .spec import JobSpec, SpecError, load_spec, parse_spec
    from .where import Field, Type

_HOME = {
    "client": ("Client",),
    "control": ("Control",),
    "errors": (
        "CheckpointError",
        "CredentialsError",
        "Exit",
        "GuardError",
        "LockedError",
        "OutputError",
        "RebatchError",
        "ServiceError",
        "StoppedError",
        "UsageError",
    ),
    "exchange": ("Reply", "Request"),
    "fates": ("Evidence", "Fate", "ItemFate", "Outcome", "decipher"),
    "kind": ("Change", "Export", "Kind", "Page", "Resource", "Strict"),
    "ledger": ("CHUNK",),
    "spec": ("JobSpec", "SpecError", "load_spec", "parse_spec"),
    "where": ("Field", "Type"),
}

__all__ = [
    "CHUNK",
    "Change",
    "CheckpointError",
    "Client",
    "Control",
    "CredentialsError",
    "Evidence",
    "Exit",
    "Export",
    "Fate",
    "Field",
    "GuardError",
    "ItemFate",
    "JobSpec",
    "Kind",
    "LockedError",
    "Outcome",
    "OutputError",
    "Page",
    "RebatchError",
    "Reply",
    "Request",
    "Resource",
    "ServiceError",
    "SpecError",
    "StoppedError",
    "Strict",
    "Type",
    "UsageError",
    "decipher",
    "load_spec",
    "parse_spec",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOME.items():
        if name in names:
            return getattr(import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
