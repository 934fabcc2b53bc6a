"""The kinds of job, one small file each. Others come from other packages: see `find`."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from engine.errors import UsageError
from engine.kind import Kind
from engine.text import harmless

GROUP = "rebatch.kinds"


def find() -> dict[str, Kind]:
    """Every kind that an installed package offers through the entry-point group `rebatch.kinds`, by name.

    Raises UsageError for one that cannot be had, and names the package.
    """
    kinds: dict[str, Kind] = {}
    for entry in entry_points(group=GROUP):
        kind = _loaded(entry)
        if kind.name in kinds:
            raise UsageError(f"Two installed packages offer the kind “{kind.name}”.", "Uninstall one of them.")
        kinds[kind.name] = kind
    return kinds


def _loaded(entry: EntryPoint) -> Kind:
    package = entry.dist.name if entry.dist else "an unknown package"
    remedy = f"Mend or uninstall {package}."
    try:
        kind = entry.load()()
    except Exception as error:  # whatever foreign code raises
        why = harmless(f"{type(error).__name__}: {error}")
        raise UsageError(f"The kind “{entry.name}” of {package} cannot be loaded: {why}.", remedy) from error
    if not isinstance(kind, Kind):
        raise UsageError(f"“{entry.value}” of {package} is no kind: it must be derived from Change or Export.", remedy)
    return kind
