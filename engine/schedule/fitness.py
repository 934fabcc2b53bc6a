"""What a job needs so that it may come round with nobody to look at its plan. Pure."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..kind import Export, Kind, NamedScope
from ..where import Problem
from .when import Schedule, crowded, several_a_day

if TYPE_CHECKING:
    from ..spec import Guards


def unfit(schedule: Schedule, kind: Kind, scope: Any, action: Any, guards: Guards) -> Iterator[Problem]:
    """What is wrong with a schedule for such a job."""
    if kind.irreversible and guards.max_items is None and guards.max_percent is None:
        needed = "what cannot be undone comes round on a schedule only with `guards: max_percent` or `max_items`"
        yield Problem(("schedule",), needed)
    if isinstance(scope, NamedScope) and scope.ids_from == "-":
        yield Problem(("scope", "ids_from"), "nobody feeds standard input on a schedule; name a file")
    if isinstance(kind, Export) and "{job}" not in (stem := kind.target(action).stem):
        if "{date}" not in stem:
            yield Problem(
                ("action", "path"), "on a schedule {job} or {date} is needed, so that no two nights share a file"
            )
        elif several_a_day(schedule, time.time()):
            yield Problem(
                ("action", "path"), "it comes round several times a day: {job} is needed, so that no two share a file"
            )
    if crowded(schedule, time.time()):
        yield Problem(("schedule", "jitter"), "jitter must be shorter than what lies between two ticks")
