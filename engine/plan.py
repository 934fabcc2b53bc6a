"""Planning: walk, select, check the guards, freeze. Nothing is changed at the service."""

from __future__ import annotations

from datetime import datetime

import anyio

from .errors import GuardError
from .kind import Page
from .ledger import Seen
from .retry import FIRST_CONTACT_DIALS
from .spec import Guards
from .walk import walk
from .where import Row
from .work import Work


async def make_plan(work: Work) -> None:
    """Take the job from *planning* to *planned*; to *refused* when a guard trips, to *finished* when nothing is to do.

    Raises GuardError, ServiceError, CredentialsError, StoppedError, CheckpointError.
    """
    spec, ledger = work.spec, work.ledger
    await ledger.clear_seen()
    work.progress.begin("planning")
    selects = spec.where(datetime.fromisoformat(ledger.job["now"]))

    async def keep(page: Page) -> None:
        work.progress.total = page.count
        work.progress.done = min(page.count, work.progress.done + len(page.rows))
        await ledger.see([_seen(row, selected=selects(row)) for row in page.rows])

    def _seen(row: Row, *, selected: bool) -> Seen:
        mark = spec.kind.resource.fingerprint(row) if selected else None
        return Seen(row["id"], spec.kind.group(row), mark)

    walked = await walk(work.client, spec.kind.resource, spec.scope, keep, spec.limits.concurrency, FIRST_CONTACT_DIALS)
    in_scope, selected = await ledger.count_seen()
    facts = {
        "in_scope": in_scope,
        "planned": selected,
        "page_size": walked.width,
        "pages": walked.pages,
        "completeness": "unproven" if walked.unproven else "complete",
        "unproven_because": walked.unproven,
    }
    if tripped := check_guards(spec.guards, selected, in_scope):
        await ledger.note(**facts, state="refused", refused_because=tripped)
        raise refusal(tripped)
    state = {"state": "planned"} if selected else {"state": "finished", "finished_at": ledger.job["now"]}
    await ledger.freeze(**facts, **state)
    work.planned_at = anyio.current_time()


def refusal(tripped: str) -> GuardError:
    """The error of a plan that a guard forbids."""
    return GuardError(
        f"{tripped} Nothing was changed.",
        "Narrow `scope` or `where`, or raise the guard if you mean it, and plan again.",
    )


def check_guards(guards: Guards, selected: int, in_scope: int) -> str | None:
    """The guard that a plan of `selected` out of `in_scope` items trips, as a sentence; None if it trips none."""
    if guards.max_items is not None and selected > guards.max_items:
        return f"The plan has {selected:,} items; `guards: max_items` allows {guards.max_items:,}."
    percent = 100 * selected / in_scope if in_scope else 0.0
    if guards.max_percent is not None and percent > guards.max_percent:
        return (
            f"The plan has {selected:,} of the {in_scope:,} items in scope, {percent:.1f} %; "
            f"`guards: max_percent` allows {guards.max_percent:g}."
        )
    return None
