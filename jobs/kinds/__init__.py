"""The kinds of job, one small file each. Others come from other packages: see `find`."""

from __future__ import annotations

from importlib.metadata import entry_points

from engine.errors import UsageError
from engine.kind import Kind

GROUP = "rebatch.kinds"


def find() -> dict[str, Kind]:
    """Every kind that an installed package offers through the entry-point group `rebatch.kinds`, by name."""
    kinds: dict[str, Kind] = {}
    for entry in entry_points(group=GROUP):
        kind = entry.load()()
        if kind.name in kinds:
            raise UsageError(f"Two installed packages offer the kind “{kind.name}”.", "Uninstall one of them.")
        kinds[kind.name] = kind
    return kinds
